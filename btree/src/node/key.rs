//! Keys as nodes store them.

use std::cmp::Ordering;

use super::layout::{HEAD_LEN, head_of, rest_of};

/// A key in a node, in the pieces that it is stored in.
#[derive(Clone, Copy)]
pub struct KeyRef<'a> {
    prefix: &'a [u8],
    head: [u8; HEAD_LEN],
    head_len: u8,
    rest: &'a [u8],
}

/// What a node stores of a key behind its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suffix<'a> {
    /// The length in bytes.
    pub len: usize,
    /// The first four bytes, see [`head_of`].
    pub head: u32,
    /// The others.
    pub rest: &'a [u8],
}

impl<'a> Suffix<'a> {
    /// A suffix in one piece.
    pub fn of(bytes: &'a [u8]) -> Suffix<'a> {
        Suffix { len: bytes.len(), head: head_of(bytes), rest: rest_of(bytes) }
    }
}

impl<'a> KeyRef<'a> {
    /// A key in one piece.
    pub fn from_slice(key: &'a [u8]) -> KeyRef<'a> {
        KeyRef { prefix: key, head: [0; HEAD_LEN], head_len: 0, rest: &[] }
    }

    /// A key of a node: `suffix_len` bytes behind the prefix, the first four of them in the head.
    pub(crate) fn in_node(
        prefix: &'a [u8],
        head: u32,
        suffix_len: usize,
        rest: &'a [u8],
    ) -> KeyRef<'a> {
        let head_len = suffix_len.min(HEAD_LEN) as u8;
        KeyRef { prefix, head: head.to_be_bytes(), head_len, rest }
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.prefix.len() + usize::from(self.head_len) + self.rest.len()
    }

    /// Is it the empty key?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the key's bytes.
    pub fn copy_into(&self, out: &mut Vec<u8>) {
        for piece in self.pieces() {
            out.extend_from_slice(piece);
        }
    }

    /// The key's bytes in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.copy_into(&mut out);
        out
    }

    /// Its order against a key in one piece.
    pub fn cmp_slice(&self, mut key: &[u8]) -> Ordering {
        for piece in self.pieces() {
            let common = piece.len().min(key.len());
            match piece[..common].cmp(&key[..common]) {
                Ordering::Equal if piece.len() > common => return Ordering::Greater,
                Ordering::Equal => key = &key[common..],
                unequal @ (Ordering::Less | Ordering::Greater) => return unequal,
            }
        }
        if key.is_empty() { Ordering::Equal } else { Ordering::Less }
    }

    /// Its order against another key.
    pub fn cmp_key(&self, other: &KeyRef<'_>) -> Ordering {
        if !self.has_prefix_of(other) {
            return self.bytes().cmp(other.bytes());
        }
        // As a node compares them, see `layout`.
        match u32::from_be_bytes(self.head).cmp(&u32::from_be_bytes(other.head)) {
            Ordering::Equal if self.head_len.min(other.head_len) as usize == HEAD_LEN => {
                self.rest.cmp(other.rest)
            }
            Ordering::Equal => self.head_len.cmp(&other.head_len),
            unequal @ (Ordering::Less | Ordering::Greater) => unequal,
        }
    }

    /// Are both of the same node, or of nodes with the same prefix in memory?
    fn has_prefix_of(&self, other: &KeyRef<'_>) -> bool {
        std::ptr::eq(self.prefix, other.prefix)
    }

    /// How many bytes at the beginning both keys share.
    pub fn common_prefix_len(&self, other: &KeyRef<'_>) -> usize {
        self.bytes().zip(other.bytes()).take_while(|(left, right)| left == right).count()
    }

    /// What a node with a prefix of `prefix_len` bytes stores of the key. Where its pieces are not
    /// those of such a node they are put together in `whole`.
    pub(super) fn suffix<'s>(&'s self, prefix_len: usize, whole: &'s mut Vec<u8>) -> Suffix<'s> {
        let len = self.len() - prefix_len;
        if self.prefix.len() == prefix_len {
            return Suffix { len, head: u32::from_be_bytes(self.head), rest: self.rest };
        }
        if usize::from(self.head_len) == 0 {
            return Suffix::of(&self.prefix[prefix_len..]);
        }
        whole.clear();
        self.copy_into(whole);
        Suffix::of(&whole[prefix_len..])
    }

    fn pieces(&self) -> [&[u8]; 3] {
        [self.prefix, &self.head[..usize::from(self.head_len)], self.rest]
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        let [prefix, head, rest] = self.pieces();
        prefix.iter().chain(head).chain(rest).copied()
    }
}

impl std::fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.to_vec().escape_ascii())
    }
}

/// The shortest key that is greater than `left` and not greater than `right` (prefix B-trees,
/// Bayer and Unterauer, 1977).
///
/// # Panics
///
/// If `left` is not less than `right`.
pub fn shortest_separator(left: &KeyRef<'_>, right: &KeyRef<'_>) -> Vec<u8> {
    let len = left.common_prefix_len(right) + 1;
    assert!(len <= right.len(), "keys in a node ascend: {left:?}, {right:?}");
    let mut separator = right.to_vec();
    separator.truncate(len);
    separator
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pieces(key: &[u8], prefix_len: usize) -> KeyRef<'_> {
        let suffix = &key[prefix_len..];
        let head = super::super::layout::head_of(suffix);
        let rest = super::super::layout::rest_of(suffix);
        KeyRef::in_node(&key[..prefix_len], head, suffix.len(), rest)
    }

    #[test]
    fn keys_in_pieces_are_what_they_were() {
        let keys: [&[u8]; 6] = [b"", b"a", b"ab\0", b"abcdefgh", b"abcdefghij", b"abd"];
        for key in keys {
            for prefix_len in 0..=key.len() {
                let pieces = in_pieces(key, prefix_len);
                assert_eq!(pieces.to_vec(), key);
                assert_eq!(pieces.len(), key.len());
                for other_len in 0..=key.len() {
                    let mut whole = Vec::new();
                    let suffix = pieces.suffix(other_len, &mut whole);
                    assert_eq!(suffix, Suffix::of(&key[other_len..]));
                }
                for other in keys {
                    assert_eq!(pieces.cmp_slice(other), key.cmp(other), "{key:?} {other:?}");
                    assert_eq!(pieces.cmp_key(&KeyRef::from_slice(other)), key.cmp(other));
                }
            }
        }
    }

    #[test]
    fn separators_separate_and_are_short() {
        let pairs: [(&[u8], &[u8], &[u8]); 4] = [
            (b"abc", b"abd", b"abd"),
            (b"abc", b"b", b"b"),
            (b"", b"xyz", b"x"),
            (b"a", b"ab", b"ab"),
        ];
        for (left, right, expected) in pairs {
            let (left, right) = (KeyRef::from_slice(left), KeyRef::from_slice(right));
            assert_eq!(shortest_separator(&left, &right), expected);
        }
    }
}
