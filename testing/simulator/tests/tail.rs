//! The log's tail: what the older checkpoint needs stays until a group names the newer one. Else
//! damage to one slot takes what was acknowledged, and nothing tells of it.
//!
//! ```text
//!   ring      |A B C D| N x y |W|          A to D: in flight together, none knows another durable
//!              ^ the older checkpoint      N: names the newer one, which has A to D
//!              z                           z: comes to A's place when the tail has advanced
//! ```
//!
//! The power is cut when N, and those behind it, are lost, and z is torn; then the slot rots that
//! has the newer checkpoint. The other slot's log has to begin with A.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use simulator::computer::{Computer, ComputerSettings};
use simulator::disk::{Choice, Disk};
use simulator::random::Random;
use yieldb::{
    Create, Database, DriverMode, ErrorKind, IOResult, LogLimits, MAIN, Options, WriteTransaction,
};
use yieldb_core::injection::{self, Mistake};
use yieldb_pager::superblock::{SLOT_LEN, SLOT_OFFSETS, Superblock};

const FILE: &str = "data.db";

/// A header, and a ring of eight blocks.
const LOG_LEN: u64 = 9 * 4096;

/// How many crashes are tried at each moment.
const CRASHES: u64 = 200;

/// How many commits are in flight together, and how many come behind them.
const TOGETHER: u32 = 4;
const BEHIND: u32 = 3;

fn open(computer: &Computer) -> yieldb::Result<Database> {
    let options = Options::new().backend(computer.backend()).driver(DriverMode::Manual);
    let options = options.cache_bytes(4 << 20).create(Create::IfMissing);
    options.log(Some(LogLimits { first_len: LOG_LEN, max_len: LOG_LEN })).open(FILE).wait()
}

/// Puts an entry into a transaction, which needs no I/O.
fn put(transaction: &mut WriteTransaction, key: u32) {
    let mut put = transaction.put(MAIN, key.to_be_bytes(), key.to_string());
    assert!(matches!(put.step(), Ok(IOResult::Done(_))));
}

/// How many keys there are, which must be the first ones.
fn count(database: &Database) -> u32 {
    let snapshot = database.snapshot();
    let count = snapshot.count(MAIN).unwrap() as u32;
    for key in 0..count {
        let value = snapshot.get(MAIN, key.to_be_bytes()).wait().unwrap();
        assert_eq!(value.as_deref(), Some(key.to_string().as_bytes()));
    }
    count
}

/// Turns a bit of the slot with the newest checkpoint.
fn rot(disk: &mut Disk) {
    let mut image = disk.image(FILE).unwrap();
    let checkpoint = |at: &u64| {
        let slot = Superblock::parse(&image[*at as usize..][..SLOT_LEN]);
        slot.map_or(0, |slot| slot.checkpoint)
    };
    let at = SLOT_OFFSETS.into_iter().max_by_key(checkpoint).unwrap();
    image[at as usize + 100] ^= 1;
    disk.set_image(FILE, &image);
}

/// Cuts the power in all kinds of ways, and lets a slot rot. Returns how often that took anything
/// of what `acknowledged` commits have put.
fn try_crashes(computer: &Computer, acknowledged: u32, random: &mut Random) -> u64 {
    let mut lost = 0;
    for _ in 0..CRASHES {
        let (mut disk, _) = computer.crash_power(&mut Choice::Random(random.fork()));
        rot(&mut disk);
        let next = Computer::start(disk, ComputerSettings::default());
        match open(&next) {
            Ok(database) => lost += u64::from(count(&database) < acknowledged),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged, "{error}"),
        }
        next.halt();
    }
    lost
}

/// How often something was lost.
fn run() -> u64 {
    let mut random = Random::new(1);
    let computer = Computer::start(Disk::new(), ComputerSettings::default());
    let database = open(&computer).unwrap();
    let mut keys = 0..;
    // The second commit begins the log.
    for key in keys.by_ref().take(2) {
        let mut transaction = database.begin().wait().unwrap();
        put(&mut transaction, key);
        transaction.commit().wait().unwrap();
    }
    let mut commits = Vec::new();
    for key in keys.by_ref().take(TOGETHER as usize) {
        let Some(mut transaction) = database.try_begin().unwrap() else { panic!("not its turn") };
        put(&mut transaction, key);
        let mut commit = transaction.commit();
        assert!(matches!(commit.step(), Ok(IOResult::IO(_))));
        commits.push(commit);
    }
    for commit in commits {
        commit.wait().unwrap();
    }
    let acknowledged = 2 + TOGETHER;

    // There is no room for these but behind a checkpoint.
    let mut tasks: Vec<Option<Pin<Box<dyn Future<Output = ()>>>>> = Vec::new();
    for key in keys.take(BEHIND as usize) {
        let database = database.clone();
        tasks.push(Some(Box::pin(async move {
            let mut transaction = database.begin().await.unwrap();
            put(&mut transaction, key);
            transaction.commit().await.unwrap();
        })));
    }
    let mut lost = 0;
    while tasks.iter().any(Option::is_some) {
        for _ in 0..tasks.len() {
            for task in &mut tasks {
                let mut context = Context::from_waker(Waker::noop());
                if let Some(work) = task
                    && let Poll::Ready(()) = work.as_mut().poll(&mut context)
                {
                    *task = None;
                }
            }
        }
        lost += try_crashes(&computer, acknowledged, &mut random);
        database.turn();
    }
    assert!(database.metrics().log.unwrap().position >= u64::from(TOGETHER + 1 + BEHIND));
    assert_eq!(count(&database), acknowledged + BEHIND);
    lost
}

#[test]
fn damage_to_the_newest_slot_takes_nothing_until_the_log_names_its_checkpoint() {
    assert_eq!(run(), 0);
}

#[test]
fn a_tail_that_advances_before_the_checkpoint_is_named_is_noticed() {
    assert!(injection::plant(Mistake::TailBeforeNamed, run) > 0);
}
