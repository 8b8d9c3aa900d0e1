//! An open database.

use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;

use yieldb_btree as btree;
use yieldb_btree::Batch;
use yieldb_btree::ops::compact::{Compact, compact};
use yieldb_btree::ops::write::{Write, write};
use yieldb_core::{Completion, Lanes, Tally};
use yieldb_pager::cache::CacheStats;
use yieldb_pager::log::writer::LogStats;
use yieldb_pager::superblock::FORMAT_VERSION;
use yieldb_pager::{Durability, Pager, SpaceUse, VersionPin};

use crate::driving::Driving;
use crate::make_durable::{MakeDurable, Place, make_durable};
use crate::op::{Held, Op};
use crate::open::{self, Begin, Close, Open};
use crate::snapshot::Snapshot;
use crate::transaction::WriteTransaction;
use crate::{Options, Result};

/// An open database. Clones are handles on the same one; it may be used from any number of threads
/// and tasks.
///
/// The file is closed, and its lock given back, when the last handle on it is gone: the database's,
/// its snapshots', its transactions' and its operations'. Dropping them does not wait, but for one
/// thing: with the last one that has a ring of io_uring, for the requests that are in it, since the
/// kernel has their memory.
#[derive(Clone)]
pub struct Database {
    pager: Arc<Pager>,
    driving: Arc<Driving>,
    /// The same for snapshots, of which threads may take one for each lookup.
    lanes: Arc<Lanes<Lane>>,
}

/// What the snapshots of a lane's threads keep, and count on.
struct Lane {
    pager: Tally<Pager>,
    driving: Tally<Driving>,
}

/// What is known of an open database.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Info {
    /// The version of the file's format.
    pub format_version: u32,
    /// The length of a page in bytes.
    pub page_size: u32,
    /// The length of the file in bytes, as far as the last checkpoint uses it.
    pub file_bytes: u64,
    /// What tells this database from all others.
    pub database_id: [u8; 16],
    /// The number of the last checkpoint.
    pub checkpoint: u64,
    /// The newest version. Each commit makes one; batches made together share it.
    pub version: u64,
    /// How often the database was opened for writing; and one more for each 2^32 transactions and
    /// savepoints in between.
    pub session: u32,
    /// How many trees there are.
    pub trees: usize,
    /// How many entries they have together.
    pub entries: u64,
    /// The back-end that performs the I/O: `uring`, `pread` or `memory`.
    pub driver: &'static str,
    /// Why this one.
    pub driver_reason: String,
    /// Does the I/O go past the operating system's cache?
    pub direct: bool,
    /// How many pages fit into the cache.
    pub cache_pages: usize,
    /// The pages of the file, by use.
    pub space: SpaceUse,
}

/// What a database has done and holds: see [`Database::metrics`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// The cache: hits, misses, reads, pages written, evictions, pins, memory. Of all databases
    /// that share it.
    pub cache: CacheStats,
    /// The pages of the file: used, free, held for old snapshots and for the last checkpoint, and
    /// the oldest of those.
    pub space: SpaceUse,
    /// How many requests are queued or in flight on the back-end, of all databases that share it.
    pub in_flight: usize,
    /// The newest version. Each commit makes one; batches made together share it.
    pub version: u64,
    /// The log: what is in it, and what was written; `None` if there is none at the moment.
    pub log: Option<LogStats>,
}

impl Database {
    pub(crate) fn new(pager: Arc<Pager>, driving: Arc<Driving>) -> Database {
        driving.attach(&pager);
        let lane =
            || Lane { pager: Tally::new(pager.clone()), driving: Tally::new(driving.clone()) };
        Database { lanes: Arc::new(Lanes::new(lane)), pager, driving }
    }

    /// Opens the database in the file at `path` with the usual [`Options`]; a missing one is
    /// created.
    ///
    /// # Errors
    ///
    /// When driven: as [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Op<'static, Open> {
        Options::new().open(path)
    }

    /// The newest acknowledged version. Never waits; costs a lock and three counts, which threads
    /// do not meet at. As long as it exists, pages that only it can reach are not used again.
    pub fn snapshot(&self) -> Snapshot {
        let Lane { pager, driving } = self.lanes.own();
        let pin = VersionPin::newest(pager.clone());
        Snapshot::new(btree::Snapshot::new(pin), driving.clone())
    }

    /// Waits for the writer's turn and begins a transaction. Turns come in order. Reads and writes
    /// nothing.
    ///
    /// # Errors
    ///
    /// When driven: [`crate::ErrorKind::Usage`] if the database was opened for reading only, and
    /// for `wait` on the thread that used the transaction under way last: it would wait for itself;
    /// [`crate::ErrorKind::Poisoned`].
    pub fn begin(&self) -> Op<'static, Begin> {
        let machine = open::begin(self.pager.clone(), self.driving.clone());
        Op::new(machine, Held::Owned(self.pager.clone()), Held::Owned(self.driving.clone()))
    }

    /// Makes the changes of a batch, durably, all or none of them; the output is the number of the
    /// version that has them. When a page is missing, those of the changes behind it are read with
    /// it. Once it was driven as far as the commit, or another batch's commit has taken it along,
    /// that goes on even if the operation is dropped; before, nothing has changed.
    ///
    /// Batches that wait at the same time are committed together: they have the same version. Each
    /// is whole or not at all for itself, and fails only with its own error or that of the commit.
    ///
    /// Cost and durability: those of the changes, a sort of their keys, and as
    /// [`WriteTransaction::commit`]. Where many are under way, the pages that their changes share
    /// are copied once for all of them.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
    /// #     .open("a").wait()?;
    /// use yieldb::{Batch, KeyRange, MAIN};
    ///
    /// let mut batch = Batch::new();
    /// batch.put(MAIN, "apple", "red");
    /// batch.put(MAIN, "plum", "blue");
    /// batch.delete_range(MAIN, KeyRange::prefix("a"));
    /// assert_eq!(database.write(&batch).wait()?, 1);
    /// assert_eq!(database.snapshot().count(MAIN)?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// When driven: as [`Database::begin`], [`WriteTransaction::put`] and
    /// [`WriteTransaction::commit`].
    pub fn write<'a>(&'a self, batch: &'a Batch) -> Op<'a, Write<'a>> {
        self.write_with(batch, Durability::Sync)
    }

    /// The same as [`Database::write`], but with the durability that is asked for: see
    /// [`WriteTransaction::commit_with`]. Relaxed ones are not committed together.
    ///
    /// # Errors
    ///
    /// As [`Database::write`].
    pub fn write_with<'a>(&'a self, batch: &'a Batch, durability: Durability) -> Op<'a, Write<'a>> {
        let machine = write(batch, durability, self.pager.clone());
        Op::new(machine, Held::Borrowed(&self.pager), Held::Borrowed(&self.driving))
    }

    /// Begins a transaction if nobody else has the writer's turn.
    ///
    /// # Errors
    ///
    /// As [`Database::begin`].
    pub fn try_begin(&self) -> Result<Option<WriteTransaction>> {
        let writers = self.pager.writers().map_err(btree::Error::from)?;
        Ok(writers.try_take().map(|turn| {
            let transaction = btree::Transaction::begin(self.pager.clone(), turn);
            WriteTransaction::new(transaction, self.driving.clone())
        }))
    }

    /// Does what can be done without waiting: finishes I/O, and lets commits go on. Returns how
    /// many I/Os it finished. For loops of one's own, see [`crate::DriverMode::Manual`].
    pub fn turn(&self) -> usize {
        self.driving.turn()
    }

    /// Drives on this thread until `io` is finished or something else has happened: for loops of
    /// one's own that have nothing better to do. May return early.
    ///
    /// # Errors
    ///
    /// If `io` is the writer's turn, and this thread has it; in a fork of the process that opened
    /// the database.
    pub fn wait_for(&self, io: &Completion) -> Result<()> {
        self.driving.turn_engine();
        self.driving.wait(io)?;
        self.driving.turn_engine();
        Ok(())
    }

    /// A descriptor that polls as readable when [`Database::turn`] has something to do, but for
    /// relaxed commits whose second is over; `None` where the platform or the back-end has no such
    /// thing.
    pub fn event_fd(&self) -> Option<RawFd> {
        self.driving.backend().driver.event_fd()
    }

    /// Makes every commit durable that is acknowledged, relaxed ones among them; the output is the
    /// newest version of them. With none that is relaxed there is nothing to be done. Once it was
    /// driven, the commits become durable even if the operation is dropped.
    ///
    /// Cost: one write to the log, and one sync, for all of them.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
    /// #     .open("a").wait()?;
    /// use yieldb::{Durability, MAIN};
    ///
    /// for number in 0..100_u32 {
    ///     let mut transaction = database.begin().wait()?;
    ///     transaction.put(MAIN, number.to_be_bytes(), "").wait()?;
    ///     transaction.commit_with(Durability::Relaxed).wait()?;
    /// }
    /// assert_eq!(database.sync().wait()?, 100);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// When driven: [`crate::ErrorKind::Usage`] if the database was opened for reading only;
    /// [`crate::ErrorKind::Poisoned`], and which of the commits are durable is found out by opening
    /// the database again.
    pub fn sync(&self) -> Op<'_, MakeDurable> {
        self.make_durable(Place::Log)
    }

    /// Makes the newest version durable in the file itself, so that the log before it is not needed
    /// any more; the output is the version. The database does this by itself, before the log
    /// is full; commits and reads go on beside it.
    ///
    /// Cost: every page that only memory has is written once, and the space map; three syncs.
    ///
    /// # Errors
    ///
    /// When driven: [`crate::ErrorKind::Usage`] if the database was opened for reading only; a
    /// write failed, and the log has everything still; [`crate::ErrorKind::Poisoned`].
    pub fn checkpoint(&self) -> Op<'_, MakeDurable> {
        self.make_durable(Place::File)
    }

    /// Makes the file as short as its contents allow, while it is used: leaves that are half empty
    /// become fewer, pages and large values at the end move to the front, and the end is cut off.
    /// Nothing that anybody reads changes. Leaves are as full afterwards as a bulk load makes them:
    /// a tenth of each is free for what comes.
    ///
    /// It works in transactions of its own between those of others, and begins when it is driven
    /// first. Each that changes anything is a version, and each is short: it ends when enough was
    /// looked at or moved. Behind each pass comes a checkpoint, and then one that holds the
    /// writer's turn, has little left to write, and cuts the file. Dropping the operation leaves
    /// the file good, and what was done so far; so does a crash.
    ///
    /// What open snapshots hold on to stays where it is, and the file is longer by that until it is
    /// compacted without them.
    ///
    /// Cost: every page of the trees is read, and what is packed or moved is written, most of it
    /// once; values of pages of their own are read only to be moved. The file may become longer
    /// first: by as much as is written between two checkpoints, or where large values are in the
    /// way, up to twice as long.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
    /// #     .open("a").wait()?;
    /// use yieldb::{Batch, MAIN};
    ///
    /// let mut batch = Batch::new();
    /// for number in 0..10_000_u32 {
    ///     batch.put(MAIN, number.to_be_bytes(), [7; 100]);
    /// }
    /// database.write(&batch).wait()?;
    /// batch.clear();
    /// for number in (0..10_000_u32).filter(|number| number % 8 > 0) {
    ///     batch.delete(MAIN, number.to_be_bytes());
    /// }
    /// database.write(&batch).wait()?;
    /// let compacted = database.compact().wait()?;
    /// assert!(compacted.pages < compacted.pages_before / 4);
    /// # Ok(()) }
    /// ```
    ///
    /// One compaction at a time: another one waits until the first is over or dropped.
    ///
    /// # Errors
    ///
    /// When driven: as [`Database::begin`]; damage; a failed read, write or cut, and what was done
    /// before stays.
    pub fn compact(&self) -> Op<'_, Compact> {
        let machine = compact(self.pager.clone());
        Op::new(machine, Held::Borrowed(&self.pager), Held::Borrowed(&self.driving))
    }

    pub(crate) fn driving(&self) -> &Driving {
        &self.driving
    }

    fn make_durable(&self, place: Place) -> Op<'_, MakeDurable> {
        Op::new(make_durable(place), Held::Borrowed(&self.pager), Held::Borrowed(&self.driving))
    }

    /// Waits until every commit and transaction under way is over, puts what only the log has into
    /// the file, removes the log, and gives up this handle: then the database is one file. That is
    /// closed with the last handle. Closing is not needed for the durability of any but relaxed
    /// commits: a database that is only dropped leaves its log, from which the next open makes the
    /// commits again.
    ///
    /// Cost: as [`Database::checkpoint`] if there is a log; otherwise none.
    ///
    /// # Errors
    ///
    /// When driven: [`crate::ErrorKind::Poisoned`] if a commit before failed so that its outcome
    /// is open; a write failed, and the log has everything still; the file could not be cut behind
    /// its last page in use, when everything is in it; [`crate::ErrorKind::Usage`] for `wait` on a
    /// thread that has a transaction under way: it would wait for itself, as an `await` there does.
    pub fn close(self) -> Op<'static, Close> {
        let (pager, driving) = (self.pager.clone(), self.driving.clone());
        let machine = open::close(self, pager.clone());
        Op::new(machine, Held::Owned(pager), Held::Owned(driving))
    }

    /// Was the database opened for reading only?
    pub fn is_read_only(&self) -> bool {
        self.pager.is_read_only()
    }

    /// What is known of the database. Costs nothing worth mentioning.
    pub fn info(&self) -> Info {
        let (superblock, space) = (self.pager.superblock(), self.pager.space_use());
        let snapshot = btree::Snapshot::newest(&self.pager);
        let page_size = superblock.page_size.as_u32();
        let backend = self.driving.backend();
        Info {
            format_version: FORMAT_VERSION,
            page_size,
            file_bytes: superblock.file_len(),
            database_id: superblock.database_id,
            checkpoint: superblock.checkpoint,
            version: snapshot.version(),
            session: superblock.session,
            trees: snapshot.trees().count(),
            // What a damaged file says may be too much to be added up.
            entries: snapshot.trees().fold(0, |sum, (_, _, count)| sum.saturating_add(count)),
            driver: backend.name,
            driver_reason: backend.why.clone(),
            direct: self.pager.file().is_direct(),
            cache_pages: self.pager.cache().frame_count(),
            space,
        }
    }

    /// What the database has done and holds, for monitoring. Costs a pass over what is known of the
    /// frames of the cache.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            cache: self.pager.cache().stats(),
            space: self.pager.space_use(),
            in_flight: self.driving.backend().driver.in_flight(),
            version: btree::Snapshot::newest(&self.pager).version(),
            log: self.pager.log_stats(),
        }
    }

    /// What the cache has done and holds, for all databases that share it: that part of
    /// [`Database::metrics`]. Costs a pass over what is known of its pages.
    pub fn cache_stats(&self) -> CacheStats {
        self.pager.cache().stats()
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "database in {}", self.pager.file().path().display())
    }
}
