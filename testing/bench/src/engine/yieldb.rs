//! yieldb, driven in each of the ways there are.
//!
//! The defaults, and a cache of the size that is asked for. Durable: in the log, with a synced
//! write. Relaxed: in memory, and within a second in the log.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::stream::{self, StreamExt};
use yieldb::{
    Batch, Choice, Completion, Database, DriverMode, ErrorKind, IOCompletions, IOResult, KeyRange,
    MAIN, Op, Options, Snapshot, WriteTransaction,
};
use yieldb_core::StateTransition;

use super::{Durability, Engine, Promise, Reader, Session, Settings, Writer};
use crate::Failure;
use crate::entries::Key;

/// How long the kernel may take to end the last I/O of a process that was killed: until then the
/// file is locked.
const LOCKED: Duration = Duration::from_secs(1);

/// A way to drive operations.
pub trait Way: Sync + 'static {
    /// Has a thread many operations under way? Otherwise it has one, and `multi_get`.
    const HAS_MANY: bool = false;

    /// What it has to be opened with.
    fn options() -> Options {
        Options::new()
    }

    /// Drives an operation to its end: on this thread, unless it is said otherwise.
    fn finish<M>(_: &Database, op: Op<'_, M>) -> yieldb::Result<M::Output>
    where
        M: StateTransition<State: Unpin, Error: Into<yieldb::Error>> + Unpin,
    {
        op.wait()
    }

    /// Drives many operations to their ends, `depth` of them under way; calls `done` with the
    /// number of each and its output.
    fn finish_many<'o, M>(
        database: &Database,
        _depth: usize,
        operations: impl Iterator<Item = Op<'o, M>>,
        mut done: impl FnMut(usize, M::Output),
    ) -> yieldb::Result<()>
    where
        M: StateTransition<Context: 'o, State: Unpin, Error: Into<yieldb::Error>> + Unpin,
    {
        for (number, op) in operations.enumerate() {
            done(number, Self::finish(database, op)?);
        }
        Ok(())
    }
}

/// `wait` on a thread, over io_uring.
#[derive(Debug)]
pub struct Wait;

impl Way for Wait {}

/// `wait` on a thread, over `pread`.
#[derive(Debug)]
pub struct Pread;

impl Way for Pread {
    fn options() -> Options {
        Options::new().io(Choice::Pread)
    }
}

/// `step` in a loop of one's own.
#[derive(Debug)]
pub struct Step;

impl Way for Step {
    const HAS_MANY: bool = true;

    fn options() -> Options {
        Options::new().driver(DriverMode::Manual)
    }

    fn finish<M>(database: &Database, mut op: Op<'_, M>) -> yieldb::Result<M::Output>
    where
        M: StateTransition<State: Unpin, Error: Into<yieldb::Error>> + Unpin,
    {
        loop {
            match op.step()? {
                IOResult::Done(output) => return Ok(output),
                IOResult::IO(io) => {
                    if database.turn() == 0
                        && let Some(io) = what_to_wait_for(io)
                    {
                        database.wait_for(&io)?;
                    }
                }
            }
        }
    }

    fn finish_many<'o, M>(
        database: &Database,
        depth: usize,
        operations: impl Iterator<Item = Op<'o, M>>,
        mut done: impl FnMut(usize, M::Output),
    ) -> yieldb::Result<()>
    where
        M: StateTransition<Context: 'o, State: Unpin, Error: Into<yieldb::Error>> + Unpin,
    {
        let mut operations = operations.enumerate().fuse();
        let mut under_way = VecDeque::with_capacity(depth);
        loop {
            under_way.extend(operations.by_ref().take(depth - under_way.len()));
            let count = under_way.len();
            if count == 0 {
                return Ok(());
            }
            let mut waits_for = None;
            for _ in 0..count {
                let Some((number, mut op)) = under_way.pop_front() else { break };
                match op.step()? {
                    IOResult::Done(output) => done(number, output),
                    IOResult::IO(io) => {
                        waits_for = waits_for.or(what_to_wait_for(io));
                        under_way.push_back((number, op));
                    }
                }
            }
            // If there is room for more, those come first.
            if under_way.len() == count
                && database.turn() == 0
                && let Some(io) = waits_for
            {
                database.wait_for(&io)?;
            }
        }
    }
}

/// What an operation waits for, if that ends by itself: it may also want to be called again, since
/// another thread has what it needs.
fn what_to_wait_for(io: IOCompletions) -> Option<Completion> {
    match io {
        IOCompletions::Single(io) if !io.is_explicit_yield() => Some(io),
        _ => None,
    }
}

/// `await`, on an executor of one thread; the database has a thread that drives it.
#[derive(Debug)]
pub struct Await;

impl Way for Await {
    const HAS_MANY: bool = true;

    fn finish<M>(_: &Database, op: Op<'_, M>) -> yieldb::Result<M::Output>
    where
        M: StateTransition<State: Unpin, Error: Into<yieldb::Error>> + Unpin,
    {
        block_on(op)
    }

    fn finish_many<'o, M>(
        _: &Database,
        depth: usize,
        operations: impl Iterator<Item = Op<'o, M>>,
        mut done: impl FnMut(usize, M::Output),
    ) -> yieldb::Result<()>
    where
        M: StateTransition<Context: 'o, State: Unpin, Error: Into<yieldb::Error>> + Unpin,
    {
        let numbered = operations.enumerate().map(|(number, op)| async move { (number, op.await) });
        block_on(async {
            let mut finished = stream::iter(numbered).buffer_unordered(depth);
            while let Some((number, output)) = finished.next().await {
                done(number, output?);
            }
            Ok(())
        })
    }
}

/// A database, driven in one way.
#[derive(Debug)]
pub struct Yieldb<W> {
    database: Database,
    durability: yieldb::Durability,
    way: PhantomData<W>,
}

impl<W: Way> Engine for Yieldb<W> {
    const PROMISE: Promise = Promise {
        durable: "one write to the log, synced",
        relaxed: "in memory; written within a second, or with a durable one",
        lost_by_kill: "the last second",
        lost_by_power_cut: "the last second",
    };
    const HAS_MANY_READS: bool = true;

    type Session<'e> = YieldbSession<'e, W>;

    fn open(directory: &Path, settings: &Settings) -> Result<Self, Failure> {
        let begun = Instant::now();
        let database = loop {
            let options = W::options().cache_bytes(settings.cache_bytes);
            match options.open(directory.join("bench.db")).wait() {
                Err(error) if error.kind() == ErrorKind::Locked && begun.elapsed() < LOCKED => {
                    thread::yield_now();
                }
                opened => break opened?,
            }
        };
        let durability = match settings.durability {
            Durability::Durable => yieldb::Durability::Sync,
            Durability::Relaxed => yieldb::Durability::Relaxed,
        };
        Ok(Yieldb { database, durability, way: PhantomData })
    }

    fn session(&self) -> Result<YieldbSession<'_, W>, Failure> {
        Ok(YieldbSession { engine: self, batch: Batch::new() })
    }

    fn compact(&mut self) -> Result<bool, Failure> {
        self.database.compact().wait()?;
        Ok(true)
    }

    fn close(self) -> Result<(), Failure> {
        Ok(self.database.close().wait()?)
    }
}

/// What a thread needs: little.
#[derive(Debug)]
pub struct YieldbSession<'e, W> {
    engine: &'e Yieldb<W>,
    /// For the next changes.
    batch: Batch,
}

impl<W: Way> YieldbSession<'_, W> {
    fn begin(&self) -> Result<YieldbWriter<'_, W>, Failure> {
        let database = &self.engine.database;
        let transaction = W::finish(database, database.begin())?;
        Ok(YieldbWriter { database, transaction, way: PhantomData })
    }

    fn write_batch(&self) -> Result<(), Failure> {
        let Yieldb { database, durability, .. } = self.engine;
        W::finish(database, database.write_with(&self.batch, *durability))?;
        Ok(())
    }
}

impl<W: Way> Session for YieldbSession<'_, W> {
    type Reader<'r> = YieldbReader<'r, W>;
    type Writer<'w> = YieldbWriter<'w, W>;

    fn read<T>(
        &mut self,
        work: impl FnOnce(&mut YieldbReader<'_, W>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let database = &self.engine.database;
        work(&mut YieldbReader { database, snapshot: database.snapshot(), way: PhantomData })
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut YieldbWriter<'_, W>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut writer = self.begin()?;
        let done = work(&mut writer)?;
        let YieldbWriter { database, transaction, .. } = writer;
        W::finish(database, transaction.commit_with(self.engine.durability))?;
        Ok(done)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.batch.clear();
        self.batch.put(MAIN, key, value);
        self.write_batch()
    }

    fn put_many<V: AsRef<[u8]>>(
        &mut self,
        entries: impl Iterator<Item = (Key, V)>,
        depth: usize,
    ) -> Result<bool, Failure> {
        if !W::HAS_MANY {
            return Ok(false);
        }
        let Yieldb { database, durability, .. } = self.engine;
        let batch = |(key, value): (Key, V)| {
            let mut batch = Batch::new();
            batch.put(MAIN, key, value);
            batch
        };
        let batches: Vec<Batch> = entries.map(batch).collect();
        let commits = batches.iter().map(|batch| database.write_with(batch, *durability));
        W::finish_many(database, depth, commits, |_, _| ())?;
        Ok(true)
    }

    fn put_all<V: AsRef<[u8]>>(
        &mut self,
        entries: impl Iterator<Item = (Key, V)>,
    ) -> Result<(), Failure> {
        self.batch.clear();
        entries.for_each(|(key, value)| self.batch.put(MAIN, key, value));
        self.write_batch()
    }

    fn delete_all(&mut self, keys: impl Iterator<Item = Key>) -> Result<(), Failure> {
        self.batch.clear();
        keys.for_each(|key| self.batch.delete(MAIN, key));
        self.write_batch()
    }

    fn load<V: AsRef<[u8]>>(
        &mut self,
        _sorted: bool,
        entries: impl Iterator<Item = (Key, V)>,
    ) -> Result<(), Failure> {
        let database = &self.engine.database;
        let mut transaction = W::finish(database, database.begin())?;
        let mut load = transaction.bulk_load(MAIN)?;
        for (key, value) in entries {
            if !load.try_push(key, &value)? {
                W::finish(database, load.push(key, value.as_ref()))?;
            }
        }
        W::finish(database, load.finish())?;
        W::finish(database, transaction.commit())?;
        Ok(())
    }
}

/// A snapshot.
#[derive(Debug)]
pub struct YieldbReader<'r, W> {
    database: &'r Database,
    snapshot: Snapshot,
    way: PhantomData<W>,
}

impl<W: Way> Reader for YieldbReader<'_, W> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        let value = W::finish(self.database, self.snapshot.get(MAIN, key))?;
        Ok(value.map(|value| found(&value)))
    }

    fn get_many(
        &mut self,
        keys: &[Key],
        depth: usize,
        mut found: impl FnMut(usize, &[u8]),
    ) -> Result<(), Failure> {
        if W::HAS_MANY {
            let lookups = keys.iter().map(|key| self.snapshot.get(MAIN, key));
            W::finish_many(self.database, depth, lookups, |index, value| {
                if let Some(value) = value {
                    found(index, &value);
                }
            })?;
            return Ok(());
        }
        let mut lookups = self.snapshot.multi_get(MAIN, keys, depth);
        while let Some(lookup) = lookups.next().wait()? {
            if let Some(value) = lookup.value? {
                found(lookup.index as usize, &value);
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
        let mut cursor = self.snapshot.cursor(MAIN, KeyRange::all().from(from));
        for seen in 0..count {
            let Some(found) = W::finish(self.database, cursor.next())? else { return Ok(seen) };
            entry(found.key(), found.value());
        }
        Ok(count)
    }
}

/// A transaction.
#[derive(Debug)]
pub struct YieldbWriter<'w, W> {
    database: &'w Database,
    transaction: WriteTransaction,
    way: PhantomData<W>,
}

impl<W: Way> Writer for YieldbWriter<'_, W> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        let value = W::finish(self.database, self.transaction.get(MAIN, key))?;
        Ok(value.map(|value| found(&value)))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        W::finish(self.database, self.transaction.put(MAIN, key, value))?;
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), Failure> {
        W::finish(self.database, self.transaction.delete(MAIN, key))?;
        Ok(())
    }
}
