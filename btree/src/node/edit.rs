//! Changing nodes in place.
//!
//! Each change has a function that says whether it fits into the page as it is. One that does not
//! is made by building the node anew, from a list of what it is to have: perhaps into two.

use yieldb_pager::page_format::count_of;

use super::build::{leaf_record_len, separator_len, write_leaf_record, write_separator};
use super::key::Suffix;
use super::layout::{
    CHILD_LEN, HEAD_LEN, HEADER_LEN, INTERIOR_HEADS, INTERIOR_SLOT_LEN, LARGE, LEAF_SLOT_LEN,
    garbage, heap_start, prefix, prefix_len, set_count, set_garbage, set_heap_start, set_u16,
    set_u32, set_u64, u16_at,
};
use super::stored::Stored;
use super::view::{InteriorView, LeafView, child_offset};

/// Does a new entry fit into a leaf as it is?
pub fn fits_entry(page: &[u8], key: &[u8], value: Stored<'_>) -> bool {
    let Some(suffix) = key.strip_prefix(prefix(page)) else { return false };
    let len = LEAF_SLOT_LEN + leaf_record_len(Suffix::of(suffix), value);
    LeafView::new(page).gap_len() >= len
}

/// Inserts an entry before the one at `index`, keeping the leaf sorted.
///
/// Room is the caller's business: see [`fits_entry`]. That keeps this function free of failure,
/// and so of half-made changes.
///
/// # Panics
///
/// If the entry does not fit.
pub fn insert_entry(page: &mut [u8], index: usize, key: &[u8], value: Stored<'_>) {
    assert!(fits_entry(page, key, value), "an entry that does not fit");
    let suffix = Suffix::of(&key[prefix_len(page)..]);
    let count = count_of(page);
    let offset = heap_start(page) - leaf_record_len(suffix, value);
    write_leaf_record(page, offset, suffix, value);
    set_heap_start(page, offset);
    open_slot(page, HEADER_LEN, count, index);
    set_u32(page, HEADER_LEN + HEAD_LEN * index, suffix.head);
    set_u16(page, HEADER_LEN + HEAD_LEN * (count + 1) + 2 * index, offset);
    set_count(page, count + 1);
}

/// Does another value for the entry at `index` fit into a leaf as it is?
pub fn fits_value(page: &[u8], index: usize, value: Stored<'_>) -> bool {
    let view = LeafView::new(page);
    let (record, old) = (view.record_range(index), view.value_place(index).0);
    let len = value.stored_len();
    old.len() == len || view.gap_len() >= record.len() - old.len() + len
}

/// Gives the entry at `index` another value.
///
/// # Panics
///
/// If the value does not fit: see [`fits_value`].
pub fn replace_value(page: &mut [u8], index: usize, value: Stored<'_>) {
    assert!(fits_value(page, index, value), "a value that does not fit");
    let view = LeafView::new(page);
    let (record, old) = (view.record_range(index), view.value_place(index).0);
    let len = value.stored_len();
    let large = if value.large().is_some() { LARGE } else { 0 };
    let suffix_len = usize::from(u16_at(page, record.start) & !LARGE | large);
    if old.len() == len {
        set_u16(page, record.start, suffix_len);
        value.write(&mut page[old]);
        return;
    }
    let key_len = old.start - record.start;
    let offset = heap_start(page) - key_len - len;
    page.copy_within(record.start..old.start, offset);
    set_u16(page, offset, suffix_len);
    set_u16(page, offset + 2, len);
    value.write(&mut page[offset + key_len..offset + key_len + len]);
    set_u16(page, HEADER_LEN + HEAD_LEN * count_of(page) + 2 * index, offset);
    set_heap_start(page, offset);
    discard(page, record);
}

/// Removes the entry at `index`.
pub fn remove_entry(page: &mut [u8], index: usize) {
    let count = count_of(page);
    let record = LeafView::new(page).record_range(index);
    close_slot(page, HEADER_LEN, count, index);
    set_count(page, count - 1);
    discard(page, record);
}

/// Does a new separator, with a child on its right, fit into an interior node as it is?
pub fn fits_separator(page: &[u8], separator: &[u8]) -> bool {
    let Some(suffix) = separator.strip_prefix(prefix(page)) else { return false };
    InteriorView::new(page).gap_len() >= INTERIOR_SLOT_LEN + separator_len(suffix)
}

/// Inserts a separator before the one at `index`, and a child on its right.
///
/// # Panics
///
/// If they do not fit: see [`fits_separator`].
pub fn insert_separator(page: &mut [u8], index: usize, separator: &[u8], child: u64) {
    assert!(fits_separator(page, separator), "a separator that does not fit");
    let suffix = Suffix::of(&separator[prefix_len(page)..]);
    let count = count_of(page);
    let mut heap = heap_start(page);
    let slot = write_separator(page, &mut heap, suffix);
    set_heap_start(page, heap);
    // The children behind the slots move first: the slots grow into their place.
    let from = child_offset(count, 1);
    let to = child_offset(count + 1, 1);
    let (before, behind) = (CHILD_LEN * index, CHILD_LEN * (count - index));
    page.copy_within(from + before..from + before + behind, to + before + CHILD_LEN);
    page.copy_within(from..from + before, to);
    set_u64(page, to + before, child);
    open_slot(page, INTERIOR_HEADS, count, index);
    set_u32(page, INTERIOR_HEADS + HEAD_LEN * index, suffix.head);
    set_u16(page, INTERIOR_HEADS + HEAD_LEN * (count + 1) + 2 * index, slot);
    set_count(page, count + 1);
}

/// Does another separator fit in place of the one at `index` into an interior node as it is?
pub fn fits_new_separator(page: &[u8], index: usize, separator: &[u8]) -> bool {
    let Some(suffix) = separator.strip_prefix(prefix(page)) else { return false };
    let view = InteriorView::new(page);
    debug_assert!(index < view.count(), "separator {index} of {}", view.count());
    view.gap_len() >= separator_len(suffix)
}

/// Makes the separator at `index` another one, which keeps the node sorted.
///
/// # Panics
///
/// If it does not fit: see [`fits_new_separator`].
pub fn set_separator(page: &mut [u8], index: usize, separator: &[u8]) {
    assert!(fits_new_separator(page, index, separator), "a separator that does not fit");
    let old = InteriorView::new(page).record_range(index);
    let suffix = Suffix::of(&separator[prefix_len(page)..]);
    let mut heap = heap_start(page);
    let slot = write_separator(page, &mut heap, suffix);
    set_heap_start(page, heap);
    set_u32(page, INTERIOR_HEADS + HEAD_LEN * index, suffix.head);
    set_u16(page, INTERIOR_HEADS + HEAD_LEN * count_of(page) + 2 * index, slot);
    if let Some(old) = old {
        discard(page, old);
    }
}

/// Makes the child at `index` another one.
pub fn set_child(page: &mut [u8], index: usize, child: u64) {
    let offset = child_offset(count_of(page), index);
    set_u64(page, offset, child);
}

/// Makes room for a head and an offset at `index`, in front of `count - index` others.
fn open_slot(page: &mut [u8], heads: usize, count: usize, index: usize) {
    let offsets = heads + HEAD_LEN * count;
    let grown = offsets + HEAD_LEN;
    page.copy_within(offsets + 2 * index..offsets + 2 * count, grown + 2 * (index + 1));
    page.copy_within(offsets..offsets + 2 * index, grown);
    page.copy_within(heads + HEAD_LEN * index..offsets, heads + HEAD_LEN * (index + 1));
}

/// Takes the head and the offset at `index` out, and zeroes what is left over.
fn close_slot(page: &mut [u8], heads: usize, count: usize, index: usize) {
    let offsets = heads + HEAD_LEN * count;
    let shrunk = offsets - HEAD_LEN;
    page.copy_within(heads + HEAD_LEN * (index + 1)..offsets, heads + HEAD_LEN * index);
    page.copy_within(offsets..offsets + 2 * index, shrunk);
    page.copy_within(offsets + 2 * (index + 1)..offsets + 2 * count, shrunk + 2 * index);
    page[shrunk + 2 * (count - 1)..offsets + 2 * count].fill(0);
}

/// Zeroes a record that no slot names any more, and gives its bytes back.
fn discard(page: &mut [u8], record: std::ops::Range<usize>) {
    page[record.clone()].fill(0);
    if record.start == heap_start(page) {
        set_heap_start(page, record.end);
    } else {
        let garbage = garbage(page) + record.len();
        set_garbage(page, garbage);
    }
}
