//! How full leaves are in trees that grow a little at a time.

mod support;

use std::collections::BTreeSet;

use support::{Rng, Store};
use yieldb_btree::Tree;
use yieldb_btree::node::max_key_len;

const VALUE: [u8; 100] = [7; 100];
/// A key between two of the tree's, far from its edges.
const MIDDLE: u64 = 801;

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Stores an entry in a transaction of its own.
fn put(store: &Store, number: u64) {
    let mut transaction = store.begin();
    store.drive(transaction.put(Tree::MAIN, key(number), VALUE)).unwrap();
    store.drive(transaction.commit()).unwrap();
}

/// How many leaves there are, and how full.
fn leaves(store: &Store) -> (u64, f64) {
    let snapshot = store.snapshot();
    let stats = store.drive(snapshot.stats(Tree::MAIN, |_| {}).unwrap()).unwrap();
    let leaves = stats.levels[0];
    (leaves.pages, leaves.mean_fill(stats.page_len))
}

/// Asserts that the tree has these entries and is in order, and that no page is lost.
fn assert_sound(store: &Store, count: u64) {
    let snapshot = store.snapshot();
    assert_eq!(snapshot.count(Tree::MAIN).unwrap(), count);
    let report = store.drive(snapshot.check(|_| {}).unwrap()).unwrap();
    assert_eq!((report.entries, report.damages), (count, vec![]));
    drop(snapshot);
    let reserved = yieldb_pager::superblock::reserved_page_count(store.pager.page_size());
    assert_eq!(store.pager.space_use().used, reserved + report.pages, "page numbers are lost");
    store.assert_idle();
}

#[test]
fn entries_put_one_by_one_at_random_fill_leaves() {
    for (page_len, count) in [(4096_u32, 8_000), (16_384, 20_000)] {
        let store = Store::new(page_len, 1_000, None);
        let mut rng = Rng::new(11);
        for _ in 0..count {
            put(&store, rng.below(u64::MAX));
        }
        let (pages, fill) = leaves(&store);
        println!("pages of {page_len} bytes: {pages} leaves, filled to {fill:.3}");
        assert!(fill >= 0.78, "{pages} leaves of {page_len} bytes are filled to {fill:.3}");
        assert_sound(&store, count);
    }
}

#[test]
fn leaves_share_entries_below_parents_that_are_full() {
    // Long separators, of any length: one that takes the place of another need not fit.
    let store = Store::new(4096, 1_000, Some(5));
    let (mut rng, mut keys) = (Rng::new(12), BTreeSet::new());
    let common: Vec<u8> = (0..max_key_len(4096) - 8).map(|_| rng.below(256) as u8).collect();
    for round in 0..1_000 {
        let most = if round % 50 == 0 { 200 } else { 3 };
        let mut transaction = store.begin();
        for _ in 0..1 + rng.below(most) {
            let len = rng.below(common.len() as u64) as usize;
            let key = [&common[..len], &key(rng.below(u64::MAX))].concat();
            let value = &VALUE[..rng.below(100) as usize];
            store.drive(transaction.put(Tree::MAIN, &key, value)).unwrap();
            keys.insert(key);
        }
        store.drive(transaction.commit()).unwrap();
    }
    assert!(store.snapshot().depth(Tree::MAIN).unwrap() > 2);
    assert_sound(&store, keys.len() as u64);
    let snapshot = store.snapshot();
    for key in keys {
        assert!(store.drive(snapshot.get(Tree::MAIN, key)).unwrap().is_some());
    }
}

/// A tree of every second key below 1,600 in full leaves, but those have room that are not close to
/// [`MIDDLE`].
fn with_full_leaves_in_the_middle() -> Store {
    const COUNT: u64 = 800;
    let store = Store::new(4096, 200, None);
    let mut transaction = store.begin();
    // In ascending order they are packed.
    for number in 0..COUNT {
        store.drive(transaction.put(Tree::MAIN, key(2 * number), VALUE)).unwrap();
    }
    store.drive(transaction.commit()).unwrap();
    let (pages, fill) = leaves(&store);
    assert!(pages > 10 && fill > 0.9, "{pages} leaves, filled to {fill:.3}");
    // The leaf in the middle reaches no farther than a leaf's keys to either side, so that one of
    // its neighbours loses a quarter of its entries at least.
    let kept = 2 * COUNT / (pages - 1);
    let mut transaction = store.begin();
    for number in (0..COUNT).step_by(2).map(|number| 2 * number) {
        if number.abs_diff(MIDDLE) > kept {
            assert!(store.drive(transaction.delete(Tree::MAIN, key(number))).unwrap());
        }
    }
    store.drive(transaction.commit()).unwrap();
    store
}

#[test]
fn only_a_neighbour_in_memory_takes_entries_of_a_full_leaf() {
    for in_memory in [false, true] {
        let store = with_full_leaves_in_the_middle();
        let count = store.snapshot().count(Tree::MAIN).unwrap();
        let (pages, _) = leaves(&store);
        let store = store.reopen();
        if in_memory {
            leaves(&store);
        }
        let reads = || store.pager.cache().stats().reads;
        let reads_before = reads();
        for number in [MIDDLE, MIDDLE + 2, MIDDLE - 2] {
            put(&store, number);
        }
        // The root and the leaf, unless all is in memory.
        let expected = if in_memory { 0 } else { 2 };
        assert_eq!(reads() - reads_before, expected, "in memory: {in_memory}");
        let expected = if in_memory { pages } else { pages + 1 };
        assert_eq!(leaves(&store).0, expected, "in memory: {in_memory}");
        assert_sound(&store, count + 3);
    }
}
