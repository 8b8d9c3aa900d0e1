//! What all pages have in common.
//!
//! All integers are little-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | checksum: CRC-32 (IEEE) of everything behind it |
//! | 4 | 1 | kind: 1 leaf, 2 interior, 3 space bits, 4 space index, 5 value |
//! | 5 | 1 | level: 0 for leaves, space bits and values, above them one more each |
//! | 6 | 2 | count: slots of a node, references of a space index, 0 |
//! | 8 | 8 | the page's own number |
//! | 16 | 8 | stamp: session above, counter below |
//! | 24 | 16 | the kind's own |
//!
//! A page is sealed when it leaves the hands of the transaction that made it, and verified when it
//! is read from the file, never later.

use yieldb_core::is_planted;

use crate::{PageId, PageRef, Stamp};

/// The length of the header in bytes.
pub const HEADER_LEN: usize = 40;

/// The kind of a leaf of a tree.
pub const LEAF: u8 = 1;
/// The kind of an interior node of a tree.
pub const INTERIOR: u8 = 2;
/// The kind of a page of the space map with a bit for each page.
pub const SPACE_BITS: u8 = 3;
/// The kind of a page of the space map with references to others.
pub const SPACE_INDEX: u8 = 4;
/// The kind of a page of a large value.
pub const VALUE: u8 = 5;

const KIND: usize = 4;
const LEVEL: usize = 5;
const COUNT: usize = 6;
const NUMBER: usize = 8;
const STAMP: usize = 16;
const OWN: usize = 24;

/// The kind.
pub fn kind_of(page: &[u8]) -> u8 {
    page[KIND]
}

/// The level.
pub fn level_of(page: &[u8]) -> u8 {
    page[LEVEL]
}

/// The count.
pub fn count_of(page: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([page[COUNT], page[COUNT + 1]]))
}

/// The page's own number.
pub fn number_of(page: &[u8]) -> u64 {
    u64_at(page, NUMBER)
}

/// The stamp.
pub fn stamp_of(page: &[u8]) -> Stamp {
    Stamp::from_u64(u64_at(page, STAMP))
}

/// Are the 16 bytes of the header that are the kind's own zero?
pub fn own_is_zero(page: &[u8]) -> bool {
    page[OWN..HEADER_LEN].iter().all(|byte| *byte == 0)
}

/// Sets kind, level and count, and zeroes the rest of the header.
pub fn set_kind(page: &mut [u8], kind: u8, level: u8, count: u16) {
    page[..HEADER_LEN].fill(0);
    page[KIND] = kind;
    page[LEVEL] = level;
    page[COUNT..COUNT + 2].copy_from_slice(&count.to_le_bytes());
}

/// The checksum that a page with these contents has.
pub fn checksum_of(page: &[u8]) -> u32 {
    crc32fast::hash(&page[KIND..])
}

/// Names the page: its number and the moment it was made.
pub fn set_name(page: &mut [u8], id: PageId, stamp: Stamp) {
    page[NUMBER..NUMBER + 8].copy_from_slice(&id.as_u64().to_le_bytes());
    page[STAMP..STAMP + 8].copy_from_slice(&stamp.as_u64().to_le_bytes());
}

/// Names the page and writes its checksum: from now on it does not change.
pub fn seal(page: &mut [u8], id: PageId, stamp: Stamp) {
    set_name(page, id, stamp);
    let checksum = checksum_of(page);
    page[..KIND].copy_from_slice(&checksum.to_le_bytes());
}

/// Checks what came from the file against the name that it was asked for by.
///
/// # Errors
///
/// What is wrong with it.
pub fn verify(page: &[u8], expected: PageRef) -> Result<(), &'static str> {
    let stored = u32::from_le_bytes([page[0], page[1], page[2], page[3]]);
    if stored != checksum_of(page) && !is_planted!(ChecksumNotVerified) {
        return Err("its checksum does not match its contents");
    }
    if number_of(page) != expected.page().as_u64() && !is_planted!(NumberNotVerified) {
        return Err("its number is another page's");
    }
    if !expected.matches(stamp_of(page)) {
        return Err("its stamp is not the one that the page above it names");
    }
    if !(LEAF..=VALUE).contains(&kind_of(page)) {
        return Err("its kind does not exist");
    }
    Ok(())
}

fn u64_at(page: &[u8], offset: usize) -> u64 {
    let bytes = page[offset..offset + 8].try_into().expect("the slice has eight bytes");
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_other_name_is_found_out() {
        let (id, stamp) = (PageId::from_u64(5).unwrap(), Stamp::new(2, 7));
        let name = PageRef::new(id, stamp);
        let mut page = vec![0xa5; 4096];
        set_kind(&mut page, LEAF, 0, 3);
        seal(&mut page, id, stamp);
        assert_eq!(verify(&page, name), Ok(()));
        assert_eq!((kind_of(&page), level_of(&page), count_of(&page)), (LEAF, 0, 3));
        for bit in 0..page.len() * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&page, name).is_err(), "bit {bit}");
            page[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(verify(&page, PageRef::new(PageId::from_u64(6).unwrap(), stamp)).is_err());
        assert!(verify(&page, PageRef::new(id, stamp.next())).is_err());
        seal(&mut page, id, stamp.next());
        assert!(verify(&page, name).is_err(), "an older or newer version of the page");
    }
}
