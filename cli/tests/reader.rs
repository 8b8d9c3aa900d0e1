//! A second reader of the file format, in another language and written from `docs/file-format.md`
//! alone, finds in files what the library finds, and the damage that it finds.
//!
//! Without Python 3 these tests say so and pass.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use support::{Place, has_python, read, root};
use yieldb::{
    Database, KeyRange, LogLimits, MAIN, MemoryDisk, Options, Snapshot, Tree, WriteTransaction,
};

const PAGE_SIZES: [u32; 5] = [4096, 8192, 16384, 32768, 65536];

/// Numbers that look random (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// A key of one of four kinds: a name in deep folders, bytes, a number, the longest there is.
    fn key(&mut self, page_size: u64) -> Vec<u8> {
        match self.below(20) {
            0..10 => {
                let folder = "/a/rather/long/folder".repeat(self.below(3) as usize + 1);
                format!("{folder}/{:05}", self.below(1_000)).into_bytes()
            }
            10..15 => {
                let len = self.below(12);
                self.bytes(len)
            }
            15..19 => (self.below(3_000) as u32).to_be_bytes().to_vec(),
            _ => {
                let len = page_size / 4 - self.below(9);
                self.bytes(len)
            }
        }
    }

    /// A value: mostly a short one; some nearly as long as fit a leaf, and some that do not.
    fn value(&mut self, page_size: u64) -> Vec<u8> {
        let len = match self.below(100) {
            0..3 => (page_size - 40) / 2 - 20 + self.below(20),
            3 => self.below(3 * page_size),
            4 => 2 * (page_size - 40),
            _ => self.below(40),
        };
        self.bytes(len)
    }
}

/// A transaction with changes of all kinds.
fn change(database: &Database, random: &mut Random, round: u64) {
    let page_size = u64::from(database.info().page_size);
    let mut transaction = database.begin().wait().unwrap();
    for number in 0..random.below(5) {
        let _tree = transaction.open_tree(format!("tree-{round}-{number}")).unwrap();
    }
    if round == 1 {
        let name = random.bytes(page_size / 4);
        transaction.create_tree(name).unwrap();
    }
    let trees: Vec<_> = transaction.trees().map(|(tree, _, count)| (tree, count)).collect();
    for (tree, count) in trees {
        match random.below(12) {
            0 if tree != MAIN => transaction.drop_tree(tree).unwrap().wait().unwrap(),
            1 => {
                let range = KeyRange::all().from(random.bytes(1)).to(b"\xc0");
                transaction.delete_range(tree, range).wait().map(drop).unwrap();
            }
            2 => {
                let savepoint = transaction.savepoint();
                put_some(&mut transaction, tree, 50, random, page_size);
                transaction.roll_back_to(savepoint).unwrap();
            }
            _ => put_some(&mut transaction, tree, 40 + count / 4, random, page_size),
        }
    }
    transaction.commit().wait().unwrap();
}

/// Stores entries; some are removed again, and some large ones are written in pieces.
fn put_some(
    transaction: &mut WriteTransaction,
    tree: Tree,
    count: u64,
    random: &mut Random,
    page_size: u64,
) {
    for _ in 0..count {
        let (key, value) = (random.key(page_size), random.value(page_size));
        match random.below(6) {
            0 => drop(transaction.delete(tree, key).wait().unwrap()),
            1 => {
                let mut writer = transaction.put_value(tree, key, value.len() as u64).unwrap();
                for piece in value.chunks(1_000) {
                    writer.write(piece).unwrap().wait().unwrap();
                }
                writer.finish().unwrap().wait().map(drop).unwrap();
            }
            _ => drop(transaction.put(tree, key, value).wait().unwrap()),
        }
    }
}

/// All trees of a version, as the second reader prints them.
fn expected(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for (tree, name, _) in snapshot.trees() {
        writeln!(text, "# {}", hex(name)).unwrap();
        let mut cursor = snapshot.cursor(tree, KeyRange::all());
        while let Some(entry) = cursor.next().wait().unwrap() {
            writeln!(text, "{}\t{}", hex(entry.key()), hex(entry.value())).unwrap();
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A file with this page size and history, at `path`, and all its trees as text.
fn make(path: &Path, page_size: u32, seed: u64, rounds: u64) -> String {
    let disk = MemoryDisk::new();
    let options = || Options::new().backend(disk.immediate()).page_size(page_size);
    let database = options().open("db").wait().unwrap();
    let mut random = Random(seed * 0x9e37_79b9 + 1);
    let mut held = Vec::new();
    for round in 0..rounds {
        held.push(database.snapshot());
        change(&database, &mut random, round);
    }
    let text = expected(&database.snapshot());
    drop(held);
    // Some have been closed, some opened again, and some are as their last commit left them.
    match seed % 3 {
        0 => database.close().wait().unwrap(),
        1 => {
            drop(database);
            drop(options().open("db").wait().unwrap());
        }
        _ => drop(database),
    }
    write_images(&disk, path);
    text
}

/// Writes a database of a disk in memory to `path`, and its log beside it, if it has one.
fn write_images(disk: &MemoryDisk, path: &Path) {
    std::fs::write(path, disk.image("db").unwrap()).unwrap();
    match disk.image("db-log") {
        Some(log) => std::fs::write(log_of(path), log).unwrap(),
        None => drop(std::fs::remove_file(log_of(path)).is_ok()),
    }
}

fn log_of(path: &Path) -> PathBuf {
    path.with_file_name(format!("{}-log", path.file_name().unwrap().to_str().unwrap()))
}

#[test]
fn a_second_reader_finds_what_the_library_finds() {
    if !has_python() {
        return;
    }
    let place = Place::new();
    let path = place.path("db");
    let mut kinds = BTreeMap::new();
    for (index, page_size) in PAGE_SIZES.into_iter().cycle().take(20).enumerate() {
        let expected = make(&path, page_size, index as u64 + 1, index as u64 % 4 * 3);
        let found = read(&path);
        assert_eq!((found.code, &*found.err), (0, ""), "file {index}");
        assert!(found.out == expected, "file {index}: {} bytes differ", found.out.len());
        compare_with_dump(&place, &expected);
        for page in std::fs::read(&path).unwrap().chunks(page_size as usize).skip(2) {
            *kinds.entry(page[4]).or_insert(0) += 1;
        }
    }
    assert!((1..=5).all(|kind| kind == 4 || kinds[&kind] >= 20), "{kinds:?}");
}

/// Compares some trees of the file at `db`, as the command prints them, with the library's text.
fn compare_with_dump(place: &Place, expected: &str) {
    for tree in expected.split("# ").skip(1).take(4) {
        let (name, entries) = tree.split_once('\n').unwrap();
        let line = format!("dump db --hex --tree {name}");
        assert!(place.ok(&line) == entries, "{line}: something else");
    }
}

/// A file that is so long that its space map has an index, although little of it is used.
#[test]
fn a_space_map_of_two_levels_is_read() {
    if !has_python() {
        return;
    }
    let place = Place::new();
    let path = place.path("db");
    let image = long_file();
    std::fs::write(&path, &image).unwrap();
    assert!(!log_of(&path).exists());
    let found = read(&path);
    assert_eq!((found.code, &*found.err), (0, ""));
    assert_eq!(found.out, format!("# {}\n{}\t{}\n", hex(b"main"), hex(b"a"), hex(b"b")));
    // The document shows the root of this map.
    let root = u64::from_le_bytes(image[136..144].try_into().unwrap()) & ((1 << 40) - 1);
    let page = &image[root as usize * 4096..][..4096];
    assert_eq!(page[4], 4, "it is no index");
    assert_shown(&[shown(root as usize, page)]);
}

fn long_file() -> Vec<u8> {
    static PIECE: [u8; 1 << 16] = [0; 1 << 16];
    let disk = MemoryDisk::new();
    let options = Options::new().backend(disk.immediate()).database_id(*ID);
    let database = options.log(None).open("db").wait().unwrap();
    let mut transaction = database.begin().wait().unwrap();
    let mut writer = transaction.put_value(MAIN, "film", 130 << 20).unwrap();
    for _ in 0..16 * 130 {
        writer.write(&PIECE).unwrap().wait().unwrap();
    }
    writer.finish().unwrap().wait().unwrap();
    transaction.put(MAIN, "a", "b").wait().unwrap();
    transaction.commit().wait().unwrap();
    let mut transaction = database.begin().wait().unwrap();
    transaction.delete(MAIN, "film").wait().unwrap();
    transaction.commit().wait().unwrap();
    drop(database);
    disk.image("db").unwrap()
}

// Logs.

/// A small transaction with changes of any kind that a log has.
fn change_a_little(database: &Database, random: &mut Random) {
    let mut transaction = database.begin().wait().unwrap();
    for _ in 0..=random.below(4) {
        let trees: Vec<Tree> = transaction.trees().map(|(tree, ..)| tree).collect();
        let tree = trees[random.below(trees.len() as u64) as usize];
        let name = format!("tree-{}", random.below(40)).into_bytes();
        let is_free = transaction.tree(&name).is_none();
        match random.below(16) {
            0 if is_free => drop(transaction.create_tree(name).unwrap()),
            1 if is_free && tree != MAIN => transaction.rename_tree(tree, name).unwrap(),
            2 if tree != MAIN => transaction.drop_tree(tree).unwrap().wait().unwrap(),
            3 => {
                let (from, to) = (random.bytes(1), random.bytes(1));
                let range = match random.below(3) {
                    0 => KeyRange::all().from(from).to(to),
                    1 => KeyRange::all().to(from),
                    _ => KeyRange::prefix("/a/rather").from("/a/rather/long/folder/007"),
                };
                transaction.delete_range(tree, range).wait().map(drop).unwrap();
            }
            4 if is_free => {
                // The number of a tree is passed over.
                let savepoint = transaction.savepoint();
                let _created = transaction.create_tree(name).unwrap();
                transaction.roll_back_to(savepoint).unwrap();
            }
            5..8 => {
                let key = random.key(4096);
                let _deleted = transaction.delete(tree, key).wait().unwrap();
            }
            _ => {
                let (key, len) = (random.key(4096), random.below(700));
                let value = random.bytes(len);
                let _replaced = transaction.put(tree, key, value).wait().unwrap();
            }
        }
    }
    transaction.commit().wait().unwrap();
}

/// A disk with a database whose log is in use, after a history of so many commits.
fn with_a_log(seed: u64, commits: u64) -> MemoryDisk {
    let disk = MemoryDisk::new();
    // A ring of 15 blocks, around which the commits go again and again.
    let limits = LogLimits { first_len: 1 << 16, max_len: 1 << 16 };
    let options = || Options::new().backend(disk.immediate()).log(Some(limits));
    let mut random = Random(seed * 0x9e37_79b9 + 77);
    let mut database = options().open("db").wait().unwrap();
    for _ in 0..commits {
        change_a_little(&database, &mut random);
        match random.below(30) {
            0 => database.checkpoint().wait().map(drop).unwrap(),
            1 => {
                drop(database);
                database = options().open("db").wait().unwrap();
            }
            _ => {}
        }
    }
    disk
}

/// What the library finds on a disk: the trees, or damage.
fn library(disk: &MemoryDisk) -> Option<String> {
    let options = Options::new().backend(disk.immediate()).read_only(true);
    let database = options.open("db").wait().ok()?;
    Some(expected(&database.snapshot()))
}

/// Compares what both find on a disk; returns whether it is damage.
fn compare(disk: &MemoryDisk, path: &Path, what: &str) -> bool {
    write_images(disk, path);
    let found = read(path);
    match (library(disk), found.code) {
        (None, 3 | 6) => true,
        (Some(text), 0) => {
            assert!(found.out == text && found.err.is_empty(), "{what}: {}", found.err);
            false
        }
        (library, _) => panic!("{what}: {found:?}, {:?}", library.is_some()),
    }
}

#[test]
fn the_changes_of_a_log_are_made() {
    if !has_python() {
        return;
    }
    let place = Place::new();
    let path = place.path("db");
    let (mut offsets, mut wraps, mut torn) = (BTreeMap::new(), 0, 0);
    for seed in 0..24 {
        let disk = with_a_log(seed, 3 + 7 * seed);
        let what = format!("seed {seed}");
        assert!(!compare(&disk, &path, &what), "{what}: damage");
        let Some(mut log) = disk.image("db-log") else { continue };
        let groups = place.ok("log db --json");
        let Some(last) = groups.lines().last() else { continue };
        wraps += groups.matches("\"wrap\"").count();
        let last: serde_json::Value = serde_json::from_str(last).unwrap();
        let offset = last["offset"].as_u64().unwrap() as usize;
        *offsets.entry(offset).or_insert(0) += 1;
        // The end is torn: its last group has not reached the disk as a whole.
        let len = last["bytes"].as_u64().unwrap() as usize;
        log[4096 * (offset + 1)..][len - 512..len].fill(0);
        disk.set_image("db-log", log);
        assert!(!compare(&disk, &path, &what), "{what}: damage by a torn end");
        torn += 1;
    }
    assert!(offsets.len() > 4 && wraps > 2 && torn > 12, "{offsets:?}, {wraps}, {torn}");
}

#[test]
fn both_find_the_same_damage_in_a_log() {
    if !has_python() {
        return;
    }
    let place = Place::new();
    let path = place.path("db");
    let mut random = Random(4711);
    let mut noticed = 0;
    for round in 0..40 {
        let disk = with_a_log(round % 6, 40 + round % 6);
        let mut log = disk.image("db-log").unwrap();
        let block = random.below(16) as usize * 4096;
        let at = match round % 4 {
            0 => random.below(4096),
            // Where the headers are, in the tags, in the first records.
            1 => random.below(64),
            2 => 504 + random.below(8),
            _ => 64 + random.below(60),
        };
        log[block + at as usize] ^= 1 << random.below(8);
        if round % 3 == 0 && block > 0 {
            seal_group(&mut log[block..]);
        }
        disk.set_image("db-log", log);
        noticed += u32::from(compare(&disk, &path, &format!("round {round}, {block} + {at}")));
    }
    assert!(noticed > 8, "only {noticed} of 40 are damage");
    let disk = with_a_log(1, 40);
    disk.set_image("db-log", vec![0; 9_000]);
    assert!(compare(&disk, &path, "zeros"));
    std::fs::remove_file(log_of(&path)).unwrap();
    assert!(read(&path).err.contains("the log is missing"));
}

#[test]
fn both_understand_the_same_of_what_a_superblock_says_of_its_log() {
    if !has_python() {
        return;
    }
    let place = Place::new();
    let path = place.path("db");
    let mut random = Random(31);
    let mut noticed = 0;
    for round in 0..40 {
        let disk = with_a_log(round % 6, 40 + round % 6);
        let mut data = disk.image("db").unwrap();
        // Checkpoint, version, session, and what is said of the log, but for its id: the lowest
        // byte, or the highest one.
        let fields = [(48, 8), (56, 8), (72, 4), (76, 4), (96, 8), (104, 8), (156, 4)];
        let (field, len) = fields[random.below(7) as usize];
        let at = field + if round % 2 == 0 { 0 } else { len - 1 };
        let flipped = 1 << random.below(8);
        for slot in [0, 4096] {
            data[slot + at] ^= flipped;
            let checksum = crc32fast::hash(&data[slot..slot + 4092]);
            data[slot + 4092..slot + 4096].copy_from_slice(&checksum.to_le_bytes());
        }
        disk.set_image("db", data);
        let what = format!("round {round}, byte {at}, {flipped:#x}");
        noticed += u32::from(compare(&disk, &path, &what));
    }
    assert!(noticed > 10, "only {noticed} of 40 are damage");
}

/// Makes the checksums of a group right, as far as it has one block.
fn seal_group(block: &mut [u8]) {
    let content: Vec<u8> =
        block[..4096].chunks(512).flat_map(|sector| &sector[..504]).copied().collect();
    block[56..60].copy_from_slice(&crc32fast::hash(&content[64..]).to_le_bytes());
    let checksum = crc32fast::hash(&block[..60]);
    block[60..64].copy_from_slice(&checksum.to_le_bytes());
}

/// Does the library find damage in the file?
fn library_finds_damage(image: Vec<u8>) -> bool {
    let disk = MemoryDisk::new();
    disk.set_image("db", image);
    let options = Options::new().backend(disk.immediate()).cache_bytes(1 << 20).read_only(true);
    let Ok(database) = options.open("db").wait() else { return true };
    let report = database.snapshot().check(|_| {}).unwrap().wait().unwrap();
    !report.damages.is_empty()
}

#[test]
fn both_find_the_same_damage() {
    if !has_python() {
        return;
    }
    let place = Place::new();
    let path = place.path("db");
    make(&path, 4096, 3, 5);
    assert!(!log_of(&path).exists());
    let whole = std::fs::read(&path).unwrap();
    let mut random = Random(99);
    let (mut noticed, mut stricter) = (0, 0);
    for round in 0..96 {
        let mut image = whole.clone();
        let mut at = random.below(image.len() as u64) as usize;
        let page = at / 4096 * 4096;
        let is_resealed = round % 2 == 1 && page >= 8192;
        if is_resealed && round % 4 == 1 {
            // Where the numbers are.
            at = page + 4 + random.below(100) as usize;
        }
        image[at] ^= 1 << random.below(8);
        if is_resealed {
            let checksum = crc32fast::hash(&image[page + 4..page + 4096]);
            image[page..page + 4].copy_from_slice(&checksum.to_le_bytes());
        }
        std::fs::write(&path, &image).unwrap();
        let found = read(&path);
        let what = format!("byte {at}, page {}: {found:?}", page / 4096);
        match (library_finds_damage(image), found.code) {
            (true, 3 | 6) => noticed += 1,
            (false, 0) => {}
            // Nobody relies on these, so the library does not look.
            (false, 3) if found.err.contains("unused bytes") => stricter += 1,
            (_, _) => panic!("{what}"),
        }
    }
    assert!(noticed > 30, "only {noticed} of 96 were noticed, {stricter} by the reader alone");
}

#[test]
fn what_is_no_database_is_refused() {
    if !has_python() {
        return;
    }
    let place = Place::new();
    let path = place.path("db");
    make(&path, 4096, 2, 0);
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(read(&path).code, 0);
    let mut future = whole.clone();
    for slot in [0, 4096] {
        future[slot + 16] = 2;
        let checksum = crc32fast::hash(&future[slot..slot + 4092]);
        future[slot + 4092..slot + 4096].copy_from_slice(&checksum.to_le_bytes());
    }
    let mut torn = whole.clone();
    torn[4095] ^= 1;
    torn[4096..].fill(0);
    let cut = whole[..4096].to_vec();
    for (image, code) in
        [(vec![], 6), (b"PNG".to_vec(), 6), (vec![0; 9_000], 6), (future, 6), (torn, 6), (cut, 3)]
    {
        std::fs::write(&path, image).unwrap();
        let found = read(&path);
        assert_eq!(found.code, code, "{found:?}");
    }
}

const ID: &[u8; 16] = b"an example, once";

/// The file that the document shows.
fn example() -> Vec<u8> {
    let disk = MemoryDisk::new();
    let options = Options::new().backend(disk.immediate()).database_id(*ID);
    let database = options.open("db").wait().unwrap();
    let mut transaction = database.begin().wait().unwrap();
    let fruit = transaction.create_tree("fruit").unwrap();
    transaction.put(fruit, "apple", "red").wait().unwrap();
    transaction.put(fruit, "fig", "").wait().unwrap();
    let mut film = vec![0; 4_060];
    film[4_056..].copy_from_slice(b"end.");
    transaction.put(fruit, "film", film).wait().unwrap();
    for number in 1..=3 {
        transaction.put(MAIN, format!("number {number}"), [0; 1_900]).wait().unwrap();
    }
    transaction.commit().wait().unwrap();
    drop(database);
    disk.image("db").unwrap()
}

/// A page as the document shows it: lines of 16 bytes that are not all zeros.
fn shown(number: usize, page: &[u8]) -> String {
    let mut text = format!("page {number}\n");
    for (index, line) in page.chunks(16).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{:04x}  {}", index * 16, digits.join(" ")).unwrap();
        }
    }
    text
}

/// Fails with the pages that the document does not show.
fn assert_shown(pages: &[String]) {
    let document = std::fs::read_to_string(root().join("docs/file-format.md")).unwrap();
    let is_missing = |page: &&String| !document.contains(page.as_str());
    let missing: Vec<&str> = pages.iter().filter(is_missing).map(String::as_str).collect();
    assert!(missing.is_empty(), "docs/file-format.md has not:\n{}", missing.join("\n"));
}

#[test]
fn the_document_shows_pages_as_they_are() {
    let image = example();
    assert!(image[..4096] == image[4096..8192], "the slots of the superblock differ");
    let mut pages: Vec<String> =
        image.chunks(4096).enumerate().map(|(number, page)| shown(number, page)).collect();
    pages.remove(1);
    // Those that are free have a line with their name only.
    pages.retain(|page| page.lines().count() > 1);
    assert_eq!(pages.len(), 9);
    assert_shown(&pages);
}
