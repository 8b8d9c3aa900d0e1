//! Who waits in the kernel: one thread at a time, the lead. The others park, and the lead that
//! leaves calls one of them to take over.
//!
//! ```text
//!              free: become the lead           something happened
//!   Running ---------------------------> Kernel ------------------> Running
//!    ^ |  '--- taken: park ----> Parked --- woken: its own end, or an interrupt ---> Woken
//!    | |                           '------- called
//!    | |                                       v
//!    | '--- woken before either: no wait     Called
//!    '---------------------------------------'
//! ```
//!
//! Nobody sleeps while nobody leads: who leaves, the lead or one who was woken, calls another one
//! if there is no lead. One who is called leads, or finds another one in the lead and parks again;
//! he does not leave before that, since there may be nobody else to call.
//!
//! A kick lasts until the lead has left the kernel: it may come between the lead's last look and
//! its sleep, and what it leaves in the completion queue be reaped by another thread.

use std::task::{Wake, Waker};

use yieldb_core::sync::atomic::{AtomicU8, Ordering};
use yieldb_core::sync::thread::{self, Thread};
use yieldb_core::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, thread_local};
use yieldb_core::{Completion, is_planted};

const RUNNING: u8 = 0;
const PARKED: u8 = 1;
const KERNEL: u8 = 2;
const CALLED: u8 = 3;
const WOKEN: u8 = 4;

/// What threads wait for: a ring.
pub trait Kernel: Send + Sync {
    /// Finishes some of what is done. Returns how many requests that were: 0 when there are no
    /// more, or another thread is at it.
    fn reap(&self) -> usize;

    /// Waits until there is something to reap, or there was a kick. One thread at a time.
    fn wait_in_kernel(&self);

    /// Gets the thread that waits in the kernel, or is about to, out of it.
    fn kick(&self);

    /// Forgets the kicks that there were.
    fn forget_kicks(&self);
}

/// Finishes what is done, or waits until something has changed or `until` is finished.
pub fn drive<K: Kernel + 'static>(kernel: &Arc<K>, lead: &Lead, until: &Completion) {
    if kernel.reap() > 0 {
        return;
    }
    let (parker, waker) = Parker::of_this_thread(kernel);
    // Its end wakes this thread, whoever brings it about.
    if until.register(&waker) {
        let has_led = lead.wait(&parker, &**kernel);
        if kernel.reap() == 0 && has_led {
            // What there was is in the hands of a thread that may have to get to run.
            thread::yield_now();
        }
    }
}

/// A thread that waits for one ring.
pub struct Parker {
    ring: Weak<dyn Kernel>,
    thread: Thread,
    state: AtomicU8,
}

impl Parker {
    /// This thread's own parker for `ring`, ready to wait, and its waker.
    pub fn of_this_thread<K: Kernel + 'static>(ring: &Arc<K>) -> (Arc<Parker>, Waker) {
        thread_local! {
            static PARKERS: std::cell::RefCell<Vec<(Arc<Parker>, Waker)>> =
                const { std::cell::RefCell::new(Vec::new()) };
        }
        PARKERS.with(|parkers| {
            let mut parkers = parkers.borrow_mut();
            let is_own = |parker: &Parker| parker.ring.as_ptr().addr() == Arc::as_ptr(ring).addr();
            let own = parkers.iter().find(|(parker, _)| is_own(parker));
            if let Some((parker, waker)) = own {
                parker.state.store(RUNNING, Ordering::SeqCst);
                return (parker.clone(), waker.clone());
            }
            parkers.retain(|(parker, _)| parker.ring.strong_count() > 0);
            let ring: Arc<dyn Kernel> = ring.clone();
            let parker = Arc::new(Parker {
                ring: Arc::downgrade(&ring),
                thread: thread::current(),
                state: AtomicU8::new(RUNNING),
            });
            let waker = Waker::from(parker.clone());
            parkers.push((parker.clone(), waker.clone()));
            (parker, waker)
        })
    }

    /// Sleeps until woken or called.
    fn park(&self) {
        if self.enter(PARKED) {
            while self.state.load(Ordering::SeqCst) == PARKED {
                thread::park();
            }
        }
    }

    /// Begins to wait; `false` if woken or called already.
    fn enter(&self, how: u8) -> bool {
        let entered = self.state.compare_exchange(RUNNING, how, Ordering::SeqCst, Ordering::SeqCst);
        entered.is_ok()
    }

    /// Asks the parked thread to take over the lead. One that is woken leaves, and sees to it.
    fn call(&self) {
        let calling = |state| matches!(state, RUNNING | PARKED).then_some(CALLED);
        let before = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, calling);
        if before == Ok(PARKED) {
            self.thread.unpark();
        }
    }

    /// Is the thread called, and not woken? It is running then.
    fn heed(&self) -> bool {
        let heeded =
            self.state.compare_exchange(CALLED, RUNNING, Ordering::SeqCst, Ordering::SeqCst);
        heeded.is_ok()
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
pub struct Lead {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lead: Option<Arc<Parker>>,
    parked: Vec<Arc<Parker>>,
    /// Somebody asked for all to return while nobody waited.
    interrupted: bool,
}

impl State {
    /// Calls the one who parked last to take over.
    fn call_next(&self) {
        if let Some(next) = self.parked.last() {
            next.call();
        }
    }
}

impl Lead {
    /// Waits, as the lead or beside it, until `parker` is woken or, in the lead, the kernel has
    /// something. `true` if it was in the lead.
    fn wait(&self, parker: &Arc<Parker>, kernel: &impl Kernel) -> bool {
        if !self.take(parker) {
            return false;
        }
        if parker.enter(KERNEL) {
            kernel.wait_in_kernel();
            // Whoever wakes it from here on has nothing to kick it out of.
            let _woken = parker.state.swap(RUNNING, Ordering::SeqCst);
        }
        let mut state = self.state();
        state.lead = None;
        kernel.forget_kicks();
        state.call_next();
        true
    }

    /// Forgets kicks that were for nobody. Those for the lead are the lead's to forget.
    pub fn forget_stray_kicks(&self, kernel: &impl Kernel) {
        let state = self.state();
        if state.lead.is_none() || is_planted!(KickForgotten) {
            kernel.forget_kicks();
        }
    }

    /// Takes the lead, or parks until it can be taken. `false` if woken before.
    fn take(&self, parker: &Arc<Parker>) -> bool {
        let mut state = self.state();
        loop {
            if std::mem::take(&mut state.interrupted) {
                return false;
            }
            if state.lead.is_none() {
                state.lead = Some(parker.clone());
                return true;
            }
            state.parked.push(parker.clone());
            drop(state);
            parker.park();
            state = self.state();
            state.parked.retain(|parked| !Arc::ptr_eq(parked, parker));
            if !parker.heed() {
                if state.lead.is_none() && !is_planted!(LeadNotHandedOver) {
                    state.call_next();
                }
                return false;
            }
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
