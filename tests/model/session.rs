//! One run: transactions one behind the other, snapshots held beside them, and comparisons.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use yieldb::{Batch, Database, ErrorKind, MAIN, Options, Snapshot};
use yieldb_pager::PageSize;
use yieldb_pager::superblock::reserved_page_count;

use crate::reads::assert_tree;
use crate::reference::{Entries, KEYS, Reference, Rng, Value, key};
use crate::work::{Work, drive};

/// What one run is like.
pub struct Run {
    pub seed: u64,
    pub page_len: u32,
    /// How many pages are kept in memory.
    pub frames: u64,
    pub operations: u64,
    /// How many operations a transaction has at most.
    pub commit_every: u64,
    /// How many snapshots are held at a time.
    pub snapshots: usize,
    /// Does it only grow, until about as much goes as comes?
    pub grows: bool,
    /// Where the database is.
    pub options: Options,
    pub path: PathBuf,
}

/// A run under way.
pub struct Session {
    run: Run,
    rng: Rng,
    database: Database,
    /// What the newest version should have in it.
    reference: Reference,
    /// The first one is held to the end.
    held: Vec<(Snapshot, Reference)>,
    commits: u64,
    /// The most entries that there were.
    pub most: u64,
}

/// Opens a database. I/O that nobody waits for any more keeps the file of the one before locked.
fn open(options: &Options, path: &Path) -> Database {
    loop {
        match options.clone().open(path).wait() {
            Err(error) if error.kind() == ErrorKind::Locked => std::thread::yield_now(),
            other => return other.unwrap(),
        }
    }
}

impl Run {
    /// Does all operations, and compares everything at the end.
    pub fn run(mut self) -> Session {
        let bytes = self.frames * u64::from(self.page_len);
        self.options = self.options.page_size(self.page_len).cache_bytes(bytes);
        let database = open(&self.options, &self.path);
        let mut reference = Reference::default();
        reference.trees.insert(b"main".to_vec(), (MAIN, Arc::default()));
        let (rng, held) = (Rng::new(self.seed), Vec::new());
        let mut session =
            Session { run: self, rng, database, reference, held, commits: 0, most: 0 };
        let mut done = 0;
        while done < session.run.operations {
            done += session.transaction(done);
            session.after_commit();
        }
        session.finish();
        session
    }
}

impl Session {
    /// One transaction; how many operations it had.
    fn transaction(&mut self, done: u64) -> u64 {
        if self.rng.once_in(12) {
            return self.batch();
        }
        let rng = &mut self.rng;
        // Growing at first, then now shrinking, now growing.
        let is_shrinking = !self.run.grows && done * 10 / self.run.operations.max(1) % 5 == 4;
        let mut work = Work {
            database: self.database.clone(),
            transaction: self.database.begin().wait().unwrap(),
            reference: self.reference.clone(),
            saved: Vec::new(),
            over: Vec::new(),
            gone: Vec::new(),
            page_len: self.run.page_len,
            growth: if is_shrinking { 4 } else { 9 },
        };
        let count = match rng.once_in(10) {
            true => rng.below(3),
            false => rng.below(self.run.commit_every) + self.run.commit_every / 2,
        };
        for _ in 0..count {
            work.step(rng);
        }
        let Work { transaction, reference, .. } = work;
        if rng.once_in(10) {
            drop(transaction);
            return count + 1;
        }
        let before = self.database.snapshot().version();
        let patience = rng.once_in(10).then(|| rng.below(12));
        let version = drive(&self.database, transaction.commit(), patience);
        // Whoever gets the turn finds the outcome of a commit that nobody waited for.
        drop(self.database.begin().wait().unwrap());
        let now = self.database.snapshot().version();
        assert!(version.is_none_or(|version| version == now) && now - before <= 1);
        // A transaction without changes makes no version, and what it has is what there was.
        if now > before || version.is_some() {
            self.reference = reference;
        }
        count + 1
    }

    /// Changes that are made together.
    fn batch(&mut self) -> u64 {
        let rng = &mut self.rng;
        let mut batch = Batch::new();
        let mut after = self.reference.clone();
        let names: Vec<Vec<u8>> = after.trees.keys().cloned().collect();
        for _ in 0..rng.below(60) {
            let name = &names[rng.below(names.len() as u64) as usize];
            let tree = after.trees[name].0;
            let key = key(rng.below(KEYS), self.run.page_len);
            match rng.below(20) {
                0 => {
                    let end = [&key[..], &[0x80]].concat();
                    batch.delete_range(tree, yieldb::KeyRange::all().from(&key).to(&end));
                    after.entries_mut(name).retain(|other, _| *other < key || *other >= end);
                }
                1..6 => {
                    batch.delete(tree, &key);
                    after.entries_mut(name).remove(&key);
                }
                _ => {
                    let value = Value::random(rng);
                    batch.put(tree, &key, value.bytes());
                    after.entries_mut(name).insert(key, value);
                }
            }
        }
        let before = self.database.snapshot().version();
        let patience = rng.once_in(5).then(|| rng.below(100));
        let version = drive(&self.database, self.database.write(&batch), patience);
        drop(self.database.begin().wait().unwrap());
        if version.is_some() || self.database.snapshot().version() > before {
            self.reference = after;
        }
        batch.count() as u64 + 1
    }

    /// Looks at what was committed, more closely now and then.
    fn after_commit(&mut self) {
        self.commits += 1;
        self.most = self.most.max(self.reference.count());
        self.compare_some();
        // The longer a transaction, the more there is to be looked at behind it.
        let often = (4_000 / self.run.commit_every).clamp(2, 40);
        if self.rng.once_in(often) {
            self.check();
        }
        if self.rng.once_in(2 * often) {
            self.compare_all();
        }
        self.change_snapshots();
        if self.rng.once_in(3 * often) && self.held.is_empty() {
            self.reopen();
        }
    }

    /// A few entries of the newest version and of the snapshots.
    fn compare_some(&mut self) {
        let newest = (self.database.snapshot(), self.reference.clone());
        for (snapshot, reference) in self.held.iter().chain([&newest]) {
            let listed = snapshot.trees().map(|(tree, name, count)| (name.to_vec(), tree, count));
            let expected = reference.trees.iter();
            let expected =
                expected.map(|(name, (tree, entries))| (name.clone(), *tree, entries.len() as u64));
            assert!(listed.eq(expected), "other trees in version {}", snapshot.version());
            for _ in 0..4 {
                let at = self.rng.below(reference.trees.len() as u64) as usize;
                let (tree, entries) = reference.trees.values().nth(at).expect("one of them");
                let key = key(self.rng.below(KEYS), self.run.page_len);
                let found = snapshot.get(*tree, &key).wait().unwrap();
                let expected: Option<&Value> = Entries::get(entries, &key);
                assert_eq!(found.is_some(), expected.is_some());
                assert!(found.is_none_or(|bytes| expected.unwrap().is(&bytes)), "another value");
            }
        }
    }

    /// Every entry of the newest version.
    fn compare_all(&mut self) {
        let forwards = self.rng.once_in(2);
        compare(&self.database.snapshot(), &self.reference, forwards);
    }

    /// Everything makes sense together, and exactly what is reached is used.
    fn check(&mut self) {
        self.database.checkpoint().wait().unwrap();
        while self.database.turn() > 0 {}
        // What waited for I/O is noticed to be free when the next transaction begins.
        drop(self.database.begin().wait().unwrap());
        let snapshot = self.database.snapshot();
        let report = snapshot.check(|_| {}).unwrap().wait().unwrap();
        assert_eq!(report.damages, []);
        assert_eq!(report.entries, self.reference.count());
        let space = self.database.info().space;
        let page_size = PageSize::new(self.run.page_len).unwrap();
        let reserved = reserved_page_count(page_size);
        assert_eq!(space.used, report.pages + reserved + space.held, "pages are lost: {space:?}");
        if self.held.is_empty() {
            assert_eq!((space.held, space.pins), (0, 2), "{space:?}");
        }
    }

    /// Takes a snapshot now and then, and lets go of another one.
    fn change_snapshots(&mut self) {
        if self.run.snapshots == 0 || !self.rng.once_in(25) {
            return;
        }
        if self.held.len() >= self.run.snapshots {
            let index = 1 + self.rng.below(self.run.snapshots as u64 - 1) as usize;
            let (snapshot, reference) = self.held.swap_remove(index);
            compare(&snapshot, &reference, self.rng.once_in(2));
        }
        self.held.push((self.database.snapshot(), self.reference.clone()));
    }

    fn reopen(&mut self) {
        let options = self.run.options.clone();
        let nobody = Options::new().backend(yieldb::MemoryDisk::new().immediate());
        let placeholder = nobody.cache_bytes(1 << 20).open("none").wait().unwrap();
        let database = std::mem::replace(&mut self.database, placeholder);
        match self.rng.once_in(2) {
            true => database.close().wait().unwrap(),
            false => drop(database),
        }
        self.database = open(&options, &self.run.path);
        self.compare_some();
        self.check();
    }

    /// How many bytes of keys and values there are, and how long the file is.
    pub fn sizes(&self) -> (u64, u64) {
        let entries = self.reference.trees.values().flat_map(|(_, entries)| entries.iter());
        let live = entries.map(|(key, value)| key.len() as u64 + value.len()).sum();
        (live, self.database.info().file_bytes)
    }

    /// Compares everything.
    fn finish(&mut self) {
        for (snapshot, reference) in &self.held {
            compare(snapshot, reference, true);
            let report = snapshot.check(|_| {}).unwrap().wait().unwrap();
            assert_eq!(report.damages, []);
            assert_eq!(report.entries, reference.count());
        }
        self.check();
        self.held.clear();
        self.check();
        self.reopen();
        self.compare_all();
    }
}

/// Checks that a version has what it should have, and nothing else.
fn compare(snapshot: &Snapshot, reference: &Reference, forwards: bool) {
    assert_eq!(snapshot.trees().count(), reference.trees.len());
    for (tree, entries) in reference.trees.values() {
        assert_tree(snapshot, *tree, entries, forwards);
    }
}
