//! Random reads in a transaction, each beside what it should come to.

use std::ops::Bound;

use yieldb::{Entry, Tree};

use crate::reference::{Entries, Range, Rng, Value};
use crate::work::Work;

/// Where a cursor over a list of entries is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// On both ends.
    New,
    /// In front of the entry at the index, behind the one before it.
    Gap(usize),
    On(usize),
}

impl Place {
    fn next(self, count: usize) -> (Place, Option<usize>) {
        let next = match self {
            Place::New => 0,
            Place::Gap(index) => index,
            Place::On(index) => index + 1,
        };
        if next < count { (Place::On(next), Some(next)) } else { (Place::Gap(count), None) }
    }

    fn previous(self, count: usize) -> (Place, Option<usize>) {
        let behind = match self {
            Place::New => count,
            Place::Gap(index) | Place::On(index) => index,
        };
        match behind.checked_sub(1) {
            Some(index) => (Place::On(index), Some(index)),
            None => (Place::Gap(0), None),
        }
    }
}

fn assert_entry(entry: Option<Entry<'_>>, expected: Option<(&Vec<u8>, Value)>) {
    assert_eq!(entry.map(|entry| entry.key()), expected.map(|(key, _)| key.as_slice()));
    if let (Some(entry), Some((_, value))) = (entry, expected) {
        assert!(value.is(entry.value()), "another value");
    }
}

impl Work {
    /// A bound at one of the keys that there are, or that there may be.
    fn bound(&self, rng: &mut Rng) -> Bound<Vec<u8>> {
        match rng.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Excluded(self.key(rng)),
            _ => Bound::Included(self.key(rng)),
        }
    }

    /// Any range at all, also one that is upside down.
    fn range(&self, rng: &mut Rng) -> Range {
        Range::new(self.bound(rng), self.bound(rng))
    }

    /// A range that mostly has a few entries.
    pub fn short_range(&self, name: &[u8], rng: &mut Rng) -> Range {
        if rng.once_in(20) {
            return self.range(rng);
        }
        let start = self.key(rng);
        let behind = self.reference.entries(name).range(start.clone()..);
        let end = behind.map(|(key, _)| key.clone()).nth(rng.below(12) as usize);
        let end = end.map_or(Bound::Included(start.clone()), Bound::Excluded);
        Range::new(Bound::Included(start), end)
    }

    pub fn get(&mut self, rng: &mut Rng) {
        let ((name, tree), key) = (self.tree(rng), self.key(rng));
        let found = self.transaction.get(tree, &key).wait().unwrap();
        match (self.reference.entries(&name).get(&key), found.as_deref()) {
            (None, None) => {}
            (Some(value), Some(bytes)) => assert!(value.is(bytes), "another value"),
            (expected, found) => panic!("{:?} for {expected:?}", found.map(<[u8]>::len)),
        }
    }

    /// Many lookups at a time, in whatever order they end; now and then only some of them.
    pub fn multi_get(&mut self, rng: &mut Rng) {
        let (name, tree) = self.tree(rng);
        let keys: Vec<Vec<u8>> = (0..rng.below(40)).map(|_| self.key(rng)).collect();
        let limit = if rng.once_in(4) { rng.below(keys.len() as u64 + 1) } else { u64::MAX };
        let depth = 1 + rng.below(20) as usize;
        let mut lookups = self.transaction.multi_get(tree, &keys, depth);
        let mut looked_up: Vec<&[u8]> = Vec::new();
        while (looked_up.len() as u64) < limit
            && let Some(lookup) = lookups.next().wait().unwrap()
        {
            let found = lookup.value.unwrap();
            match (self.reference.entries(&name).get(lookup.key), found.as_deref()) {
                (None, None) => {}
                (Some(value), Some(bytes)) => assert!(value.is(bytes), "another value"),
                (expected, found) => panic!("{:?} for {expected:?}", found.map(<[u8]>::len)),
            }
            looked_up.push(lookup.key);
        }
        if limit == u64::MAX {
            let mut expected: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            expected.sort_unstable();
            looked_up.sort_unstable();
            assert_eq!(looked_up, expected, "a key is looked up once");
        }
    }

    pub fn read_parts(&mut self, rng: &mut Rng) {
        let ((name, tree), key) = (self.tree(rng), self.key(rng));
        let reader = self.transaction.value(tree, &key).wait().unwrap();
        let expected = self.reference.entries(&name).get(&key).copied();
        assert_eq!(reader.as_ref().map(|reader| reader.len()), expected.map(Value::len));
        let (Some(reader), Some(value)) = (reader, expected) else { return };
        let bytes = value.bytes();
        for _ in 0..4 {
            let from = rng.below(value.len() + 1);
            let len = rng.below(value.len() - from + 1);
            let part = reader.read(from, vec![0; len as usize]).unwrap().wait().unwrap();
            assert!(part == bytes[from as usize..(from + len) as usize], "other bytes");
        }
        assert!(reader.read(value.len(), [0]).is_err() && reader.read(u64::MAX, [0; 2]).is_err());
        assert!(reader.read(value.len(), []).is_ok());
    }

    /// Moves a cursor to and fro.
    pub fn walk(&mut self, rng: &mut Rng) {
        let (name, tree) = self.tree(rng);
        let range = if rng.once_in(2) { Range::all() } else { self.range(rng) };
        let entries = range.of(self.reference.entries(&name));
        let mut cursor = self.transaction.cursor(tree, range.range.clone());
        let mut place = Place::New;
        let forwards = rng.below(10);
        for _ in 0..rng.below(30) {
            if rng.once_in(9) {
                let key = self.key(rng);
                cursor.seek(&key);
                place = Place::Gap(entries.partition_point(|(other, _)| **other < key));
            }
            let is_forwards = rng.below(10) < forwards;
            let is_whole = rng.once_in(2);
            let (now, expected) =
                if is_forwards { place.next(entries.len()) } else { place.previous(entries.len()) };
            place = now;
            let expected = expected.map(|index| entries[index]);
            if is_whole {
                let op = if is_forwards { cursor.next() } else { cursor.previous() };
                assert_entry(op.wait().unwrap(), expected);
                assert_entry(cursor.entry(), expected);
            } else {
                let op = if is_forwards { cursor.next_key() } else { cursor.previous_key() };
                assert_eq!(op.wait().unwrap(), expected.map(|(key, _)| key.as_slice()));
            }
            assert_eq!(cursor.key(), expected.map(|(key, _)| key.as_slice()));
            assert_eq!(cursor.value_len(), expected.map(|(_, value)| value.len()));
        }
    }

    pub fn edges(&mut self, rng: &mut Rng) {
        let (name, tree) = self.tree(rng);
        let range = self.range(rng);
        let entries = range.of(self.reference.entries(&name));
        let first = self.transaction.first(tree, range.range.clone()).wait().unwrap();
        let last = self.transaction.last(tree, range.range.clone()).wait().unwrap();
        for (found, expected) in [(first, entries.first()), (last, entries.last())] {
            assert_eq!(found.as_ref().map(|(key, _)| key), expected.map(|(key, _)| *key));
            assert!(found.is_none_or(|(_, bytes)| expected.unwrap().1.is(&bytes)));
        }
    }

    pub fn count_range(&mut self, rng: &mut Rng) {
        let (name, tree) = self.tree(rng);
        let range = self.range(rng);
        let counted = self.transaction.count_range(tree, range.range.clone()).wait().unwrap();
        assert_eq!(counted, range.of(self.reference.entries(&name)).len() as u64);
    }

    pub fn scan_prefix(&mut self, rng: &mut Rng) {
        let (name, tree) = self.tree(rng);
        let key = self.key(rng);
        let prefix = &key[..rng.below(key.len() as u64 + 1).min(rng.below(8)) as usize];
        let expected =
            self.reference.entries(&name).iter().filter(|(key, _)| key.starts_with(prefix));
        let mut cursor = self.transaction.cursor(tree, yieldb::KeyRange::prefix(prefix));
        for (key, _) in expected {
            assert_eq!(cursor.next_key().wait().unwrap(), Some(key.as_slice()));
        }
        assert_eq!(cursor.next_key().wait().unwrap(), None);
    }
}

/// Checks that a tree of a snapshot has these entries, and no others.
pub fn assert_tree(snapshot: &yieldb::Snapshot, tree: Tree, expected: &Entries, forwards: bool) {
    assert_eq!(snapshot.count(tree).unwrap(), expected.len() as u64);
    let mut cursor = snapshot.cursor(tree, yieldb::KeyRange::all());
    let mut check = |entry: Option<(&Vec<u8>, &Value)>| {
        let op = if forwards { cursor.next() } else { cursor.previous() };
        assert_entry(op.wait().unwrap(), entry.map(|(key, value)| (key, *value)));
    };
    if forwards {
        expected.iter().for_each(|entry| check(Some(entry)));
    } else {
        expected.iter().rev().for_each(|entry| check(Some(entry)));
    }
    check(None);
}
