//! How a file is opened.

use std::sync::Arc;

use yieldb_core::Create;

use crate::cache::{CheckPage, FramePool, check_limit};
use crate::log::writer::LogLimits;
use crate::{Error, PageSize, Result};

/// How a file is opened.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The page length of a file that is created.
    pub page_size: PageSize,
    /// The memory for pages.
    pub cache: CacheMemory,
    /// Is the file only to be read?
    pub read_only: bool,
    /// What if there is no such file, or there is one?
    pub create: Create,
    /// The id of a database that is created; `None` for a random one.
    pub database_id: Option<[u8; 16]>,
    /// Go past the operating system's cache, where that can be done.
    pub direct: bool,
    /// What nodes must be like.
    pub check: CheckPage,
    /// The log that commits go into; `None` where each is to be a checkpoint.
    pub log: Option<LogLimits>,
    /// Is only the checkpoint wanted, whatever the log has? Then the file is only to be read.
    pub checkpoint_only: bool,
}

/// The memory for pages.
#[derive(Clone, Debug)]
pub enum CacheMemory {
    /// So many bytes, for this file alone.
    Own(u64),
    /// That of several files.
    Shared(Arc<FramePool>),
}

impl CacheMemory {
    /// Can pages of this size be kept in it?
    pub(crate) fn check(&self, page_size: PageSize) -> Result<()> {
        match self {
            CacheMemory::Own(bytes) => check_limit(*bytes, page_size, 1),
            CacheMemory::Shared(pool) if pool.page_size() != page_size => {
                let (cache, file) = (pool.page_size().as_u32(), page_size.as_u32());
                Err(Error::CachePageSize { cache, file })
            }
            CacheMemory::Shared(_) => Ok(()),
        }
    }
    /// The memory for pages of this size.
    pub(crate) fn pool(&self, page_size: PageSize) -> Result<Arc<FramePool>> {
        match self {
            CacheMemory::Own(bytes) => FramePool::new(page_size, *bytes),
            CacheMemory::Shared(pool) => Ok(pool.clone()),
        }
    }
}
