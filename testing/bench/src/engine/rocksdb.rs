//! RocksDB: no compression, Bloom filters of 10 bits a key, and a block cache of the size that is
//! asked for; as many background threads as there are cores.
//!
//! Durable: `WriteOptions::set_sync(true)`, and threads that commit at the same time share a sync.
//! Relaxed: `false`, in the kernel's cache. A writer is a batch: what it reads is not kept from
//! others until it commits.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType,
    IngestExternalFileOptions, Options, ReadOptions, SstFileWriter, WriteBatch, WriteOptions,
};

use super::{Durability, Engine, Promise, Reader, Session, Settings, Writer};
use crate::Failure;
use crate::entries::Key;

/// Where entries are if nobody says otherwise.
const FAMILY: &str = "default";

/// A database.
pub struct Rocksdb {
    database: DB,
    options: Options,
    directory: PathBuf,
    durability: Durability,
}

fn write_options(durability: Durability) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(durability == Durability::Durable);
    options
}

impl Engine for Rocksdb {
    const PROMISE: Promise = Promise {
        durable: "a write-ahead log, one sync",
        relaxed: "in the kernel's cache (`sync = false`)",
        lost_by_kill: "nothing",
        lost_by_power_cut: "all that the kernel has not written yet",
    };
    const HAS_MANY_READS: bool = true;

    type Session<'e> = RocksdbSession<'e>;

    fn open(directory: &Path, settings: &Settings) -> Result<Self, Failure> {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(usize::try_from(settings.cache_bytes)?));
        blocks.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::None);
        options.set_block_based_table_factory(&blocks);
        let cores = std::thread::available_parallelism()?.get();
        options.increase_parallelism(i32::try_from(cores)?);
        // Named, so that there is a handle for reads of many.
        let entries = ColumnFamilyDescriptor::new(FAMILY, options.clone());
        let database = DB::open_cf_descriptors(&options, directory, [entries])?;
        let (directory, durability) = (directory.to_path_buf(), settings.durability);
        Ok(Rocksdb { database, options, directory, durability })
    }

    fn session(&self) -> Result<RocksdbSession<'_>, Failure> {
        Ok(RocksdbSession { engine: self, options: write_options(self.durability) })
    }

    fn compact(&mut self) -> Result<bool, Failure> {
        self.database.compact_range::<&[u8], &[u8]>(None, None);
        Ok(true)
    }

    fn close(self) -> Result<(), Failure> {
        self.database.flush_wal(true)?;
        self.database.cancel_all_background_work(true);
        Ok(())
    }
}

/// How a thread writes.
pub struct RocksdbSession<'e> {
    engine: &'e Rocksdb,
    options: WriteOptions,
}

impl Session for RocksdbSession<'_> {
    type Reader<'r> = RocksdbReader<'r>;
    type Writer<'w> = RocksdbWriter<'w>;

    fn read<T>(
        &mut self,
        work: impl FnOnce(&mut RocksdbReader<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let database = &self.engine.database;
        let snapshot = database.snapshot();
        let options = || {
            let mut options = ReadOptions::default();
            options.set_snapshot(&snapshot);
            options
        };
        work(&mut RocksdbReader { database, options: options(), new_options: &options })
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut RocksdbWriter<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let database = &self.engine.database;
        let mut writer = RocksdbWriter { database, batch: WriteBatch::default() };
        let done = work(&mut writer)?;
        database.write_opt(writer.batch, &self.options)?;
        Ok(done)
    }

    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.engine.database.get_pinned(key)?.map(|value| found(&value)))
    }

    fn load<V: AsRef<[u8]>>(
        &mut self,
        sorted: bool,
        entries: impl Iterator<Item = (Key, V)>,
    ) -> Result<(), Failure> {
        let Rocksdb { database, options, directory, .. } = self.engine;
        if sorted {
            let path = directory.join("load.sst");
            let mut file = SstFileWriter::create(options);
            file.open(&path)?;
            for (key, value) in entries {
                file.put(key, value)?;
            }
            file.finish()?;
            let mut how = IngestExternalFileOptions::default();
            how.set_move_files(true);
            return Ok(database.ingest_external_file_opts(&how, vec![path])?);
        }
        let mut batch = WriteBatch::default();
        for (key, value) in entries {
            batch.put(key, value);
        }
        Ok(database.write_opt(batch, &write_options(Durability::Durable))?)
    }
}

/// A snapshot, in the options to read with.
pub struct RocksdbReader<'r> {
    database: &'r DB,
    options: ReadOptions,
    /// An iterator keeps its options.
    new_options: &'r dyn Fn() -> ReadOptions,
}

impl Reader for RocksdbReader<'_> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.database.get_pinned_opt(key, &self.options)?.map(|value| found(&value)))
    }

    fn get_many(
        &mut self,
        keys: &[Key],
        depth: usize,
        mut found: impl FnMut(usize, &[u8]),
    ) -> Result<(), Failure> {
        let RocksdbReader { database, options, .. } = self;
        let family = database.cf_handle(FAMILY).ok_or("no default column family")?;
        for (batch, keys) in keys.chunks(depth).enumerate() {
            let values = database.batched_multi_get_cf_opt(&family, keys, false, options);
            for (index, value) in values.into_iter().enumerate() {
                if let Some(value) = value? {
                    found(batch * depth + index, &value);
                }
            }
        }
        Ok(())
    }

    fn range(
        &mut self,
        from: &[u8],
        count: usize,
        mut entry: impl FnMut(&[u8], &[u8]),
    ) -> Result<usize, Failure> {
        let mut cursor = self.database.raw_iterator_opt((self.new_options)());
        cursor.seek(from);
        for seen in 0..count {
            let Some((key, value)) = cursor.item() else {
                cursor.status()?;
                return Ok(seen);
            };
            entry(key, value);
            cursor.next();
        }
        Ok(count)
    }
}

/// A batch.
pub struct RocksdbWriter<'w> {
    database: &'w DB,
    batch: WriteBatch,
}

impl Writer for RocksdbWriter<'_> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        Ok(self.database.get_pinned(key)?.map(|value| found(&value)))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.batch.put(key, value);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), Failure> {
        self.batch.delete(key);
        Ok(())
    }
}
