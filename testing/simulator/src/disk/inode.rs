//! One file, whatever it is called.

use std::ops::Range;
use std::sync::Arc;

use super::blocks::{ALL_SECTORS, BLOCK_LEN, Blocks, SECTOR_LEN, block_of, bytes_of, bytes_of_mut};
use super::pending::{Change, Pending, Piece, Pieces, PowerCut};
use crate::random::Random;

/// A file: what everybody sees, what is durable, and what is between the two.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inode {
    /// The durable contents with all that is pending applied, unless a sync has dropped some.
    visible: Arc<Blocks>,
    durable: Arc<Blocks>,
    /// In the order of their sequence numbers.
    pending: Vec<Pending>,
    /// Blocks that cannot be read.
    unreadable: Vec<u64>,
}

/// How a write reaches a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Landing {
    /// When it was made, among all changes of the disk.
    pub sequence: u64,
    /// Where the bytes end: the length that the file has at least afterwards.
    pub end: u64,
    /// Are these bytes and this length durable at once?
    pub durable: bool,
}

impl Inode {
    /// A file with durable contents.
    pub fn new(blocks: Blocks) -> Inode {
        let blocks = Arc::new(blocks);
        Inode { visible: blocks.clone(), durable: blocks, ..Inode::default() }
    }

    /// What everybody sees.
    pub fn visible(&self) -> &Blocks {
        &self.visible
    }

    /// How many changes are pending.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Shows bytes at `offset` and adds them to `pieces`. `filter` says for each block which
    /// sectors get there.
    ///
    /// A sector that is written in part is written as a whole, as a cache does it: with what was
    /// visible in the rest of it.
    pub fn show(
        &mut self,
        offset: u64,
        bytes: &[u8],
        filter: &mut dyn FnMut() -> u8,
        pieces: &mut Pieces,
    ) {
        let visible = Arc::make_mut(&mut self.visible);
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (index, start) = (at / BLOCK_LEN as u64, (at % BLOCK_LEN as u64) as usize);
            let part = &bytes[done..done + (BLOCK_LEN - start).min(bytes.len() - done)];
            let block = match part.try_into() {
                Ok(whole) => block_of(whole),
                Err(_) => {
                    let mut whole = *bytes_of(&visible.block(index));
                    whole[start..start + part.len()].copy_from_slice(part);
                    block_of(&whole)
                }
            };
            let sectors = sectors_of(start, part.len()) & filter();
            if sectors != 0 {
                visible.put(index, &block, sectors);
                pieces.push(Piece { index, block, sectors });
            }
            done += part.len();
        }
    }

    /// Ends a write whose bytes are visible: they are pending, or durable at once.
    pub fn land(&mut self, pieces: Pieces, landing: Landing) {
        let Landing { sequence, end, durable } = landing;
        let grows = end > self.visible.len();
        if grows {
            Arc::make_mut(&mut self.visible).grow(end);
        }
        if durable {
            self.make_durable(&pieces, end);
            return;
        }
        if !pieces.is_empty() {
            self.pending.push(Pending { sequence, change: Change::Write(pieces) });
        }
        if grows {
            self.pending.push(Pending { sequence, change: Change::Grow(end) });
        }
    }

    /// Makes pieces durable, and that the file reaches to their end.
    fn make_durable(&mut self, pieces: &Pieces, end: u64) {
        let would_cut =
            |pending: &Pending| matches!(pending.change, Change::SetLen(len) if len < end);
        if let Some(last) = self.pending.iter().rposition(would_cut) {
            // A cut that came first cannot take what is durable: it happens now, in its place.
            let sequence = self.pending[last].sequence;
            self.sync(sequence + 1);
        }
        let durable = Arc::make_mut(&mut self.durable);
        for piece in pieces {
            durable.put(piece.index, &piece.block, piece.sectors);
        }
        durable.grow(end);
        self.pending.retain_mut(|pending| match &mut pending.change {
            Change::Write(older) => {
                older.retain(|old| {
                    let same = pieces.iter().filter(|piece| piece.index == old.index);
                    old.sectors &= !same.fold(0, |sectors, piece| sectors | piece.sectors);
                    old.sectors != 0
                });
                !older.is_empty()
            }
            Change::SetLen(_) | Change::Grow(_) => true,
        });
    }

    /// Sets the length.
    pub fn set_len(&mut self, sequence: u64, len: u64) {
        if len != self.visible.len() {
            Arc::make_mut(&mut self.visible).set_len(len);
            self.pending.push(Pending { sequence, change: Change::SetLen(len) });
        }
    }

    /// Makes durable what was changed before `before`.
    pub fn sync(&mut self, before: u64) {
        let count = self.count_before(before);
        if count > 0 {
            let durable = Arc::make_mut(&mut self.durable);
            self.pending.drain(..count).for_each(|pending| pending.change.apply(durable));
        }
    }

    /// Forgets that what was changed before `before` is pending. Some of it is durable, some is
    /// not and will not be; it stays visible.
    pub fn drop_pending(&mut self, made: Range<u64>, random: &mut Random) {
        let from = self.count_before(made.start);
        let to = self.count_before(made.end);
        let durable = Arc::make_mut(&mut self.durable);
        for mut pending in self.pending.drain(from..to) {
            let is_torn = random.one_in(2);
            match &mut pending.change {
                Change::Write(pieces) if is_torn => {
                    pieces.iter_mut().for_each(|piece| piece.sectors &= random.next() as u8);
                }
                _ if random.one_in(2) => continue,
                _ => {}
            }
            pending.change.apply(durable);
        }
        durable.cut();
    }

    fn count_before(&self, before: u64) -> usize {
        self.pending.partition_point(|pending| pending.sequence < before)
    }

    /// The file after a power cut.
    pub fn power_cut(&self, cut: &mut PowerCut<'_>) -> Inode {
        let mut durable = self.durable.clone();
        if !self.pending.is_empty() {
            cut.apply(&self.pending, Arc::make_mut(&mut durable));
        }
        let unreadable = self.unreadable.clone();
        Inode { visible: durable.clone(), durable, pending: Vec::new(), unreadable }
    }

    /// From now on the block at `index` cannot be read.
    pub fn mark_unreadable(&mut self, index: u64) {
        if !self.unreadable.contains(&index) {
            self.unreadable.push(index);
        }
    }

    /// The offset of the first block in a range that cannot be read.
    pub fn first_unreadable(&self, offset: u64, len: usize) -> Option<u64> {
        let end = offset.saturating_add(len as u64);
        let starts = self.unreadable.iter().map(|index| index * BLOCK_LEN as u64);
        starts.filter(|start| start + BLOCK_LEN as u64 > offset && *start < end).min()
    }

    /// Is a bit in a block that is durable as it is seen, and not behind the end?
    pub fn can_flip(&self, bit: u64) -> bool {
        let offset = bit / 8;
        let index = offset / BLOCK_LEN as u64;
        let is_pending = self.pending.iter().any(|pending| match &pending.change {
            Change::Write(pieces) => pieces.iter().any(|piece| piece.index == index),
            Change::SetLen(_) | Change::Grow(_) => false,
        });
        let (durable, visible) = (self.durable.block(index), self.visible.block(index));
        !is_pending
            && offset < self.durable.len().min(self.visible.len())
            && bytes_of(&durable) == bytes_of(&visible)
    }

    /// Turns a bit over. `false`, and nothing turned, if it [cannot be](Inode::can_flip).
    pub fn flip_bit(&mut self, bit: u64) -> bool {
        if !self.can_flip(bit) {
            return false;
        }
        let (offset, bit) = (bit / 8, bit % 8);
        let (index, at) = (offset / BLOCK_LEN as u64, (offset % BLOCK_LEN as u64) as usize);
        let mut block = self.durable.block(index);
        bytes_of_mut(&mut block)[at] ^= 1 << bit;
        Arc::make_mut(&mut self.durable).put(index, &block, ALL_SECTORS);
        Arc::make_mut(&mut self.visible).put(index, &block, ALL_SECTORS);
        true
    }
}

/// The sectors of a block that a range of its bytes touches.
fn sectors_of(start: usize, len: usize) -> u8 {
    let (first, end) = (start / SECTOR_LEN, (start + len).div_ceil(SECTOR_LEN));
    ((1_u16 << end) - (1 << first)) as u8
}
