//! Changes that are made together.

use smallvec::SmallVec;
use yieldb_pager::{Tree, prefetch_front};

use crate::KeyRange;
use crate::record::TreeChange;

/// Changes that are made together, as if in the order in which they were added: all or none of
/// them.
///
/// Keys and values are copied into one allocation, which grows. Changes of different entries are
/// made in the order of their keys, so that a leaf is changed as often as it has to be while it is
/// at hand: many of them cost less in a batch than one by one.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    changes: Vec<Change>,
    ranges: Vec<KeyRange>,
}

/// Indexes of changes.
pub(crate) type Order = SmallVec<[usize; 2]>;

/// How many changes later what is prefetched is needed.
const PREFETCHED: usize = 8;

/// Where a change is made: the tree, and the head of the key.
type Place = (Tree, u64);

#[derive(Clone, Copy, Debug)]
struct Change {
    tree: Tree,
    /// Where the key begins, or which of the ranges it is.
    start: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Put { key_len: usize, value_len: usize },
    Delete { key_len: usize },
    DeleteRange,
}

impl Batch {
    /// Nothing to do yet.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds: store `value` under `key`.
    pub fn put(&mut self, tree: Tree, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (key, value) = (key.as_ref(), value.as_ref());
        let kind = Kind::Put { key_len: key.len(), value_len: value.len() };
        self.changes.push(Change { tree, start: self.bytes.len(), kind });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    /// Adds: remove the entry with `key`, if there is one.
    pub fn delete(&mut self, tree: Tree, key: impl AsRef<[u8]>) {
        let key = key.as_ref();
        let kind = Kind::Delete { key_len: key.len() };
        self.changes.push(Change { tree, start: self.bytes.len(), kind });
        self.bytes.extend_from_slice(key);
    }

    /// Adds: remove the entries in `range`.
    pub fn delete_range(&mut self, tree: Tree, range: KeyRange) {
        self.changes.push(Change { tree, start: self.ranges.len(), kind: Kind::DeleteRange });
        self.ranges.push(range);
    }

    /// How many changes there are.
    pub fn count(&self) -> usize {
        self.changes.len()
    }

    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Forgets all changes, and keeps the memory for others.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.changes.clear();
        self.ranges.clear();
    }

    /// How many bytes its keys and values have, but for the bounds of ranges.
    pub(crate) fn content_len(&self) -> usize {
        self.bytes.len()
    }

    /// A record of the changes, if that has at most so many bytes.
    pub(crate) fn record(&self, max_len: usize) -> Option<Vec<u8>> {
        if self.content_len() > max_len {
            return None;
        }
        let mut record = Vec::with_capacity(self.content_len() + 8 * self.count());
        for index in 0..self.count() {
            self.change(index)?.append_to(&mut record);
        }
        Some(record).filter(|record| record.len() <= max_len)
    }

    /// The indexes of all changes in the order in which they are best made: that of the trees and
    /// their keys. Changes of one entry stay in the order in which they were added, and none passes
    /// the removal of a range. Cost: a sort.
    pub(crate) fn order(&self) -> Order {
        let is_range = |index: &usize| matches!(self.changes[*index].kind, Kind::DeleteRange);
        let places = self.changes.iter().map(|change| (change.tree, self.head(change)));
        let mut order: SmallVec<[(Place, usize); 2]> = places.zip(0..).collect();
        for part in order.split_mut(|(_, index)| is_range(index)) {
            // Places are at hand; keys are all over memory.
            part.sort_unstable_by_key(|(place, _)| *place);
            for alike in part.chunk_by_mut(|left, right| left.0 == right.0) {
                alike.sort_unstable_by_key(|(_, index)| (self.key(&self.changes[*index]), *index));
            }
        }
        order.into_iter().map(|(_, index)| index).collect()
    }

    /// The first bytes of a change's key as a number that orders as they do.
    fn head(&self, change: &Change) -> u64 {
        let key = self.key(change);
        let mut head = [0; size_of::<u64>()];
        let len = key.len().min(head.len());
        head[..len].copy_from_slice(&key[..len]);
        u64::from_be_bytes(head)
    }

    /// The key of the entry that a change is about; empty for a range.
    fn key(&self, change: &Change) -> &[u8] {
        match change.kind {
            Kind::Put { key_len, .. } | Kind::Delete { key_len } => {
                &self.bytes[change.start..change.start + key_len]
            }
            Kind::DeleteRange => &[],
        }
    }

    /// The change at a place of its order. Asks the processor for what is needed a few changes
    /// later: in that order they are all over memory.
    pub(crate) fn change_in(&self, order: &[usize], at: usize) -> Option<TreeChange<'_>> {
        if let Some(index) = order.get(at + 2 * PREFETCHED) {
            prefetch_front(std::slice::from_ref(&self.changes[*index]));
        }
        if let Some(index) = order.get(at + PREFETCHED) {
            prefetch_front(self.key(&self.changes[*index]));
        }
        self.change(*order.get(at)?)
    }

    /// The change at `index`.
    pub(crate) fn change(&self, index: usize) -> Option<TreeChange<'_>> {
        let Change { tree, start, kind } = *self.changes.get(index)?;
        Some(match kind {
            Kind::Put { key_len, value_len } => {
                let (key, rest) = self.bytes[start..].split_at(key_len);
                TreeChange::Put { tree, key, value: &rest[..value_len] }
            }
            Kind::Delete { key_len } => {
                TreeChange::Delete { tree, key: &self.bytes[start..start + key_len] }
            }
            Kind::DeleteRange => {
                let range = &self.ranges[start];
                TreeChange::DeleteRange { tree, start: range.start(), end: range.end() }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_made_by_tree_and_key_and_none_passes_a_range() {
        let (first, second) = (Tree::from_u32(1), Tree::from_u32(2));
        let mut batch = Batch::new();
        batch.put(second, "b", "");
        batch.put(first, "common beginning 2", "");
        batch.put(first, "common beginning 1", "old");
        batch.put(second, "", "");
        batch.delete(first, "common beginning 1");
        batch.delete_range(first, KeyRange::all());
        batch.delete_range(second, KeyRange::all());
        batch.put(first, "common", "");
        batch.put(first, "a", "");
        batch.put(first, "common\0", "");
        assert_eq!(batch.order()[..], [2, 4, 1, 3, 0, 5, 6, 8, 7, 9]);
        assert!(Batch::new().order().is_empty());
    }
}
