//! redb, as its own benchmark opens it: the defaults, and the size of the cache.
//!
//! Durable: `Durability::Immediate`, one sync for a commit. Relaxed: `Durability::None`, in memory
//! until the next durable commit.

use std::path::Path;

use redb::{
    Builder, Database, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition,
};

use super::{Durability, Engine, Promise, Reader, Session, Settings, Writer};
use crate::Failure;
use crate::entries::Key;

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

/// A database.
pub struct Redb {
    database: Database,
    durability: redb::Durability,
}

impl Engine for Redb {
    const PROMISE: Promise = Promise {
        durable: "copied pages, one sync",
        relaxed: "in memory, until a durable one (`Durability::None`)",
        lost_by_kill: "all since the last durable one",
        lost_by_power_cut: "all since the last durable one",
    };

    type Session<'e> = RedbSession<'e>;

    fn open(directory: &Path, settings: &Settings) -> Result<Self, Failure> {
        let mut builder = Builder::new();
        builder.set_cache_size(usize::try_from(settings.cache_bytes)?);
        let database = builder.create(directory.join("bench.redb"))?;
        // Whoever reads first has to find a table.
        let transaction = database.begin_write()?;
        transaction.open_table(ENTRIES)?;
        transaction.commit()?;
        let durability = match settings.durability {
            Durability::Durable => redb::Durability::Immediate,
            Durability::Relaxed => redb::Durability::None,
        };
        Ok(Redb { database, durability })
    }

    fn session(&self) -> Result<RedbSession<'_>, Failure> {
        Ok(RedbSession { engine: self })
    }

    fn compact(&mut self) -> Result<bool, Failure> {
        self.database.compact()?;
        Ok(true)
    }

    fn close(self) -> Result<(), Failure> {
        Ok(self.database.close()?)
    }
}

/// What a thread needs: nothing.
pub struct RedbSession<'e> {
    engine: &'e Redb,
}

impl RedbSession<'_> {
    fn commit<T>(
        &self,
        durability: redb::Durability,
        work: impl FnOnce(&mut RedbWriter<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut transaction = self.engine.database.begin_write()?;
        transaction.set_durability(durability)?;
        let done = work(&mut RedbWriter { table: transaction.open_table(ENTRIES)? })?;
        transaction.commit()?;
        Ok(done)
    }
}

impl Session for RedbSession<'_> {
    type Reader<'r> = RedbReader;
    type Writer<'w> = RedbWriter<'w>;

    fn read<T>(
        &mut self,
        work: impl FnOnce(&mut RedbReader) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let transaction = self.engine.database.begin_read()?;
        work(&mut RedbReader { table: transaction.open_table(ENTRIES)? })
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut RedbWriter<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.commit(self.engine.durability, work)
    }

    fn load<V: AsRef<[u8]>>(
        &mut self,
        _sorted: bool,
        entries: impl Iterator<Item = (Key, V)>,
    ) -> Result<(), Failure> {
        self.commit(redb::Durability::Immediate, |writer| {
            for (key, value) in entries {
                writer.put(&key, value.as_ref())?;
            }
            Ok(())
        })
    }
}

/// A read transaction's table.
pub struct RedbReader {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Reader for RedbReader {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.table.get(key)?.map(|value| found(value.value())))
    }

    fn range(
        &mut self,
        from: &[u8],
        count: usize,
        mut entry: impl FnMut(&[u8], &[u8]),
    ) -> Result<usize, Failure> {
        let mut seen = 0;
        for found in self.table.range(from..)?.take(count) {
            let (key, value) = found?;
            entry(key.value(), value.value());
            seen += 1;
        }
        Ok(seen)
    }
}

/// A write transaction's table.
pub struct RedbWriter<'w> {
    table: Table<'w, &'static [u8], &'static [u8]>,
}

impl Writer for RedbWriter<'_> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.table.get(key)?.map(|value| found(value.value())))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.table.insert(key, value)?;
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), Failure> {
        self.table.remove(key)?;
        Ok(())
    }
}
