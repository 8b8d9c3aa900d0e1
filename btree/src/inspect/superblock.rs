//! Pages that belong to the superblock.

use yieldb_pager::Stamp;
use yieldb_pager::superblock::{OpenError, SLOT_LEN, SLOT_OFFSETS, Superblock, slot_checksum};

use super::{Body, Explained, FieldValue, Kind, reference_at, u32_at, u64_at};

/// Where a slot keeps its checksum.
const CHECKSUM: usize = SLOT_LEN - 4;

/// Explains a page with one slot of the superblock, or both.
pub(super) fn explain(page: &[u8], number: u64) -> Explained<'_> {
    let mut explained = Explained {
        kind: Kind::Superblock,
        fields: Vec::new(),
        body: Body::Nothing,
        damages: Vec::new(),
    };
    let start = number * page.len() as u64;
    for (index, offset) in SLOT_OFFSETS.into_iter().enumerate() {
        let at = offset.checked_sub(start).and_then(|at| usize::try_from(at).ok());
        let Some(at) = at.filter(|at| *at < page.len()) else { continue };
        let slot = &page[at..at + SLOT_LEN];
        explain_slot(slot, at, &mut explained);
        let what = match Superblock::parse(slot) {
            Ok(_) => continue,
            Err(OpenError::Foreign { what } | OpenError::Damaged { what }) => what.to_owned(),
            Err(error) => error.to_string(),
        };
        explained.damages.push(format!("slot {index} does not count: {what}"));
    }
    explained
}

fn explain_slot<'p>(slot: &'p [u8], at: usize, explained: &mut Explained<'p>) {
    let mut push = |offset: usize, len: usize, name, value| {
        explained.push(at + offset, len, name, value);
    };
    let bytes = |offset: usize, len: usize| FieldValue::Bytes(&slot[offset..offset + len]);
    let u8_at = |offset: usize| FieldValue::Number(u64::from(slot[offset]));
    let number_at = |offset: usize| FieldValue::Number(u64::from(u32_at(slot, offset)));
    let long_at = |offset: usize| FieldValue::Number(u64_at(slot, offset));
    push(0, 16, "magic", bytes(0, 16));
    push(16, 4, "format version", number_at(16));
    push(20, 4, "page size", number_at(20));
    push(24, 8, "features", long_at(24));
    push(32, 16, "database id", bytes(32, 16));
    push(48, 8, "checkpoint", long_at(48));
    push(56, 8, "version", long_at(56));
    push(64, 8, "moment", FieldValue::Stamp(Stamp::from_u64(u64_at(slot, 64))));
    push(72, 4, "session", number_at(72));
    push(76, 4, "log in use", number_at(76));
    push(80, 16, "log id", bytes(80, 16));
    push(96, 8, "log position", long_at(96));
    push(104, 8, "log offset", long_at(104));
    push(112, 8, "catalogue root", reference_at(slot, 112));
    push(120, 8, "catalogue entries", long_at(120));
    push(128, 1, "catalogue level", u8_at(128));
    push(129, 1, "space map level", u8_at(129));
    push(136, 8, "space map root", reference_at(slot, 136));
    push(144, 8, "pages", long_at(144));
    push(152, 4, "next tree", number_at(152));
    push(156, 4, "log session", number_at(156));
    let (stored, computed) = (u32_at(slot, CHECKSUM), slot_checksum(slot));
    push(CHECKSUM, 4, "checksum", FieldValue::Checksum { stored, computed });
}
