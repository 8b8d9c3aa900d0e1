//! LMDB (heed): a map of 16 GiB, so that the size of the cache is the kernel's business.
//!
//! Durable: the defaults, a sync of the pages and then a synced write of the meta page. Relaxed:
//! `MDB_NOSYNC`, everything is in the kernel's cache; a power cut may damage the whole file.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{
    CommitOrAbort, CompactionOption, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, RwTxn, WithTls,
};

use super::{Durability, Engine, Promise, Reader, Session, Settings, Writer};
use crate::Failure;
use crate::entries::Key;

const MAP: usize = 16 << 30;
const FILE: &str = "data.mdb";

type Entries = heed::Database<'static, Bytes, Bytes>;

/// An environment, and its one database.
pub struct Lmdb {
    env: Env<WithTls>,
    entries: Entries,
}

impl Engine for Lmdb {
    const PROMISE: Promise = Promise {
        durable: "copied pages, a sync, and the meta page, synced",
        relaxed: "in the kernel's cache (`MDB_NOSYNC`)",
        lost_by_kill: "nothing",
        lost_by_power_cut: "anything, the whole file included",
    };

    type Session<'e> = LmdbSession<'e>;

    fn open(directory: &Path, settings: &Settings) -> Result<Self, Failure> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP).max_readers(256);
        let mut flags = EnvFlags::empty();
        flags.set(EnvFlags::NO_SYNC, settings.durability == Durability::Relaxed);
        flags.set(EnvFlags::NO_READ_AHEAD, settings.cold);
        // SAFETY: the directory is this program's own, and nobody else changes the files in it;
        // what a power cut leaves of them is not opened again.
        let env = unsafe { options.flags(flags).open(directory)? };
        let created =
            env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
                opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
            })?;
        let entries = created.commit().ok_or("the database was not made")?;
        Ok(Lmdb { env, entries })
    }

    fn session(&self) -> Result<LmdbSession<'_>, Failure> {
        Ok(LmdbSession { engine: self })
    }

    fn compact(&mut self) -> Result<bool, Failure> {
        let directory = self.env.path().to_path_buf();
        let mut copy = File::create(directory.join("copy"))?;
        self.env.copy_to_file(&mut copy, CompactionOption::Enabled)?;
        // It stays mapped, and is what was open, until it is closed.
        std::fs::rename(directory.join("copy"), directory.join(FILE))?;
        Ok(true)
    }

    fn close(self) -> Result<(), Failure> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

/// What a thread needs: nothing.
pub struct LmdbSession<'e> {
    engine: &'e Lmdb,
}

impl Session for LmdbSession<'_> {
    type Reader<'r> = LmdbReader<'r>;
    type Writer<'w> = LmdbWriter<'w>;

    fn read<T>(
        &mut self,
        work: impl FnOnce(&mut LmdbReader<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let transaction = self.engine.env.read_txn()?;
        work(&mut LmdbReader { transaction, entries: self.engine.entries })
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut LmdbWriter<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let transaction = self.engine.env.write_txn()?;
        let mut writer = LmdbWriter { transaction, entries: self.engine.entries };
        let done = work(&mut writer)?;
        writer.transaction.commit()?;
        Ok(done)
    }

    fn load<V: AsRef<[u8]>>(
        &mut self,
        sorted: bool,
        entries: impl Iterator<Item = (Key, V)>,
    ) -> Result<(), Failure> {
        let flags = if sorted { PutFlags::APPEND } else { PutFlags::empty() };
        let Lmdb { env, entries: database } = self.engine;
        let mut transaction = env.write_txn()?;
        for (key, value) in entries {
            database.put_with_flags(&mut transaction, flags, &key, value.as_ref())?;
        }
        transaction.commit()?;
        Ok(env.force_sync()?)
    }
}

/// A read transaction.
pub struct LmdbReader<'r> {
    transaction: RoTxn<'r, WithTls>,
    entries: Entries,
}

impl Reader for LmdbReader<'_> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.entries.get(&self.transaction, key)?.map(found))
    }

    fn range(
        &mut self,
        from: &[u8],
        count: usize,
        mut entry: impl FnMut(&[u8], &[u8]),
    ) -> Result<usize, Failure> {
        // No key is empty, and LMDB takes none.
        let begin = if from.is_empty() { Bound::Unbounded } else { Bound::Included(from) };
        let range = (begin, Bound::Unbounded);
        let mut seen = 0;
        for found in self.entries.range(&self.transaction, &range)?.take(count) {
            let (key, value) = found?;
            entry(key, value);
            seen += 1;
        }
        Ok(seen)
    }
}

/// A write transaction.
pub struct LmdbWriter<'w> {
    transaction: RwTxn<'w>,
    entries: Entries,
}

impl Writer for LmdbWriter<'_> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.entries.get(&self.transaction, key)?.map(found))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        Ok(self.entries.put(&mut self.transaction, key, value)?)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), Failure> {
        self.entries.delete(&mut self.transaction, key)?;
        Ok(())
    }
}
