//! A file of pages that say their own numbers, and a cache of it. Each program uses a part of this.
#![allow(dead_code)]

use std::path::Path;
use std::sync::Arc;

use yieldb_core::{Completion, Create, File, OpenOptions, Request};
use yieldb_io_backends::{Backend, MemoryDisk};
use yieldb_pager::cache::Cache;
use yieldb_pager::{FramePool, MIN_FRAMES, PageId, PageRef, PageSize, Stamp, page_format};

/// The length of a page in bytes.
pub const PAGE_LEN: usize = PageSize::MIN.bytes();

/// How many pages the file has.
pub const PAGE_COUNT: u64 = 256;

/// A file, and a cache of its pages.
pub struct World {
    pub cache: Arc<Cache>,
    pub file: Arc<dyn File>,
    pub backend: Backend,
}

impl World {
    /// A world whose reads are finished when the driver is turned.
    pub fn new(disk: &MemoryDisk, frames: usize) -> World {
        World::on(disk.yielding(7), disk, frames)
    }

    /// A world on a back-end of this disk.
    pub fn on(backend: Backend, disk: &MemoryDisk, frames: usize) -> World {
        disk.set_image("file", image());
        World::open(backend, Path::new("file"), frames)
    }

    /// A cache of a file that is there.
    pub fn open(backend: Backend, path: &Path, frames: usize) -> World {
        assert!(frames >= MIN_FRAMES);
        let io = Completion::open();
        let options = OpenOptions { write: false, create: Create::Never, direct: true };
        backend.io.open(path, options, io.clone());
        while !io.finished() {
            backend.driver.wait(&io);
        }
        let file = io.take_file().unwrap();
        let pool = FramePool::new(PageSize::MIN, (frames * PAGE_LEN) as u64).unwrap();
        let cache = Cache::new(&pool, &file, |_| Ok(())).unwrap();
        World { cache, file, backend }
    }
}

/// Drives until `io` is finished.
pub fn wait(world: &World, io: &Completion) {
    while !io.finished() && !io.is_explicit_yield() {
        world.backend.driver.wait(io);
    }
}

/// The bytes of the file.
pub fn image() -> Vec<u8> {
    (0..PAGE_COUNT).flat_map(page).collect()
}

/// The stamp of a page.
pub fn stamp(number: u64) -> Stamp {
    Stamp::new(1, number as u32)
}

fn page(number: u64) -> Vec<u8> {
    let mut bytes = vec![number as u8; PAGE_LEN];
    page_format::set_kind(&mut bytes, page_format::LEAF, 0, 0);
    bytes[64..72].copy_from_slice(&number.to_le_bytes());
    page_format::seal(&mut bytes, PageId::from_u64(number).unwrap(), stamp(number));
    bytes
}

/// The name of a page.
pub fn name(number: u64) -> PageRef {
    PageRef::new(PageId::from_u64(number).unwrap(), stamp(number))
}

/// The name of an older page with the same number.
pub fn wrong_name(number: u64) -> PageRef {
    PageRef::new(PageId::from_u64(number).unwrap(), stamp(number + 1))
}

/// The number that a page says.
pub fn number_in(page: &[u8]) -> u64 {
    u64::from_le_bytes(page[64..72].try_into().unwrap())
}
