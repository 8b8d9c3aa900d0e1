//! How far a recovery is, for whoever watches it.

use yieldb_core::sync::Arc;
use yieldb_core::sync::atomic::{AtomicU64, Ordering};

/// Tells how far an opening database is with making the changes of its log again. Clones are
/// handles on the same: any thread may ask, whoever drives the operation.
#[derive(Clone, Debug, Default)]
pub struct Recovery(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    /// 0 as long as it is not known, or there is nothing.
    of: AtomicU64,
}

/// How far a recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryProgress {
    /// The length of the groups whose changes were made again, in bytes.
    pub bytes: u64,
    /// Of so many.
    pub of: u64,
}

impl Recovery {
    /// How far it is; `None` as long as no log was found that has something to be made again.
    pub fn progress(&self) -> Option<RecoveryProgress> {
        let of = self.0.of.load(Ordering::Acquire);
        let bytes = self.0.bytes.load(Ordering::Relaxed).min(of);
        (of > 0).then_some(RecoveryProgress { bytes, of })
    }

    /// There are so many bytes.
    pub(crate) fn begin(&self, of: u64) {
        self.0.of.store(of, Ordering::Release);
    }

    /// So many of them are done.
    pub(crate) fn advance(&self, bytes: u64) {
        self.0.bytes.store(bytes, Ordering::Relaxed);
    }
}
