//! Many named trees.

use yieldb::{Database, ErrorKind, KeyRange, MAIN, MemoryDisk, Options};

const COUNT: u32 = 10_000;

fn name(number: u32) -> String {
    format!("tree {number:05}")
}

fn open(disk: &MemoryDisk) -> Database {
    Options::new().cache_bytes(64 << 20).backend(disk.immediate()).open("db").wait().unwrap()
}

/// A file with ten thousand trees of three entries each.
fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let database = open(&disk);
    let mut transaction = database.begin().wait().unwrap();
    for number in 0..COUNT {
        let tree = transaction.create_tree(name(number)).unwrap();
        for key in ["a", "b", "c"] {
            transaction.put(tree, key, number.to_le_bytes()).wait().unwrap();
        }
    }
    transaction.commit().wait().unwrap();
    disk
}

#[test]
fn ten_thousand_trees_cost_a_commit_nothing() {
    let disk = disk();
    let database = open(&disk);
    let snapshot = database.snapshot();
    assert_eq!(snapshot.trees().count(), COUNT as usize + 1);
    let tree = snapshot.tree(name(5_000)).unwrap();
    let pages = |change: &dyn Fn(&mut yieldb::WriteTransaction)| {
        let before = database.metrics().cache.pages_written;
        let mut transaction = database.begin().wait().unwrap();
        change(&mut transaction);
        transaction.commit().wait().unwrap();
        database.metrics().cache.pages_written - before
    };
    // Its leaf, the catalogue's leaf and what is above that; the space map is not counted here.
    let one = pages(&|transaction| {
        transaction.put(tree, "d", "new").wait().unwrap();
    });
    assert!(one <= 4, "{one} pages for one entry of one tree");
    let created = pages(&|transaction| {
        let tree = transaction.create_tree("another").unwrap();
        transaction.put(tree, "x", "y").wait().unwrap();
    });
    assert!(created <= 4, "{created} pages for a new tree");
    assert_eq!(snapshot.tree("another"), None, "a snapshot sees a tree that is younger");
    assert_eq!(snapshot.count(tree).unwrap(), 3);
    assert_eq!(database.snapshot().count(tree).unwrap(), 4);
}

#[test]
fn trees_are_found_again_and_a_dropped_one_is_gone_for_good() {
    let disk = disk();
    let dropped = {
        let database = open(&disk);
        let mut transaction = database.begin().wait().unwrap();
        let dropped = transaction.tree(name(7)).unwrap();
        transaction.drop_tree(dropped).unwrap().wait().unwrap();
        let renamed = transaction.tree(name(8)).unwrap();
        transaction.rename_tree(renamed, name(7)).unwrap();
        transaction.commit().wait().unwrap();
        dropped
    };
    let database = open(&disk);
    let snapshot = database.snapshot();
    assert_eq!(snapshot.trees().count(), COUNT as usize);
    assert_eq!(snapshot.tree(name(8)), None);
    let renamed = snapshot.tree(name(7)).unwrap();
    assert_ne!(renamed, dropped);
    let value = snapshot.get(renamed, "a").wait().unwrap();
    assert_eq!(value.as_deref(), Some(&8_u32.to_le_bytes()[..]));
    let error = snapshot.get(dropped, "a").wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    let mut transaction = database.begin().wait().unwrap();
    let new = transaction.create_tree(name(8)).unwrap();
    assert_ne!(new, dropped, "a handle came to life again");
    assert!(transaction.put(dropped, "a", "b").wait().is_err());
    assert_eq!(transaction.count(new).unwrap(), 0);
    drop(transaction);
    let report = snapshot.check(|_| {}).unwrap().wait().unwrap();
    assert_eq!(report.damages, []);
    assert_eq!(report.entries, u64::from(COUNT - 1) * 3);
}

#[test]
fn a_tree_that_was_rolled_back_does_not_come_to_life_as_another() {
    let database = open(&MemoryDisk::new());
    let mut transaction = database.begin().wait().unwrap();
    let savepoint = transaction.savepoint();
    let gone = transaction.create_tree("gone").unwrap();
    transaction.roll_back_to(savepoint).unwrap();
    let new = transaction.create_tree("new").unwrap();
    assert_ne!(new, gone);
    assert!(transaction.put(gone, "a", "b").wait().is_err());
    transaction.put(new, "a", "b").wait().unwrap();
    transaction.commit().wait().unwrap();
    assert_eq!(database.snapshot().trees().count(), 2);
}

#[test]
fn the_tree_named_main_stays_and_names_have_limits() {
    let database = open(&MemoryDisk::new());
    let mut transaction = database.begin().wait().unwrap();
    for name in ["", &"x".repeat(1_025)] {
        assert_eq!(transaction.create_tree(name).unwrap_err().kind(), ErrorKind::Usage);
    }
    let longest = "x".repeat(1_024);
    let tree = transaction.create_tree(&longest).unwrap();
    assert!(transaction.create_tree(&longest).is_err(), "two of the same name");
    assert_eq!(transaction.open_tree(&longest).unwrap(), tree);
    assert!(transaction.rename_tree(tree, "main").is_err());
    assert!(transaction.rename_tree(MAIN, "other").is_err());
    assert!(transaction.drop_tree(MAIN).is_err());
    let binary = transaction.create_tree(b"\0\xff").unwrap();
    transaction.put(binary, "", "").wait().unwrap();
    transaction.commit().wait().unwrap();
    let snapshot = database.snapshot();
    let names: Vec<&[u8]> = snapshot.trees().map(|(_, name, _)| name).collect();
    assert_eq!(names, [&b"\0\xff"[..], b"main", longest.as_bytes()]);
    let first = snapshot.first(binary, KeyRange::all()).wait().unwrap();
    assert_eq!(first, Some((vec![], vec![])));
}
