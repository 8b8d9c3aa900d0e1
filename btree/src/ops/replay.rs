//! Making the changes of a record again.

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::Pager;
use yieldb_pager::ops::fetch::{Fetch, fetch};

use crate::applying::Applying;
use crate::record::Changes;
use crate::transaction::Transaction;
use crate::work::Step;
use crate::{Error, Result};

/// Makes the changes of a [record](crate::record) in a transaction, which is its output.
///
/// ```text
///   begin -> Apply --- all are made --> done
///             ^ ^|'---- one is made, or short: waits in Apply
///             | ''----- missing -> Fetching
///             '----------------------'
/// ```
///
/// When a page is missing, those that the next changes will miss are asked for with it. The
/// transaction does not record what is replayed; if it recorded before, its record is over. A run
/// that is abandoned, or fails, undoes the transaction.
#[derive(Debug)]
pub struct Replay<R> {
    record: R,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Make the next change, over the pages in memory.
    Apply(Box<Applying>),
    /// A page that it missed is being fetched.
    Fetching(Box<Applying>, StateMachine<Fetch>),
}

/// How many changes are looked at ahead when a page is missing: there are many that touch it, so
/// there is a read for every place of a deep queue.
const AHEAD: usize = 512;

/// Begins to make the changes of `record`, any bytes, in `transaction`.
///
/// When driven, it fails with [`Error::Record`] if the bytes are no record, or one that does not
/// fit the trees: it changes a tree that is not there, or creates one with a number or a name that
/// there was. Otherwise as the changes themselves.
pub fn replay<R: AsRef<[u8]>>(mut transaction: Transaction, record: R) -> StateMachine<Replay<R>> {
    transaction.recorder.end();
    StateMachine::new(Replay { record }, State::Apply(Box::new(Applying::new(transaction))))
}

impl<R: AsRef<[u8]>> StateTransition for Replay<R> {
    type State = State;
    type Context = Pager;
    /// The transaction with the changes.
    type Output = Transaction;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Apply(mut applying) => {
                let changes = Changes::from_offset(self.record.as_ref(), applying.position);
                let mut behind = changes.clone();
                let Some(change) = behind.next().transpose()? else {
                    return Ok(Transition::Done(applying.transaction));
                };
                let damage = |error| damage(error, changes.offset());
                match applying.step(change, pager).map_err(damage)? {
                    Step::Next(()) => Transition::Next(State::Apply(applying)),
                    Step::Wait((), io) => Transition::Wait(State::Apply(applying), io),
                    Step::Missing(page) => {
                        let next = changes.map_while(Result::ok);
                        applying.read_ahead(page, next, AHEAD, pager)?;
                        Transition::Next(State::Fetching(applying, fetch(page)))
                    }
                    Step::Done(()) => {
                        applying.position = behind.offset();
                        Transition::Next(State::Apply(applying))
                    }
                }
            }
            State::Fetching(mut applying, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(applying, fetch), io.into()),
                IOResult::Done(page) => {
                    applying.keep_in_memory(page);
                    Transition::Next(State::Apply(applying))
                }
            },
        })
    }
}

/// What would be a caller's mistake is damage in a record: nobody could have made the change.
fn damage(error: Error, offset: usize) -> Error {
    let what = match error {
        Error::NoSuchTree { .. } => "a change of a tree that is not there",
        Error::KeyTooLong { .. } => "a key that is too long",
        Error::ValueTooLong { .. } => "a value that is too long",
        Error::TreeExists { .. } => "a name that another tree has",
        Error::TreeName { .. } => "a name that no tree can have",
        Error::MainTree => "another name, or an end, for the tree `main`",
        Error::TooManyTrees => "a tree with a number that none can have",
        error @ (Error::Pager(_)
        | Error::Record { .. }
        | Error::BehindValue { .. }
        | Error::ValueIncomplete { .. }
        | Error::TreeNotEmpty { .. }
        | Error::SortFile { .. }
        | Error::SavepointOver) => return error,
    };
    Error::Record { offset, what }
}
