//! fjall: the defaults without compression, and a block cache of the size that is asked for.
//!
//! Durable: a batch that ends with `PersistMode::SyncData`. Relaxed: with `Buffer`, in the kernel's
//! cache. A writer is a batch: what it reads is not kept from others until it commits.

use std::path::Path;

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
};

use super::{Durability, Engine, Promise, Reader, Session, Settings, Writer};
use crate::Failure;
use crate::entries::Key;

/// A database, and its one keyspace.
pub struct Fjall {
    database: Database,
    entries: Keyspace,
    mode: PersistMode,
}

impl Engine for Fjall {
    const PROMISE: Promise = Promise {
        durable: "a journal, one sync",
        relaxed: "in the kernel's cache (`PersistMode::Buffer`)",
        lost_by_kill: "nothing",
        lost_by_power_cut: "all that the kernel has not written yet",
    };

    type Session<'e> = FjallSession<'e>;

    fn open(directory: &Path, settings: &Settings) -> Result<Self, Failure> {
        let database = Database::builder(directory).cache_size(settings.cache_bytes).open()?;
        let entries = database.keyspace("entries", KeyspaceCreateOptions::default)?;
        let mode = match settings.durability {
            Durability::Durable => PersistMode::SyncData,
            Durability::Relaxed => PersistMode::Buffer,
        };
        Ok(Fjall { database, entries, mode })
    }

    fn session(&self) -> Result<FjallSession<'_>, Failure> {
        Ok(FjallSession { engine: self })
    }

    fn compact(&mut self) -> Result<bool, Failure> {
        self.entries.rotate_memtable_and_wait()?;
        self.entries.major_compact()?;
        Ok(true)
    }

    fn close(self) -> Result<(), Failure> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

/// What a thread needs: nothing.
pub struct FjallSession<'e> {
    engine: &'e Fjall,
}

impl FjallSession<'_> {
    fn writer(&self, mode: PersistMode) -> FjallWriter<'_> {
        let Fjall { database, entries, .. } = self.engine;
        FjallWriter { batch: database.batch().durability(Some(mode)), entries }
    }
}

impl Session for FjallSession<'_> {
    type Reader<'r> = FjallReader<'r>;
    type Writer<'w> = FjallWriter<'w>;

    fn read<T>(
        &mut self,
        work: impl FnOnce(&mut FjallReader<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Fjall { database, entries, .. } = self.engine;
        work(&mut FjallReader { snapshot: database.snapshot(), entries })
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut FjallWriter<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut writer = self.writer(self.engine.mode);
        let done = work(&mut writer)?;
        writer.batch.commit()?;
        Ok(done)
    }

    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.engine.entries.get(key)?.map(|value| found(&value)))
    }

    fn load<V: AsRef<[u8]>>(
        &mut self,
        sorted: bool,
        entries: impl Iterator<Item = (Key, V)>,
    ) -> Result<(), Failure> {
        if sorted {
            let mut load = self.engine.entries.start_ingestion()?;
            for (key, value) in entries {
                load.write(key, value.as_ref())?;
            }
            return Ok(load.finish()?);
        }
        let mut writer = self.writer(PersistMode::SyncData);
        for (key, value) in entries {
            writer.put(&key, value.as_ref())?;
        }
        Ok(writer.batch.commit()?)
    }
}

/// A snapshot.
pub struct FjallReader<'r> {
    snapshot: Snapshot,
    entries: &'r Keyspace,
}

impl Reader for FjallReader<'_> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.snapshot.get(self.entries, key)?.map(|value| found(&value)))
    }

    fn range(
        &mut self,
        from: &[u8],
        count: usize,
        mut entry: impl FnMut(&[u8], &[u8]),
    ) -> Result<usize, Failure> {
        let mut seen = 0;
        for found in self.snapshot.range(self.entries, from..).take(count) {
            let (key, value) = found.into_inner()?;
            entry(&key, &value);
            seen += 1;
        }
        Ok(seen)
    }
}

/// A batch.
pub struct FjallWriter<'w> {
    batch: OwnedWriteBatch,
    entries: &'w Keyspace,
}

impl Writer for FjallWriter<'_> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.entries.get(key)?.map(|value| found(&value)))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.batch.insert(self.entries, key, value);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), Failure> {
        self.batch.remove(self.entries, key);
        Ok(())
    }
}
