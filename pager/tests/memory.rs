//! The limit on a cache's memory is kept, however far apart the pages in it are.
//!
//! The only test of its program: the memory is the process's.

mod common;

use common::{PAGE_LEN, World};
use yieldb_io_backends::MemoryDisk;
use yieldb_pager::{MIN_FRAMES, PageId, page_format};

/// In pages of 4 KiB.
const LIMIT: usize = 4096;

/// What the process has in memory, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kib * 1024
}

/// Puts a page into the cache, as a transaction does that has written it.
fn put(world: &World, number: u64) {
    let mut page = loop {
        match world.cache.take_frame() {
            Ok(page) => break page,
            Err(io) => assert!(io.is_explicit_yield(), "there is a page that can make room"),
        }
    };
    page.fill(number as u8);
    let id = PageId::from_u64(number).unwrap();
    page_format::set_kind(&mut page, page_format::LEAF, 0, 0);
    page_format::set_name(&mut page, id, common::stamp(number));
    world.cache.publish_dirty(id, page);
    world.cache.mark_clean(id);
}

#[test]
fn a_cache_stays_within_its_limit() {
    frames_and_tables_stay_within_the_limit();
    the_smallest_cache_keeps_its_frames();
}

fn frames_and_tables_stay_within_the_limit() {
    let world = World::new(&MemoryDisk::new(), LIMIT);
    let limit = (LIMIT * PAGE_LEN) as u64;
    let before = resident();
    // Next to each other: nearly all of the memory is for pages.
    (2..20_000).for_each(|number| put(&world, number));
    let dense = world.cache.stats();
    assert!(dense.frames > LIMIT * 98 / 100, "{dense:?}");
    // 1,000 pages apart, in a file of 400 GB: each page has a piece of the table for itself.
    for number in (0..100_000).map(|index| 100_000 + index * 1_000) {
        put(&world, number);
        if number % 64_000 == 0 {
            // The piece that the last page took is made good with the next one.
            let stats = world.cache.stats();
            assert!(stats.memory_bytes <= limit + PAGE_LEN as u64, "{stats:?}");
        }
    }
    let sparse = world.cache.stats();
    assert!(sparse.frames < dense.frames * 6 / 10, "{sparse:?}");
    assert!(sparse.resident > LIMIT * 4 / 10, "{sparse:?}");
    let taken = resident() - before;
    // Beside it: what is known of pieces, and a page of memory for each length of list.
    assert!(taken <= limit + (1 << 20), "{taken} bytes taken, {limit} allowed");
    // And back again.
    (2..40_000).for_each(|number| put(&world, number));
    let dense = world.cache.stats();
    assert!(dense.frames > LIMIT * 90 / 100, "{dense:?}");
    assert!(dense.memory_bytes <= limit && resident() - before <= limit + (1 << 20));
    world.cache.assert_idle();
}

fn the_smallest_cache_keeps_its_frames() {
    let world = World::new(&MemoryDisk::new(), MIN_FRAMES);
    for number in (0..10_000).map(|index| index * 1_000) {
        put(&world, number);
    }
    let stats = world.cache.stats();
    assert_eq!((stats.frames, stats.resident), (MIN_FRAMES, MIN_FRAMES));
    assert!(stats.table_bytes <= (MIN_FRAMES * 2 * PAGE_LEN) as u64, "{stats:?}");
}
