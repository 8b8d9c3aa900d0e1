//! Changes that are made together.

use yieldb_pager::Tree;

use crate::KeyRange;
use crate::record::TreeChange;

/// Changes that are made together, in the order in which they were added: all or none of them.
///
/// Keys and values are copied into one allocation, which grows.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    changes: Vec<Change>,
    ranges: Vec<KeyRange>,
}

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
