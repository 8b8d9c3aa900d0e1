//! Making the file of a log.

use std::fmt;
use std::sync::Arc;

use smallvec::smallvec;
use yieldb_core::{
    BufferPool, Completion, Create, Error as IoFailure, File, IOResult, OpenOptions, Request,
    StateMachine, StateTransition, Transition, is_planted,
};

use crate::log::header::FileHeader;
use crate::log::path::LogPath;
use crate::log::writer::{NewLog, POOL_BLOCKS};
use crate::log::{BLOCK_LEN, ring_blocks};
use crate::ops::left_log::{LookAtLog, look_at_log};
use crate::ops::open::lock;
use crate::superblock::OpenError;
use crate::{Error, Pager, Result};

/// Makes the file of a log, filled with zeros: to overwrite them needs no change of the file
/// system's own, which a write into a hole or behind the end does.
///
/// ```text
///   begin -> Open --> Opening --> Looking --> Emptying --> Filling --> Syncing --> Syncing-
///                                    |                        |           |        Directory
///                                 not ours                    v           v           | '-> done
///                                                             GivingUp <--'-----------'
///                                                                '-> failed
/// ```
///
/// Where the database was renamed there is none until it is opened again. A file that an earlier
/// log has left is emptied first, if nothing is on its way into it any more:
/// nothing of it can come back. One that is
/// somebody else's is an error, and stays as it is. One that cannot be filled is emptied again, so
/// that a full disk has that room for pages. An abandoned run leaves a file that no superblock
/// speaks of, for the next run, or for the next open.
#[derive(Debug)]
pub struct MakeLog {
    path: LogPath,
    len: usize,
    id: [u8; 16],
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// There is no file.
    Open,
    /// The file is being made, or opened.
    Opening(Completion),
    /// Whose it is is being found out, if there was one.
    Looking(LogFile, StateMachine<LookAtLog>),
    /// What is in it goes.
    Emptying(LogFile, Completion),
    /// Its header and its zeros are written.
    Filling(LogFile, Completion),
    /// They become durable.
    Syncing(LogFile, Completion),
    /// So does the file's directory entry.
    SyncingDirectory(LogFile, Completion),
    /// It failed, and what is in the file goes.
    GivingUp(IoFailure, Completion),
}

/// The file of a log.
#[derive(Clone)]
pub struct LogFile(pub Arc<dyn File>);

impl LogFile {
    /// Locks the file as that of the database is, for one that writes or for many that read: a
    /// request on its way keeps its own file, when the database that made it is gone or its process
    /// was killed, and not the other one.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] as long as there is such a request.
    pub(super) fn lock(&self, is_read_only: bool) -> Result<()> {
        lock(&*self.0, is_read_only, "what is on its way into its log is over in a moment")
    }
}

/// Begins to make a log of `len` bytes.
pub(crate) fn make_log(pager: &Pager, path: LogPath, len: usize) -> StateMachine<MakeLog> {
    let mut id = [0; 16];
    pager.io().random(&mut id);
    StateMachine::new(MakeLog { path, len, id }, State::Open)
}

impl StateTransition for MakeLog {
    type State = State;
    type Context = Pager;
    type Output = NewLog;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Open => {
                if !self.path.is_beside(&**pager.file()) {
                    let what = "its database was renamed, and another one may have its name";
                    return Err(OpenError::Foreign { what }.into());
                }
                let io = Completion::open();
                let direct = pager.file().is_direct();
                let options = OpenOptions { write: true, create: Create::IfMissing, direct };
                pager.io().open(&self.path, options, io.clone());
                Transition::Wait(State::Opening(io.clone()), io)
            }
            State::Opening(io) => {
                io.result().expect("the open is finished")?;
                let file = LogFile(io.take_file().expect("an open that succeeded has a file"));
                file.lock(false)?;
                let looking = look_at_log(file.clone(), pager.superblock().database_id)?;
                Transition::Next(State::Looking(file, looking))
            }
            State::Looking(file, mut looking) => match looking.step(&())? {
                IOResult::IO(io) => Transition::Wait(State::Looking(file, looking), io.into()),
                IOResult::Done(true) if self.path.is_beside(&**pager.file()) => {
                    let io = Completion::truncate();
                    file.0.truncate(0, io.clone());
                    Transition::Wait(State::Emptying(file, io.clone()), io)
                }
                IOResult::Done(_) => {
                    let what = "it has the name of the log";
                    return Err(OpenError::Foreign { what }.into());
                }
            },
            State::Emptying(file, io) => {
                io.result().expect("the truncation is finished")?;
                let io = self.fill(&file, pager)?;
                Transition::Wait(State::Filling(file, io.clone()), io)
            }
            State::Filling(file, io)
            | State::Syncing(file, io)
            | State::SyncingDirectory(file, io)
                if io.failed() =>
            {
                let error = io.get_error().expect("what failed has an error");
                let io = Completion::truncate();
                file.0.truncate(0, io.clone());
                Transition::Wait(State::GivingUp(error, io.clone()), io)
            }
            State::GivingUp(error, _) => return Err(error.into()),
            State::Filling(file, _) => {
                let io = Completion::sync();
                file.0.sync_data(io.clone());
                Transition::Wait(State::Syncing(file, io.clone()), io)
            }
            State::Syncing(file, _) => {
                let io = Completion::directory();
                if is_planted!(LogEntryNotSynced) {
                    io.succeed(0);
                } else {
                    pager.io().sync_directory(&file.0.directory(), io.clone());
                }
                Transition::Wait(State::SyncingDirectory(file, io.clone()), io)
            }
            State::SyncingDirectory(file, _) => {
                let ring_blocks = ring_blocks(self.len as u64);
                // Once a slot speaks of the log, nothing may fail for want of memory.
                let blocks = BufferPool::new(POOL_BLOCKS, BLOCK_LEN)?;
                Transition::Done(NewLog { file, id: self.id, ring_blocks, blocks })
            }
        })
    }
}

impl MakeLog {
    /// Begins to write the header and the zeros.
    fn fill(&self, file: &LogFile, pager: &Pager) -> Result<Completion> {
        let mut bytes = BufferPool::new(1, self.len)?.take().expect("it has one");
        bytes.fill(0);
        let database_id = pager.superblock().database_id;
        FileHeader { database_id, log_id: self.id }.encode(&mut bytes[..BLOCK_LEN]);
        let io = Completion::write(smallvec![bytes.share()]);
        file.0.write(0, false, io.clone());
        Ok(io)
    }
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.path().display())
    }
}
