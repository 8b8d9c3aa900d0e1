//! Is a page a node? Nothing of a page is trusted before this.

use smallvec::SmallVec;
use yieldb_pager::page_format::{INTERIOR, LEAF, count_of, kind_of, level_of};

use super::keys::Keys;
use super::layout::{
    HEAD_LEN, HEADER_LEN, INTERIOR_HEADS, INTERIOR_RECORD_HEADER_LEN, INTERIOR_SLOT_LEN, LARGE,
    LEAF_RECORD_HEADER_LEN, LEAF_SLOT_LEN, MAX_LEVEL, garbage, heap_start, max_entry_len,
    max_key_len, prefix_len, reserved_is_zero, u16_at,
};
use super::stored::LargeValue;
use super::view::{InteriorView, LeafView};

/// Checks that a page is a node that the views can read without surprise: everything lies where it
/// may lie, nothing overlaps, and the keys ascend. Cost: one pass over the slots.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_node(page: &[u8]) -> Result<(), &'static str> {
    let level = usize::from(level_of(page));
    let (slots_end, keys) = match kind_of(page) {
        LEAF if level == 0 => {
            let count = count_of(page);
            (HEADER_LEN + LEAF_SLOT_LEN * count, LEAF_RECORD_HEADER_LEN)
        }
        INTERIOR if (1..=MAX_LEVEL).contains(&level) => {
            if count_of(page) == 0 {
                return Err("it is an interior node with a single child");
            }
            (INTERIOR_HEADS + INTERIOR_SLOT_LEN * count_of(page), INTERIOR_RECORD_HEADER_LEN)
        }
        LEAF | INTERIOR => return Err("its level does not go with its kind"),
        _ => return Err("it is not a node of a tree"),
    };
    if !reserved_is_zero(page) {
        return Err("its header has bits that mean nothing yet");
    }
    let heap_end = page.len().checked_sub(prefix_len(page)).ok_or("its prefix is too long")?;
    let heap = heap_start(page);
    if heap < slots_end || heap > heap_end {
        return Err("its slots and its heap overlap");
    }
    if prefix_len(page) > max_key_len(page.len()) {
        return Err("its prefix is too long");
    }
    let records = check_records(page, heap..heap_end, keys)?;
    check_overlap(records, heap_end - heap, garbage(page))?;
    check_order(page)
}

/// The records of a node: where they begin, and their lengths in bytes.
type Records = SmallVec<[(usize, usize); 128]>;

/// Checks that every record lies in the heap, and returns them.
fn check_records(
    page: &[u8],
    heap: std::ops::Range<usize>,
    record_header_len: usize,
) -> Result<Records, &'static str> {
    let is_leaf = record_header_len == LEAF_RECORD_HEADER_LEN;
    let heads = if is_leaf { HEADER_LEN } else { INTERIOR_HEADS };
    let keys = Keys { page, count: count_of(page), heads, record_header_len };
    let mut records = Records::new();
    for index in 0..keys.count {
        let slot = keys.slot(index);
        if !is_leaf && slot <= HEAD_LEN {
            check_head(keys.head(index), slot)?;
            continue;
        }
        if slot < heap.start || slot + record_header_len > heap.end {
            return Err("a slot points out of the heap");
        }
        let suffix = u16_at(page, slot);
        let (suffix_len, is_large) = (usize::from(suffix & !LARGE), suffix & LARGE != 0);
        let value_len = if is_leaf { usize::from(u16_at(page, slot + 2)) } else { 0 };
        let len = record_header_len + suffix_len.saturating_sub(HEAD_LEN) + value_len;
        if slot + len > heap.end {
            return Err("a record ends behind the heap");
        }
        let key_len = prefix_len(page) + suffix_len;
        if key_len > max_key_len(page.len()) {
            return Err("a key is too long");
        }
        if key_len + value_len > max_entry_len(page.len()) {
            return Err("an entry is too long");
        }
        if !is_leaf && (suffix_len <= HEAD_LEN || is_large) {
            return Err("a separator has a record that it needs not, or a value");
        }
        if is_large {
            LargeValue::check(&page[slot + len - value_len..slot + len], page.len())?;
        }
        check_head(keys.head(index), suffix_len)?;
        records.push((slot, len));
    }
    Ok(records)
}

/// Checks that no two records share bytes, and that all bytes of the heap are accounted for.
fn check_overlap(
    mut records: Records,
    heap_len: usize,
    garbage: usize,
) -> Result<(), &'static str> {
    records.sort_unstable();
    if records.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
        return Err("two records overlap");
    }
    let used: usize = records.iter().map(|(_, len)| len).sum();
    if used + garbage != heap_len {
        return Err("its records do not fill its heap");
    }
    Ok(())
}

/// The bytes of a head that its suffix does not have are zero.
fn check_head(head: u32, suffix_len: usize) -> Result<(), &'static str> {
    let unused_bits = 8 * HEAD_LEN.saturating_sub(suffix_len) as u32;
    if head.trailing_zeros() < unused_bits {
        return Err("a head is longer than its key");
    }
    Ok(())
}

/// Checks that the keys ascend.
fn check_order(page: &[u8]) -> Result<(), &'static str> {
    let keys = if kind_of(page) == LEAF {
        *LeafView::new(page).keys()
    } else {
        *InteriorView::new(page).keys()
    };
    for index in 1..keys.count {
        if keys.key(index - 1).cmp_key(&keys.key(index)).is_ge() {
            return Err("its keys do not ascend");
        }
    }
    Ok(())
}
