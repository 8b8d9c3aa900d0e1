//! The drivers of yieldb: what performs the I/O that the engine submits.
//!
//! | back-end | how |
//! |---|---|
//! | [`uring`] | io_uring: the kernel works on many requests at once |
//! | [`pread`] | one system call after the other, by whoever drives |
//! | [`memory`] | vectors, at once or in a seeded order; for tests |

mod auto;
mod engines;
pub mod memory;
mod os_file;
pub mod pread;
mod queued_file;
mod request;
mod sync_method;
pub mod transfer;
#[cfg(target_os = "linux")]
pub mod uring;

use std::sync::Arc;

use yieldb_core::{Driver, IO};

pub use auto::{Choice, open};
pub use engines::{Engine, Engines};
pub use memory::MemoryDisk;
pub use transfer::RawHook;

/// A back-end: the side that the engine submits to, and the side that is turned.
#[derive(Clone)]
pub struct Backend {
    /// Where requests are submitted.
    pub io: Arc<dyn IO>,
    /// What performs them.
    pub driver: Arc<dyn Driver>,
    /// What requests are performed for.
    pub engines: Arc<Engines>,
    /// Which one it is: `uring`, `pread` or `memory`.
    pub name: &'static str,
    /// Why this one.
    pub why: String,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}
