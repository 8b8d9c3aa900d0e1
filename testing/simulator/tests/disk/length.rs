//! A log whose length is known to the operating system alone.

use simulator::computer::{Computer, ComputerSettings, FaultKind, FaultRates};
use simulator::disk::{Choice, Disk};
use simulator::random::Random;
use yieldb::{Create, Database, DriverMode, LogLimits, MAIN, Options};

fn open(computer: &Computer, max_len: u64) -> yieldb::Result<Database> {
    let options = Options::new().backend(computer.backend()).driver(DriverMode::Manual);
    let limits = LogLimits { first_len: 28 << 10, max_len };
    let options = options.cache_bytes(1 << 20).create(Create::IfMissing).log(Some(limits));
    options.open("data.db").wait()
}

fn put(database: &Database, key: u32) -> yieldb::Result<()> {
    let mut transaction = database.begin().wait()?;
    transaction.put(MAIN, key.to_be_bytes(), vec![key as u8; 100]).wait()?;
    transaction.commit().wait().map(|_version| ())
}

fn settings(seed: u64) -> ComputerSettings {
    ComputerSettings { seed, ..ComputerSettings::default() }
}

/// A sync of zeros behind the log's end fails, the process is killed, another one goes on, and the
/// power is cut.
#[test]
fn a_log_that_could_not_be_made_longer_is_found_again() {
    for seed in 1..60 {
        let computer = Computer::start(Disk::new(), settings(seed));
        let database = open(&computer, 28 << 10).unwrap();
        (0..3).for_each(|key| put(&database, key).unwrap());
        computer.halt();
        drop(database);
        let (disk, _) = computer.crash_power(&mut Choice::Nothing);

        let computer = Computer::start(disk, settings(seed));
        let database = open(&computer, 40 << 10).unwrap();
        computer.set_faults(FaultRates::none().with(FaultKind::SyncErrorDropped, 1));
        assert!(database.checkpoint().wait().is_err());
        let killed = computer.crash_kill(&mut Random::new(seed));
        computer.halt();
        drop(database);

        let computer = Computer::start(killed, settings(seed));
        let database = open(&computer, 40 << 10).unwrap();
        for key in 3..14 {
            put(&database, key).unwrap();
            let (cut, _) = computer.crash_power(&mut Choice::Nothing);
            let next = Computer::start(cut, settings(seed));
            let found = open(&next, 40 << 10);
            let found = found.unwrap_or_else(|error| panic!("seed {seed}, key {key}: {error}"));
            let snapshot = found.snapshot();
            let last = snapshot.get(MAIN, key.to_be_bytes()).wait().unwrap();
            assert!(last.is_some(), "seed {seed}: {key} is lost");
        }
    }
}
