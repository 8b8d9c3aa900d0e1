//! The engine itself on the simulated computer.

use simulator::computer::{Computer, ComputerSettings, FaultKind, FaultRates, Latency};
use simulator::disk::{Choice, Disk};
use simulator::random::Random;
use yieldb::{Create, Database, DriverMode, IOResult, MAIN, Op, Options};
use yieldb_core::injection::{self, Mistake};

const FILE: &str = "data.db";

fn options(computer: &Computer) -> Options {
    let least = Options::min_cache_bytes(4096);
    let options = Options::new().backend(computer.backend()).driver(DriverMode::Manual);
    options.cache_bytes(least).create(Create::IfMissing)
}

fn open(computer: &Computer) -> yieldb::Result<Database> {
    options(computer).open(FILE).wait()
}

fn put(database: &Database, key: u32) -> yieldb::Result<()> {
    let mut transaction = database.begin().wait()?;
    transaction.put(MAIN, key.to_be_bytes(), vec![key as u8; 100]).wait()?;
    transaction.commit().wait().map(|_version| ())
}

/// How many keys there are, which must be the first ones.
fn count(database: &Database) -> u32 {
    let snapshot = database.snapshot();
    let has = |key: &u32| {
        let value = snapshot.get(MAIN, key.to_be_bytes()).wait().unwrap();
        if let Some(value) = &value {
            assert_eq!(**value, [*key as u8; 100]);
        }
        value.is_some()
    };
    let count = (0..).take_while(has).count() as u32;
    assert!(!(count..count + 20).any(|key| has(&key)), "not a prefix");
    count
}

#[test]
fn what_was_committed_is_there_after_a_kill_and_after_a_power_cut() {
    let computer = Computer::start(Disk::new(), ComputerSettings::default());
    let database = open(&computer).unwrap();
    (0..10).for_each(|key| put(&database, key).unwrap());
    assert_eq!(count(&database), 10);
    let killed = computer.crash_kill(&mut Random::new(1));
    let (cut, _) = computer.crash_power(&mut Choice::Nothing);
    computer.halt();
    drop(database);
    for disk in [killed, cut] {
        let computer = Computer::start(disk, ComputerSettings::default());
        assert_eq!(count(&open(&computer).unwrap()), 10);
    }
}

/// A crash after every attempt, then another one while the next computer recovers.
#[test]
fn a_crash_at_every_moment_leaves_a_prefix() {
    let mut random = Random::new(5);
    let settings = |seed| ComputerSettings {
        seed,
        latency: Latency::Random { max: 100_000 },
        faults: FaultRates::none(),
    };
    let computer = Computer::start(Disk::new(), settings(1));
    let database = open(&computer).unwrap();
    let mut crashes = 0;
    for acknowledged in 0..100_u32 {
        let mut begin = database.begin();
        let mut transaction = drive(&computer, &mut begin, || {});
        let mut write =
            transaction.put(MAIN, acknowledged.to_be_bytes(), [acknowledged as u8; 100]);
        drive(&computer, &mut write, || {});
        drop(write);
        let mut commit = transaction.commit();
        drive(&computer, &mut commit, || {
            crashes += 1;
            let (disk, _) = computer.crash_power(&mut Choice::Random(random.fork()));
            let next = Computer::start(disk, settings(crashes));
            let mut opening = options(&next).open(FILE);
            for _ in 0..random.below(12) {
                if let Ok(IOResult::Done(_)) = opening.step() {
                    break;
                }
                next.poll();
            }
            let (disk, _) = next.crash_power(&mut Choice::Random(random.fork()));
            next.halt();
            drop(opening);
            let last = Computer::start(disk, settings(crashes));
            let count = count(&open(&last).unwrap());
            assert!((acknowledged..=acknowledged + 1).contains(&count), "{count}");
        });
    }
    assert!(crashes >= 100, "{crashes}");
}

/// Drives an operation, and calls `between` before each attempt.
fn drive<M>(computer: &Computer, op: &mut Op<'_, M>, mut between: impl FnMut()) -> M::Output
where
    M: yieldb_core::StateTransition<Error: Into<yieldb::Error>>,
{
    loop {
        match op.step() {
            Ok(IOResult::Done(output)) => return output,
            Ok(IOResult::IO(_)) => {
                between();
                assert_eq!(computer.poll(), 1, "nothing is in flight");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed: u64, keys: u32| {
        let faults = FaultRates::none()
            .with(FaultKind::ShortWrite, 3)
            .with(FaultKind::Interrupted, 4)
            .with(FaultKind::ShortRead, 3);
        let latency = Latency::Random { max: 100_000 };
        let computer = Computer::start(Disk::new(), ComputerSettings { seed, latency, faults });
        let database = open(&computer).unwrap();
        (0..keys).for_each(|key| put(&database, key).unwrap());
        assert_eq!(count(&database), keys);
        assert!(computer.faults().total() > 5, "{:?}", computer.faults());
        (computer.trace_hash(), computer.disk().image(FILE))
    };
    assert_eq!(run(1, 8), run(1, 8));
    assert_ne!(run(1, 8).0, run(2, 8).0);
    assert_ne!(run(1, 8).0, run(1, 9).0);
}

#[test]
fn an_engine_left_behind_by_a_crash_does_nothing_more() {
    let computer = Computer::start(Disk::new(), ComputerSettings::default());
    let database = open(&computer).unwrap();
    put(&database, 0).unwrap();
    let mut transaction = database.begin().wait().unwrap();
    transaction.put(MAIN, 1_u32.to_be_bytes(), [1; 100]).wait().unwrap();
    let mut commit = transaction.commit();
    assert!(matches!(commit.step(), Ok(IOResult::IO(_))));
    assert!(computer.in_flight() > 0);
    let before = computer.disk().image(FILE);
    computer.halt();
    assert!(commit.wait().is_err());
    drop(database);
    assert_eq!(computer.in_flight(), 0);
    assert_eq!(computer.disk().image(FILE), before);
}

/// Puts an entry, and lets the engine go on behind each I/O.
fn put_in_turns(database: &Database, key: u32) -> yieldb::Result<()> {
    let mut transaction = database.begin().wait()?;
    transaction.put(MAIN, key.to_be_bytes(), vec![key as u8; 100]).wait()?;
    let mut commit = transaction.commit();
    loop {
        if let IOResult::Done(_version) = commit.step()? {
            return Ok(());
        }
        assert_eq!(database.turn(), 1, "nothing is in flight");
    }
}

/// Commits of which a page cannot be written while the space map is on its way, each with another
/// one behind it. Returns how often that one is not found again, though it was acknowledged.
fn count_overtaken() -> u64 {
    let (mut beside, mut overtaken) = (0, 0);
    for seed in 0..500 {
        let latency = Latency::Random { max: 100_000 };
        let settings = ComputerSettings { seed, latency, faults: FaultRates::none() };
        let computer = Computer::start(Disk::new(), settings);
        let database = options(&computer).log(None).open(FILE).wait().unwrap();
        (0..3).for_each(|key| put(&database, key).unwrap());
        computer.set_faults(FaultRates::none().with(FaultKind::WriteError, 2).budget(1));
        let failed = put_in_turns(&database, 3);
        computer.set_faults(FaultRates::none());
        beside += u64::from(failed.is_err() && computer.in_flight() > 0);
        if failed.is_err() && put_in_turns(&database, 3).is_ok() {
            while computer.in_flight() > 0 {
                database.turn();
            }
            let next = Computer::start(computer.disk(), settings);
            overtaken += u64::from(!open(&next).is_ok_and(|database| count(&database) == 4));
        }
        computer.halt();
    }
    assert!(beside > 50, "writes were in flight behind {beside} failures");
    overtaken
}

#[test]
fn a_commit_behind_one_that_failed_is_not_overtaken_by_its_writes() {
    assert_eq!(count_overtaken(), 0);
}

#[test]
fn a_map_that_is_given_up_and_not_awaited_is_noticed() {
    assert!(injection::plant(Mistake::AbandonedMapNotAwaited, count_overtaken) > 0);
}
