//! Files that somebody made up: whole pages with right names and checksums, in any shape.

use yieldb_pager::page_format::{self, INTERIOR, LEAF, SPACE_BITS, SPACE_INDEX};
use yieldb_pager::superblock::{SLOT_OFFSETS, Superblock};
use yieldb_pager::{PageId, PageRef, PageSize, Root, Stamp};

use crate::PAGE;

/// The stamp of every page.
const STAMP: Stamp = Stamp::new(1, 5);

/// Behind the header.
const BODY: usize = page_format::HEADER_LEN;

/// A file in the making. Pages may be referred to before they are made.
pub struct Forge {
    image: Vec<u8>,
    /// The root of the space map.
    map: Option<(u64, u8)>,
}

/// The reference to a page.
pub fn name(number: u64) -> PageRef {
    PageRef::new(PageId::from_u64(number).expect("a number that pages have"), STAMP)
}

/// Where a tree begins.
pub fn root(number: u64, level: u8, count: u64) -> Root {
    Root { page: Some(name(number)), level, count }
}

/// The catalogue's value for a tree.
pub fn catalogue_value(tree: u32, root: Root) -> Vec<u8> {
    let mut value = root.page.map_or(0, PageRef::as_u64).to_le_bytes().to_vec();
    value.extend_from_slice(&root.count.to_le_bytes());
    value.extend_from_slice(&tree.to_le_bytes());
    value.push(root.level);
    value
}

impl Forge {
    /// A file of `pages` pages, all but the superblock's zero.
    pub fn new(pages: usize) -> Forge {
        Forge { image: vec![0; pages * PAGE], map: None }
    }

    /// Makes a leaf of these entries, which ascend.
    ///
    /// # Panics
    ///
    /// If they do not fit.
    pub fn leaf(&mut self, number: u64, entries: &[(&[u8], &[u8])]) {
        let mut page = vec![0; PAGE];
        page_format::set_kind(&mut page, LEAF, 0, entries.len() as u16);
        let mut heap = PAGE;
        for (index, (key, value)) in entries.iter().enumerate() {
            let suffix = key.get(4..).unwrap_or_default();
            let mut record = (key.len() as u16).to_le_bytes().to_vec();
            record.extend_from_slice(&(value.len() as u16).to_le_bytes());
            record.extend_from_slice(&[suffix, value].concat());
            heap -= record.len();
            page[heap..heap + record.len()].copy_from_slice(&record);
            put(&mut page, BODY + 4 * index, &head(key));
            let slot = BODY + 4 * entries.len() + 2 * index;
            put(&mut page, slot, &(heap as u16).to_le_bytes());
        }
        self.seal_node(number, page, heap);
    }

    /// Makes an interior node. Separators have at most four bytes and ascend; there is one child
    /// more.
    ///
    /// # Panics
    ///
    /// If they do not fit.
    pub fn interior(&mut self, number: u64, level: u8, separators: &[&[u8]], children: &[u64]) {
        assert_eq!(children.len(), separators.len() + 1);
        let count = separators.len();
        let mut page = vec![0; PAGE];
        page_format::set_kind(&mut page, INTERIOR, level, count as u16);
        put(&mut page, BODY, &name(children[0]).as_u64().to_le_bytes());
        let heads = BODY + 8;
        for (index, separator) in separators.iter().enumerate() {
            put(&mut page, heads + 4 * index, &head(separator));
            let slot = heads + 4 * count + 2 * index;
            put(&mut page, slot, &(separator.len() as u16).to_le_bytes());
            let child = name(children[index + 1]).as_u64().to_le_bytes();
            put(&mut page, heads + 6 * count + 8 * index, &child);
        }
        self.seal_node(number, page, PAGE);
    }

    /// Makes a page of the space map that names others, and is the map's root if none was before.
    pub fn map_index(&mut self, number: u64, level: u8, children: &[u64]) {
        let mut page = vec![0; PAGE];
        page_format::set_kind(&mut page, SPACE_INDEX, level, children.len() as u16);
        for (index, child) in children.iter().enumerate() {
            put(&mut page, BODY + 8 * index, &name(*child).as_u64().to_le_bytes());
        }
        self.seal(number, page);
        self.map.get_or_insert((number, level));
    }

    /// Makes the page of the space map that a short file has: all pages are used.
    pub fn map_bits(&mut self, number: u64) {
        self.map_bits_of(number, 0);
    }

    /// Makes the page of bits with this index. It says that all pages are used.
    pub fn map_bits_of(&mut self, number: u64, index: usize) {
        let mut page = vec![0; PAGE];
        page_format::set_kind(&mut page, SPACE_BITS, 0, 0);
        let bits = 8 * (PAGE - BODY);
        let count = self.image.len() / PAGE - index * bits;
        for bit in 0..count.min(bits) {
            page[BODY + bit / 8] |= 1 << (bit % 8);
        }
        self.seal(number, page);
        self.map.get_or_insert((number, 0));
    }

    /// The file, with a superblock that names the map and this catalogue.
    ///
    /// # Panics
    ///
    /// If it has no map.
    pub fn finish(mut self, catalogue: Root, next_tree: u32) -> Vec<u8> {
        let (map, space_level) = self.map.expect("a file has a map");
        let superblock = Superblock {
            page_size: PageSize::MIN,
            database_id: [3; 16],
            checkpoint: 9,
            version: 3,
            moment: STAMP,
            session: 1,
            catalogue,
            space: Some(name(map)),
            space_level,
            page_count: (self.image.len() / PAGE) as u64,
            next_tree,
            log: None,
        };
        for offset in SLOT_OFFSETS {
            superblock.encode(&mut self.image[offset as usize..][..PAGE]);
        }
        self.image
    }

    fn seal_node(&mut self, number: u64, mut page: Vec<u8>, heap: usize) {
        put(&mut page, 24, &(heap as u32).to_le_bytes());
        self.seal(number, page);
    }

    fn seal(&mut self, number: u64, mut page: Vec<u8>) {
        page_format::seal(&mut page, name(number).page(), STAMP);
        put(&mut self.image, number as usize * PAGE, &page);
    }
}

/// The first four bytes of a key.
fn head(key: &[u8]) -> [u8; 4] {
    let mut head = [0; 4];
    let len = key.len().min(4);
    head[..len].copy_from_slice(&key[..len]);
    // Heads are integers that compare as keys do.
    u32::from_be_bytes(head).to_le_bytes()
}

fn put(page: &mut [u8], offset: usize, bytes: &[u8]) {
    page[offset..offset + bytes.len()].copy_from_slice(bytes);
}
