//! Pages that lie one behind the other.

use crate::PageId;

/// Pages with contiguous numbers, at least one: what a large value lies in. A single page is a run
/// of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageRun {
    first: PageId,
    count: u64,
}

impl PageRun {
    /// The `count` pages from `first` on; `None` if there are none, or not so many numbers.
    pub const fn new(first: PageId, count: u64) -> Option<PageRun> {
        let room = PageId::COUNT - first.as_u64();
        if count >= 1 && count <= room { Some(PageRun { first, count }) } else { None }
    }

    /// The first page.
    pub const fn first(self) -> PageId {
        self.first
    }

    /// How many pages there are.
    pub const fn count(self) -> u64 {
        self.count
    }

    /// The number behind the last page's.
    pub const fn end(self) -> u64 {
        self.first.as_u64() + self.count
    }

    /// The page at `index`, counted from 0; `None` behind the last one.
    pub const fn page(self, index: u64) -> Option<PageId> {
        if index < self.count { PageId::from_u64(self.first.as_u64() + index) } else { None }
    }

    /// All of them, in order.
    pub fn pages(self) -> impl Iterator<Item = PageId> {
        (self.first.as_u64()..self.end()).filter_map(PageId::from_u64)
    }
}

impl From<PageId> for PageRun {
    fn from(page: PageId) -> Self {
        PageRun { first: page, count: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_a_page_and_ends_with_the_numbers() {
        let last = PageId::from_u64(PageId::COUNT - 1).unwrap();
        assert_eq!(PageRun::new(last, 0), None);
        assert_eq!(PageRun::new(last, 2), None);
        assert_eq!(PageRun::new(last, u64::MAX), None);
        assert_eq!(PageRun::new(last, 1), Some(last.into()));
        let run = PageRun::new(PageId::from_u64(7).unwrap(), 3).unwrap();
        let numbers: Vec<u64> = run.pages().map(PageId::as_u64).collect();
        assert_eq!(numbers, [7, 8, 9]);
        assert_eq!(run.page(2).map(PageId::as_u64), Some(9));
        assert_eq!(run.page(3), None);
    }
}
