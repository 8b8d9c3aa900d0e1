//! A slab for each execution of a checker: none begins with what the one before left.

use super::{CHUNKS, FreeList, Slots};
use crate::sync::{Mutex, OnceLock};

impl Slots {
    fn new() -> Slots {
        let free = Mutex::new(FreeList { indices: Vec::new(), made: 0 });
        Slots { chunks: [const { OnceLock::new() }; CHUNKS], free }
    }
}

#[cfg(feature = "loom")]
loom::lazy_static! {
    /// The slots of the execution.
    pub(crate) static ref SLOTS: Slots = Slots::new();
}

#[cfg(feature = "shuttle")]
pub(crate) use shuttled::SLOTS;
#[cfg(feature = "shuttle")]
pub use shuttled::{begin_execution, end_execution};

#[cfg(feature = "shuttle")]
mod shuttled {
    use std::cell::Cell;
    use std::ops::Deref;

    use super::Slots;
    use crate::sync::PoisonError;

    /// The slots of the execution.
    pub(crate) struct Current;

    pub(crate) static SLOTS: Current = Current;

    thread_local! {
        /// An execution stays on one of the system's threads.
        static CURRENT: Cell<Option<&'static Slots>> = const { Cell::new(None) };
        /// Left as good as new by the last execution.
        static SPARE: Cell<Option<&'static Slots>> = const { Cell::new(None) };
    }

    impl Deref for Current {
        type Target = Slots;

        fn deref(&self) -> &Slots {
            CURRENT.get().expect("an execution begins with `begin_execution`")
        }
    }

    /// Begins an execution, with no completion in use.
    pub fn begin_execution() {
        let slots = SPARE.take().unwrap_or_else(|| Box::leak(Box::new(Slots::new())));
        CURRENT.set(Some(slots));
    }

    /// Ends an execution that went well. Returns how many completions are in use, and so lost.
    pub fn end_execution() -> usize {
        let slots = CURRENT.get().expect("an execution that ends has begun");
        let free = slots.free.lock().unwrap_or_else(PoisonError::into_inner);
        let used = free.made as usize - free.indices.len();
        drop(free);
        if used == 0 {
            SPARE.set(Some(slots));
        }
        used
    }
}
