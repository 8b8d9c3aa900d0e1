//! A log whose length is known to the operating system alone.

use simulator::computer::{Computer, ComputerSettings, FaultKind, FaultRates};
use simulator::disk::{Choice, Disk};
use simulator::random::Random;
use yieldb::{Create, Database, DriverMode, LogLimits, MAIN, Options};
use yieldb_core::injection::{Mistake, plant};

fn open(computer: &Computer, max_len: u64) -> yieldb::Result<Database> {
    let options = Options::new().backend(computer.backend()).driver(DriverMode::Manual);
    let limits = LogLimits { first_len: 28 << 10, max_len };
    let options = options.cache_bytes(1 << 20).create(Create::IfMissing).log(Some(limits));
    options.open("data.db").wait()
}

fn put(database: &Database, key: u32) -> yieldb::Result<()> {
    put_long(database, key, 100)
}

fn put_long(database: &Database, key: u32, len: usize) -> yieldb::Result<()> {
    let mut transaction = database.begin().wait()?;
    transaction.put(MAIN, key.to_be_bytes(), vec![key as u8; len]).wait()?;
    transaction.commit().wait().map(|_version| ())
}

fn settings(seed: u64) -> ComputerSettings {
    ComputerSettings { seed, ..ComputerSettings::default() }
}

/// A sync of zeros behind the log's end fails, the process is killed, another one goes on, and the
/// power is cut. Is everything found again that was acknowledged?
fn is_found_again(seed: u64) -> bool {
    let computer = Computer::start(Disk::new(), settings(seed));
    let database = open(&computer, 28 << 10).unwrap();
    (0..3).for_each(|key| put(&database, key).unwrap());
    computer.halt();
    drop(database);
    let (disk, _) = computer.crash_power(&mut Choice::Nothing);

    let computer = Computer::start(disk, settings(seed));
    let database = open(&computer, 40 << 10).unwrap();
    put(&database, 1).unwrap();
    computer.set_faults(FaultRates::none().with(FaultKind::SyncErrorDropped, 1));
    // The log is too short for it, and is made longer.
    assert!(put_long(&database, 0, 6_000).is_err());
    let killed = computer.crash_kill(&mut Random::new(seed));
    computer.halt();
    drop(database);

    let computer = Computer::start(killed, settings(seed));
    let database = open(&computer, 40 << 10).unwrap();
    (3..14).all(|key: u32| {
        put(&database, key).unwrap();
        let (cut, _) = computer.crash_power(&mut Choice::Nothing);
        let next = Computer::start(cut, settings(seed));
        open(&next, 40 << 10).is_ok_and(|found| {
            let snapshot = found.snapshot();
            snapshot.get(MAIN, key.to_be_bytes()).wait().unwrap().is_some()
        })
    })
}

#[test]
fn a_log_that_could_not_be_made_longer_is_found_again() {
    assert!((1..60).all(is_found_again));
}

#[test]
fn a_length_that_is_trusted_is_noticed() {
    assert!(!plant(Mistake::LogLengthNotRewritten, || (1..60).all(is_found_again)));
}
