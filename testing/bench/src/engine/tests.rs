//! Each engine keeps what the trait says.

use std::path::Path;

use super::*;
use crate::entries::{self, key};

const VALUE_LEN: usize = 150;

fn value(number: u64, edition: u64) -> [u8; VALUE_LEN] {
    entries::value(number, edition)
}

/// What an engine does with a few entries: all that the trait has.
fn keeps<E: Engine>(durability: Durability) -> Result<(), Failure> {
    let place = tempfile::tempdir()?;
    let cache_bytes = 16 << 20;
    let settings = Settings { cache_bytes, durability, ..Settings::durable(VALUE_LEN) };
    for sorted in [false, true] {
        let directory = place.path().join(sorted.to_string());
        std::fs::create_dir(&directory)?;
        loads_and_changes::<E>(&directory, &settings, sorted)?;
    }
    Ok(())
}

fn loads_and_changes<E: Engine>(
    directory: &Path,
    settings: &Settings,
    sorted: bool,
) -> Result<(), Failure> {
    let mut numbers: Vec<u64> = (0..1_000).collect();
    if sorted {
        numbers.sort_by_key(|number| key(*number));
    }
    let engine = E::open(directory, settings)?;
    let mut session = engine.session()?;
    session.load(sorted, numbers.iter().map(|number| (key(*number), value(*number, 0))))?;
    session.put(&key(3), &value(3, 1))?;
    session.write(|writer| {
        assert_eq!(writer.get(&key(4), <[u8]>::to_vec)?, Some(value(4, 0).to_vec()));
        writer.put(&key(1_000), &value(1_000, 1))?;
        writer.delete(&key(5))
    })?;
    let entries = || (100..200).map(|number| (key(number), value(number, 1)));
    if !session.put_many(entries(), 16)? {
        entries().try_for_each(|(key, value)| session.put(&key, &value))?;
    }
    session.put_all((2_000..2_100).map(|number| (key(number), value(number, 1))))?;
    session.delete_all((2_000..2_100).map(key))?;
    drop(session);
    engine.close()?;
    let mut engine = E::open(directory, settings)?;
    finds::<E>(&engine)?;
    engine.compact()?;
    engine.close()?;
    let engine = E::open(directory, settings)?;
    finds::<E>(&engine)?;
    engine.close()
}

fn finds<E: Engine>(engine: &E) -> Result<(), Failure> {
    let mut session = engine.session()?;
    let edition = |number: u64, found: &[u8]| entries::verify::<VALUE_LEN>(number, found);
    for (number, expected) in
        [(3, Some(1)), (4, Some(0)), (5, None), (150, Some(1)), (1_000, Some(1))]
    {
        assert_eq!(session.get(&key(number), |found| edition(number, found))?, expected);
    }
    session.read(|reader| {
        let mut seen = Vec::new();
        reader.get_many(&[3, 4, 5, 6].map(key), 2, |index, found| {
            seen.push((index, edition(index as u64 + 3, found)));
        })?;
        seen.sort_unstable();
        assert_eq!(seen, [(0, 1), (1, 0), (3, 0)]);
        let mut all: Vec<u64> = (0..=1_000).filter(|number| *number != 5).collect();
        all.sort_by_key(|number| key(*number));
        for (first, count) in [(0_usize, usize::MAX), (500, 10), (995, 10)] {
            let expected = &all[first..all.len().min(first.saturating_add(count))];
            let mut left = expected.iter();
            let first = key(expected[0]);
            let from = if count == usize::MAX { &[][..] } else { &first };
            let seen = reader.range(from, count, |found, value| {
                let number = *left.next().expect("as many as there are");
                assert_eq!(found, key(number));
                edition(number, value);
            })?;
            assert_eq!(seen, expected.len());
        }
        Ok(())
    })
}

macro_rules! each_keeps_what_it_is_given {
    ($($(#[$feature:meta])? $name:ident => $engine:ty;)*) => {$(
        $(#[$feature])?
        #[test]
        fn $name() -> Result<(), Failure> {
            keeps::<$engine>(Durability::Durable)?;
            keeps::<$engine>(Durability::Relaxed)
        }
    )*};
}

each_keeps_what_it_is_given! {
    yieldb_wait => yieldb::Yieldb<yieldb::Wait>;
    yieldb_step => yieldb::Yieldb<yieldb::Step>;
    yieldb_await => yieldb::Yieldb<yieldb::Await>;
    yieldb_pread => yieldb::Yieldb<yieldb::Pread>;
    #[cfg(feature = "redb")]
    redb_ => redb::Redb;
    #[cfg(feature = "lmdb")]
    lmdb_ => lmdb::Lmdb;
    #[cfg(feature = "sqlite")]
    sqlite_ => sqlite::Sqlite;
    #[cfg(feature = "fjall")]
    fjall_ => fjall::Fjall;
    #[cfg(feature = "sled")]
    sled_ => sled::Sled;
    #[cfg(feature = "rocksdb")]
    rocksdb_ => rocksdb::Rocksdb;
}
