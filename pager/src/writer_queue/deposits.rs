//! Short changes that wait in the writer's queue as a record of them: whoever of those who wait has
//! the turn makes the changes of all in one transaction, and all are told how that ended. So when
//! many commit at a time, the pages that they share are copied once. (LevelDB has it as well.)
//!
//! ```text
//!   deposit ---> waiting ------> the turn: its own changes first, then those of the others
//!                 ^   '--------> taken by another one ---> told the result
//!                 '--- put back ---'
//! ```
//!
//! One whose changes have failed is put back for whoever left it, so that he is told the error, and
//! nobody else tries again.
//!
//! The turn is *offered* to deposits: it is had by the one who asks first, so that none waits for
//! an operation that nobody drives. Those who write themselves may have it in passing; after each
//! of them it is offered.

use std::sync::OnceLock;

use smallvec::SmallVec;
use yieldb_core::sync::atomic::{AtomicBool, Ordering};
use yieldb_core::sync::{Arc, Mutex, MutexGuard, PoisonError};
use yieldb_core::{Completion, Request, is_planted, reached};

use super::{State, WriterQueue, WriterTurn};
use crate::Result;

/// Changes that wait for anyone to make them.
#[derive(Debug)]
pub struct Deposit {
    record: Vec<u8>,
    /// The version that has them, or why none has.
    result: OnceLock<Result<u64>>,
    /// Tells whoever left it to look again.
    signal: Mutex<Completion>,
    /// Nobody waits for it any more, since it was taken. Changed under the queue's lock.
    is_abandoned: AtomicBool,
    /// Only whoever left it makes the changes.
    is_own: AtomicBool,
}

/// A deposit in the queue. Dropping it takes it out, if nobody else has taken it: from then on its
/// changes are made, whether or not anyone waits for that.
#[derive(Debug)]
pub struct Deposited {
    queue: Arc<WriterQueue>,
    deposit: Arc<Deposit>,
}

/// What has become of a deposit.
#[derive(Debug)]
pub enum Outcome {
    /// It waits; look again after this.
    Waiting(Deposited, Completion),
    /// It was taken out: the changes are to be made by the one who left it, who has the turn.
    Turn(WriterTurn),
    /// Somebody else has made them: the version that has them.
    Made(Result<u64>),
}

/// Deposits that were taken: whoever has them makes their changes, and [tells](Followers::finish)
/// how it ended. Dropping them puts them back, in front of the others.
#[derive(Debug, Default)]
pub struct Followers {
    taken: Option<(Arc<WriterQueue>, Vec<Arc<Deposit>>)>,
}

/// Signals that are told when the lock is given back.
pub(super) type Signals = SmallVec<[Completion; 4]>;

impl Deposit {
    /// A record of the changes.
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// Leaves the changes to whoever left them: they failed.
    pub fn leave_alone(&self) {
        self.is_own.store(true, Ordering::Relaxed);
    }

    pub(super) fn signal(&self) -> MutexGuard<'_, Completion> {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriterQueue {
    /// Leaves changes for anyone to make, behind those that others have left.
    pub fn deposit(self: &Arc<Self>, record: Vec<u8>) -> Deposited {
        let deposit = Arc::new(Deposit {
            record,
            result: OnceLock::new(),
            signal: Mutex::new(Completion::signal()),
            is_abandoned: AtomicBool::new(false),
            is_own: AtomicBool::new(false),
        });
        self.state().deposits.push_back(deposit.clone());
        Deposited { queue: self.clone(), deposit }
    }

    /// How many deposits nobody has taken.
    pub(crate) fn deposit_count(&self) -> usize {
        self.state().deposits.len()
    }

    /// Tells those who left deposits to look again, if nobody has the turn: there is room for a
    /// group.
    pub fn offer(&self) {
        let mut state = self.state();
        if state.holder.is_some() {
            return;
        }
        let signals = state.offer();
        drop(state);
        tell(signals);
    }
}

impl State {
    /// Where a deposit is, if nobody has taken it.
    fn place_of(&self, deposit: &Arc<Deposit>) -> Option<usize> {
        self.deposits.iter().position(|other| Arc::ptr_eq(other, deposit))
    }

    /// Gives everybody who left a deposit something new to wait for. What they waited for is to be
    /// told.
    pub(super) fn offer(&mut self) -> Signals {
        let renew = |deposit: &Arc<Deposit>| {
            std::mem::replace(&mut *deposit.signal(), Completion::signal())
        };
        self.deposits.iter().map(renew).collect()
    }
}

pub(super) fn tell(signals: Signals) {
    for signal in signals {
        signal.succeed(0);
    }
}

impl Deposited {
    /// What has become of it. It has the turn if nobody else has, and `is_ready`, which is called
    /// under the queue's lock with how many deposits there are.
    pub fn look(self, is_ready: impl FnOnce(usize) -> bool) -> Outcome {
        if let Some(result) = self.deposit.result.get() {
            return Outcome::Made(result.clone());
        }
        let mut state = self.queue.state();
        // Whoever makes it ready afterwards tells this one.
        let signal = self.deposit.signal().clone();
        // It is looked for only then: many may look, and are told that another one has it.
        let is_free = state.holder.is_none() && is_ready(state.deposits.len());
        let place = is_free.then(|| state.place_of(&self.deposit)).flatten();
        match place {
            Some(place) => {
                state.deposits.remove(place);
                state.holder = Some(u64::MAX);
                drop(state);
                let turn = WriterTurn { queue: self.queue.clone() };
                turn.used_here();
                Outcome::Turn(turn)
            }
            None => {
                drop(state);
                Outcome::Waiting(self, signal)
            }
        }
    }
}

impl Drop for Deposited {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        // One that was made is not there any more.
        let is_made = self.deposit.result.get().is_some();
        let place = (!is_made).then(|| state.place_of(&self.deposit)).flatten();
        match place {
            Some(place) => drop(state.deposits.remove(place)),
            None => self.deposit.is_abandoned.store(true, Ordering::Relaxed),
        }
        drop(state);
        self.queue.pass_on_again();
    }
}

impl WriterTurn {
    /// Takes the deposits that were left first, as long as there are no more than `count`, and
    /// their records no longer than `len` bytes together. Those that failed before stay.
    pub fn followers(&self, count: usize, mut len: usize) -> Followers {
        let mut taken = Vec::new();
        let mut state = self.queue.state();
        let mut place = 0;
        while taken.len() < count
            && let Some(next) = state.deposits.get(place)
        {
            if next.is_own.load(Ordering::Relaxed) {
                place += 1;
                continue;
            }
            if next.record.len() > len {
                break;
            }
            len -= next.record.len();
            taken.extend(state.deposits.remove(place));
        }
        drop(state);
        if taken.is_empty() {
            return Followers::default();
        }
        reached!(DepositsTaken);
        Followers { taken: Some((self.queue.clone(), taken)) }
    }
}

impl Followers {
    /// Each of them, in order.
    pub fn deposits(&self) -> &[Arc<Deposit>] {
        self.taken.as_ref().map_or(&[], |(_, deposits)| deposits)
    }

    /// Tells all of them how it ended.
    pub fn finish(&mut self, result: &Result<u64>) {
        let Some((_, deposits)) = self.taken.take() else { return };
        for deposit in deposits {
            let first = deposit.result.set(result.clone()).is_ok();
            debug_assert!(first, "the changes of a deposit are made once");
            let signal = deposit.signal().clone();
            signal.succeed(0);
        }
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        let Some((queue, deposits)) = self.taken.take() else { return };
        if is_planted!(DepositsForgotten) {
            return;
        }
        reached!(DepositsPutBack);
        let mut state = queue.state();
        for deposit in deposits.into_iter().rev() {
            if !deposit.is_abandoned.load(Ordering::Relaxed) {
                state.deposits.push_front(deposit);
            }
        }
        drop(state);
        queue.offer();
    }
}
