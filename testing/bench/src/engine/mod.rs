//! The engines, behind one trait.
//!
//! What is fair, and the same for all: a cache of the same size, no compression, and *durable*
//! means that a power cut behind the commit does not take it back. Where an engine has a quicker
//! way for something that everybody may use (loading sorted entries, a single read), its file uses
//! it.

#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod yieldb;

use std::path::Path;

use crate::Failure;
use crate::entries::Key;
use crate::workload::{Place, Rounds, Workload};

/// How an engine is opened. Some of it only some engines look at.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(all(feature = "lmdb", feature = "sqlite")), allow(dead_code))]
pub struct Settings {
    /// How much memory it may take for what it reads.
    pub cache_bytes: u64,
    /// What its commits wait for.
    pub durability: Durability,
    /// How long values are, for engines that have a layout for short ones.
    pub value_len: usize,
    /// How many sessions there are at a time, for engines where each has a cache of its own.
    pub threads: u64,
    /// Is there much more data than memory, so that reading ahead of a lookup is of no use?
    pub cold: bool,
}

impl Settings {
    /// Durable, and everything is in memory: a cache of 4 GiB.
    pub fn durable(value_len: usize) -> Settings {
        let cache_bytes = 4 << 30;
        let durability = Durability::Durable;
        Settings { cache_bytes, durability, value_len, threads: 1, cold: false }
    }
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// That no power cut takes it back.
    Durable,
    /// Not for the device: the engine's usual way to do that. What it loses is in its [`Promise`].
    Relaxed,
}

/// What is lost of commits that were acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// How a durable commit is made.
    pub durable: &'static str,
    /// How a relaxed one is.
    pub relaxed: &'static str,
    /// What is lost of relaxed ones when the process is killed.
    pub lost_by_kill: &'static str,
    /// What is lost of relaxed ones when there is a power cut.
    pub lost_by_power_cut: &'static str,
}

/// A database that is open. Threads share it, each with a [`Session`].
pub trait Engine: Sized + Sync + 'static {
    /// What commits are worth.
    const PROMISE: Promise;

    /// Does [`Reader::get_many`] have more than one read in flight?
    const HAS_MANY_READS: bool = false;

    /// What one thread needs.
    type Session<'e>: Session;

    /// Opens the database in a directory, or makes it.
    fn open(directory: &Path, settings: &Settings) -> Result<Self, Failure>;

    /// Begins to use it on a thread.
    fn session(&self) -> Result<Self::Session<'_>, Failure>;

    /// Makes the files as small as they can be, and returns whether the engine knows how to.
    fn compact(&mut self) -> Result<bool, Failure> {
        Ok(false)
    }

    /// Closes the database, with all that belongs to it.
    fn close(self) -> Result<(), Failure>;
}

/// What one thread does with a database.
pub trait Session {
    /// See [`Session::read`].
    type Reader<'r>: Reader;
    /// See [`Session::write`].
    type Writer<'w>: Writer;

    /// Reads one version of the database.
    fn read<T>(
        &mut self,
        work: impl FnOnce(&mut Self::Reader<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure>;

    /// Changes the database in one transaction, which is committed when `work` is done.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Self::Writer<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure>;

    /// Reads one value of the newest version: a transaction of its own.
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        self.read(|reader| reader.get(key, found))
    }

    /// Writes one value: a transaction of its own.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.write(|writer| writer.put(key, value))
    }

    /// Writes values, each in a transaction of its own, with `depth` of them under way on this
    /// thread. `false`, and nothing is written, where the engine cannot do that.
    fn put_many<V: AsRef<[u8]>>(
        &mut self,
        _entries: impl Iterator<Item = (Key, V)>,
        _depth: usize,
    ) -> Result<bool, Failure> {
        Ok(false)
    }

    /// Writes entries in one transaction, in any order.
    fn put_all<V: AsRef<[u8]>>(
        &mut self,
        mut entries: impl Iterator<Item = (Key, V)>,
    ) -> Result<(), Failure> {
        self.write(|writer| entries.try_for_each(|(key, value)| writer.put(&key, value.as_ref())))
    }

    /// Removes entries in one transaction, in any order.
    fn delete_all(&mut self, mut keys: impl Iterator<Item = Key>) -> Result<(), Failure> {
        self.write(|writer| keys.try_for_each(|key| writer.delete(&key)))
    }

    /// Fills an empty database in one transaction, durably. `sorted`: the keys ascend.
    fn load<V: AsRef<[u8]>>(
        &mut self,
        sorted: bool,
        entries: impl Iterator<Item = (Key, V)>,
    ) -> Result<(), Failure> {
        let _ = sorted;
        self.put_all(entries)
    }
}

/// Reads one version of a database.
pub trait Reader {
    /// Calls `found` with the value of a key, if there is one, and returns what that returns.
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure>;

    /// Calls `found` with the index of each key that is there, and its value; with up to `depth`
    /// reads in flight where the engine can do that.
    fn get_many(
        &mut self,
        keys: &[Key],
        depth: usize,
        mut found: impl FnMut(usize, &[u8]),
    ) -> Result<(), Failure> {
        let _ = depth;
        for (index, key) in keys.iter().enumerate() {
            self.get(key, |value| found(index, value))?;
        }
        Ok(())
    }

    /// Calls `entry` with the first `count` keys and values that are at `from` or behind it, and
    /// returns how many there were.
    fn range(
        &mut self,
        from: &[u8],
        count: usize,
        entry: impl FnMut(&[u8], &[u8]),
    ) -> Result<usize, Failure>;
}

/// Changes a database, in one transaction.
pub trait Writer {
    /// Calls `found` with the value that a key had when the transaction began, or one that the
    /// transaction gave it, whichever the engine knows; nobody reads what he wrote.
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure>;

    /// Gives a key a value.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure>;

    /// Removes a key.
    fn delete(&mut self, key: &[u8]) -> Result<(), Failure>;
}

/// What is known of an engine without it being opened.
#[derive(Debug)]
pub struct Kind {
    /// What it is called here.
    pub name: &'static str,
    /// The package that it is.
    pub package: &'static str,
    /// What commits are worth.
    pub promise: Promise,
}

/// The device itself: it takes its turns as the engines do.
pub const DEVICE: &str = "device";

macro_rules! engines {
    ($($(#[$feature:meta])? $name:literal, $package:literal => $engine:ty;)*) => {
        /// The engines that this program was built with.
        pub const ALL: &[Kind] = &[$(
            $(#[$feature])?
            Kind { name: $name, package: $package, promise: <$engine as Engine>::PROMISE },
        )*];

        /// Prepares the data of a workload for the engine with a name.
        pub fn prepare<W: Workload>(name: &str, place: Place) -> Result<Box<dyn Rounds>, Failure> {
            match name {
                $($(#[$feature])? $name => W::prepare::<$engine>(place),)*
                DEVICE => W::prepare_device(place),
                _ => Err(format!("there is no engine {name} in this build").into()),
            }
        }
    };
}

engines! {
    "yieldb", "yieldb" => yieldb::Yieldb<yieldb::Wait>;
    "yieldb-step", "yieldb" => yieldb::Yieldb<yieldb::Step>;
    "yieldb-await", "yieldb" => yieldb::Yieldb<yieldb::Await>;
    "yieldb-pread", "yieldb" => yieldb::Yieldb<yieldb::Pread>;
    #[cfg(feature = "redb")]
    "redb", "redb" => redb::Redb;
    #[cfg(feature = "lmdb")]
    "lmdb", "heed" => lmdb::Lmdb;
    #[cfg(feature = "sqlite")]
    "sqlite", "rusqlite" => sqlite::Sqlite;
    #[cfg(feature = "fjall")]
    "fjall", "fjall" => fjall::Fjall;
    #[cfg(feature = "sled")]
    "sled", "sled" => sled::Sled;
    #[cfg(feature = "rocksdb")]
    "rocksdb", "rocksdb" => rocksdb::Rocksdb;
}

/// The names of all engines, and of the device.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|kind| kind.name).chain([DEVICE]).collect()
}

/// The packages of all engines.
pub fn packages() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|kind| kind.package)
}

/// Whether an engine is in every workload; the device and the further ways to drive yieldb are in
/// those that ask for them.
pub fn is_in_every_workload(name: &str) -> bool {
    name != DEVICE && !name.starts_with("yieldb-")
}

/// Whether it is an engine that is not yieldb.
pub fn is_peer(name: &str) -> bool {
    name != DEVICE && !name.starts_with("yieldb")
}

#[cfg(test)]
mod tests;
