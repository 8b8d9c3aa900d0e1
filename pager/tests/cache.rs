//! The cache: reads of many pages at once, what becomes of each, and what is left of those that
//! nobody wanted.

mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{PAGE_LEN, World, name, wait};
use yieldb_core::{Error as IoFailure, Operation};
use yieldb_io_backends::{MemoryDisk, RawHook};
use yieldb_pager::PageRef;
use yieldb_pager::cache::{Cache, Joined, Located, PendingRead};

fn names(numbers: impl IntoIterator<Item = u64>) -> Vec<PageRef> {
    numbers.into_iter().map(name).collect()
}

/// Joins a read that is under way, or begins one.
fn join(world: &World, number: u64) -> PendingRead {
    match world.cache.join_read(&*world.file, name(number)).unwrap() {
        Joined::Reading(read) => read,
        other => panic!("page {number} is not being read, but {other:?}"),
    }
}

fn take(world: &World, read: PendingRead) -> Result<u64, IoFailure> {
    wait(world, &read.completion());
    read.take().map(|page| common::number_in(&page))
}

fn read(world: &World, number: u64) {
    assert_eq!(take(world, join(world, number)).unwrap(), number);
}

/// Fails reads that touch certain pages.
#[derive(Default)]
struct Unreadable {
    pages: Mutex<HashSet<u64>>,
    failed: AtomicU64,
}

impl RawHook for Unreadable {
    fn raw(&self, operation: Operation, offset: u64, len: usize, result: i32) -> i32 {
        let page_len = PAGE_LEN as u64;
        let touched = offset / page_len..(offset + len as u64).div_ceil(page_len);
        let bad = self.pages.lock().unwrap().iter().any(|page| touched.contains(page));
        if operation == Operation::Read && bad {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return -5; // EIO
        }
        result
    }
}

#[test]
fn neighbours_are_read_together() {
    let world = World::new(&MemoryDisk::new(), 512);
    let mut pages = names(2..80);
    pages.extend(names([100, 102, 103]));
    pages.reverse();
    assert_eq!(world.cache.prefetch(&*world.file, &pages), 81);
    let stats = world.cache.stats();
    // 16 pages are 64 KiB: four times; the rest of the run; page 100; and the two behind it.
    assert_eq!((stats.reads, stats.in_flight), (7, 81));
    assert_eq!(world.cache.prefetch(&*world.file, &pages), 0, "all of them are on their way");
    world.backend.driver.quiesce();
    for page in &pages {
        match world.cache.join_read(&*world.file, *page).unwrap() {
            Joined::Hit(bytes) => assert_eq!(common::number_in(&bytes), page.page().as_u64()),
            other => panic!("{page:?} is not there, but {other:?}"),
        }
    }
    assert_eq!(world.cache.stats().reads, 7);
    world.cache.assert_idle();
}

#[test]
fn what_is_in_memory_splits_a_run() {
    let world = World::new(&MemoryDisk::new(), 256);
    read(&world, 10);
    read(&world, 13);
    let before = world.cache.stats().reads;
    assert_eq!(world.cache.prefetch(&*world.file, &names(8..16)), 6);
    // 8 and 9; 11 and 12; 14 and 15.
    assert_eq!(world.cache.stats().reads - before, 3);
    world.backend.driver.quiesce();
    world.cache.assert_idle();
}

#[test]
fn a_page_of_a_run_can_be_joined_by_many() {
    let world = World::new(&MemoryDisk::new(), 256);
    world.cache.prefetch(&*world.file, &names(20..36));
    let (first, second) = (join(&world, 30), join(&world, 30));
    assert_eq!(world.cache.stats().reads, 1);
    assert_eq!(take(&world, first).unwrap(), 30);
    assert_eq!(take(&world, second).unwrap(), 30);
    let other = world.cache.join_read(&*world.file, common::wrong_name(30));
    assert!(matches!(other, Err(IoFailure::Rejected { number: 30, .. })), "{other:?}");
    world.cache.assert_idle();
}

#[test]
fn damage_is_an_error_for_those_who_asked_for_that_page() {
    let disk = MemoryDisk::new();
    let world = World::new(&disk, 256);
    let mut image = disk.image("file").unwrap();
    image[22 * PAGE_LEN + 100] ^= 1;
    disk.set_image("file", image);
    // The file ends behind page 255.
    let pages = names((20..26).chain([254, 255, 256, 257]));
    assert_eq!(world.cache.prefetch(&*world.file, &pages), 10);
    let reads: Vec<_> = pages.iter().map(|page| join(&world, page.page().as_u64())).collect();
    for (page, read) in pages.iter().zip(reads) {
        let number = page.page().as_u64();
        let is_good = number != 22 && number < 256;
        match take(&world, read) {
            Ok(found) => assert!(is_good && found == number),
            Err(IoFailure::Rejected { number: found, .. }) => {
                assert!(!is_good && found == number, "{number} is refused");
            }
            Err(other) => panic!("page {number}: {other}"),
        }
    }
    world.cache.assert_idle();
    assert!(take(&world, join(&world, 22)).is_err(), "it does not become good");
}

#[test]
fn an_unreadable_page_leaves_its_neighbours_readable() {
    // When requests are performed at once, everything is over before there is something to join.
    for seed in [None, Some(1), Some(2)] {
        let hook = Arc::new(Unreadable::default());
        let disk = MemoryDisk::new();
        let world = World::on(disk.with_hook(seed, hook.clone()), &disk, 256);
        hook.pages.lock().unwrap().extend([33, 35]);
        assert_eq!(world.cache.prefetch(&*world.file, &names(30..40)), 10);
        let wanted = if seed.is_some() { 30..40 } else { 0..0 };
        let reads: Vec<_> = wanted.map(|number| (number, join(&world, number))).collect();
        for (number, read) in reads {
            match take(&world, read) {
                Ok(found) => assert!(found == number && number != 33 && number != 35),
                Err(IoFailure::Io(error)) => {
                    assert!(number == 33 || number == 35);
                    assert_eq!((error.errno, error.len), (5, PAGE_LEN), "its own error");
                }
                Err(other) => panic!("page {number}: {other}"),
            }
        }
        assert_eq!(hook.failed.load(Ordering::SeqCst), 3, "the run and two pages");
        assert_eq!(world.cache.stats().resident, 8);
        world.cache.assert_idle();
    }
}

#[test]
fn what_nobody_waits_for_leaves_nothing_behind() {
    let hook = Arc::new(Unreadable::default());
    let disk = MemoryDisk::new();
    let world = World::on(disk.with_hook(Some(3), hook.clone()), &disk, 256);
    hook.pages.lock().unwrap().insert(50);
    world.cache.prefetch(&*world.file, &names(45..55));
    for number in 45..50 {
        drop(join(&world, number));
    }
    world.backend.driver.quiesce();
    assert_eq!(world.cache.stats().resident, 9);
    world.cache.assert_idle();
    // Nobody is left to perform what is queued.
    world.cache.prefetch(&*world.file, &names(60..70));
    let read = join(&world, 65);
    let World { cache, file, backend } = world;
    drop((file, backend));
    assert!(matches!(read.take(), Err(IoFailure::Abandoned)));
    cache.assert_idle();
}

#[test]
fn a_prefetch_takes_a_quarter_of_the_frames_and_yields_to_others() {
    let world = World::new(&MemoryDisk::new(), 256);
    let quarter = world.cache.frame_count() / 4;
    assert_eq!(world.cache.prefetch(&*world.file, &names(2..200)), quarter);
    assert_eq!(world.cache.prefetch(&*world.file, &names(200..210)), 0, "while they are read");
    world.backend.driver.quiesce();
    let mut lent = Vec::new();
    let signal = loop {
        match world.cache.take_frame() {
            Ok(frame) => lent.push(frame),
            Err(signal) => break signal,
        }
    };
    assert!(!signal.is_explicit_yield());
    assert_eq!(world.cache.prefetch(&*world.file, &names(200..210)), 0, "somebody waits");
    lent.pop();
    assert!(signal.finished());
    drop(lent);
    world.cache.assert_idle();
}

#[test]
fn a_prefetch_evicts_nothing_that_is_in_use() {
    let world = World::new(&MemoryDisk::new(), 128);
    for number in 2..200 {
        read(&world, number);
    }
    let resident = world.cache.resident();
    let used = (2..200).filter(|number| resident.page(name(*number)).unwrap().is_some()).count();
    drop(resident);
    let before = world.cache.stats();
    assert_eq!((before.used, before.free), (used, before.frames - used));
    // What is free for the moment may be used.
    assert!(before.free < 20);
    assert_eq!(world.cache.prefetch(&*world.file, &names(200..250)), before.free);
    assert_eq!(world.cache.stats().evictions, before.evictions);
}

#[test]
fn prefetched_pages_are_the_first_to_go() {
    let world = World::new(&MemoryDisk::new(), 128);
    let used = 2..2 + world.cache.frame_count() as u64 - 20;
    for number in used.clone() {
        read(&world, number);
        assert!(world.cache.resident().page(name(number)).unwrap().is_some());
    }
    assert_eq!(world.cache.prefetch(&*world.file, &names(200..216)), 16);
    world.backend.driver.quiesce();
    (220..228).for_each(|number| read(&world, number));
    let resident = world.cache.resident();
    let is_there = |number: &u64| resident.page(name(*number)).unwrap().is_some();
    assert!(used.clone().all(|number| is_there(&number)));
    assert!((200..216).filter(is_there).count() < 16);
    // Only advice, for pages that are there and for those that are not.
    (2..300).filter_map(|number| resident.locate(name(number))).for_each(Located::prefetch);
}

#[test]
fn what_long_scans_have_passed_makes_room_for_what_they_read_next() {
    let world = World::new(&MemoryDisk::new(), 128);
    let used = 2..2 + world.cache.frame_count() as u64 - 40;
    for number in used.clone() {
        read(&world, number);
        assert!(world.cache.resident().page(name(number)).unwrap().is_some());
    }
    let evictions = world.cache.stats().evictions;
    for first in [200, 216, 232].into_iter().cycle().take(30) {
        assert_eq!(world.cache.prefetch(&*world.file, &names(first..first + 16)), 16);
        world.backend.driver.quiesce();
        // One that others have used stays, however often it is passed.
        for number in (first..first + 16).chain([2]) {
            let passing = world.cache.resident();
            let page = passing.locate(name(number)).expect("it is in memory");
            assert!(page.passing_bytes().is_ok());
            page.pin_owned().expect("it stays").pass();
        }
    }
    assert!(world.cache.stats().evictions - evictions > 400);
    let resident = world.cache.resident();
    assert!(used.clone().all(|number| resident.contains(name(number))));
    drop(resident);
    world.cache.assert_idle();
}

/// Readers who come and go, each in his own way, in two files with one small memory.
#[test]
fn threads_share_two_files_in_one_memory() {
    let disk = MemoryDisk::new();
    let backend = disk.yielding(11);
    let first = World::on(backend.clone(), &disk, 160);
    let cache = Cache::new(first.cache.pool(), &first.file, |_| Ok(())).unwrap();
    let second = World { cache, file: first.file.clone(), backend };
    thread::scope(|scope| {
        for seed in 1..=4_u64 {
            let world = if seed % 2 == 0 { &first } else { &second };
            scope.spawn(move || {
                let mut random = seed;
                (0..3_000).for_each(|_| visit(world, &mut random));
            });
        }
    });
    first.backend.driver.quiesce();
    first.cache.assert_idle();
    let stats = first.cache.stats();
    assert!(stats.evictions > 1_000 && stats.memory_bytes <= stats.limit_bytes, "{stats:?}");
    let of_first = resident_count(&first);
    assert_eq!(of_first + resident_count(&second), stats.resident);
    drop(second);
    first.cache.assert_idle();
    assert_eq!(first.cache.stats().resident, of_first);
}

fn resident_count(world: &World) -> usize {
    let resident = world.cache.resident();
    let is_there = |number: &u64| resident.page(name(*number)).unwrap().is_some();
    (0..common::PAGE_COUNT).filter(is_there).count()
}

/// Prefetches some pages, and then waits for one, gives it up, or has the file forget it.
fn visit(world: &World, random: &mut u64) {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    let first = 2 + *random % 200;
    world.cache.prefetch(&*world.file, &names(first..first + *random / 256 % 16));
    let number = first + *random / 4096 % 32;
    if let Some(page) = world.cache.resident().locate(name(number)) {
        assert_eq!(common::number_in(page.passing_bytes().unwrap()), number);
    }
    match world.cache.join_read(&*world.file, name(number)).unwrap() {
        Joined::Hit(page) => assert_eq!(common::number_in(&page), number),
        Joined::Reading(read) if random.is_multiple_of(3) => drop(read),
        Joined::Reading(read) => assert_eq!(take(world, read).unwrap(), number),
        Joined::Later(signal) => wait(world, &signal),
    }
    if random.is_multiple_of(5) {
        let id = name(number).page();
        if let Some(read) = world.cache.forget(id) {
            wait(world, &read);
        }
    }
}
