//! The writer's turn: one at a time, first come first served, without blocking.

use std::collections::VecDeque;

use yieldb_core::sync::atomic::{AtomicUsize, Ordering};
use yieldb_core::sync::{Arc, Mutex, MutexGuard, PoisonError, thread_local};
use yieldb_core::{Completion, is_planted};

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

    /// Gives the turn to the next in the queue.
    fn pass_on(&self) {
        let mut state = self.state();
        self.used_by.store(0, Ordering::Relaxed);
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
        self.used_by.load(Ordering::Relaxed) == thread_mark()
            && self.state().waiting.iter().any(|(_, waiting)| waiting.id() == signal.id())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Finished when the turn has come.
    pub fn completion(&self) -> Completion {
        self.signal.clone()
    }

    /// The turn, or the place back if the turn has not come.
    ///
    /// # Errors
    ///
    /// The place itself, still in the queue.
    pub fn take(self) -> Result<WriterTurn, Place> {
        let mut state = self.queue.state();
        if state.holder != Some(self.number) {
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

/// A number that no other living thread has; never 0.
fn thread_mark() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
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
