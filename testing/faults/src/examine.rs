//! Everything that can be done with a damaged file, and what may come of it: an error that names
//! a damaged page, or the right answer.

use yieldb::{Database, Error, ErrorKind, KeyRange, MAIN, MemoryDisk, Snapshot, Tree};

use crate::PAGE;
use crate::drive::drive;
use crate::specimen::{Entry, SLOTS, Specimen, options};
use crate::spread::spread;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// One entry for each set of pages that a lookup may take: enough to touch every page.
    Pages,
    /// Every entry, scans both ways, and the file opened again after a commit.
    Entries,
}

/// What examining a file takes, for one thread.
pub struct Examiner<'a> {
    specimen: &'a Specimen,
    disk: MemoryDisk,
    /// One entry for each set of pages.
    probes: Vec<&'a Entry>,
}

/// Runs `work` for each of `0..count`, on all cores, each with an examiner of its own.
///
/// # Panics
///
/// If `work` does; the message says for which number.
pub fn for_each(specimen: &Specimen, count: usize, work: impl Fn(&Examiner<'_>, usize) + Sync) {
    spread(count, || Examiner::new(specimen), work);
}

impl<'a> Examiner<'a> {
    /// For damaged copies of `specimen`.
    pub fn new(specimen: &'a Specimen) -> Examiner<'a> {
        let mut probes: Vec<&Entry> = specimen.entries.iter().collect();
        probes.dedup_by_key(|entry| (entry.tree, entry.pages));
        Examiner { specimen, disk: MemoryDisk::new(), probes }
    }

    /// The file that is examined.
    pub fn specimen(&self) -> &'a Specimen {
        self.specimen
    }

    /// Opens `image` for reading and for writing, and does with it what `depth` says. What differs
    /// from the specimen may be found damaged, and nothing else.
    ///
    /// # Panics
    ///
    /// If wrong data are returned, damage is not found, or anything else cannot be read.
    pub fn examine(&self, image: Vec<u8>, depth: Depth) {
        let damaged = self.damaged(&image);
        if depth == Depth::Entries {
            self.disk.set_image("db", image.clone());
            if let Some(database) = self.open(true, damaged) {
                self.look(&database, damaged, depth);
                drop(database);
                assert!(self.disk.image("db").unwrap() == image, "reading changed the file");
            }
        }
        self.disk.set_image("db", image);
        let Some(database) = self.open(false, damaged) else { return };
        self.look(&database, damaged, depth);
        self.change(&database, damaged, depth);
        drop(database);
        if depth == Depth::Entries {
            self.reopen(damaged);
        }
    }

    /// Reads a page as other bytes, once: that is an error, and no reason to fail the next time.
    ///
    /// # Panics
    ///
    /// If wrong data are returned, or the page cannot be read afterwards.
    pub fn misread(&self, number: usize, bytes: &[u8]) {
        let mut image = self.specimen.image.clone();
        self.disk.set_image("db", image.clone());
        let database = drive(options(&self.disk).read_only(true).open("db")).unwrap();
        image[number * PAGE..(number + 1) * PAGE].copy_from_slice(bytes);
        self.disk.set_image("db", image);
        let damaged = 1 << number;
        let snapshot = database.snapshot();
        let entries = self.specimen.entries.iter();
        for entry in entries.filter(|entry| entry.pages & damaged != 0).take(3) {
            assert!(!self.get(&snapshot, entry, damaged), "a misdirected read went unnoticed");
        }
        self.disk.set_image("db", self.specimen.image.clone());
        for entry in &self.probes {
            assert!(self.get(&snapshot, entry, 0));
        }
    }

    /// The pages that are not what they were, a bit each.
    fn damaged(&self, image: &[u8]) -> u64 {
        let differs = |number: &usize| {
            let now = image.get(number * PAGE..(number + 1) * PAGE);
            now != Some(self.specimen.page(*number))
        };
        (0..self.specimen.pages()).filter(differs).fold(0, |pages, number| pages | 1 << number)
    }

    /// Opens the file; `None` if it is refused, as it should be.
    fn open(&self, read_only: bool, damaged: u64) -> Option<Database> {
        let refusable = damaged & self.specimen.opening != 0 || damaged & SLOTS == SLOTS;
        match drive(options(&self.disk).read_only(read_only).open("db")) {
            Ok(database) => {
                assert!(!refusable, "opened, though pages {damaged:#x} are damaged");
                Some(database)
            }
            Err(error) => {
                assert!(refusable, "refused: {error}");
                assert!(error.kind() == ErrorKind::Damaged, "{error}");
                if damaged & SLOTS != SLOTS {
                    assert_named(&error, damaged);
                }
                None
            }
        }
    }

    /// Everything that changes nothing.
    fn look(&self, database: &Database, damaged: u64, depth: Depth) {
        let snapshot = database.snapshot();
        self.check(&snapshot, damaged);
        match depth {
            Depth::Pages => self.probes.iter().for_each(|entry| {
                self.get(&snapshot, entry, damaged);
            }),
            Depth::Entries => {
                for entry in &self.specimen.entries {
                    self.get(&snapshot, entry, damaged);
                }
                for tree in self.specimen.entries.chunk_by(|one, next| one.tree == next.tree) {
                    self.scan(&snapshot, tree, damaged, true);
                    self.scan(&snapshot, tree, damaged, false);
                }
            }
        }
    }

    fn check(&self, snapshot: &Snapshot, damaged: u64) {
        let report = drive(snapshot.check(|_| {}).unwrap()).unwrap();
        let found = report.damages.iter().fold(0, |pages, damage| pages | 1_u64 << damage.page);
        let used = damaged & self.specimen.used & !SLOTS;
        assert!(found & !used == 0, "damaged are {used:#x}, found {:?}", report.damages);
        assert!((found == 0) == (used == 0), "damaged are {used:#x}, found {:?}", report.damages);
    }

    /// Looks up an entry: `true` if it can be read.
    fn get(&self, snapshot: &Snapshot, entry: &Entry, damaged: u64) -> bool {
        let result = drive(snapshot.get(entry.tree, &entry.key));
        match result {
            Ok(found) => {
                assert_eq!(found.as_deref(), Some(&entry.value[..]), "wrong data");
                assert!(entry.pages & damaged == 0, "read from damaged pages");
                true
            }
            Err(error) => {
                assert_named(&error, damaged & entry.pages);
                false
            }
        }
    }

    /// Scans a tree, up to the first damage.
    fn scan(&self, snapshot: &Snapshot, entries: &[Entry], damaged: u64, forwards: bool) {
        let tree = entries[0].tree;
        let mut cursor = snapshot.cursor(tree, KeyRange::all());
        let touched = entries.iter().fold(0, |pages, entry| pages | entry.pages) & damaged;
        for index in 0..=entries.len() {
            let next = drive(if forwards { cursor.next() } else { cursor.previous() });
            let expected = match forwards {
                true => entries.get(index),
                false => entries.len().checked_sub(index + 1).map(|index| &entries[index]),
            };
            match next {
                Ok(Some(found)) => {
                    let expected = expected.expect("an entry behind the last one");
                    assert_eq!(found.key(), expected.key, "wrong data");
                    assert_eq!(found.value(), expected.value, "wrong data");
                    assert!(expected.pages & damaged == 0, "read from damaged pages");
                }
                Ok(None) => {
                    assert!(expected.is_none() && touched == 0, "the scan ended too early");
                }
                Err(error) => return assert_named(&error, touched),
            }
        }
    }

    /// Changes something near every page that the depth says, and commits.
    fn change(&self, database: &Database, damaged: u64, depth: Depth) {
        let mut transaction = drive(database.begin()).unwrap();
        let step = match depth {
            Depth::Pages => 7,
            Depth::Entries => 1,
        };
        let mut changed = Vec::new();
        for (index, entry) in
            self.probes.iter().enumerate().skip(damaged as usize % 7).step_by(step)
        {
            let result = match index % 3 {
                0 => drive(transaction.delete(entry.tree, &entry.key)),
                _ => drive(transaction.put(entry.tree, &entry.key, b"new")),
            };
            match result {
                Ok(was_there) => {
                    // The pages of a large value are not read when it goes.
                    let is_fine = entry.pages & damaged == 0 || entry.value.len() > PAGE;
                    assert!(was_there && is_fine, "changed in damaged pages");
                    changed.push((*entry, (index % 3 != 0).then_some(&b"new"[..])));
                }
                Err(error) => assert_named(&error, damaged),
            }
        }
        drive(transaction.put(MAIN, b"zzz", b"one more"))
            .map_or_else(|error| assert_named(&error, damaged), |was_there| assert!(!was_there));
        drive(transaction.commit()).unwrap();
        let snapshot = database.snapshot();
        for (entry, value) in changed {
            let found = drive(snapshot.get(entry.tree, &entry.key)).unwrap();
            assert_eq!(found.as_deref(), value, "a commit that is not what it was");
        }
    }

    /// After the commit the damage is what it was, or less.
    fn reopen(&self, damaged: u64) {
        let database = drive(options(&self.disk).read_only(true).open("db")).unwrap();
        let snapshot = database.snapshot();
        let report = drive(snapshot.check(|_| {}).unwrap()).unwrap();
        for damage in report.damages {
            assert!(damaged & 1 << damage.page != 0, "new damage: {damage}");
        }
        let trees: Vec<Tree> = snapshot.trees().map(|(tree, _, _)| tree).collect();
        for tree in trees {
            let mut cursor = snapshot.cursor(tree, KeyRange::all());
            let mut left = self.specimen.entries.len() + 2;
            loop {
                match drive(cursor.next()) {
                    Ok(Some(_)) => left = left.checked_sub(1).expect("a scan that ends"),
                    Ok(None) => break,
                    Err(error) => break assert_named(&error, damaged),
                }
            }
        }
    }
}

/// The error is damage, and names one of these pages.
fn assert_named(error: &Error, damaged: u64) {
    let page = error.damaged_page();
    let is_named = page.is_some_and(|page| page < 64 && damaged & 1 << page != 0);
    let kind = error.kind();
    assert!(is_named && kind == ErrorKind::Damaged, "damaged are {damaged:#x}, said is: {error}");
}
