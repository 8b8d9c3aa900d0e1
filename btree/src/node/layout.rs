//! Where things are in a node. All integers are little-endian, but for heads: see [`head_of`].
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 24 | the header of all pages: checksum, kind, level, count, page number, stamp |
//! | 24 | 4 | start of the heap |
//! | 28 | 4 | garbage: bytes of the heap that belong to no record; all zero |
//! | 32 | 2 | length of the prefix, which ends at the end of the page |
//! | 34 | 6 | zero |
//!
//! A record of a leaf: suffix length (2 bytes; the top bit says that the value is large), value
//! length (2), the suffix from its fifth byte on, the value. In place of a large value stand the
//! 24 bytes of a [`super::LargeValue`], which says where it is. A record of an interior node:
//! suffix length (2), the suffix from its fifth byte on; a suffix of at most four bytes has no
//! record, and its slot holds its length instead of an offset.
//!
//! Two keys with equal heads are told apart by the rest of their suffixes if both have four bytes
//! or more; otherwise the shorter one is the lesser, since it is the other one's beginning.

use yieldb_pager::page_format;

/// The length of a node's header in bytes.
pub const HEADER_LEN: usize = page_format::HEADER_LEN;
/// The greatest level that a node may have. A tree of so many levels has more leaves than there
/// are page numbers.
pub const MAX_LEVEL: usize = 48;
/// The length of a head in bytes.
pub const HEAD_LEN: usize = 4;
/// What each entry of a leaf takes besides its record.
pub const LEAF_SLOT_LEN: usize = HEAD_LEN + 2;
/// What each separator takes besides its record, the child on its right included.
pub const INTERIOR_SLOT_LEN: usize = HEAD_LEN + 2 + CHILD_LEN;
/// What the record of a leaf has in front of the key.
pub const LEAF_RECORD_HEADER_LEN: usize = 4;
/// The bit of a leaf's suffix length that says that the value is large.
pub const LARGE: u16 = 1 << 15;
/// What the record of an interior node has in front of the key.
pub const INTERIOR_RECORD_HEADER_LEN: usize = 2;
/// The length of a child's reference.
pub const CHILD_LEN: usize = 8;
/// Where an interior node's heads begin: behind the first child.
pub const INTERIOR_HEADS: usize = HEADER_LEN + CHILD_LEN;

const HEAP_START: usize = 24;
const GARBAGE: usize = 28;
const PREFIX_LEN: usize = 32;
const RESERVED: std::ops::Range<usize> = 34..HEADER_LEN;

/// The longest key, in bytes.
pub const fn max_key_len(page_len: usize) -> usize {
    page_len / 4
}

/// The longest entry, key and value together, in bytes: two of them fit into a leaf.
pub const fn max_entry_len(page_len: usize) -> usize {
    (page_len - HEADER_LEN) / 2 - LEAF_SLOT_LEN - LEAF_RECORD_HEADER_LEN
}

/// The first four bytes of a suffix as an integer that orders as they do; missing ones are 0.
pub fn head_of(suffix: &[u8]) -> u32 {
    match suffix.first_chunk::<HEAD_LEN>() {
        Some(head) => u32::from_be_bytes(*head),
        None => {
            let mut head = [0; HEAD_LEN];
            head[..suffix.len()].copy_from_slice(suffix);
            u32::from_be_bytes(head)
        }
    }
}

/// The part of a suffix that its head does not hold.
pub fn rest_of(suffix: &[u8]) -> &[u8] {
    suffix.get(HEAD_LEN..).unwrap_or(&[])
}

/// Where the heap starts.
pub fn heap_start(page: &[u8]) -> usize {
    u32_at(page, HEAP_START) as usize
}

/// How many bytes of the heap belong to no record.
pub fn garbage(page: &[u8]) -> usize {
    u32_at(page, GARBAGE) as usize
}

/// The length of the prefix that all keys share.
pub fn prefix_len(page: &[u8]) -> usize {
    usize::from(u16_at(page, PREFIX_LEN))
}

/// The prefix that all keys share.
pub fn prefix(page: &[u8]) -> &[u8] {
    &page[page.len() - prefix_len(page)..]
}

/// Are the bytes zero that have no meaning?
pub(super) fn reserved_is_zero(page: &[u8]) -> bool {
    page[RESERVED].iter().all(|byte| *byte == 0)
}

pub(super) fn set_heap_start(page: &mut [u8], offset: usize) {
    let offset = u32::try_from(offset).expect("an offset in a page");
    page[HEAP_START..HEAP_START + 4].copy_from_slice(&offset.to_le_bytes());
}

pub(super) fn set_garbage(page: &mut [u8], len: usize) {
    let len = u32::try_from(len).expect("a length in a page");
    page[GARBAGE..GARBAGE + 4].copy_from_slice(&len.to_le_bytes());
}

pub(super) fn set_prefix(page: &mut [u8], prefix: &[u8]) {
    set_u16(page, PREFIX_LEN, prefix.len());
    let start = page.len() - prefix.len();
    page[start..].copy_from_slice(prefix);
}

pub(super) fn set_count(page: &mut [u8], count: usize) {
    set_u16(page, 6, count);
}

pub(super) fn u16_at(page: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([page[offset], page[offset + 1]])
}

pub(super) fn u32_at(page: &[u8], offset: usize) -> u32 {
    let bytes = page[offset..offset + 4].try_into().expect("the slice has four bytes");
    u32::from_le_bytes(bytes)
}

pub(super) fn u64_at(page: &[u8], offset: usize) -> u64 {
    let bytes = page[offset..offset + 8].try_into().expect("the slice has eight bytes");
    u64::from_le_bytes(bytes)
}

pub(super) fn set_u16(page: &mut [u8], offset: usize, value: usize) {
    let value = u16::try_from(value).expect("a length or an offset in a page");
    page[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn set_u32(page: &mut [u8], offset: usize, value: u32) {
    page[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn set_u64(page: &mut [u8], offset: usize, value: u64) {
    page[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_order_as_their_bytes_do() {
        let suffixes: [&[u8]; 7] =
            [b"", b"\0", b"\0\0", b"a", b"a\0\0\x01", b"ab", b"\xff\xff\xff\xff"];
        for pair in suffixes.windows(2) {
            assert!(head_of(pair[0]) <= head_of(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn two_of_the_longest_entries_fit_a_leaf_and_three_of_the_longest_separators_a_node() {
        for page_len in [4096, 8192, 16384, 32768, 65536] {
            let entry = LEAF_SLOT_LEN + LEAF_RECORD_HEADER_LEN + max_entry_len(page_len);
            assert!(HEADER_LEN + 2 * entry <= page_len);
            let separator =
                INTERIOR_SLOT_LEN + INTERIOR_RECORD_HEADER_LEN + max_key_len(page_len) - HEAD_LEN;
            assert!(INTERIOR_HEADS + 3 * separator <= page_len);
        }
    }
}
