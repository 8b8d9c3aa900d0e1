//! What transactions recorded, made again: the same trees come of it; and records that no
//! transaction has made.

mod support;

use std::ops::Bound;

use rstest::rstest;
use support::{Rng, Store};
use yieldb_btree::node::{max_entry_len, max_key_len};
use yieldb_btree::ops::replay::replay;
use yieldb_btree::{Decision, Error, KeyRange, Savepoint, Snapshot, Transaction, Tree};
use yieldb_core::IOResult;

/// More than any record of these tests has.
const LIMIT: usize = 1 << 28;

/// A tree: its number, its name, its entries.
type Dumped = (u32, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

/// Everything that a version has, and the number of the tree that is created next.
#[derive(Debug, PartialEq, Eq)]
struct Dump {
    trees: Vec<Dumped>,
    next: u32,
}

fn dump(store: &Store) -> Dump {
    let snapshot = store.snapshot();
    let trees = snapshot.trees().map(|(tree, name, count)| {
        let entries = entries(store, &snapshot, tree);
        assert_eq!(entries.len() as u64, count);
        (tree.as_u32(), name.to_vec(), entries)
    });
    Dump { trees: trees.collect(), next: snapshot.pin().roots().trees.next_number() }
}

fn entries(store: &Store, snapshot: &Snapshot, tree: Tree) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cursor = snapshot.cursor(tree, KeyRange::all());
    let mut entries = Vec::new();
    while let Some(entry) = store.drive(cursor.next()).unwrap() {
        entries.push((entry.key().to_vec(), entry.value().to_vec()));
    }
    entries
}

/// Asserts that nothing is damaged, lost or held.
fn assert_whole(store: &Store) {
    store.backend.driver.quiesce();
    drop(store.begin());
    let snapshot = store.snapshot();
    let report = store.drive(snapshot.check(|_| {}).unwrap()).unwrap();
    assert_eq!(report.damages, []);
    drop(snapshot);
    let reserved = yieldb_pager::superblock::reserved_page_count(store.pager.page_size());
    assert_eq!(store.pager.space_use().used, reserved + report.pages, "page numbers are lost");
    store.assert_idle();
}

/// A store with the same file.
fn copy(store: &Store, page_len: u32) -> Store {
    store.backend.driver.quiesce();
    Store::of_image(store.disk.image("db").unwrap(), page_len)
}

/// A transaction that does random things, and what its record is expected to be.
struct Work<'s> {
    store: &'s Store,
    transaction: Transaction,
    rng: Rng,
    page_len: u32,
    /// The savepoints, and whether the record was over there.
    savepoints: Vec<(Savepoint, bool)>,
    is_over: bool,
}

impl<'s> Work<'s> {
    fn begin(store: &'s Store, page_len: u32, seed: u64) -> Work<'s> {
        let mut transaction = store.begin();
        transaction.record_into(Vec::new(), LIMIT);
        let (rng, savepoints) = (Rng::new(seed), Vec::new());
        Work { store, transaction, rng, page_len, savepoints, is_over: false }
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.rng.below(300);
        let longest = max_key_len(self.page_len as usize);
        let len = if number.is_multiple_of(10) { longest } else { 1 + number as usize % 30 };
        let mut key = vec![number as u8; len];
        key[0] = (number / 2) as u8;
        key
    }

    fn value(&mut self) -> Vec<u8> {
        let longest = match self.rng.below(12) {
            0 => 64 * 1024,
            1 | 2 => u64::from(self.page_len),
            _ => 300,
        };
        vec![self.rng.below(256) as u8; self.rng.below(longest + 1) as usize]
    }

    fn range(&mut self) -> KeyRange {
        let (start, end) = (self.key(), self.key());
        let mut bound = |key| match self.rng.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(key),
            _ => Bound::Excluded(key),
        };
        KeyRange::between(bound(&start[..]), bound(&end[..]))
    }

    fn tree(&mut self) -> Tree {
        let trees: Vec<Tree> = self.transaction.trees().map(|(tree, ..)| tree).collect();
        trees[self.rng.below(trees.len() as u64) as usize]
    }

    fn name(&mut self) -> Vec<u8> {
        format!("tree {}", self.rng.below(9)).into_bytes()
    }

    fn any(&mut self) {
        let (store, tree) = (self.store, self.tree());
        match self.rng.below(30) {
            0..10 => {
                let (key, value) = (self.key(), self.value());
                store.drive(self.transaction.put(tree, key, value)).unwrap();
            }
            10..14 => {
                let key = self.key();
                store.drive(self.transaction.delete(tree, key)).unwrap();
            }
            14 | 15 => self.update(tree),
            16 => {
                let (key, value) = (self.key(), self.value());
                store.drive(self.transaction.insert(tree, key, value)).unwrap();
            }
            17 | 18 => self.delete_range(tree),
            19 | 20 => {
                let name = self.name();
                let is_free = self.transaction.tree(&name).is_none();
                assert_eq!(self.transaction.create_tree(&name).is_ok(), is_free);
            }
            21 => {
                let name = self.name();
                let _refused = self.transaction.rename_tree(tree, &name);
            }
            22 => {
                if let Ok(dropping) = self.transaction.drop_tree(tree) {
                    store.drive(dropping).unwrap();
                }
            }
            23 | 24 => self.put_value(tree),
            25 => self.savepoints.push((self.transaction.savepoint(), self.is_over)),
            26 | 27 => self.roll_back(),
            28 => {
                if let Some((savepoint, _)) = self.savepoints.pop() {
                    self.transaction.release(savepoint).unwrap();
                }
            }
            _ => self.end_record(tree),
        }
        assert_eq!(self.transaction.record().is_none(), self.is_over);
    }

    fn update(&mut self, tree: Tree) {
        let (key, value) = (self.key(), self.value());
        let which = self.rng.below(3);
        let decide = |_: Option<&[u8]>| match which {
            0 => Decision::Keep,
            1 => Decision::Put(value),
            _ => Decision::Delete,
        };
        self.store.drive(self.transaction.update(tree, key, decide)).unwrap();
    }

    /// Removes a range, or begins to.
    fn delete_range(&mut self, tree: Tree) {
        let range = self.range();
        let is_dropped = self.rng.below(3) == 0;
        let mut delete = self.transaction.delete_range(tree, range);
        if is_dropped {
            let _far = delete.step(&self.store.pager).unwrap();
            return;
        }
        self.store.drive(delete).unwrap();
    }

    /// Stores a value piece by piece, which ends the record if it is large.
    fn put_value(&mut self, tree: Tree) {
        let (key, value) = (self.key(), self.value());
        let is_large = key.len() + value.len() > max_entry_len(self.page_len as usize);
        if is_large && self.rng.below(5) > 0 {
            return;
        }
        let mut writer = self.transaction.put_value(tree, key, value.len() as u64).unwrap();
        for part in value.chunks(1000) {
            self.store.drive(writer.write(part).unwrap()).unwrap();
        }
        self.store.drive(writer.finish().unwrap()).unwrap();
        self.is_over |= is_large;
    }

    fn roll_back(&mut self) {
        if self.savepoints.is_empty() {
            return;
        }
        let index = self.rng.below(self.savepoints.len() as u64) as usize;
        let (savepoint, was_over) = self.savepoints[index];
        self.transaction.roll_back_to(savepoint).unwrap();
        self.savepoints.truncate(index + 1);
        self.is_over = was_over;
    }

    /// Does what no record has, now and then.
    fn end_record(&mut self, tree: Tree) {
        let key = self.key();
        match self.rng.below(20) {
            0 => {
                self.store.drive(self.transaction.put(tree, key, vec![1; 65_537])).unwrap();
            }
            1 => {
                let Ok(mut load) = self.transaction.bulk_load(tree) else { return };
                self.store.drive(load.push(key, "loaded")).unwrap();
                self.store.drive(load.finish()).unwrap();
            }
            _ => return,
        }
        self.is_over = true;
    }
}

#[rstest]
fn what_was_recorded_is_made_again(
    #[values((4096, 200), (4096, 64), (8192, 80), (16384, 64))] shape: (u32, usize),
    #[values(None, Some(5))] io: Option<u64>,
) {
    let (page_len, frames) = shape;
    let rounds = std::env::var("REPLAY_ROUNDS").map_or(200, |rounds| rounds.parse().unwrap());
    let store = Store::new(page_len, frames, io);
    let mut again = Store::new(page_len, frames, io);
    let (mut replayed, mut over) = (0, 0);
    // What was recorded since the other store was as this one.
    let mut records: Vec<Vec<u8>> = Vec::new();
    for round in 0..rounds {
        let mut work = Work::begin(&store, page_len, 1000 * u64::from(page_len) + round);
        for _ in 0..work.rng.below(60) {
            work.any();
        }
        let Work { mut transaction, mut rng, .. } = work;
        let record = transaction.take_record();
        let before = store.snapshot().version();
        let version = store.drive(transaction.commit()).unwrap();
        match record {
            Some(record) if version > before => records.push(record),
            Some(_) => {}
            None => {
                over += 1;
                again = copy(&store, page_len);
                records.clear();
            }
        }
        if records.is_empty() || rng.below(3) > 0 {
            continue;
        }
        replayed += records.len();
        if rng.below(2) == 0 {
            records = vec![records.concat()];
        }
        let mut transaction = again.begin();
        for record in records.drain(..) {
            transaction = again.drive(replay(transaction, record)).unwrap();
        }
        again.drive(transaction.commit()).unwrap();
        assert!(dump(&again) == dump(&store), "round {round}");
        assert_whole(&again);
        if rng.below(10) == 0 {
            again = again.reopen();
        }
    }
    assert!(replayed as u64 > rounds / 3 && over > 0, "{replayed} replayed, {over} over");
    assert_whole(&store);
}

/// A store with two trees, and what a transaction on it recorded.
fn recorded() -> (Vec<u8>, Vec<u8>) {
    let store = Store::new(4096, 200, None);
    let mut transaction = store.begin();
    let tree = transaction.create_tree(b"tree").unwrap();
    for number in 0..200_u8 {
        store.drive(transaction.put(Tree::MAIN, [number], [number; 200])).unwrap();
        store.drive(transaction.put(tree, [number, 1], [number; 100])).unwrap();
    }
    store.drive(transaction.commit()).unwrap();
    store.backend.driver.quiesce();
    let image = store.disk.image("db").unwrap();
    let mut work = Work::begin(&store, 4096, 77);
    while work.transaction.record().map_or(0, <[u8]>::len) < 3_000 {
        let key = work.key();
        store.drive(work.transaction.put(tree, key, "short")).unwrap();
        work.any();
    }
    (image, work.transaction.take_record().unwrap())
}

#[test]
fn bytes_that_are_no_record_are_an_error_and_undo_everything() {
    let (image, record) = recorded();
    let store = Store::of_image(image, 4096);
    let before = dump(&store);
    let rounds = std::env::var("REPLAY_ROUNDS").map_or(3000, |rounds| rounds.parse().unwrap());
    let mut rng = Rng::new(9);
    let (mut refused, mut made) = (0, 0);
    for round in 0..rounds {
        let mut bytes = record.clone();
        for _ in 0..=rng.below(4) {
            let at = rng.below(bytes.len() as u64) as usize;
            match rng.below(6) {
                0 => bytes.truncate(at + 1),
                1 => bytes[at] = rng.below(256) as u8,
                2 => bytes[at] ^= 1 << rng.below(8),
                3 => bytes[at] = rng.below(8) as u8,
                4 => bytes[at..].fill_with(|| rng.below(256) as u8),
                _ => drop(bytes.drain(..at)),
            }
        }
        match store.drive(replay(store.begin(), &bytes)) {
            Ok(transaction) => {
                made += 1;
                drop(transaction);
            }
            Err(Error::Record { offset, .. }) => {
                refused += 1;
                assert!(offset < bytes.len());
            }
            Err(error) => panic!("round {round}: {error}"),
        }
        if round % 100 == 0 {
            assert!(dump(&store) == before, "round {round}");
            assert_whole(&store);
        }
    }
    assert!(refused > rounds / 4 && made > rounds / 20, "{refused} refused, {made} made");
    assert!(dump(&store) == before);
    assert_whole(&store);
}

/// Asserts that a record of these changes is refused, with this reason.
fn assert_refused(record: &[u8], reason: &str) {
    let store = Store::new(4096, 64, None);
    let mut transaction = store.begin();
    transaction.create_tree(b"one").unwrap();
    transaction.create_tree(b"two").unwrap();
    let transaction = store.drive(replay(transaction, [])).unwrap();
    match store.drive(replay(transaction, record)) {
        Err(Error::Record { offset: 0, what }) if what.contains(reason) => {}
        other => panic!("{record:?}: {other:?}"),
    }
    assert_whole(&store);
}

#[test]
fn a_change_that_no_transaction_could_have_made_is_damage() {
    let long_key = [&[2, 0, 0x80, 0x20][..], &[7; 4096]].concat();
    let long_put = [&[1, 0, 0x80, 0x20, 0][..], &[7; 4096]].concat();
    let long_name = [&[4, 3, 0x80, 0x20][..], &[7; 4096]].concat();
    assert_refused(b"\x01\x05\x01\x01kv", "is not there");
    assert_refused(b"\x02\x05\x01k", "is not there");
    assert_refused(b"\x03\x05\x00\x00", "is not there");
    assert_refused(b"\x05\x05\x01n", "is not there");
    assert_refused(b"\x06\x05", "is not there");
    assert_refused(b"\x04\x02\x05three", "given out before");
    assert_refused(b"\x04\x00\x04main", "given out before");
    assert_refused(b"\x04\x03\x03two", "another tree has");
    assert_refused(b"\x05\x01\x03two", "another tree has");
    assert_refused(b"\x04\xff\xff\xff\xff\x0f\x05three", "none can have");
    assert_refused(b"\x04\x03\x00", "no tree can have");
    assert_refused(&long_name, "no tree can have");
    assert_refused(&long_put, "a key that is too long");
    assert_refused(b"\x05\x00\x01n", "`main`");
    assert_refused(b"\x06\x00", "`main`");
    // A key that no entry can have is not found: that is not an error in a transaction either.
    let store = Store::new(4096, 64, None);
    store.drive(replay(store.begin(), long_key)).unwrap();
}

#[test]
fn a_record_has_no_more_bytes_than_it_may_and_goes_back_with_savepoints() {
    let store = Store::new(4096, 200, None);
    let mut transaction = store.begin();
    assert_eq!(transaction.record(), None, "it records without being told to");
    transaction.record_into(b"of another transaction".to_vec(), 20);
    assert_eq!(transaction.record(), Some(&b""[..]));
    store.drive(transaction.put(Tree::MAIN, "key", "value")).unwrap();
    assert!(!store.drive(transaction.delete(Tree::MAIN, "nothing")).unwrap());
    store.drive(transaction.delete_range(Tree::MAIN, KeyRange::prefix("nothing"))).unwrap();
    let put = b"\x01\x00\x03\x05keyvalue";
    assert_eq!(transaction.record(), Some(&put[..]));
    let savepoint = transaction.savepoint();
    store.drive(transaction.put(Tree::MAIN, "a", "1234")).unwrap();
    assert_eq!(transaction.record(), None, "21 bytes");
    store.drive(transaction.put(Tree::MAIN, "b", "")).unwrap();
    let later = transaction.savepoint();
    transaction.roll_back_to(later).unwrap();
    assert_eq!(transaction.record(), None, "it was over at the savepoint");
    transaction.roll_back_to(savepoint).unwrap();
    assert_eq!(transaction.record(), Some(&put[..]));
    store.drive(transaction.put(Tree::MAIN, "a", "123")).unwrap();
    assert_eq!(transaction.record().map(<[u8]>::len), Some(20));
    transaction.roll_back_to(savepoint).unwrap();
    let tree = transaction.create_tree(b"t").unwrap();
    transaction.rename_tree(tree, b"t").unwrap();
    assert_eq!(transaction.record(), Some(&[&put[..], b"\x04\x01\x01t"].concat()[..]));
    for _ in 0..2 {
        transaction.roll_back_to(savepoint).unwrap();
        let passed_over = [&put[..], b"\x07\x02"].concat();
        assert_eq!(transaction.record(), Some(&passed_over[..]));
    }
    let record = transaction.take_record().unwrap();
    assert!(record.capacity() >= b"of another transaction".len(), "the buffer was not used");
    assert_eq!(transaction.record(), None);
}

#[test]
fn a_transaction_that_replaced_much_or_wrote_early_needs_a_checkpoint() {
    let store = Store::new(4096, 3000, None);
    let mut transaction = store.begin();
    let tree = transaction.create_tree(b"tree").unwrap();
    for number in 0..1100_u32 {
        let (key, value) = (number.to_be_bytes(), vec![1; 3000]);
        store.drive(transaction.put(Tree::MAIN, key, &value)).unwrap();
        store.drive(transaction.put(tree, key, "")).unwrap();
    }
    assert!(!transaction.needs_checkpoint(), "it has replaced nothing");
    store.drive(transaction.commit()).unwrap();
    let mut transaction = store.begin();
    transaction.record_into(Vec::new(), LIMIT);
    let half = KeyRange::all().to(500_u32.to_be_bytes());
    store.drive(transaction.delete_range(Tree::MAIN, half)).unwrap();
    assert!(!transaction.needs_checkpoint());
    let savepoint = transaction.savepoint();
    store.drive(transaction.delete_range(Tree::MAIN, KeyRange::all())).unwrap();
    assert!(transaction.needs_checkpoint());
    transaction.roll_back_to(savepoint).unwrap();
    assert!(!transaction.needs_checkpoint());
    assert!(transaction.record().is_some_and(|record| record.len() < 20));
    drop(transaction);

    let store = Store::new(4096, 64, None);
    let mut transaction = store.begin();
    for number in 0..200_u32 {
        store.drive(transaction.put(Tree::MAIN, number.to_be_bytes(), [1; 1000])).unwrap();
    }
    assert!(transaction.needs_checkpoint(), "it has written pages before its end");
    drop(transaction);
    let mut transaction = store.begin();
    store.drive(transaction.put(Tree::MAIN, "large", [1; 60_000])).unwrap();
    assert!(!transaction.needs_checkpoint(), "only a value");
}

#[test]
fn what_the_changes_need_is_read_at_depth() {
    let store = Store::new(4096, 4000, Some(1));
    let mut transaction = store.begin();
    let key = |number: u32| (number * 7919 % 6000).to_be_bytes();
    for number in 0..6000 {
        store.drive(transaction.put(Tree::MAIN, key(number), [1; 900])).unwrap();
    }
    store.drive(transaction.commit()).unwrap();
    let mut transaction = store.begin();
    transaction.record_into(Vec::new(), LIMIT);
    for number in 0..1500 {
        store.drive(transaction.put(Tree::MAIN, key(number), [2; 900])).unwrap();
    }
    let record = transaction.take_record().unwrap();
    drop(transaction);
    let store = store.reopen();
    let mut replay = replay(store.begin(), record);
    let (mut waits, mut deepest, mut in_flight) = (0, 0, 0);
    while let IOResult::IO(_) = replay.step(&store.pager).unwrap() {
        waits += 1;
        in_flight += store.backend.driver.in_flight();
        deepest = deepest.max(store.backend.driver.in_flight());
        store.backend.driver.poll();
    }
    assert!(waits > 300, "{waits} waits");
    assert!(deepest > 200 && in_flight / waits > 64, "{deepest}, {}", in_flight / waits);
}
