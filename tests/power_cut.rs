//! Power cuts after every I/O: whatever subset of the unsynced writes reaches the disk, whole or
//! torn, the file opens as the last acknowledged commit left it, or as a later one did. So it does
//! when a process was killed before, whose unsynced writes the next one saw. Each commit is a
//! checkpoint here; with a log there are two files, which the simulator cuts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use yieldb::{Database, KeyRange, MAIN, MemoryDisk, Options, Snapshot};
use yieldb_core::Operation;
use yieldb_io_backends::RawHook;
use yieldb_pager::superblock::{SLOT_LEN, SLOT_OFFSETS};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

const SECTOR: usize = 512;
const SLOTS_LEN: u64 = (SLOT_OFFSETS.len() * SLOT_LEN) as u64;

/// A change of the file that is not durable.
#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Len(usize),
}

/// What a power cut leaves for certain, and what it may leave besides.
#[derive(Clone, Default)]
struct Disk {
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// The last commit that was acknowledged by now.
    acknowledged: u64,
}

impl Disk {
    fn apply(image: &mut Vec<u8>, change: &Change, sectors: impl Fn(usize) -> bool) {
        match change {
            Change::Len(len) => image.resize(*len, 0),
            Change::Write(offset, bytes) => {
                image.resize(image.len().max(offset + bytes.len()), 0);
                for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                    if sectors(index) {
                        let at = offset + index * SECTOR;
                        image[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
            }
        }
    }

    /// Is a slot of the superblock the last that was written, and not durable yet?
    fn writes_slot(&self) -> bool {
        let last = self.pending.last();
        matches!(last, Some(Change::Write(offset, _)) if (*offset as u64) < SLOTS_LEN)
    }

    fn sync(&mut self, changes: Vec<Change>) {
        for change in changes {
            Disk::apply(&mut self.durable, &change, |_| true);
        }
    }

    /// What a power cut leaves: each change wholly, in part, or not at all.
    fn cut(&self, random: &mut Random) -> Vec<u8> {
        let mut image = self.durable.clone();
        for change in &self.pending {
            let mask = match random.below(4) {
                0 => 0,
                1 => random.next(),
                _ => u64::MAX,
            };
            if mask != 0 {
                Disk::apply(&mut image, change, |sector| mask >> (sector % 64) & 1 == 1);
            }
        }
        image
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Notes every I/O, and what the disk is like after it.
struct Recorder {
    files: MemoryDisk,
    acknowledged: AtomicU64,
    history: Mutex<Vec<Disk>>,
    last_write: Mutex<Option<u64>>,
}

impl RawHook for Recorder {
    fn raw(&self, operation: Operation, offset: u64, _len: usize, result: i32) -> i32 {
        let image = self.files.image("db").unwrap_or_default();
        let mut history = self.history.lock().unwrap();
        let mut disk = history.last().unwrap().clone();
        disk.acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let mut last_write = self.last_write.lock().unwrap();
        let written = last_write.take();
        match operation {
            Operation::Write => {
                let start = offset as usize;
                let bytes = image[start..start + result as usize].to_vec();
                disk.pending.push(Change::Write(start, bytes));
                *last_write = Some(offset);
            }
            Operation::Truncate => disk.pending.push(Change::Len(image.len())),
            // The second half of a durable write makes nothing else durable.
            Operation::Sync if written.is_some_and(|offset| offset < SLOTS_LEN) => {
                let slot = disk.pending.pop().unwrap();
                disk.sync(vec![slot]);
            }
            Operation::Sync => {
                let changes = std::mem::take(&mut disk.pending);
                disk.sync(changes);
            }
            _ => return result,
        }
        history.push(disk);
        result
    }
}

fn options(recorder: &Arc<Recorder>, seed: Option<u64>) -> Options {
    Options::new()
        .backend(recorder.files.with_hook(seed, recorder.clone()))
        .cache_bytes(Options::min_cache_bytes(4096))
        .database_id([3; 16])
        .log(None)
}

fn recorder(disk: Disk) -> Arc<Recorder> {
    let files = MemoryDisk::new();
    let mut image = disk.durable.clone();
    for change in &disk.pending {
        Disk::apply(&mut image, change, |_| true);
    }
    files.set_image("db", image);
    Arc::new(Recorder {
        files,
        acknowledged: AtomicU64::new(disk.acknowledged),
        history: Mutex::new(vec![disk]),
        last_write: Mutex::default(),
    })
}

fn entries(snapshot: &Snapshot) -> Entries {
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    let mut entries = Entries::new();
    while let Some(entry) = cursor.next().wait().unwrap() {
        entries.insert(entry.key().to_vec(), entry.value().to_vec());
    }
    entries
}

/// Makes commit number `commit` and returns what there is after it. Now and then a larger
/// transaction is given up before it, or nearly everything is deleted, so that the file shrinks.
fn commit(database: &Database, commit: u64, before: &Entries) -> Entries {
    let mut random = Random(commit.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    if commit.is_multiple_of(3) {
        let mut transaction = database.begin().wait().unwrap();
        for number in 0..120_u64 {
            transaction.put(MAIN, number.to_be_bytes(), [0xbb; 900]).wait().unwrap();
        }
    }
    let mut entries = before.clone();
    let mut transaction = database.begin().wait().unwrap();
    if commit % 4 == 3 {
        for key in before.keys().skip(3) {
            transaction.delete(MAIN, key).wait().unwrap();
            entries.remove(key);
        }
    }
    let count = if commit % 4 == 1 { 100 } else { 5 };
    for _ in 0..count {
        let key = random.below(150).to_be_bytes().to_vec();
        if random.below(3) == 0 {
            transaction.delete(MAIN, &key).wait().unwrap();
            entries.remove(&key);
        } else {
            let value = vec![commit as u8; random.below(1_000) as usize];
            transaction.put(MAIN, &key, &value).wait().unwrap();
            entries.insert(key, value);
        }
    }
    transaction.put(MAIN, "commit", commit.to_be_bytes()).wait().unwrap();
    entries.insert(b"commit".to_vec(), commit.to_be_bytes().to_vec());
    transaction.commit().wait().unwrap();
    entries
}

/// Cuts the power in several ways, and opens what is left.
fn cut_often(disk: &Disk, random: &mut Random, versions: &[Entries]) {
    let ways = if disk.pending.is_empty() { 1 } else { 6 };
    for _ in 0..ways {
        assert_recovers(disk.cut(random), disk.acknowledged, versions);
    }
}

/// Opens a file, and finds the acknowledged commit or a later one in it, whole.
fn assert_recovers(image: Vec<u8>, acknowledged: u64, versions: &[Entries]) {
    let disk = Disk { durable: image, ..Disk::default() };
    let database = options(&recorder(disk), None).open("db").wait().unwrap();
    let snapshot = database.snapshot();
    let found = entries(&snapshot);
    let number = versions.iter().position(|version| *version == found).expect("a whole commit");
    assert!(number as u64 >= acknowledged, "commit {acknowledged} is lost, {number} is found");
    assert_eq!(snapshot.check(|_| {}).unwrap().wait().unwrap().damages, []);
}

/// Opens what `disk` shows and makes commits, behind those in `versions`. Returns what the disk was
/// like after each I/O.
fn work(disk: Disk, seed: u64, commits: u64, versions: &mut Vec<Entries>) -> Vec<Disk> {
    let recorder = recorder(disk);
    let database = options(&recorder, Some(seed)).open("db").wait().unwrap();
    let found = entries(&database.snapshot());
    let first = versions.iter().position(|version| *version == found).expect("a whole commit");
    versions.truncate(first + 1);
    recorder.acknowledged.fetch_max(first as u64, Ordering::SeqCst);
    let mut reader = None;
    for number in first as u64 + 1..=first as u64 + commits {
        let after = commit(&database, number, versions.last().unwrap());
        versions.push(after);
        recorder.acknowledged.store(number, Ordering::SeqCst);
        // Held across one commit.
        reader = (number % 4 == 1).then(|| database.snapshot());
    }
    drop((reader, database));
    std::mem::take(&mut recorder.history.lock().unwrap())
}

#[test]
fn a_power_cut_after_any_io_loses_no_acknowledged_commit() {
    let mut random = Random(77);
    let mut versions = vec![Entries::new()];
    let history = work(Disk::default(), 1, 9, &mut versions);
    for disk in &history {
        cut_often(disk, &mut random, &versions);
    }
    // Killed anywhere, opened again, more work, and then the power cut. The most is at stake where
    // one slot is written and not durable.
    let kills = history.iter().enumerate();
    for (seed, killed) in kills.filter(|(at, disk)| at % 12 == 0 || disk.writes_slot()) {
        let mut versions = versions.clone();
        let history = work(killed.clone(), seed as u64 + 2, 1, &mut versions);
        for disk in &history {
            cut_often(disk, &mut random, &versions);
        }
    }
}
