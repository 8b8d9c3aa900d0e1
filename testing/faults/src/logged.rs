//! A file whose newest commits are in a log, damaged copies of that log, and what may come of
//! opening them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use yieldb::{
    Batch, Create, Database, DriverMode, Error, ErrorKind, IOResult, KeyRange, LogLimits, MAIN,
    MemoryDisk, Options,
};
use yieldb_core::Operation;
use yieldb_io_backends::RawHook;
use yieldb_pager::log::group::{self, Header};
use yieldb_pager::log::scan::Scan;
use yieldb_pager::log::{BLOCK_LEN, SECTOR_LEN, file_offset, ring_blocks};
use yieldb_pager::superblock::{SLOT_LEN, SLOT_OFFSETS, choose};

use crate::PAGE;
use crate::drive::drive;

/// How many blocks the ring has: a group may have two.
const RING_BLOCKS: u64 = 20;

/// What is behind a sector's payload: which block of which group it is of.
const TAG: Range<usize> = SECTOR_LEN - 8..SECTOR_LEN;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A group that opening needs.
#[derive(Clone, Debug)]
pub struct LoggedGroup {
    /// What it says about itself.
    pub header: Header,
    /// Where it is in the file, in bytes.
    pub range: Range<usize>,
    /// The version that those before it come to.
    before: u64,
}

/// A file, its log, and what is known of them.
pub struct Logged {
    /// The bytes of the file.
    data: Vec<u8>,
    /// The bytes of the log.
    pub log: Vec<u8>,
    /// The bytes of the log after each commit before, the oldest first.
    pub older: Vec<Vec<u8>>,
    /// The groups from the log's start on, in order.
    pub groups: Vec<LoggedGroup>,
    /// What each version has, by its number.
    versions: Vec<Entries>,
}

/// What opening comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing is missing.
    Whole,
    /// The log ends before the newest groups.
    Shorter,
    /// It is refused.
    Refused,
}

/// What may come of a damaged copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// It is refused: the log's first block is not what it was.
    NoLog,
    /// It is refused: the group at this position is not what it was.
    Damage(u64),
    /// The group at this position may have been in the middle of being written: it is refused, or
    /// is of the version before that group.
    Torn(u64, u64),
    /// The log is shorter, and this the first group that is not there: it is refused, and not
    /// always for that group, or is of the version before it if that may have been torn.
    Cut(Option<u64>),
    /// Nobody needs what is damaged: it is whole, or refused.
    Spare,
}

fn with(options: Options) -> Options {
    let len = file_offset(RING_BLOCKS);
    let limits = LogLimits { first_len: len, max_len: len };
    let options = options.cache_bytes(4 * Options::min_cache_bytes(PAGE as u32));
    options.database_id([7; 16]).log(Some(limits))
}

/// The changes of a commit: most take one block of the log, some take two.
fn changes(number: usize) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let key = |number: usize, index: usize| {
        format!("key {:03}", (number * 7 + index * 5) % 60).into_bytes()
    };
    let put = |index: usize| {
        let value = vec![number as u8; 900 + (number * 31 + index) % 300];
        (key(number, index), Some(value))
    };
    let puts = if number % 3 == 2 { 4 } else { 1 + number % 2 };
    let delete = (number % 5 == 3).then(|| (key(number - 1, 0), None));
    (0..puts).map(put).chain(delete).collect()
}

impl Logged {
    /// Makes one commit after the other until the log has gone around its ring more than once, and
    /// has what a log may have: groups of one block and of two, the name of a checkpoint, and a
    /// wrap group in between. Each group knows that all before it are durable.
    ///
    /// # Panics
    ///
    /// If it never comes to that.
    pub fn one_by_one() -> Logged {
        Logged::commit_until(Logged::has_everything)
    }

    /// Opens a file with a short log, and commits four times at once: of their groups none knows
    /// that those before it are durable. The log has two sessions.
    ///
    /// # Panics
    ///
    /// If it does not come to that.
    pub fn together() -> Logged {
        let mut logged = Logged::commit_until(|logged| {
            let sum: usize = logged.groups.iter().map(|group| group.range.len()).sum();
            logged.has_gone_around() && (3..=4).contains(&(sum / BLOCK_LEN))
        });
        let disk = logged.disk();
        let backend = Options::new().backend(disk.yielding(3));
        let open = with(backend).driver(DriverMode::Manual).open("db");
        let database = open.wait().unwrap();
        // All of it is in memory: nothing but commits needs an I/O.
        let read = database.snapshot().check(|_| {}).unwrap().wait();
        assert_eq!(read.unwrap().damages, []);
        let mut commits = Vec::new();
        for number in 0..4 {
            let mut transaction = drive(database.begin()).unwrap();
            for (key, value) in logged.advance(1_000 + number) {
                match value {
                    Some(value) => drive(transaction.put(MAIN, key, value)).unwrap(),
                    None => drive(transaction.delete(MAIN, key)).unwrap(),
                };
            }
            let mut commit = transaction.commit();
            assert!(matches!(commit.step(), Ok(IOResult::IO(_))));
            commits.push(commit);
        }
        for commit in commits {
            commit.wait().unwrap();
        }
        logged.look(&disk);
        let [.., first, _, _, last] = &logged.groups[..] else { panic!("four groups are missing") };
        assert!(last.header.known <= first.header.position, "{first:?}, {last:?}");
        let sessions = logged.groups.iter().map(|group| group.header.session);
        assert_ne!(sessions.clone().min(), sessions.max());
        logged
    }

    fn commit_until(is_enough: impl Fn(&Logged) -> bool) -> Logged {
        let disk = MemoryDisk::new();
        let options = with(Options::new().backend(disk.immediate()));
        let database = drive(options.open("db")).unwrap();
        let mut logged = Logged {
            data: Vec::new(),
            log: Vec::new(),
            older: Vec::new(),
            groups: Vec::new(),
            versions: vec![Entries::new()],
        };
        for number in 0..1_000 {
            let mut batch = Batch::new();
            for (key, value) in logged.advance(number) {
                match value {
                    Some(value) => batch.put(MAIN, key, value),
                    None => batch.delete(MAIN, key),
                };
            }
            let version = drive(database.write(&batch)).unwrap();
            assert_eq!(version, logged.newest());
            logged.look(&disk);
            if is_enough(&logged) {
                return logged;
            }
        }
        panic!("the log is never as it should be");
    }

    /// The changes of the next commit, which makes a version.
    fn advance(&mut self, number: usize) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut entries = self.versions.last().expect("there is a version").clone();
        let changes = changes(number);
        for (key, value) in changes.clone() {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        self.versions.push(entries);
        changes
    }

    fn newest(&self) -> u64 {
        self.versions.len() as u64 - 1
    }

    /// Takes both files as they are now.
    fn look(&mut self, disk: &MemoryDisk) {
        self.data = disk.image("db").expect("there is a file");
        let log = disk.image("db-log").unwrap_or_default();
        self.older.push(std::mem::replace(&mut self.log, log));
        let slots = SLOT_OFFSETS.map(|at| &self.data[at as usize..][..SLOT_LEN]);
        let chosen = choose(slots, self.data.len() as u64).expect("it has a superblock");
        self.groups.clear();
        let Some(start) = chosen.superblock.log_start() else { return };
        let mut scan = Scan::new(ring_blocks(self.log.len() as u64), start).unwrap();
        while let Some((offset, count)) = scan.wanted() {
            scan.feed(&self.log[file_offset(offset) as usize..][..count as usize * BLOCK_LEN]);
        }
        let mut before = start.version;
        while let Some((place, group)) = scan.next_group() {
            let (header, at) = (*group.header(), file_offset(place.offset) as usize);
            let range = at..at + group.block_count() as usize * BLOCK_LEN;
            self.groups.push(LoggedGroup { header, range, before });
            if header.transactions > 0 {
                before = header.first_version + u64::from(header.transactions) - 1;
            }
        }
        assert_eq!(scan.finish().map(|end| end.version), Ok(before));
        assert_eq!(before, self.newest());
    }

    fn has_gone_around(&self) -> bool {
        self.groups.last().is_some_and(|last| last.header.position > 2 * RING_BLOCKS)
    }

    fn has_everything(&self) -> bool {
        let Some((last, others)) = self.groups.split_last() else { return false };
        let is_long = |group: &LoggedGroup| group.range.len() > BLOCK_LEN;
        let is_name = |group: &LoggedGroup| group.header.transactions == 0;
        let wraps = others.windows(2).filter(|two| two[0].range.start > two[1].range.start);
        self.has_gone_around()
            && is_long(last)
            && others.len() >= 5
            && others.iter().any(is_long)
            && others.iter().any(is_name)
            && wraps.count() == 1
            && others.last().is_some_and(|group| group.range.start < last.range.start)
    }

    /// A disk with both files.
    fn disk(&self) -> MemoryDisk {
        let disk = MemoryDisk::new();
        disk.set_image("db", self.data.clone());
        disk.set_image("db-log", self.log.clone());
        disk
    }

    /// The bytes of the log that opening needs: its first block, and all groups.
    pub fn needed(&self) -> Vec<usize> {
        let groups = self.groups.iter().flat_map(|group| group.range.clone());
        (0..BLOCK_LEN).chain(groups).collect()
    }

    /// What may come of opening the file with this log.
    fn expected(&self, log: &[u8]) -> Expected {
        if log.get(..BLOCK_LEN) != Some(&self.log[..BLOCK_LEN]) {
            return Expected::NoLog;
        }
        let is_hit = |group: &&LoggedGroup| {
            log.get(group.range.clone()) != Some(&self.log[group.range.clone()])
        };
        let Some(hit) = self.groups.iter().find(is_hit) else { return Expected::Spare };
        let (position, is_cut) = (hit.header.position, log.len() < self.log.len());
        let whole = self.groups.iter().filter(|group| !is_hit(group)).map(|group| group.header);
        let anywhere = (1..log.len() / BLOCK_LEN)
            .filter_map(|block| group::parse(&log[block * BLOCK_LEN..]).ok())
            .map(|group| *group.header());
        if whole.chain(anywhere).any(|header| header.known > position) {
            return if is_cut { Expected::Cut(None) } else { Expected::Damage(position) };
        }
        let is_torn = hit.range.clone().step_by(SECTOR_LEN).any(|at| {
            let tag = at + TAG.start..at + TAG.end;
            log.get(tag.clone()) != Some(&self.log[tag])
        });
        match is_torn {
            true if is_cut => Expected::Cut(Some(hit.before)),
            true => Expected::Torn(position, hit.before),
            false => Expected::Damage(position),
        }
    }
}

/// What opening damaged copies takes, for one thread.
pub struct LogExaminer<'a> {
    logged: &'a Logged,
    disk: MemoryDisk,
    changes: Arc<Changes>,
}

/// Counts what changes a file.
#[derive(Default)]
struct Changes(AtomicUsize);

impl RawHook for Changes {
    fn raw(&self, operation: Operation, _offset: u64, _len: usize, result: i32) -> i32 {
        if matches!(operation, Operation::Write | Operation::Truncate | Operation::Remove) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

impl<'a> LogExaminer<'a> {
    /// For damaged copies of a log.
    pub fn new(logged: &'a Logged) -> LogExaminer<'a> {
        LogExaminer { logged, disk: logged.disk(), changes: Arc::default() }
    }

    fn open(&self, read_only: bool) -> Result<Database, Error> {
        let backend = self.disk.with_hook(None, self.changes.clone());
        let options = with(Options::new().backend(backend)).create(Create::Never);
        drive(options.read_only(read_only).open("db"))
    }

    /// Opens the file with this log in place of its own, for writing and, if `readers` are to see
    /// it as well, for reading; where that succeeds, it is read, changed and opened again.
    ///
    /// # Panics
    ///
    /// If anything comes of it but what was committed, without what may have been torn, or an
    /// error that names the damage and leaves both files as they are.
    pub fn examine(&self, log: &[u8], readers: bool) -> Outcome {
        let expected = self.logged.expected(log);
        self.disk.set_image("db-log", log.to_vec());
        self.changes.0.store(0, Ordering::Relaxed);
        let open = |read_only| match self.open(read_only) {
            Ok(database) => self.look(database, expected),
            Err(error) => {
                assert_named(&error, expected);
                Outcome::Refused
            }
        };
        let read = readers.then(|| open(true));
        let outcome = open(false);
        assert!(read.is_none_or(|read| read == outcome), "{expected:?}: {read:?}, {outcome:?}");
        if outcome == Outcome::Refused {
            assert_eq!(self.changes.0.load(Ordering::Relaxed), 0, "a file was changed");
        } else {
            self.disk.set_image("db", self.logged.data.clone());
        }
        outcome
    }

    /// Looks at what was opened, and commits something.
    fn look(&self, database: Database, expected: Expected) -> Outcome {
        let newest = self.logged.newest();
        let version = match expected {
            Expected::Spare => newest,
            Expected::Torn(_, before) | Expected::Cut(Some(before)) => before,
            Expected::NoLog | Expected::Damage(_) | Expected::Cut(None) => {
                panic!("{expected:?}, and it is opened")
            }
        };
        let entries = &self.logged.versions[version as usize];
        assert_eq!(database.snapshot().version(), version, "{expected:?}");
        assert_entries(&database, entries);
        if !database.is_read_only() {
            let mut entries = entries.clone();
            let mut batch = Batch::new();
            for (key, value) in [("another", "one"), ("key 001", "changed")] {
                batch.put(MAIN, key, value);
                entries.insert(key.into(), value.into());
            }
            assert_eq!(drive(database.write(&batch)).unwrap(), version + 1);
            assert_entries(&database, &entries);
            drop(database);
            assert_entries(&self.open(false).unwrap(), &entries);
        }
        if version == newest { Outcome::Whole } else { Outcome::Shorter }
    }
}

fn assert_entries(database: &Database, entries: &Entries) {
    let snapshot = database.snapshot();
    assert_eq!(drive(snapshot.check(|_| {}).unwrap()).unwrap().damages, []);
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    for (key, value) in entries {
        let found = drive(cursor.next()).unwrap().expect("an entry is missing");
        assert!(found.key() == key && found.value() == value, "wrong data");
    }
    assert!(drive(cursor.next()).unwrap().is_none(), "an entry behind the last one");
}

fn assert_named(error: &Error, expected: Expected) {
    let text = error.to_string();
    match expected {
        Expected::NoLog => {
            assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::LogMissing), "{text}");
            assert!(text.contains("log"), "{text}");
        }
        Expected::Damage(position) | Expected::Torn(position, _) => {
            assert_eq!(error.kind(), ErrorKind::Damaged, "{text}");
            let is_named = text.contains(&format!("position {position} "));
            assert!(is_named, "{expected:?}, said is: {text}");
        }
        Expected::Spare | Expected::Cut(_) => {
            assert_eq!(error.kind(), ErrorKind::Damaged, "{text}");
            assert!(text.contains("log"), "{text}");
        }
    }
}
