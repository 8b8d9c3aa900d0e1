//! Page number to frame: an array of atomics that grows by doubling, read without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::frames::zeroed;
use crate::PageId;

/// The base-2 logarithm of the first chunk's length. Each chunk is as long as all before it
/// together, but for the first two.
const FIRST_BITS: u32 = 12;
const CHUNKS: usize = (PageId::BITS - FIRST_BITS + 1) as usize;

/// Which frame each page is in. Memory: 4 bytes for each page number up to the highest that was
/// ever resident, taken from the operating system as it is touched.
#[derive(Debug)]
pub(super) struct Table {
    chunks: [OnceLock<Box<[AtomicU32]>>; CHUNKS],
}

/// The value for a page that is in no frame.
const NOWHERE: u32 = 0;

impl Table {
    pub fn new() -> Table {
        Table { chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// The frame that has the page.
    #[inline]
    pub fn get(&self, page: PageId) -> Option<u32> {
        let (chunk, index) = place(page);
        let entry = self.chunks[chunk].get()?[index].load(Ordering::SeqCst);
        if entry == NOWHERE { None } else { Some(entry - 1) }
    }

    /// Notes that the page is in `frame`.
    ///
    /// # Panics
    ///
    /// If it is in a frame already.
    pub fn insert(&self, page: PageId, frame: u32) {
        let (chunk, index) = place(page);
        let len = 1 << (FIRST_BITS + (chunk as u32).saturating_sub(1));
        let entries = self.chunks[chunk].get_or_init(|| zeroed(len));
        let before = entries[index].swap(frame + 1, Ordering::SeqCst);
        assert_eq!(before, NOWHERE, "{page:?} is in two frames");
    }

    /// Notes that the page is in no frame. Returns the one it was in.
    pub fn remove(&self, page: PageId) -> Option<u32> {
        let (chunk, index) = place(page);
        let before = self.chunks[chunk].get()?[index].swap(NOWHERE, Ordering::SeqCst);
        if before == NOWHERE { None } else { Some(before - 1) }
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

    #[test]
    fn every_number_has_a_place_of_its_own() {
        let mut last = (0, 0);
        for number in 1..100_000 {
            let at = place(PageId::from_u64(number).unwrap());
            assert!(at == (last.0, last.1 + 1) || at == (last.0 + 1, 0), "{number}: {at:?}");
            last = at;
        }
        assert_eq!(place(PageId::from_u64(PageId::COUNT - 1).unwrap()).0, CHUNKS - 1);
    }

    #[test]
    fn pages_are_found_where_they_were_put() {
        let table = Table::new();
        for number in [0, 1, 4095, 4096, 8191, 8192, 1_000_000] {
            let page = PageId::from_u64(number).unwrap();
            assert_eq!(table.get(page), None);
            table.insert(page, 7);
            assert_eq!(table.get(page), Some(7));
            assert_eq!(table.remove(page), Some(7));
            assert_eq!(table.remove(page), None);
        }
    }
}
