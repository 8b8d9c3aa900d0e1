//! What a transaction did, as bytes: its record.
//!
//! A record has the changes that were made, one behind the other, in the order in which they were
//! made; so several records one behind the other are a record. [Made
//! again](crate::ops::replay) on the trees that the transaction began on, they come to the same
//! entries, names and numbers of trees.
//!
//! | change | kind | and then |
//! |---|---|---|
//! | an entry is stored | 1 | tree, length of the key, length of the value, key, value |
//! | an entry is removed | 2 | tree, length of the key, key |
//! | the entries of a range are removed | 3 | tree, lower bound, upper bound |
//! | a tree is created | 4 | its number, length of its name, name |
//! | a tree gets another name | 5 | tree, length of the name, name |
//! | a tree is dropped | 6 | tree |
//! | numbers of trees are passed over | 7 | the least number that is left |
//!
//! The kind is a byte. Numbers and lengths are below 2^32, and written 7 bits a byte, the lowest
//! first; in all bytes but the last the highest bit is set, and there are no more of them than it
//! takes. A bound is a byte, 0 for none, 1 if its key is in the range, 2 if it is not; unless there
//! is none, the length of the key and the key follow. So what an entry that is stored takes beside
//! its key and its value is 4 bytes in most cases, and 10 at most where there are fewer than two
//! million trees.

use std::ops::Bound;

use yieldb_pager::Tree;

use crate::{Error, Result};

/// One change of a transaction: of a tree, or of what trees there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeChange<'r> {
    /// An entry is stored, in place of the one with the same key.
    Put {
        /// The tree.
        tree: Tree,
        /// The key.
        key: &'r [u8],
        /// The value.
        value: &'r [u8],
    },
    /// The entry with a key is removed.
    Delete {
        /// The tree.
        tree: Tree,
        /// The key.
        key: &'r [u8],
    },
    /// The entries of a range are removed.
    DeleteRange {
        /// The tree.
        tree: Tree,
        /// The lower bound.
        start: Bound<&'r [u8]>,
        /// The upper bound.
        end: Bound<&'r [u8]>,
    },
    /// A tree is created.
    CreateTree {
        /// Its number.
        tree: Tree,
        /// Its name.
        name: &'r [u8],
    },
    /// A tree gets another name.
    RenameTree {
        /// The tree.
        tree: Tree,
        /// The new name.
        name: &'r [u8],
    },
    /// A tree is dropped.
    DropTree {
        /// The tree.
        tree: Tree,
    },
    /// Numbers of trees were given out that no tree has: the transaction went back.
    PassOver {
        /// The least number that a tree created from now on has.
        next: u32,
    },
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;
const CREATE_TREE: u8 = 4;
const RENAME_TREE: u8 = 5;
const DROP_TREE: u8 = 6;
const PASS_OVER: u8 = 7;

const UNBOUNDED: u8 = 0;
const INCLUDED: u8 = 1;
const EXCLUDED: u8 = 2;

impl TreeChange<'_> {
    /// How many bytes its keys, values and names have.
    pub(crate) fn content_len(&self) -> usize {
        let of_bound = |bound: &Bound<&[u8]>| match bound {
            Bound::Unbounded => 0,
            Bound::Included(key) | Bound::Excluded(key) => key.len(),
        };
        match self {
            TreeChange::Put { key, value, .. } => key.len() + value.len(),
            TreeChange::Delete { key, .. } => key.len(),
            TreeChange::DeleteRange { start, end, .. } => of_bound(start) + of_bound(end),
            TreeChange::CreateTree { name, .. } | TreeChange::RenameTree { name, .. } => name.len(),
            TreeChange::DropTree { .. } | TreeChange::PassOver { .. } => 0,
        }
    }

    /// Appends it to a record.
    ///
    /// # Panics
    ///
    /// If one of its parts has 4 GiB or more.
    pub(crate) fn append_to(&self, record: &mut Vec<u8>) {
        match *self {
            TreeChange::Put { tree, key, value } => {
                begin(record, PUT, tree.as_u32());
                append_len(record, key);
                append_len(record, value);
                record.extend_from_slice(key);
                record.extend_from_slice(value);
            }
            TreeChange::Delete { tree, key } => {
                begin(record, DELETE, tree.as_u32());
                append_bytes(record, key);
            }
            TreeChange::DeleteRange { tree, start, end } => {
                begin(record, DELETE_RANGE, tree.as_u32());
                append_bound(record, start);
                append_bound(record, end);
            }
            TreeChange::CreateTree { tree, name } => {
                begin(record, CREATE_TREE, tree.as_u32());
                append_bytes(record, name);
            }
            TreeChange::RenameTree { tree, name } => {
                begin(record, RENAME_TREE, tree.as_u32());
                append_bytes(record, name);
            }
            TreeChange::DropTree { tree } => begin(record, DROP_TREE, tree.as_u32()),
            TreeChange::PassOver { next } => begin(record, PASS_OVER, next),
        }
    }
}

fn begin(record: &mut Vec<u8>, kind: u8, number: u32) {
    record.push(kind);
    append_number(record, number);
}

fn append_number(record: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        record.push(number as u8 | 0x80);
        number >>= 7;
    }
    record.push(number as u8);
}

fn append_len(record: &mut Vec<u8>, bytes: &[u8]) {
    append_number(record, u32::try_from(bytes.len()).expect("a record has short parts"));
}

fn append_bytes(record: &mut Vec<u8>, bytes: &[u8]) {
    append_len(record, bytes);
    record.extend_from_slice(bytes);
}

fn append_bound(record: &mut Vec<u8>, bound: Bound<&[u8]>) {
    match bound {
        Bound::Unbounded => record.push(UNBOUNDED),
        Bound::Included(key) => {
            record.push(INCLUDED);
            append_bytes(record, key);
        }
        Bound::Excluded(key) => {
            record.push(EXCLUDED);
            append_bytes(record, key);
        }
    }
}

/// The changes of a record, which may be any bytes. The first thing that is none is an error, and
/// the last item. Whether the changes can be made, and whether keys and names are too long, is for
/// whoever makes them to find out.
///
/// ```
/// use yieldb_btree::record::{Changes, TreeChange};
/// use yieldb_btree::Tree;
///
/// let mut changes = Changes::of(&[2, 0, 1, b'k', 9]);
/// let delete = TreeChange::Delete { tree: Tree::MAIN, key: b"k" };
/// assert_eq!(changes.next().unwrap().unwrap(), delete);
/// assert!(changes.next().unwrap().is_err());
/// assert!(changes.next().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct Changes<'r> {
    record: &'r [u8],
    /// Where the next one begins.
    offset: usize,
}

impl<'r> Changes<'r> {
    /// All changes of a record.
    pub fn of(record: &'r [u8]) -> Changes<'r> {
        Changes { record, offset: 0 }
    }

    /// Those from the one on that begins at `offset`, or none behind the end.
    pub(crate) fn from_offset(record: &'r [u8], offset: usize) -> Changes<'r> {
        Changes { record, offset }
    }

    /// Where the next one begins, in bytes.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl<'r> Iterator for Changes<'r> {
    type Item = Result<TreeChange<'r>>;

    fn next(&mut self) -> Option<Result<TreeChange<'r>>> {
        let mut parser = Parser { rest: self.record.get(self.offset..)? };
        if parser.rest.is_empty() {
            return None;
        }
        let offset = self.offset;
        match parser.change() {
            Ok(change) => {
                self.offset = self.record.len() - parser.rest.len();
                Some(Ok(change))
            }
            Err(what) => {
                self.offset = self.record.len();
                Some(Err(Error::Record { offset, what }))
            }
        }
    }
}

/// What is wrong with bytes that are no change.
type Parsed<T> = std::result::Result<T, &'static str>;

/// What a change that is not all there is.
const CUT: &str = "a change that is cut off";

struct Parser<'r> {
    rest: &'r [u8],
}

impl<'r> Parser<'r> {
    fn change(&mut self) -> Parsed<TreeChange<'r>> {
        let kind = self.byte()?;
        if !(PUT..=PASS_OVER).contains(&kind) {
            return Err("a change of a kind that does not exist");
        }
        let number = self.number()?;
        let tree = Tree::from_u32(number);
        Ok(match kind {
            PUT => {
                let (key_len, value_len) = (self.number()?, self.number()?);
                TreeChange::Put { tree, key: self.bytes(key_len)?, value: self.bytes(value_len)? }
            }
            DELETE => TreeChange::Delete { tree, key: self.bytes_with_len()? },
            DELETE_RANGE => {
                TreeChange::DeleteRange { tree, start: self.bound()?, end: self.bound()? }
            }
            CREATE_TREE => TreeChange::CreateTree { tree, name: self.bytes_with_len()? },
            RENAME_TREE => TreeChange::RenameTree { tree, name: self.bytes_with_len()? },
            DROP_TREE => TreeChange::DropTree { tree },
            _ => TreeChange::PassOver { next: number },
        })
    }

    fn bound(&mut self) -> Parsed<Bound<&'r [u8]>> {
        Ok(match self.byte()? {
            UNBOUNDED => Bound::Unbounded,
            INCLUDED => Bound::Included(self.bytes_with_len()?),
            EXCLUDED => Bound::Excluded(self.bytes_with_len()?),
            _ => return Err("a bound of a kind that does not exist"),
        })
    }

    fn bytes_with_len(&mut self) -> Parsed<&'r [u8]> {
        let len = self.number()?;
        self.bytes(len)
    }

    fn bytes(&mut self, len: u32) -> Parsed<&'r [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len as usize).ok_or(CUT)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> Parsed<u32> {
        let mut number = 0;
        for shift in (0..32).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                if byte == 0 && shift > 0 {
                    return Err("a number that is longer than it has to be");
                }
                return u32::try_from(number).map_err(|_| "a number that is too large");
            }
        }
        Err("a number that is too large")
    }

    fn byte(&mut self) -> Parsed<u8> {
        let (byte, rest) = self.rest.split_first().ok_or(CUT)?;
        self.rest = rest;
        Ok(*byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: Tree = Tree::from_u32(300);

    const CHANGES: &[TreeChange<'_>] = &[
        TreeChange::Put { tree: Tree::MAIN, key: b"key", value: b"value" },
        TreeChange::Put { tree: Tree::from_u32(u32::MAX), key: b"", value: &[7; 65_536] },
        TreeChange::Delete { tree: TREE, key: &[1; 200] },
        TreeChange::DeleteRange { tree: TREE, start: Bound::Unbounded, end: Bound::Unbounded },
        TreeChange::DeleteRange {
            tree: TREE,
            start: Bound::Included(b""),
            end: Bound::Excluded(b"end"),
        },
        TreeChange::CreateTree { tree: TREE, name: b"name" },
        TreeChange::RenameTree { tree: TREE, name: b"other" },
        TreeChange::DropTree { tree: TREE },
        TreeChange::PassOver { next: 0x0fff_ffff },
    ];

    fn record() -> Vec<u8> {
        let mut record = Vec::new();
        CHANGES.iter().for_each(|change| change.append_to(&mut record));
        record
    }

    #[test]
    fn what_was_appended_is_parsed() {
        let record = record();
        let changes: Result<Vec<_>> = Changes::of(&record).collect();
        assert_eq!(changes.unwrap(), CHANGES);
        let content: usize = CHANGES.iter().map(TreeChange::content_len).sum();
        assert!(record.len() < content + 10 * CHANGES.len());
        let mut put = Vec::new();
        CHANGES[0].append_to(&mut put);
        assert_eq!(put, b"\x01\x00\x03\x05keyvalue");
    }

    #[test]
    fn each_part_of_a_record_ends_in_an_error_or_between_changes() {
        let record = record();
        let mut ends = vec![0];
        let mut changes = Changes::of(&record);
        while changes.next().is_some() {
            ends.push(changes.offset());
        }
        for len in 0..record.len() {
            let is_whole = Changes::of(&record[..len]).all(|change| change.is_ok());
            assert_eq!(is_whole, ends.contains(&len), "{len} bytes");
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bytes in [
            &b"\x00"[..],
            b"\x08\x00",
            b"\xff\x00",
            b"\x06\x80\x00",
            b"\x06\xff\xff\xff\xff\x10",
            b"\x06\xff\xff\xff\xff\xff\x01",
            b"\x02\x00\xff\xff\xff\xff\x0fk",
            b"\x03\x00\x03\x00",
        ] {
            let mut changes = Changes::of(bytes);
            let error = changes.next().unwrap().unwrap_err();
            assert!(matches!(error, Error::Record { offset: 0, .. }), "{error}");
            assert!(changes.next().is_none());
        }
        assert!(Changes::from_offset(b"\x06\x01", 9).next().is_none());
    }
}
