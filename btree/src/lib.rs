//! The B+tree of yieldb: nodes, operations, cursors, transactions. Names no driver, opens no file.
//!
//! ```text
//!   ops/        the operations: state machines over a `Pager`
//!     |-- edit      a change of a tree: gather, plan, apply
//!     |-- bulk/     a whole tree from entries in any order: collect, sort, build
//!     |-- descend   a walk from root to leaf over the pages in memory
//!     '-- node/     pure functions of the bytes of one page
//! ```
#![deny(clippy::wildcard_enum_match_arm)]

mod applying;
mod balance;
mod batch;
mod bulk;
mod catalogue;
mod cursor;
mod descend;
mod edit;
mod error;
pub mod inspect;
mod key_range;
mod large;
mod lock_step;
mod multi_get;
pub mod node;
pub mod ops;
mod pages;
mod read_ahead;
pub mod record;
mod recorder;
mod recovery;
mod replacement;
mod savepoint;
mod snapshot;
mod transaction;
mod tree_set;
mod work;

pub use batch::Batch;
pub use cursor::{Cursor, Entry};
pub use error::{Error, Result};
pub use key_range::KeyRange;
pub use multi_get::{Lookup, MultiGet};
pub use ops::bulk_load::BulkLoad;
pub use ops::check::{CheckProgress, Damage, Report};
pub use ops::compact::Compacted;
pub use ops::find_value::ValueReader;
pub use ops::get::Value;
pub use ops::stats::{LargeStats, LenStats, LevelStats, StatsProgress, TreeStats};
pub use ops::update::{Decide, Decision, IfAbsent, IfEqual};
pub use ops::write_value::ValueWriter;
pub use recovery::{Recovery, RecoveryProgress};
pub use savepoint::Savepoint;
pub use snapshot::Snapshot;
pub use transaction::Transaction;
pub use yieldb_pager::Tree;
