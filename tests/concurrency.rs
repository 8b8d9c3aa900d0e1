//! Many readers beside a writer, with a cache that holds a fraction of the data: pages come and go
//! under everybody's feet.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use yieldb::{Choice, Database, KeyRange, MAIN, MemoryDisk, Options, WriteTransaction};

const COUNT: u64 = 4_000;

fn key(number: u64) -> Vec<u8> {
    format!("{:03}/key {number:05}", number % 131).into_bytes()
}

/// A value says which key and which round it is of; some are long.
fn value(number: u64, round: u64) -> Vec<u8> {
    let len = if (number + round).is_multiple_of(13) { 900 } else { 60 };
    format!("{number} {round} ")
        .into_bytes()
        .into_iter()
        .chain(std::iter::repeat(b'.'))
        .take(len)
        .collect()
}

fn round_of(number: u64, found: &[u8]) -> u64 {
    let text = std::str::from_utf8(found).unwrap();
    let mut words = text.split(' ');
    assert_eq!(words.next().unwrap().parse::<u64>().unwrap(), number, "another key's value");
    words.next().unwrap().parse().unwrap()
}

/// Numbers that look random.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Every key of a snapshot is of one round, however its pages are come by: that of the version,
/// unless there are versions without changes.
fn read(database: &Database, seed: u64, is_compacted: bool, stop: &AtomicBool) -> u64 {
    let mut random = seed | 1;
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let snapshot = database.snapshot();
        let found = snapshot.get(MAIN, key(0)).wait().unwrap().expect("every key is there");
        let round = round_of(0, &found);
        assert!(round == snapshot.version() || is_compacted && round < snapshot.version());
        for _ in 0..200 {
            let number = next(&mut random) % COUNT;
            let found =
                snapshot.get(MAIN, key(number)).wait().unwrap().expect("every key is there");
            assert_eq!(round_of(number, &found), round);
            reads += 1;
        }
        if next(&mut random).is_multiple_of(8) {
            let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
            let mut count = 0;
            while let Some(entry) = cursor.next().wait().unwrap() {
                let number = std::str::from_utf8(&entry.key()[8..]).unwrap().parse().unwrap();
                assert_eq!(round_of(number, entry.value()), round);
                count += 1;
            }
            assert_eq!(count, COUNT);
        }
    }
    reads
}

fn change(database: &Database, round: u64) -> WriteTransaction {
    let mut transaction = database.begin().wait().unwrap();
    for step in 0..COUNT {
        let number = step * 1_009 % COUNT;
        if number % 5 == round % 5 {
            transaction.delete(MAIN, key(number)).wait().unwrap();
        }
        transaction.put(MAIN, key(number), value(number, round)).wait().unwrap();
    }
    transaction
}

/// One commit of every key; returns its version. Now and then the work is given up, and done again.
fn write(database: &Database, round: u64) -> u64 {
    if round.is_multiple_of(4) {
        drop(change(database, round));
    }
    change(database, round).commit().wait().unwrap()
}

/// Makes the file shorter, again and again.
fn compact(database: &Database, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        database.compact().wait().unwrap();
    }
}

fn run(choice: Choice, rounds: u64, is_compacted: bool) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = Options::new().io(choice).cache_bytes(96 * 4096);
    let database = options.open(directory.path().join("shared.db")).wait().unwrap();
    assert_eq!(write(&database, 1), 1);
    let stop = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    thread::scope(|scope| {
        for seed in 0..4 {
            let (database, stop, reads) = (&database, &stop, &reads);
            scope.spawn(move || {
                let count = read(database, seed * 77 + 5, is_compacted, stop);
                reads.fetch_add(count, Ordering::Relaxed);
            });
        }
        if is_compacted {
            scope.spawn(|| compact(&database, &stop));
        }
        let write_all = || {
            for round in 2..=rounds {
                let version = write(&database, round);
                assert!(version == round || is_compacted && version > round, "{version} {round}");
            }
        };
        let writer = scope.spawn(write_all);
        let written = writer.join();
        stop.store(true, Ordering::Relaxed);
        written.unwrap();
    });
    let report = database.snapshot().check(|_| {}).unwrap().wait().unwrap();
    assert_eq!(report.damages, []);
    let space = database.info().space;
    assert_eq!((space.held, space.pins), (0, 1));
    assert_eq!(space.used, report.pages + 2, "page numbers are lost");
    assert!(reads.load(Ordering::Relaxed) > 0);
}

#[test]
fn readers_see_one_version_each_beside_a_writer() {
    let rounds = std::env::var("ROUNDS").map_or(8, |rounds| rounds.parse().unwrap());
    run(Choice::Auto, rounds, false);
    run(Choice::Pread, rounds, false);
}

#[test]
fn readers_see_one_version_each_beside_a_writer_and_a_compaction() {
    let rounds = std::env::var("ROUNDS").map_or(8, |rounds| rounds.parse().unwrap());
    run(Choice::Auto, rounds, true);
    run(Choice::Pread, rounds, true);
}

/// Whoever has read once, and sleeps then, holds nothing: what commits replace is free, and so is
/// what a snapshot held as soon as that is dropped, wherever it was taken.
#[test]
fn threads_that_sleep_hold_no_version() {
    let database = Options::new().backend(MemoryDisk::new().immediate()).open("db").wait().unwrap();
    let replace = |round| {
        assert_eq!(write(&database, round), round);
        database.checkpoint().wait().unwrap();
    };
    let held = || {
        let space = database.info().space;
        (space.held > 0, space.pins)
    };
    replace(1);
    // More threads than can be told apart, and one that goes on reading what it has seen.
    let (sleepers, all) = (40, Barrier::new(42));
    thread::scope(|scope| {
        for _ in 0..sleepers {
            scope.spawn(|| {
                assert!(database.snapshot().get(MAIN, key(0)).wait().unwrap().is_some());
                all.wait();
                all.wait();
            });
        }
        scope.spawn(|| {
            let snapshot = database.snapshot();
            all.wait();
            all.wait();
            assert_eq!(snapshot.version(), 1);
            drop(snapshot);
            assert_eq!(held(), (false, 1), "nobody reads");
        });
        all.wait();
        assert_eq!(held(), (false, 2), "one reads the newest version");
        replace(2);
        replace(3);
        assert_eq!(held(), (true, 2), "one reads an older version, and nobody the newest");
        all.wait();
    });
    assert_eq!(held(), (false, 1), "nobody reads");
}

/// A check that began at a checkpoint goes on beside others. The space map that it compares with is
/// that checkpoint's, and as long as it looks at it no number of the map is used for a page.
#[test]
fn a_check_goes_on_while_checkpoints_are_made() {
    let disk = MemoryDisk::new();
    let database = Options::new().backend(disk.immediate()).open("db").wait().unwrap();
    write(&database, 1);
    database.checkpoint().wait().unwrap();
    let (one, other) = (database.snapshot(), database.snapshot());
    drop(one.check(|_| {}).unwrap());
    let checks = [&one, &other].map(|snapshot| snapshot.check(|_| {}).unwrap());
    for round in 2..8 {
        write(&database, round);
        database.checkpoint().wait().unwrap();
    }
    for check in checks {
        let report = check.wait().unwrap();
        assert_eq!(report.damages, []);
        assert_eq!(report.map_pages, 1, "the map is compared");
    }
    // What was held is free again.
    drop((one, other));
    database.begin().wait().unwrap();
    let report = database.snapshot().check(|_| {}).unwrap().wait().unwrap();
    let space = database.info().space;
    assert_eq!((report.damages, space.used, space.held), (vec![], report.pages + 2, 0));
}
