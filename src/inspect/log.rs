//! The log of a file, group by group, damaged or not.

use std::fs;
use std::path::{Path, PathBuf};

use yieldb_btree::record::Changes;
use yieldb_core::Operation;
use yieldb_pager::log::group::{Group, Kind as GroupKind};
use yieldb_pager::log::header::{check_end, check_header};
use yieldb_pager::log::remains::{Remains, Verdict};
use yieldb_pager::log::scan::{End, Scan, Start};
use yieldb_pager::log::{BLOCK_LEN, file_offset, ring_blocks};
use yieldb_pager::superblock::{OpenError, Superblock};

pub use yieldb_btree::record::TreeChange;
pub use yieldb_pager::log::Place;
pub use yieldb_pager::log::group::Header as GroupHeader;

use super::{failed, metadata, open_to_read, read_at, refused};
use crate::Result;

/// How many blocks are read at a time.
const PIECE_BLOCKS: u64 = 256;
/// How many damages are listed; of more there is only the number.
const MAX_DAMAGES: usize = 100;

/// The log that a file's superblock speaks of, read and not recovered: so it may be damaged. From
/// [`RawFile::log`](super::RawFile::log), whose lock keeps others from writing it. Everything here
/// blocks.
///
/// ```
/// # fn main() -> yieldb::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("some.db");
/// use yieldb::inspect::{RawFile, TreeChange};
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
/// let file = RawFile::open(&path, None)?;
/// let log = file.log()?.expect("it was not closed");
/// assert_eq!(log.summary()?.new_commits, 1);
/// let mut groups = log.groups()?;
/// while let Some(group) = groups.next_group()? {
///     for (version, mut changes) in group.commits() {
///         assert_eq!(version, 3);
///         assert!(matches!(changes.next(), Some(Ok(TreeChange::Put { tree: MAIN, .. }))));
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RawLog<'f> {
    /// The data file, and what it says.
    data_path: &'f Path,
    superblock: &'f Superblock,
    file: fs::File,
    path: PathBuf,
    len: u64,
    id: [u8; 16],
    start: Start,
}

/// What is in a log: see [`RawLog::summary`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogSummary {
    /// How many groups there are, those among them that lead to the ring's beginning or name a
    /// checkpoint.
    pub groups: u64,
    /// How many commits they have.
    pub commits: u64,
    /// How many of those the checkpoint does not have: what opening the file makes again.
    pub new_commits: u64,
    /// The version that the last commit made; the checkpoint's if there is none.
    pub version: u64,
    /// Where the next group goes, or, in a damaged log, where the damage is.
    pub end: Place,
    /// What is wrong, beginning with what is first in the log: a hundred of them at most.
    pub damages: Vec<LogDamage>,
    /// How many more there are.
    pub unlisted: u64,
}

/// Something that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogDamage {
    /// The position of the group that it is about.
    pub position: u64,
    /// What is wrong.
    pub what: String,
}

/// A group of a log.
#[derive(Clone, Debug)]
pub struct RawGroup {
    place: Place,
    group: Group,
}

/// The groups of a log, in the order in which they were written: from [`RawLog::groups`].
#[derive(Debug)]
pub struct RawGroups<'l> {
    log: &'l RawLog<'l>,
    scan: Box<Scan>,
}

/// A file that has the log's name, and that no superblock speaks of: from
/// [`RawFile::left_log`](super::RawFile::left_log).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftLog {
    /// Its length in bytes; 0 if it cannot be opened.
    pub file_bytes: u64,
    /// Is it what a log of the database has left? Then opening the database for writing removes it.
    /// What is not stays as it is, and as long as it does, the database has no log.
    pub is_ours: bool,
}

impl LeftLog {
    pub(super) fn find(path: &Path, database_id: [u8; 16]) -> Result<Option<LeftLog>> {
        let file = match open_to_read(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            // Nobody can do anything with it.
            Err(_) => return Ok(Some(LeftLog { file_bytes: 0, is_ours: false })),
        };
        let metadata = metadata(&file, path)?;
        let file_bytes = metadata.len();
        if !metadata.is_file() {
            return Ok(Some(LeftLog { file_bytes, is_ours: false }));
        }
        let mut remains = Remains::new(database_id, file_bytes);
        let mut verdict = remains.first();
        while let Verdict::Look { offset, len } = verdict {
            let mut bytes = vec![0; len];
            let read = read_at(&file, path, offset, &mut bytes)?;
            verdict = remains.look(&bytes[..read]);
        }
        Ok(Some(LeftLog { file_bytes, is_ours: verdict == Verdict::Ours }))
    }
}

impl<'f> RawLog<'f> {
    /// The log that the superblock of the file at `data_path` speaks of, in the file at `path`.
    pub(super) fn open(
        data_path: &'f Path,
        superblock: &'f Superblock,
        path: PathBuf,
    ) -> Result<Option<RawLog<'f>>> {
        let (Some(log), Some(start)) = (superblock.log, superblock.log_start()) else {
            return Ok(None);
        };
        let missing = |what| {
            let error = OpenError::LogMissing { path: path.clone(), what };
            refused(data_path, error.into())
        };
        let file = open_to_read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => missing("there is no such file"),
            _ => failed(&path, Operation::Open, 0, 0, &error),
        })?;
        let metadata = metadata(&file, &path)?;
        if !metadata.is_file() {
            return Err(missing("what has its name is not a file"));
        }
        let mut block = vec![0; BLOCK_LEN];
        let read = read_at(&file, &path, 0, &mut block)?;
        check_header(&block[..read], superblock, &path)
            .map_err(|error| refused(data_path, error.into()))?;
        let (len, id) = (metadata.len(), log.id);
        Ok(Some(RawLog { data_path, superblock, file, path, len, id, start }))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells it from all other logs of the database.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// The length of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.len
    }

    /// How many blocks of 4,096 bytes the ring has.
    pub fn ring_blocks(&self) -> u64 {
        ring_blocks(self.len)
    }

    /// Where the first group is that the checkpoint does not need.
    pub fn start(&self) -> Place {
        self.start.place
    }

    /// The version that the checkpoint has.
    pub fn checkpoint_version(&self) -> u64 {
        self.start.version
    }

    /// The groups from the start on.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Damaged`]: the log cannot start where the superblock says.
    pub fn groups(&self) -> Result<RawGroups<'_>> {
        let scan = Scan::new(self.ring_blocks(), self.start);
        let scan = scan.map_err(|damage| self.refuse(OpenError::DamagedLog(damage)))?;
        Ok(RawGroups { log: self, scan: Box::new(scan) })
    }

    /// Reads all of it, and counts. What is wrong is in the summary: groups that are damaged or
    /// missing, commits that are none. Whether the changes fit the trees is not looked at.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn summary(&self) -> Result<LogSummary> {
        let mut summary = LogSummary {
            groups: 0,
            commits: 0,
            new_commits: 0,
            version: self.start.version,
            end: self.start.place,
            damages: Vec::new(),
            unlisted: 0,
        };
        let mut groups = match self.groups() {
            Ok(groups) => groups,
            Err(error) => {
                summary.add(self.start.place.position, error.to_string());
                return Ok(summary);
            }
        };
        while let Some(group) = groups.next_group()? {
            summary.count(&group, self.start.version);
        }
        match groups.end()? {
            Ok(end) => summary.end = end,
            Err(error) => summary.add(summary.end.position, error.to_string()),
        }
        Ok(summary)
    }

    fn refuse(&self, error: OpenError) -> crate::Error {
        refused(self.data_path, error.into())
    }
}

impl LogSummary {
    fn count(&mut self, group: &RawGroup, checkpoint_version: u64) {
        self.groups += 1;
        for (version, mut changes) in group.commits() {
            self.commits += 1;
            self.new_commits += u64::from(version > checkpoint_version);
            self.version = self.version.max(version);
            if let Some(error) = changes.find_map(std::result::Result::err) {
                self.add(group.position(), format!("version {version}: {error}"));
            }
        }
        self.end = group.end();
    }

    fn add(&mut self, position: u64, what: String) {
        if self.damages.len() < MAX_DAMAGES {
            self.damages.push(LogDamage { position, what });
        } else {
            self.unlisted += 1;
        }
    }
}

impl RawGroups<'_> {
    /// The next group; `None` behind the last one. What [`RawGroups::end`] finds may be damage all
    /// the same: nothing in the log counts then.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn next_group(&mut self) -> Result<Option<RawGroup>> {
        loop {
            if let Some((place, group)) = self.scan.next_group() {
                return Ok(Some(RawGroup { place, group }));
            }
            if !self.read_on()? {
                return Ok(None);
            }
        }
    }

    /// Reads the rest, and says where the next group goes; or how the log is damaged.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn end(mut self) -> Result<std::result::Result<Place, OpenError>> {
        while self.next_group()?.is_some() {}
        let end: std::result::Result<End, OpenError> =
            self.scan.finish().map_err(OpenError::DamagedLog);
        Ok(end.and_then(|end| check_end(&end, self.log.superblock).map(|()| end.place)))
    }

    /// Reads the next blocks; `false` if there are none.
    fn read_on(&mut self) -> Result<bool> {
        let Some((offset, count)) = self.scan.wanted() else { return Ok(false) };
        let mut blocks = vec![0; count.min(PIECE_BLOCKS) as usize * BLOCK_LEN];
        // The file had them a moment ago; if not any more, no group is there.
        let RawLog { file, path, .. } = self.log;
        let _len = read_at(file, path, file_offset(offset), &mut blocks)?;
        self.scan.feed(&blocks);
        Ok(true)
    }
}

impl RawGroup {
    /// What it says about itself.
    pub fn header(&self) -> &GroupHeader {
        self.group.header()
    }

    /// How many blocks of groups were written before it, since the log began.
    pub fn position(&self) -> u64 {
        self.place.position
    }

    /// Which block of the ring it begins with.
    pub fn offset(&self) -> u64 {
        self.place.offset
    }

    /// Its length in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.group.block_count() * BLOCK_LEN as u64
    }

    /// Does it only say that the next one is at the ring's beginning?
    pub fn is_wrap(&self) -> bool {
        self.header().kind == GroupKind::Wrap
    }

    /// Its commits: the version that each made, and its changes. A record may be damaged although
    /// all checksums are right; then the changes end in an error.
    pub fn commits(&self) -> impl Iterator<Item = (u64, Changes<'_>)> {
        (self.header().first_version..).zip(self.group.transactions().map(Changes::of))
    }

    /// Where the next one is.
    fn end(&self) -> Place {
        let count = self.group.block_count();
        let offset = if self.is_wrap() { 0 } else { self.place.offset + count };
        Place { position: self.place.position + count, offset }
    }
}
