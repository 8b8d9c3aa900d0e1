//! Trees and space maps in shapes that none has: circles, children of several parents, chains as
//! deep as can be. Each page is right by itself. An error, or an end, in linear time.

use std::time::{Duration, Instant};

use faults::PAGE;
use faults::drive::drive;
use faults::forge::{Forge, catalogue_value, root};
use faults::specimen::options;
use yieldb::{Damage, Database, ErrorKind, KeyRange, MemoryDisk, Tree};
use yieldb_pager::Root;

/// The number of the tree that is examined.
const TREE: u32 = 1;

/// The deepest level that a node may have.
const MAX_LEVEL: u8 = 48;

/// A file of `pages` pages with one tree, and a map on page 2, a catalogue on page 3.
fn forge(pages: usize, tree: Root) -> (Forge, Root) {
    let mut forge = Forge::new(pages);
    forge.map_bits(2);
    forge.leaf(3, &[(b"tree", &catalogue_value(TREE, tree))]);
    (forge, root(3, 0, 1))
}

fn open((forge, catalogue): (Forge, Root)) -> Database {
    let disk = MemoryDisk::new();
    disk.set_image("db", forge.finish(catalogue, 1 << 20));
    drive(options(&disk).open("db")).unwrap()
}

/// How many entries a scan gives before it ends, well or badly.
fn scan(database: &Database, forwards: bool, limit: usize) -> usize {
    let snapshot = database.snapshot();
    let mut cursor = snapshot.cursor(Tree::from_u32(TREE), KeyRange::all());
    for count in 0..=limit {
        match drive(if forwards { cursor.next() } else { cursor.previous() }) {
            Ok(Some(_)) => {}
            Ok(None) => return count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
                return count;
            }
        }
    }
    panic!("a scan of more than {limit} entries");
}

/// Uses the tree in all ways. `limit` is how many entries a scan may give.
fn use_it(database: &Database, limit: usize) -> Vec<Damage> {
    let started = Instant::now();
    let tree = Tree::from_u32(TREE);
    let snapshot = database.snapshot();
    let damages = drive(snapshot.check(|_| {}).unwrap()).unwrap().damages;
    scan(database, true, limit);
    scan(database, false, limit);
    for key in [&b""[..], b"a", b"m", b"z", &[0xff; 40]] {
        assert!(drive(snapshot.get(tree, key)).map_or(true, |found| found.is_none()));
    }
    let mut transaction = drive(database.begin()).unwrap();
    for key in [b"a", b"m", b"z"] {
        let _stored = drive(transaction.put(tree, key, b"value")).is_ok();
        let _deleted = drive(transaction.delete(tree, key)).is_ok();
    }
    if let Err(error) = drive(transaction.commit()) {
        // A page with several parents was replaced for each of them.
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    }
    let mut transaction = drive(database.begin()).unwrap();
    let dropped = drive(transaction.drop_tree(tree).unwrap());
    let dropped = dropped.and_then(|()| drive(transaction.commit()));
    assert_eq!(dropped.unwrap_err().kind(), ErrorKind::Damaged);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    damages
}

#[test]
fn circles_of_nodes() {
    for len in 1..=4_u64 {
        let top = len as u8;
        let mut file = forge(64, root(10, top, 1_000));
        for place in 0..len {
            let next = 10 + (place + 1) % len;
            file.0.interior(10 + place, top - place as u8, &[b"m"], &[next, next]);
        }
        let damages = use_it(&open(file), 100);
        assert!(!damages.is_empty());
    }
}

#[test]
fn a_child_of_all_parents_on_every_level() {
    // As many ways as 300 to the power of 48.
    let separators: Vec<Vec<u8>> = (0..280_u16).map(|at| at.to_be_bytes().to_vec()).collect();
    let separators: Vec<&[u8]> = separators.iter().map(|separator| &**separator).collect();
    for levels in [1, 2, 5, MAX_LEVEL] {
        let mut file = forge(64, root(10, levels, u64::MAX));
        for level in 1..=levels {
            let number = 10 + u64::from(levels - level);
            let children = vec![number + 1; separators.len() + 1];
            file.0.interior(number, level, &separators, &children);
        }
        file.0.leaf(10 + u64::from(levels), &[(b"b", b"1"), (b"c", b"2")]);
        let damages = use_it(&open(file), 10_000);
        let twice = damages.iter().filter(|damage| damage.what.contains("twice")).count();
        let surplus = 280 * usize::from(levels);
        // Each of them is damage, as far as the list goes.
        assert!((surplus.min(9_900)..=surplus).contains(&twice), "{twice} of {surplus}");
    }
}

#[test]
fn separators_that_lead_back() {
    // Below the right child everything is said to be on its left.
    for levels in [3, MAX_LEVEL] {
        let mut file = forge(64, root(10, levels, 1_000));
        for level in 1..=levels {
            let number = 10 + u64::from(levels - level);
            let separator = [b'a' + level % 26, level];
            file.0.interior(number, level, &[&separator], &[number + 1, number + 1]);
        }
        file.0.leaf(10 + u64::from(levels), &[(b"b", b"1"), (b"c", b"2")]);
        use_it(&open(file), 1_000);
    }
}

#[test]
fn a_chain_as_deep_as_can_be() {
    let mut file = forge(64, root(10, MAX_LEVEL, 7));
    for level in 1..=MAX_LEVEL {
        let number = 10 + u64::from(MAX_LEVEL - level);
        // The other child is a page that was never written.
        file.0.interior(number, level, &[b"n"], &[number + 1, 63]);
    }
    file.0.leaf(10 + u64::from(MAX_LEVEL), &[(b"b", b"1"), (b"c", b"2")]);
    let database = open(file);
    let snapshot = database.snapshot();
    let found = drive(snapshot.get(Tree::from_u32(TREE), b"c")).unwrap();
    assert_eq!(found.as_deref(), Some(&b"2"[..]));
    drop(found);
    assert!(!use_it(&database, 100).is_empty());
}

#[test]
fn as_many_trees_as_fit_with_one_root() {
    let per_leaf = 100_u64;
    let leaves = 1_000_u64;
    let mut forge = Forge::new(leaves as usize + 100);
    forge.map_bits(2);
    let first_leaf = 20;
    let separators: Vec<[u8; 4]> =
        (1..leaves).map(|leaf| ((leaf * per_leaf) as u32).to_be_bytes()).collect();
    // Two levels of interior nodes above the leaves of the catalogue.
    let mut tops = Vec::new();
    for (index, part) in (0..leaves).collect::<Vec<_>>().chunks(200).enumerate() {
        let children: Vec<u64> = part.iter().map(|leaf| first_leaf + leaf).collect();
        let between: Vec<&[u8]> =
            part[1..].iter().map(|leaf| &separators[*leaf as usize - 1][..]).collect();
        forge.interior(4 + index as u64, 1, &between, &children);
        tops.push((4 + index as u64, part[0]));
    }
    let children: Vec<u64> = tops.iter().map(|(number, _)| *number).collect();
    let between: Vec<&[u8]> =
        tops[1..].iter().map(|(_, leaf)| &separators[*leaf as usize - 1][..]).collect();
    forge.interior(3, 2, &between, &children);
    for leaf in 0..leaves {
        let entries: Vec<([u8; 4], Vec<u8>)> = (leaf * per_leaf..(leaf + 1) * per_leaf)
            .map(|tree| {
                let value = catalogue_value(tree as u32 + 1, root(first_leaf - 1, 0, u64::MAX));
                ((tree as u32).to_be_bytes(), value)
            })
            .collect();
        let entries: Vec<(&[u8], &[u8])> =
            entries.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        forge.leaf(first_leaf + leaf, &entries);
    }
    forge.leaf(first_leaf - 1, &[(b"key", b"value")]);
    let started = Instant::now();
    let database = open((forge, root(3, 2, leaves * per_leaf)));
    let snapshot = database.snapshot();
    assert_eq!(snapshot.trees().count() as u64, leaves * per_leaf + 1);
    // They cannot be added up.
    assert_eq!(database.info().entries, u64::MAX);
    let report = drive(snapshot.check(|_| {}).unwrap()).unwrap();
    // The list is not as long as that.
    assert_eq!(report.damages.len(), 10_000);
    assert!(report.unlisted >= 89_000, "{} more", report.unlisted);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn a_tree_that_says_it_is_full_is_not_counted_past_the_end() {
    let mut file = forge(64, root(10, 0, u64::MAX));
    file.0.leaf(10, &[(b"b", b"1")]);
    let database = open(file);
    let mut transaction = drive(database.begin()).unwrap();
    let tree = Tree::from_u32(TREE);
    match drive(transaction.put(tree, b"c", b"2")) {
        Ok(was_there) => assert!(!was_there),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged, "{error}"),
    }
    drop(transaction);
    let mut file = forge(64, root(10, 0, 1));
    file.0.leaf(10, &[(b"b", b"1"), (b"c", b"2"), (b"d", b"3")]);
    let database = open(file);
    let mut transaction = drive(database.begin()).unwrap();
    for key in [b"b", b"c", b"d"] {
        match drive(transaction.delete(tree, key)) {
            Ok(was_there) => assert!(was_there),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged, "{error}"),
        }
    }
    let _committed = drive(transaction.commit()).is_ok();
}

#[test]
fn space_maps_that_name_themselves() {
    let pages = 40_000;
    // The map of a file of this length has two pages of bits below an index.
    for children in [[2, 2], [3, 3], [2, 3], [0, 1], [5, 6], [pages, pages + 1], [3, 4]] {
        let mut forge = Forge::new(pages as usize);
        forge.map_index(2, 1, &children);
        forge.map_bits_of(3, 0);
        forge.map_bits_of(4, 1);
        forge.leaf(5, &[]);
        let disk = MemoryDisk::new();
        disk.set_image("db", forge.finish(Root::default(), 1));
        let result = drive(options(&disk).read_only(true).open("db"));
        if children == [3, 4] {
            result.expect("a map of the right shape");
            continue;
        }
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Damaged, "{children:?}");
    }
    // One that is deeper than the file is long.
    let mut forge = Forge::new(64);
    forge.map_index(2, 3, &[3]);
    forge.map_index(3, 2, &[2]);
    let disk = MemoryDisk::new();
    disk.set_image("db", forge.finish(Root::default(), 1));
    let error = drive(options(&disk).open("db")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert_eq!(disk.image("db").unwrap().len(), 64 * PAGE);
}
