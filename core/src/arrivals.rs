//! Waiting for whichever of many completions is next, again and again.

use std::task::{Wake, Waker};

use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use crate::{Completion, Request};

/// Tells when *any* of the completions that it watches is finished, as often as that happens.
///
/// For an operation with many reads in flight, which goes on with each as it comes. Unlike an
/// [`crate::AnyCompletion`] it leaves nothing behind at each wait: every completion is told once.
///
/// The protocol, for the one operation that owns it:
///
/// 1. [`watch`](Arrivals::watch) each completion once. One that is finished already is not
///    watched: look at it now.
/// 2. Look at all that are watched, and go on with those that are finished.
/// 3. If some are left, wait for the [`next_signal`](Arrivals::next_signal), and go to 2.
///
/// ```text
///            next_signal                        wake
///   quiet ----------------> armed: the signal ---------> quiet
///     |                      ^  |  is pending
///     | wake                 |  '-- next_signal: the same signal
///     v                      |
///   news ---- next_signal, finished already ---> quiet
/// ```
///
/// No arrival is lost: one that comes between 2 and 3 is *news*, and makes the next signal
/// finished from the beginning. So a signal may be early, and 2 find nothing; it is never late.
/// Costs no allocation but the one of [`Arrivals::new`].
#[derive(Debug)]
pub struct Arrivals {
    bell: Arc<Bell>,
    /// The bell's own.
    waker: Waker,
}

/// What the completions wake.
#[derive(Debug, Default)]
struct Bell {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing has come since the last signal.
    #[default]
    Quiet,
    /// Something has come, and nobody was told.
    News,
    /// Whoever waits is told through this.
    Armed(Completion),
}

impl Arrivals {
    /// Watches nothing yet.
    pub fn new() -> Arrivals {
        let bell = Arc::new(Bell::default());
        Arrivals { waker: Waker::from(bell.clone()), bell }
    }

    /// Has the end of `completion` counted as an arrival. `false`, and nothing is watched, if it is
    /// finished already.
    ///
    /// # Panics
    ///
    /// If `completion` is an explicit yield, which never ends.
    pub fn watch(&self, completion: &Completion) -> bool {
        assert!(!completion.is_explicit_yield(), "an explicit yield never arrives");
        completion.register(&self.waker)
    }

    /// Stops to watch a completion. For those that outlive the one who waits; one that is finished
    /// has forgotten him anyway.
    pub fn unwatch(&self, completion: &Completion) {
        completion.unregister(&self.waker);
    }

    /// A signal that the next arrival finishes; one that is finished already if there was an
    /// arrival since the last signal was finished.
    pub fn next_signal(&self) -> Completion {
        let mut state = self.bell.state();
        match &*state {
            State::Armed(signal) => signal.clone(),
            State::Quiet => {
                let signal = Completion::signal();
                *state = State::Armed(signal.clone());
                signal
            }
            State::News => {
                *state = State::Quiet;
                drop(state);
                let signal = Completion::signal();
                signal.succeed(0);
                signal
            }
        }
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Arrivals::new()
    }
}

impl Bell {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        let mut state = self.state();
        let before = std::mem::replace(&mut *state, State::News);
        if let State::Armed(signal) = before {
            *state = State::Quiet;
            drop(state);
            // Whom this wakes may come back here: under no lock.
            signal.succeed(0);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::Error;

    #[test]
    fn each_arrival_finishes_a_signal() {
        let arrivals = Arrivals::new();
        let reads: Vec<Completion> = (0..3).map(|_| Completion::signal()).collect();
        assert!(reads.iter().all(|read| arrivals.watch(read)));
        for read in &reads {
            let signal = arrivals.next_signal();
            assert!(!signal.finished());
            assert_eq!(signal.id(), arrivals.next_signal().id(), "there is one signal at a time");
            read.fail(Error::Cancelled);
            assert!(signal.succeeded(), "the signal says that, not how, something ended");
        }
        assert!(!arrivals.next_signal().finished());
    }

    #[test]
    fn what_arrives_before_the_wait_is_not_lost() {
        let arrivals = Arrivals::new();
        let (first, second) = (Completion::signal(), Completion::signal());
        assert!(arrivals.watch(&first) && arrivals.watch(&second));
        first.succeed(0);
        second.succeed(0);
        assert!(arrivals.next_signal().finished(), "two arrivals, not yet told");
        assert!(!arrivals.next_signal().finished(), "they are told once");
        assert!(!arrivals.watch(&first), "there is nothing to wait for");
    }

    #[test]
    fn who_stops_to_watch_leaves_nothing_behind() {
        let long = Completion::signal();
        let arrivals = Arrivals::new();
        let held = Arc::strong_count(&arrivals.bell);
        for _ in 0..100 {
            assert!(arrivals.watch(&long));
        }
        assert_eq!(Arc::strong_count(&arrivals.bell), held + 1, "watched once, however often");
        arrivals.unwatch(&long);
        assert_eq!(Arc::strong_count(&arrivals.bell), held);
        let signal = arrivals.next_signal();
        long.succeed(0);
        assert!(!signal.finished());
    }

    /// A window of completions that other threads finish while one waits for each.
    #[test]
    fn nothing_is_lost_among_threads() {
        const WINDOW: usize = 16;
        const COUNT: usize = 20_000;
        let arrivals = Arrivals::new();
        let started: Mutex<Vec<Completion>> = Mutex::default();
        let finished = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while finished.load(Ordering::SeqCst) < COUNT {
                        let taken = started.lock().unwrap().pop();
                        match taken {
                            Some(io) => {
                                finished.fetch_add(1, Ordering::SeqCst);
                                io.succeed(0);
                            }
                            None => thread::yield_now(),
                        }
                    }
                });
            }
            let (mut window, mut begun, mut arrived) = (Vec::new(), 0, 0);
            while arrived < COUNT {
                while window.len() < WINDOW && begun < COUNT {
                    let io = Completion::signal();
                    assert!(arrivals.watch(&io));
                    window.push(io.clone());
                    started.lock().unwrap().push(io);
                    begun += 1;
                }
                let before = window.len();
                window.retain(|io| !io.finished());
                arrived += before - window.len();
                if before == window.len() {
                    let signal = arrivals.next_signal();
                    while !signal.finished() {
                        thread::yield_now();
                    }
                }
            }
        });
        assert_eq!(finished.load(Ordering::SeqCst), COUNT);
    }
}
