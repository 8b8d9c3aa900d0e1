//! How long a node is, while its keys are added one behind the other.

use crate::node::Shape;

/// The length that a node has with the keys so far, kept up to date with each one that is added
/// in ascending order. The same number as [`crate::node::leaf_len`] and
/// [`crate::node::interior_len`] have, without a pass over all keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    shape: Shape,
    count: usize,
    /// What the first and the last key have in common.
    common: usize,
    /// What the records take outside slots and heads, the common bytes left out.
    with: usize,
    /// The same, nothing left out.
    without: usize,
    /// The length of all values.
    values: usize,
}

impl Packing {
    pub fn new(shape: Shape) -> Packing {
        Packing { shape, count: 0, common: 0, with: 0, without: 0, values: 0 }
    }

    /// Adds a key with what is stored beside it; `keys` are those before it, each called for again
    /// where the common bytes get fewer.
    pub fn add<'k>(
        &mut self,
        key: &[u8],
        value_len: usize,
        mut keys: impl Iterator<Item = &'k [u8]> + Clone,
    ) {
        let rest_len = self.shape.rest_len;
        match keys.clone().next() {
            None => self.common = key.len(),
            Some(first) if key.starts_with(&first[..self.common]) => {}
            Some(first) => {
                self.common =
                    first.iter().zip(key).take_while(|(left, right)| left == right).count();
                let common = self.common;
                self.with = keys.by_ref().map(|key| rest_len(key.len() - common)).sum();
            }
        }
        self.count += 1;
        self.with += rest_len(key.len() - self.common);
        self.without += rest_len(key.len());
        self.values += value_len;
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        let rest = self.without.min(self.common + self.with);
        self.shape.fixed_len + self.shape.slot_len * self.count + rest + self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{KeyRef, LeafEntry, Stored, interior_len, leaf_len};

    #[test]
    fn the_length_is_that_of_the_node() {
        let cases: [&[&str]; 6] = [
            &["", "a", "ab", "abc", "b"],
            &["abcdefgh1", "abcdefgh12", "abcdefgh2", "abcdefghijklm", "abcdz", "b"],
            &["aaaaaaaaaaaaaaaa"],
            &["abcd0", "abcd1", "abcd2", "abcd3"],
            &["x", "xy", "xyz"],
            &["key 000000001", "key 000000002", "key 0001", "key 1", "kez"],
        ];
        for keys in cases {
            let (mut leaf, mut interior) =
                (Packing::new(Shape::LEAF), Packing::new(Shape::INTERIOR));
            for count in 1..=keys.len() {
                let before = keys[..count - 1].iter().map(|key| key.as_bytes());
                leaf.add(keys[count - 1].as_bytes(), 10 * count, before.clone());
                interior.add(keys[count - 1].as_bytes(), 0, before);
                let refs = keys[..count].iter().map(|key| KeyRef::from_slice(key.as_bytes()));
                let refs: Vec<KeyRef<'_>> = refs.collect();
                assert_eq!(interior.len(), interior_len(&refs), "{:?}", &keys[..count]);
                let value = [0; 100];
                let entries = refs.iter().zip(1..);
                let entries = entries.map(|(key, number)| LeafEntry {
                    key: *key,
                    value: Stored::Here(&value[..10 * number]),
                });
                let entries: Vec<LeafEntry<'_>> = entries.collect();
                assert_eq!(leaf.len(), leaf_len(&entries), "{:?}", &keys[..count]);
            }
        }
    }
}
