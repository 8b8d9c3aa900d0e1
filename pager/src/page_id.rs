//! How pages are named, and how long they are.

use std::fmt;

use yieldb_core::is_planted;

use crate::Stamp;

/// The length of a page: a power of two from 4,096 to 65,536 bytes, the same for a whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// The least, in bytes, and what a new file has if nothing else is asked for.
    pub const MIN: PageSize = PageSize(4096);
    /// The most, in bytes.
    pub const MAX: PageSize = PageSize(65536);

    /// A page length in bytes; `None` if it is not one of the five that there are.
    pub const fn new(bytes: u32) -> Option<PageSize> {
        if bytes.is_power_of_two() && bytes >= Self::MIN.0 && bytes <= Self::MAX.0 {
            Some(PageSize(bytes))
        } else {
            None
        }
    }

    /// The length in bytes.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// The length in bytes, as files store it.
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

/// A page's number: its offset in the file is the number times the page length. 40 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(u64);

impl PageId {
    /// How many bits a number has.
    pub const BITS: u32 = 40;
    /// How many numbers there are.
    pub const COUNT: u64 = 1 << Self::BITS;

    /// The page with this number; `None` if it has more than 40 bits.
    pub const fn from_u64(number: u64) -> Option<PageId> {
        if number < Self::COUNT { Some(PageId(number)) } else { None }
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}", self.0)
    }
}

/// How a page is referred to: its number, and above it 24 bits of a hash of its stamp.
///
/// A page that was lost, misdirected or replaced by an older version of itself has another stamp,
/// and is found out on first touch.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRef(u64);

impl PageRef {
    /// The name of the page with this number and this stamp.
    pub const fn new(page: PageId, stamp: Stamp) -> PageRef {
        PageRef(page.0 | (tag_of(stamp) as u64) << PageId::BITS)
    }

    /// The page's number.
    pub const fn page(self) -> PageId {
        PageId(self.0 & (PageId::COUNT - 1))
    }

    /// The name of the page `index` places behind this one that has the same stamp, as those of a
    /// run have; `None` if there is no such number.
    pub const fn behind(self, index: u64) -> Option<PageRef> {
        if index < PageId::COUNT - self.page().0 { Some(PageRef(self.0 + index)) } else { None }
    }

    /// The 24 bits that stand for the page's stamp.
    pub const fn tag(self) -> u32 {
        (self.0 >> PageId::BITS) as u32
    }

    /// Is this the name of a page with this stamp?
    pub fn matches(self, stamp: Stamp) -> bool {
        self.tag() == tag_of(stamp) || is_planted!(StampNotVerified)
    }

    /// As files store it.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// From a file. Every value is the name of some page, though perhaps of none that exists.
    pub const fn from_u64(bits: u64) -> PageRef {
        PageRef(bits)
    }
}

impl fmt::Debug for PageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}#{:06x}", self.page().0, self.tag())
    }
}

/// 24 well mixed bits of a stamp (the finalizer of splitmix64).
const fn tag_of(stamp: Stamp) -> u32 {
    let mut bits = stamp.as_u64();
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 40) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_keeps_number_and_stamp_apart() {
        let page = PageId::from_u64(PageId::COUNT - 1).unwrap();
        let stamp = Stamp::new(3, 9);
        let reference = PageRef::from_u64(PageRef::new(page, stamp).as_u64());
        assert_eq!(reference.page(), page);
        assert!(reference.matches(stamp));
        assert!(!reference.matches(stamp.next()));
        assert!(PageId::from_u64(PageId::COUNT).is_none());
        assert_eq!(reference.behind(0), Some(reference));
        assert_eq!(reference.behind(1), None);
        let third = PageId::from_u64(PageId::COUNT - 4).unwrap();
        assert_eq!(PageRef::new(third, stamp).behind(3), Some(reference));
        assert_eq!(PageRef::new(third, stamp).behind(u64::MAX), None);
    }

    #[test]
    fn neighbouring_stamps_rarely_share_a_tag() {
        let page = PageId::from_u64(7).unwrap();
        let mut tags: Vec<u32> =
            (0..4096).map(|counter| PageRef::new(page, Stamp::new(1, counter)).tag()).collect();
        tags.sort_unstable();
        tags.dedup();
        assert!(tags.len() > 4090, "{} of 4096 tags are different", tags.len());
    }

    #[test]
    fn only_five_page_sizes_exist() {
        let sizes: Vec<u32> = (0..200_000).filter(|len| PageSize::new(*len).is_some()).collect();
        assert_eq!(sizes, [4096, 8192, 16384, 32768, 65536]);
    }
}
