//! What the tests of this crate share: a database in memory, and a loop that drives it.
#![allow(dead_code)]

use std::path::Path;
use std::sync::Arc;

use yieldb_btree::node::check_node;
use yieldb_btree::ops::{begin, open};
use yieldb_btree::{Error, Snapshot, Transaction};
use yieldb_core::{Create, IOCompletions, IOResult, StateMachine, StateTransition};
use yieldb_io_backends::{Backend, MemoryDisk};
use yieldb_pager::{CacheMemory, Settings};
use yieldb_pager::{PageSize, Pager};

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
}

/// A database in memory.
pub struct Store {
    pub disk: MemoryDisk,
    pub backend: Backend,
    pub pager: Arc<Pager>,
    settings: Settings,
    seed: Option<u64>,
}

impl Store {
    /// A new one. With a seed, each I/O is performed when the loop turns, in an order of the seed.
    pub fn new(page_len: u32, frames: usize, seed: Option<u64>) -> Store {
        let settings = Settings {
            page_size: PageSize::new(page_len).unwrap(),
            cache: CacheMemory::Own(frames as u64 * u64::from(page_len)),
            read_only: false,
            create: Create::IfMissing,
            database_id: Some([1; 16]),
            direct: true,
            check: check_node,
            log: None,
            checkpoint_only: false,
        };
        Self::open(MemoryDisk::new(), settings, seed)
    }

    /// The one whose file has these bytes, with a cache of 256 pages.
    pub fn of_image(image: Vec<u8>, page_len: u32) -> Store {
        let disk = MemoryDisk::new();
        disk.set_image("db", image);
        let Store { settings, .. } = Store::new(page_len, 256, None);
        Self::open(disk, settings, None)
    }

    fn open(disk: MemoryDisk, settings: Settings, seed: Option<u64>) -> Store {
        let backend = match seed {
            Some(seed) => disk.yielding(seed),
            None => disk.immediate(),
        };
        let open = open::open(backend.io.clone(), Path::new("db"), settings.clone()).unwrap();
        let pager = drive(&backend, None, &(), open).unwrap();
        Store { disk, backend, pager, settings, seed }
    }

    /// Forgets everything but the file, and opens it again.
    pub fn reopen(self) -> Store {
        let Store { disk, backend, pager, settings, seed } = self;
        backend.driver.quiesce();
        drop(pager);
        drop(backend);
        Self::open(disk, settings, seed.map(|seed| seed + 1))
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot::newest(&self.pager)
    }

    pub fn begin(&self) -> Transaction {
        self.drive(begin::begin(self.pager.clone())).unwrap()
    }

    /// Drives an operation to its end.
    pub fn drive<M: StateTransition<Context = Pager, Error = Error>>(
        &self,
        machine: StateMachine<M>,
    ) -> Result<M::Output, Error> {
        drive(&self.backend, Some(&self.pager), &*self.pager, machine)
    }

    pub fn assert_idle(&self) {
        self.pager.cache().assert_idle();
        let space = self.pager.space_use();
        assert_eq!(space.held, 0, "{space:?}");
        assert_eq!(space.pins, 1, "{space:?}");
    }
}

/// Drives an operation to its end.
pub fn drive<M: StateTransition>(
    backend: &Backend,
    pager: Option<&Pager>,
    context: &M::Context,
    mut machine: StateMachine<M>,
) -> Result<M::Output, M::Error> {
    for _ in 0..10_000_000 {
        if let Some(pager) = pager {
            pager.turn();
        }
        match machine.step(context)? {
            IOResult::Done(output) => return Ok(output),
            IOResult::IO(IOCompletions::Single(io)) if io.is_explicit_yield() => {}
            IOResult::IO(_) => {
                backend.driver.poll();
            }
        }
    }
    panic!("an operation does not end");
}
