//! Writing whole nodes from lists of what is to be in them.

use yieldb_pager::page_format;

use super::key::{KeyRef, Suffix};
use super::layout::{
    CHILD_LEN, HEAD_LEN, HEADER_LEN, INTERIOR_HEADS, INTERIOR_RECORD_HEADER_LEN, INTERIOR_SLOT_LEN,
    LARGE, LEAF_RECORD_HEADER_LEN, LEAF_SLOT_LEN, set_heap_start, set_prefix, set_u16, set_u32,
    set_u64,
};
use super::stored::Stored;
use super::view::{InteriorView, LeafView, child_offset};

/// An entry that a leaf is to have.
#[derive(Clone, Copy, Debug)]
pub struct LeafEntry<'a> {
    /// The key.
    pub key: KeyRef<'a>,
    /// The value, or where it is.
    pub value: Stored<'a>,
}

impl<'a> LeafEntry<'a> {
    /// All entries of a leaf, in order.
    pub fn all(view: &LeafView<'a>) -> impl Iterator<Item = LeafEntry<'a>> + use<'a> {
        let view = *view;
        (0..view.count())
            .map(move |index| LeafEntry { key: view.key(index), value: view.value(index) })
    }
}

/// What an interior node is to have: one child more than separators.
#[derive(Clone, Debug, Default)]
pub struct InteriorList<'a> {
    /// The references to the children.
    pub children: Vec<u64>,
    /// The separators between them.
    pub separators: Vec<KeyRef<'a>>,
}

impl<'a> InteriorList<'a> {
    /// What a node has.
    pub fn of(view: &InteriorView<'a>) -> InteriorList<'a> {
        InteriorList {
            children: (0..=view.count()).map(|index| view.child(index)).collect(),
            separators: (0..view.count()).map(|index| view.separator(index)).collect(),
        }
    }

    /// Adds what another list has, behind `separator`.
    pub fn append(&mut self, separator: KeyRef<'a>, other: InteriorList<'a>) {
        self.separators.push(separator);
        self.separators.extend(other.separators);
        self.children.extend(other.children);
    }
}

/// The length of the prefix that a node with these sorted keys stores, and of what it stores of
/// their suffixes outside the heads. The prefix is what the first and the last key have in common,
/// or nothing where that would not make the node smaller.
fn prefix_and_rests<'k, 'a: 'k>(
    keys: impl DoubleEndedIterator<Item = &'k KeyRef<'a>> + Clone,
    rest_len: impl Fn(usize) -> usize,
) -> (usize, usize) {
    let (Some(first), Some(last)) = (keys.clone().next(), keys.clone().next_back()) else {
        return (0, 0);
    };
    let common = first.common_prefix_len(last);
    let (mut with, mut without) = (0, 0);
    for len in keys.map(KeyRef::len) {
        with += rest_len(len - common);
        without += rest_len(len);
    }
    if common + with < without { (common, with) } else { (0, without) }
}

/// The length in bytes of what a leaf stores of a suffix outside its head.
fn leaf_rest_len(suffix_len: usize) -> usize {
    suffix_len.saturating_sub(HEAD_LEN)
}

/// The length in bytes of the record of a separator's suffix.
fn separator_record_len(suffix_len: usize) -> usize {
    match suffix_len.checked_sub(HEAD_LEN) {
        None | Some(0) => 0,
        Some(rest) => INTERIOR_RECORD_HEADER_LEN + rest,
    }
}

/// What the length of a node is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The length in bytes of a node without keys.
    pub fixed_len: usize,
    /// What each key takes besides the rest of its suffix, and besides a value.
    pub slot_len: usize,
    /// The length of what is stored of a suffix outside its head, by the suffix's length.
    pub rest_len: fn(usize) -> usize,
}

impl Shape {
    /// That of a leaf.
    pub const LEAF: Shape = Shape {
        fixed_len: HEADER_LEN,
        slot_len: LEAF_SLOT_LEN + LEAF_RECORD_HEADER_LEN,
        rest_len: leaf_rest_len,
    };
    /// That of an interior node.
    pub const INTERIOR: Shape = Shape {
        fixed_len: INTERIOR_HEADS,
        slot_len: INTERIOR_SLOT_LEN,
        rest_len: separator_record_len,
    };
}

/// The length in bytes of a leaf with these entries, header included.
pub fn leaf_len(entries: &[LeafEntry<'_>]) -> usize {
    let keys = entries.iter().map(|entry| &entry.key);
    let (prefix_len, rests) = prefix_and_rests(keys, leaf_rest_len);
    let values: usize = entries.iter().map(|entry| entry.value.stored_len()).sum();
    let fixed = HEADER_LEN + (LEAF_SLOT_LEN + LEAF_RECORD_HEADER_LEN) * entries.len();
    fixed + prefix_len + rests + values
}

/// The length in bytes of an interior node with these separators, header included.
pub fn interior_len(separators: &[KeyRef<'_>]) -> usize {
    let (prefix_len, records) = prefix_and_rests(separators.iter(), separator_record_len);
    INTERIOR_HEADS + INTERIOR_SLOT_LEN * separators.len() + records + prefix_len
}

/// Writes a leaf with these entries, which are sorted.
///
/// # Panics
///
/// If they do not fit: see [`leaf_len`].
pub fn build_leaf(page: &mut [u8], entries: &[LeafEntry<'_>]) {
    let keys = entries.iter().map(|entry| &entry.key);
    let (prefix_len, _) = prefix_and_rests(keys, leaf_rest_len);
    let slots_end = HEADER_LEN + LEAF_SLOT_LEN * entries.len();
    assert!(slots_end + prefix_len <= page.len(), "{} entries do not fit a leaf", entries.len());
    let mut heap = begin(page, page_format::LEAF, 0, entries.len());
    heap -= write_prefix(page, entries.first().map(|entry| entry.key), prefix_len);
    let mut whole = Vec::new();
    for (index, LeafEntry { key, value }) in entries.iter().enumerate() {
        let suffix = key.suffix(prefix_len, &mut whole);
        let len = leaf_record_len(suffix, *value);
        assert!(heap - slots_end >= len, "{} entries do not fit a leaf", entries.len());
        heap -= len;
        write_leaf_record(page, heap, suffix, *value);
        set_u32(page, HEADER_LEN + HEAD_LEN * index, suffix.head);
        set_u16(page, HEADER_LEN + HEAD_LEN * entries.len() + 2 * index, heap);
    }
    set_heap_start(page, heap);
}

/// Writes an interior node with these children and separators, which are sorted.
///
/// # Panics
///
/// If they do not fit (see [`interior_len`]), or there is not one child more than separators.
pub fn build_interior(page: &mut [u8], level: u8, children: &[u64], separators: &[KeyRef<'_>]) {
    let count = separators.len();
    assert_eq!(children.len(), count + 1, "a separator stands between each two children");
    assert!(interior_len(separators) <= page.len(), "{count} separators do not fit a node");
    let (prefix_len, _) = prefix_and_rests(separators.iter(), separator_record_len);
    let mut heap = begin(page, page_format::INTERIOR, level, count);
    heap -= write_prefix(page, separators.first().copied(), prefix_len);
    let mut whole = Vec::new();
    for (index, key) in separators.iter().enumerate() {
        let suffix = key.suffix(prefix_len, &mut whole);
        let slot = write_separator(page, &mut heap, suffix);
        set_u32(page, INTERIOR_HEADS + HEAD_LEN * index, suffix.head);
        set_u16(page, INTERIOR_HEADS + HEAD_LEN * count + 2 * index, slot);
    }
    for (index, child) in children.iter().enumerate() {
        set_u64(page, child_offset(count, index), *child);
    }
    set_heap_start(page, heap);
}

/// Clears the page and writes its header. Returns the end of the heap.
fn begin(page: &mut [u8], kind: u8, level: u8, count: usize) -> usize {
    page.fill(0);
    let count = u16::try_from(count).expect("a page has fewer slots than bytes");
    page_format::set_kind(page, kind, level, count);
    page.len()
}

/// Writes the prefix of `key` and returns its length.
fn write_prefix(page: &mut [u8], key: Option<KeyRef<'_>>, prefix_len: usize) -> usize {
    if let Some(key) = key {
        let mut prefix = key.to_vec();
        prefix.truncate(prefix_len);
        set_prefix(page, &prefix);
    }
    prefix_len
}

/// The length of a leaf's record.
pub(super) fn leaf_record_len(suffix: Suffix<'_>, value: Stored<'_>) -> usize {
    LEAF_RECORD_HEADER_LEN + suffix.rest.len() + value.stored_len()
}

/// Writes a leaf's record.
pub(super) fn write_leaf_record(
    page: &mut [u8],
    offset: usize,
    suffix: Suffix<'_>,
    value: Stored<'_>,
) {
    let large = if value.large().is_some() { usize::from(LARGE) } else { 0 };
    set_u16(page, offset, suffix.len | large);
    set_u16(page, offset + 2, value.stored_len());
    let start = offset + LEAF_RECORD_HEADER_LEN;
    page[start..start + suffix.rest.len()].copy_from_slice(suffix.rest);
    let start = start + suffix.rest.len();
    value.write(&mut page[start..start + value.stored_len()]);
}

/// Writes a separator's record below `heap`, if it needs one, and returns what its slot says.
pub(super) fn write_separator(page: &mut [u8], heap: &mut usize, suffix: Suffix<'_>) -> usize {
    let len = separator_record_len(suffix.len);
    if len == 0 {
        return suffix.len;
    }
    *heap -= len;
    set_u16(page, *heap, suffix.len);
    let start = *heap + INTERIOR_RECORD_HEADER_LEN;
    page[start..*heap + len].copy_from_slice(suffix.rest);
    *heap
}

/// The length that a separator takes of the heap.
pub(super) fn separator_len(suffix: &[u8]) -> usize {
    separator_record_len(suffix.len())
}

const _: () = assert!(CHILD_LEN == 8, "children are written as 64-bit integers");
