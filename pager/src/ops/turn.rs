//! The engine's own machines: who steps them, and when.
//!
//! Checkpoints run one after the other, in the order in which they were asked for. Beside them
//! groups of commits go into the log. No thread is theirs: whoever waits for anything steps them in
//! passing.

use std::collections::VecDeque;

use yieldb_core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use yieldb_core::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use yieldb_core::{IOResult, StateMachine, is_planted, reached};

use crate::ops::checkpoint::{self, Checkpoint, Job, LogPlan, Subject};
use crate::{Error, Pager, Result};

/// The checkpoints that are queued and the one that is under way.
#[derive(Default)]
pub(crate) struct Machines {
    jobs: Mutex<VecDeque<Job>>,
    current: Mutex<Option<StateMachine<Checkpoint>>>,
    /// How many jobs are queued or under way, and commits that wait for the log.
    active: Arc<AtomicUsize>,
    /// Somebody has news for a machine while another one is stepping it.
    turn_wanted: AtomicBool,
    /// Is a checkpoint of the newest version queued or under way?
    is_catching_up: AtomicBool,
}

impl Machines {
    /// Queues a job.
    pub fn push(&self, job: Job) {
        self.begin_activity();
        self.jobs().push_back(job);
    }

    /// How many are queued or under way.
    pub fn active(&self) -> &Arc<AtomicUsize> {
        &self.active
    }

    /// Queues a checkpoint of the newest version, unless one is queued or under way.
    pub fn catch_up(&self) {
        if !self.is_catching_up.swap(true, Ordering::SeqCst) {
            let (subject, ticket) = (Subject::Version(None), Arc::default());
            self.push(Job { subject, log: LogPlan::Keep, ticket });
        }
    }

    /// Somebody waits for the log.
    pub fn begin_activity(&self) {
        self.active.fetch_add(1, Ordering::SeqCst);
    }

    /// He does not any more.
    pub fn end_activity(&self) {
        self.active.fetch_sub(1, Ordering::SeqCst);
    }

    /// Goes as far as can be gone. `true` if this call did something: there may be I/O to be sent
    /// out.
    pub fn turn(&self, pager: &Pager) -> bool {
        let mut worked = false;
        while self.has_work(pager) {
            self.turn_wanted.store(true, Ordering::SeqCst);
            let mut current = match self.current.try_lock() {
                Ok(current) => current,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => break,
            };
            worked = true;
            // Taken: what was done before it was wanted is seen from here on.
            self.turn_wanted.swap(false, Ordering::SeqCst);
            pager.settle();
            let _reaped = pager.log().turn(pager);
            loop {
                self.run(pager, &mut current);
                // A checkpoint may have a group to be written, or wait for one that is.
                if !pager.log().turn(pager) {
                    break;
                }
            }
            drop(current);
            pager.end_waits();
            if is_planted!(TurnNotWanted) || !self.turn_wanted.load(Ordering::SeqCst) {
                break;
            }
        }
        worked
    }

    /// Is anything queued or under way but relaxed commits, whose time has not come?
    fn has_work(&self, pager: &Pager) -> bool {
        let active = self.active.load(Ordering::SeqCst);
        active > 0 && !pager.log().is_resting(active, pager)
    }

    /// Goes on with checkpoints.
    fn run(&self, pager: &Pager, current: &mut Option<StateMachine<Checkpoint>>) {
        loop {
            let machine = match current {
                Some(machine) => machine,
                None => match self.next_job(pager) {
                    Some(job) => current.insert(checkpoint::begin(job, pager)),
                    None => return,
                },
            };
            let ticket = machine.machine().ticket().clone();
            let is_version = machine.machine().is_of_version();
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
            self.end_activity();
            self.after_checkpoint(pager, is_version, &result);
            ticket.finish(result);
        }
    }

    /// Those who wait for the room that a checkpoint makes are told if it does not; and to ask
    /// again if they came when it was all but over, and did not get another one.
    fn after_checkpoint(&self, pager: &Pager, is_version: bool, result: &Result<u64>) {
        if is_version {
            self.is_catching_up.store(false, Ordering::SeqCst);
        }
        let cause = match result {
            Ok(_) => return pager.log().retry_room(),
            Err(Error::Io(cause) | Error::Poisoned { cause }) => cause.clone(),
            Err(_) => yieldb_core::Error::Cancelled,
        };
        pager.log().refuse_room(&cause);
    }

    /// The job that is next. The log ends when nothing is on its way into it.
    fn next_job(&self, pager: &Pager) -> Option<Job> {
        let mut jobs = self.jobs();
        let is_ready = jobs.front()?.log != LogPlan::End || pager.log().is_idle();
        if is_ready { jobs.pop_front() } else { None }
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
