//! Commits through the log: several threads at once, beside checkpoints, readers and closing.

use std::sync::{Arc, Mutex, OnceLock};

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::RandomScheduler;
use yieldb::{Backend, Batch, Database, KeyRange, LogLimits, MAIN, MemoryDisk, Options};
use yieldb_io_backends::pread;

use super::versions::assert_whole;
use crate::model::{Change, Model, State};
use crate::world::{thread, together};

/// The keys are the numbers below.
const KEYS: u8 = 3;

/// The cache in bytes. Small commits are to go into the log, and not to be checkpoints.
const CACHE_LEN: u64 = 64 * 4096;

/// A cache in which commits may be made together: four of them.
const WIDE_CACHE_LEN: u64 = 4 * CACHE_LEN + 4096;

/// The length of a value in bytes with which a transaction is not small: it is committed by a
/// checkpoint.
const LARGE: usize = 20_000;

/// The length of the log in bytes: the shortest that there is. It goes round after a few commits.
const LOG_LEN: u64 = 28 * 1024;

/// A database at rest with a log.
#[derive(Debug)]
struct Files {
    data: Vec<u8>,
    log: Vec<u8>,
    version: u64,
}

/// Databases with the same entries, whose logs go on at different places.
static FILES: OnceLock<Vec<Files>> = OnceLock::new();

/// Makes the files that the scenarios begin with, in an execution of its own.
pub fn prepare() {
    if FILES.get().is_some() {
        return;
    }
    let build = || {
        yieldb_core::sync::begin_execution();
        let disk = MemoryDisk::new();
        let database = open(disk.immediate());
        let mut files = Vec::new();
        for version in 1..20 {
            let mut transaction = database.begin().wait().expect("the turn comes");
            for (key, value) in first_state() {
                transaction.put(MAIN, [key], value).wait().expect("it has room");
            }
            assert_eq!(transaction.commit().wait().expect("it is durable"), version);
            if version % 2 == 0 {
                database.checkpoint().wait().expect("it can be made");
            }
            let image = |name| disk.image(name);
            if let (Some(data), Some(log)) = (image("db"), image("db-log")) {
                files.push(Files { data, log, version });
            }
        }
        FILES.get_or_init(|| files);
    };
    crate::run(build, Box::new(RandomScheduler::new_from_seed(1, 1)));
}

fn first_state() -> State {
    (0..KEYS).map(|key| (key, vec![key])).collect()
}

fn open(backend: Backend) -> Database {
    open_with(backend, options(LOG_LEN, CACHE_LEN))
}

fn options(max_len: u64, cache_len: u64) -> Options {
    let limits = LogLimits { first_len: LOG_LEN, max_len };
    Options::new().database_id([7; 16]).cache_bytes(cache_len).log(Some(limits))
}

fn open_with(backend: Backend, options: Options) -> Database {
    options.backend(backend).open("db").wait().expect("it can be opened")
}

/// One of the databases, open: on a back-end that performs requests in any order, or on the one
/// whose waiters sleep.
fn world() -> (MemoryDisk, Backend, Database, Arc<Model>) {
    world_with(CACHE_LEN)
}

fn world_with(cache_len: u64) -> (MemoryDisk, Backend, Database, Arc<Model>) {
    let all = FILES.get().expect("the files were prepared");
    let files = &all[thread_rng().gen_range(0..all.len())];
    let disk = MemoryDisk::new();
    disk.set_image("db", files.data.clone());
    disk.set_image("db-log", files.log.clone());
    let backend = match thread_rng().r#gen() {
        true => disk.yielding(thread_rng().r#gen()),
        false => pread::in_memory(&disk, None).expect("there are descriptors"),
    };
    // A checkpoint makes the log longer in half of the runs.
    let max_len = if thread_rng().r#gen() { LOG_LEN } else { 2 * LOG_LEN };
    // Past a cache, groups in flight are known one by one, and else together.
    let direct = thread_rng().r#gen();
    let database = open_with(backend.clone(), options(max_len, cache_len).direct(direct));
    assert_eq!(database.snapshot().version(), files.version);
    let model = Arc::new(Model::new(files.version, first_state()));
    (disk, backend, database, model)
}

/// What one thread does to a database.
struct Worker {
    database: Database,
    model: Arc<Model>,
    /// Tells the values of this thread from those of others.
    tag: u8,
    /// May it leave a commit to itself?
    may_abandon: bool,
}

impl Worker {
    /// Commits, and waits for that, or leaves it to itself.
    fn commit(&mut self) {
        self.tag += 1;
        let len = if thread_rng().gen_ratio(1, 4) { LARGE } else { 1 };
        let (key, value) = (thread_rng().gen_range(0..KEYS), vec![self.tag; len]);
        let mut transaction = self.database.begin().wait().expect("the turn comes");
        transaction.put(MAIN, [key], &value).wait().expect("it has room");
        let change: Change = (key, Some(value));
        if self.may_abandon && thread_rng().r#gen() {
            self.may_abandon = false;
            self.model.leave(vec![change]);
            let mut commit = transaction.commit();
            let _io = commit.step().expect("a commit that is not disturbed");
            return;
        }
        let version = transaction.commit().wait().expect("it is durable");
        self.model.commit(version, vec![change]);
    }

    /// Commits nothing: what it has seen is there to stay then.
    fn commit_nothing(&self) {
        let transaction = self.database.begin().wait().expect("the turn comes");
        let version = transaction.commit().wait().expect("nothing is disturbed");
        self.model.acknowledge(version);
        assert!(self.database.snapshot().version() >= version, "{version} was acknowledged");
    }

    /// Sees all entries of one version, no older than what anybody was told of.
    fn read(&self) -> u64 {
        let least = self.model.acknowledged();
        let snapshot = self.database.snapshot();
        let version = snapshot.version();
        assert!(version >= least, "version {version} after version {least} was acknowledged");
        for key in 0..KEYS {
            let found = snapshot.get(MAIN, [key]).wait().expect("it can be read");
            self.model.see(version, key, found.as_deref());
        }
        version
    }
}

/// Asserts that whoever opens the files finds `version`, with these entries.
fn assert_durable(disk: &MemoryDisk, version: u64, expected: &State) {
    let database = open(disk.immediate());
    let found = database.snapshot();
    assert_eq!(found.version(), version, "the version that is found again");
    for key in 0..KEYS {
        let value = found.get(MAIN, [key]).wait().expect("it can be read");
        assert_eq!(value.as_deref(), expected.get(&key).map(Vec::as_slice), "key {key}");
    }
}

/// Two threads commit, one of them may leave a commit to itself, and a third makes a checkpoint and
/// reads: commits have one order, and all of them are found again by whoever opens the files as
/// they are then.
pub fn commits() {
    let (disk, backend, database, model) = world();
    let abandons = thread_rng().gen_range(0..4);
    let workers = (0..2).map(|at| {
        let (database, model) = (database.clone(), model.clone());
        let mut worker =
            Worker { database, model, tag: 10 * (at + 1), may_abandon: abandons == at };
        thread(move || {
            for _ in 0..3 {
                match thread_rng().gen_range(0..5) {
                    0 => worker.commit_nothing(),
                    _ => worker.commit(),
                }
            }
        })
    });
    let other = {
        let (database, model) = (database.clone(), model.clone());
        let worker = Worker { database, model, tag: 30, may_abandon: false };
        thread(move || {
            worker.database.checkpoint().wait().expect("it can be made");
            worker.read();
        })
    };
    together(workers.chain([other]).collect::<Vec<_>>());
    // A commit that was left to itself is over when what follows it is.
    let mut last = Worker { database, model, tag: 40, may_abandon: false };
    last.commit();
    let version = last.read();
    let Worker { database, model, .. } = last;
    let expected = model.assert_consistent(version);
    if thread_rng().r#gen() {
        database.checkpoint().wait().expect("it can be made");
        assert_whole(&database, &backend);
    }
    backend.driver.quiesce();
    drop(database);
    assert_durable(&disk, version, &expected);
}

/// What readers see beside two who commit is of versions that only go up, and a process that is
/// killed then takes none of it away.
pub fn readers() {
    let (disk, backend, database, model) = world();
    let writers = (0..2).map(|at| {
        let (database, model) = (database.clone(), model.clone());
        let mut worker = Worker { database, model, tag: 10 * (at + 1), may_abandon: at == 0 };
        thread(move || (0..2).for_each(|_| worker.commit()))
    });
    let reader = {
        let (database, model, disk) = (database.clone(), model.clone(), disk.clone());
        let worker = Worker { database, model, tag: 30, may_abandon: false };
        thread(move || {
            let mut last = 0;
            for _ in 0..2 {
                let version = worker.read();
                assert!(version >= last, "version {version} behind version {last}");
                last = version;
                assert_kept(&disk, version);
            }
        })
    };
    together(writers.chain([reader]).collect::<Vec<_>>());
    let mut last = Worker { database, model, tag: 40, may_abandon: false };
    last.commit();
    let version = last.read();
    last.model.assert_consistent(version);
    backend.driver.quiesce();
}

/// Asserts that a copy of the files has a version that somebody has seen.
fn assert_kept(disk: &MemoryDisk, version: u64) {
    let found = open(disk.copy().immediate()).snapshot().version();
    assert!(found >= version, "version {version} was seen, and version {found} is found");
}

/// Some close their handles while others have just committed, or are about to: nothing that was
/// acknowledged is lost, and when the last one is closed there is no log.
pub fn closing() {
    let (disk, backend, database, model) = world();
    together((0..2).map(|at| {
        let (database, model) = (database.clone(), model.clone());
        let mut worker = Worker { database, model, tag: 10 * (at + 1), may_abandon: at == 0 };
        thread(move || {
            worker.commit();
            if thread_rng().r#gen() {
                worker.commit();
            }
            worker.database.close().wait().expect("it can be closed");
        })
    }));
    let mut last = Worker { database, model, tag: 30, may_abandon: false };
    last.commit();
    let version = last.read();
    let expected = last.model.assert_consistent(version);
    last.database.close().wait().expect("it can be closed");
    backend.driver.quiesce();
    assert!(disk.image("db-log").is_none(), "a log is left");
    assert_durable(&disk, version, &expected);
}

/// The batches of one thread, in order: whether each was acknowledged.
type Batches = Vec<bool>;

/// The key under which the newest batch of a thread is.
fn newest_key(writer: u8) -> u8 {
    100 + writer
}

/// The key that only one batch puts.
fn own_key(writer: u8, batch: u8) -> u8 {
    150 + 10 * writer + batch
}

/// Writes two batches, and may leave one of them at its first wait.
fn write_batches(database: &Database, writer: u8, may_abandon: bool) -> Batches {
    let abandoned = may_abandon.then(|| thread_rng().gen_range(0..2));
    (0..2)
        .map(|number| {
            let mut batch = Batch::new();
            batch.put(MAIN, [newest_key(writer)], [number]);
            batch.put(MAIN, [own_key(writer, number)], [number]);
            let mut write = database.write(&batch);
            if abandoned == Some(number) {
                let _io = write.step().expect("a batch that is not disturbed");
                return false;
            }
            let version = write.wait().expect("it is durable");
            assert!(database.snapshot().version() >= version, "{version} was acknowledged");
            true
        })
        .collect()
}

/// Asserts that each batch is there whole or not at all, and the newest of each thread behind the
/// others; and those that were acknowledged are there. Returns the entries.
fn assert_batches(database: &Database, all: &[Batches]) -> State {
    let snapshot = database.snapshot();
    let mut entries = State::new();
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    while let Some(entry) = cursor.next().wait().expect("it can be read") {
        entries.insert(entry.key()[0], entry.value().to_vec());
    }
    for (writer, batches) in (0..).zip(all) {
        let is_there = |number: &u8| entries.contains_key(&own_key(writer, *number));
        for (number, is_acknowledged) in (0..).zip(batches) {
            assert!(!is_acknowledged || is_there(&number), "{writer} has lost batch {number}");
        }
        let newest = (0..batches.len() as u8).rev().find(is_there);
        let found = entries.get(&newest_key(writer)).map(|value| value[0]);
        assert_eq!(found, newest, "the newest batch of {writer}");
    }
    entries
}

/// Three threads write batches, of which one makes those of others, too, and one may be left to
/// itself; another one commits, or makes a checkpoint. All that were acknowledged are there, as
/// they were written, for readers and for whoever opens the files.
pub fn batches() {
    let (disk, backend, database, _) = world_with(WIDE_CACHE_LEN);
    let abandons = thread_rng().gen_range(0..6);
    let all = Arc::new(Mutex::new(vec![Batches::new(); 3]));
    let writers = (0..3).map(|writer| {
        let (database, all) = (database.clone(), all.clone());
        thread(move || {
            let batches = write_batches(&database, writer, abandons == writer);
            all.lock().expect("nobody panics here")[usize::from(writer)] = batches;
        })
    });
    let other = {
        let database = database.clone();
        thread(move || {
            if thread_rng().r#gen() {
                database.checkpoint().wait().expect("it can be made");
                return;
            }
            let mut transaction = database.begin().wait().expect("the turn comes");
            transaction.put(MAIN, [0], [1]).wait().expect("it has room");
            transaction.commit().wait().expect("it is durable");
        })
    };
    together(writers.chain([other]).collect::<Vec<_>>());
    // One that was left to itself is over when what follows it is.
    let mut last = database.begin().wait().expect("the turn comes");
    last.put(MAIN, [1], [2]).wait().expect("it has room");
    let version = last.commit().wait().expect("it is durable");
    let all = all.lock().expect("nobody panics here").clone();
    let entries = assert_batches(&database, &all);
    backend.driver.quiesce();
    drop(database);
    let found = open(disk.immediate());
    assert_eq!(found.snapshot().version(), version, "the version that is found again");
    assert_eq!(assert_batches(&found, &all), entries);
}
