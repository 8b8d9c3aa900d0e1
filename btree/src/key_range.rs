//! Ranges of keys.

use std::ops::{Bound, Range};

use crate::node::LeafView;

/// A range of keys, in byte order.
///
/// ```
/// use yieldb_btree::KeyRange;
///
/// let range = KeyRange::all().from("b").to("d");
/// assert!(range.contains("c") && !range.contains("d"));
/// assert!(KeyRange::prefix("ab").contains(b"ab\xff"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
}

impl Default for KeyRange {
    fn default() -> Self {
        KeyRange::all()
    }
}

impl KeyRange {
    /// Every key.
    pub fn all() -> KeyRange {
        KeyRange { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> KeyRange {
        let prefix = prefix.as_ref();
        // The first key behind all of them: the prefix with its last byte that can be increased
        // increased, and cut there.
        let end = match prefix.iter().rposition(|byte| *byte < 0xff) {
            None => Bound::Unbounded,
            Some(last) => {
                let mut end = prefix[..=last].to_vec();
                end[last] += 1;
                Bound::Excluded(end)
            }
        };
        KeyRange { start: Bound::Included(prefix.to_vec()), end }
    }

    /// Between two bounds. The range may be empty.
    pub fn between(start: Bound<&[u8]>, end: Bound<&[u8]>) -> KeyRange {
        KeyRange { start: start.map(<[u8]>::to_vec), end: end.map(<[u8]>::to_vec) }
    }

    /// The keys of this range from `key` on, `key` included.
    #[must_use]
    #[allow(clippy::wrong_self_convention)]
    pub fn from(mut self, key: impl AsRef<[u8]>) -> KeyRange {
        let key = key.as_ref();
        if !self.is_above_start(key) {
            return self;
        }
        self.start = Bound::Included(key.to_vec());
        self
    }

    /// The keys of this range up to `key`, `key` not included.
    #[must_use]
    #[allow(clippy::wrong_self_convention)]
    pub fn to(mut self, key: impl AsRef<[u8]>) -> KeyRange {
        let key = key.as_ref();
        let narrows = match &self.end {
            Bound::Unbounded => true,
            Bound::Included(end) => key <= end.as_slice(),
            Bound::Excluded(end) => key < end.as_slice(),
        };
        if narrows {
            self.end = Bound::Excluded(key.to_vec());
        }
        self
    }

    /// Is `key` in the range?
    pub fn contains(&self, key: impl AsRef<[u8]>) -> bool {
        let key = key.as_ref();
        self.is_above_start(key) && self.is_below_end(key)
    }

    /// Is it certain that no key is in the range?
    pub fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Unbounded, Bound::Excluded(end)) => end.is_empty(),
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (
                Bound::Included(start) | Bound::Excluded(start),
                Bound::Included(end) | Bound::Excluded(end),
            ) => start >= end,
        }
    }

    /// The lower bound.
    pub fn start(&self) -> Bound<&[u8]> {
        self.start.as_ref().map(Vec::as_slice)
    }

    /// The upper bound.
    pub fn end(&self) -> Bound<&[u8]> {
        self.end.as_ref().map(Vec::as_slice)
    }

    /// The entries of a leaf that are in the range.
    pub(crate) fn indexes_in(&self, leaf: &LeafView<'_>) -> Range<usize> {
        self.start_in(leaf)..self.end_in(leaf)
    }

    /// The first entry of a leaf that is not in front of the range.
    pub(crate) fn start_in(&self, leaf: &LeafView<'_>) -> usize {
        match &self.start {
            Bound::Unbounded => 0,
            Bound::Included(key) => leaf.find(key).unwrap_or_else(|at| at),
            Bound::Excluded(key) => leaf.find(key).map_or_else(|at| at, |at| at + 1),
        }
    }

    /// The first entry of a leaf that is behind the range.
    pub(crate) fn end_in(&self, leaf: &LeafView<'_>) -> usize {
        match &self.end {
            Bound::Unbounded => leaf.count(),
            Bound::Included(key) => leaf.find(key).map_or_else(|at| at, |at| at + 1),
            Bound::Excluded(key) => leaf.find(key).unwrap_or_else(|at| at),
        }
    }

    pub(crate) fn is_above_start(&self, key: &[u8]) -> bool {
        match &self.start {
            Bound::Unbounded => true,
            Bound::Included(start) => key >= start.as_slice(),
            Bound::Excluded(start) => key > start.as_slice(),
        }
    }

    pub(crate) fn is_below_end(&self, key: &[u8]) -> bool {
        match &self.end {
            Bound::Unbounded => true,
            Bound::Included(end) => key <= end.as_slice(),
            Bound::Excluded(end) => key < end.as_slice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(KeyRange::prefix(b"a\xff\xff").end(), Bound::Excluded(&b"b"[..]));
        assert_eq!(KeyRange::prefix(b"\xff").end(), Bound::Unbounded);
        assert_eq!(
            KeyRange::prefix(b""),
            KeyRange::between(Bound::Included(b""), Bound::Unbounded)
        );
        let range = KeyRange::prefix(b"k\xff");
        assert!(range.contains(b"k\xff\xff\xff") && !range.contains(b"l"));
    }

    #[test]
    fn narrowing_never_widens() {
        let range = KeyRange::prefix(b"b").from(b"a").to(b"z");
        assert_eq!(range, KeyRange::prefix(b"b"));
        let range = KeyRange::prefix(b"b").from(b"b5").to(b"b7");
        assert!(range.contains(b"b5") && !range.contains(b"b4") && !range.contains(b"b7"));
        let after = KeyRange::between(Bound::Excluded(b"c"), Bound::Unbounded).from(b"c");
        assert!(!after.contains(b"c"));
    }

    #[test]
    fn empty_ranges_are_known() {
        assert!(KeyRange::all().from(b"b").to(b"b").is_empty());
        assert!(KeyRange::all().from(b"c").to(b"b").is_empty());
        assert!(KeyRange::all().to(b"").is_empty());
        assert!(!KeyRange::all().from(b"a").to(b"b").is_empty());
    }
}
