//! Building a tree from the bottom up.
//!
//! ```text
//!   push: the leaf has room ----------> a draft of it, in memory
//!           '-- it has not: it is made a page, a child for the level above
//!                             '-- that has one full node, and the beginning of another: made a
//!                                 page, a child for the level above, ..
//! ```
//!
//! A node is full when less than a tenth of it is free, or when the next key does not fit. A
//! level keeps its last full node back until two more children are there: so the last node of a
//! level has two children at least, whatever comes.

use yieldb_core::is_planted;
use yieldb_pager::page_format::set_name;
use yieldb_pager::{PageId, PageRef, PageRun, Root, Stamp, WriteSet};

use super::packing::Packing;
use crate::balance::FREE_PART;
use crate::node::{
    KeyRef, LargeValue, LeafEntry, Shape, Stored, build_interior, build_leaf, shortest_separator,
};

/// Builds a tree from entries in ascending order.
#[derive(Debug)]
pub(super) struct Builder {
    page_len: usize,
    leaf: Leaf,
    /// The children of nodes that are not made yet; the leaves first.
    levels: Vec<Level>,
    /// How many entries there are.
    count: u64,
    /// The pages that were made, in that order, with their births.
    pages: Vec<(PageRun, Stamp)>,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// The tree has it.
    Taken,
    /// Nothing has changed: [pages](Builder::pages_needed) must be ready.
    PagesNeeded,
}

/// The entries that the next leaf is to have.
#[derive(Debug)]
struct Leaf {
    /// Keys and values, as the leaf stores them.
    bytes: Vec<u8>,
    entries: Vec<Draft>,
    packing: Packing,
    /// The same without the last entry.
    before_last: Packing,
    /// What stands between the leaf before and this one.
    separator: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Draft {
    start: usize,
    key_len: usize,
    value: DraftValue,
}

#[derive(Clone, Copy, Debug)]
enum DraftValue {
    Here(usize),
    Large(LargeValue),
}

/// The children of one level that have no parent yet.
#[derive(Debug)]
struct Level {
    children: Vec<u64>,
    /// What stands between them.
    separators: Vec<Vec<u8>>,
    /// What stands in front of the first one.
    separator: Vec<u8>,
    packing: Packing,
    /// How many of them fill a node, if they do.
    full: Option<usize>,
}

impl Builder {
    pub fn new(page_len: usize) -> Builder {
        Builder { page_len, leaf: Leaf::new(), levels: Vec::new(), count: 0, pages: Vec::new() }
    }

    /// How many pages must be ready in the write set for the next entry to be taken, or for the
    /// last leaf to be made: that leaf, and a node on each level.
    pub fn pages_needed(&self) -> usize {
        self.levels.len() + 2
    }

    /// How many pages must be ready for the tree to be finished: on each level two nodes, and one
    /// that those below it fill.
    pub fn pages_to_finish(&self) -> usize {
        3 * self.levels.len() + 4
    }

    /// Has it neither entries nor pages?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an entry. Its key is not less than that of the last one, which it replaces if they are
    /// equal.
    ///
    /// # Panics
    ///
    /// If the key is less.
    #[inline]
    pub fn push(&mut self, set: &mut WriteSet, key: &[u8], value: Stored<'_>) -> Pushed {
        if set.ready_count() < self.pages_needed() {
            return Pushed::PagesNeeded;
        }
        if self.leaf.last_key() == Some(key) {
            self.count -= 1;
            if let DraftValue::Large(large) = self.leaf.pop() {
                set.kill_run(large.run, large.birth);
            }
        }
        if !self.leaf.push(key, value, self.page_len) {
            let separator = self.leaf.separator_to(key);
            self.close_leaf(set);
            self.leaf.separator = separator;
            let fits = self.leaf.push(key, value, self.page_len);
            assert!(fits, "an entry of {} bytes does not fit a leaf", key.len());
        }
        self.count += 1;
        Pushed::Taken
    }

    /// Makes what is left pages, up to the root. The pages
    /// [to finish](Builder::pages_to_finish) are ready.
    pub fn finish(&mut self, set: &mut WriteSet) -> Root {
        if !is_planted!(LastLeafNotMade) {
            self.close_leaf(set);
        }
        if self.levels.is_empty() {
            return Root::default();
        }
        let mut level = 0;
        loop {
            let is_top = level + 1 == self.levels.len();
            if let ([root], true) = (&self.levels[level].children[..], is_top) {
                let page = Some(PageRef::from_u64(*root));
                return Root { page, level: level as u8, count: self.count };
            }
            // All of them fit one node, or they are one child more than a full one has.
            if let Some(count) = self.levels[level].cut(self.page_len) {
                self.make_node(set, level, count);
            }
            let rest = self.levels[level].children.len();
            self.make_node(set, level, rest);
            level += 1;
        }
    }

    /// Makes the last leaf, and gives up the tree: the pages that were made so far are leaves in
    /// order, and others among them.
    pub fn take_pages(&mut self, set: &mut WriteSet) -> Vec<(PageRun, Stamp)> {
        self.close_leaf(set);
        std::mem::replace(self, Builder::new(self.page_len)).pages
    }

    /// Makes the draft a page, if it has entries.
    fn close_leaf(&mut self, set: &mut WriteSet) {
        if self.leaf.entries.is_empty() {
            return;
        }
        let leaf = &self.leaf;
        let page = make_page(set, &mut self.pages, |bytes| leaf.build(bytes));
        let separator = self.leaf.clear();
        self.add_child(set, 0, page, separator);
    }

    /// Adds a child behind the others of its level.
    fn add_child(&mut self, set: &mut WriteSet, level: usize, page: PageRef, separator: Vec<u8>) {
        if level == self.levels.len() {
            self.levels.push(Level::new());
        }
        let children = &mut self.levels[level];
        children.add(page, separator, self.page_len);
        if let Some(full) = children.full.filter(|full| children.children.len() >= full + 2) {
            self.make_node(set, level, full);
        }
    }

    /// Makes the first `count` children of a level a node.
    fn make_node(&mut self, set: &mut WriteSet, level: usize, count: usize) {
        let children = &self.levels[level];
        let page = make_page(set, &mut self.pages, |bytes| {
            let separators = &children.separators[..count - 1];
            let separators: Vec<KeyRef<'_>> =
                separators.iter().map(|key| KeyRef::from_slice(key)).collect();
            build_interior(bytes, level as u8 + 1, &children.children[..count], &separators);
        });
        let separator = self.levels[level].take_out(count, self.page_len);
        self.add_child(set, level + 1, page, separator);
    }
}

/// Makes a page, and notes that it is made.
fn make_page(
    set: &mut WriteSet,
    pages: &mut Vec<(PageRun, Stamp)>,
    build: impl FnOnce(&mut [u8]),
) -> PageRef {
    let mut fresh = set.take_fresh();
    build(&mut fresh.buffer);
    let (id, stamp) = (fresh.id, set.stamp());
    set_name(&mut fresh.buffer, id, stamp);
    set.insert(fresh);
    note_page(pages, id, stamp);
    set.page_ref(id)
}

/// Adds a page to the list, in which neighbours are one.
fn note_page(pages: &mut Vec<(PageRun, Stamp)>, id: PageId, stamp: Stamp) {
    if let Some((last, birth)) = pages.last_mut()
        && *birth == stamp
        && last.end() == id.as_u64()
        && let Some(longer) = PageRun::new(last.first(), last.count() + 1)
    {
        *last = longer;
        return;
    }
    pages.push((id.into(), stamp));
}

impl Leaf {
    fn new() -> Leaf {
        let packing = Packing::new(Shape::LEAF);
        Leaf {
            bytes: Vec::new(),
            entries: Vec::new(),
            packing,
            before_last: packing,
            separator: Vec::new(),
        }
    }

    fn key(&self, entry: &Draft) -> &[u8] {
        &self.bytes[entry.start..entry.start + entry.key_len]
    }

    #[inline]
    fn last_key(&self) -> Option<&[u8]> {
        self.entries.last().map(|entry| self.key(entry))
    }

    /// Takes the last entry out.
    fn pop(&mut self) -> DraftValue {
        let last = self.entries.pop().expect("there is a last entry");
        self.bytes.truncate(last.start);
        self.packing = self.before_last;
        last.value
    }

    /// Adds an entry, if the leaf has room.
    #[inline]
    fn push(&mut self, key: &[u8], value: Stored<'_>, page_len: usize) -> bool {
        if is_full(self.packing, page_len) && !self.entries.is_empty() {
            return false;
        }
        let mut packing = self.packing;
        let keys = self.entries.iter();
        packing.add(key, value.stored_len(), keys.map(|entry| self.key(entry)));
        if packing.len() > page_len {
            return false;
        }
        self.before_last = std::mem::replace(&mut self.packing, packing);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let value = match value {
            Stored::Here(bytes) => {
                self.bytes.extend_from_slice(bytes);
                DraftValue::Here(bytes.len())
            }
            Stored::Large(large) => DraftValue::Large(large),
        };
        self.entries.push(Draft { start, key_len: key.len(), value });
        true
    }

    /// What is to stand between this leaf and the one that begins with `key`.
    fn separator_to(&self, key: &[u8]) -> Vec<u8> {
        let last = self.last_key().expect("a leaf without room has entries");
        shortest_separator(&KeyRef::from_slice(last), &KeyRef::from_slice(key))
    }

    /// Forgets the entries. Returns what stands in front of them.
    fn clear(&mut self) -> Vec<u8> {
        self.bytes.clear();
        self.entries.clear();
        self.packing = Packing::new(Shape::LEAF);
        std::mem::take(&mut self.separator)
    }

    fn build(&self, page: &mut [u8]) {
        let entry = |draft: &Draft| {
            let value = match draft.value {
                DraftValue::Here(len) => {
                    let start = draft.start + draft.key_len;
                    Stored::Here(&self.bytes[start..start + len])
                }
                DraftValue::Large(large) => Stored::Large(large),
            };
            LeafEntry { key: KeyRef::from_slice(self.key(draft)), value }
        };
        let entries: Vec<LeafEntry<'_>> = self.entries.iter().map(entry).collect();
        build_leaf(page, &entries);
    }
}

impl Level {
    fn new() -> Level {
        Level {
            children: Vec::new(),
            separators: Vec::new(),
            separator: Vec::new(),
            packing: Packing::new(Shape::INTERIOR),
            full: None,
        }
    }

    /// Adds a child behind `separator`.
    fn add(&mut self, page: PageRef, separator: Vec<u8>, page_len: usize) {
        if self.children.is_empty() {
            self.separator = separator;
        } else {
            let mut packing = self.packing;
            packing.add(&separator, 0, self.separators.iter().map(Vec::as_slice));
            let has_room = packing.len() <= page_len && !is_full(self.packing, page_len);
            if self.full.is_none() && !has_room {
                self.full = Some(self.children.len());
            }
            self.packing = packing;
            self.separators.push(separator);
        }
        self.children.push(page.as_u64());
    }

    /// How many children the first of two nodes has, if they do not fit one: half of them. The
    /// other half may not fit one either, since its end need not share what the full node's keys
    /// share; the last two always do.
    fn cut(&self, page_len: usize) -> Option<usize> {
        let full = self.full?;
        let half = self.children.len() / 2;
        let mut packing = Packing::new(Shape::INTERIOR);
        for end in half..self.separators.len() {
            let before = self.separators[half..end].iter().map(Vec::as_slice);
            packing.add(&self.separators[end], 0, before);
        }
        Some(if packing.len() <= page_len { half } else { full - 1 })
    }

    /// Takes the first `count` children out. Returns what stands in front of them.
    fn take_out(&mut self, count: usize, page_len: usize) -> Vec<u8> {
        let mut rest = Level::new();
        let separators = self.separators.split_off((count - 1).min(self.separators.len()));
        let first = std::iter::once(std::mem::take(&mut self.separator));
        let mut separators = first.chain(separators);
        let front = separators.next().expect("there is the first");
        for (child, separator) in self.children.split_off(count).into_iter().zip(separators) {
            rest.add(PageRef::from_u64(child), separator, page_len);
        }
        *self = rest;
        front
    }
}

/// Is less free of a node than may stay free?
fn is_full(packing: Packing, page_len: usize) -> bool {
    packing.len() > page_len - page_len / FREE_PART
}
