//! The whole engine at the door: readers, writers, those who change their minds, beside a model.

use std::sync::{Arc, OnceLock};

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::RandomScheduler;
use shuttle::thread;
use yieldb::{
    Backend, Batch, Database, DriverMode, KeyRange, MAIN, MemoryDisk, Options, Snapshot,
    WriteTransaction,
};
use yieldb_io_backends::pread;

use super::versions::assert_whole;
use crate::model::{Change, Model, State};
use crate::world::{thread, together};

/// The keys are the numbers below.
const KEYS: u8 = 40;
/// How many keys a scan sees at most.
const SCANNED: u8 = 8;

/// The cache in bytes: less than the tree takes.
const CACHE_LEN: u64 = 16 * 4096;

/// The bytes of a database whose first version has all keys.
static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();

/// A value: it says which one it is, and is so long that two or three fill a page.
fn value(tag: u8) -> Vec<u8> {
    vec![tag; 900 + usize::from(tag) * 37 % 700]
}

fn first_state() -> State {
    (0..KEYS).map(|key| (key, value(key))).collect()
}

/// Makes the file that the scenarios begin with, in an execution of its own.
pub fn prepare() {
    if IMAGE.get().is_some() {
        return;
    }
    let build = || {
        yieldb_core::sync::begin_execution();
        let disk = MemoryDisk::new();
        let database = open(disk.immediate(), 16 * CACHE_LEN);
        let mut transaction = database.begin().wait().expect("the turn comes");
        for (key, value) in first_state() {
            transaction.put(MAIN, [key], value).wait().expect("it has room");
        }
        transaction.commit().wait().expect("it is durable");
        drop(database);
        IMAGE.get_or_init(|| disk.image("db").expect("the file was made"));
    };
    crate::run(build, Box::new(RandomScheduler::new_from_seed(1, 1)));
}

fn open(backend: Backend, cache_len: u64) -> Database {
    let options = Options::new().database_id([7; 16]).cache_bytes(cache_len).backend(backend);
    options.driver(DriverMode::Automatic).open("db").wait().expect("it can be opened")
}

/// A disk with the file.
fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.set_image("db", IMAGE.get().expect("the image was prepared").clone());
    disk
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
    fn run(mut self) {
        for _ in 0..2 {
            match thread_rng().gen_range(0..6) {
                0 | 1 => self.read(),
                2 | 3 => self.write(),
                4 => self.write_batch(),
                _ => self.change_its_mind(),
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let least = self.model.acknowledged();
        let snapshot = self.database.snapshot();
        let version = snapshot.version();
        assert!(version >= least, "version {version} after version {least} was acknowledged");
        snapshot
    }

    /// Some keys in order, at once, or one after the other.
    fn read(&self) {
        let snapshot = self.snapshot();
        let version = snapshot.version();
        if thread_rng().gen_ratio(1, 3) {
            let mut next = thread_rng().gen_range(0..KEYS - SCANNED);
            let end = next + SCANNED;
            let range = KeyRange::all().from([next]).to([end]);
            let mut cursor = snapshot.cursor(MAIN, range);
            while let Some(entry) = cursor.next().wait().expect("it can be read") {
                let key = entry.key()[0];
                (next..key).for_each(|missing| self.model.see(version, missing, None));
                self.model.see(version, key, Some(entry.value()));
                next = key + 1;
            }
            (next..end).for_each(|missing| self.model.see(version, missing, None));
            return;
        }
        let keys = [0, 1].map(|_| [thread_rng().gen_range(0..KEYS)]);
        if thread_rng().r#gen() {
            let mut lookups = snapshot.multi_get(MAIN, keys, 2);
            while let Some(lookup) = lookups.next().wait().expect("they can be made") {
                let found = lookup.value.expect("it can be read");
                self.model.see(version, lookup.key[0], found.as_deref());
            }
            return;
        }
        for key in keys {
            let found = snapshot.get(MAIN, key).wait().expect("it can be read");
            self.model.see(version, key[0], found.as_deref());
        }
    }

    fn change(&mut self) -> Change {
        self.tag += 1;
        (thread_rng().gen_range(0..KEYS), Some(value(self.tag)))
    }

    /// Makes some changes, and sees them and what was there before.
    fn fill(&mut self, transaction: &mut WriteTransaction) -> Vec<Change> {
        let base = self.snapshot().version();
        let (key, value) = self.change();
        let found = transaction.get(MAIN, [key]).wait().expect("it can be read");
        self.model.see(base, key, found.as_deref());
        drop(found);
        transaction.put(MAIN, [key], value.as_ref().expect("a value")).wait().expect("room");
        let found = transaction.get(MAIN, [key]).wait().expect("it can be read");
        assert!(found.as_deref() == value.as_deref(), "it does not see what it wrote");
        drop(found);
        let mut changes = vec![(key, value)];
        if thread_rng().r#gen() {
            let gone = thread_rng().gen_range(0..KEYS);
            transaction.delete(MAIN, [gone]).wait().expect("it can be read");
            if gone != key {
                changes.push((gone, None));
            } else {
                // Something must be left to be committed.
                let (key, value) = self.change();
                let bytes = value.as_ref().expect("a value");
                transaction.put(MAIN, [key], bytes).wait().expect("it has room");
                changes.extend([(gone, None), (key, value)]);
            }
        }
        changes
    }

    fn write(&mut self) {
        let mut transaction = self.database.begin().wait().expect("the turn comes");
        let changes = self.fill(&mut transaction);
        match thread_rng().gen_range(0..4) {
            0 => drop(transaction),
            1 if self.may_abandon => {
                self.may_abandon = false;
                self.model.leave(changes);
                let mut commit = transaction.commit();
                let _io = commit.step().expect("a commit that is not disturbed");
            }
            _ => {
                let version = transaction.commit().wait().expect("it is durable");
                self.model.commit(version, changes);
            }
        }
    }

    fn write_batch(&mut self) {
        let changes = [self.change(), self.change()];
        let mut batch = Batch::new();
        for (key, value) in &changes {
            batch.put(MAIN, [*key], value.as_ref().expect("a value"));
        }
        let version = self.database.write(&batch).wait().expect("it is durable");
        self.model.commit(version, changes.to_vec());
    }

    /// Begins something and drops it half-way.
    fn change_its_mind(&mut self) {
        let snapshot = self.snapshot();
        let mut get = snapshot.get(MAIN, [thread_rng().gen_range(0..KEYS)]);
        let first = get.step().expect("a read that is not disturbed");
        drop((get, first));
        let mut begin = self.database.begin();
        let _first = begin.step().expect("a queue that is not disturbed");
        drop(begin);
        drop(snapshot);
    }
}

/// Three threads on a back-end.
fn work(backend: Backend) {
    let database = open(backend.clone(), CACHE_LEN);
    let model = Arc::new(Model::new(1, first_state()));
    let abandons = thread_rng().gen_range(0..6);
    together((0..3).map(|at| {
        let (database, model) = (database.clone(), model.clone());
        let tag = 10 + 20 * at;
        let worker = Worker { database, model, tag, may_abandon: abandons == at };
        thread(move || worker.run())
    }));
    // A commit that was left to itself is over when the turn comes again.
    drop(database.begin().wait().expect("the turn comes"));
    let newest = database.snapshot();
    let expected = model.assert_consistent(newest.version());
    for key in 0..KEYS {
        let found = newest.get(MAIN, [key]).wait().expect("it can be read");
        assert_eq!(found.as_deref(), expected.get(&key).map(Vec::as_slice), "key {key} at the end");
    }
    drop(newest);
    assert_whole(&database, &backend);
}

/// On a back-end that performs requests in any order.
pub fn polled() {
    work(disk().yielding(thread_rng().r#gen()));
}

/// On the back-end whose waiters sleep: that nobody sleeps for ever, too.
pub fn sleeping() {
    work(pread::in_memory(&disk(), None).expect("there are descriptors"));
}

/// Operations that are awaited: the database's own threads drive them, and stop with it.
pub fn awaited() {
    let backend = pread::in_memory(&disk(), None).expect("there are descriptors");
    let database = open(backend.clone(), CACHE_LEN);
    let model = Arc::new(Model::new(1, first_state()));
    together((0..2).map(|at| {
        let (database, model) = (database.clone(), model.clone());
        thread(move || {
            shuttle::future::block_on(async {
                let snapshot = database.snapshot();
                let key = thread_rng().gen_range(0..KEYS);
                let found = snapshot.get(MAIN, [key]).await.expect("it can be read");
                model.see(snapshot.version(), key, found.as_deref());
                if at == 0 {
                    let mut transaction = database.begin().await.expect("the turn comes");
                    transaction.put(MAIN, [key], value(10)).await.expect("it has room");
                    let version = transaction.commit().await.expect("it is durable");
                    model.commit(version, vec![(key, Some(value(10)))]);
                }
            });
        })
    }));
    model.assert_consistent(database.snapshot().version());
    assert_whole(&database, &backend);
    drop(database);
    // Its threads are detached, and end without anybody's help. Then nobody else has the driver,
    // of which a back-end holds both sides.
    while Arc::strong_count(&backend.driver) > 2 {
        thread::yield_now();
    }
}
