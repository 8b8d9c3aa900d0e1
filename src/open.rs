//! Opening a database or a value, getting the writer's turn, closing: the operations of the door
//! itself.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use yieldb_btree::Recovery;
use yieldb_btree::ops::begin as tree_begin;
use yieldb_btree::ops::find_value::FindValue;
use yieldb_btree::ops::open as tree_open;
use yieldb_core::{Completion, IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::Pager;
use yieldb_pager::Settings;
use yieldb_pager::ops::checkpoint::Ticket;

use crate::database::Database;
use crate::driving::Driving;
use crate::op::Op;
use crate::transaction::WriteTransaction;
use crate::value::ValueReader;
use crate::{Error, Result};

/// Opens a database.
///
/// ```text
///   begin -> Opening --> done
///   refused from the beginning: Refused
/// ```
///
/// An abandoned run leaves a file that can be opened.
#[derive(Debug)]
pub struct Open {
    path: PathBuf,
    recovery: Recovery,
}

/// How far it is.
pub enum OpenState {
    /// The file is being opened, and its trees found.
    Opening(StateMachine<tree_open::Open>, Handle),
    /// The options were impossible.
    Refused(Error),
}

/// What drives the database that is being opened.
pub struct Handle(Arc<Driving>);

impl fmt::Debug for OpenState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenState::Opening(opening, _) => opening.fmt(f),
            OpenState::Refused(error) => error.fmt(f),
        }
    }
}

/// Begins to open the file at `path`.
pub(crate) fn open(path: &Path, settings: Settings, driving: Arc<Driving>) -> StateMachine<Open> {
    match tree_open::open(driving.backend().io.clone(), path, settings) {
        Ok(opening) => {
            let recovery = opening.machine().recovery().clone();
            let machine = Open { path: path.to_path_buf(), recovery };
            StateMachine::new(machine, OpenState::Opening(opening, Handle(driving)))
        }
        Err(error) => refuse(error.into()),
    }
}

/// An operation that fails with `error`.
pub(crate) fn refuse(error: Error) -> StateMachine<Open> {
    let machine = Open { path: PathBuf::new(), recovery: Recovery::default() };
    StateMachine::new(machine, OpenState::Refused(error))
}

impl Op<'_, Open> {
    /// Tells how far the operation is with the log, where there is one: from another thread, or
    /// between two steps.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("some.db");
    /// use yieldb::{Batch, Database, MAIN};
    ///
    /// let database = Database::open(&path).wait()?;
    /// for name in ["a checkpoint", "a checkpoint, and a log begins", "in the log"] {
    ///     let mut batch = Batch::new();
    ///     batch.put(MAIN, name, "");
    ///     database.write(&batch).wait()?;
    /// }
    /// drop(database); // and not closed
    ///
    /// let opening = Database::open(&path);
    /// let recovery = opening.recovery();
    /// assert_eq!(recovery.progress(), None);
    /// let _database = opening.wait()?;
    /// let progress = recovery.progress().expect("there was a log");
    /// assert_eq!((progress.bytes, progress.of), (4096, 4096));
    /// # Ok(()) }
    /// ```
    pub fn recovery(&self) -> Recovery {
        self.machine().recovery.clone()
    }
}

impl StateTransition for Open {
    type State = OpenState;
    type Context = ();
    type Output = Database;
    type Error = Error;

    fn transition(&mut self, state: OpenState, _context: &()) -> Result<Transition<Self>> {
        match state {
            OpenState::Refused(error) => Err(error),
            OpenState::Opening(mut opening, handle) => {
                let result = opening
                    .step(&())
                    .map_err(|cause| Error::Open { path: self.path.clone(), cause })?;
                Ok(match result {
                    IOResult::IO(io) => {
                        Transition::Wait(OpenState::Opening(opening, handle), io.into())
                    }
                    IOResult::Done(pager) => Transition::Done(Database::new(pager, handle.0)),
                })
            }
        }
    }
}

/// Waits for the writer's turn and begins a transaction.
///
/// An abandoned run leaves the queue, and passes the turn on if it had come.
pub struct Begin {
    driving: Arc<Driving>,
}

/// Waiting for the turn.
#[derive(Debug)]
pub struct Beginning(StateMachine<tree_begin::Begin>);

/// Begins to wait for the writer's turn.
pub(crate) fn begin(pager: Arc<Pager>, driving: Arc<Driving>) -> StateMachine<Begin> {
    StateMachine::new(Begin { driving }, Beginning(tree_begin::begin(pager)))
}

impl StateTransition for Begin {
    type State = Beginning;
    type Context = Pager;
    type Output = WriteTransaction;
    type Error = Error;

    fn transition(&mut self, state: Beginning, pager: &Pager) -> Result<Transition<Self>> {
        let Beginning(mut begin) = state;
        Ok(match begin.step(pager)? {
            IOResult::IO(io) => Transition::Wait(Beginning(begin), io.into()),
            IOResult::Done(transaction) => {
                Transition::Done(WriteTransaction::new(transaction, self.driving.clone()))
            }
        })
    }
}

/// Waits until every commit under way is over, and ends the log.
///
/// ```text
///   begin -> Queued -- there is a log --> EndingLog --> Leave -- nobody is there --> done
///               |'--- there is none ---------------------^ '--- a driver thread: waits in Leave
///               '---- it is only read --> done
/// ```
///
/// An abandoned run leaves the commits under way, which go on as long as somebody drives.
pub struct Close {
    database: Database,
}

/// How far it is.
#[derive(Debug)]
pub enum CloseState {
    /// Waiting for the writer's turn: whoever gets it comes after every commit before him.
    Queued(StateMachine<tree_begin::Begin>),
    /// The last checkpoint is made, and the log removed.
    EndingLog(Arc<Ticket>),
    /// See that no driver thread keeps the engine, and with it the file's lock, for a moment more.
    Leave,
}

/// Begins to close.
pub(crate) fn close(database: Database, pager: Arc<Pager>) -> StateMachine<Close> {
    StateMachine::new(Close { database }, CloseState::Queued(tree_begin::begin(pager)))
}

impl StateTransition for Close {
    type State = CloseState;
    type Context = Pager;
    type Output = ();
    type Error = Error;

    fn transition(&mut self, state: CloseState, pager: &Pager) -> Result<Transition<Self>> {
        if self.database.is_read_only() {
            return Ok(Transition::Done(()));
        }
        Ok(match state {
            CloseState::Queued(mut begin) => match begin.step(pager)? {
                IOResult::IO(io) => Transition::Wait(CloseState::Queued(begin), io.into()),
                IOResult::Done(transaction) => match transaction.end_log() {
                    None => Transition::Next(CloseState::Leave),
                    Some(ticket) => {
                        let over = ticket.completion();
                        let _submitted = pager.turn();
                        Transition::Wait(CloseState::EndingLog(ticket), over)
                    }
                },
            },
            CloseState::EndingLog(ticket) => {
                ticket.outcome().map_err(yieldb_btree::Error::from)?;
                Transition::Next(CloseState::Leave)
            }
            CloseState::Leave if self.database.driving().has_visitors() => {
                Transition::Wait(CloseState::Leave, Completion::new_yield())
            }
            CloseState::Leave => Transition::Done(()),
        })
    }
}

/// Looks up a value to read it part by part.
///
/// An abandoned run leaves nothing behind but pages in the cache.
pub struct OpenValue<'a, K> {
    pager: &'a Pager,
    driving: &'a Driving,
    key: PhantomData<K>,
}

/// The value is being looked up.
pub struct Finding<'a, K: AsRef<[u8]>>(StateMachine<FindValue<'a, K>>);

impl<K: AsRef<[u8]>> fmt::Debug for Finding<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'a, K: AsRef<[u8]>> OpenValue<'a, K> {
    pub(crate) fn begin(
        machine: StateMachine<FindValue<'a, K>>,
        pager: &'a Pager,
        driving: &'a Driving,
    ) -> StateMachine<OpenValue<'a, K>> {
        StateMachine::new(OpenValue { pager, driving, key: PhantomData }, Finding(machine))
    }
}

impl<'a, K: AsRef<[u8]>> StateTransition for OpenValue<'a, K> {
    type State = Finding<'a, K>;
    type Context = Pager;
    type Output = Option<ValueReader<'a>>;
    type Error = Error;

    fn transition(&mut self, state: Finding<'a, K>, pager: &Pager) -> Result<Transition<Self>> {
        let Finding(mut find) = state;
        Ok(match find.step(pager)? {
            IOResult::IO(io) => Transition::Wait(Finding(find), io.into()),
            IOResult::Done(found) => {
                let (pager, driving) = (self.pager, self.driving);
                Transition::Done(found.map(|value| ValueReader::new(value, pager, driving)))
            }
        })
    }
}
