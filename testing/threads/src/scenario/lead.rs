//! The lead of a ring: one thread waits in the kernel, the others park.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use yieldb_core::{Completion, Request};
use yieldb_io_backends::uring::lead::{Kernel, Lead, drive};

use crate::world::{thread, together};

/// A ring of which the kernel is a thread of the scenario.
#[derive(Default)]
struct Ring {
    lead: Lead,
    queues: Mutex<Queues>,
    /// There is something to reap.
    filled: Condvar,
    /// There is something to do.
    submitted: Condvar,
    reaping: Mutex<()>,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Queues {
    submitted: VecDeque<Completion>,
    /// What is done.
    done: VecDeque<Completion>,
    is_kicked: bool,
    is_closed: bool,
}

impl Kernel for Ring {
    fn reap(&self) -> usize {
        let mut finished = 0;
        loop {
            let done = {
                let Ok(_guard) = self.reaping.try_lock() else { return finished };
                std::mem::take(&mut self.queues().done)
            };
            self.lead.forget_stray_kicks(self);
            if done.is_empty() {
                return finished;
            }
            for io in done {
                finished += 1;
                io.succeed(0);
            }
        }
    }

    fn wait_in_kernel(&self) {
        assert_eq!(self.waiting.fetch_add(1, Ordering::SeqCst), 0, "two leaders");
        let mut queues = self.queues();
        while queues.done.is_empty() && !queues.is_kicked {
            queues = self.filled.wait(queues).expect("no thread panics");
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn kick(&self) {
        self.queues().is_kicked = true;
        self.filled.notify_all();
    }

    fn forget_kicks(&self) {
        self.queues().is_kicked = false;
    }
}

impl Ring {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().expect("no thread panics")
    }

    fn submit(&self, io: &Completion) {
        self.queues().submitted.push_back(io.clone());
        self.submitted.notify_all();
    }

    /// Drives until `io` is finished: asleep, as long as nothing happens.
    fn wait(self: &Arc<Self>, io: &Completion) {
        while !io.finished() {
            drive(self, &self.lead, io);
        }
    }

    /// What the kernel does: finishes what was submitted, in any order, until it is closed.
    fn work(&self) {
        loop {
            let mut queues = self.queues();
            while queues.submitted.is_empty() {
                if queues.is_closed {
                    return;
                }
                queues = self.submitted.wait(queues).expect("no thread panics");
            }
            let at = thread_rng().gen_range(0..queues.submitted.len());
            let io = queues.submitted.remove(at).expect("the index is in range");
            queues.done.push_back(io);
            drop(queues);
            self.filled.notify_all();
        }
    }

    fn close(&self) {
        self.queues().is_closed = true;
        self.submitted.notify_all();
    }
}

/// Three threads wait for one or two I/Os each, and leave as soon as they have them: whoever is
/// left is woken, by the kernel or by another one.
pub fn hand_over() {
    let ring = Arc::new(Ring::default());
    let left = Arc::new(AtomicUsize::new(3));
    let waiters = (0..3).map(|_| {
        let (ring, left) = (ring.clone(), left.clone());
        thread(move || {
            for _ in 0..thread_rng().gen_range(1..=2) {
                let io = Completion::sync();
                ring.submit(&io);
                ring.wait(&io);
                assert!(io.succeeded());
            }
            if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                ring.close();
            }
        })
    });
    let kernel = ring.clone();
    together(waiters.chain([thread(move || kernel.work())]).collect::<Vec<_>>());
}

/// Two threads of a driver, which wait for nothing of their own, beside one that waits for an I/O
/// and one that waits for a signal. When those are done, all drivers are told to stop.
pub fn interrupt() {
    let ring = Arc::new(Ring::default());
    let (stop, signal) = (Arc::new(AtomicBool::new(false)), Completion::signal());
    let drivers = (0..2).map(|_| {
        let (ring, stop) = (ring.clone(), stop.clone());
        thread(move || {
            let never = Completion::signal();
            while !stop.load(Ordering::SeqCst) {
                drive(&ring, &ring.lead, &never);
            }
            // For the one beside this one that was not waiting when all were told.
            ring.lead.interrupt();
        })
    });
    let left = Arc::new(AtomicUsize::new(2));
    let end = {
        let (ring, stop) = (ring.clone(), stop.clone());
        move || {
            if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                stop.store(true, Ordering::SeqCst);
                ring.lead.interrupt();
                ring.close();
            }
        }
    };
    let waiter = {
        let (ring, signal, end) = (ring.clone(), signal.clone(), end.clone());
        thread(move || {
            ring.wait(&signal);
            end();
        })
    };
    let reader = {
        let ring = ring.clone();
        thread(move || {
            let io = Completion::sync();
            ring.submit(&io);
            ring.wait(&io);
            signal.succeed(0);
            end();
        })
    };
    let kernel = ring.clone();
    together(drivers.chain([waiter, reader, thread(move || kernel.work())]).collect::<Vec<_>>());
}
