//! Damaged, cut and foreign files: named at the first touch, and nothing else lost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use rustix::io::Errno;
use yieldb::{
    Batch, Database, Durability, Error, ErrorKind, KeyRange, MAIN, MemoryDisk, Options, Snapshot,
};
use yieldb_core::{Completion, Create, File, LockKind, OpenOptions, Operation, Request};
use yieldb_io_backends::{Backend, RawHook};

const PAGE: usize = 4096;

fn options(disk: &MemoryDisk) -> Options {
    Options::new()
        .backend(disk.immediate())
        .cache_bytes(Options::min_cache_bytes(PAGE as u32))
        .database_id([1; 16])
}

fn key(number: u32) -> Vec<u8> {
    format!("key {number:06}").into_bytes()
}

const COUNT: u32 = 3_000;

/// A file with [`COUNT`] entries.
fn image() -> Vec<u8> {
    let disk = MemoryDisk::new();
    let database = options(&disk).open("db").wait().unwrap();
    let mut transaction = database.begin().wait().unwrap();
    for number in 0..COUNT {
        transaction.put(MAIN, key(number), [number as u8; 50]).wait().unwrap();
    }
    transaction.commit().wait().unwrap();
    drop(database);
    disk.image("db").unwrap()
}

fn disk_with(image: Vec<u8>) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.set_image("db", image);
    disk
}

/// Why the file cannot be opened.
fn refusal(image: Vec<u8>) -> Error {
    let disk = disk_with(image);
    let writing = options(&disk).open("db").wait().map(drop);
    let reading = options(&disk).read_only(true).open("db").wait().map(drop);
    let (writing, reading) = (writing.unwrap_err(), reading.unwrap_err());
    assert_eq!(writing.to_string(), reading.to_string());
    writing
}

fn damages(snapshot: &Snapshot) -> Vec<String> {
    let report = snapshot.check(|_| {}).unwrap().wait().unwrap();
    report.damages.iter().map(ToString::to_string).collect()
}

/// The number of a leaf with this key or one near it.
fn leaf_of(image: &[u8], key: &[u8]) -> usize {
    // The leaf has what all its keys share, and behind that their ends.
    let (shared, end) = (&key[..key.len() - 3], &key[key.len() - 2..]);
    let has = |page: &[u8], part: &[u8]| page.windows(part.len()).any(|window| window == part);
    let mut pages = image.chunks(PAGE).enumerate().skip(2);
    let found = pages.find(|(_, page)| page[4] == 1 && has(page, shared) && has(page, end));
    found.expect("a leaf").0
}

#[test]
fn a_damaged_page_is_named_at_the_first_touch_and_the_rest_can_be_read() {
    let mut image = image();
    let leaf = leaf_of(&image, &key(700));
    image[leaf * PAGE + 2000] ^= 0x10;
    let database = options(&disk_with(image)).open("db").wait().unwrap();
    let snapshot = database.snapshot();
    let (mut readable, mut lost) = (0, 0);
    for number in 0..COUNT {
        match snapshot.get(MAIN, key(number)).wait() {
            Ok(value) => {
                assert_eq!(value.as_deref(), Some(&[number as u8; 50][..]));
                readable += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damaged);
                assert_eq!(error.damaged_page(), Some(leaf as u64));
                assert!(error.to_string().contains(&format!("page {leaf} is damaged")), "{error}");
                lost += 1;
            }
        }
    }
    assert!((10..200).contains(&lost) && readable == COUNT - lost, "{readable} and {lost}");
    let found = damages(&snapshot);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(&format!("{leaf}")), "{found:?}");
    // A scan says so too, when it gets there.
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    let error = loop {
        match cursor.next().wait() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the scan went past a damaged page"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.damaged_page(), Some(leaf as u64));
}

#[test]
fn a_page_in_the_place_of_another_is_damage() {
    let mut image = image();
    let leaves: Vec<usize> =
        (2..image.len() / PAGE).filter(|page| image[page * PAGE + 4] == 1).collect();
    image.copy_within(leaves[3] * PAGE..(leaves[3] + 1) * PAGE, leaves[5] * PAGE);
    let database = options(&disk_with(image)).open("db").wait().unwrap();
    let found = damages(&database.snapshot());
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("its number is another page's"), "{found:?}");
}

#[test]
fn writing_around_damage_is_refused_only_where_it_touches_it() {
    let mut image = image();
    let leaf = leaf_of(&image, &key(1_500));
    image[leaf * PAGE + 3000] ^= 1;
    let disk = disk_with(image);
    let database = options(&disk).open("db").wait().unwrap();
    let mut transaction = database.begin().wait().unwrap();
    let (mut refused, mut stored) = (0, 0);
    for number in 0..COUNT {
        match transaction.put(MAIN, key(number), "new").wait() {
            Ok(_) => stored += 1,
            Err(error) => {
                assert_eq!(error.damaged_page(), Some(leaf as u64));
                refused += 1;
            }
        }
    }
    transaction.commit().wait().unwrap();
    assert!(refused > 0 && stored + refused == COUNT);
    let snapshot = database.snapshot();
    let new = (0..COUNT).filter(|number| {
        snapshot.get(MAIN, key(*number)).wait().is_ok_and(|value| value.as_deref() == Some(b"new"))
    });
    assert_eq!(new.count() as u32, stored);
}

#[test]
fn one_bad_superblock_is_no_loss_and_two_are() {
    let image = image();
    for slot in 0..2 {
        let mut one = image.clone();
        one[slot * PAGE + 100] ^= 1;
        let disk = disk_with(one.clone());
        let database = options(&disk).open("db").wait().unwrap();
        assert_eq!(database.snapshot().count(MAIN).unwrap(), u64::from(COUNT));
        drop(database);
        // Opening for writing has made both good again.
        assert_eq!(disk.image("db").unwrap()[slot * PAGE..][..16], image[..16]);
        one = disk.image("db").unwrap();
        one[(1 - slot) * PAGE + 100] ^= 1;
        let database = options(&disk_with(one)).open("db").wait().unwrap();
        assert_eq!(database.snapshot().count(MAIN).unwrap(), u64::from(COUNT));
    }
    let mut both = image;
    both[100] ^= 1;
    both[PAGE + 100] ^= 1;
    let error = refusal(both);
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
}

#[test]
fn foreign_and_future_files_are_refused_and_left_alone() {
    let text = b"just some notes, and nothing that looks like a database\n".repeat(400);
    let error = refusal(text.clone());
    assert_eq!(error.kind(), ErrorKind::Foreign);
    assert!(error.to_string().starts_with("db: not a yieldb file"), "{error}");
    let disk = disk_with(text.clone());
    assert!(options(&disk).open("db").wait().is_err());
    assert_eq!(disk.image("db").unwrap(), text, "it was changed");

    let mut short = text;
    short.truncate(3);
    assert_eq!(refusal(short).kind(), ErrorKind::Foreign);

    let mut future = image();
    for slot in 0..2 {
        let slot = &mut future[slot * PAGE..(slot + 1) * PAGE];
        slot[16..20].copy_from_slice(&9_u32.to_le_bytes());
        let checksum = crc32fast::hash(&slot[..PAGE - 4]);
        slot[PAGE - 4..].copy_from_slice(&checksum.to_le_bytes());
    }
    let error = refusal(future);
    assert_eq!(error.kind(), ErrorKind::Foreign);
    assert!(error.to_string().contains("format version 9"), "{error}");
}

#[test]
fn a_cut_file_is_refused_with_both_lengths() {
    let image = image();
    for len in [image.len() - 1, image.len() / 2, 3 * PAGE, 2 * PAGE] {
        let error = refusal(image[..len].to_vec());
        assert_eq!(error.kind(), ErrorKind::Damaged, "{len}: {error}");
        assert!(error.to_string().contains(&len.to_string()), "{error}");
        assert!(error.to_string().contains(&image.len().to_string()), "{error}");
    }
    // Within the superblocks nothing is left to say how long it was.
    for len in [PAGE + 5, PAGE, 600] {
        let error = refusal(image[..len].to_vec());
        assert_eq!(error.kind(), ErrorKind::Damaged, "{len}: {error}");
    }
}

#[test]
fn an_empty_file_is_a_new_database() {
    let disk = disk_with(Vec::new());
    let database = options(&disk).open("db").wait().unwrap();
    assert_eq!(database.snapshot().count(MAIN).unwrap(), 0);
}

#[test]
fn what_lies_behind_the_last_page_is_cut_off_when_the_file_is_opened_to_write() {
    let image = image();
    let mut long = image.clone();
    long.extend_from_slice(&[0xa5; 5 * PAGE + 7]);
    let disk = disk_with(long.clone());
    let database = options(&disk).read_only(true).open("db").wait().unwrap();
    assert_eq!(database.snapshot().count(MAIN).unwrap(), u64::from(COUNT));
    drop(database);
    assert!(disk.image("db").unwrap() == long, "reading changed it");
    let database = options(&disk).open("db").wait().unwrap();
    assert_eq!(database.snapshot().count(MAIN).unwrap(), u64::from(COUNT));
    assert_eq!(disk.image("db").unwrap().len(), image.len());
}

/// A file whose superblock says that it is longer, and which is: nothing of its end is used.
#[test]
fn a_file_whose_map_ends_before_it_is_damaged() {
    let mut image = image();
    let pages = (image.len() / PAGE) as u64 + 100;
    for slot in image[..2 * PAGE].chunks_mut(PAGE) {
        slot[144..152].copy_from_slice(&pages.to_le_bytes());
        let checksum = yieldb_pager::superblock::slot_checksum(slot);
        slot[PAGE - 4..].copy_from_slice(&checksum.to_le_bytes());
    }
    image.resize(pages as usize * PAGE, 0);
    let error = refusal(image);
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
}

/// Counts syncs, and lets them end like this.
#[derive(Default)]
struct Syncs {
    count: AtomicU64,
    errno: AtomicI32,
}

impl RawHook for Syncs {
    fn raw(&self, operation: Operation, _offset: u64, _len: usize, result: i32) -> i32 {
        if operation != Operation::Sync {
            return result;
        }
        self.count.fetch_add(1, Ordering::SeqCst);
        -self.errno.load(Ordering::SeqCst)
    }
}

#[test]
fn what_a_kill_left_in_a_cache_is_synced_before_anybody_reads_it() {
    let disk = disk_with(image());
    let database = options(&disk).open("db").wait().unwrap();
    let old = disk.image("db").unwrap();
    let mut transaction = database.begin().wait().unwrap();
    transaction.put(MAIN, "key of a commit that was cut short", "x").wait().unwrap();
    transaction.commit().wait().unwrap();
    drop(database);
    let settled = disk.image("db").unwrap();
    for slot in 0..2 {
        // As if the process had been killed between the two slots.
        let mut image = settled.clone();
        image[slot * PAGE..(slot + 1) * PAGE].copy_from_slice(&old[slot * PAGE..][..PAGE]);
        let disk = disk_with(image.clone());
        let syncs = Arc::new(Syncs::default());
        let reading = options(&disk).backend(disk.with_hook(None, syncs.clone())).read_only(true);
        let database = reading.clone().open("db").wait().unwrap();
        assert_eq!(database.snapshot().count(MAIN).unwrap(), u64::from(COUNT) + 1);
        assert_eq!(syncs.count.load(Ordering::SeqCst), 1);
        drop(database);
        // A medium that cannot be written has nothing in a cache; any other failure is one.
        for (errno, is_open) in [(Errno::ROFS, true), (Errno::INVAL, true), (Errno::IO, false)] {
            syncs.errno.store(errno.raw_os_error(), Ordering::SeqCst);
            assert_eq!(reading.clone().open("db").wait().is_ok(), is_open, "{errno}");
        }
        assert!(disk.image("db").unwrap() == image, "reading changed it");
    }
    // Where both slots say the same, there is nothing to sync.
    let disk = disk_with(settled);
    let syncs = Arc::new(Syncs::default());
    let reading = options(&disk).backend(disk.with_hook(None, syncs.clone())).read_only(true);
    reading.open("db").wait().unwrap();
    assert_eq!(syncs.count.load(Ordering::SeqCst), 0);
}

/// Lets the next sync fail.
#[derive(Default)]
struct NextSync {
    fails: AtomicBool,
}

impl RawHook for NextSync {
    fn raw(&self, operation: Operation, _offset: u64, _len: usize, result: i32) -> i32 {
        let fails = operation == Operation::Sync && self.fails.swap(false, Ordering::SeqCst);
        if fails { -Errno::IO.raw_os_error() } else { result }
    }
}

/// An operating system may forget what it was to write when a sync has failed. What waits behind
/// that sync must not make a checkpoint of it: the next sync is good.
#[test]
fn what_waits_behind_a_failed_sync_fails_too() {
    let disk = disk_with(image());
    let syncs = Arc::new(NextSync::default());
    let database = options(&disk).backend(disk.with_hook(Some(3), syncs.clone()));
    let database = database.open("db").wait().unwrap();
    let mut batch = Batch::new();
    batch.put(MAIN, "a key", "a value");
    // Until there is a log: the first commits are checkpoints.
    for _ in 0..3 {
        database.write(&batch).wait().unwrap();
    }
    let slots = || disk.image("db").unwrap()[..2 * PAGE].to_vec();
    let before = slots();
    database.write_with(&batch, Durability::Relaxed).wait().unwrap();
    syncs.fails.store(true, Ordering::SeqCst);
    let mut checkpoints = [database.checkpoint(), database.checkpoint()];
    for checkpoint in &mut checkpoints {
        assert!(!checkpoint.step().unwrap().is_done());
    }
    for _ in 0..1_000 {
        database.turn();
    }
    for checkpoint in checkpoints {
        let error = checkpoint.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
    }
    assert!(slots() == before, "the superblock names what may be lost");
}

/// The log's file, as a request has it that somebody who is gone has sent out.
fn late_request(backend: &Backend) -> (Arc<dyn File>, bool) {
    let io = Completion::open();
    let options = OpenOptions { write: true, create: Create::IfMissing, direct: false };
    backend.io.open(Path::new("db-log"), options, io.clone());
    backend.driver.poll();
    let file = io.take_file().unwrap();
    let is_locked = file.try_lock(LockKind::Exclusive).unwrap();
    (file, is_locked)
}

#[test]
fn a_log_is_not_used_while_something_is_on_its_way_into_it() {
    let disk = disk_with(image());
    let backend = disk.immediate();
    let mut batch = Batch::new();
    batch.put(MAIN, "a key", "a value");
    let write = |database: &Database| {
        for _ in 0..4 {
            database.write(&batch).wait().unwrap();
        }
    };
    // A new log is not made over it: commits are checkpoints until it is over.
    let database = options(&disk).open("db").wait().unwrap();
    let (late, _) = late_request(&backend);
    write(&database);
    assert!(database.metrics().log.is_none());
    drop(late);
    write(&database);
    assert!(database.metrics().log.is_some());
    // One in use is locked, and whoever finds it so does not read it.
    assert!(!late_request(&backend).1);
    drop(database);
    let (late, is_locked) = late_request(&backend);
    assert!(is_locked);
    for read_only in [false, true] {
        let error = options(&disk).read_only(read_only).open("db").wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    }
    drop(late);
    let database = options(&disk).open("db").wait().unwrap();
    assert!(database.snapshot().get(MAIN, "a key").wait().unwrap().is_some());
    assert!(database.metrics().log.is_some());
}
