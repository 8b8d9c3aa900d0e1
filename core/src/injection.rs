//! Forced yields, for tests: the one loop of [`crate::StateMachine`] asks here before every
//! transition of every operation, so no operation can be left out.
//!
//! A schedule holds for the thread that [`force`]s it. Only builds with the feature `injection`
//! have this module.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

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
    static SEEN: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
    static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
}

/// A mistake of a kind that this idiom is to rule out, made on purpose at one place of the engine:
/// a test that does not notice it is no test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The tree's count is changed before it is known that the change can be made.
    CountBeforePages,
    /// The pages built for a plan that misses a page are not put back.
    ReserveNotPutBack,
    /// The turn of a writer who left the queue is not passed on.
    TurnNotPassedOn,
    /// A number is used again while the page with it is still being written.
    WritesNotAwaited,
    /// What was read is used whether or not the read failed.
    ReadErrorIgnored,
    /// A cursor moves before the page that it moves to is there.
    CursorBeforePage,
    /// A read that nobody waits for any more keeps its pin.
    PinOfAbandonedRead,
    /// A transaction that is given up keeps its numbers.
    NumbersOfAbandonedTransaction,
}

/// Runs `work` with one mistake made on purpose.
pub fn plant<R>(mistake: Mistake, work: impl FnOnce() -> R) -> R {
    /// Also when the work panics, as a test that notices the mistake does.
    struct Remove;
    impl Drop for Remove {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
    PLANTED.set(Some(mistake));
    let _remove = Remove;
    work()
}

/// Is this mistake to be made?
pub fn is_planted(mistake: Mistake) -> bool {
    PLANTED.get() == Some(mistake)
}

/// The types of all machines that this thread has stepped since it was asked before.
pub fn take_seen() -> BTreeSet<&'static str> {
    SEEN.take()
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
pub(crate) fn at_gate(machine: &'static str) -> bool {
    SEEN.with_borrow_mut(|seen| seen.insert(machine));
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
