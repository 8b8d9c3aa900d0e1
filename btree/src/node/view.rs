//! Reading nodes.
//!
//! A view is made of a page that [`super::check_node`] has accepted, or that this crate has built;
//! of any other it may panic.

use std::ops::Range;

use yieldb_pager::page_format::{count_of, level_of};

use super::key::KeyRef;
use super::keys::Keys;
use super::layout::{
    CHILD_LEN, HEAD_LEN, HEADER_LEN, INTERIOR_HEADS, INTERIOR_RECORD_HEADER_LEN, INTERIOR_SLOT_LEN,
    LARGE, LEAF_RECORD_HEADER_LEN, LEAF_SLOT_LEN, garbage, heap_start, prefix, prefix_len, u32_at,
    u64_at,
};
use super::stored::{LargeValue, Stored};

/// A leaf: keys and values.
#[derive(Clone, Copy)]
pub struct LeafView<'a> {
    keys: Keys<'a>,
}

impl<'a> LeafView<'a> {
    /// A view of a page that is a leaf.
    #[inline]
    pub fn new(page: &'a [u8]) -> LeafView<'a> {
        let count = count_of(page);
        let record_header_len = LEAF_RECORD_HEADER_LEN;
        LeafView { keys: Keys { page, count, heads: HEADER_LEN, record_header_len } }
    }

    /// How many entries it has.
    #[inline]
    pub fn count(&self) -> usize {
        self.keys.count
    }

    /// The index of `key`, or the one at which it would be.
    ///
    /// # Errors
    ///
    /// The index at which it would be.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Result<usize, usize> {
        self.keys.find(key)
    }

    /// The first half of [`LeafView::find`], for many keys side by side: those that `key` may be,
    /// or the place where it would be. Asks the processor for the first one's record.
    #[inline]
    pub fn candidates(&self, key: &[u8]) -> Range<usize> {
        self.keys.candidates(key)
    }

    /// The second half of it.
    ///
    /// # Errors
    ///
    /// The index at which it would be.
    #[inline]
    pub fn find_among(&self, candidates: Range<usize>, key: &[u8]) -> Result<usize, usize> {
        self.keys.find_among(candidates, key)
    }

    /// The key at `index`.
    pub fn key(&self, index: usize) -> KeyRef<'a> {
        self.keys.key(index)
    }

    /// The value at `index`, or what stands in its place.
    #[inline]
    pub fn value(&self, index: usize) -> Stored<'a> {
        let (range, is_large) = self.value_place(index);
        let bytes = &self.keys.page[range];
        if is_large {
            Stored::Large(LargeValue::read(bytes, self.keys.page.len()))
        } else {
            Stored::Here(bytes)
        }
    }

    /// What all keys begin with.
    pub fn prefix(&self) -> &'a [u8] {
        prefix(self.keys.page)
    }

    /// Makes a key of this leaf, or its prefix, the key at `index`.
    #[inline]
    pub fn replace_suffix(&self, index: usize, key: &mut Vec<u8>) {
        key.truncate(prefix_len(self.keys.page));
        self.keys.copy_suffix(index, key);
    }

    /// Asks the processor for the record at `index`, if there is one.
    #[inline]
    pub fn prefetch(&self, index: usize) {
        if index < self.count() {
            self.keys.prefetch_record(index);
        }
    }

    /// The large values of the leaf's entries.
    pub fn large_values(&self) -> impl Iterator<Item = LargeValue> + use<'a> {
        let view = *self;
        (0..self.count()).filter_map(move |index| view.value(index).large())
    }

    /// Where the value at `index`, or what stands in its place, is in the page; and whether it is
    /// large.
    #[inline]
    pub fn value_place(&self, index: usize) -> (Range<usize>, bool) {
        let record = self.keys.slot(index);
        let lengths = u32_at(self.keys.page, record);
        let suffix_len = (lengths as u16 & !LARGE) as usize;
        let start = record + LEAF_RECORD_HEADER_LEN + suffix_len.saturating_sub(HEAD_LEN);
        (start..start + (lengths >> 16) as usize, lengths as u16 & LARGE != 0)
    }

    /// Where the record at `index` is in the page.
    pub(super) fn record_range(&self, index: usize) -> Range<usize> {
        self.keys.slot(index)..self.value_place(index).0.end
    }

    /// How many bytes lie unused between slots and heap.
    pub fn gap_len(&self) -> usize {
        heap_start(self.keys.page) - HEADER_LEN - LEAF_SLOT_LEN * self.count()
    }

    /// How many bytes of the page are used, header included.
    pub fn used_len(&self) -> usize {
        self.keys.page.len() - self.gap_len() - garbage(self.keys.page)
    }

    pub(super) fn keys(&self) -> &Keys<'a> {
        &self.keys
    }
}

/// An interior node: children, and between each two a separator.
///
/// A separator is greater than every key on its left and not greater than any on its right.
#[derive(Clone, Copy)]
pub struct InteriorView<'a> {
    keys: Keys<'a>,
}

impl<'a> InteriorView<'a> {
    /// A view of a page that is an interior node.
    #[inline]
    pub fn new(page: &'a [u8]) -> InteriorView<'a> {
        let count = count_of(page);
        let record_header_len = INTERIOR_RECORD_HEADER_LEN;
        InteriorView { keys: Keys { page, count, heads: INTERIOR_HEADS, record_header_len } }
    }

    /// How many separators it has: one less than children.
    #[inline]
    pub fn count(&self) -> usize {
        self.keys.count
    }

    /// Its level: one more than that of its children.
    pub fn level(&self) -> u8 {
        level_of(self.keys.page)
    }

    /// The index of the child that has `key` if any has.
    #[inline]
    pub fn child_index(&self, key: &[u8]) -> usize {
        match self.keys.find(key) {
            Ok(index) => index + 1,
            Err(index) => index,
        }
    }

    /// The index of the separator that equals `key`, or the one at which it would be.
    ///
    /// # Errors
    ///
    /// The index at which it would be.
    pub fn find(&self, key: &[u8]) -> Result<usize, usize> {
        self.keys.find(key)
    }

    /// The reference to the child at `index`, from 0 to [`InteriorView::count`].
    #[inline]
    pub fn child(&self, index: usize) -> u64 {
        u64_at(self.keys.page, child_offset(self.count(), index))
    }

    /// The separator between the children at `index` and `index + 1`.
    pub fn separator(&self, index: usize) -> KeyRef<'a> {
        self.keys.key(index)
    }

    /// Where the record of the separator at `index` is in the page, if it has one.
    pub(super) fn record_range(&self, index: usize) -> Option<Range<usize>> {
        let record = self.keys.slot(index);
        let (_, rest) = self.keys.suffix(index);
        (record > HEAD_LEN).then(|| record..record + INTERIOR_RECORD_HEADER_LEN + rest.len())
    }

    /// How many bytes lie unused between slots and heap.
    pub fn gap_len(&self) -> usize {
        heap_start(self.keys.page) - INTERIOR_HEADS - INTERIOR_SLOT_LEN * self.count()
    }

    /// How many bytes of the page are used, header included.
    pub fn used_len(&self) -> usize {
        self.keys.page.len() - self.gap_len() - garbage(self.keys.page)
    }

    pub(super) fn keys(&self) -> &Keys<'a> {
        &self.keys
    }
}

/// Where a node with `count` separators keeps a child.
pub(super) fn child_offset(count: usize, index: usize) -> usize {
    match index.checked_sub(1) {
        None => HEADER_LEN,
        Some(right_of) => INTERIOR_HEADS + (HEAD_LEN + 2) * count + CHILD_LEN * right_of,
    }
}

impl std::fmt::Debug for LeafView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries((0..self.count()).map(|index| self.key(index))).finish()
    }
}

impl std::fmt::Debug for InteriorView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries((0..self.count()).map(|index| self.separator(index))).finish()
    }
}
