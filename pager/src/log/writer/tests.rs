//! The log of an open database in memory, whose commits have records and change no page.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use yieldb_core::{Create, IOResult, Operation};
use yieldb_io_backends::{Backend, MemoryDisk, RawHook};

use super::*;
use crate::log::ring::Demand;
use crate::log::ring_blocks;
use crate::ops::open::open;
use crate::version::RootSet;
use crate::writer_queue::{Deposited, Followers, WriterTurn};
use crate::{CacheMemory, Durability, PageSize, Settings};

mod in_flight;
mod room;

/// Fails one request.
struct Failure {
    /// How many come before it; below 0 none fails.
    left: AtomicI64,
    /// Only requests behind this byte of a file count.
    first_offset: AtomicU64,
}

impl RawHook for Failure {
    fn raw(&self, _operation: Operation, offset: u64, _len: usize, result: i32) -> i32 {
        if offset < self.first_offset.load(Ordering::SeqCst) {
            return result;
        }
        let is_next = self.left.fetch_sub(1, Ordering::SeqCst) == 0;
        if is_next { -EIO } else { result }
    }
}

/// The number of an I/O error.
const EIO: i32 = 5;

const FIRST_LEN: u64 = 64 << 10;

/// A log of 15 blocks.
const SHORT: LogLimits = growing(1);

/// A log that needs no checkpoint.
const ROOMY: LogLimits = LogLimits { first_len: 1 << 20, max_len: 1 << 20 };

/// A log that grows to so many times its length.
const fn growing(times: u64) -> LogLimits {
    LogLimits { first_len: FIRST_LEN, max_len: times * FIRST_LEN }
}

/// An open database with a log.
struct Store {
    disk: MemoryDisk,
    backend: Backend,
    pager: Arc<Pager>,
    failure: Arc<Failure>,
}

impl Store {
    fn open(disk: MemoryDisk, seed: u64, limits: LogLimits) -> Store {
        Store::open_as(disk, seed, limits, true)
    }

    /// The same, past the operating system's cache or not.
    fn open_as(disk: MemoryDisk, seed: u64, limits: LogLimits, direct: bool) -> Store {
        let failure = Arc::new(Failure { left: AtomicI64::new(-1), first_offset: 0.into() });
        let backend = disk.with_hook(Some(seed), failure.clone());
        let settings = Settings {
            page_size: PageSize::MIN,
            cache: CacheMemory::Own(64 * 4096),
            read_only: false,
            create: Create::IfMissing,
            database_id: None,
            direct,
            check: |_| Ok(()),
            log: Some(limits),
            checkpoint_only: false,
        };
        let mut machine = open(backend.io.clone(), Path::new("db"), settings).unwrap();
        let pager = loop {
            match machine.step(&()).unwrap() {
                IOResult::Done(pager) => break pager,
                IOResult::IO(_) => {
                    backend.driver.poll();
                }
            }
        };
        Store { disk, backend, pager, failure }
    }

    /// A new one behind two commits, the second of which began a log.
    fn new(seed: u64, limits: LogLimits) -> Store {
        Store::open(MemoryDisk::new(), seed, limits).with_log()
    }

    fn with_log(self) -> Store {
        for _ in 0..2 {
            let roots = RootSet::clone(&self.pager.applied());
            let ticket = self.pager.commit(
                self.pager.begin_write_set(),
                roots,
                self.turn(),
                Followers::default(),
            );
            self.finish();
            ticket.result().unwrap().unwrap();
        }
        assert!(self.pager.log().head().is_some());
        self
    }

    /// Performs one request, in an order of its own.
    fn poll(&self) -> bool {
        let polled = self.backend.driver.poll() > 0;
        self.pager.turn() || polled
    }

    fn finish(&self) {
        while self.poll() {}
    }

    /// Commits, if there is room.
    fn append(&self, record_len: usize) -> std::result::Result<Arc<Ticket>, Room> {
        let mut set = self.pager.begin_write_set();
        match self.pager.room_for(&mut set, record_len).unwrap() {
            Room::Enough => Ok(self.append_with(self.turn(), record_len)),
            room @ (Room::Wait(_) | Room::Never) => Err(room),
        }
    }

    fn turn(&self) -> WriterTurn {
        self.pager.writers().unwrap().try_take().unwrap()
    }

    /// Commits, and waits for nothing; there is room.
    fn append_relaxed(&self, record_len: usize) -> Arc<Ticket> {
        self.append_relaxed_with(self.turn(), record_len)
    }

    fn append_relaxed_with(&self, turn: WriterTurn, record_len: usize) -> Arc<Ticket> {
        self.append_as(turn, record_len, Durability::Relaxed)
    }

    /// Commits; there is room.
    fn append_with(&self, turn: WriterTurn, record_len: usize) -> Arc<Ticket> {
        self.append_as(turn, record_len, Durability::Sync)
    }

    fn append_as(
        &self,
        turn: WriterTurn,
        record_len: usize,
        durability: Durability,
    ) -> Arc<Ticket> {
        let record = vec![record_len as u8; record_len];
        self.append_for(turn, Followers::default(), &record, durability)
    }

    fn append_for(
        &self,
        turn: WriterTurn,
        followers: Followers,
        record: &[u8],
        durability: Durability,
    ) -> Arc<Ticket> {
        let set = self.pager.begin_write_set();
        let roots = RootSet::clone(&self.pager.applied());
        let ticket = self.pager.append(set, roots, turn, followers, record, durability).unwrap();
        self.pager.turn();
        ticket
    }

    /// Leaves so many changes for anyone to make.
    fn deposit(&self, count: usize) -> Vec<Deposited> {
        (0..count).map(|_| self.pager.queue.deposit(vec![1; 8])).collect()
    }

    /// Makes all changes that were left, and some of its own.
    fn make_deposits(&self) -> Arc<Ticket> {
        let turn = self.turn();
        let followers = turn.followers(usize::MAX, usize::MAX);
        let record = vec![1; 8 * followers.deposits().len()];
        self.append_for(turn, followers, &record, Durability::Sync)
    }

    /// Fails a request, of which so many come before it.
    fn fail_behind(&self, count: i64) {
        self.failure.left.store(count, Ordering::SeqCst);
    }

    /// The last version that an open finds in these files as they are.
    fn durable_version(&self) -> u64 {
        let disk = MemoryDisk::new();
        for name in ["db", "db-log"] {
            disk.set_image(name, self.disk.image(name).unwrap());
        }
        let store = Store::open(disk, 1, SHORT);
        let version = store.pager.superblock().version;
        store.pager.take_recovery().map_or(version, |(reader, _)| reader.last_version())
    }

    /// A commit is not in the log that a longer one would take.
    fn be_too_short(&self) {
        let longest = self.pager.record_limit().unwrap();
        assert!(matches!(self.append(longest + 1), Err(Room::Never)));
        self.pager.log().turn_away();
    }

    /// The log's length in bytes: as the file has it, and as the ring has it.
    fn log_len(&self) -> (u64, u64) {
        let len = self.disk.image("db-log").unwrap().len() as u64;
        let ring_blocks = self.pager.log().state().as_ref().unwrap().ring.ring_blocks();
        (len, file_offset(ring_blocks))
    }
}

/// How many of these ended well, if the others have not ended and are behind them.
fn count_durable(tickets: &[Arc<Ticket>]) -> usize {
    let count = tickets.iter().take_while(|ticket| ticket.result().is_some()).count();
    assert!(tickets[..count].iter().all(|ticket| ticket.result().unwrap().is_ok()));
    assert!(tickets[count..].iter().all(|ticket| ticket.result().is_none()));
    count
}

#[test]
fn commits_are_acknowledged_in_order_when_they_are_durable() {
    let mut together = 0;
    for seed in 1..40 {
        let store = Store::new(seed, ROOMY);
        let first = store.pager.applied().version + 1;
        let tickets: Vec<_> = (0..20).map(|at| store.append(at % 3 * 300).unwrap()).collect();
        // The first ones are in flight, each in its own group; the others go out behind them.
        let mut durable = 0;
        while store.poll() {
            let now = count_durable(&tickets);
            if now > durable {
                assert!(store.durable_version() + 1 >= first + now as u64);
                together += usize::from(now - durable > DEPTH);
                assert_eq!(store.pager.newest().roots().version + 1, first + now as u64);
            }
            durable = now;
        }
        assert_eq!(durable, 20);
        for (ticket, version) in tickets.iter().zip(first..) {
            assert_eq!(ticket.result().unwrap().unwrap(), version);
        }
    }
    assert!(together > 10, "what waited did not share a group");
}

#[test]
fn beside_a_group_in_flight_half_of_what_is_under_way_is_made() {
    let store = Store::new(1, ROOMY);
    let is_ready = |waiting| store.pager.is_ready(waiting);
    assert!(is_ready(1), "nothing is in flight");
    let _first = store.deposit(15);
    let first = store.make_deposits();
    assert!(!is_ready(15));
    assert!(is_ready(16), "as many as are in flight");
    let _second = store.deposit(15);
    let second = store.make_deposits();
    assert!(!is_ready(100), "the next group is made already");
    let third = store.deposit(16);
    while first.result().is_none() {
        assert!(store.poll());
    }
    // 48 are under way, and 16 of them in flight. Those that are durable come again at once.
    assert!(!is_ready(16));
    assert!(!is_ready(23));
    assert!(is_ready(24));
    // They did not.
    while second.result().is_none() {
        assert!(store.poll());
    }
    assert!(is_ready(1), "nothing is in flight");
    drop(third);
    assert_eq!(store.pager.queue.deposit_count(), 0);
    let _alone = store.deposit(7);
    let alone = store.make_deposits();
    let _next = store.deposit(7);
    assert!(!is_ready(8), "there were 32");
    assert!(is_ready(16));
    while alone.result().is_none() {
        assert!(store.poll());
    }
    let _last = store.make_deposits();
    assert!(is_ready(8), "there were 15");
}

#[test]
fn behind_a_group_that_fails_nothing_is_acknowledged() {
    let (mut first_failed, mut later_failed) = (0, 0);
    for (seed, behind) in (1..30).flat_map(|seed| (0..10).map(move |behind| (seed, behind))) {
        let store = Store::new(seed, ROOMY);
        let before = store.pager.applied().version;
        let tickets: Vec<_> = (0..10).map(|_| store.append(100).unwrap()).collect();
        // Nobody has told this writer yet.
        let turn = store.turn();
        store.fail_behind(behind);
        store.finish();
        let late = store.append_with(turn, 100);
        store.finish();
        let results: Vec<_> = tickets.iter().map(|ticket| ticket.result().unwrap()).collect();
        let good = results.iter().take_while(|result| result.is_ok()).count();
        let is_unknown = |result: &Result<u64>| matches!(result, Err(Error::OutcomeUnknown { .. }));
        assert!(results[good..].iter().all(is_unknown), "{results:?}");
        assert!(is_unknown(&late.result().unwrap()), "{late:?}");
        assert!(good < 10, "an error of write {behind} was not noticed");
        assert!(matches!(store.pager.writers(), Err(Error::Poisoned { .. })));
        assert_eq!(store.pager.newest().roots().version, before + good as u64);
        assert!(store.durable_version() >= before + good as u64);
        assert!(!store.pager.is_busy());
        first_failed += usize::from(good == 0);
        later_failed += usize::from(good > 0);
    }
    assert!(first_failed > 50 && later_failed > 50, "{first_failed} {later_failed}");
}

#[test]
fn a_checkpoint_makes_a_log_longer_that_is_too_short() {
    for seed in 1..20 {
        let store = Store::new(seed, growing(4));
        let (_small, checkpoint) = (store.append(100).unwrap(), store.pager.checkpoint().unwrap());
        store.finish();
        assert!(checkpoint.result().unwrap().is_ok());
        assert_eq!(store.log_len(), (FIRST_LEN, FIRST_LEN), "it was long enough");
        for len in [2, 4, 4] {
            store.be_too_short();
            let limit = store.pager.record_limit().unwrap();
            let tickets: Vec<_> = (0..3).map(|_| store.append(limit).unwrap()).collect();
            let checkpoint = store.pager.checkpoint().unwrap();
            store.finish();
            assert!(checkpoint.result().unwrap().is_ok());
            assert_eq!(count_durable(&tickets), 3);
            assert_eq!(store.log_len(), (len * FIRST_LEN, len * FIRST_LEN));
            assert_eq!(store.durable_version(), store.pager.applied().version);
        }
        assert_eq!(store.pager.record_limit(), Some(Builder::max_transaction_len(7)));
    }
}

#[test]
fn no_group_is_known_to_be_durable_while_the_longer_file_is_not() {
    for seed in 1..20 {
        let store = Store::new(seed, growing(2));
        store.be_too_short();
        let _before = store.append(100).unwrap();
        let checkpoint = store.pager.checkpoint().unwrap();
        let is_syncing = || {
            let state = store.pager.log().state();
            state.as_ref().unwrap().sync.as_ref().is_some_and(|sync| !sync.finished())
        };
        while !is_syncing() {
            assert!(store.poll(), "it never is");
        }
        let ticket = store.append(100).unwrap();
        while is_syncing() {
            assert!(ticket.result().is_none());
            store.poll();
        }
        store.finish();
        assert!(ticket.result().unwrap().is_ok() && checkpoint.result().unwrap().is_ok());
    }
}

#[test]
fn a_log_that_cannot_be_made_longer_stays_as_it_is() {
    let store = Store::new(1, growing(2));
    store.be_too_short();
    store.failure.first_offset.store(FIRST_LEN, Ordering::SeqCst);
    store.fail_behind(0);
    let (ticket, checkpoint) = (store.append(100).unwrap(), store.pager.checkpoint().unwrap());
    store.finish();
    assert!(ticket.result().unwrap().is_ok() && checkpoint.result().unwrap().is_ok());
    assert_eq!(store.log_len(), (FIRST_LEN, FIRST_LEN));
    assert_eq!(store.durable_version(), store.pager.applied().version);
    let _news = store.append(100).unwrap();
    let checkpoint = store.pager.checkpoint().unwrap();
    store.finish();
    assert!(checkpoint.result().unwrap().is_ok());
    assert_eq!(store.log_len(), (2 * FIRST_LEN, 2 * FIRST_LEN));
}

#[test]
fn whatever_fails_beside_growth_nothing_that_was_acknowledged_is_lost() {
    let mut poisoned = 0;
    for (seed, behind) in (1..12).flat_map(|seed| (0..14).map(move |behind| (seed, behind))) {
        let store = Store::new(seed, growing(2));
        store.be_too_short();
        let before = store.pager.applied().version;
        store.fail_behind(behind);
        let mut tickets = vec![store.append(100).unwrap()];
        let checkpoint = store.pager.checkpoint().unwrap();
        tickets.extend((0..2).map(|_| store.append(100).unwrap()));
        store.finish();
        let is_good = |ticket: &&Arc<Ticket>| ticket.result().unwrap().is_ok();
        let good = tickets.iter().take_while(is_good).count();
        assert!(store.durable_version() >= before + good as u64);
        let is_usable = store.pager.writers().is_ok();
        assert!(!is_usable || good == 3);
        assert!(checkpoint.result().is_some() && !store.pager.is_busy());
        poisoned += usize::from(!is_usable);
    }
    assert!(poisoned > 20, "{poisoned}");
}

#[test]
fn relaxed_commits_are_acknowledged_at_once_and_written_together() {
    for seed in 1..20 {
        let store = Store::new(seed, ROOMY);
        let before = store.pager.applied().version;
        let tickets: Vec<_> = (0..20).map(|_| store.append_relaxed(100)).collect();
        assert_eq!(count_durable(&tickets), 20);
        assert_eq!(store.pager.newest().roots().version, before + 20);
        store.finish();
        let groups = store.pager.log_stats().unwrap().groups;
        assert_eq!((groups, store.durable_version()), (0, before));
        // One that is not relaxed brings them with it.
        let ticket = store.append(100).unwrap();
        let later = store.append_relaxed(100);
        assert!(later.result().is_none(), "it overtook the one before");
        store.finish();
        assert!(ticket.result().unwrap().is_ok() && later.result().unwrap().is_ok());
        assert_eq!(store.pager.log_stats().unwrap().groups, 1);
        assert_eq!(store.durable_version(), before + 21);
        assert_eq!(store.pager.newest().roots().version, before + 22);
    }
}

#[test]
fn a_sync_makes_relaxed_commits_durable() {
    for seed in 1..20 {
        let store = Store::new(seed, ROOMY);
        let before = store.pager.applied().version;
        assert!(matches!(store.pager.sync(), Ok((version, None)) if version == before));
        let _first: Vec<_> = (0..3).map(|_| store.append_relaxed(100)).collect();
        let (version, ticket) = store.pager.sync().unwrap();
        let ticket = ticket.expect("they are not durable");
        // Behind the sync.
        let _later = store.append_relaxed(100);
        assert!(ticket.result().is_none());
        store.finish();
        assert_eq!((version, ticket.result().unwrap().unwrap()), (before + 3, before + 3));
        assert!(store.durable_version() >= before + 3);
        // One that changes nothing waits for those that it began on.
        let base = store.pager.applied().version;
        assert!(store.pager.await_version(base, Durability::Relaxed).unwrap().is_none());
        let unchanged = store.pager.await_version(base, Durability::Sync).unwrap();
        store.finish();
        assert!(unchanged.is_none_or(|ticket| ticket.result().unwrap().is_ok()));
        assert_eq!(store.durable_version(), before + 4);
        assert!(matches!(store.pager.sync(), Ok((_, None))));
    }
}

#[test]
fn relaxed_commits_are_written_when_they_fill_a_group_or_their_time_has_come() {
    let store = Store::new(1, ROOMY);
    let before = store.pager.applied().version;
    // Each is as long as a block's payload; the header takes a block more.
    let (most, len) = (max_group_blocks(255) - 1, 4_028);
    for _ in 1..most {
        let _acknowledged = store.append_relaxed(len);
    }
    store.finish();
    assert_eq!(store.durable_version(), before);
    let _last = store.append_relaxed(len);
    store.finish();
    assert_eq!(store.durable_version(), before + most);

    let _waits = store.append_relaxed(100);
    store.finish();
    assert_eq!(store.durable_version(), before + most);
    let state = store.pager.log().state();
    state.as_ref().unwrap().resting.expire(store.backend.io.now());
    drop(state);
    store.finish();
    assert_eq!(store.durable_version(), before + most + 1);
}

/// A checkpoint of many pages takes longer than relaxed commits may wait.
#[test]
fn relaxed_commits_are_written_in_time_beside_a_checkpoint() {
    let store = Store::new(1, ROOMY);
    let in_flight = || store.pager.log().state().as_ref().unwrap().in_flight.len();
    let _durable = store.append(100);
    store.finish();
    let checkpoint = store.pager.checkpoint().unwrap();
    store.pager.turn();
    let _acknowledged = store.append_relaxed(100);
    store.pager.turn();
    assert_eq!(in_flight(), 0);
    let state = store.pager.log().state();
    state.as_ref().unwrap().resting.expire(store.backend.io.now());
    drop(state);
    // Nothing of the checkpoint's I/O is over.
    store.pager.turn();
    assert_eq!(in_flight(), 1);
    assert!(checkpoint.result().is_none());
    store.finish();
    assert!(checkpoint.result().unwrap().is_ok());
}

/// Whoever waits for room may cancel that; the next one who waits gets another signal.
#[test]
fn room_that_somebody_cancelled_is_waited_for_by_others() {
    let store = Store::new(1, ROOMY);
    let room = store.pager.log().wait_for_room().unwrap();
    let same = store.pager.log().wait_for_room().unwrap();
    assert_eq!(room.id(), same.id());
    room.cancel();
    assert!(room.finished());
    let another = store.pager.log().wait_for_room().unwrap();
    assert!(!another.finished());
    store.pager.log().retry_room();
    assert!(another.succeeded());
}

#[test]
fn a_checkpoint_and_the_end_of_the_log_have_relaxed_commits() {
    for seed in 1..20 {
        let store = Store::new(seed, ROOMY);
        let before = store.pager.applied().version;
        let _acknowledged: Vec<_> = (0..3).map(|_| store.append_relaxed(100)).collect();
        let checkpoint = store.pager.checkpoint().unwrap();
        store.finish();
        assert_eq!(checkpoint.result().unwrap().unwrap(), before + 3);
        assert!(matches!(store.pager.sync(), Ok((_, None))));
        assert_eq!(store.pager.superblock().version, before + 3);
        let _acknowledged: Vec<_> = (0..3).map(|_| store.append_relaxed(100)).collect();
        let end = store.pager.end_log(store.turn()).unwrap();
        store.finish();
        assert_eq!(end.result().unwrap().unwrap(), before + 6);
        assert_eq!(store.pager.superblock().version, before + 6);
        assert!(!store.pager.is_busy());
    }
}

#[test]
fn when_a_group_fails_nobody_is_told_that_relaxed_commits_are_durable() {
    for (seed, behind) in (1..20).flat_map(|seed| (0..4).map(move |behind| (seed, behind))) {
        let store = Store::new(seed, ROOMY);
        let before = store.pager.applied().version;
        let first = store.append_relaxed(100);
        store.fail_behind(behind);
        let strict: Vec<_> = (0..5).map(|_| store.append(100).unwrap()).collect();
        let turn = store.turn();
        let waits = store.append_relaxed_with(turn, 100);
        let (_, sync) = store.pager.sync().unwrap();
        store.finish();
        assert!(first.result().unwrap().is_ok());
        let good = strict.iter().take_while(|ticket| ticket.result().unwrap().is_ok()).count();
        let is_unknown = |ticket: &Arc<Ticket>| {
            matches!(ticket.result().unwrap(), Err(Error::OutcomeUnknown { .. }))
        };
        assert!(strict[good..].iter().chain([&waits]).all(is_unknown));
        let sync = sync.expect("the first one waits for the others");
        assert!(if good > 0 { sync.result().unwrap().is_ok() } else { is_unknown(&sync) });
        assert!(matches!(store.pager.sync(), Err(Error::Poisoned { .. })));
        assert!(store.durable_version() >= before + good as u64);
        assert!(!store.pager.is_busy());
    }
}

/// So a checkpoint may be named, and the tail advance, whatever becomes of the groups ahead of the
/// one that names it.
#[test]
fn nothing_is_placed_where_a_group_is_in_flight() {
    let least = ring_blocks(LogLimits { first_len: 0, max_len: 0 }.begin_len());
    for ring_blocks in least..200 {
        let lens = [1, max_group_blocks(ring_blocks)];
        let ways = 0..1 << DEPTH;
        for (offset, way) in (0..ring_blocks).flat_map(|at| ways.clone().map(move |way| (at, way)))
        {
            let begin = Place { position: 0, offset };
            let mut ring = Ring::new(ring_blocks, begin, begin);
            let (mut in_flight, mut blocks) = (0, 0);
            while in_flight < DEPTH {
                let len = lens[way >> in_flight & 1];
                let placed = ring.place(Demand::Promised(len)).unwrap();
                let skipped = placed.wrap.map_or(0, |wrap| ring_blocks - wrap.offset);
                in_flight += 1 + usize::from(skipped > 0);
                blocks += skipped + len;
                ring.advance_tail(ring.head());
            }
            assert!(blocks <= ring_blocks, "{blocks} blocks are in flight, of {ring_blocks}");
        }
    }
}
