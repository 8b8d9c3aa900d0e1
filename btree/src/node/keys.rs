//! The sorted keys of a node of either kind.

use std::cmp::Ordering;
use std::ops::Range;

use yieldb_pager::prefetch_front;

use super::key::KeyRef;
use super::layout::{HEAD_LEN, LARGE, head_of, prefix, prefix_len, rest_of, u16_at, u32_at};

/// So many heads are counted rather than searched.
const BLOCK: usize = 16;

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
        self.find_among(self.candidates(key), key)
    }

    /// Those whose heads are that of `key`, which tells it from most others; if there are none, the
    /// place where it would be. Asks the processor for the first one's record.
    #[inline]
    pub fn candidates(&self, key: &[u8]) -> Range<usize> {
        let prefix = prefix(self.page);
        let suffix = if prefix.is_empty() {
            key
        } else if let Some(suffix) = key.strip_prefix(prefix) {
            suffix
        } else {
            let at = if key < prefix { 0 } else { self.count };
            return at..at;
        };
        let (heads, _) = self.page[self.heads..self.heads + HEAD_LEN * self.count].as_chunks();
        let head = head_of(suffix);
        let first = count_below(heads, head);
        let is_equal = |stored: &&[u8; HEAD_LEN]| u32::from_le_bytes(**stored) == head;
        let equal = heads[first..].iter().take_while(is_equal).count();
        if equal > 0 {
            // The value as well, which is mostly asked for next.
            self.prefetch_record(first);
        }
        first..first + equal
    }

    /// The same among the [candidates](Keys::candidates), whose records decide.
    #[inline(always)]
    pub fn find_among(&self, candidates: Range<usize>, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (candidates.start, candidates.end);
        while low < high {
            let middle = low.midpoint(high);
            match self.cmp_suffix(middle, &key[prefix_len(self.page)..]) {
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
    #[inline(always)]
    pub fn suffix(&self, index: usize) -> (usize, &'a [u8]) {
        let slot = self.slot(index);
        if slot <= HEAD_LEN {
            return (slot, &[]);
        }
        let len = usize::from(u16_at(self.page, slot) & !LARGE);
        let rest = slot + self.record_header_len;
        (len, &self.page[rest..rest + len.saturating_sub(HEAD_LEN)])
    }

    /// Appends the suffix at `index`.
    #[inline]
    pub fn copy_suffix(&self, index: usize, out: &mut Vec<u8>) {
        let (len, rest) = self.suffix(index);
        let head = self.head(index).to_be_bytes();
        out.reserve(len);
        if len < HEAD_LEN {
            out.extend_from_slice(&head[..len]);
        } else {
            out.extend_from_slice(&head);
            out.extend_from_slice(rest);
        }
    }

    /// Asks the processor for the record at `index`, value and all if it is short.
    #[inline]
    pub fn prefetch_record(&self, index: usize) {
        prefetch_front(&self.page[self.slot(index)..]);
    }

    /// The order of the suffix at `index` against one with the same head.
    #[inline(always)]
    fn cmp_suffix(&self, index: usize, suffix: &[u8]) -> Ordering {
        let (len, rest) = self.suffix(index);
        if len >= HEAD_LEN && suffix.len() >= HEAD_LEN {
            rest.cmp(rest_of(suffix))
        } else {
            len.cmp(&suffix.len())
        }
    }
}

/// How many of the ascending heads are less than `head`.
///
/// Those of the one block that matters are counted, several at a time, and it is found without a
/// branch: that takes no guess of the processor's.
#[inline]
fn count_below(heads: &[[u8; HEAD_LEN]], head: u32) -> usize {
    let is_below = |stored: &[u8; HEAD_LEN]| u32::from_le_bytes(*stored) < head;
    let count = |heads: &[[u8; HEAD_LEN]]| -> u32 {
        heads.iter().map(|stored| u32::from(is_below(stored))).sum()
    };
    let (blocks, rest) = heads.as_chunks::<BLOCK>();
    let before = blocks.partition_point(|block| is_below(&block[BLOCK - 1]));
    let among = match blocks.get(before) {
        Some(block) => count(block),
        None => count(rest),
    };
    BLOCK * before + among as usize
}
