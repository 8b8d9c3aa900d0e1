//! Pages, cache, space, versions and checkpoints of yieldb. Knows no key.
//!
//! ```text
//!   Pager --- Cache          which pages are in memory
//!         |-- Ledger         which numbers are used, by which versions
//!         |-- WriterQueue    whose turn it is to write
//!         |-- LogWriter      the commits that no checkpoint has yet
//!         '-- Checkpoint     the version that is being made durable
//! ```
//!
//! A write transaction makes its pages in a [`WriteSet`], which nobody else sees. A commit hands
//! it over to the engine, which *publishes* them. A small one is durable when the log has its
//! changes. By a checkpoint, its own or a later one, the pages are written to places that nothing
//! durable refers to, synced, and named by the superblock.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod cache;
mod commits;
mod dirty;
mod durability;
mod error;
mod ledger;
pub mod log;
mod newest;
pub mod ops;
mod pacing;
pub mod page_format;
mod page_id;
mod page_run;
mod pager;
pub mod reuse;
mod settings;
pub mod space;
mod stamp;
pub mod superblock;
mod trees;
pub mod value_page;
mod version;
pub mod write_set;
pub mod writer_queue;

pub use cache::{FramePool, Located, PagePin, PinnedPage, Resident, prefetch_front};
pub use commits::Compaction;
pub use durability::Durability;
pub use error::{Error, Result};
pub use ledger::{HeldMap, SpaceUse};
pub use page_id::{PageId, PageRef, PageSize};
pub use page_run::PageRun;
pub use pager::{MIN_FRAMES, Pager};
pub use settings::{CacheMemory, Settings};
pub use stamp::Stamp;
pub use trees::{MAIN_NAME, Root, Tree, TreeInfo, Trees};
pub use version::{RootSet, VersionPin};
pub use write_set::WriteSet;
