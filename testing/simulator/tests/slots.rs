//! A slot of the superblock that the device cannot read. It may be the one that counts, and be read
//! the next time: so nothing is opened, or written, but what is read of the other one.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use rstest::rstest;
use simulator::computer::{Computer, ComputerSettings};
use simulator::disk::{Choice, Disk};
use yieldb::{
    Backend, Database, DriverMode, Error, ErrorKind, LogLimits, MAIN, MemoryDisk, Options,
};
use yieldb_core::Operation;
use yieldb_io_backends::RawHook;
use yieldb_pager::superblock::{SLOT_LEN, SLOT_OFFSETS, Superblock, slot_checksum};

const FILE: &str = "db";
const LOG: &str = "db-log";

/// So many entries are in the first commit; each of the others has one more.
const COUNT: u32 = 500;

/// What there is of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    Nothing,
    /// Both slots say that it has begun.
    Begun,
    /// It names the checkpoint that one slot has.
    Named,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug)]
enum How {
    Writing,
    Reading,
    Checkpoint,
}

/// The files that a process left that was killed.
#[derive(Clone)]
struct Left {
    data: Vec<u8>,
    log: Option<Vec<u8>>,
}

impl Left {
    fn behind(commits: u32, log: Log) -> Left {
        let has_log = log != Log::Nothing;
        let computer = Computer::start(Disk::new(), ComputerSettings::default());
        let database = options(computer.backend(), has_log).open(FILE).wait().unwrap();
        put(&database, 0..COUNT);
        for number in 0..commits {
            if log == Log::Named && number + 1 == commits {
                database.checkpoint().wait().unwrap();
            }
            put(&database, COUNT + number..COUNT + number + 1);
        }
        assert_eq!(database.metrics().log.is_some(), has_log);
        Left::of(&computer)
    }

    /// What a power cut leaves, at worst.
    fn of(computer: &Computer) -> Left {
        let (disk, _) = computer.crash_power(&mut Choice::Nothing);
        computer.halt();
        Left { data: disk.image(FILE).unwrap(), log: disk.image(LOG) }
    }

    /// Opens it where these slots cannot be read. Returns how many entries there are, and what a
    /// power cut leaves then.
    fn open(&self, lost: &[usize], how: How) -> Opened {
        let mut disk = Disk::new();
        disk.set_image(FILE, &self.data);
        if let Some(log) = &self.log {
            disk.set_image(LOG, log);
        }
        for slot in lost {
            disk.mark_unreadable(FILE, SLOT_OFFSETS[*slot] / SLOT_LEN as u64);
        }
        let computer = Computer::start(disk, ComputerSettings::default());
        let options = options(computer.backend(), self.log.is_some());
        let options = match how {
            How::Writing => options,
            How::Reading => options.read_only(true),
            How::Checkpoint => options.checkpoint_only(true),
        };
        let opened = options.open(FILE).wait();
        let count = opened.map(|database| database.snapshot().count(MAIN).unwrap());
        Opened { count, left: Left::of(&computer) }
    }

    fn slot(&mut self, index: usize) -> &mut [u8] {
        &mut self.data[SLOT_OFFSETS[index] as usize..][..SLOT_LEN]
    }

    /// The slot that says more.
    fn newest(&mut self) -> usize {
        let [first, second] =
            [0, 1].map(|index| Superblock::parse(self.slot(index)).unwrap().checkpoint);
        usize::from(second > first)
    }
}

struct Opened {
    count: yieldb::Result<u64>,
    left: Left,
}

fn options(backend: Backend, has_log: bool) -> Options {
    let limits = LogLimits { first_len: 1 << 20, max_len: 1 << 20 };
    let options = Options::new().backend(backend).driver(DriverMode::Manual).cache_bytes(4 << 20);
    options.log(has_log.then_some(limits))
}

fn put(database: &Database, keys: Range<u32>) {
    let mut transaction = database.begin().wait().unwrap();
    for key in keys {
        transaction.put(MAIN, key.to_be_bytes(), "value").wait().unwrap();
    }
    transaction.commit().wait().unwrap();
}

fn assert_unreadable(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::System, "{error}");
    assert_eq!(error.errno(), Some(5), "{error}");
}

#[rstest]
fn what_cannot_be_read_is_told_and_nothing_is_written(
    #[values(Log::Nothing, Log::Begun, Log::Named)] log: Log,
    #[values(&[0], &[1], &[0, 1])] lost: &'static [usize],
    #[values(How::Reading, How::Writing)] how: How,
) {
    let left = Left::behind(3, log);
    let opened = left.open(lost, how);
    assert_unreadable(&opened.count.unwrap_err());
    assert!(opened.left.data == left.data, "it was written");
    assert!(opened.left.log == left.log, "its log was written");
    // It is read the next time.
    assert_eq!(left.open(&[], how).count.unwrap(), u64::from(COUNT) + 3);
}

#[rstest]
fn a_checkpoint_is_read_from_one_slot(
    #[values(Log::Nothing, Log::Begun, Log::Named)] log: Log,
    #[values(3, 4)] commits: u32,
) {
    let mut left = Left::behind(commits, log);
    let newest = left.newest();
    let counts = [0, 1].map(|lost| left.open(&[lost], How::Checkpoint).count.unwrap());
    let (begun, last) = (u64::from(COUNT) + 1, u64::from(COUNT + commits));
    let expected = match log {
        Log::Nothing => [last; 2],
        Log::Begun => [begun; 2],
        // Behind the checkpoint is one commit, and the other slot has the one before.
        Log::Named if newest == 0 => [begun, last - 1],
        Log::Named => [last - 1, begun],
    };
    assert_eq!(counts, expected);
    assert_unreadable(&left.open(&[0, 1], How::Checkpoint).count.unwrap_err());
}

/// Nothing tells a file whose first slot is not there yet from one whose first slot cannot be read.
#[rstest]
fn a_file_with_a_lost_slot_is_not_created_anew(#[values(0, 1)] lost: usize) {
    let mut left = Left::behind(0, Log::Nothing);
    left.data.truncate(2 * SLOT_LEN);
    left.slot(1 - lost).fill(0);
    for how in [How::Reading, How::Writing, How::Checkpoint] {
        let opened = left.open(&[lost], how);
        assert_unreadable(&opened.count.unwrap_err());
        assert!(opened.left.data == left.data, "it was written");
    }
}

#[test]
fn a_slot_of_the_future_is_one_whatever_the_other_says() {
    let mut left = Left::behind(3, Log::Nothing);
    let slot = left.slot(0);
    slot[16] = 9;
    let checksum = slot_checksum(slot);
    slot[SLOT_LEN - 4..].copy_from_slice(&checksum.to_le_bytes());
    let error = left.open(&[1], How::Checkpoint).count.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Foreign, "{error}");
}

/// One slot that cannot be read, and those that were written. A log's blocks at these places are
/// its header, which is written once, and that of its first group.
#[derive(Default)]
struct Medium {
    lost: Mutex<Option<usize>>,
    written: Mutex<Vec<usize>>,
}

impl RawHook for Medium {
    fn raw(&self, operation: Operation, offset: u64, _len: usize, result: i32) -> i32 {
        let Some(slot) = SLOT_OFFSETS.iter().position(|at| *at == offset) else { return result };
        match operation {
            Operation::Read if *self.lost.lock().unwrap() == Some(slot) => return -5,
            Operation::Write => self.written.lock().unwrap().push(slot),
            _ => {}
        }
        result
    }
}

/// While it is written it may be torn, and then the other one has to be good.
#[rstest]
fn a_checkpoint_writes_the_slot_first_that_cannot_be_read(
    #[values(3, 4)] commits: u32,
    #[values(false, true)] is_newest: bool,
) {
    let medium = Arc::new(Medium::default());
    let backend = MemoryDisk::new().with_hook(None, medium.clone());
    let database = options(backend, false).open(FILE).wait().unwrap();
    for number in 0..commits {
        put(&database, number..number + 1);
    }
    let written = std::mem::take(&mut *medium.written.lock().unwrap());
    // Both say the same; the one that was written last is the next to be written first.
    let usual = *written.last().unwrap();
    let lost = if is_newest { 1 - usual } else { usual };
    *medium.lost.lock().unwrap() = Some(lost);
    put(&database, COUNT..COUNT + 1);
    assert_eq!(*medium.written.lock().unwrap(), [lost, 1 - lost]);
}

/// With a log it is the only one that counts, once the log names what it says; perhaps it could not
/// be read this once.
#[test]
fn a_checkpoint_keeps_the_slot_that_the_log_names_though_it_cannot_be_read() {
    let medium = Arc::new(Medium::default());
    let backend = MemoryDisk::new().with_hook(None, medium.clone());
    let database = options(backend, true).open(FILE).wait().unwrap();
    let take_written = || std::mem::take(&mut *medium.written.lock().unwrap());
    for number in 0..5 {
        put(&database, number..number + 1);
    }
    for number in 5..9 {
        take_written();
        database.checkpoint().wait().unwrap();
        let named = take_written();
        assert_eq!(named.len(), 1, "{named:?}");
        *medium.lost.lock().unwrap() = Some(named[0]);
        put(&database, number..number + 1);
        database.checkpoint().wait().unwrap();
        assert_eq!(take_written(), [1 - named[0]]);
        *medium.lost.lock().unwrap() = None;
        put(&database, number..number + 1);
    }
}
