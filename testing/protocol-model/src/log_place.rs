//! Where in the ring of the log the next group goes.

use crate::format::LogPlace;
use crate::state::{Memory, Queued};
use crate::{Mistake, Model};

/// A ring of so many blocks. Each group has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    pub blocks: u8,
    /// Does each lap end with a wrap group?
    pub wraps: bool,
}

impl Ring {
    /// Is it the ring's last block?
    pub fn is_at_end(self, place: LogPlace) -> bool {
        place.offset + 1 == self.blocks
    }

    /// Where the group goes that follows one at `place`.
    pub fn behind(self, place: LogPlace, is_wrap: bool) -> LogPlace {
        let is_at_end = !self.wraps && self.is_at_end(place);
        let offset = if is_wrap || is_at_end { 0 } else { place.offset + 1 };
        LogPlace { position: place.position + 1, offset }
    }

    /// How many blocks may not be overwritten, those that a wrap skipped among them.
    pub fn used(self, tail: LogPlace, head: LogPlace) -> u8 {
        if !self.wraps {
            return head.position - tail.position;
        }
        if tail.position == head.position || tail.offset < head.offset {
            head.offset - tail.offset
        } else {
            self.blocks - tail.offset + head.offset
        }
    }

    /// Where a group goes that leaves so many blocks, of which some are used: the place of a wrap
    /// group before it, if one is needed, and its own. `None` if there is no room.
    pub fn place(self, used: u8, head: LogPlace, left: u8) -> Option<(Option<LogPlace>, LogPlace)> {
        let is_wrapped = self.wraps && self.is_at_end(head);
        if used + 1 + u8::from(is_wrapped) + left > self.blocks {
            return None;
        }
        let wrap = is_wrapped.then_some(head);
        Some((wrap, wrap.map_or(head, |wrap| self.behind(wrap, true))))
    }
}

impl Model {
    /// Does each lap end with a wrap group?
    pub(crate) fn wraps(&self) -> bool {
        self.bounds.wraps && !self.has(Mistake::LapWithoutWrap)
    }

    /// The log's ring, as the process takes it.
    pub(crate) fn ring(&self, memory: &Memory) -> Ring {
        Ring { blocks: memory.ring_blocks, wraps: self.wraps() }
    }

    /// How many blocks may not be overwritten, as the process takes it.
    pub(crate) fn used(&self, memory: &Memory) -> u8 {
        match self.mistake {
            Some(Mistake::GrowthFreesAtOnce) => memory.head.position - memory.tail.position,
            _ => self.ring(memory).used(memory.tail, memory.head),
        }
    }

    /// How many blocks commits leave.
    pub(crate) fn left_for_names(&self) -> u8 {
        match self.mistake {
            Some(Mistake::NoRoomToName) => 0,
            _ => self.bounds.left_for_names,
        }
    }

    /// Is there room in the log for a commit? A wrap may waste as much as the longest group has.
    pub(crate) fn has_room(&self, memory: &Memory) -> bool {
        let is_commit = |queued: &&Queued| matches!(queued, Queued::Commit { .. });
        let queued = memory.queue.iter().filter(is_commit).count() as u8;
        let wrap = u8::from(self.bounds.wraps);
        let needed = queued + 1 + wrap + self.left_for_names();
        memory.log.is_in_use() && self.used(memory) + needed <= memory.ring_blocks
    }
}
