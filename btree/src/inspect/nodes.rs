//! Leaves and interior nodes.

use yieldb_pager::PageRef;
use yieldb_pager::page_format::count_of;

use super::{
    Body, Content, Explained, FieldValue, Kind, Slot, reference_at, u16_at, u32_at, u64_at,
};
use crate::node::layout::{
    CHILD_LEN, HEAD_LEN, HEADER_LEN, INTERIOR_HEADS, INTERIOR_RECORD_HEADER_LEN, INTERIOR_SLOT_LEN,
    LARGE, LEAF_RECORD_HEADER_LEN, LEAF_SLOT_LEN, garbage, heap_start, prefix_len,
};
use crate::node::{KeyRef, LargeValue};

/// Where the slots of a node are.
struct Slots {
    is_leaf: bool,
    /// How many heads there are, as far as they and what belongs to them lie in the page.
    count: usize,
    heads: usize,
    record_header_len: usize,
}

/// Adds what a node has besides the header of all pages.
pub(super) fn explain<'p>(page: &'p [u8], explained: &mut Explained<'p>) {
    let is_leaf = explained.kind == Kind::Leaf;
    explained.push(24, 4, "heap start", FieldValue::Number(heap_start(page) as u64));
    explained.push(28, 4, "garbage", FieldValue::Number(garbage(page) as u64));
    explained.push(32, 2, "prefix length", FieldValue::Number(prefix_len(page) as u64));
    explained.push(34, 6, "unused", FieldValue::Bytes(&page[34..HEADER_LEN]));
    let (heads, slot_len, record_header_len) = if is_leaf {
        (HEADER_LEN, LEAF_SLOT_LEN, LEAF_RECORD_HEADER_LEN)
    } else {
        explained.push(HEADER_LEN, CHILD_LEN, "first child", reference_at(page, HEADER_LEN));
        (INTERIOR_HEADS, INTERIOR_SLOT_LEN, INTERIOR_RECORD_HEADER_LEN)
    };
    let count = count_of(page).min((page.len() - heads) / slot_len);
    let prefix_start = page.len().checked_sub(prefix_len(page)).unwrap_or(page.len());
    let prefix = &page[prefix_start..];
    if !prefix.is_empty() {
        explained.push(prefix_start, prefix.len(), "prefix", FieldValue::Bytes(prefix));
    }
    let slots = Slots { is_leaf, count, heads, record_header_len };
    let all = (0..count).map(|index| slots.slot(page, prefix, index));
    explained.body = Body::Slots(all.collect());
}

impl Slots {
    fn slot<'p>(&self, page: &'p [u8], prefix: &'p [u8], index: usize) -> Slot<'p> {
        let head_offset = self.heads + HEAD_LEN * index;
        let offsets = self.heads + HEAD_LEN * self.count;
        let says = usize::from(u16_at(page, offsets + 2 * index));
        let number = u32_at(page, head_offset);
        let mut slot = Slot {
            head_offset,
            head: number.to_be_bytes(),
            record: None,
            key: None,
            content: None,
        };
        if !self.is_leaf {
            let child = offsets + 2 * self.count + CHILD_LEN * index;
            slot.content = Some(Content::Child(PageRef::from_u64(u64_at(page, child))));
            if says <= HEAD_LEN {
                slot.key = Some(KeyRef::in_node(prefix, number, says, &[]));
                return slot;
            }
        }
        let Some(record) = page.get(says..).filter(|rest| rest.len() >= self.record_header_len)
        else {
            return slot;
        };
        let large = if self.is_leaf { LARGE } else { 0 };
        let suffix_len = usize::from(u16_at(record, 0) & !large);
        let is_large = u16_at(record, 0) & large != 0;
        let value_len = if self.is_leaf { usize::from(u16_at(record, 2)) } else { 0 };
        let rest_len = suffix_len.saturating_sub(HEAD_LEN);
        slot.record = Some((says, self.record_header_len + rest_len + value_len));
        let rest = &record[self.record_header_len..];
        if let Some((rest, behind)) = rest.split_at_checked(rest_len) {
            slot.key = Some(KeyRef::in_node(prefix, number, suffix_len, rest));
            slot.content = match behind.get(..value_len) {
                _ if !self.is_leaf => slot.content,
                Some(name) if is_large => {
                    LargeValue::parse(name, page.len()).ok().map(Content::Large)
                }
                value => value.map(Content::Value),
            };
        }
        slot
    }
}
