//! The statistics of a tree against the entries that were put into it.

mod support;

use std::collections::BTreeMap;

use support::{Rng, Store};
use yieldb_btree::node::max_entry_len;
use yieldb_btree::{Error, LenStats, Tree};

#[test]
fn statistics_count_what_is_there() {
    let store = Store::new(4096, 200, Some(7));
    let mut rng = Rng::new(3);
    let mut model = BTreeMap::new();
    let mut transaction = store.begin();
    let tree = transaction.create_tree(b"other").unwrap();
    for round in 0..4_000 {
        let key = vec![b'k'; rng.below(90) as usize];
        let key = [&rng.below(3_000).to_be_bytes()[4..], &key[..]].concat();
        let len = if round % 100 == 0 { 20_000 } else { 300 };
        let value = vec![7; rng.below(len) as usize];
        store.drive(transaction.put(tree, key.clone(), value.clone())).unwrap();
        model.insert(key, value);
    }
    store.drive(transaction.commit()).unwrap();
    let store = store.reopen();
    let snapshot = store.snapshot();
    let mut last = None;
    let stats = store.drive(snapshot.stats(tree, |done| last = Some(done)).unwrap()).unwrap();
    let last = last.unwrap();
    assert_eq!((last.pages, last.entries, last.of), (stats.nodes(), stats.entries(), last.entries));
    assert_eq!(stats.levels.len(), snapshot.depth(tree).unwrap());
    assert!(stats.levels.len() > 1 && stats.levels.last().unwrap().pages == 1, "{stats:?}");
    compare(&stats.keys, model.keys());
    compare(&stats.values, model.values());
    for level in &stats.levels {
        assert_eq!(level.fill.iter().sum::<u64>(), level.pages);
        let fill = level.mean_fill(stats.page_len);
        assert!(fill > 0.0 && fill <= 1.0, "{level:?}");
    }
    // What is in no node is in the catalogue, the space map or the superblock: a page or two each.
    let others = store.pager.space_use().used - stats.pages();
    assert!((3..=5).contains(&others), "{others} other pages, {stats:?}");
    // Every node but the root has one reference; all else that leaves hold is entries.
    let leaves = stats.levels[0];
    let large: Vec<u64> = model
        .iter()
        .filter(|(key, value)| key.len() + value.len() > max_entry_len(4096))
        .map(|(_, value)| value.len() as u64)
        .collect();
    assert!(large.len() > 10);
    let pages: u64 = large.iter().map(|len| len.div_ceil(4096 - 40)).sum();
    assert_eq!((stats.large.count, stats.large.pages), (large.len() as u64, pages));
    assert_eq!(stats.large.total, large.iter().sum::<u64>());
    let least = stats.values.total - stats.large.total + 10 * stats.entries() + 40 * leaves.pages;
    assert!(leaves.used_len > least, "{leaves:?} {least}");

    let empty = store.drive(snapshot.stats(Tree::MAIN, |_| {}).unwrap()).unwrap();
    assert_eq!((empty.levels.len(), empty.pages(), empty.entries()), (0, 0, 0));
    assert_eq!((empty.keys.min, empty.keys.mean()), (0, 0.0));
    let missing = snapshot.stats(Tree::from_u32(77), |_| {});
    assert!(matches!(missing, Err(Error::NoSuchTree { tree: 77 })));
}

fn compare<'a>(stats: &LenStats, samples: impl Iterator<Item = &'a Vec<u8>>) {
    let mut lens: Vec<u64> = samples.map(|sample| sample.len() as u64).collect();
    lens.sort_unstable();
    assert_eq!((stats.count, stats.total), (lens.len() as u64, lens.iter().sum()));
    assert_eq!((stats.min, stats.max), (lens[0], *lens.last().unwrap()));
    for (index, count) in stats.buckets.into_iter().enumerate() {
        let (least, greatest) = LenStats::bounds(index);
        let expected = lens.iter().filter(|len| (least..=greatest).contains(*len)).count();
        assert_eq!(count, expected as u64, "{least} to {greatest}");
    }
}
