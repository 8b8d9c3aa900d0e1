//! Reading the groups of a log that was found, to make their changes again.

use yieldb_core::{Completion, StateMachine, StateTransition, Transition};

use super::find_log::{FoundLog, feed, read_on};
use crate::log::group::Group;
use crate::log::scan::Scan;
use crate::superblock::OpenError;
use crate::{Error, Result};

/// Reads a log's groups, one after the other.
#[derive(Debug)]
pub struct LogReader {
    found: FoundLog,
    scan: Box<Scan>,
    /// The position of the next group.
    position: u64,
}

impl LogReader {
    /// Begins where the checkpoint ends.
    ///
    /// # Errors
    ///
    /// The log cannot begin there.
    pub(crate) fn new(found: FoundLog) -> Result<LogReader> {
        let scan = Scan::new(found.ring_blocks, found.start).map_err(OpenError::DamagedLog)?;
        let position = found.start.place.position;
        Ok(LogReader { found, scan: Box::new(scan), position })
    }

    /// The version that the last commit in the log made; that of the checkpoint if there is none.
    pub fn last_version(&self) -> u64 {
        self.found.end.version
    }

    /// How many blocks of 4,096 bytes the groups have.
    pub fn block_count(&self) -> u64 {
        self.found.end.place.position - self.found.start.place.position
    }

    /// How many of them were read.
    pub fn read_blocks(&self) -> u64 {
        self.position - self.found.start.place.position
    }
}

/// Reads the next group.
///
/// ```text
///   begin -> Look --- it is there, or there is none --> done
///             ^ '--- not read yet ---> Reading
///             '---------------------------'
/// ```
///
/// An abandoned run leaves nothing behind.
#[derive(Debug)]
pub struct ReadGroup;

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Look at what was read.
    Look(LogReader),
    /// The next blocks are being read.
    Reading(LogReader, Completion),
}

/// Begins to read the next group of `reader`.
pub fn read_group(reader: LogReader) -> StateMachine<ReadGroup> {
    StateMachine::new(ReadGroup, State::Look(reader))
}

impl StateTransition for ReadGroup {
    type State = State;
    type Context = ();
    /// The reader, and the group; `None` behind the last one.
    type Output = (LogReader, Option<Group>);
    type Error = Error;

    fn transition(&mut self, state: State, _context: &()) -> Result<Transition<Self>> {
        Ok(match state {
            State::Look(mut reader) => {
                if reader.position == reader.found.end.place.position {
                    return Ok(Transition::Done((reader, None)));
                }
                if let Some((place, group)) = reader.scan.next_group() {
                    reader.position = place.position + group.block_count();
                    return Ok(Transition::Done((reader, Some(group))));
                }
                match read_on(&reader.found.file, &reader.scan)? {
                    Some(io) => Transition::Wait(State::Reading(reader, io.clone()), io),
                    None => {
                        let what = "its log became shorter a moment ago";
                        return Err(OpenError::Damaged { what }.into());
                    }
                }
            }
            State::Reading(mut reader, io) => {
                let _blocks = feed(&mut reader.scan, &io)?;
                Transition::Next(State::Look(reader))
            }
        })
    }
}
