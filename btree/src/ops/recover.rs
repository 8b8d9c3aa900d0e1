//! Making the changes of the log again, at opening.

use std::fmt;
use std::sync::Arc;

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition, is_planted};
use yieldb_pager::Pager;
use yieldb_pager::log::BLOCK_LEN;
use yieldb_pager::log::group::Group;
use yieldb_pager::ops::read_log::{LogReader, ReadGroup, read_group};

use crate::ops::commit::{Commit, adopt};
use crate::ops::replay::{Replay, replay};
use crate::transaction::Transaction;
use crate::{Error, Recovery, Result};

/// Makes the changes of the log again that the checkpoint does not have: all of them in one
/// transaction, which is a version of its own when it is complete.
///
/// ```text
///   begin -> Begin --> Reading --- enough groups --> Replaying, their commits --.
///              |         ^ '--- no more ---> Adopting --> done                  |
///   no log     |         '------------------------------------------------------'
///   done <-----'
/// ```
///
/// Commits of many groups are made again as one, so that the pages of many of them can be read at
/// the same time: each may be short.
///
/// An abandoned run has changed nothing but memory. Cost: the log is read, and the pages that its
/// changes are made in; those that do not fit the cache are written.
pub struct Recover {
    pager: Arc<Pager>,
    /// The version of the last commit that was read, or that of the checkpoint.
    version: u64,
    /// The records of commits that were read and not made again, one behind the other.
    record: Vec<u8>,
    /// For those who watch.
    recovery: Recovery,
}

/// How many bytes of records are made again at a time, if there are so many: a thousand short ones,
/// and not so many that nobody hears for long how far it is.
const ENOUGH: usize = 256 << 10;

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// See whether there is a log.
    Begin,
    /// The next group is being read.
    Reading(Box<Transaction>, Box<StateMachine<ReadGroup>>),
    /// What was read is being made again.
    Replaying(Box<LogReader>, Box<StateMachine<Replay<Vec<u8>>>>),
    /// The new version is put in place.
    Adopting(Box<StateMachine<Commit>>),
}

/// Begins to make the changes of the log again.
pub(crate) fn recover(pager: Arc<Pager>, recovery: Recovery) -> StateMachine<Recover> {
    let version = pager.superblock().version;
    StateMachine::new(Recover { pager, version, record: Vec::new(), recovery }, State::Begin)
}

impl StateTransition for Recover {
    type State = State;
    type Context = ();
    type Output = Arc<Pager>;
    type Error = Error;

    fn transition(&mut self, state: State, _context: &()) -> Result<Transition<Self>> {
        Ok(match state {
            State::Begin => match self.pager.take_recovery() {
                Some((reader, turn))
                    if reader.last_version() > self.version || is_planted!(ReplayedTwice) =>
                {
                    let transaction = Transaction::new(self.pager.clone(), turn);
                    self.recovery.begin(reader.block_count() * BLOCK_LEN as u64);
                    read_next(Box::new(transaction), reader)
                }
                Some(_) | None => Transition::Done(self.pager.clone()),
            },
            State::Reading(transaction, mut reading) => match reading.step(&())? {
                IOResult::IO(io) => {
                    Transition::Wait(State::Reading(transaction, reading), io.into())
                }
                IOResult::Done((reader, Some(group))) => {
                    self.gather(&group);
                    if self.record.len() >= ENOUGH {
                        self.replay(*transaction, reader)
                    } else {
                        read_next(transaction, reader)
                    }
                }
                IOResult::Done((reader, None)) if !self.record.is_empty() => {
                    self.replay(*transaction, reader)
                }
                IOResult::Done((_, None)) => {
                    let adopting = adopt(*transaction, self.version);
                    Transition::Next(State::Adopting(Box::new(adopting)))
                }
            },
            State::Replaying(reader, mut replaying) => match replaying.step(&self.pager)? {
                IOResult::IO(io) => {
                    Transition::Wait(State::Replaying(reader, replaying), io.into())
                }
                IOResult::Done(transaction) => {
                    // All that was read is done.
                    self.recovery.advance(reader.read_blocks() * BLOCK_LEN as u64);
                    read_next(Box::new(transaction), *reader)
                }
            },
            State::Adopting(mut adopting) => match adopting.step(&self.pager)? {
                IOResult::IO(io) => Transition::Wait(State::Adopting(adopting), io.into()),
                IOResult::Done(_) => Transition::Done(self.pager.clone()),
            },
        })
    }
}

impl Recover {
    /// Takes the commits of a group that the trees do not have yet.
    fn gather(&mut self, group: &Group) {
        let known = (self.version + 1).saturating_sub(group.header().first_version);
        if known > 0 && is_planted!(ReplayedTwice) {
            group.transactions().for_each(|record| self.record.extend_from_slice(record));
            self.version += (group.transactions().count() as u64).saturating_sub(known);
            return;
        }
        for record in group.transactions().skip(known as usize) {
            self.record.extend_from_slice(record);
            self.version += 1;
        }
    }

    /// Makes again what was read.
    fn replay(&mut self, transaction: Transaction, reader: LogReader) -> Transition<Recover> {
        let replaying = replay(transaction, std::mem::take(&mut self.record));
        Transition::Next(State::Replaying(Box::new(reader), Box::new(replaying)))
    }
}

fn read_next(transaction: Box<Transaction>, reader: LogReader) -> Transition<Recover> {
    Transition::Next(State::Reading(transaction, Box::new(read_group(reader))))
}

impl fmt::Debug for Recover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recovering, at version {}", self.version)
    }
}
