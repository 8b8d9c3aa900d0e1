//! The three ways to drive an operation, over every back-end.

use std::cell::Cell;
use std::time::Duration;

use tempfile::TempDir;
use yieldb::{
    Choice, Completion, Create, Database, DriverMode, ErrorKind, IOResult, KeyRange, MAIN,
    MemoryDisk, Options,
};

/// A way to open databases, by name.
struct Place {
    directory: TempDir,
    options: Options,
}

fn places() -> Vec<(&'static str, Place)> {
    let place = |options| Place { directory: tempfile::tempdir().unwrap(), options };
    vec![
        ("uring", place(Options::new().io(Choice::Auto))),
        ("pread", place(Options::new().io(Choice::Pread))),
        ("memory", place(Options::new().backend(MemoryDisk::new().immediate()))),
        ("yielding", place(Options::new().backend(MemoryDisk::new().yielding(7)))),
    ]
}

impl Place {
    fn options(&self) -> Options {
        self.options.clone().cache_bytes(Options::min_cache_bytes(4096))
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("some.db")
    }
}

fn key(number: u32) -> Vec<u8> {
    format!("key {:06}", number * 7919 % 1_000_000).into_bytes()
}

#[test]
fn what_was_committed_is_read_by_waiting() {
    for (name, place) in places() {
        let database = place.options().open(place.path()).wait().unwrap();
        let mut transaction = database.begin().wait().unwrap();
        for number in 0..5_000 {
            assert!(
                !transaction.put(MAIN, key(number), number.to_le_bytes()).wait().unwrap(),
                "{name}"
            );
        }
        assert_eq!(transaction.commit().wait().unwrap(), 1);
        let snapshot = database.snapshot();
        for number in (0..5_000).step_by(7) {
            let value = snapshot.get(MAIN, key(number)).wait().unwrap();
            assert_eq!(value.as_deref(), Some(&number.to_le_bytes()[..]), "{name}");
        }
        drop((snapshot, database));
        let database = place.options().open(place.path()).wait().unwrap();
        assert_eq!(database.snapshot().count(MAIN).unwrap(), 5_000);
        let report = database.snapshot().check(|_| {}).unwrap().wait().unwrap();
        assert_eq!(report.damages, []);
    }
}

#[test]
fn what_was_committed_is_read_by_stepping() {
    for (name, place) in places() {
        let options = place.options().driver(DriverMode::Manual);
        let mut open = options.open(place.path());
        // Before there is a database, its operation is what can be driven: by waiting.
        let database = match open.step().unwrap() {
            IOResult::Done(database) => database,
            IOResult::IO(_) => open.wait().unwrap(),
        };
        let drive = |result: &mut dyn FnMut() -> bool| {
            while !result() {
                database.turn();
            }
        };
        let mut begin = database.begin();
        let mut transaction = None;
        drive(&mut || match begin.step().unwrap() {
            IOResult::Done(begun) => transaction.insert(begun).count(MAIN).unwrap() == 0,
            IOResult::IO(_) => false,
        });
        let mut transaction = transaction.unwrap();
        for number in 0..1_000 {
            let mut put = transaction.put(MAIN, key(number), number.to_le_bytes());
            drive(&mut || put.step().unwrap().is_done());
        }
        let mut commit = transaction.commit();
        drive(&mut || commit.step().unwrap().is_done());
        let snapshot = database.snapshot();
        let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
        let mut count = 0;
        loop {
            let mut next = cursor.next();
            let mut found = false;
            drive(&mut || match next.step().unwrap() {
                IOResult::Done(entry) => {
                    found = entry.is_some();
                    true
                }
                IOResult::IO(_) => false,
            });
            if !found {
                break;
            }
            count += 1;
        }
        assert_eq!(count, 1_000, "{name}");
    }
}

async fn work(database: Database, from: u32) {
    let mut transaction = database.begin().await.unwrap();
    for number in from..from + 200 {
        transaction.put(MAIN, key(number), number.to_le_bytes()).await.unwrap();
    }
    transaction.commit().await.unwrap();
    let snapshot = database.snapshot();
    for number in from..from + 200 {
        let value = snapshot.get(MAIN, key(number)).await.unwrap();
        assert_eq!(value.as_deref(), Some(&number.to_le_bytes()[..]));
    }
}

#[test]
fn many_tasks_of_one_thread_take_turns() {
    for (name, place) in places() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let database = place.options().open(place.path()).await.unwrap();
            let tasks: Vec<_> =
                (0..10).map(|task| tokio::spawn(work(database.clone(), task * 200))).collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(database.snapshot().count(MAIN).unwrap(), 2_000, "{name}");
        });
    }
}

#[test]
fn tasks_and_threads_share_a_database() {
    for (name, place) in places() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let database = runtime.block_on(place.options().open(place.path())).unwrap();
        let tasks: Vec<_> =
            (0..4).map(|task| runtime.spawn(work(database.clone(), task * 200))).collect();
        std::thread::scope(|scope| {
            for thread in 4..8 {
                let database = database.clone();
                scope.spawn(move || {
                    let mut transaction = database.begin().wait().unwrap();
                    for number in thread * 200..thread * 200 + 200 {
                        transaction.put(MAIN, key(number), number.to_le_bytes()).wait().unwrap();
                    }
                    transaction.commit().wait().unwrap();
                });
            }
        });
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        assert_eq!(database.snapshot().count(MAIN).unwrap(), 1_600, "{name}");
    }
}

#[test]
fn an_operation_that_is_given_up_leaves_a_usable_database() {
    for (name, place) in places() {
        let database = place.options().open(place.path()).wait().unwrap();
        let mut transaction = database.begin().wait().unwrap();
        for number in 0..3_000 {
            transaction.put(MAIN, key(number), [0; 100]).wait().unwrap();
        }
        let mut commit = transaction.commit();
        let _first = commit.step().unwrap();
        drop(commit);
        // The commit goes on; the next turn comes when it is over.
        let transaction = database.begin().wait().unwrap();
        let waiting = database.begin();
        drop(waiting);
        assert!(database.try_begin().unwrap().is_none());
        drop(transaction);
        assert_eq!(database.snapshot().count(MAIN).unwrap(), 3_000, "{name}");
        assert!(database.try_begin().unwrap().is_some());
        for number in 0..3_000 {
            let snapshot = database.snapshot();
            let mut get = snapshot.get(MAIN, key(number));
            let _maybe_waiting = get.step().unwrap();
        }
        let report = database.snapshot().check(|_| {}).unwrap().wait().unwrap();
        assert_eq!(report.damages, []);
    }
}

#[test]
fn a_second_writer_is_kept_out_and_readers_share() {
    for (name, place) in places() {
        let database = place.options().open(place.path()).wait().unwrap();
        let second = place.options().open(place.path()).wait();
        assert_eq!(second.unwrap_err().kind(), yieldb::ErrorKind::Locked, "{name}");
        drop(database);
        let reading = || place.options().read_only(true).open(place.path()).wait();
        let (one, two) = (reading().unwrap(), reading().unwrap());
        assert!(place.options().open(place.path()).wait().is_err());
        assert_eq!(one.begin().wait().unwrap_err().kind(), yieldb::ErrorKind::Usage);
        drop((one, two));
        assert!(place.options().create(Create::New).open(place.path()).wait().is_err());
        place.options().open(place.path()).wait().unwrap();
    }
}

#[test]
fn the_file_is_kept_until_the_last_snapshot_is_dropped() {
    for (name, place) in places() {
        let database = place.options().open(place.path()).wait().unwrap();
        let snapshot = database.snapshot();
        let copy = snapshot.clone();
        drop((database, snapshot));
        let second = place.options().open(place.path()).wait();
        assert_eq!(second.unwrap_err().kind(), yieldb::ErrorKind::Locked, "{name}");
        drop(copy);
        place.options().open(place.path()).wait().unwrap();
    }
}

#[test]
fn nothing_that_is_spawned_needs_the_thread_it_was_made_on() {
    fn is_send<T: Send + 'static>(value: T) -> T {
        value
    }
    let place = Place { directory: tempfile::tempdir().unwrap(), options: Options::new() };
    let database = is_send(place.options().open(place.path())).wait().unwrap();
    let transaction = is_send(is_send(database.begin()).wait().unwrap());
    drop(is_send(transaction.commit()));
    drop(is_send(work(database.clone(), 0)));
    drop(is_send(database.snapshot()));
    std::thread::sleep(Duration::from_millis(1));
}

#[test]
fn a_thread_does_not_wait_for_itself() {
    for (name, place) in places() {
        let database = place.options().open(place.path()).wait().unwrap();
        let mut transaction = database.begin().wait().unwrap();
        let error = database.begin().wait().unwrap_err();
        assert!(error.to_string().contains("would wait for itself"), "{name}: {error}");
        assert_eq!(error.kind(), ErrorKind::Usage);
        // Elsewhere the turn is waited for, and it comes.
        std::thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::channel();
            let other = database.clone();
            scope.spawn(move || {
                let mut begin = other.begin();
                assert!(!begin.step().unwrap().is_done(), "{name}");
                sender.send(()).unwrap();
                begin.wait().unwrap().commit().wait().unwrap();
            });
            receiver.recv().unwrap();
            transaction.put(MAIN, "a", "b").wait().unwrap();
            transaction.commit().wait().unwrap();
        });
        // Another thread may take a transaction over.
        let mut transaction = database.begin().wait().unwrap();
        std::thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::channel();
            scope.spawn(move || {
                transaction.put(MAIN, "c", "d").wait().unwrap();
                sender.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(20));
                transaction.commit().wait().unwrap();
            });
            receiver.recv().unwrap();
            database.begin().wait().unwrap();
        });
        database.close().wait().unwrap();
    }
}

#[test]
fn closing_waits_for_the_commit_that_nobody_waits_for() {
    for (name, place) in places() {
        let database = place.options().open(place.path()).wait().unwrap();
        let mut transaction = database.begin().wait().unwrap();
        transaction.put(MAIN, "key", "value").wait().unwrap();
        let mut commit = transaction.commit();
        let _handed_over = commit.step().unwrap();
        drop(commit);
        database.close().wait().unwrap();
        let database = place.options().read_only(true).open(place.path()).wait().unwrap();
        assert_eq!(database.snapshot().version(), 1, "{name}");
        database.close().wait().unwrap();
    }
}

/// A loop of one's own hands `wait_for` whatever `step` told it to wait for.
#[test]
fn an_explicit_yield_can_be_waited_for() {
    for (_, place) in places() {
        let database = place.options().open(place.path()).wait().unwrap();
        database.wait_for(&Completion::new_yield()).unwrap();
    }
}

/// A driver thread may be at the engine at the very end, and would keep the file's lock.
#[test]
fn what_was_closed_can_be_opened_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (name, place) in places() {
        for round in 0..100 {
            let database = match place.options().open(place.path()).wait() {
                Ok(database) => database,
                Err(error) => panic!("{name}, round {round}: {error}"),
            };
            runtime.block_on(async {
                let mut transaction = database.begin().await.unwrap();
                transaction.put(MAIN, "key", [round; 100]).await.unwrap();
                transaction.commit().await.unwrap();
            });
            if round % 2 == 0 {
                database.close().wait().unwrap();
            } else {
                runtime.block_on(database.close()).unwrap();
            }
        }
    }
}

/// Over a back-end that is done at once a read is over before anybody can wait for it.
#[test]
fn many_lookups_come_to_their_end_over_every_back_end() {
    for (name, place) in places() {
        let database = place.options().open(place.path()).wait().unwrap();
        let mut transaction = database.begin().wait().unwrap();
        for number in 0..5_000 {
            transaction.put(MAIN, key(number), [7; 90]).wait().unwrap();
        }
        transaction.commit().wait().unwrap();
        let snapshot = database.snapshot();
        for depth in [1, 3, 64] {
            for count in [1, 4, 100] {
                // Far apart, some of them twice, and most of them not in memory.
                let keys: Vec<Vec<u8>> =
                    (0..count).map(|number| key(number * 3_571 % 5_000 / 2 * 2)).collect();
                let mut lookups = snapshot.multi_get(MAIN, &keys, depth);
                let mut found = 0;
                while let Some(lookup) = lookups.next().wait().unwrap() {
                    assert_eq!(lookup.value.unwrap().as_deref(), Some(&[7; 90][..]), "{name}");
                    found += 1;
                }
                assert_eq!(found, count, "{name}");
            }
        }
    }
}

/// Whatever is found, keys are taken as lookups are given out: the iterator may be without an end.
#[test]
fn no_more_keys_are_taken_than_there_is_room_for() {
    for (name, place) in places() {
        let database = place.options().open(place.path()).wait().unwrap();
        let mut transaction = database.begin().wait().unwrap();
        for number in 0..300 {
            // A third has small values, one none, and one large ones.
            match number / 100 {
                0 => transaction.put(MAIN, key(number), [7; 90]).wait().map(drop).unwrap(),
                1 => {}
                _ => transaction.put(MAIN, key(number), [8; 5_000]).wait().map(drop).unwrap(),
            }
        }
        transaction.commit().wait().unwrap();
        let snapshot = database.snapshot();
        for depth in [1, 4, 64] {
            for found in [0..100, 100..200, 200..300, 0..300] {
                let (taken, given) = (Cell::new(0), Cell::new(0));
                let keys = found.cycle().map(|number| {
                    taken.set(taken.get() + 1);
                    let held = taken.get() - given.get();
                    assert!(held <= depth + 16, "{name}: {held} with {depth} in flight");
                    key(number)
                });
                let mut lookups = snapshot.multi_get(MAIN, keys, depth);
                for _ in 0..150 {
                    let lookup = lookups.next().wait().unwrap().expect("there are more keys");
                    lookup.value.unwrap();
                    given.set(given.get() + 1);
                }
            }
        }
    }
}
