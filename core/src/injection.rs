//! Forced yields, for tests: the one loop of [`crate::StateMachine`] asks here before every
//! transition of every operation, so no operation can be left out.
//!
//! A schedule holds for the thread that [`force`]s it. Only builds with the feature `injection`
//! have this module.

use std::cell::RefCell;

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

/// Must the machine at this gate yield?
pub(crate) fn at_gate() -> bool {
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
