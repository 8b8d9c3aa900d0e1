//! Entries in memory: as they come, and sorted.

use std::fmt;

use yieldb_core::Buffer;

use super::block::{HEADER_LEN, Record, end_of, record_len, set_end, write_record};
use crate::node::Stored;

/// How many entries are sorted at a time: 16 MiB of what sorts them.
const MAX_COUNT: usize = 1 << 20;

/// The length in bytes of a position in the order of sorted entries.
const POSITION_LEN: usize = 4;

/// How many bytes of a key are sorted as an integer.
const HEAD_LEN: usize = 12;

/// How many entries ahead are brought into the processor's caches, and how many bytes of each.
const AHEAD: usize = 12;
const AHEAD_LEN: usize = 192;

/// Entries as they come, in frames.
pub(super) struct Collected {
    frames: Vec<Buffer>,
    /// Where the last record of the last frame ends.
    end: usize,
    count: usize,
    /// The first key.
    first: Vec<u8>,
    /// How many bytes at the beginning all keys share.
    common: usize,
    /// The last key that was in order: of all that have ever been collected.
    last: Vec<u8>,
    /// Did all that have ever been collected come in order?
    is_in_order: bool,
}

impl Collected {
    pub fn new() -> Collected {
        Collected {
            frames: Vec::new(),
            end: 0,
            count: 0,
            first: Vec::new(),
            common: 0,
            last: Vec::new(),
            is_in_order: true,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Did all entries so far come in ascending order?
    pub fn is_in_order(&self) -> bool {
        self.is_in_order
    }

    /// How many frames there are, with those that the order takes once it is sorted.
    pub fn frame_count(&self, page_len: usize) -> usize {
        self.frames.len() + (self.count * POSITION_LEN).div_ceil(page_len)
    }

    /// How many frames the entries are in.
    pub fn used_count(&self) -> usize {
        self.frames.len()
    }

    /// May there be more in one piece?
    pub fn has_room(&self) -> bool {
        self.count < MAX_COUNT
    }

    /// Adds a frame to be filled.
    pub fn add_frame(&mut self, frame: Buffer) {
        self.close_frame();
        self.frames.push(frame);
        self.end = HEADER_LEN;
    }

    fn close_frame(&mut self) {
        if let Some(last) = self.frames.last_mut() {
            set_end(last, self.end);
        }
    }

    /// Takes an entry. `false`, and nothing has changed, if a frame is needed for it.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: Stored<'_>) -> bool {
        let len = record_len(key, value);
        let Some(frame) = self.frames.last_mut() else { return false };
        if self.end + len > frame.len() || self.count == MAX_COUNT {
            return false;
        }
        write_record(frame, self.end, key, value);
        self.end += len;
        if self.is_in_order {
            if *key < *self.last {
                self.is_in_order = false;
            } else {
                self.last.clear();
                self.last.extend_from_slice(key);
            }
        }
        if self.count == 0 {
            self.first.clear();
            self.first.extend_from_slice(key);
            self.common = key.len();
        } else if !key.starts_with(&self.first[..self.common]) {
            let pairs = self.first.iter().zip(key);
            self.common = pairs.take_while(|(left, right)| left == right).count();
        }
        self.count += 1;
        true
    }

    /// Takes the frames out, with the entries as they came.
    pub fn take_frames(&mut self) -> Vec<Buffer> {
        self.close_frame();
        self.count = 0;
        std::mem::take(&mut self.frames)
    }

    /// Sorts the entries; equal keys stay in the order in which they came. `order` has room for
    /// their positions.
    pub fn sort(&mut self, mut order: Vec<Buffer>, page_len: usize) -> Sorted {
        let (count, common) = (self.count, self.common);
        let mut items: Vec<u128> = Vec::with_capacity(count);
        let records = self.take_frames();
        for (index, frame) in records.iter().enumerate() {
            let (mut at, end) = (HEADER_LEN, end_of(frame));
            while at < end {
                let record = Record::at(frame, at);
                let position = index * page_len + at;
                items.push(item(&record.key[common..], position as u32));
                at += record.len();
            }
        }
        items.sort_unstable();
        let key = |item: &u128| key_at(&records, *item as u32, page_len);
        let is_same = |left: &u128, right: &u128| left >> 32 == right >> 32;
        for alike in items.chunk_by_mut(is_same).filter(|alike| alike.len() > 1) {
            // The position is what is left to decide: the order stays.
            alike.sort_unstable_by(|left, right| key(left).cmp(key(right)).then(left.cmp(right)));
        }
        let per_frame = page_len / POSITION_LEN;
        for (frame, items) in order.iter_mut().zip(items.chunks(per_frame)) {
            for (out, item) in frame.chunks_exact_mut(POSITION_LEN).zip(items) {
                out.copy_from_slice(&(*item as u32).to_le_bytes());
            }
        }
        Sorted { records, order, count, page_len, shift: page_len.trailing_zeros() }
    }

    /// How many frames the order takes.
    pub fn order_len(&self, page_len: usize) -> usize {
        (self.count * POSITION_LEN).div_ceil(page_len)
    }
}

/// The beginning of a key as an integer that orders as it does, and the position below it.
fn item(key: &[u8], position: u32) -> u128 {
    let mut bytes = [0; 16];
    match key.first_chunk::<HEAD_LEN>() {
        Some(head) => bytes[..HEAD_LEN].copy_from_slice(head),
        None => bytes[..key.len()].copy_from_slice(key),
    }
    u128::from_be_bytes(bytes) | u128::from(position)
}

fn key_at(records: &[Buffer], position: u32, page_len: usize) -> &[u8] {
    let position = position as usize;
    Record::at(&records[position / page_len], position % page_len).key
}

/// Where a sorted entry is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    frame: usize,
    at: usize,
}

/// Sorted entries in memory.
pub(super) struct Sorted {
    records: Vec<Buffer>,
    /// Their positions, in order.
    order: Vec<Buffer>,
    count: usize,
    page_len: usize,
    /// The page length is two to the power of it.
    shift: u32,
}

impl Sorted {
    /// How many entries there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many frames it is in.
    pub fn frame_count(&self) -> usize {
        self.records.len() + self.order.len()
    }

    /// The entry at a [place](Sorted::place).
    #[inline]
    pub fn record(&self, place: Place) -> Record<'_> {
        Record::at(&self.records[place.frame], place.at)
    }

    /// Has the entry that comes `AHEAD` behind the one at `index` brought into the processor's
    /// caches. Sorted entries lie in no order, so each would have to be waited for.
    #[inline]
    pub fn prefetch_behind(&self, index: usize) {
        let index = index + AHEAD;
        if index < self.count {
            let Place { frame, at } = self.place(index);
            self.records[frame].prefetch(at, AHEAD_LEN);
        }
    }

    /// Where the entry at `index` is.
    #[inline]
    pub fn place(&self, index: usize) -> Place {
        let at = index * POSITION_LEN;
        let frame = &self.order[at >> self.shift];
        let at = at & (self.page_len - 1);
        let position = [frame[at], frame[at + 1], frame[at + 2], frame[at + 3]];
        let position = u32::from_le_bytes(position) as usize;
        Place { frame: position >> self.shift, at: position & (self.page_len - 1) }
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.is_in_order { "in order" } else { "in any order" };
        write!(f, "{} entries in {} frames, {order}", self.count, self.frames.len())
    }
}

impl fmt::Debug for Sorted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries in {} frames, sorted", self.count, self.frame_count())
    }
}
