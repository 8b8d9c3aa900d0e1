//! A log that no superblock speaks of: finding out whose it is, and removing it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use smallvec::smallvec;
use yieldb_core::{
    BufferPool, Completion, CompletionGroup, Create, File, IO, IOResult, OpenOptions, Request,
    StateMachine, StateTransition, Transition, reached,
};

use super::make_log::LogFile;
use crate::log::BLOCK_LEN;
use crate::log::path::LogPath;
use crate::log::remains::{Remains, Verdict};
use crate::{Error, Result};

/// Finds out whether a file is what a log of a database has left, or somebody else's.
///
/// ```text
///   begin -> Judge --- it is known --> done
///             ^ '---- not yet ---> Looking
///             '----------------------'
/// ```
///
/// An abandoned run leaves nothing behind.
#[derive(Debug)]
pub struct LookAtLog {
    file: LogFile,
}

/// How far a look is.
#[derive(Debug)]
pub enum LookState {
    /// See what is known.
    Judge(Remains, Verdict),
    /// The next bytes are being read.
    Looking(Remains, Completion),
}

/// Begins to look at a file.
///
/// # Errors
///
/// Its length cannot be had.
pub(crate) fn look_at_log(file: LogFile, database_id: [u8; 16]) -> Result<StateMachine<LookAtLog>> {
    let remains = Remains::new(database_id, file.0.size()?);
    let first = remains.first();
    Ok(StateMachine::new(LookAtLog { file }, LookState::Judge(remains, first)))
}

impl StateTransition for LookAtLog {
    type State = LookState;
    type Context = ();
    /// Is it what a log of the database has left?
    type Output = bool;
    type Error = Error;

    fn transition(&mut self, state: LookState, _context: &()) -> Result<Transition<Self>> {
        Ok(match state {
            LookState::Judge(_, Verdict::Ours) => Transition::Done(true),
            LookState::Judge(_, Verdict::Foreign) => Transition::Done(false),
            LookState::Judge(remains, Verdict::Look { offset, len }) => {
                // Whole blocks are read, also where the file ends in the middle of one.
                let len = len.next_multiple_of(BLOCK_LEN);
                let buffer = BufferPool::new(1, len)?.take().expect("it has one");
                let io = Completion::read(smallvec![buffer]);
                self.file.0.read(offset, io.clone());
                Transition::Wait(LookState::Looking(remains, io.clone()), io)
            }
            LookState::Looking(mut remains, io) => {
                let read = io.result().expect("the read is finished")?;
                let verdict = remains.look(&io.take_buffers()[0][..read]);
                Transition::Next(LookState::Judge(remains, verdict))
            }
        })
    }
}

/// Removes the log that no superblock speaks of, if there is one: a process was killed while it
/// made it, or when it was to remove it. What is somebody else's stays.
///
/// ```text
///   begin -> Open --> Opening --> Looking --- it is ours ---> Removing --> done
///                        | no file   '-- it is not --> done
///                       done
/// ```
///
/// Only for whoever has both slots durable: a slot that a power cut can bring back may speak of the
/// log. Nothing needs the file to be gone, so a failure is none: the next log is made over it.
/// Whoever asked makes it durable that the file is gone. An abandoned run leaves the log, or not.
pub struct RemoveLeftLog {
    io: Arc<dyn IO>,
    path: LogPath,
    data: Arc<dyn File>,
    database_id: [u8; 16],
}

/// How far a removal is.
#[derive(Debug)]
pub enum State {
    /// There may be a file.
    Open,
    /// It is being opened.
    Opening(Completion),
    /// Whose it is is being found out.
    Looking(StateMachine<LookAtLog>),
    /// It goes.
    Removing(Completion),
}

/// Begins to remove the log at `path` that the database with this file and id has left.
pub(crate) fn remove_left_log(
    io: Arc<dyn IO>,
    path: LogPath,
    data: Arc<dyn File>,
    database_id: [u8; 16],
) -> StateMachine<RemoveLeftLog> {
    StateMachine::new(RemoveLeftLog { io, path, data, database_id }, State::Open)
}

/// Begins to remove the log at `path`. Until that is over `data`, the database's file, stays open,
/// and locked: whoever has gone away meanwhile, nobody makes another log of that name before.
pub(crate) fn remove_log(io: &dyn IO, path: &Path, data: Arc<dyn File>) -> Completion {
    let removal = Completion::directory();
    let mut over = CompletionGroup::new(move |_| drop(data));
    over.add(&removal);
    io.remove(path, removal);
    over.build()
}

impl StateTransition for RemoveLeftLog {
    type State = State;
    type Context = ();
    type Output = ();
    type Error = Error;

    fn transition(&mut self, state: State, _context: &()) -> Result<Transition<Self>> {
        Ok(match state {
            State::Open => {
                let io = Completion::open();
                let options = OpenOptions { write: false, create: Create::Never, direct: false };
                self.io.open(&self.path, options, io.clone());
                Transition::Wait(State::Opening(io.clone()), io)
            }
            State::Opening(io) => {
                // Usually there is none. If it cannot be opened, it is no log of ours either.
                let Some(file) = io.take_file() else { return Ok(Transition::Done(())) };
                match look_at_log(LogFile(file), self.database_id) {
                    Ok(looking) => Transition::Next(State::Looking(looking)),
                    Err(error) => self.leave(&error),
                }
            }
            State::Looking(mut looking) => match looking.step(&()) {
                Ok(IOResult::IO(io)) => Transition::Wait(State::Looking(looking), io.into()),
                Ok(IOResult::Done(true)) if self.path.is_beside(&*self.data) => {
                    let io = remove_log(&*self.io, &self.path, self.data.clone());
                    Transition::Wait(State::Removing(io.clone()), io)
                }
                Ok(IOResult::Done(_)) => {
                    let file = self.path.display();
                    tracing::warn!(%file, "what has the log's name is not ours, and stays");
                    Transition::Done(())
                }
                Err(error) => self.leave(&error),
            },
            State::Removing(io) => match io.get_error() {
                Some(error) => self.leave(&error.into()),
                None => {
                    reached!(LeftLogRemoved);
                    Transition::Done(())
                }
            },
        })
    }
}

impl RemoveLeftLog {
    /// Nothing comes of it.
    fn leave(&self, error: &Error) -> Transition<RemoveLeftLog> {
        tracing::warn!(file = %self.path.display(), %error, "a log that is left stays");
        Transition::Done(())
    }
}

impl fmt::Debug for RemoveLeftLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "removing {}", self.path.display())
    }
}
