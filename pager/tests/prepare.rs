//! Memory for frames is found before they are used, and nobody waits for it.

mod common;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::{PAGE_LEN, World};
use yieldb_core::{Buffer, Completion, File, LockKind, Request, Result};
use yieldb_io_backends::MemoryDisk;
use yieldb_pager::PageSize;
use yieldb_pager::cache::{Cache, FramePool};

/// The frames of a huge page.
const TOGETHER: usize = (2 << 20) / PAGE_LEN;

/// A file whose driver takes its time to find memory.
struct Slow {
    file: Arc<dyn File>,
    preparing: Mutex<Vec<Completion>>,
}

impl Slow {
    fn count(&self) -> usize {
        self.preparing.lock().unwrap().len()
    }

    /// Ends what is under way, and says which memory that was.
    fn finish(&self) -> Vec<usize> {
        let preparing = std::mem::take(&mut *self.preparing.lock().unwrap());
        let end = |io: &Completion| {
            let buffers = io.take_buffers();
            let pages = buffers[0].chunks(PAGE_LEN).map(|page| page.as_ptr() as usize).collect();
            io.succeed_read(0, buffers);
            pages
        };
        let found: Vec<Vec<usize>> = preparing.iter().map(end).collect();
        found.concat()
    }
}

impl File for Slow {
    fn prepare(&self, completion: Completion) {
        self.preparing.lock().unwrap().push(completion);
    }

    fn read(&self, offset: u64, completion: Completion) {
        self.file.read(offset, completion);
    }

    fn write(&self, offset: u64, durable: bool, completion: Completion) {
        self.file.write(offset, durable, completion);
    }

    fn sync_data(&self, completion: Completion) {
        self.file.sync_data(completion);
    }

    fn allocate(&self, offset: u64, len: u64, completion: Completion) {
        self.file.allocate(offset, len, completion);
    }

    fn truncate(&self, len: u64, completion: Completion) {
        self.file.truncate(len, completion);
    }

    fn size(&self) -> Result<u64> {
        self.file.size()
    }

    fn try_lock(&self, kind: LockKind) -> Result<bool> {
        self.file.try_lock(kind)
    }

    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn is_at(&self, path: &Path) -> bool {
        self.file.is_at(path)
    }

    fn directory(&self) -> PathBuf {
        self.file.directory()
    }
}

/// A cache with room for so many pages, and its file.
fn cache(frames: usize) -> (Arc<Slow>, Arc<Cache>, Arc<dyn File>) {
    let file = World::new(&MemoryDisk::new(), frames).file;
    let slow = Arc::new(Slow { file, preparing: Mutex::default() });
    let pool = FramePool::new(PageSize::MIN, (frames * PAGE_LEN) as u64).unwrap();
    let file: Arc<dyn File> = slow.clone();
    (slow, Cache::new(&pool, &file, |_| Ok(())).unwrap(), file)
}

fn take(cache: &Cache, count: usize) -> Vec<Buffer> {
    (0..count).map(|_| cache.take_frame().unwrap()).collect()
}

fn places(pages: &[Buffer]) -> HashSet<usize> {
    pages.iter().map(|page| page.as_ptr() as usize).collect()
}

#[test]
fn memory_is_found_before_it_is_used() {
    let (slow, cache, _file) = cache(4 * TOGETHER);
    let mut pages = take(&cache, 1);
    assert_eq!(slow.count(), 1, "it begins with the first page");
    let stats = cache.stats();
    assert_eq!((stats.used, stats.free), (1, stats.frames - 1));
    assert!(stats.memory_bytes > (TOGETHER * PAGE_LEN) as u64);
    let first: HashSet<usize> = slow.finish().into_iter().collect();
    assert_eq!(first.len(), TOGETHER);
    // With the next page the next ones get memory; all of these have it.
    pages.extend(take(&cache, TOGETHER));
    assert_eq!(slow.count(), 1);
    assert_eq!(places(&pages[1..]), first);
    let second: HashSet<usize> = slow.finish().into_iter().collect();
    pages.extend(take(&cache, TOGETHER));
    assert_eq!(places(&pages[1 + TOGETHER..]), second);
    pages.clear();
    slow.finish();
    cache.assert_idle();
}

#[test]
fn nobody_waits_for_it() {
    let (slow, cache, _file) = cache(4 * TOGETHER);
    let pages = take(&cache, 2 * TOGETHER);
    assert_eq!(slow.count(), 1, "one after the other");
    let found = slow.finish();
    let taken = places(&pages);
    assert_eq!(taken.len(), 2 * TOGETHER);
    assert!(found.iter().all(|page| !taken.contains(page)), "lent twice");
    // All frames may be used; no more get memory than there may be.
    let rest = take(&cache, cache.stats().free);
    assert!(slow.finish().is_empty() && cache.take_frame().is_err());
    assert_eq!(places(&rest).union(&taken).count(), cache.stats().frames);
    drop((pages, rest));
    cache.assert_idle();
}

#[test]
fn a_small_cache_asks_for_nothing() {
    let (slow, cache, _file) = cache(TOGETHER / 2);
    let pages = take(&cache, cache.stats().free);
    assert!(slow.count() == 0 && cache.take_frame().is_err());
    drop(pages);
    cache.assert_idle();
}
