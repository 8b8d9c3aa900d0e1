//! Several databases in one cache, on one back-end.

use std::ops::Range;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rstest::rstest;
use yieldb::{
    Backend, Batch, Cache, Choice, Database, Error, ErrorKind, KeyRange, MAIN, MemoryDisk, Options,
};

const COUNT: u64 = 4_000;

fn key(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

fn value(number: u64, database: u64) -> [u8; 100] {
    let mut value = [database as u8; 100];
    value[..8].copy_from_slice(&number.to_be_bytes());
    value
}

fn write(database: &Database, numbers: Range<u64>, id: u64) {
    let mut transaction = database.begin().wait().unwrap();
    for number in numbers {
        transaction.put(MAIN, key(number), value(number, id)).wait().unwrap();
    }
    transaction.commit().wait().unwrap();
}

fn read(database: &Database, id: u64) {
    let snapshot = database.snapshot();
    for number in (0..COUNT).rev() {
        let found = snapshot.get(MAIN, key(number)).wait().unwrap();
        assert_eq!(found.as_deref(), Some(&value(number, id)[..]));
    }
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    let mut count = 0;
    while let Some(entry) = cursor.next().wait().unwrap() {
        assert_eq!(entry.value()[99], id as u8);
        count += 1;
    }
    assert_eq!(count, COUNT);
}

async fn read_awaited(database: &Database, id: u64) {
    let snapshot = database.snapshot();
    for number in 0..COUNT {
        let found = snapshot.get(MAIN, key(number)).await.unwrap();
        assert_eq!(found.as_deref(), Some(&value(number, id)[..]));
    }
}

/// Opens a database. Another thread that drove for it may have a hand on the file for a moment
/// longer than its last user.
fn open(options: &Options, path: &Path) -> Database {
    loop {
        match options.clone().open(path).wait() {
            Err(error) if error.kind() == ErrorKind::Locked => thread::yield_now(),
            other => return other.unwrap(),
        }
    }
}

/// Both forms of the memory back-end, and the real ones.
fn back_ends() -> Vec<Backend> {
    let disk = MemoryDisk::new();
    let choices = [Choice::Auto, Choice::Pread];
    let mut back_ends = vec![disk.immediate(), disk.yielding(5)];
    back_ends.extend(choices.map(|choice| yieldb_io_backends::open(choice).unwrap()));
    back_ends
}

#[test]
fn two_databases_share_a_cache_and_a_back_end() {
    for backend in back_ends() {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        // Less than each of both has.
        let cache = Cache::new(160 * 4096, 4096).unwrap();
        let open = |name: &str| {
            let options = Options::new().cache(&cache).backend(backend.clone());
            open(&options, &directory.path().join(name))
        };
        let (first, second) = (open("first"), open("second"));
        thread::scope(|scope| {
            scope.spawn(|| write(&first, 0..COUNT, 1));
            scope.spawn(|| write(&second, 0..COUNT, 2));
        });
        thread::scope(|scope| {
            scope.spawn(|| read(&first, 1));
            scope.spawn(|| read(&second, 2));
            scope.spawn(|| smol::block_on(read_awaited(&first, 1)));
            scope.spawn(|| smol::block_on(read_awaited(&second, 2)));
        });
        let both = cache.stats();
        assert!(both.evictions > 0 && both.memory_bytes <= both.limit_bytes, "{both:?}");
        assert_eq!((both.pins, both.in_flight, both.dirty), (0, 0, 0));
        first.close().wait().unwrap();
        let snapshot = second.snapshot();
        assert_eq!(snapshot.get(MAIN, key(7)).wait().unwrap().as_deref(), Some(&value(7, 2)[..]));
        drop(snapshot);
        read(&second, 2);
        second.close().wait().unwrap();
        while cache.stats().used > 0 {
            thread::yield_now();
        }
        let none = cache.stats();
        assert_eq!((none.resident, none.used, none.table_bytes), (0, 0, 0), "{none:?}");
        let again = open("first");
        read(&again, 1);
    }
}

#[test]
fn a_database_that_closes_gives_its_frames_back() {
    let cache = Cache::new(1_000 * 4096, 4096).unwrap();
    let disk = MemoryDisk::new();
    let open = |name: &str| {
        Options::new().cache(&cache).backend(disk.immediate()).open(name).wait().unwrap()
    };
    let (first, second) = (open("first"), open("second"));
    write(&first, 0..COUNT, 1);
    let of_first = cache.stats().resident;
    write(&second, 0..COUNT, 2);
    let of_both = cache.stats().resident;
    assert!(of_first > 50 && of_both > of_first + 50);
    // A transaction under way goes with its database.
    let mut transaction = first.begin().wait().unwrap();
    transaction.put(MAIN, "more", "of it").wait().unwrap();
    drop((transaction, first));
    let left = cache.stats();
    assert_eq!(left.resident, of_both - of_first);
    assert_eq!(left.used, left.resident);
    let reads = left.reads;
    read(&second, 2);
    assert_eq!(cache.stats().reads, reads, "what the other one has in memory stays there");
}

#[test]
fn a_snapshot_keeps_its_database_and_its_page() {
    let cache = Cache::new(1_000 * 4096, 4096).unwrap();
    let disk = MemoryDisk::new();
    let options = Options::new().cache(&cache).backend(disk.immediate());
    let database = options.clone().open("first").wait().unwrap();
    write(&database, 0..COUNT, 1);
    let snapshot = database.snapshot();
    drop(database);
    assert!(
        options
            .clone()
            .open("first")
            .wait()
            .is_err_and(|error| { error.kind() == ErrorKind::Locked })
    );
    let found = snapshot.get(MAIN, key(3)).wait().unwrap();
    assert_eq!(cache.stats().pins, 1);
    drop(found);
    drop(snapshot);
    assert_eq!(cache.stats().used, 0);
    assert!(options.open("first").wait().is_ok());
}

#[test]
fn what_does_not_fit_a_cache_is_a_usage_error() {
    let disk = MemoryDisk::new();
    let cache = Cache::new(130 * 8192, 8192).unwrap();
    let options = Options::new().cache(&cache).backend(disk.immediate());
    // Two at most, and of its page size; a file of another is not even created.
    let refused = options.clone().open("first").wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    assert!(refused.to_string().contains("8192") && refused.to_string().contains("4096"));
    assert_eq!(disk.image("first"), None);
    let options = options.page_size(8192);
    let both = ["first", "second"].map(|name| options.clone().open(name).wait().unwrap());
    let refused = options.clone().open("third").wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage, "{refused}");
    drop(both);
    assert!(options.open("third").wait().is_ok());
    assert!(matches!(Cache::new(1 << 20, 5_000), Err(Error::PageSize { bytes: 5_000 })));
    let small = Cache::new(63 * 4096, 4096).unwrap_err();
    assert_eq!(small.kind(), ErrorKind::Usage);
}

#[test]
fn everything_is_counted() {
    let disk = MemoryDisk::new();
    let options = Options::new().backend(disk.immediate()).cache_bytes(8 << 20);
    let database = options.open("file").wait().unwrap();
    write(&database, 0..COUNT, 1);
    let before = database.cache_stats();
    assert_eq!(before.pages_written, before.resident as u64, "nothing else has come there");
    let (snapshot, depth) = (database.snapshot(), database.snapshot().depth(MAIN).unwrap() as u64);
    for number in 0..1_000 {
        assert!(snapshot.get(MAIN, key(number)).wait().unwrap().is_some());
    }
    let after = database.cache_stats();
    assert_eq!(after.hits - before.hits, 1_000 * depth, "a page for each level");
    assert_eq!((after.misses, after.reads), (before.misses, before.reads));
    let pinned = snapshot.get(MAIN, key(1)).wait().unwrap();
    assert_eq!(database.cache_stats().pins, 1);
    drop(pinned);
    drop((snapshot, database));
    let options = Options::new().backend(disk.immediate()).cache_bytes(8 << 20);
    let database = options.open("file").wait().unwrap();
    read(&database, 1);
    let cold = database.cache_stats();
    assert_eq!(cold.misses, cold.reads);
    assert_eq!(cold.bytes_read, cold.reads * 4096);
    assert_eq!((cold.pages_written, cold.evictions), (0, 0));
}

async fn write_one(database: &Database, number: u64) {
    let mut batch = Batch::new();
    batch.put(MAIN, key(number), value(number, 0));
    database.write(&batch).await.unwrap();
}

/// Who drives the back-end finishes the writes of all logs, and may be of another database than the
/// one that goes on with that, whose own threads are asleep.
#[rstest]
fn commits_of_one_are_acknowledged_whoever_drives(
    #[values(Choice::Auto, Choice::Pread)] choice: Choice,
    #[values(false, true)] is_awaited: bool,
) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = Options::new().backend(yieldb::open_backend(choice).unwrap());
    let options = options.patience(Duration::ZERO);
    let open = |name| options.clone().open(directory.path().join(name)).wait().unwrap();
    let (idle, database) = (open("idle.db"), open("some.db"));
    // Its threads drive from now on.
    smol::block_on(write_one(&idle, 0));
    let (sender, is_over) = mpsc::channel();
    thread::spawn(move || {
        for number in 0..500 {
            if is_awaited {
                smol::block_on(write_one(&database, number));
            } else {
                write(&database, number..number + 1, 0);
            }
        }
        sender.send(()).unwrap();
    });
    is_over.recv_timeout(Duration::from_secs(60)).expect("one sleeps for ever");
}
