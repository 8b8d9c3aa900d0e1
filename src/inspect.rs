//! Looking at a file page by page, damaged or not: for tools, and for people in trouble.
//!
//! ```
//! # fn main() -> yieldb::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("some.db");
//! # yieldb::Database::open(&path).wait()?;
//! use yieldb::inspect::{Kind, RawFile, explain};
//!
//! let file = RawFile::open(&path, None)?;
//! let page = file.read(0)?;
//! assert_eq!(explain(&page.bytes, 0).kind, Kind::Superblock);
//! # Ok(()) }
//! ```

mod log;

use std::fs::{self, TryLockError};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use yieldb_core::{IoError, Operation};
use yieldb_pager::log::path::LogPath;
use yieldb_pager::page_format::verify;
use yieldb_pager::space::map::{Lookup, MAX_LEVEL, look_up};
use yieldb_pager::superblock::{
    MAGIC, OpenError, SLOT_LEN, Superblock, choose, reserved_page_count,
};
use yieldb_pager::{Error as PagerError, PageSize};

pub use log::{
    GroupHeader, LeftLog, LogDamage, LogSummary, Place, RawGroup, RawGroups, RawLog, TreeChange,
};
pub use yieldb_btree::inspect::{Body, Content, Explained, Field, FieldValue, Kind, Slot, explain};
pub use yieldb_btree::node::LargeValue;
pub use yieldb_btree::record::Changes;

use crate::{Error, Result};

/// A file that is read page by page, and not opened as a database: so it may be damaged.
///
/// It holds a shared lock: others may read the file, nobody writes it. Everything here blocks.
#[derive(Debug)]
pub struct RawFile {
    file: fs::File,
    path: PathBuf,
    len: u64,
    page_size: PageSize,
    superblock: std::result::Result<Superblock, OpenError>,
}

/// The bytes of a page.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawPage {
    /// As many as a page has; zeros where the file has none.
    pub bytes: Vec<u8>,
    /// How many of them are in the file: fewer where it was cut.
    pub len: usize,
}

/// Does anything refer to a page?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The space map says so.
    Used,
    /// The space map says that nothing does, or it lies behind the end that the superblock says:
    /// its contents do not matter.
    Free,
    /// What would tell is damaged.
    Unknown,
}

impl RawFile {
    /// Opens the file at `path`. The length of its pages, in bytes, is what its superblock says if
    /// none is given.
    ///
    /// # Errors
    ///
    /// The operating system's; [`crate::ErrorKind::Locked`] if a process writes the file;
    /// [`crate::ErrorKind::Foreign`] if it does not look like a yieldb file and no page size is
    /// given; [`Error::PageSize`] for one that is impossible.
    pub fn open(path: impl AsRef<Path>, page_size: Option<u32>) -> Result<RawFile> {
        let path = path.as_ref().to_path_buf();
        let file =
            open_to_read(&path).map_err(|error| failed(&path, Operation::Open, 0, 0, &error))?;
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(refused(
                    &path,
                    PagerError::Locked { holder: "it is open for writing" },
                ));
            }
            Err(TryLockError::Error(error)) => {
                return Err(failed(&path, Operation::Lock, 0, 0, &error));
            }
        }
        let len = metadata(&file, &path)?.len();
        let superblock = Err(OpenError::Foreign { what: "it is too short" });
        let mut raw = RawFile { file, path, len, page_size: PageSize::MIN, superblock };
        let mut slots = vec![0; 2 * SLOT_LEN];
        read_at(&raw.file, &raw.path, 0, &mut slots)?;
        let (first, second) = slots.split_at(SLOT_LEN);
        raw.superblock = choose([first, second], len).map(|chosen| chosen.superblock);
        raw.page_size = match (page_size, &raw.superblock) {
            (Some(bytes), _) => PageSize::new(bytes).ok_or(Error::PageSize { bytes })?,
            (None, Ok(superblock)) => superblock.page_size,
            (None, Err(error)) => match likely_page_size([first, second]) {
                Some(page_size) => page_size,
                None => return Err(refused(&raw.path, error.clone().into())),
            },
        };
        Ok(raw)
    }

    /// The length of a page in bytes.
    pub fn page_size(&self) -> u32 {
        self.page_size.as_u32()
    }

    /// How many pages the file has; a last one that is cut counts.
    pub fn page_count(&self) -> u64 {
        self.len.div_ceil(self.page_size.bytes() as u64)
    }

    /// Why the file cannot be opened as a database, as far as its superblock tells.
    pub fn refusal(&self) -> Option<&OpenError> {
        self.superblock.as_ref().err()
    }

    /// Does the superblock say that a log goes on behind its checkpoint? Then opening the file
    /// makes the commits again that the log has. A database that was closed has none.
    pub fn has_log(&self) -> bool {
        self.superblock.as_ref().is_ok_and(|superblock| superblock.log.is_some())
    }

    /// The log that goes on behind the checkpoint; `None` if the superblock speaks of none.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::LogMissing`] if its file is missing, or another's; if the superblock is
    /// damaged, what [`RawFile::refusal`] says; the operating system's.
    pub fn log(&self) -> Result<Option<RawLog<'_>>> {
        match &self.superblock {
            Ok(superblock) => RawLog::open(&self.path, superblock, self.log_path()),
            Err(error) => Err(refused(&self.path, error.clone().into())),
        }
    }

    /// The file that has the log's name although the superblock speaks of no log; `None` if there
    /// is none, or a log is in use. Cost: a piece of the file; all of it if it has zeros only.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn left_log(&self) -> Result<Option<LeftLog>> {
        match &self.superblock {
            Ok(superblock) if superblock.log.is_none() => {
                LeftLog::find(&self.log_path(), superblock.database_id)
            }
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Where the log is, if there is one.
    pub fn log_path(&self) -> PathBuf {
        let data = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        LogPath::new(data).to_path_buf()
    }

    /// What is wrong with the slots of the superblock: for each damaged one its page, and why it
    /// does not count. A file with one that counts has lost nothing; opening it for writing makes
    /// both of them whole.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn damaged_slots(&self) -> Result<Vec<(u64, String)>> {
        let mut damaged = Vec::new();
        for number in 0..reserved_page_count(self.page_size) {
            let page = self.read(number)?;
            let damages = explain(&page.bytes, number).damages;
            damaged.extend(damages.into_iter().map(|what| (number, what)));
        }
        Ok(damaged)
    }

    /// Reads a page.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn read(&self, number: u64) -> Result<RawPage> {
        let mut bytes = vec![0; self.page_size.bytes()];
        let len = match number.checked_mul(bytes.len() as u64) {
            Some(offset) => read_at(&self.file, &self.path, offset, &mut bytes)?,
            None => 0,
        };
        Ok(RawPage { bytes, len })
    }

    /// Does anything refer to a page? Cost: a page for each level of the space map.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn use_of(&self, number: u64) -> Result<Use> {
        let Ok(superblock) = &self.superblock else { return Ok(Use::Unknown) };
        if superblock.page_size != self.page_size || superblock.space_level > MAX_LEVEL {
            return Ok(Use::Unknown);
        }
        if number < reserved_page_count(self.page_size) {
            return Ok(Use::Used);
        }
        let Some(mut name) = superblock.space.filter(|_| number < superblock.page_count) else {
            return Ok(Use::Free);
        };
        for _ in 0..=superblock.space_level {
            let page = self.read(name.page().as_u64())?.bytes;
            if verify(&page, name).is_err() {
                return Ok(Use::Unknown);
            }
            match look_up(&page, number) {
                Some(Lookup::Known(true)) => return Ok(Use::Used),
                Some(Lookup::Known(false)) => return Ok(Use::Free),
                Some(Lookup::Below(below)) => name = below,
                None => return Ok(Use::Unknown),
            }
        }
        Ok(Use::Unknown)
    }
}

/// Opens what may be a file for reading, and does not wait for the other end of a named pipe.
fn open_to_read(path: &Path) -> std::io::Result<fs::File> {
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    fs::OpenOptions::new().read(true).custom_flags(nonblock).open(path)
}

fn metadata(file: &fs::File, path: &Path) -> Result<fs::Metadata> {
    file.metadata().map_err(|error| failed(path, Operation::Size, 0, 0, &error))
}

/// Reads from `offset` on; returns how many bytes there were.
fn read_at(file: &fs::File, path: &Path, offset: u64, bytes: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(len) => done += len,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(failed(path, Operation::Read, offset, bytes.len(), &error));
            }
        }
    }
    Ok(done)
}

/// What the slots of a file say of its page size, whatever else is wrong with them.
fn likely_page_size(slots: [&[u8]; 2]) -> Option<PageSize> {
    let ours = slots.into_iter().filter(|slot| slot.starts_with(&MAGIC));
    let mut likely = ours.map(|slot| {
        let bytes = slot[20..24].try_into().expect("the slice has four bytes");
        PageSize::new(u32::from_le_bytes(bytes)).unwrap_or(PageSize::MIN)
    });
    likely.next()
}

fn failed(
    path: &Path,
    operation: Operation,
    offset: u64,
    len: usize,
    error: &std::io::Error,
) -> Error {
    let errno = error.raw_os_error().unwrap_or_default();
    let io = IoError { operation, file: path.into(), offset, len, done: 0, errno };
    Error::Operation(PagerError::Io(io.into()).into())
}

fn refused(path: &Path, cause: PagerError) -> Error {
    Error::Open { path: path.to_path_buf(), cause: cause.into() }
}
