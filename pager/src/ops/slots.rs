//! Both slots of the superblock, each read by itself: a device may have lost one of them.

use std::sync::Arc;

use smallvec::smallvec;
use yieldb_core::{
    Buffer, BufferPool, Completion, CompletionGroup, Error as IoFailure, File, Request,
};

use crate::superblock::{SLOT_LEN, SLOT_OFFSETS};

/// Reads of both slots.
#[derive(Debug)]
pub struct SlotReads([Completion; SLOT_OFFSETS.len()]);

impl SlotReads {
    /// Begins to read both slots of a file into `blocks`. Returns what is finished when they are
    /// read, or cannot be, as well.
    pub(super) fn begin(file: &dyn File, blocks: &Arc<BufferPool>) -> (SlotReads, Completion) {
        let mut both = CompletionGroup::silent();
        let reads = SLOT_OFFSETS.map(|offset| {
            let block = blocks.take().expect("no slot is read or written meanwhile");
            let read = Completion::read(smallvec![block]);
            file.read(offset, read.clone());
            both.add(&read);
            read
        });
        (SlotReads(reads), both.build())
    }

    /// The bytes of both slots, or why one cannot be read. What lies behind the end of the file is
    /// zero.
    pub(super) fn take(self) -> [Result<Buffer, IoFailure>; SLOT_OFFSETS.len()] {
        self.0.map(|read| {
            let len = read.result().expect("the slots are read")?;
            let mut slot = read.take_buffers().pop().expect("a read has a buffer");
            slot[len.min(SLOT_LEN)..].fill(0);
            Ok(slot)
        })
    }
}
