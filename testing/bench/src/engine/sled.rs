//! sled: the defaults without compression, and a cache of the size that is asked for.
//!
//! Durable: a batch, and `flush` behind it, which threads share. Relaxed: the batch alone; it is
//! flushed every half second. There are no snapshots: a reader finds whatever is the newest. A
//! writer is a batch: what it reads is not kept from others until it commits.

use std::path::Path;

use sled::{Batch, Config, Db};

use super::{Durability, Engine, Promise, Reader, Session, Settings, Writer};
use crate::Failure;
use crate::entries::Key;

/// A database.
pub struct Sled {
    database: Db,
    durability: Durability,
}

impl Engine for Sled {
    const PROMISE: Promise = Promise {
        durable: "a log, one sync (`flush`)",
        relaxed: "in memory; flushed every half second",
        lost_by_kill: "the last half second",
        lost_by_power_cut: "the last half second",
    };

    type Session<'e> = SledSession<'e>;

    fn open(directory: &Path, settings: &Settings) -> Result<Self, Failure> {
        let config = Config::new().path(directory).cache_capacity(settings.cache_bytes);
        let database = config.use_compression(false).flush_every_ms(Some(500)).open()?;
        Ok(Sled { database, durability: settings.durability })
    }

    fn session(&self) -> Result<SledSession<'_>, Failure> {
        Ok(SledSession { engine: self })
    }

    fn close(self) -> Result<(), Failure> {
        self.database.flush()?;
        Ok(())
    }
}

/// What a thread needs: nothing.
pub struct SledSession<'e> {
    engine: &'e Sled,
}

impl Session for SledSession<'_> {
    type Reader<'r> = SledReader<'r>;
    type Writer<'w> = SledWriter<'w>;

    fn read<T>(
        &mut self,
        work: impl FnOnce(&mut SledReader<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        work(&mut SledReader { database: &self.engine.database })
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut SledWriter<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Sled { database, durability } = self.engine;
        let mut writer = SledWriter { database, batch: Batch::default() };
        let done = work(&mut writer)?;
        database.apply_batch(writer.batch)?;
        if *durability == Durability::Durable {
            database.flush()?;
        }
        Ok(done)
    }

    fn load<V: AsRef<[u8]>>(
        &mut self,
        _sorted: bool,
        entries: impl Iterator<Item = (Key, V)>,
    ) -> Result<(), Failure> {
        self.write(|writer| {
            for (key, value) in entries {
                writer.put(&key, value.as_ref())?;
            }
            Ok(())
        })?;
        self.engine.database.flush()?;
        Ok(())
    }
}

/// The database itself.
pub struct SledReader<'r> {
    database: &'r Db,
}

impl Reader for SledReader<'_> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.database.get(key)?.map(|value| found(&value)))
    }

    fn range(
        &mut self,
        from: &[u8],
        count: usize,
        mut entry: impl FnMut(&[u8], &[u8]),
    ) -> Result<usize, Failure> {
        let mut seen = 0;
        for found in self.database.range(from..).take(count) {
            let (key, value) = found?;
            entry(&key, &value);
            seen += 1;
        }
        Ok(seen)
    }
}

/// A batch.
pub struct SledWriter<'w> {
    database: &'w Db,
    batch: Batch,
}

impl Writer for SledWriter<'_> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.database.get(key)?.map(|value| found(&value)))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.batch.insert(key, value);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), Failure> {
        self.batch.remove(key);
        Ok(())
    }
}
