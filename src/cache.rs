//! Memory for pages that several databases share.

use std::sync::Arc;

use yieldb_btree as btree;
use yieldb_pager::cache::CacheStats;
use yieldb_pager::{FramePool, PageSize};

use crate::{Error, Result};

/// Memory for the pages of several databases, which have one limit together: see
/// [`Options::cache`](crate::Options::cache). Clones are handles on the same memory.
///
/// The databases take from each other what is used least. One that is closed gives all of it back.
/// They need not share a back-end.
///
/// ```
/// # fn main() -> yieldb::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// use yieldb::{Cache, Options};
///
/// let cache = Cache::new(32 << 20, 4096)?;
/// let fruit = Options::new().cache(&cache).open(directory.path().join("fruit.db")).wait()?;
/// let nuts = Options::new().cache(&cache).open(directory.path().join("nuts.db")).wait()?;
/// assert!(cache.stats().memory_bytes <= 32 << 20);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Cache {
    pool: Arc<FramePool>,
}

impl Cache {
    /// At most `bytes` of memory for pages of `page_size` bytes, taken as it is needed. The page
    /// tables of the databases are part of it.
    ///
    /// # Errors
    ///
    /// [`Error::PageSize`] if there are no pages of that size; [`crate::ErrorKind::Usage`] if
    /// `bytes` is less than [`Options::min_cache_bytes`](crate::Options::min_cache_bytes);
    /// [`crate::ErrorKind::System`] if there is no room for that much.
    pub fn new(bytes: u64, page_size: u32) -> Result<Cache> {
        let page_size = PageSize::new(page_size).ok_or(Error::PageSize { bytes: page_size })?;
        let pool = FramePool::new(page_size, bytes).map_err(btree::Error::from)?;
        Ok(Cache { pool })
    }

    /// The size of its pages in bytes.
    pub fn page_size(&self) -> u32 {
        self.pool.page_size().as_u32()
    }

    /// What it has done and holds, for all of its databases together. Costs a pass over what is
    /// known of its pages.
    pub fn stats(&self) -> CacheStats {
        self.pool.stats()
    }

    pub(crate) fn pool(&self) -> &Arc<FramePool> {
        &self.pool
    }
}
