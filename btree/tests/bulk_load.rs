//! Bulk loads against a model: orders, lengths, page sizes, caches; what they leave behind.

mod support;

use std::collections::BTreeMap;

use rstest::rstest;
use support::{Rng, Store};
use yieldb_btree::node::{LeafView, max_key_len};
use yieldb_btree::{Error, KeyRange, Transaction, Tree};
use yieldb_pager::PageSize;
use yieldb_pager::page_format::{LEAF, kind_of, level_of};

type Entries = Vec<(Vec<u8>, Vec<u8>)>;
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Loads entries, the way that is quickest.
fn load(store: &Store, transaction: &mut Transaction, tree: Tree, entries: &Entries) -> u64 {
    let mut load = transaction.bulk_load(tree).unwrap();
    for (key, value) in entries {
        if !load.try_push(key, value).unwrap() {
            store.drive(load.push(key, value)).unwrap();
        }
    }
    store.drive(load.finish()).unwrap()
}

/// Asserts that a database has these entries, that it is not damaged, and that nothing is lost.
fn assert_has(store: &Store, tree: Tree, expected: &Model) {
    store.backend.driver.quiesce();
    drop(store.begin());
    let snapshot = store.snapshot();
    let mut cursor = snapshot.cursor(tree, KeyRange::all());
    for (key, value) in expected {
        let entry = store.drive(cursor.next()).unwrap().expect("another entry");
        assert_eq!(entry.key(), key);
        assert!(entry.value() == value.as_slice(), "the value of {key:?}");
    }
    assert!(store.drive(cursor.next()).unwrap().is_none());
    drop(cursor);
    assert_eq!(snapshot.count(tree).unwrap(), expected.len() as u64);
    let report = store.drive(snapshot.check(|_| {}).unwrap()).unwrap();
    assert_eq!(report.damages, []);
    drop(snapshot);
    let reserved = yieldb_pager::superblock::reserved_page_count(store.pager.page_size());
    assert_eq!(store.pager.space_use().used, reserved + report.pages, "page numbers are lost");
    store.assert_idle();
    assert_eq!(store.disk.image("db-sort"), None, "the sort file has a name");
}

fn check(store: Store, entries: &Entries) -> Store {
    let model: Model = entries.iter().cloned().collect();
    let mut transaction = store.begin();
    let count = load(&store, &mut transaction, Tree::MAIN, entries);
    assert_eq!(count, model.len() as u64);
    store.drive(transaction.commit()).unwrap();
    assert_has(&store, Tree::MAIN, &model);
    let store = store.reopen();
    assert_has(&store, Tree::MAIN, &model);
    store
}

/// What the keys are like.
#[derive(Clone, Copy, Debug)]
enum Keys {
    Random,
    Ascending,
    Descending,
    /// Ascending, and then random ones.
    Broken,
    /// Two that are ascending, one behind the other.
    Twice,
    Duplicates,
    LongPrefixes,
    OfAnyLength,
}

fn key(keys: Keys, number: u64, count: u64, page_len: usize, rng: &mut Rng) -> Vec<u8> {
    let number_key = |number: u64| number.to_be_bytes().to_vec();
    match keys {
        Keys::Random => number_key(rng.below(u64::MAX)),
        Keys::Ascending => number_key(number),
        Keys::Descending => number_key(count - number),
        Keys::Broken if number < count * 2 / 3 => number_key(number << 40),
        Keys::Broken => number_key(rng.below(count << 40)),
        Keys::Twice => number_key(number % (count / 2) * 2 + number / (count / 2)),
        Keys::Duplicates => number_key(rng.below(count / 20 + 1)),
        Keys::LongPrefixes => {
            let mut key = vec![b'p'; 100 + 400 * (rng.below(3) as usize)];
            key.extend_from_slice(&number_key(rng.below(count)));
            key
        }
        Keys::OfAnyLength => {
            let len = rng.below(max_key_len(page_len) as u64 + 1).min(rng.below(300));
            (0..len).map(|_| rng.below(3) as u8).collect()
        }
    }
}

fn entries(keys: Keys, count: u64, page_len: usize, longest: u64, rng: &mut Rng) -> Entries {
    let entry = |number| {
        let key = key(keys, number, count, page_len, rng);
        // Most values are short, some are as long as can be.
        let limit = if rng.below(20) == 0 { longest } else { longest.min(200) };
        let len = rng.below(limit + 1) as usize;
        (key, vec![number as u8; len])
    };
    (0..count).map(entry).collect()
}

#[rstest]
fn loads_as_a_map_does(
    #[values(
        Keys::Random,
        Keys::Ascending,
        Keys::Descending,
        Keys::Broken,
        Keys::Twice,
        Keys::Duplicates,
        Keys::LongPrefixes,
        Keys::OfAnyLength
    )]
    keys: Keys,
    #[values((4096, 64), (4096, 1000), (16384, 64), (65536, 70))] shape: (u32, usize),
    #[values(None, Some(3))] seed: Option<u64>,
) {
    let (page_len, frames) = shape;
    let mut rng = Rng::new(u64::from(page_len) + frames as u64);
    for (count, longest) in [(0, 0), (1, 100), (300, 100_000), (6_000, 300), (9_000, 5_000)] {
        let entries = entries(keys, count.max(2), page_len as usize, longest, &mut rng);
        let entries = entries.into_iter().take(count as usize).collect();
        check(Store::new(page_len, frames, seed), &entries);
    }
}

#[test]
fn a_tree_with_entries_is_refused() {
    let store = Store::new(4096, 64, None);
    let mut transaction = store.begin();
    store.drive(transaction.put(Tree::MAIN, "a", "b")).unwrap();
    let refused = transaction.bulk_load(Tree::MAIN).err();
    assert!(matches!(refused, Some(Error::TreeNotEmpty { count: 1 })), "{refused:?}");
    store.drive(transaction.delete(Tree::MAIN, "a")).unwrap();
    let entries = vec![(b"key".to_vec(), b"value".to_vec())];
    assert_eq!(load(&store, &mut transaction, Tree::MAIN, &entries), 1);
    store.drive(transaction.commit()).unwrap();
    assert_has(&store, Tree::MAIN, &entries.into_iter().collect());
}

#[test]
fn keys_and_values_that_are_too_long_are_refused_and_the_load_goes_on() {
    let store = Store::new(4096, 64, None);
    let mut transaction = store.begin();
    let mut load = transaction.bulk_load(Tree::MAIN).unwrap();
    let long = vec![1; max_key_len(4096) + 1];
    assert!(matches!(load.try_push(&long, b""), Err(Error::KeyTooLong { len: 1025, max: 1024 })));
    assert!(matches!(
        store.drive(load.push(&long, b"")),
        Err(Error::KeyTooLong { len: 1025, max: 1024 })
    ));
    store.drive(load.push(&long[1..], b"")).unwrap();
    assert_eq!(store.drive(load.finish()).unwrap(), 1);
}

#[test]
fn a_load_lives_among_other_changes_and_savepoints() {
    let store = Store::new(4096, 64, Some(4));
    let mut rng = Rng::new(9);
    let mut transaction = store.begin();
    let tree = transaction.create_tree(b"loaded").unwrap();
    let mut main = Model::new();
    for number in 0..300_u32 {
        let (key, value) = (number.to_be_bytes().to_vec(), vec![3; 300]);
        store.drive(transaction.put(Tree::MAIN, &key, &value)).unwrap();
        main.insert(key, value);
    }
    let before = transaction.savepoint();
    let some = entries(Keys::Random, 5_000, 4096, 9_000, &mut rng);
    load(&store, &mut transaction, tree, &some);
    transaction.roll_back_to(before).unwrap();
    assert_eq!(transaction.count(tree).unwrap(), 0);
    let some = entries(Keys::Broken, 5_000, 4096, 9_000, &mut rng);
    load(&store, &mut transaction, tree, &some);
    transaction.release(before).unwrap();
    // A loaded tree changes as any other does, in the same transaction and later.
    let mut model: Model = some.iter().cloned().collect();
    for (key, _) in some.iter().step_by(3) {
        store.drive(transaction.delete(tree, key)).unwrap();
        model.remove(key);
        store.drive(transaction.put(tree, [key, &b"x"[..]].concat(), "new")).unwrap();
        model.insert([key, &b"x"[..]].concat(), b"new".to_vec());
    }
    store.drive(transaction.commit()).unwrap();
    assert_has(&store, tree, &model);
    assert_has(&store, Tree::MAIN, &main);
    let mut transaction = store.begin();
    store.drive(transaction.drop_tree(tree).unwrap()).unwrap();
    store.drive(transaction.commit()).unwrap();
    assert_has(&store, Tree::MAIN, &main);
}

#[test]
fn a_load_that_is_dropped_leaves_nothing() {
    let store = Store::new(4096, 64, Some(4));
    let mut rng = Rng::new(5);
    for keys in [Keys::Random, Keys::Ascending, Keys::Broken] {
        for count in [10, 2_000, 9_000] {
            let mut transaction = store.begin();
            let mut load = transaction.bulk_load(Tree::MAIN).unwrap();
            for (key, value) in entries(keys, count, 4096, 6_000, &mut rng) {
                store.drive(load.push(key, value)).unwrap();
            }
            drop(load);
            assert_eq!(transaction.count(Tree::MAIN).unwrap(), 0);
            store.drive(transaction.commit()).unwrap();
            assert_has(&store, Tree::MAIN, &Model::new());
        }
    }
}

/// How full the leaves of a file are, the last one left out: in percent.
fn fill_of(store: &Store) -> f64 {
    let page_len = PageSize::MIN.bytes();
    let image = store.disk.image("db").unwrap();
    let leaves = image.chunks(page_len).skip(4);
    let leaves = leaves.filter(|page| kind_of(page) == LEAF && level_of(page) == 0);
    let used: Vec<usize> = leaves.map(|page| LeafView::new(page).used_len()).collect();
    let sum: usize = used.iter().sum();
    100.0 * sum as f64 / (used.len() * page_len) as f64
}

#[test]
fn leaves_are_nine_tenths_full() {
    for keys in [Keys::Random, Keys::Ascending, Keys::LongPrefixes] {
        let mut rng = Rng::new(8);
        let entries = entries(keys, 20_000, 4096, 150, &mut rng);
        let store = check(Store::new(4096, 512, None), &entries);
        let fill = fill_of(&store);
        println!("{keys:?}: leaves are {fill:.1} % full");
        assert!(fill >= 90.0, "{keys:?}: {fill:.1} %");
    }
}

#[test]
fn what_is_in_order_is_written_once_and_without_holes() {
    let mut rng = Rng::new(8);
    let entries = entries(Keys::Ascending, 50_000, 4096, 150, &mut rng);
    let store = Store::new(4096, 64, None);
    let mut transaction = store.begin();
    load(&store, &mut transaction, Tree::MAIN, &entries);
    store.drive(transaction.commit()).unwrap();
    let report = store.drive(store.snapshot().check(|_| {}).unwrap()).unwrap();
    let written = store.pager.cache().stats().pages_written;
    assert!(written <= report.pages, "{written} of {} pages", report.pages);
    let image = store.disk.image("db").unwrap();
    let reserved = yieldb_pager::superblock::reserved_page_count(PageSize::MIN);
    // A commit has a few numbers more in reserve than it uses.
    let unused = image.len() as u64 / 4096 - (reserved + report.pages);
    assert!(unused < 5, "the file has holes of {unused} pages");
}

/// What the last keys of a full node share need not be what its end and the next key share.
#[rstest]
#[case(1_000, 290)]
#[case(100, 1_900)]
#[case(24, 6_000)]
fn a_last_key_of_its_own_fits(#[case] shared: usize, #[case] least: u32) {
    let key = |number: u32| [&vec![b'a'; shared][..], &number.to_be_bytes()[..]].concat();
    for count in least..least + 26 {
        let mut entries: Entries = (0..count).map(|number| (key(number), vec![7; 100])).collect();
        entries.push((b"b".to_vec(), vec![8; 100]));
        check(Store::new(4096, 512, None), &entries);
    }
}
