//! The slab in which completions live: no allocation per I/O once it has grown to the number that
//! is in use at one time.
//!
//! A slot is named by its index and its generation. The generation changes whenever the slot is
//! given back, so a name that outlived its slot is recognised.

use crate::completion::Record;
use crate::is_planted;
use crate::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use crate::sync::{IS_CHECKED, Mutex, MutexGuard, OnceLock, PoisonError};

#[cfg(any(feature = "shuttle", feature = "loom"))]
pub(crate) mod per_execution;

/// The slots of the first chunk; each chunk has twice as many as the one before.
const FIRST_CHUNK: u32 = if IS_CHECKED { 4 } else { 256 };
/// Enough chunks for two thousand million slots.
const CHUNKS: usize = 23;

/// One completion's place.
pub(crate) struct Slot {
    /// Changes when the slot is given back.
    pub generation: AtomicU32,
    /// How many handles name this slot; 0 while it is free.
    pub handles: AtomicU32,
    /// One of the constants of [`crate::completion`]'s `phase`.
    pub phase: AtomicU8,
    record: Mutex<Record>,
}

impl Slot {
    fn new() -> Slot {
        Slot {
            generation: AtomicU32::new(0),
            handles: AtomicU32::new(0),
            phase: AtomicU8::new(0),
            record: Mutex::new(Record::default()),
        }
    }

    /// What is known of the completion. Nobody panics while holding this lock, and what a poisoned
    /// one guards is complete all the same.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All slots of the process.
pub(crate) struct Slots {
    chunks: [OnceLock<Box<[Slot]>>; CHUNKS],
    free: Mutex<FreeList>,
}

struct FreeList {
    indices: Vec<u32>,
    /// How many slots have ever been made.
    made: u32,
}

#[cfg(not(any(feature = "shuttle", feature = "loom")))]
pub(crate) static SLOTS: Slots = Slots {
    chunks: [const { OnceLock::new() }; CHUNKS],
    free: Mutex::new(FreeList { indices: Vec::new(), made: 0 }),
};
#[cfg(any(feature = "shuttle", feature = "loom"))]
pub(crate) use per_execution::SLOTS;

impl Slots {
    /// Takes a free slot, with one handle on it.
    pub fn take(&self) -> (u32, &Slot) {
        let index = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.indices.pop().unwrap_or_else(|| {
                free.made += 1;
                // Room to take every slot back without growing the list then.
                let made = free.made as usize;
                free.indices.reserve(made);
                free.made - 1
            })
        };
        let slot = self.slot(index);
        // Who finds a handle through a name that is worn out, sees that it is: the generation was
        // changed before this.
        let release =
            if is_planted!(NameNotOrdered) { Ordering::Relaxed } else { Ordering::Release };
        slot.handles.store(1, release);
        (index, slot)
    }

    /// Gives back a slot that no handle names any more.
    pub fn give_back(&self, index: u32) {
        let slot = self.slot(index);
        if is_planted!(SlotBeforeName) {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).indices.push(index);
        }
        slot.generation.fetch_add(1, Ordering::Release);
        if !is_planted!(SlotBeforeName) {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).indices.push(index);
        }
    }

    /// The slot with this index, which must come from [`Slots::take`].
    pub fn slot(&self, index: u32) -> &Slot {
        let chunk = (index / FIRST_CHUNK + 1).ilog2();
        let first = FIRST_CHUNK * ((1 << chunk) - 1);
        let slots = self.chunks[chunk as usize]
            .get_or_init(|| (0..FIRST_CHUNK << chunk).map(|_| Slot::new()).collect());
        &slots[(index - first) as usize]
    }
}
