//! Page number to frame: an array of atomics that grows by doubling, read without a lock.
//!
//! Its memory counts: 4 bytes for each page number, taken from the operating system in *pieces* of
//! 1,024 numbers as they are touched, and given back when no page of a piece is in memory. What
//! changes the table is done by one at a time.

use yieldb_core::sync::OnceLock;
use yieldb_core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use super::frames::{Words, zeroed};
use crate::PageId;

/// The base-2 logarithm of the first chunk's length. Each chunk is as long as all before it
/// together, but for the first two.
const FIRST_BITS: u32 = 12;
const CHUNKS: usize = (PageId::BITS - FIRST_BITS + 1) as usize;

/// How many numbers a piece has. Every chunk consists of whole pieces.
const PIECE: usize = 1024;
/// How much memory a piece takes, in bytes.
pub(super) const PIECE_LEN: u64 = 4 * PIECE as u64;

/// Which frame each page of a file is in.
pub(super) struct Table {
    chunks: [OnceLock<Chunk>; CHUNKS],
    /// How many pieces have memory.
    touched: AtomicU64,
}

struct Chunk {
    /// For each page [`NOWHERE`], or its frame and 1.
    entries: Words,
    /// What is known of each piece.
    pieces: Box<[AtomicU16]>,
}

/// The value for a page that is in no frame.
const NOWHERE: u32 = 0;

/// The piece has memory.
const TOUCHED: u16 = 1 << 15;
/// Somebody was told that the piece is idle.
const TOLD: u16 = 1 << 14;
/// How many of its pages are in memory.
const COUNT: u16 = TOLD - 1;

/// What was taken out of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    /// The frame that the page was in.
    pub frame: u32,
    /// The page was the last one of its piece, and that is news: it may be
    /// [released](Table::release).
    pub is_news: bool,
}

impl Table {
    pub fn new() -> Table {
        Table { chunks: [const { OnceLock::new() }; CHUNKS], touched: AtomicU64::new(0) }
    }

    /// The frame that has the page.
    #[inline]
    pub fn get(&self, page: PageId) -> Option<u32> {
        let (chunk, index) = place(page);
        let entry = self.chunks[chunk].get()?.entries[index].load(Ordering::SeqCst);
        if entry == NOWHERE { None } else { Some(entry - 1) }
    }

    /// Sees to it that the page can be inserted. Takes room, but no memory yet.
    pub fn make_room(&self, page: PageId) -> yieldb_core::Result<()> {
        let (chunk, _) = place(page);
        if self.chunks[chunk].get().is_none() {
            let len = 1 << (FIRST_BITS + (chunk as u32).saturating_sub(1));
            let new = Chunk { entries: Words::new(len)?, pieces: zeroed(len / PIECE)? };
            self.chunks[chunk].get_or_init(|| new);
        }
        Ok(())
    }

    /// Notes that the page is in `frame`. `true` if that took the memory of a piece.
    ///
    /// # Panics
    ///
    /// If it is in a frame already, or no room was made for it.
    pub fn insert(&self, page: PageId, frame: u32) -> bool {
        let (chunk, piece, index) = self.chunk(page).expect("there is room for the page");
        let before = chunk.entries[index].swap(frame + 1, Ordering::SeqCst);
        assert_eq!(before, NOWHERE, "{page:?} is in two frames");
        let known = piece.load(Ordering::Relaxed);
        piece.store((known | TOUCHED) + 1, Ordering::Relaxed);
        let is_first = known & TOUCHED == 0;
        if is_first {
            self.touched.fetch_add(1, Ordering::Relaxed);
        }
        is_first
    }

    /// Notes that the page is in no frame. Returns the one it was in.
    pub fn remove(&self, page: PageId) -> Option<Removed> {
        let (chunk, piece, index) = self.chunk(page)?;
        let before = chunk.entries[index].swap(NOWHERE, Ordering::SeqCst);
        if before == NOWHERE {
            return None;
        }
        let known = piece.load(Ordering::Relaxed) - 1;
        let is_news = known & (COUNT | TOLD) == 0;
        piece.store(if is_news { known | TOLD } else { known }, Ordering::Relaxed);
        Some(Removed { frame: before - 1, is_news })
    }

    /// Gives back the memory of the piece that the page is in, of which was told that it is idle.
    /// `false` if it is not any more.
    pub fn release(&self, page: PageId) -> bool {
        let Some((chunk, piece, index)) = self.chunk(page) else { return false };
        let known = piece.load(Ordering::Relaxed);
        if known & COUNT > 0 {
            piece.store(known & !TOLD, Ordering::Relaxed);
            return false;
        }
        piece.store(0, Ordering::Relaxed);
        self.touched.fetch_sub(1, Ordering::Relaxed);
        chunk.entries.discard(index / PIECE * PIECE, PIECE);
        true
    }

    /// How much memory the table takes, in bytes.
    pub fn len(&self) -> u64 {
        self.touched.load(Ordering::Relaxed) * PIECE_LEN
    }

    /// The chunk that has a page, what is known of its piece, and its index in the chunk.
    fn chunk(&self, page: PageId) -> Option<(&Chunk, &AtomicU16, usize)> {
        let (chunk, index) = place(page);
        let chunk = self.chunks[chunk].get()?;
        Some((chunk, &chunk.pieces[index / PIECE], index))
    }
}

/// The chunk that has a page, and the page's index in it.
#[inline]
fn place(page: PageId) -> (usize, usize) {
    let number = page.as_u64();
    let chunk = u64::BITS - (number >> FIRST_BITS).leading_zeros();
    let first = if chunk == 0 { 0 } else { 1 << (FIRST_BITS + chunk - 1) };
    (chunk as usize, (number - first) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u64) -> PageId {
        PageId::from_u64(number).unwrap()
    }

    #[test]
    fn every_number_has_a_place_of_its_own() {
        let mut last = (0, 0);
        for number in 1..100_000 {
            let at = place(page(number));
            assert!(at == (last.0, last.1 + 1) || at == (last.0 + 1, 0), "{number}: {at:?}");
            last = at;
        }
        assert_eq!(place(page(PageId::COUNT - 1)).0, CHUNKS - 1);
    }

    #[test]
    fn pages_are_found_where_they_were_put() {
        let table = Table::new();
        for number in [0, 1, 4095, 4096, 8191, 8192, 1_000_000] {
            let page = page(number);
            assert_eq!(table.get(page), None);
            table.make_room(page).unwrap();
            table.insert(page, 7);
            assert_eq!(table.get(page), Some(7));
            assert_eq!(table.remove(page).map(|removed| removed.frame), Some(7));
            assert_eq!(table.remove(page), None);
        }
    }

    #[test]
    fn memory_is_counted_piece_by_piece() {
        let table = Table::new();
        let numbers = [5120, 5121, 6143, 6144, 1 << 30];
        let took = numbers.map(|number| {
            table.make_room(page(number)).unwrap();
            table.insert(page(number), 3)
        });
        assert_eq!(took, [true, false, false, true, true]);
        assert_eq!(table.len(), 3 * PIECE_LEN);
        let news = numbers.map(|number| table.remove(page(number)).unwrap().is_news);
        assert_eq!(news, [false, false, true, true, true]);
        assert!(table.release(page(5120)) && table.release(page(1 << 30)));
        assert_eq!(table.len(), PIECE_LEN);
        assert!(table.insert(page(5120), 3), "it was given back");
        assert!(!table.insert(page(6144), 3), "it was not");
        assert!(!table.release(page(6144)), "it is used again");
        assert!(table.remove(page(6144)).unwrap().is_news, "which is told again");
        assert_eq!(table.get(page(5120)), Some(3));
        assert_eq!(table.get(page(5121)), None);
    }
}
