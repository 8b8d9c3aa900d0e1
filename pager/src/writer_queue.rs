//! The writer's turn: one at a time, first come first served, without blocking.

mod deposits;

use std::collections::VecDeque;

use yieldb_core::sync::atomic::{AtomicUsize, Ordering};
use yieldb_core::sync::{Arc, Mutex, MutexGuard, PoisonError, thread_number};
use yieldb_core::{Completion, Request, is_planted};

use deposits::tell;
pub use deposits::{Deposit, Deposited, Followers, Outcome};

/// Who may write, and who waits for it.
#[derive(Debug, Default)]
pub struct WriterQueue {
    state: Mutex<State>,
    /// The [mark](thread_mark) of the thread that used the turn last; 0 if nobody has it, or the
    /// engine does.
    used_by: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// Whose turn it is.
    holder: Option<u64>,
    /// Who waits, in order, each with the signal that tells him.
    waiting: VecDeque<(u64, Completion)>,
    /// Changes that anyone may make.
    deposits: VecDeque<Arc<Deposit>>,
    /// How many places there have ever been.
    places: u64,
}

/// The right to write. Dropping it passes it on.
#[derive(Debug)]
pub struct WriterTurn {
    queue: Arc<WriterQueue>,
}

/// A place in the queue. Dropping it gives it up, and the turn with it if that has come.
#[derive(Debug)]
pub struct Place {
    queue: Arc<WriterQueue>,
    number: u64,
    signal: Completion,
}

impl WriterQueue {
    /// The turn, if nobody has it.
    pub fn try_take(self: &Arc<Self>) -> Option<WriterTurn> {
        let place = self.enter();
        place.take().ok()
    }

    /// A place at the end of the queue; the turn comes with it if nobody has it.
    pub fn enter(self: &Arc<Self>) -> Place {
        let signal = Completion::signal();
        let mut state = self.state();
        let number = state.places;
        state.places += 1;
        if state.holder.is_none() {
            state.holder = Some(number);
            drop(state);
            signal.succeed(0);
        } else {
            state.waiting.push_back((number, signal.clone()));
        }
        Place { queue: self.clone(), number, signal }
    }

    /// Gives the turn to the next in the queue. Where there are deposits it is offered to them as
    /// well.
    fn pass_on(&self) {
        self.pass(self.state());
    }

    /// Somebody to whom the turn was offered has left: the others are told.
    fn pass_on_again(&self) {
        // Under one lock: whoever has it meanwhile keeps it.
        let state = self.state();
        if state.holder.is_none() && !state.waiting.is_empty() {
            if is_planted!(TurnGivenTwice) {
                drop(state);
                return self.pass_on();
            }
            self.pass(state);
        }
    }

    fn pass(&self, mut state: MutexGuard<'_, State>) {
        self.used_by.store(0, Ordering::Relaxed);
        if !state.deposits.is_empty() {
            state.holder = None;
            let mut signals = state.offer();
            if let Some((_, signal)) = state.waiting.front_mut() {
                signals.push(std::mem::replace(signal, Completion::signal()));
            }
            drop(state);
            return tell(signals);
        }
        let next = state.waiting.pop_front();
        state.holder = next.as_ref().map(|(number, _)| *number);
        drop(state);
        if let Some((_, signal)) = next {
            signal.succeed(0);
        }
    }

    /// Would this thread wait for itself if it waited for `signal`? So it is if `signal` is that of
    /// a place in the queue, and the turn's holder used it on this thread last.
    pub fn would_wait_for_itself(&self, signal: &Completion) -> bool {
        if self.used_by.load(Ordering::Relaxed) != thread_mark() {
            return false;
        }
        let state = self.state();
        state.waiting.iter().any(|(_, waiting)| waiting.id() == signal.id())
            || state.deposits.iter().any(|deposit| deposit.signal().id() == signal.id())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Finished when the turn has come, or may be had.
    pub fn completion(&self) -> Completion {
        let state = self.queue.state();
        let mut waiting = state.waiting.iter();
        let place = waiting.position(|(number, _)| *number == self.number);
        if place == Some(0) && state.holder.is_none() && !is_planted!(OfferOverlooked) {
            // It was offered before this one looked; nobody may be there to offer it again.
            let offered = Completion::signal();
            offered.succeed(0);
            return offered;
        }
        place.map_or(&self.signal, |place| &state.waiting[place].1).clone()
    }

    /// The turn, if it has come, or if it was offered and nobody else has it.
    ///
    /// # Errors
    ///
    /// The place itself, still in the queue.
    pub fn take(self) -> Result<WriterTurn, Place> {
        let mut state = self.queue.state();
        let is_first = state.waiting.front().is_some_and(|(number, _)| *number == self.number);
        if state.holder.is_none() && is_first {
            state.waiting.pop_front();
        } else if state.holder != Some(self.number) {
            drop(state);
            return Err(self);
        }
        // The turn has no number: from here on the place has nothing to give up.
        state.holder = Some(u64::MAX);
        drop(state);
        let turn = WriterTurn { queue: self.queue.clone() };
        turn.used_here();
        Ok(turn)
    }
}

impl WriterTurn {
    /// Notes that this thread uses the turn.
    pub fn used_here(&self) {
        self.queue.used_by.store(thread_mark(), Ordering::Relaxed);
    }

    /// Notes that the engine uses the turn from now on: it waits for nobody.
    pub fn used_by_engine(&self) {
        self.queue.used_by.store(0, Ordering::Relaxed);
    }
}

/// A number that no other thread has or had; never 0.
fn thread_mark() -> usize {
    thread_number() + 1
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        if state.holder == Some(self.number) {
            drop(state);
            if is_planted!(TurnNotPassedOn) {
                return;
            }
            self.queue.pass_on();
        } else {
            state.waiting.retain(|(number, _)| *number != self.number);
            let is_offered = state.holder.is_none();
            drop(state);
            if is_offered {
                self.queue.pass_on_again();
            }
        }
    }
}

impl Drop for WriterTurn {
    fn drop(&mut self) {
        self.queue.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_in_order_and_those_who_left_are_skipped() {
        let queue = Arc::new(WriterQueue::default());
        let first = queue.try_take().unwrap();
        assert!(queue.try_take().is_none());
        let (second, third, fourth) = (queue.enter(), queue.enter(), queue.enter());
        assert!(!second.completion().finished());
        drop(third);
        drop(first);
        assert!(second.completion().succeeded());
        assert!(!fourth.completion().finished());
        let second = second.take().unwrap();
        let fourth = fourth.take().unwrap_err();
        drop(second);
        drop(fourth.take().unwrap());
        assert!(queue.try_take().is_some());
    }

    fn waits(outcome: Outcome) -> Deposited {
        match outcome {
            Outcome::Waiting(deposited, _) => deposited,
            Outcome::Turn(_) | Outcome::Made(_) => panic!("{outcome:?}"),
        }
    }

    fn turn(outcome: Outcome) -> WriterTurn {
        match outcome {
            Outcome::Turn(turn) => turn,
            Outcome::Waiting(..) | Outcome::Made(_) => panic!("{outcome:?}"),
        }
    }

    fn records(followers: &Followers) -> Vec<&[u8]> {
        followers.deposits().iter().map(|deposit| deposit.record()).collect()
    }

    #[test]
    fn deposits_are_made_by_the_one_who_asks_first() {
        let queue = Arc::new(WriterQueue::default());
        let first = queue.try_take().unwrap();
        let [a, b, c, d] = [b"a", b"b", b"c", b"d"].map(|record| queue.deposit(record.to_vec()));
        let a = waits(a.look(|_| true));
        drop(first);
        let a = waits(a.look(|_| false));
        let leader = turn(c.look(|_| true));
        let b = waits(b.look(|_| true));
        drop(b);
        let mut followers = leader.followers(9, 9);
        assert_eq!(records(&followers), [b"a", b"d"]);
        followers.finish(&Ok(7));
        drop(leader);
        for deposited in [a, d] {
            assert!(matches!(deposited.look(|_| true), Outcome::Made(Ok(7))));
        }
        assert!(queue.try_take().is_some());
    }

    #[test]
    fn no_more_deposits_are_taken_than_there_is_room_for() {
        let queue = Arc::new(WriterQueue::default());
        let leader = queue.try_take().unwrap();
        let _deposited = [3, 3, 5, 1].map(|len| queue.deposit(vec![0; len]));
        assert_eq!(leader.followers(9, 10).deposits().len(), 2);
        assert_eq!(leader.followers(1, 10).deposits().len(), 1);
        assert_eq!(leader.followers(9, 2).deposits().len(), 0);
    }

    #[test]
    fn deposits_that_were_not_made_come_first_again() {
        let queue = Arc::new(WriterQueue::default());
        let leader = queue.try_take().unwrap();
        let [a, b, c] = [b"a", b"b", b"c"].map(|record| queue.deposit(record.to_vec()));
        let followers = leader.followers(2, 9);
        // Nobody waits for it any more, and it is not made.
        drop(a);
        let Outcome::Waiting(b, told) = b.look(|_| true) else { panic!() };
        drop(followers);
        drop(leader);
        assert!(told.finished());
        let leader = turn(c.look(|_| true));
        assert_eq!(records(&leader.followers(9, 9)), [b"b"]);
        drop(leader);
        drop(turn(b.look(|_| true)));
    }

    #[test]
    fn whoever_writes_himself_is_not_held_up_by_deposits() {
        let queue = Arc::new(WriterQueue::default());
        let first = queue.try_take().unwrap();
        let deposited = queue.deposit(Vec::new());
        let (second, third) = (queue.enter(), queue.enter());
        let told = second.completion();
        drop(first);
        assert!(told.finished());
        // To whom it was offered leaves; so the next one is told.
        let told = third.completion();
        assert!(!told.finished());
        drop(second);
        assert!(told.finished());
        let third = third.take().unwrap();
        let deposited = waits(deposited.look(|_| true));
        drop(third);
        drop(turn(deposited.look(|_| true)));
        assert!(queue.try_take().is_some());
    }

    #[test]
    fn what_was_offered_before_one_looked_is_still_offered() {
        let queue = Arc::new(WriterQueue::default());
        let first = queue.try_take().unwrap();
        // Nobody asks what has become of it.
        let _deposited = queue.deposit(Vec::new());
        let (second, third) = (queue.enter(), queue.enter());
        drop(first);
        assert!(second.completion().finished() && !third.completion().finished());
        let second = second.take().unwrap();
        assert!(!third.completion().finished());
        drop(second);
        assert!(third.completion().finished());
        drop(third.take().unwrap());
    }

    #[test]
    fn a_place_dropped_when_its_turn_has_come_passes_it_on() {
        let queue = Arc::new(WriterQueue::default());
        let first = queue.try_take().unwrap();
        let (second, third) = (queue.enter(), queue.enter());
        drop(first);
        assert!(second.completion().succeeded());
        drop(second);
        assert!(third.completion().succeeded());
        drop(third);
        assert!(queue.try_take().is_some());
    }
}
