//! What tests do to the engine, and ask of it: yields forced between transitions, mistakes made on
//! purpose, and a record of the states and paths that were reached.
//!
//! The one loop of [`crate::StateMachine`] asks here before every transition of every operation, so
//! no operation can be left out. Everything holds for one thread: a schedule for the thread that
//! [`force`]s it, a mistake for the one that [`plant`]s it. Only builds with the feature
//! `injection` have this module.

mod mistakes;
mod named;
mod paths;
mod sessions;
mod states;

use std::cell::RefCell;
use std::fmt::Debug;

pub use mistakes::{Mistake, is_planted, made, plant};
pub use paths::{Path, reach, take_reached};
pub use sessions::{session_moments, shorten_sessions};
pub use states::{take_seen, take_states};

/// Where to yield, in terms of the transitions that the thread makes, counted from 0.
#[derive(Clone, Copy, Debug)]
pub enum Schedule {
    /// Nowhere: only count.
    Never,
    /// Before one transition.
    At(u64),
    /// Before two transitions.
    Both(u64, u64),
    /// Before every transition.
    Always,
    /// Before one transition in `one_in`, chosen by `seed`.
    Random {
        /// Decides which.
        seed: u64,
        /// How rare a yield is; at least 1.
        one_in: u64,
    },
}

struct Gate {
    schedule: Schedule,
    passed: u64,
    random: u64,
}

thread_local! {
    static GATE: RefCell<Option<Gate>> = const { RefCell::new(None) };
}

/// Runs `work` with forced yields and returns its result and the number of gates it passed.
pub fn force<R>(schedule: Schedule, work: impl FnOnce() -> R) -> (R, u64) {
    let seed = match schedule {
        Schedule::Random { seed, .. } => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        Schedule::Never | Schedule::At(_) | Schedule::Both(..) | Schedule::Always => 1,
    };
    let outer = GATE.replace(Some(Gate { schedule, passed: 0, random: seed }));
    let restore = Restore(Some(outer));
    let result = work();
    let passed = GATE.with_borrow(|gate| gate.as_ref().map_or(0, |gate| gate.passed));
    drop(restore);
    (result, passed)
}

/// Puts the outer schedule back, also when the work panics.
struct Restore(Option<Option<Gate>>);

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(outer) = self.0.take() {
            GATE.set(outer);
        }
    }
}

/// Must the machine at this gate yield, which is about to leave `state`?
pub(crate) fn at_gate<S: Debug>(machine: &'static str, state: &S) -> bool {
    states::visit(machine, state);
    GATE.with_borrow_mut(|gate| {
        let Some(gate) = gate else { return false };
        let index = gate.passed;
        gate.passed += 1;
        match gate.schedule {
            Schedule::Never => false,
            Schedule::At(k) => index == k,
            Schedule::Both(i, k) => index == i || index == k,
            Schedule::Always => true,
            Schedule::Random { one_in, .. } => {
                gate.random ^= gate.random << 13;
                gate.random ^= gate.random >> 7;
                gate.random ^= gate.random << 17;
                gate.random.is_multiple_of(one_in)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StateMachine, StateTransition, Transition};

    /// `kebab-case` of `CamelCase`.
    fn kebab(name: &str) -> String {
        let mut kebab = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !kebab.is_empty() {
                kebab.push('-');
            }
            kebab.extend(letter.to_lowercase());
        }
        kebab
    }

    #[test]
    fn names_are_those_of_the_values() {
        for mistake in Mistake::ALL {
            assert_eq!(mistake.name(), kebab(&format!("{mistake:?}")));
            assert_eq!(Mistake::from_name(mistake.name()), Some(*mistake));
        }
        for path in Path::ALL {
            assert_eq!(path.name(), kebab(&format!("{path:?}")));
            assert_eq!(Path::from_name(path.name()), Some(*path));
        }
        assert_eq!(Mistake::from_name("none"), None);
    }

    #[test]
    fn a_mistake_is_made_while_it_is_planted() {
        assert!(!is_planted(Mistake::PagesNotSynced));
        plant(Mistake::PagesNotSynced, || {
            assert_eq!(made(), 0);
            assert!(!is_planted(Mistake::SlotNotDurable));
            assert!(is_planted(Mistake::PagesNotSynced) && is_planted(Mistake::PagesNotSynced));
        });
        assert!(!is_planted(Mistake::PagesNotSynced));
        assert_eq!(made(), 2);
    }

    #[test]
    fn paths_are_counted_until_they_are_taken() {
        reach(Path::LeafSplit);
        reach(Path::LeafSplit);
        let reached = take_reached();
        assert_eq!((reached["leaf-split"], reached["root-grew"]), (2, 0));
        assert_eq!(reached.len(), Path::ALL.len());
        assert_eq!(take_reached()["leaf-split"], 0);
    }

    struct First;
    struct Second<T>(T);

    #[derive(Debug)]
    enum State {
        Unit,
        Tuple(#[expect(dead_code, reason = "it is in the state's text")] u8),
        Struct {
            #[expect(dead_code, reason = "it is in the state's text")]
            field: u8,
        },
    }

    impl StateTransition for First {
        type State = State;
        type Context = ();
        type Output = ();
        type Error = ();

        fn transition(&mut self, state: State, _context: &()) -> Result<Transition<Self>, ()> {
            Ok(match state {
                State::Unit => Transition::Next(State::Tuple(1)),
                State::Tuple(_) => Transition::Next(State::Struct { field: 1 }),
                State::Struct { .. } => Transition::Done(()),
            })
        }
    }

    impl<T> StateTransition for Second<T> {
        type State = State;
        type Context = ();
        type Output = ();
        type Error = ();

        fn transition(&mut self, _state: State, _context: &()) -> Result<Transition<Self>, ()> {
            Ok(Transition::Done(()))
        }
    }

    #[test]
    fn states_are_noted_for_each_machine_until_they_are_taken() {
        let run = || {
            let first = StateMachine::new(First, State::Unit).step(&());
            let second = StateMachine::new(Second(1_u8), State::Unit).step(&());
            let third = StateMachine::new(Second("another type"), State::Unit).step(&());
            assert!(first.is_ok() && second.is_ok() && third.is_ok());
        };
        let taken = || -> Vec<(&'static str, String)> {
            let last = |machine: &'static str| machine.rsplit("::").next().unwrap_or(machine);
            take_states().into_iter().map(|(machine, state)| (last(machine), state)).collect()
        };
        let all = [("First", "Struct"), ("First", "Tuple"), ("First", "Unit"), ("Second", "Unit")]
            .map(|(machine, state)| (machine, state.to_owned()));
        run();
        assert_eq!(take_seen().len(), 3);
        assert_eq!(taken(), all);
        assert!(taken().is_empty() && take_seen().is_empty());
        run();
        assert_eq!(taken(), all, "what was known before is noted again");
        assert_eq!(take_seen().len(), 3);
    }
}
