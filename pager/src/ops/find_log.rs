//! Finding the log that a superblock speaks of, and what is in it.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use smallvec::smallvec;
use yieldb_core::{
    Buffer, BufferPool, Completion, Create, IO, OpenOptions, Request, StateMachine,
    StateTransition, Transition, is_planted, reached,
};

use super::make_log::LogFile;
use crate::log::header::{check_end, check_header};
use crate::log::path::LogPath;
use crate::log::ring::Ring;
use crate::log::scan::{End, Scan, Start};
use crate::log::{BLOCK_LEN, file_offset, max_group_blocks, ring_blocks};
use crate::superblock::{OpenError, Superblock};
use crate::{Error, Result};

/// How many blocks are read at a time.
pub(super) const PIECE_BLOCKS: u64 = 256;

/// Opens the log that a superblock speaks of, and finds out where it ends.
///
/// ```text
///   begin -> Open --> Opening --> ReadingHeader --> Scanning, once around
///                                                       |
///                      ,-- may only be in a cache --.   v
///                      v                             Rereading, in pieces --- all --> done
///                  Rewriting ------------------------^   '----^ the end, the last block
/// ```
///
/// Groups that the log does not know to be durable are written again as they are: an earlier write
/// of them may have failed, and the operating system have forgotten it. They are read for that
/// once more, and so is what stands where the log ends: a disk that brings another block in the
/// place of one would make the log shorter, and what is written again something else. The file's
/// last block is written again as well, or its length might be in a cache only, where a growth of
/// it failed. Whoever asked syncs the file. An abandoned run leaves the log as it was.
pub struct FindLog {
    io: Arc<dyn IO>,
    path: LogPath,
    superblock: Superblock,
    is_read_only: bool,
    direct: bool,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// There is to be a file.
    Open,
    /// It is being opened.
    Opening(Completion),
    /// Its header is being read.
    ReadingHeader(LogFile, Completion),
    /// The next blocks of the ring are being read.
    Scanning(LogFile, Box<Scan>, Checksums, Completion),
    /// Blocks are read once more.
    Rereading(FoundLog, Stretch, Completion),
    /// Some that may only be in a cache are being written.
    Rewriting(FoundLog, Stretch, Completion),
}

/// The checksums of the ring's blocks, from the log's start on.
#[derive(Debug)]
pub struct Checksums(Vec<u32>);

/// A log that was found.
#[derive(Clone, Debug)]
pub struct FoundLog {
    pub(crate) file: LogFile,
    pub(crate) ring_blocks: u64,
    pub(crate) start: Start,
    pub(crate) end: End,
}

/// The blocks from `from` on, in the ring's order, that are read once more.
#[derive(Debug)]
pub struct Stretch {
    from: u64,
    count: u64,
    /// So many of them are written again, the first ones.
    rewritten: u64,
    /// Is the file's last block written again behind them?
    is_last_to_come: bool,
    /// What they were like.
    checksums: Checksums,
}

/// Begins to find the log of `superblock`, which says that there is one.
pub(crate) fn find_log(
    io: Arc<dyn IO>,
    path: LogPath,
    superblock: Superblock,
    is_read_only: bool,
    direct: bool,
) -> StateMachine<FindLog> {
    StateMachine::new(FindLog { io, path, superblock, is_read_only, direct }, State::Open)
}

impl StateTransition for FindLog {
    type State = State;
    type Context = ();
    type Output = FoundLog;
    type Error = Error;

    fn transition(&mut self, state: State, _context: &()) -> Result<Transition<Self>> {
        Ok(match state {
            State::Open => {
                let io = Completion::open();
                let (write, direct) = (!self.is_read_only, self.direct);
                let options = OpenOptions { write, create: Create::Never, direct };
                self.io.open(&self.path, options, io.clone());
                Transition::Wait(State::Opening(io.clone()), io)
            }
            State::Opening(io) => {
                let opened = io.result().expect("the open is finished");
                opened.map_err(|error| self.missing(error))?;
                let file = LogFile(io.take_file().expect("an open that succeeded has a file"));
                file.lock(self.is_read_only)?;
                let io = read(&file, 0, BLOCK_LEN)?;
                Transition::Wait(State::ReadingHeader(file, io.clone()), io)
            }
            State::ReadingHeader(file, io) => {
                let read = io.result().expect("the read is finished")?;
                let blocks = io.take_buffers();
                check_header(&blocks[0][..read.min(BLOCK_LEN)], &self.superblock, &self.path)?;
                let ring_blocks = ring_blocks(file.0.size()?);
                if ring_blocks < Ring::MIN_BLOCKS {
                    return Err(OpenError::Damaged { what: "its log is too short" }.into());
                }
                let scan = Scan::new(ring_blocks, self.start());
                let scan = scan.map_err(OpenError::DamagedLog)?;
                self.scan(file, Box::new(scan), Checksums(Vec::new()))?
            }
            State::Scanning(file, mut scan, mut checksums, io) => {
                let blocks = feed(&mut scan, &io)?;
                checksums.0.extend(blocks.chunks(BLOCK_LEN).map(crc32fast::hash));
                while scan.next_group().is_some() {}
                self.scan(file, scan, checksums)?
            }
            State::Rereading(found, stretch, io) => {
                let read = io.result().expect("the read is finished")?;
                let blocks: Buffer = io.take_buffers().pop().expect("it has one");
                if read < blocks.len() {
                    return Err(OpenError::Damaged { what: "its log was cut a moment ago" }.into());
                }
                let is_same = stretch.checksums.fit(&found, stretch.from, &blocks);
                if !is_same && !is_planted!(LogReadOnce) {
                    let what = "a block of its log is not what it was a moment ago";
                    return Err(OpenError::Damaged { what }.into());
                }
                if stretch.rewritten == 0 {
                    let count = (read / BLOCK_LEN) as u64;
                    return read_again(found, stretch.behind(count));
                }
                let io = Completion::write(smallvec![blocks.share()]);
                // A length follows from a durable write.
                let durable = !stretch.is_last_to_come;
                found.file.0.write(file_offset(stretch.from), durable, io.clone());
                Transition::Wait(State::Rewriting(found, stretch, io.clone()), io)
            }
            State::Rewriting(found, stretch, io) => {
                let written = io.result().expect("the write is finished")? / BLOCK_LEN;
                read_again(found, stretch.behind(written as u64))?
            }
        })
    }
}

impl FindLog {
    fn start(&self) -> Start {
        self.superblock.log_start().expect("the superblock speaks of a log")
    }

    /// There is no log's file, or it cannot be opened.
    fn missing(&self, error: yieldb_core::Error) -> Error {
        let kind = error.errno().map(|errno| std::io::Error::from_raw_os_error(errno).kind());
        match kind {
            Some(ErrorKind::NotFound) => {
                let what = "there is no such file";
                OpenError::LogMissing { path: self.path.to_path_buf(), what }.into()
            }
            Some(_) | None => error.into(),
        }
    }

    /// Reads on, or looks at what was found.
    fn scan(
        &self,
        file: LogFile,
        scan: Box<Scan>,
        checksums: Checksums,
    ) -> Result<Transition<Self>> {
        if let Some(io) = read_on(&file, &scan)? {
            return Ok(Transition::Wait(State::Scanning(file, scan, checksums, io.clone()), io));
        }
        let ring_blocks = checksums.0.len() as u64;
        let end = scan.finish().map_err(OpenError::DamagedLog)?;
        check_end(&end, &self.superblock)?;
        reached!(LogFound);
        let found = FoundLog { file, ring_blocks, start: self.start(), end };
        let unknown = Ring::new(ring_blocks, end.unknown_from, end.place).used_blocks();
        let (from, rewritten) = match self.is_read_only {
            true => (end.place.offset, 0),
            false => (end.unknown_from.offset, unknown),
        };
        if rewritten > 0 {
            reached!(GroupsRewritten);
        }
        // A group may be where the log ends, and not all of it have been brought.
        let count = (rewritten + max_group_blocks(ring_blocks)).min(ring_blocks);
        let is_last_to_come = !self.is_read_only;
        read_again(found, Stretch { from, count, rewritten, is_last_to_come, checksums })
    }
}

impl Checksums {
    /// Are these the blocks that were at `offset`?
    fn fit(&self, found: &FoundLog, offset: u64, blocks: &[u8]) -> bool {
        let first = found.start.place.offset;
        let index = (offset + found.ring_blocks - first) % found.ring_blocks;
        let all = self.0.iter().cycle().skip(index as usize);
        blocks.chunks(BLOCK_LEN).map(crc32fast::hash).zip(all).all(|(now, then)| now == *then)
    }
}

impl Stretch {
    /// What is left behind its first `count` blocks.
    fn behind(self, count: u64) -> Stretch {
        let from = self.from + count;
        let rewritten = self.rewritten.saturating_sub(count);
        Stretch { from, count: self.count - count, rewritten, ..self }
    }
}

/// Reads the next blocks once more; if there are none, all is done.
fn read_again(found: FoundLog, mut stretch: Stretch) -> Result<Transition<FindLog>> {
    if stretch.count == 0 && stretch.is_last_to_come && !is_planted!(LogLengthNotRewritten) {
        let (from, is_last_to_come) = (found.ring_blocks - 1, false);
        stretch = Stretch { from, count: 1, rewritten: 1, is_last_to_come, ..stretch };
    }
    stretch.from %= found.ring_blocks;
    let count = if stretch.rewritten > 0 { stretch.rewritten } else { stretch.count };
    let count = count.min(PIECE_BLOCKS).min(found.ring_blocks - stretch.from);
    if count == 0 {
        return Ok(Transition::Done(found));
    }
    let io = read(&found.file, file_offset(stretch.from), count as usize * BLOCK_LEN)?;
    Ok(Transition::Wait(State::Rereading(found, stretch, io.clone()), io))
}

/// Begins to read the blocks that a scan wants next; `None` if it wants no more.
pub(super) fn read_on(file: &LogFile, scan: &Scan) -> Result<Option<Completion>> {
    let Some((offset, count)) = scan.wanted() else { return Ok(None) };
    let len = count.min(PIECE_BLOCKS) as usize * BLOCK_LEN;
    Ok(Some(read(file, file_offset(offset), len)?))
}

/// Gives a scan what it wanted, and returns it.
///
/// # Errors
///
/// The failure of the read, or the file became shorter.
pub(super) fn feed(scan: &mut Scan, io: &Completion) -> Result<Buffer> {
    let read = io.result().expect("the read is finished")?;
    let blocks: Buffer = io.take_buffers().pop().expect("it has one");
    if read < blocks.len() {
        return Err(OpenError::Damaged { what: "its log was cut a moment ago" }.into());
    }
    scan.feed(&blocks);
    Ok(blocks)
}

/// Begins to read `len` bytes at an offset in the file.
fn read(file: &LogFile, offset: u64, len: usize) -> Result<Completion> {
    let buffer = BufferPool::new(1, len)?.take().expect("it has one");
    let io = Completion::read(smallvec![buffer]);
    file.0.read(offset, io.clone());
    Ok(io)
}

impl fmt::Debug for FindLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "finding {}", self.path.display())
    }
}
