//! Making the changes of the log again, at opening.

use std::fmt;
use std::sync::Arc;

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
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
///   begin -> Begin --> Reading --- a group --> Replaying, its commits --.
///              |         ^ '--- no more ---> Adopting --> done          |
///   no log     |         '----------------------------------------------'
///   done <-----'
/// ```
///
/// An abandoned run has changed nothing but memory. Cost: the log is read, and the pages that its
/// changes are made in; those that do not fit the cache are written.
pub struct Recover {
    pager: Arc<Pager>,
    /// The version of the last commit that was made again, or that of the checkpoint.
    version: u64,
    /// For those who watch.
    recovery: Recovery,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// See whether there is a log.
    Begin,
    /// The next group is being read.
    Reading(Box<Transaction>, Box<StateMachine<ReadGroup>>),
    /// A commit is being made again; the rest of its group is to follow.
    Replaying(Box<LogReader>, Box<StateMachine<Replay<Vec<u8>>>>, Rest),
    /// The new version is put in place.
    Adopting(Box<StateMachine<Commit>>),
}

/// The commits of a group that are not made again yet, the last first.
pub struct Rest(Vec<Vec<u8>>);

/// Begins to make the changes of the log again.
pub(crate) fn recover(pager: Arc<Pager>, recovery: Recovery) -> StateMachine<Recover> {
    let version = pager.superblock().version;
    StateMachine::new(Recover { pager, version, recovery }, State::Begin)
}

impl StateTransition for Recover {
    type State = State;
    type Context = ();
    type Output = Arc<Pager>;
    type Error = Error;

    fn transition(&mut self, state: State, _context: &()) -> Result<Transition<Self>> {
        Ok(match state {
            State::Begin => match self.pager.take_recovery() {
                Some((reader, turn)) if reader.last_version() > self.version => {
                    let transaction = Transaction::new(self.pager.clone(), turn);
                    self.recovery.begin(reader.block_count() * BLOCK_LEN as u64);
                    self.read_next(Box::new(transaction), reader)
                }
                Some(_) | None => Transition::Done(self.pager.clone()),
            },
            State::Reading(transaction, mut reading) => match reading.step(&())? {
                IOResult::IO(io) => {
                    Transition::Wait(State::Reading(transaction, reading), io.into())
                }
                IOResult::Done((reader, Some(group))) => {
                    let rest = self.rest_of(&group);
                    self.replay_next(transaction, reader, rest)?
                }
                IOResult::Done((_, None)) => {
                    let adopting = adopt(*transaction, self.version);
                    Transition::Next(State::Adopting(Box::new(adopting)))
                }
            },
            State::Replaying(reader, mut replaying, rest) => match replaying.step(&self.pager)? {
                IOResult::IO(io) => {
                    Transition::Wait(State::Replaying(reader, replaying, rest), io.into())
                }
                IOResult::Done(transaction) => {
                    self.version += 1;
                    self.replay_next(Box::new(transaction), *reader, rest)?
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
    /// The commits of a group that the trees do not have yet.
    fn rest_of(&self, group: &Group) -> Rest {
        let known = (self.version + 1).saturating_sub(group.header().first_version);
        let records = group.transactions().skip(known as usize).map(<[u8]>::to_vec);
        let mut rest: Vec<Vec<u8>> = records.collect();
        rest.reverse();
        Rest(rest)
    }

    /// Goes on with the next commit of a group, or with the next group.
    fn replay_next(
        &self,
        transaction: Box<Transaction>,
        reader: LogReader,
        mut rest: Rest,
    ) -> Result<Transition<Self>> {
        Ok(match rest.0.pop() {
            None => self.read_next(transaction, reader),
            Some(record) => {
                let replaying = Box::new(replay(*transaction, record));
                Transition::Next(State::Replaying(Box::new(reader), replaying, rest))
            }
        })
    }

    /// Goes on with the next group: all before it is done.
    fn read_next(&self, transaction: Box<Transaction>, reader: LogReader) -> Transition<Recover> {
        self.recovery.advance(reader.read_blocks() * BLOCK_LEN as u64);
        Transition::Next(State::Reading(transaction, Box::new(read_group(reader))))
    }
}

impl fmt::Debug for Recover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recovering, at version {}", self.version)
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commits", self.0.len())
    }
}
