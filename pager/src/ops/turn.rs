//! The engine's own machines: who steps them, and when.
//!
//! Checkpoints run one after the other, in the order in which they were asked for. No thread is
//! theirs: whoever waits for anything steps them in passing.

use std::collections::VecDeque;

use yieldb_core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use yieldb_core::sync::{Arc, Mutex, PoisonError, TryLockError};
use yieldb_core::{IOResult, StateMachine, is_planted, reached};

use crate::Pager;
use crate::ops::checkpoint::{self, Checkpoint, Job};

/// The checkpoints that are queued and the one that is under way.
#[derive(Default)]
pub(crate) struct Checkpoints {
    jobs: Mutex<VecDeque<Job>>,
    current: Mutex<Option<StateMachine<Checkpoint>>>,
    /// How many jobs are queued or under way.
    active: Arc<AtomicUsize>,
    /// Somebody has news for the checkpoint while another one is stepping it.
    turn_wanted: AtomicBool,
}

impl Checkpoints {
    /// Queues a job.
    pub fn push(&self, job: Job) {
        self.active.fetch_add(1, Ordering::SeqCst);
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).push_back(job);
    }

    /// How many are queued or under way.
    pub fn active(&self) -> &Arc<AtomicUsize> {
        &self.active
    }

    /// Goes as far as can be gone. `true` if this call did something: there may be I/O to be sent
    /// out.
    pub fn turn(&self, pager: &Pager) -> bool {
        let mut worked = false;
        while self.active.load(Ordering::SeqCst) > 0 {
            self.turn_wanted.store(true, Ordering::SeqCst);
            let mut current = match self.current.try_lock() {
                Ok(current) => current,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => break,
            };
            worked = true;
            self.turn_wanted.store(false, Ordering::SeqCst);
            self.run(pager, &mut current);
            drop(current);
            if is_planted!(TurnNotWanted) || !self.turn_wanted.load(Ordering::SeqCst) {
                break;
            }
        }
        worked
    }

    fn run(&self, pager: &Pager, current: &mut Option<StateMachine<Checkpoint>>) {
        loop {
            let machine = match current {
                Some(machine) => machine,
                None => {
                    let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(job) = job else { return };
                    current.insert(checkpoint::begin(job))
                }
            };
            let ticket = machine.machine().ticket().clone();
            let result = match machine.step(pager) {
                Ok(IOResult::IO(io)) if io.is_explicit_yield() => continue,
                Ok(IOResult::IO(_)) => return,
                Ok(IOResult::Done(version)) => Ok(version),
                Err(error) => Err(error),
            };
            *current = None;
            if Arc::strong_count(&ticket) == 1 {
                reached!(CommitUnattended);
            }
            self.active.fetch_sub(1, Ordering::SeqCst);
            ticket.finish(result);
        }
    }
}
