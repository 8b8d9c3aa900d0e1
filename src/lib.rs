//! An embedded, transactional, ordered key-value store that never blocks the thread that uses it.
//!
//! ```
//! # fn main() -> yieldb::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("fruit.db");
//! use yieldb::{Database, KeyRange, MAIN};
//!
//! let database = Database::open(&path).wait()?;
//! let mut transaction = database.begin().wait()?;
//! transaction.put(MAIN, "apple", "red").wait()?;
//! transaction.put(MAIN, "plum", "blue").wait()?;
//! transaction.commit().wait()?;
//!
//! let snapshot = database.snapshot();
//! assert_eq!(snapshot.get(MAIN, "apple").wait()?.as_deref(), Some(&b"red"[..]));
//! let mut cursor = snapshot.cursor(MAIN, KeyRange::all().from(b"b"));
//! assert_eq!(cursor.next().wait()?.map(|entry| entry.key()), Some(&b"plum"[..]));
//! # Ok(()) }
//! ```
//!
//! Every operation is an [`Op`], which can be driven in three ways: `.wait()` on a thread, `.await`
//! in any runtime, or `.step()` in a loop of one's own.

mod bulk_load;
mod cache;
mod cursor;
mod database;
mod driving;
mod error;
pub mod inspect;
mod make_durable;
mod multi_get;
mod op;
mod open;
mod options;
mod snapshot;
mod transaction;
mod value;

pub use bulk_load::BulkLoad;
pub use cache::Cache;
pub use cursor::Cursor;
pub use database::{Database, Info, Metrics};
pub use driving::DriverMode;
pub use error::{Error, ErrorKind, Result};
pub use multi_get::MultiGet;
pub use op::Op;
pub use options::Options;
pub use snapshot::Snapshot;
pub use transaction::WriteTransaction;
pub use value::{ValueReader, ValueWriter};
pub use yieldb_btree::{
    Batch, CheckProgress, Compacted, Damage, Decide, Decision, Entry, IfAbsent, IfEqual, KeyRange,
    Lookup, Recovery, RecoveryProgress, Report, Savepoint, Value,
};
pub use yieldb_btree::{LargeStats, LenStats, LevelStats, StatsProgress, TreeStats};
pub use yieldb_core::{Completion, Create, DurableWrites, IOCompletions, IOResult, SyncMethod};
pub use yieldb_io_backends::{Backend, Choice, MemoryDisk};
pub use yieldb_pager::cache::CacheStats;
pub use yieldb_pager::log::writer::{LogLimits, LogStats};
pub use yieldb_pager::{Durability, SpaceUse, Tree};

/// The tree named `main`, which every database has: for programs that need no other.
pub const MAIN: Tree = Tree::MAIN;

/// Opens a back-end that several databases share: see [`Options::backend`].
///
/// ```
/// # fn main() -> yieldb::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// use yieldb::{Choice, Options};
///
/// let options = Options::new().backend(yieldb::open_backend(Choice::Auto)?);
/// let fruit = options.clone().open(directory.path().join("fruit.db")).wait()?;
/// let nuts = options.open(directory.path().join("nuts.db")).wait()?;
/// assert_eq!(fruit.info().driver, nuts.info().driver);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Error::NoDriver`] if the one that was asked for cannot be had.
pub fn open_backend(choice: Choice) -> Result<Backend> {
    yieldb_io_backends::open(choice)
        .map_err(|error| Error::NoDriver { errno: error.raw_os_error().unwrap_or_default() })
}

/// The operations, as types: what [`Op`] is generic over.
pub mod ops {
    pub use crate::make_durable::MakeDurable;
    pub use crate::open::{Begin, Close, Open, OpenValue};
    pub use yieldb_btree::ops::bulk_load::{Finish, Push};
    pub use yieldb_btree::ops::check::Check;
    pub use yieldb_btree::ops::commit::Commit;
    pub use yieldb_btree::ops::compact::Compact;
    pub use yieldb_btree::ops::count::Count;
    pub use yieldb_btree::ops::delete::Delete;
    pub use yieldb_btree::ops::delete_range::DeleteRange;
    pub use yieldb_btree::ops::drop_tree::DropTree;
    pub use yieldb_btree::ops::edge::Edge;
    pub use yieldb_btree::ops::get::Get;
    pub use yieldb_btree::ops::multi_get::Next as NextLookup;
    pub use yieldb_btree::ops::next::{Next, NextKey};
    pub use yieldb_btree::ops::put::Put;
    pub use yieldb_btree::ops::read_value::ReadValue;
    pub use yieldb_btree::ops::stats::Stats;
    pub use yieldb_btree::ops::update::Update;
    pub use yieldb_btree::ops::write::Write;
    pub use yieldb_btree::ops::write_value::{FinishValue, WriteValue};
}

/// The examples of the documents are compiled with the others.
#[cfg(doctest)]
#[doc = include_str!("../docs/manual.md")]
#[doc = include_str!("../README.md")]
struct Documents;
