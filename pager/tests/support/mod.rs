//! What the tests of this crate share: a file in memory whose pages are anything, and loops that
//! drive it.
#![allow(dead_code)]

use std::path::Path;
use std::sync::Arc;

use yieldb_core::{Completion, Create, IOCompletions, IOResult, StateMachine, StateTransition};
use yieldb_io_backends::{Backend, MemoryDisk, RawHook};
use yieldb_pager::ops::fetch::fetch;
use yieldb_pager::ops::open::open;
use yieldb_pager::page_format::{HEADER_LEN, LEAF, set_kind, set_name};
use yieldb_pager::space::map::MapShape;
use yieldb_pager::write_set::Reserve;
use yieldb_pager::writer_queue::Followers;
use yieldb_pager::{CacheMemory, Settings};
use yieldb_pager::{PageId, PageRef, PageSize, Pager, Result, RootSet, WriteSet};

/// Numbers that look random (xorshift64).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// Bytes that tell from which seed they are.
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8) as u64).map(|at| seed.wrapping_mul(0x9e37_79b9) ^ at << 32);
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(len);
    bytes
}

/// A file in memory.
pub struct Store {
    pub disk: MemoryDisk,
    pub backend: Backend,
    pub pager: Arc<Pager>,
}

impl Store {
    /// A new one. Each I/O is performed when the loop turns, in an order that `seed` decides.
    pub fn new(frames: usize, seed: u64, hook: Option<Arc<dyn RawHook>>) -> Store {
        Self::open(MemoryDisk::new(), frames, seed, hook)
    }

    fn open(disk: MemoryDisk, frames: usize, seed: u64, hook: Option<Arc<dyn RawHook>>) -> Store {
        let backend = match hook {
            Some(hook) => disk.with_hook(Some(seed), hook),
            None => disk.yielding(seed),
        };
        let settings = Settings {
            page_size: PageSize::MIN,
            cache: CacheMemory::Own((frames * PageSize::MIN.bytes()) as u64),
            read_only: false,
            create: Create::IfMissing,
            database_id: Some([1; 16]),
            direct: true,
            check: |_| Ok(()),
            log: None,
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
        Store { disk, backend, pager }
    }

    /// Forgets everything but the file, and opens it again.
    pub fn reopen(self, seed: u64) -> Store {
        let frames = self.pager.cache().frame_count();
        self.backend.driver.quiesce();
        let disk = self.disk.clone();
        drop(self);
        Self::open(disk, frames, seed, None)
    }

    /// Waits for the end of something.
    pub fn wait(&self, io: &Completion) {
        for _ in 0..1_000_000 {
            if io.finished() || io.is_explicit_yield() {
                return;
            }
            self.pager.turn();
            self.backend.driver.poll();
        }
        panic!("it does not end");
    }

    /// Drives an operation to its end.
    pub fn drive<M>(&self, mut machine: StateMachine<M>) -> Result<M::Output>
    where
        M: StateTransition<Context = Pager, Error = yieldb_pager::Error>,
    {
        loop {
            match machine.step(&self.pager)? {
                IOResult::Done(output) => return Ok(output),
                IOResult::IO(IOCompletions::Single(io)) => self.wait(&io),
                IOResult::IO(_) => unreachable!("there is one kind of completions"),
            }
        }
    }

    /// Waits until the transaction has `count` pages in reserve.
    pub fn prepare(&self, set: &mut WriteSet, count: usize) -> Result<()> {
        while let Some(io) = set.prepare(&self.pager, count)? {
            self.wait(&io);
        }
        Ok(())
    }

    /// Makes a page with the bytes of `seed`, of the transaction's reserve.
    pub fn create(&self, set: &mut WriteSet, seed: u64) -> PageId {
        let mut reserve: Reserve = set.take_reserve();
        let mut fresh = reserve.take();
        set_kind(&mut fresh.buffer, LEAF, 0, 0);
        let body = &mut fresh.buffer[HEADER_LEN..];
        body.copy_from_slice(&content(seed, body.len()));
        let id = fresh.id;
        set_name(&mut fresh.buffer, id, set.stamp());
        set.put_back_reserve(reserve);
        set.insert(fresh);
        id
    }

    /// Writes a run with the bytes of `seed`, up to and without page `end`.
    pub fn write_run(&self, set: &mut WriteSet, seed: u64, len: usize, end: u64) -> Result<()> {
        let bytes = content(seed, len);
        let mut left = &bytes[..];
        while set.run_left() > end {
            let most = (set.run_left() - end) as usize;
            if let Some(io) = set.prepare_run(&self.pager, most)? {
                self.wait(&io);
                continue;
            }
            set.write_run(&self.pager, |body| {
                let (now, later) = left.split_at(left.len().min(body.len()));
                body[..now.len()].copy_from_slice(now);
                left = later;
                now.len()
            });
        }
        Ok(())
    }

    /// The bytes of a page behind its header, as the transaction sees it.
    pub fn read(&self, set: Option<&WriteSet>, page: PageRef) -> Vec<u8> {
        if let Some(bytes) = set.and_then(|set| set.page(page)) {
            return bytes[HEADER_LEN..].to_vec();
        }
        self.drive(fetch(page)).unwrap()[HEADER_LEN..].to_vec()
    }

    /// Commits.
    pub fn commit(&self, mut set: WriteSet) -> Result<u64> {
        let turn = self.pager.writers()?.try_take().expect("nobody else writes");
        let roots = RootSet::clone(self.pager.newest().roots());
        let ticket = self.pager.commit(set.take(), roots, turn, Followers::default());
        self.wait(&ticket.completion());
        ticket.result().expect("it is over")
    }

    /// Lets everything end that is under way, and frees what waited for that.
    pub fn settle(&self) {
        while self.pager.turn() || self.backend.driver.poll() > 0 {}
        self.pager.begin_write_set().give_up(&self.pager);
    }

    /// How many pages the newest version's space map has.
    pub fn map_count(&self) -> u64 {
        let superblock = self.pager.superblock();
        match superblock.space {
            Some(_) => MapShape::of(superblock.page_size, superblock.page_count).page_count(),
            None => 0,
        }
    }
}
