//! A page explained, field by field: for people who look at a file, damaged or not.
//!
//! Everything here is a pure function of a page's bytes, and takes any bytes at all: what lies
//! where it must not is left out and said to be wrong. It takes memory for what the page can hold,
//! whatever the page says that it holds.

mod nodes;
mod superblock;

use std::ops::Range;

use yieldb_pager::page_format::{
    HEADER_LEN, INTERIOR, LEAF, SPACE_BITS, SPACE_INDEX, VALUE, checksum_of, count_of, kind_of,
    level_of, number_of, stamp_of,
};
use yieldb_pager::space::map;
use yieldb_pager::superblock::reserved_page_count;
use yieldb_pager::{PageRef, PageSize, Stamp, value_page};

use crate::node::{KeyRef, LargeValue, check_node};

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// One that belongs to the superblock.
    Superblock,
    /// A leaf of a tree.
    Leaf,
    /// An interior node of a tree.
    Interior,
    /// Bits of the space map.
    SpaceBits,
    /// References of the space map.
    SpaceIndex,
    /// A part of a large value.
    Value,
    /// One with nothing but zeros, as a page is that was never written.
    Zeros,
    /// Something that is none of these.
    Unknown(u8),
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Superblock => "superblock",
            Kind::Leaf => "leaf",
            Kind::Interior => "interior",
            Kind::SpaceBits => "space bits",
            Kind::SpaceIndex => "space index",
            Kind::Value => "value",
            Kind::Zeros => "zeros",
            Kind::Unknown(_) => "unknown",
        }
    }
}

/// A page, explained.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explained<'p> {
    /// What it is, or says that it is.
    pub kind: Kind,
    /// Its fields, in the order of their offsets.
    pub fields: Vec<Field<'p>>,
    /// What the fields are about.
    pub body: Body<'p>,
    /// What is wrong with it.
    pub damages: Vec<String>,
}

/// A field of a page.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Field<'p> {
    /// Where it is in the page, in bytes.
    pub offset: usize,
    /// Its length in bytes.
    pub len: usize,
    /// What it is.
    pub name: &'static str,
    /// What it says.
    pub value: FieldValue<'p>,
}

/// What a field says.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum FieldValue<'p> {
    /// A number.
    Number(u64),
    /// A checksum, and what it should be.
    Checksum {
        /// What the page says.
        stored: u32,
        /// What its contents say.
        computed: u32,
    },
    /// A moment.
    Stamp(Stamp),
    /// The name of a page; `None` for 0, which stands for no page.
    Reference(Option<PageRef>),
    /// Bytes.
    Bytes(&'p [u8]),
}

/// What is in a page besides its fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Body<'p> {
    /// Nothing that is understood.
    Nothing,
    /// The entries of a leaf, or the separators of an interior node and the children right of them.
    Slots(Vec<Slot<'p>>),
    /// References, each with its offset in the page.
    References(Vec<(usize, PageRef)>),
    /// Which pages are used, of those that the page tells of: runs of their numbers, counted from
    /// the first page that it tells of.
    Used(Vec<Range<u64>>),
    /// Bytes that mean nothing to the engine.
    Bytes(&'p [u8]),
}

/// An entry of a leaf, or a separator of an interior node.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Slot<'p> {
    /// Where its head is in the page, in bytes.
    pub head_offset: usize,
    /// Its head: four bytes of the key that lie behind the prefix.
    pub head: [u8; 4],
    /// Where its record begins and how long it is, both in bytes; `None` if it has none.
    pub record: Option<(usize, usize)>,
    /// The key; `None` if it lies out of the page.
    pub key: Option<KeyRef<'p>>,
    /// What belongs to it; `None` if that lies out of the page or makes no sense.
    pub content: Option<Content<'p>>,
}

/// What belongs to a key.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Content<'p> {
    /// A value in the leaf.
    Value(&'p [u8]),
    /// A value in pages of its own.
    Large(LargeValue),
    /// The child on the right of a separator.
    Child(PageRef),
}

/// Explains a page that was read as number `number`.
///
/// # Panics
///
/// If `page` is not as long as a page can be: see [`PageSize`].
pub fn explain(page: &[u8], number: u64) -> Explained<'_> {
    let size = u32::try_from(page.len()).ok().and_then(PageSize::new);
    let size = size.unwrap_or_else(|| panic!("a page of {} bytes", page.len()));
    if number < reserved_page_count(size) {
        return superblock::explain(page, number);
    }
    let mut explained = Explained {
        kind: kind(page),
        fields: header(page),
        body: Body::Nothing,
        damages: damages(page, number),
    };
    match explained.kind {
        Kind::Leaf | Kind::Interior => nodes::explain(page, &mut explained),
        Kind::SpaceBits => {
            explained.push(24, 16, "unused", FieldValue::Bytes(&page[24..HEADER_LEN]));
            explained.body = Body::Used(used_runs(&page[HEADER_LEN..]));
        }
        Kind::SpaceIndex => {
            explained.push(24, 16, "unused", FieldValue::Bytes(&page[24..HEADER_LEN]));
            explained.body = Body::References(references(page));
        }
        Kind::Value => {
            explained.push(24, 16, "unused", FieldValue::Bytes(&page[24..HEADER_LEN]));
            explained.body = Body::Bytes(value_page::body(page));
        }
        Kind::Superblock | Kind::Zeros | Kind::Unknown(_) => {
            explained.push(24, 16, "the kind's own", FieldValue::Bytes(&page[24..HEADER_LEN]));
            explained.body = Body::Bytes(&page[HEADER_LEN..]);
        }
    }
    explained
}

impl<'p> Explained<'p> {
    fn push(&mut self, offset: usize, len: usize, name: &'static str, value: FieldValue<'p>) {
        self.fields.push(Field { offset, len, name, value });
    }
}

fn kind(page: &[u8]) -> Kind {
    match kind_of(page) {
        LEAF => Kind::Leaf,
        INTERIOR => Kind::Interior,
        SPACE_BITS => Kind::SpaceBits,
        SPACE_INDEX => Kind::SpaceIndex,
        VALUE => Kind::Value,
        0 if page.iter().all(|byte| *byte == 0) => Kind::Zeros,
        other => Kind::Unknown(other),
    }
}

/// The header that all pages have.
fn header(page: &[u8]) -> Vec<Field<'_>> {
    let number =
        |offset, len, name, number| Field { offset, len, name, value: FieldValue::Number(number) };
    let checksum = FieldValue::Checksum { stored: u32_at(page, 0), computed: checksum_of(page) };
    let stamp = FieldValue::Stamp(stamp_of(page));
    vec![
        Field { offset: 0, len: 4, name: "checksum", value: checksum },
        number(4, 1, "kind", u64::from(kind_of(page))),
        number(5, 1, "level", u64::from(level_of(page))),
        number(6, 2, "count", count_of(page) as u64),
        number(8, 8, "page number", number_of(page)),
        Field { offset: 16, len: 8, name: "stamp", value: stamp },
    ]
}

/// What is wrong with a page, as far as it can be told from the page alone.
fn damages(page: &[u8], number: u64) -> Vec<String> {
    if kind(page) == Kind::Zeros {
        return vec!["it has nothing but zeros".to_owned()];
    }
    let mut damages = Vec::new();
    if u32_at(page, 0) != checksum_of(page) {
        damages.push("its checksum does not match its contents".to_owned());
    }
    if number_of(page) != number {
        damages.push(format!("its number is another page's, {}", number_of(page)));
    }
    let checked = match kind(page) {
        Kind::Leaf | Kind::Interior => check_node(page),
        Kind::SpaceBits | Kind::SpaceIndex => map::check_page(page),
        Kind::Value => value_page::check_page(page),
        Kind::Superblock | Kind::Zeros | Kind::Unknown(_) => Err("its kind does not exist"),
    };
    damages.extend(checked.err().map(str::to_owned));
    damages
}

/// The runs of bits that are set.
fn used_runs(bits: &[u8]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for (at, byte) in (0..).zip(bits).filter(|(_, byte)| **byte != 0) {
        for bit in (0..8).filter(|bit| byte & 1 << bit != 0) {
            let number: u64 = 8 * at + bit;
            match runs.last_mut() {
                Some(run) if run.end == number => run.end += 1,
                _ => runs.push(number..number + 1),
            }
        }
    }
    runs
}

/// The references of a page of the space map, as far as they lie in it.
fn references(page: &[u8]) -> Vec<(usize, PageRef)> {
    let offsets = (HEADER_LEN..page.len()).step_by(8).take(count_of(page));
    offsets.map(|offset| (offset, PageRef::from_u64(u64_at(page, offset)))).collect()
}

fn reference_at(page: &[u8], offset: usize) -> FieldValue<'_> {
    FieldValue::Reference(match u64_at(page, offset) {
        0 => None,
        bits => Some(PageRef::from_u64(bits)),
    })
}

fn u16_at(page: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([page[offset], page[offset + 1]])
}

fn u32_at(page: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(page[offset..offset + 4].try_into().expect("the slice has four bytes"))
}

fn u64_at(page: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(page[offset..offset + 8].try_into().expect("the slice has eight bytes"))
}

#[cfg(test)]
mod tests {
    use yieldb_pager::page_format::{seal, set_kind};
    use yieldb_pager::{PageId, superblock::SLOT_LEN};

    use super::*;

    #[test]
    fn pages_of_the_space_map_and_of_values_are_explained() {
        let (id, stamp) = (PageId::from_u64(9).unwrap(), Stamp::new(1, 4));
        let mut page = vec![0; 4096];
        set_kind(&mut page, SPACE_BITS, 0, 0);
        page[HEADER_LEN..HEADER_LEN + 3].copy_from_slice(&[0xff, 0x03, 0x80]);
        seal(&mut page, id, stamp);
        let explained = explain(&page, 9);
        assert_eq!((explained.kind, explained.damages.len()), (Kind::SpaceBits, 0));
        assert!(matches!(&explained.body, Body::Used(runs) if *runs == [0..10, 23..24]));
        assert_eq!(explain(&page, 8).damages, ["its number is another page's, 9"]);

        set_kind(&mut page, SPACE_INDEX, 1, u16::MAX);
        let explained = explain(&page, 9);
        assert!(matches!(&explained.body, Body::References(all) if all.len() == 4056 / 8));
        assert_eq!(explained.damages.len(), 3, "checksum, number, count: {explained:?}");

        value_page::encode(&mut page, id, stamp, |body| {
            body[..5].copy_from_slice(b"value");
            5
        });
        let explained = explain(&page, 9);
        assert_eq!((explained.kind, explained.damages.len()), (Kind::Value, 0));
        assert!(matches!(explained.body, Body::Bytes(body) if body.starts_with(b"value\0")));
    }

    #[test]
    fn any_bytes_are_explained() {
        let mut random: u64 = 0x2545_f491_4f6c_dd1d;
        for round in 0..2_000 {
            let mut page = vec![0_u8; if round % 7 == 0 { 65_536 } else { SLOT_LEN }];
            for byte in &mut page {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                *byte = (random >> 32) as u8;
            }
            page[4] = (round % 8) as u8;
            page[5] %= 4;
            if round % 3 == 0 {
                page[7] = 0;
            }
            for number in [0, 1, 9] {
                let explained = explain(&page, number);
                assert!(!explained.damages.is_empty());
                if let Body::Slots(slots) = &explained.body {
                    assert!(slots.len() <= page.len() / 6);
                }
            }
        }
    }
}
