//! What a database should have in it, and numbers that look random.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use yieldb::{KeyRange, Tree};
use yieldb_btree::node::max_key_len;

/// Numbers that look random (xorshift64*).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % limit
    }

    /// `true` once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A value, told by its seed and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    seed: u64,
    len: u64,
}

impl Value {
    /// The longest one.
    pub const MAX_LEN: u64 = 100_000;

    /// One of a length whose logarithm is evenly distributed.
    pub fn random(rng: &mut Rng) -> Value {
        let seed = rng.below(1 << 40);
        if rng.once_in(30) {
            return Value { seed, len: 0 };
        }
        // 2^16.6 is about the longest.
        let power = rng.below(1_661) as f64 / 100.0;
        let len = (power.exp2() as u64 + rng.below(3)).clamp(1, Value::MAX_LEN);
        Value { seed, len }
    }

    pub fn len(self) -> u64 {
        self.len
    }

    fn word(self, index: u64) -> u64 {
        (self.seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93)
    }

    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len as usize + 8);
        for index in 0..self.len.div_ceil(8) {
            bytes.extend_from_slice(&self.word(index).to_le_bytes());
        }
        bytes.truncate(self.len as usize);
        bytes
    }

    /// Are these its bytes?
    pub fn is(self, bytes: &[u8]) -> bool {
        let words = bytes.chunks(8).zip(0_u64..);
        bytes.len() as u64 == self.len
            && words
                .into_iter()
                .all(|(word, index)| word == &self.word(index).to_le_bytes()[..word.len()])
    }
}

/// A key of one of several shapes. There are [`KEYS`] of them for a page length.
pub fn key(number: u64, page_len: u32) -> Vec<u8> {
    let mixed = number.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(23);
    match number % 6 {
        _ if number == 0 => Vec::new(),
        0 => format!("{number}").into_bytes(),
        1 => format!("a/rather/long/path/shared/by/many/keys/{number:08}").into_bytes(),
        2 => mixed.to_be_bytes().to_vec(),
        3 => {
            // Of any length up to the limit, and the last ones exactly there.
            let most = max_key_len(page_len as usize);
            let len = (most * (number as usize % 101) / 90).clamp(5, most);
            let mut key = vec![(number % 7) as u8 | 0xf0; len - 4];
            key.extend_from_slice(&(number as u32).to_be_bytes());
            key
        }
        4 => {
            // Bytes at both ends of the alphabet, one key the beginning of another.
            let bits = mixed >> 50;
            (0..bits % 13).map(|at| if bits >> at & 1 == 0 { 0x00 } else { 0xff }).collect()
        }
        _ => format!("{:x}", mixed >> (number % 60)).into_bytes(),
    }
}

/// How many keys there are: so that a tree has a few hundred of them.
pub const KEYS: u64 = 1_200;

pub type Entries = BTreeMap<Vec<u8>, Value>;

/// A range of keys, once as the engine has it and once as the standard library.
pub struct Range {
    pub range: KeyRange,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
}

impl Range {
    pub fn new(start: Bound<Vec<u8>>, end: Bound<Vec<u8>>) -> Range {
        let range =
            KeyRange::between(start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        Range { range, start, end }
    }

    pub fn all() -> Range {
        Range::new(Bound::Unbounded, Bound::Unbounded)
    }

    /// Is a key in it? Found out without the engine's help.
    pub fn contains(&self, key: &[u8]) -> bool {
        let above = match &self.start {
            Bound::Unbounded => true,
            Bound::Included(start) => key >= start.as_slice(),
            Bound::Excluded(start) => key > start.as_slice(),
        };
        above
            && match &self.end {
                Bound::Unbounded => true,
                Bound::Included(end) => key <= end.as_slice(),
                Bound::Excluded(end) => key < end.as_slice(),
            }
    }

    /// The entries in it.
    pub fn of<'e>(&self, entries: &'e Entries) -> Vec<(&'e Vec<u8>, Value)> {
        let inside = entries.iter().filter(|(key, _)| self.contains(key));
        inside.map(|(key, value)| (key, *value)).collect()
    }
}

/// What a version of a database should have in it. Clones share what is not changed.
#[derive(Clone, Default)]
pub struct Reference {
    pub trees: BTreeMap<Vec<u8>, (Tree, Arc<Entries>)>,
}

impl Reference {
    pub fn entries(&self, name: &[u8]) -> &Entries {
        &self.trees[name].1
    }

    pub fn entries_mut(&mut self, name: &[u8]) -> &mut Entries {
        Arc::make_mut(&mut self.trees.get_mut(name).expect("the tree exists").1)
    }

    pub fn count(&self) -> u64 {
        self.trees.values().map(|(_, entries)| entries.len() as u64).sum()
    }
}
