//! The B+tree of yieldb: nodes, operations, cursors, transactions. Names no driver, opens no file.
//!
//! ```text
//!   ops/        the operations: state machines over a `Pager`
//!     |-- edit      a change of a tree: gather, plan, apply
//!     |-- descend   a walk from root to leaf over the pages in memory
//!     '-- node/     pure functions of the bytes of one page
//! ```
#![deny(clippy::wildcard_enum_match_arm)]

mod balance;
mod catalogue;
mod cursor;
mod descend;
mod edit;
mod error;
mod key_range;
pub mod node;
pub mod ops;
mod pages;
mod replacement;
mod snapshot;
mod transaction;
mod tree_set;

pub use cursor::{Cursor, Entry};
pub use error::{Error, Result};
pub use key_range::KeyRange;
pub use ops::check::{CheckProgress, Damage, Report};
pub use ops::get::Value;
pub use snapshot::Snapshot;
pub use transaction::Transaction;
pub use yieldb_pager::Tree;
