//! A file that is made shorter, while it is used.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use yieldb::{
    Batch, Choice, Compacted, Database, ErrorKind, IOCompletions, IOResult, KeyRange, MAIN,
    MemoryDisk, Options,
};
use yieldb_core::{Operation, Request};
use yieldb_io_backends::RawHook;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(number: u32) -> Vec<u8> {
    // In another order than that of the numbers.
    format!("key {:08}", u64::from(number) * 7_919_777 % 99_999_989).into_bytes()
}

/// A value; each fiftieth is in pages of its own.
fn value(number: u32) -> Vec<u8> {
    let len = if number % 50 == 7 { 9_000 + number as usize } else { 60 + number as usize % 90 };
    vec![number as u8; len]
}

fn put(database: &Database, model: &mut Model, numbers: impl Iterator<Item = u32>) {
    let mut batch = Batch::new();
    for number in numbers {
        batch.put(MAIN, key(number), value(number));
        model.insert(key(number), value(number));
    }
    database.write(&batch).wait().unwrap();
}

fn delete(database: &Database, model: &mut Model, numbers: impl Iterator<Item = u32>) {
    let mut batch = Batch::new();
    for number in numbers {
        batch.delete(MAIN, key(number));
        model.remove(&key(number));
    }
    database.write(&batch).wait().unwrap();
}

fn assert_has(database: &Database, model: &Model) {
    let snapshot = database.snapshot();
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    for (key, value) in model {
        let entry = cursor.next().wait().unwrap().expect("there is another one");
        assert_eq!(entry.key(), key);
        assert_eq!(snapshot.get(MAIN, key).wait().unwrap().as_deref(), Some(&value[..]));
    }
    assert!(cursor.next().wait().unwrap().is_none());
    let report = snapshot.check(|_| {}).unwrap().wait().unwrap();
    assert_eq!((report.damages, report.entries), (vec![], model.len() as u64));
}

/// How many bytes the entries need in leaves and pages of their own.
fn needed(model: &Model) -> u64 {
    let of = |value: &Vec<u8>| match value.len() {
        9_000.. => value.len().div_ceil(4_096 - 64) * 4_096 + 40,
        len => len + 20,
    };
    model.values().map(|value| of(value) as u64).sum::<u64>()
}

fn file_len(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

/// A database that is mostly empty; with a log, and entries that only the log and memory have.
fn mostly_empty(options: &Options, path: &Path) -> (Database, Model) {
    let database = options.clone().open(path).wait().unwrap();
    let mut model = Model::new();
    for part in 0..10 {
        put(&database, &mut model, (part * 2_000)..(part + 1) * 2_000);
    }
    delete(
        &database,
        &mut model,
        (0..20_000).filter(|number| number % 4 != 0 && number % 100 != 7),
    );
    (database, model)
}

#[test]
fn a_file_is_as_short_as_its_contents_allow() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let choices = [("uring", Choice::Auto), ("pread", Choice::Pread)];
    for (name, choice) in choices {
        for cache_bytes in [Options::min_cache_bytes(4096), 64 << 20] {
            let path = directory.path().join(name);
            let options = Options::new().io(choice).cache_bytes(cache_bytes);
            let (database, mut model) = mostly_empty(&options, &path);
            let before = file_len(&path);
            let Compacted { pages_before, pages, passes, .. } = database.compact().wait().unwrap();
            assert!(pages_before >= before / 4096, "{name}: {pages_before} {before}");
            let now = file_len(&path);
            assert_eq!(now, pages * 4096, "{name}: the file has an end that nothing uses");
            assert!(now < needed(&model) * 5 / 4, "{name}: {now}, {}, {passes}", needed(&model));
            assert!(now < before / 2, "{name}: {before} {now}");
            assert_has(&database, &model);
            // It is used as before, and a second time there is nothing to do.
            let again = database.compact().wait().unwrap();
            assert!(again.pages <= pages && again.replaced < 50, "{name}: {again:?}");
            put(&database, &mut model, 30_000..31_000);
            assert_has(&database, &model);
            drop(database);
            let database = options.open(&path).wait().unwrap();
            assert_has(&database, &model);
            database.close().wait().unwrap();
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn snapshots_keep_what_they_have() {
    let options = Options::new().backend(MemoryDisk::new().yielding(3));
    let database = options.open("some.db").wait().unwrap();
    let mut model = Model::new();
    put(&database, &mut model, 0..4_000);
    let (snapshot, old) = (database.snapshot(), model.clone());
    delete(&database, &mut model, (0..4_000).filter(|number| number % 5 != 0));
    let beside = database.compact().wait().unwrap();
    for (key, value) in &old {
        assert_eq!(snapshot.get(MAIN, key).wait().unwrap().as_deref(), Some(&value[..]));
    }
    assert_has(&database, &model);
    drop(snapshot);
    let alone = database.compact().wait().unwrap();
    assert!(alone.pages < beside.pages / 2, "{beside:?} {alone:?}");
    assert_has(&database, &model);
}

#[test]
fn others_write_meanwhile() {
    for seed in 0..6 {
        let options = Options::new().backend(MemoryDisk::new().yielding(seed));
        let cache_bytes = Options::min_cache_bytes(4096);
        let database = options.cache_bytes(cache_bytes).open("some.db").wait().unwrap();
        let mut model = Model::new();
        put(&database, &mut model, 0..6_000);
        delete(&database, &mut model, (0..6_000).filter(|number| number % 5 != 0));
        let before = database.info().space.pages;
        let mut compacting = database.compact();
        let (mut steps, mut number) = (0, 0);
        while !compacting.step().unwrap().is_done() {
            database.turn();
            steps += 1;
            if steps % 4 > 0 {
                continue;
            }
            number += 1;
            let mut batch = Batch::new();
            if number % 3 == 0 {
                batch.delete(MAIN, key(number * 5));
                model.remove(&key(number * 5));
            } else {
                batch.put(MAIN, key(10_000 + number), value(number));
                model.insert(key(10_000 + number), value(number));
            }
            // One thread has both: none may wait for the other's turn.
            let mut writing = database.write(&batch);
            while !writing.step().unwrap().is_done() {
                if compacting.step().unwrap().is_done() {
                    compacting = database.compact();
                }
                database.turn();
            }
        }
        assert!(number > 20, "seed {seed}: {number} changes in {steps} steps");
        let pages = database.info().space.pages;
        assert!(pages < before / 2, "seed {seed}: {before} pages, {pages} now");
        assert_has(&database, &model);
    }
}

/// How often others can write while `database` is compacted.
fn turns_meanwhile(database: &Database) -> u32 {
    let mut compacting = database.compact();
    let mut waiting = database.begin();
    let mut turns = 0;
    while !compacting.step().unwrap().is_done() {
        if let IOResult::Done(transaction) = waiting.step().unwrap() {
            turns += 1;
            drop(transaction);
            waiting = database.begin();
        }
        database.turn();
    }
    turns
}

#[test]
fn others_get_their_turn_where_nothing_is_to_be_done() {
    let options = Options::new().backend(MemoryDisk::new().yielding(1));
    let database = options.open("some.db").wait().unwrap();
    let mut model = Model::new();
    put(&database, &mut model, 0..60_000);
    database.compact().wait().unwrap();
    let version = database.snapshot().version();
    let turns = turns_meanwhile(&database);
    assert!(turns >= 5, "{turns} turns");
    let made = database.snapshot().version() - version;
    assert!(made < 4, "{made} versions of what was good");
    assert_has(&database, &model);
}

#[test]
fn others_get_their_turn_between_large_values() {
    let options = Options::new().backend(MemoryDisk::new().yielding(2)).cache_bytes(4 << 20);
    let database = options.open("some.db").wait().unwrap();
    let large = |number: u32| vec![number as u8; 200 * 4_096];
    for (prefix, count) in [("front", 30), ("back", 60)] {
        for number in 0..count {
            let mut batch = Batch::new();
            batch.put(MAIN, format!("{prefix} {number:03}"), large(number));
            database.write(&batch).wait().unwrap();
        }
    }
    let mut batch = Batch::new();
    (0..30).for_each(|number| batch.delete(MAIN, format!("front {number:03}")));
    database.write(&batch).wait().unwrap();
    database.checkpoint().wait().unwrap();
    let version = database.snapshot().version();
    let turns = turns_meanwhile(&database);
    let made = database.snapshot().version() - version;
    // All of them are named by one leaf: 30 or more of 200 pages each are moved.
    assert!(turns >= 3 && made >= 3, "{turns} turns, {made} versions");
    let snapshot = database.snapshot();
    for number in 0..60 {
        let found = snapshot.get(MAIN, format!("back {number:03}")).wait().unwrap();
        assert!(found.as_deref() == Some(&large(number)[..]));
    }
    assert!(database.info().space.pages < 60 * 202 + 300);
}

#[test]
fn one_that_is_dropped_leaves_everything_good() {
    let disk = MemoryDisk::new();
    let options = Options::new().backend(disk.yielding(5)).cache_bytes(2 << 20);
    let (database, model) = mostly_empty(&options, Path::new("some.db"));
    let mut lengths = Vec::new();
    for steps in [1, 3, 10, 40, 150, 600, 2_000] {
        let mut compacting = database.compact();
        for _ in 0..steps {
            if let IOResult::Done(_) = compacting.step().unwrap() {
                break;
            }
            database.turn();
        }
        drop(compacting);
        assert_has(&database, &model);
        lengths.push(database.info().space.pages);
    }
    let compacted = database.compact().wait().unwrap();
    assert!(compacted.pages * 4096 < needed(&model) * 5 / 4, "{lengths:?} {compacted:?}");
    assert_has(&database, &model);
}

/// Values of which none fits where another one was: they are moved to behind the end, and then to
/// the front.
#[test]
fn one_that_is_dropped_while_all_is_behind_the_end_leaves_everything_good() {
    let options = Options::new().backend(MemoryDisk::new().yielding(4)).cache_bytes(2 << 20);
    let database = options.open("some.db").wait().unwrap();
    let mut model = Model::new();
    let large = |number: u32, pages: usize| vec![number as u8; pages * 4_000];
    for part in 0..20 {
        let mut batch = Batch::new();
        for number in part * 20..(part + 1) * 20 {
            let pages = if number % 2 == 0 { 3 } else { 7 };
            batch.put(MAIN, key(number), large(number, pages));
            model.insert(key(number), large(number, pages));
        }
        database.write(&batch).wait().unwrap();
    }
    delete(&database, &mut model, (0..400).filter(|number| number % 2 == 0));
    database.checkpoint().wait().unwrap();
    let before = database.info().space.pages;
    let mut compacting = database.compact();
    while database.info().space.pages < before + before / 2 {
        assert!(!compacting.step().unwrap().is_done(), "it never was behind the end");
        database.turn();
    }
    drop(compacting);
    assert_has(&database, &model);
    let compacted = database.compact().wait().unwrap();
    assert!(compacted.pages * 4096 < needed(&model) * 5 / 4, "{before} {compacted:?}");
    assert_has(&database, &model);
}

#[test]
fn one_waits_for_the_other() {
    let options = Options::new().backend(MemoryDisk::new().yielding(9)).cache_bytes(2 << 20);
    let (database, model) = mostly_empty(&options, Path::new("some.db"));
    let (mut first, mut second) = (database.compact(), database.compact());
    assert!(!first.step().unwrap().is_done());
    // Whoever cancels what he waits for waits again.
    let IOResult::IO(IOCompletions::Single(io)) = second.step().unwrap() else { panic!("no wait") };
    io.cancel();
    let IOResult::IO(again) = second.step().unwrap() else { panic!("no wait") };
    assert!(io.finished() && !again.finished() && !again.is_explicit_yield());
    let compacted = loop {
        if let IOResult::Done(compacted) = first.step().unwrap() {
            break compacted;
        }
        assert!(!second.step().unwrap().is_done());
        database.turn();
    };
    assert!(compacted.pages * 4096 < needed(&model) * 5 / 4, "{compacted:?}");
    let again = second.wait().unwrap();
    assert_eq!(again.pages_before, compacted.pages);
    assert!(again.pages <= compacted.pages && again.replaced < 50, "{again:?}");
    // One that is dropped is not waited for.
    let turn = database.begin().wait().unwrap();
    let mut dropped = database.compact();
    assert!(!dropped.step().unwrap().is_done());
    let mut third = database.compact();
    assert!(!third.step().unwrap().is_done());
    drop(dropped);
    drop(turn);
    third.wait().unwrap();
    assert_has(&database, &model);
}

/// Lets cuts of files fail.
#[derive(Default)]
struct NoCut(AtomicBool);

impl RawHook for NoCut {
    fn raw(&self, operation: Operation, _offset: u64, _len: usize, result: i32) -> i32 {
        let fails = operation == Operation::Truncate && self.0.load(Ordering::SeqCst);
        if fails { -Errno::IO.raw_os_error() } else { result }
    }
}

#[test]
fn a_cut_that_fails_loses_nothing_and_is_made_up_for() {
    let (disk, hook) = (MemoryDisk::new(), Arc::new(NoCut::default()));
    let options = Options::new().backend(disk.with_hook(None, hook.clone()));
    let (database, mut model) = mostly_empty(&options, Path::new("some.db"));
    let len = || disk.image("some.db").unwrap().len() as u64;
    hook.0.store(true, Ordering::SeqCst);
    let error = database.compact().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::System, "{error}");
    // It is written as before, and the next one cuts the file.
    put(&database, &mut model, 30_000..30_100);
    assert_has(&database, &model);
    hook.0.store(false, Ordering::SeqCst);
    let compacted = database.compact().wait().unwrap();
    assert_eq!(len(), compacted.pages * 4096);
    assert!(len() < needed(&model) * 5 / 4, "{compacted:?}");
}

#[test]
fn trees_and_empty_files_are_compacted_too() {
    let options = Options::new().backend(MemoryDisk::new().immediate());
    let database = options.open("some.db").wait().unwrap();
    let empty = database.compact().wait().unwrap();
    assert_eq!((empty.pages, empty.passes), (empty.pages_before, 1));
    let mut transaction = database.begin().wait().unwrap();
    for tree in 0..300 {
        let tree = transaction.create_tree(format!("tree {tree}")).unwrap();
        for number in 0..60 {
            transaction.put(tree, key(number), value(number)).wait().unwrap();
        }
    }
    transaction.commit().wait().unwrap();
    let mut transaction = database.begin().wait().unwrap();
    for tree in (0..300).filter(|tree| tree % 3 > 0) {
        let tree = transaction.tree(format!("tree {tree}")).unwrap();
        transaction.drop_tree(tree).unwrap().wait().unwrap();
    }
    transaction.commit().wait().unwrap();
    let compacted = database.compact().wait().unwrap();
    assert!(compacted.pages < compacted.pages_before / 2, "{compacted:?}");
    let snapshot = database.snapshot();
    assert_eq!(snapshot.trees().count(), 101);
    for tree in (0..300).step_by(3) {
        let tree = snapshot.tree(format!("tree {tree}")).unwrap();
        for number in 0..60 {
            let found = snapshot.get(tree, key(number)).wait().unwrap();
            assert_eq!(found.as_deref(), Some(&value(number)[..]));
        }
    }
    let report = snapshot.check(|_| {}).unwrap().wait().unwrap();
    assert_eq!(report.damages, []);
}
