//! A plan: what it will do, the pages that it is built in, and applying it.

use smallvec::SmallVec;
use yieldb_pager::page_format::{self, stamp_of};
use yieldb_pager::write_set::{Fresh, Reserve};
use yieldb_pager::{PageId, PageRef, Root, Stamp, WriteSet};

use super::{Change, Edited, Seen};
use crate::node::{KeyRef, LargeValue, LeafEntry, build_interior, build_leaf, edit};
use crate::pages::Pages;

/// What a change will do.
pub(super) struct Plan {
    /// Pages that are new.
    pub fresh: SmallVec<[Fresh; 4]>,
    /// Pages that take the place of the private ones with their numbers.
    pub rebuilt: SmallVec<[Fresh; 2]>,
    /// The change of one private node in place that ends it.
    pub in_place: Option<(PageRef, InPlace)>,
    /// Pages that are no part of the tree any more.
    pub dead: SmallVec<[(PageId, Stamp); 4]>,
    /// Large values that are not either.
    pub dead_values: SmallVec<[LargeValue; 1]>,
    pub root: Root,
    pub made: usize,
    pub found: u64,
    pub rest: Option<Vec<u8>>,
    pub to_move: Vec<(Vec<u8>, LargeValue)>,
}

/// A change of one private node in place.
pub(super) enum InPlace {
    InsertEntry(usize),
    ReplaceValue(usize),
    RemoveEntry(usize),
    /// One of an interior node.
    Children(ChildEdit),
}

/// A change of an interior node that fits into it as it is.
pub(super) enum ChildEdit {
    SetChild(usize, PageRef),
    /// The child at the index becomes two, with a separator between.
    SplitChild(usize, PageRef, Vec<u8>, PageRef),
    /// Another separator stands behind the child at the index.
    SetSeparator(usize, Vec<u8>),
    /// The child at the index and the next one become others, with a separator between.
    ReplaceTwo(usize, PageRef, Vec<u8>, PageRef),
}

impl Plan {
    fn none(root: Root) -> Plan {
        Plan {
            fresh: SmallVec::new(),
            rebuilt: SmallVec::new(),
            in_place: None,
            dead: SmallVec::new(),
            dead_values: SmallVec::new(),
            root,
            made: 1,
            found: 0,
            rest: None,
            to_move: Vec::new(),
        }
    }

    /// Makes the change. Can neither wait nor fail.
    pub fn apply(self, set: &mut WriteSet, change: Change<'_>) -> Edited {
        for fresh in self.fresh.into_iter().chain(self.rebuilt) {
            set.insert(fresh);
        }
        if let Some((page, in_place)) = self.in_place {
            in_place.apply(set.page_mut(page), change);
        }
        for (page, birth) in self.dead {
            set.kill(page, birth);
        }
        for value in self.dead_values {
            set.kill_run(value.run, value.birth);
        }
        let Plan { root, made, found, rest, to_move, .. } = self;
        Edited { root, made, found, rest, to_move }
    }
}

impl InPlace {
    fn apply(self, bytes: &mut [u8], change: Change<'_>) {
        match (self, change) {
            (InPlace::InsertEntry(index), Change::Put { key, value }) => {
                edit::insert_entry(bytes, index, key, value);
            }
            (InPlace::ReplaceValue(index), Change::Put { value, .. }) => {
                edit::replace_value(bytes, index, value);
            }
            (InPlace::InsertEntry(_) | InPlace::ReplaceValue(_), _) => {
                unreachable!("a deletion stores nothing")
            }
            (InPlace::RemoveEntry(index), _) => edit::remove_entry(bytes, index),
            (InPlace::Children(edit), _) => edit.apply(bytes),
        }
    }
}

impl ChildEdit {
    pub fn apply(self, bytes: &mut [u8]) {
        match self {
            ChildEdit::SetChild(index, child) => edit::set_child(bytes, index, child.as_u64()),
            ChildEdit::SplitChild(index, left, separator, right) => {
                edit::set_child(bytes, index, left.as_u64());
                edit::insert_separator(bytes, index, &separator, right.as_u64());
            }
            ChildEdit::SetSeparator(index, separator) => {
                edit::set_separator(bytes, index, &separator);
            }
            ChildEdit::ReplaceTwo(index, left, separator, right) => {
                edit::set_child(bytes, index, left.as_u64());
                edit::set_child(bytes, index + 1, right.as_u64());
                edit::set_separator(bytes, index, &separator);
            }
        }
    }
}

/// Makes a plan.
pub(super) struct Planner<'p> {
    pub set: &'p WriteSet,
    pub pages: &'p Pages<'p>,
    reserve: &'p mut Reserve,
    /// The tree before the change.
    pub root: Root,
    pub plan: Plan,
    /// The most pages that the change can make.
    most: usize,
    /// Was the plan broken off because it needs more pages than are in reserve?
    pub is_short: bool,
}

impl<'p> Planner<'p> {
    pub fn new(
        set: &'p WriteSet,
        pages: &'p Pages<'p>,
        reserve: &'p mut Reserve,
        root: Root,
        most: usize,
    ) -> Planner<'p> {
        Planner { set, pages, reserve, root, plan: Plan::none(root), most, is_short: false }
    }

    /// Is the reserve too small for a change that divides, merges or packs nodes?
    pub fn falls_short(&mut self) -> bool {
        self.is_short = self.reserve.count() < self.most;
        self.is_short
    }

    /// The number of the next page that is built.
    pub fn next_number(&self) -> Option<PageId> {
        self.reserve.next_number()
    }

    /// May this page change in place?
    pub fn is_private(&self, page: Seen<'_>) -> bool {
        self.set.is_private(page.name)
    }

    pub fn page_len(&self) -> usize {
        self.pages.resident.page_size().bytes()
    }

    pub fn build_leaf(&mut self, entries: &[LeafEntry<'_>]) -> PageRef {
        let mut fresh = self.reserve.take();
        build_leaf(&mut fresh.buffer, entries);
        self.add(fresh)
    }

    pub fn build_interior(&mut self, level: u8, children: &[u64], keys: &[KeyRef<'_>]) -> PageRef {
        let mut fresh = self.reserve.take();
        build_interior(&mut fresh.buffer, level, children, keys);
        self.add(fresh)
    }

    /// A copy of a page, changed.
    pub fn copy(&mut self, page: Seen<'_>, change: impl FnOnce(&mut [u8])) -> PageRef {
        let mut fresh = self.reserve.take();
        fresh.buffer.copy_from_slice(page.bytes);
        change(&mut fresh.buffer);
        self.add(fresh)
    }

    /// Makes a page that was just built part of the plan.
    fn add(&mut self, mut fresh: Fresh) -> PageRef {
        page_format::set_name(&mut fresh.buffer, fresh.id, self.set.stamp());
        let page = self.set.page_ref(fresh.id);
        self.plan.fresh.push(fresh);
        page
    }

    /// Gives a private page other contents.
    pub fn rebuild(&mut self, page: Seen<'_>, build: impl FnOnce(&mut [u8])) {
        let mut buffer = self.reserve.take_frame();
        build(&mut buffer);
        let id = page.name.page();
        page_format::set_name(&mut buffer, id, stamp_of(page.bytes));
        self.plan.rebuilt.push(Fresh { id, buffer });
    }

    pub fn kill(&mut self, page: Seen<'_>) {
        let birth = stamp_of(page.bytes);
        self.plan.dead.push((page.name.page(), birth));
    }

    /// Puts back what was taken, in reverse, so that the next attempt takes the same.
    pub fn put_back(&mut self) {
        while let Some(rebuilt) = self.plan.rebuilt.pop() {
            self.reserve.put_back_frame(rebuilt.buffer);
        }
        while let Some(fresh) = self.plan.fresh.pop() {
            self.reserve.put_back(fresh);
        }
    }
}
