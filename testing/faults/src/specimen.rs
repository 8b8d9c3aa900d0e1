//! A small file with everything that the format has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use yieldb::{Database, Error, MAIN, MemoryDisk, Options, Tree};
use yieldb_core::Operation;
use yieldb_io_backends::RawHook;

use crate::PAGE;
use crate::drive::drive;

/// A tree of the specimen.
struct Contents {
    name: &'static str,
    /// How many entries it has.
    count: u32,
    /// How many bytes of a key are shared with its neighbours: long keys make a deep tree.
    shared: usize,
    /// The length of a value, in bytes.
    value_len: usize,
}

/// What is in the specimen. Together they fill 64 pages.
const TREES: &[Contents] = &[
    Contents { name: "main", count: 220, shared: 8, value_len: 40 },
    Contents { name: "deep", count: 44, shared: 950, value_len: 700 },
    Contents { name: "small", count: 3, shared: 1, value_len: 5 },
    Contents { name: "large", count: 2, shared: 1, value_len: 6_000 },
    Contents { name: "empty", count: 0, shared: 1, value_len: 0 },
];

/// How many states of the file there were before the last one.
pub const GENERATIONS: u32 = 3;

/// An entry, and what it takes to read it.
pub struct Entry {
    /// Which tree it is in.
    pub tree: Tree,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// The pages that a lookup reads once the file is open, a bit each.
    pub pages: u64,
}

/// A file of at most 64 pages, and what is known of it.
pub struct Specimen {
    /// Its bytes.
    pub image: Vec<u8>,
    /// Its bytes after each of the commits before, the oldest first.
    pub older: Vec<Vec<u8>>,
    /// All entries of all trees, tree by tree, in order, `main` first.
    pub entries: Vec<Entry>,
    /// The pages behind the superblock that opening reads, a bit each.
    pub opening: u64,
    /// The pages that anything refers to, a bit each.
    pub used: u64,
}

/// The pages of the superblock, a bit each.
pub const SLOTS: u64 = 0b11;

/// The options that all files in memory are opened with.
pub fn options(disk: &MemoryDisk) -> Options {
    with(yieldb::Options::new().backend(disk.immediate()))
}

fn with(options: Options) -> Options {
    // Each commit is in the file itself: there is one image for each.
    let options = options.cache_bytes(Options::min_cache_bytes(PAGE as u32));
    options.database_id([7; 16]).log(None)
}

fn key(contents: &Contents, number: u32) -> Vec<u8> {
    // Neighbours share a part that others do not, so that separators are long as well.
    let group = b'a' + (number / 12 % 26) as u8;
    let mut key = vec![group; contents.shared];
    key.extend_from_slice(format!("{number:06}").as_bytes());
    key
}

fn value(contents: &Contents, number: u32, generation: u32) -> Vec<u8> {
    let seed = number.wrapping_mul(0x9e37_79b9) ^ generation.wrapping_mul(0x85eb_ca6b);
    (0..contents.value_len as u32).map(|at| (seed.wrapping_add(at * 7) >> 8) as u8).collect()
}

impl Specimen {
    /// Makes it: one commit a generation, each of which changes every page of every tree.
    ///
    /// # Panics
    ///
    /// If it does not have what it is to have.
    pub fn new() -> Specimen {
        let disk = MemoryDisk::new();
        let database = drive(options(&disk).open("db")).unwrap();
        let mut images = Vec::new();
        for generation in 0..=GENERATIONS {
            write(&database, generation);
            images.push(disk.image("db").unwrap());
        }
        let depth = |name| {
            let snapshot = database.snapshot();
            snapshot.depth(snapshot.tree(name).unwrap()).unwrap()
        };
        assert_eq!([depth("main"), depth("deep"), depth("small"), depth("empty")], [2, 3, 1, 0]);
        drop(database);
        // Opened once more: that cuts off the free pages at the end.
        drop(drive(options(&disk).open("db")).unwrap());
        images.pop();
        let image = disk.image("db").unwrap();
        let count = image.len() / PAGE;
        assert!((56..=64).contains(&count), "the specimen has {count} pages");
        learn(image, images)
    }

    /// How many pages it has.
    pub fn pages(&self) -> usize {
        self.image.len() / PAGE
    }

    /// Does anything refer to a page?
    pub fn is_used(&self, number: usize) -> bool {
        self.used & 1 << number != 0
    }

    /// The bytes of a page.
    pub fn page(&self, number: usize) -> &[u8] {
        page(&self.image, number)
    }
}

impl Default for Specimen {
    fn default() -> Self {
        Specimen::new()
    }
}

/// The bytes of a page of an image.
pub fn page(image: &[u8], number: usize) -> &[u8] {
    &image[number * PAGE..(number + 1) * PAGE]
}

fn write(database: &Database, generation: u32) {
    let mut transaction = drive(database.begin()).unwrap();
    for contents in TREES {
        let tree = transaction.open_tree(contents.name).unwrap();
        for number in 0..contents.count {
            let (key, value) = (key(contents, number), value(contents, number, generation));
            drive(transaction.put(tree, key, value)).unwrap();
        }
    }
    drive(transaction.commit()).unwrap();
}

/// Finds out which pages are read for what, by looking at the reads.
fn learn(image: Vec<u8>, older: Vec<Vec<u8>>) -> Specimen {
    let disk = MemoryDisk::new();
    disk.set_image("db", image.clone());
    let reads = Arc::new(Reads::default());
    let open = || -> Result<Database, Error> {
        drive(with(Options::new().backend(disk.with_hook(None, reads.clone()))).open("db"))
    };
    let opening = reads.during(|| drop(open().unwrap())) & !SLOTS;
    let check = || {
        let database = open().unwrap();
        let report = drive(database.snapshot().check(|_| {}).unwrap()).unwrap();
        assert_eq!(report.damages, []);
    };
    let used = reads.during(check) | SLOTS;
    let mut entries = Vec::new();
    for contents in TREES {
        let mut keys: Vec<u32> = (0..contents.count).collect();
        keys.sort_by_key(|number| key(contents, *number));
        for number in keys {
            let database = open().unwrap();
            let snapshot = database.snapshot();
            let tree = snapshot.tree(contents.name).unwrap();
            let (key, value) = (key(contents, number), value(contents, number, GENERATIONS));
            let pages = reads.during(|| {
                let found = drive(snapshot.get(tree, &key)).unwrap();
                assert_eq!(found.as_deref(), Some(&value[..]));
            });
            entries.push(Entry { tree, key, value, pages });
        }
    }
    let read = entries.iter().fold(0, |pages, entry| pages | entry.pages);
    assert_eq!(read | opening | SLOTS, used, "a page is used for nothing");
    assert_eq!(entries[0].tree, MAIN);
    Specimen { image, older, entries, opening, used }
}

/// Notes which pages are read.
#[derive(Default)]
struct Reads(AtomicU64);

impl Reads {
    fn during(&self, work: impl FnOnce()) -> u64 {
        self.0.store(0, Ordering::SeqCst);
        work();
        self.0.load(Ordering::SeqCst)
    }
}

impl RawHook for Reads {
    fn raw(&self, operation: Operation, offset: u64, len: usize, result: i32) -> i32 {
        if operation == Operation::Read {
            for page in offset / PAGE as u64..(offset + len as u64).div_ceil(PAGE as u64) {
                self.0.fetch_or(1 << page, Ordering::SeqCst);
            }
        }
        result
    }
}
