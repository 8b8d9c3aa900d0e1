//! A disk without room, and the engine on it: what waits is told, reads go on, and once there is
//! room so does everything else.

use simulator::computer::{Computer, ComputerSettings, FaultKind, FaultRates};
use simulator::disk::{Choice, Disk};
use simulator::random::Random;
use yieldb::{
    Create, Database, DriverMode, Durability, ErrorKind, KeyRange, LogLimits, MAIN, Options,
};

const FILE: &str = "data.db";
const LOG_FILE: &str = "data.db-log";

/// How long a log is at first, in bytes.
const FIRST_LEN: u64 = 64 << 10;

fn open(computer: &Computer, log: Option<u64>) -> Database {
    let limits = log.map(|max_len| LogLimits { first_len: FIRST_LEN, max_len });
    let options = Options::new().backend(computer.backend()).driver(DriverMode::Manual);
    let options = options.cache_bytes(4 << 20).log(limits);
    options.create(Create::IfMissing).open(FILE).wait().unwrap()
}

fn put_with(database: &Database, key: u32, durability: Durability) -> yieldb::Result<()> {
    let mut transaction = database.begin().wait()?;
    transaction.put(MAIN, key.to_be_bytes(), vec![key as u8; 700]).wait()?;
    transaction.commit_with(durability).wait().map(|_version| ())
}

fn put(database: &Database, key: u32) -> yieldb::Result<()> {
    put_with(database, key, Durability::Sync)
}

/// Puts entries from `first` on until one fails: its number.
fn fill(database: &Database, first: u32, durability: Durability) -> u32 {
    let mut key = first;
    let error = loop {
        match put_with(database, key, durability) {
            Ok(()) => key += 1,
            Err(error) => break error,
        }
        assert!(key < first + 10_000, "it is never full");
    };
    assert_full(&error);
    key
}

fn assert_full(error: &yieldb::Error) {
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(matches!(error.errno(), Some(libc::ENOSPC | libc::EDQUOT)), "{error}");
}

/// Asserts that the keys `first..end` are there, and no other.
fn assert_keys(database: &Database, first: u32, end: u32) {
    let snapshot = database.snapshot();
    assert_eq!(snapshot.count(MAIN).unwrap(), u64::from(end - first));
    for key in first..end {
        let value = snapshot.get(MAIN, key.to_be_bytes()).wait().unwrap();
        assert_eq!(value.as_deref(), Some(&[key as u8; 700][..]), "{key}");
    }
}

fn set_full(computer: &Computer, is_full: bool) {
    let rates = FaultRates::none();
    computer.make_room();
    computer.set_faults(if is_full { rates.with(FaultKind::NoSpaceLasting, 1) } else { rates });
}

/// A database with free pages in the middle of its file, and entries from the returned number on,
/// without a log.
fn with_free_pages(computer: &Computer) -> (Database, u32, u32) {
    let database = open(computer, None);
    let mut transaction = database.begin().wait().unwrap();
    for key in 0..400_u32 {
        transaction.put(MAIN, key.to_be_bytes(), vec![key as u8; 700]).wait().unwrap();
    }
    transaction.commit().wait().unwrap();
    let mut transaction = database.begin().wait().unwrap();
    let range = KeyRange::all().to(300_u32.to_be_bytes());
    transaction.delete_range(MAIN, range).wait().unwrap();
    transaction.commit().wait().unwrap();
    (database, 300, 400)
}

#[test]
fn commits_that_wait_for_room_are_told_and_work_again_when_there_is_some() {
    for durability in [Durability::Sync, Durability::Relaxed] {
        let computer = Computer::start(Disk::new(), ComputerSettings::default());
        let database = open(&computer, Some(FIRST_LEN));
        (0..20).for_each(|key| put(&database, key).unwrap());
        let before = database.snapshot();
        set_full(&computer, true);
        let mut count = fill(&database, 20, durability);
        assert!(count > 20, "the log had room");
        let log = database.metrics().log.unwrap();
        assert!(log.used > log.len / 3, "{log:?}");
        assert_full(&database.checkpoint().wait().unwrap_err());
        for _ in 0..3 {
            // What a failed attempt has given back may be enough for another one.
            count = fill(&database, count, durability);
            assert_keys(&database, 0, count);
            assert_eq!(before.count(MAIN).unwrap(), 20);
        }
        database.sync().wait().unwrap();

        // Nothing is lost, however it ends here.
        let killed = computer.crash_kill(&mut Random::new(1));
        let (cut, _) = computer.crash_power(&mut Choice::Nothing);
        for disk in [killed, cut] {
            let next = Computer::start(disk, ComputerSettings::default());
            assert_keys(&open(&next, Some(FIRST_LEN)), 0, count);
        }

        set_full(&computer, false);
        for _ in 0..100 {
            put_with(&database, count, durability).unwrap();
            count += 1;
        }
        assert_keys(&database, 0, count);
        drop(before);
        database.close().wait().unwrap();
        assert_eq!(computer.disk().image(LOG_FILE), None);
        assert_keys(&open(&computer, None), 0, count);
    }
}

#[test]
fn all_who_wait_for_room_are_told() {
    let computer = Computer::start(Disk::new(), ComputerSettings::default());
    let database = open(&computer, Some(FIRST_LEN));
    (0..20).for_each(|key| put(&database, key).unwrap());
    set_full(&computer, true);
    let count = fill(&database, 20, Durability::Sync);
    let mut commits: Vec<_> = (0..4)
        .map(|_| {
            let work = async {
                let mut transaction = database.begin().await?;
                transaction.put(MAIN, count.to_be_bytes(), vec![count as u8; 700]).await?;
                transaction.commit().await
            };
            Some(Box::pin(work))
        })
        .collect();
    let mut told = 0;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    while told < commits.len() {
        for commit in &mut commits {
            if let Some(work) = commit
                && let std::task::Poll::Ready(result) = work.as_mut().poll(&mut context)
            {
                assert_full(&result.unwrap_err());
                told += 1;
                *commit = None;
            }
        }
        assert!(database.turn() > 0 || told == commits.len(), "{told} were told, the others wait");
    }
    set_full(&computer, false);
    put(&database, count).unwrap();
    assert_keys(&database, 0, count + 1);
}

#[test]
fn without_room_for_a_log_commits_are_checkpoints() {
    let computer = Computer::start(Disk::new(), ComputerSettings::default());
    let (database, first, end) = with_free_pages(&computer);
    drop(database);
    let database = open(&computer, Some(FIRST_LEN));
    set_full(&computer, true);
    for key in end..end + 10 {
        put(&database, key).unwrap();
        assert!(database.metrics().log.is_none());
        // It does not keep the room that it got.
        let log = computer.disk().image(LOG_FILE);
        assert_eq!(log.map_or(0, |log| log.len()), 0);
    }
    let end = fill(&database, end + 10, Durability::Sync);
    assert_eq!(fill(&database, end, Durability::Sync), end);
    assert_keys(&database, first, end);
    set_full(&computer, false);
    put(&database, end).unwrap();
    assert!(database.metrics().log.is_some());
    put(&database, end + 1).unwrap();
    assert_keys(&database, first, end + 2);
    database.close().wait().unwrap();
}

#[test]
fn without_room_for_a_longer_log_the_short_one_does() {
    let computer = Computer::start(Disk::new(), ComputerSettings::default());
    let (database, first, mut end) = with_free_pages(&computer);
    drop(database);
    let database = open(&computer, Some(8 * FIRST_LEN));
    let log_len = || computer.disk().image(LOG_FILE).unwrap().len() as u64;
    // The second commit begins the log.
    for _ in 0..2 {
        put(&database, end).unwrap();
        end += 1;
    }
    assert_eq!(log_len(), FIRST_LEN);
    set_full(&computer, true);
    for _ in 0..20 {
        put(&database, end).unwrap();
        end += 1;
    }
    database.checkpoint().wait().unwrap();
    assert_eq!(log_len(), FIRST_LEN);
    let mut end = fill(&database, end, Durability::Sync);
    assert_eq!(log_len(), FIRST_LEN);
    set_full(&computer, false);
    for _ in 0..50 {
        put(&database, end).unwrap();
        end += 1;
    }
    database.checkpoint().wait().unwrap();
    assert!(log_len() > FIRST_LEN);
    assert_keys(&database, first, end);
    database.close().wait().unwrap();
}
