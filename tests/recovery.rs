//! Opening a database says how far it is with the log.

use yieldb::{Batch, Database, IOResult, LogLimits, MAIN, MemoryDisk, Options, RecoveryProgress};

/// Options that keep all of a log, and make no checkpoint meanwhile.
fn options() -> Options {
    let limits = LogLimits { first_len: 8 << 20, max_len: 8 << 20 };
    Options::new().cache_bytes(16 << 20).log(Some(limits))
}

fn write(database: &Database, number: u32) {
    let mut batch = Batch::new();
    for part in 0..100_u32 {
        batch.put(MAIN, (number * 100 + part).to_be_bytes(), [number as u8; 100]);
    }
    database.write(&batch).wait().unwrap();
}

/// Opens the database step by step, and returns what was told meanwhile, each change once.
fn watch(options: Options, disk: &MemoryDisk) -> (Database, Vec<Option<RecoveryProgress>>) {
    let backend = disk.yielding(1);
    let mut opening = options.backend(backend.clone()).open("db");
    let recovery = opening.recovery();
    let mut told = vec![recovery.progress()];
    loop {
        let step = opening.step().unwrap();
        told.push(recovery.progress());
        told.dedup();
        match step {
            IOResult::Done(database) => return (database, told),
            IOResult::IO(_) => {
                backend.driver.poll();
            }
        }
    }
}

#[test]
fn progress_grows_up_to_the_length_of_the_log() {
    let disk = MemoryDisk::new();
    let database = options().backend(disk.immediate()).open("db").wait().unwrap();
    (0..100).for_each(|number| write(&database, number));
    let log = database.metrics().log.unwrap();
    drop(database);
    let read_only = watch(options().read_only(true), &disk).1;
    let (database, told) = watch(options(), &disk);
    assert_eq!(read_only, told);
    assert_eq!(told[0], None);
    let told: Vec<RecoveryProgress> = told.into_iter().flatten().collect();
    assert!(told.len() > 2, "{told:?}");
    assert!(told.iter().all(|progress| progress.of == log.used), "{log:?}: {told:?}");
    assert!(told.is_sorted_by(|one, next| one.bytes < next.bytes), "{told:?}");
    assert_eq!((told[0].bytes, told[told.len() - 1].bytes), (0, log.used));
    database.close().wait().unwrap();
    let (_database, told) = watch(options(), &disk);
    assert_eq!(told, [None]);
}
