//! Who waits in the kernel: one thread at a time, the lead. The others park, and the lead that
//! leaves wakes one of them to take over.
//!
//! ```text
//!              free: become the lead           something happened
//!   Running ---------------------------> Kernel ------------------> Running
//!      |  '--- taken: park ----> Parked ----------- woken -------------^
//!      '--- woken before either: does not wait at all
//! ```

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};

use super::Ring;

const RUNNING: u8 = 0;
const PARKED: u8 = 1;
const KERNEL: u8 = 2;
const WOKEN: u8 = 3;

/// A thread that waits for one ring.
pub(super) struct Parker {
    ring: Weak<Ring>,
    thread: Thread,
    state: AtomicU8,
}

impl Parker {
    /// This thread's own parker for `ring`, ready to wait, and its waker.
    pub fn of_this_thread(ring: &Arc<Ring>) -> (Arc<Parker>, Waker) {
        thread_local! {
            static PARKERS: std::cell::RefCell<Vec<(Arc<Parker>, Waker)>> =
                const { std::cell::RefCell::new(Vec::new()) };
        }
        PARKERS.with_borrow_mut(|parkers| {
            let own = parkers.iter().find(|(parker, _)| parker.ring.as_ptr() == Arc::as_ptr(ring));
            if let Some((parker, waker)) = own {
                parker.state.store(RUNNING, Ordering::SeqCst);
                return (parker.clone(), waker.clone());
            }
            parkers.retain(|(parker, _)| parker.ring.strong_count() > 0);
            let parker = Arc::new(Parker {
                ring: Arc::downgrade(ring),
                thread: thread::current(),
                state: AtomicU8::new(RUNNING),
            });
            let waker = Waker::from(parker.clone());
            parkers.push((parker.clone(), waker.clone()));
            (parker, waker)
        })
    }

    /// Sleeps until woken.
    fn park(&self) {
        if self.enter(PARKED) {
            while self.state.load(Ordering::SeqCst) == PARKED {
                thread::park();
            }
        }
    }

    /// Begins to wait; `false` if woken already.
    fn enter(&self, how: u8) -> bool {
        let entered = self.state.compare_exchange(RUNNING, how, Ordering::SeqCst, Ordering::SeqCst);
        entered.is_ok()
    }

    /// Wakes the thread from where it waits.
    fn notify(&self) {
        match self.state.swap(WOKEN, Ordering::SeqCst) {
            PARKED => self.thread.unpark(),
            KERNEL => {
                if let Some(ring) = self.ring.upgrade() {
                    ring.kick();
                }
            }
            _ => {}
        }
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}

/// The lead, and those who wait for something to happen meanwhile.
#[derive(Default)]
pub(super) struct Lead {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lead: Option<Arc<Parker>>,
    parked: Vec<Arc<Parker>>,
    /// Somebody asked for all to return while nobody waited.
    interrupted: bool,
}

impl Lead {
    /// Waits, as the lead or beside it, until `parker` is woken or the kernel has something.
    /// `in_kernel` waits in the kernel.
    pub fn wait(&self, parker: &Arc<Parker>, in_kernel: impl FnOnce()) {
        let mut state = self.state();
        if std::mem::take(&mut state.interrupted) {
            return;
        }
        if state.lead.is_some() {
            state.parked.push(parker.clone());
            drop(state);
            parker.park();
            self.state().parked.retain(|parked| !Arc::ptr_eq(parked, parker));
            return;
        }
        state.lead = Some(parker.clone());
        drop(state);
        if parker.enter(KERNEL) {
            in_kernel();
            // Whoever wakes it from here on has nothing to kick it out of.
            let _woken = parker.state.swap(RUNNING, Ordering::SeqCst);
        }
        let mut state = self.state();
        state.lead = None;
        let next = state.parked.pop();
        drop(state);
        if let Some(next) = next {
            next.notify();
        }
    }

    /// Makes everybody return who waits; if nobody does, the next one who would.
    pub fn interrupt(&self) {
        let mut state = self.state();
        let waiting: Vec<Arc<Parker>> = state.lead.iter().chain(&state.parked).cloned().collect();
        state.interrupted = waiting.is_empty();
        drop(state);
        for parker in waiting {
            parker.notify();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
