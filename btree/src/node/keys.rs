//! The sorted keys of a node of either kind.

use std::cmp::Ordering;

use super::key::KeyRef;
use super::layout::{HEAD_LEN, LARGE, head_of, prefix, rest_of, u16_at, u32_at};

/// The sorted keys of a node.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub page: &'a [u8],
    pub count: usize,
    /// Where the heads begin.
    pub heads: usize,
    /// What a record has in front of the key.
    pub record_header_len: usize,
}

impl<'a> Keys<'a> {
    /// The key at `index`.
    pub fn key(&self, index: usize) -> KeyRef<'a> {
        let (suffix_len, rest) = self.suffix(index);
        KeyRef::in_node(prefix(self.page), self.head(index), suffix_len, rest)
    }

    /// The index of `key`, or the one at which it would be.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = prefix(self.page);
        let Some(suffix) = key.strip_prefix(prefix) else {
            return Err(if key < prefix { 0 } else { self.count });
        };
        let head = head_of(suffix);
        let heads = &self.page[self.heads..self.heads + HEAD_LEN * self.count];
        let first = partition_point(heads, |stored| stored < head);
        // Most heads are unlike all others; only equal ones need their records.
        let (mut low, mut high) = (first, first);
        while high < self.count && self.head(high) == head {
            high += 1;
        }
        while low < high {
            let middle = low.midpoint(high);
            match self.cmp_suffix(middle, suffix) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The head at `index`.
    #[inline]
    pub fn head(&self, index: usize) -> u32 {
        u32_at(self.page, self.heads + HEAD_LEN * index)
    }

    /// What the slot at `index` says: an offset, or in an interior node a length up to four.
    #[inline]
    pub fn slot(&self, index: usize) -> usize {
        usize::from(u16_at(self.page, self.heads + HEAD_LEN * self.count + 2 * index))
    }

    /// The length of the suffix at `index`, and what of it is not in the head.
    #[inline]
    pub fn suffix(&self, index: usize) -> (usize, &'a [u8]) {
        let slot = self.slot(index);
        if slot <= HEAD_LEN {
            return (slot, &[]);
        }
        let len = usize::from(u16_at(self.page, slot) & !LARGE);
        let rest = slot + self.record_header_len;
        (len, &self.page[rest..rest + len.saturating_sub(HEAD_LEN)])
    }

    /// The order of the suffix at `index` against one with the same head.
    #[inline]
    fn cmp_suffix(&self, index: usize, suffix: &[u8]) -> Ordering {
        let (len, rest) = self.suffix(index);
        if len >= HEAD_LEN && suffix.len() >= HEAD_LEN {
            rest.cmp(rest_of(suffix))
        } else {
            len.cmp(&suffix.len())
        }
    }
}

/// How many heads at the beginning satisfy `less`.
#[inline]
fn partition_point(heads: &[u8], less: impl Fn(u32) -> bool) -> usize {
    let (heads, _) = heads.as_chunks::<HEAD_LEN>();
    heads.partition_point(|head| less(u32::from_le_bytes(*head)))
}
