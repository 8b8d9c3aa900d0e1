//! Changing a tree: gather, plan, apply.
//!
//! A change is planned over the pages in memory. The plan goes up from the leaf: what a node's
//! change comes to is that some neighbouring children of its parent are *replaced* by others,
//!
//! | before | after | because |
//! |---|---|---|
//! | 1 | 1 | a published node is copied |
//! | 1 | 2 or 3 | a node that is too full is split |
//! | 2 | 1 | a node that is nearly empty is merged with its neighbour |
//! | 2 | 2 or 3 | the neighbour is too full for that: their entries are redistributed |
//!
//! until a node takes its replacement in place, or the root is reached. New nodes are built at
//! once, in frames of the transaction's reserve, where nobody sees them: a plan that misses a page
//! puts them back, and nothing has happened. Applying a finished plan makes them part of the
//! transaction; it can neither wait nor fail.

use smallvec::SmallVec;
use yieldb_core::is_planted;
use yieldb_pager::page_format::{self, stamp_of};
use yieldb_pager::write_set::{Fresh, Reserve};
use yieldb_pager::{PageId, PageRef, Pager, Root, Stamp, WriteSet};

use crate::Result;
use crate::balance::{Bias, divide_interior, divide_leaf};
use crate::error::corrupt;
use crate::node::{
    InteriorList, InteriorView, KeyRef, LeafEntry, LeafView, build_interior, build_leaf, edit,
    interior_len, leaf_len, shortest_separator,
};
use crate::pages::{Node, Pages, Walk, node, resident_or_return};
use crate::replacement::{OUT_OF_BOUNDS, Replacement};

/// What is to be changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'k> {
    /// Store a value under a key.
    Put { key: &'k [u8], value: &'k [u8] },
    /// Remove the entry with a key.
    Delete { key: &'k [u8] },
}

/// What a change came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edited {
    /// The tree as it is now.
    pub root: Root,
    /// Was there an entry with the key before?
    pub existed: bool,
}

/// The most pages that a change of a tree can make: three on each level, and a new root.
pub(crate) fn pages_needed(root: Root) -> usize {
    3 * (usize::from(root.level) + 1) + 1
}

/// Makes a change, or says which page is missing and has changed nothing.
///
/// The write set has [`pages_needed`] pages in reserve.
pub(crate) fn change(
    set: &mut WriteSet,
    pager: &Pager,
    root: Root,
    change: Change<'_>,
) -> Result<Walk<Edited>> {
    let mut reserve = set.take_reserve();
    let plan = {
        let pages = Pages { private: Some(set), resident: pager.resident()? };
        let mut planner =
            Planner { set, pages: &pages, reserve: &mut reserve, root, plan: Plan::none(root) };
        match planner.change(change) {
            Ok(Walk::Found(())) => Ok(Walk::Found(planner.plan)),
            Ok(Walk::Missing(page)) => {
                if !is_planted!(ReserveNotPutBack) {
                    planner.put_back();
                }
                Ok(Walk::Missing(page))
            }
            Err(error) => {
                planner.put_back();
                Err(error)
            }
        }
    };
    set.put_back_reserve(reserve);
    Ok(match plan? {
        Walk::Missing(page) => Walk::Missing(page),
        Walk::Found(plan) => Walk::Found(plan.apply(set, pager, change)),
    })
}

/// What a change will do.
struct Plan {
    /// Pages that are new, or take the place of a private page with their number.
    fresh: SmallVec<[Fresh; 4]>,
    /// The change of one private node in place that ends it.
    in_place: Option<(PageRef, InPlace)>,
    /// Pages that are no part of the tree any more.
    dead: SmallVec<[(PageId, Stamp); 4]>,
    root: Root,
    existed: bool,
}

/// A change of one private node in place.
enum InPlace {
    InsertEntry(usize),
    ReplaceValue(usize),
    RemoveEntry(usize),
    SetChild(usize, PageRef),
    /// The child at the index becomes two, with a separator between.
    SplitChild(usize, PageRef, Vec<u8>, PageRef),
}

impl Plan {
    fn none(root: Root) -> Plan {
        Plan { fresh: SmallVec::new(), in_place: None, dead: SmallVec::new(), root, existed: false }
    }

    /// Makes the change. Can neither wait nor fail.
    fn apply(self, set: &mut WriteSet, pager: &Pager, change: Change<'_>) -> Edited {
        for fresh in self.fresh {
            set.insert(fresh);
        }
        if let Some((page, in_place)) = self.in_place {
            let bytes = set.page_mut(page);
            match (in_place, change) {
                (InPlace::InsertEntry(index), Change::Put { key, value }) => {
                    edit::insert_entry(bytes, index, key, value);
                }
                (InPlace::ReplaceValue(index), Change::Put { value, .. }) => {
                    edit::replace_value(bytes, index, value);
                }
                (InPlace::InsertEntry(_) | InPlace::ReplaceValue(_), Change::Delete { .. }) => {
                    unreachable!("a deletion stores nothing")
                }
                (InPlace::RemoveEntry(index), _) => edit::remove_entry(bytes, index),
                (InPlace::SetChild(index, child), _) => {
                    edit::set_child(bytes, index, child.as_u64());
                }
                (InPlace::SplitChild(index, left, separator, right), _) => {
                    edit::set_child(bytes, index, left.as_u64());
                    edit::insert_separator(bytes, index, &separator, right.as_u64());
                }
            }
        }
        for (page, birth) in self.dead {
            set.kill(pager, page, birth);
        }
        Edited { root: self.root, existed: self.existed }
    }
}

/// The interior nodes above a leaf, the root first, and in each the index of the child below.
type Path<'p> = SmallVec<[(Seen<'p>, usize); 8]>;

/// A page as it was seen in memory. It may be evicted while the guard is held, so that it is not
/// found again; its bytes stay.
#[derive(Clone, Copy)]
struct Seen<'p> {
    name: PageRef,
    bytes: &'p [u8],
}

struct Planner<'p> {
    set: &'p WriteSet,
    pages: &'p Pages<'p>,
    reserve: &'p mut Reserve,
    root: Root,
    plan: Plan,
}

impl<'p> Planner<'p> {
    fn change(&mut self, change: Change<'_>) -> Result<Walk<()>> {
        let (Change::Put { key, .. } | Change::Delete { key }) = change;
        let Some(mut page) = self.root.page else {
            if let Change::Put { key, value } = change {
                self.plan_first(key, value);
            }
            return Ok(Walk::Found(()));
        };
        let mut path = Path::new();
        let mut level = self.root.level;
        // Does the path go along an edge of the tree? Then keys may arrive in order.
        let (mut leftmost, mut rightmost) = (true, true);
        let (seen, leaf) = loop {
            let seen = Seen { name: page, bytes: resident_or_return!(self.pages, page) };
            match node(seen.bytes, page, level)? {
                Node::Leaf(leaf) => break (seen, leaf),
                Node::Interior(view) => {
                    let index = view.child_index(key);
                    leftmost &= index == 0;
                    rightmost &= index == view.count();
                    path.push((seen, index));
                    page = PageRef::from_u64(view.child(index));
                    level -= 1;
                }
            }
        };
        let found = leaf.find(key);
        self.plan.existed = found.is_ok();
        match change {
            Change::Put { key, value } => {
                self.plan.root.count += u64::from(found.is_err());
                let bias = match found {
                    Err(0) if leftmost => Bias::Descending,
                    Err(index) if rightmost && index == leaf.count() => Bias::Ascending,
                    Ok(_) | Err(_) => Bias::Even,
                };
                self.plan_put(seen, leaf, path, (key, value), found, bias)
            }
            Change::Delete { .. } => match found {
                Err(_) => Ok(Walk::Found(())),
                Ok(index) => {
                    self.plan.root.count -= 1;
                    self.plan_delete(seen, leaf, path, index)
                }
            },
        }
    }

    /// The first entry of a tree.
    fn plan_first(&mut self, key: &[u8], value: &[u8]) {
        let entry = LeafEntry { key: KeyRef::from_slice(key), value };
        let page = self.build_leaf(&[entry]);
        self.plan.root = Root { page: Some(page), level: 0, count: 1 };
    }

    fn plan_put(
        &mut self,
        page: Seen<'p>,
        leaf: LeafView<'p>,
        path: Path<'p>,
        (key, value): (&[u8], &[u8]),
        found: std::result::Result<usize, usize>,
        bias: Bias,
    ) -> Result<Walk<()>> {
        let bytes = page.bytes;
        let in_place = match found {
            Ok(index) if edit::fits_value(bytes, index, value) => InPlace::ReplaceValue(index),
            Err(index) if edit::fits_entry(bytes, key, value) => InPlace::InsertEntry(index),
            Ok(index) | Err(index) => {
                let mut entries: Vec<LeafEntry<'_>> = LeafEntry::all(&leaf).collect();
                let entry = LeafEntry { key: KeyRef::from_slice(key), value };
                match found {
                    Ok(_) => entries[index] = entry,
                    Err(_) => entries.insert(index, entry),
                }
                return self.plan_leaves(page, path, &entries, bias);
            }
        };
        if self.set.is_private(page.name) {
            self.plan.in_place = Some((page.name, in_place));
            return Ok(Walk::Found(()));
        }
        let copy = self.copy(page, |copy| match found {
            Ok(index) => edit::replace_value(copy, index, value),
            Err(index) => edit::insert_entry(copy, index, key, value),
        });
        self.plan_copied(page, copy, path, bias)
    }

    fn plan_delete(
        &mut self,
        page: Seen<'p>,
        leaf: LeafView<'p>,
        path: Path<'p>,
        index: usize,
    ) -> Result<Walk<()>> {
        if path.is_empty() && leaf.count() == 1 {
            self.kill(page);
            self.plan.root = Root::default();
            return Ok(Walk::Found(()));
        }
        let entry_len = leaf.key(index).len() + leaf.value(index).len();
        let is_sparse = is_sparse(leaf.used_len().saturating_sub(entry_len), self.page_len());
        if !path.is_empty() && (is_sparse || leaf.count() == 1) {
            return self.plan_merge_leaves(page, leaf, path, index);
        }
        if self.set.is_private(page.name) {
            self.plan.in_place = Some((page.name, InPlace::RemoveEntry(index)));
            return Ok(Walk::Found(()));
        }
        let copy = self.copy(page, |copy| edit::remove_entry(copy, index));
        self.plan_copied(page, copy, path, Bias::Even)
    }

    /// A leaf with these entries, or as many as they need.
    fn plan_leaves(
        &mut self,
        page: Seen<'p>,
        path: Path<'p>,
        entries: &[LeafEntry<'_>],
        bias: Bias,
    ) -> Result<Walk<()>> {
        if self.set.is_private(page.name) && leaf_len(entries) <= self.page_len() {
            let mut buffer = self.reserve.take_frame();
            build_leaf(&mut buffer, entries);
            self.take_place(page, buffer);
            return Ok(Walk::Found(()));
        }
        self.kill(page);
        let (children, separators) = self.divide_leaf(entries, bias);
        let first = path.last().map_or(0, |(_, index)| *index);
        self.plan_parents(path, Replacement { first, count: 1, children, separators }, bias)
    }

    /// A leaf that is nearly empty without the entry at `index`, together with its neighbour.
    fn plan_merge_leaves(
        &mut self,
        page: Seen<'p>,
        leaf: LeafView<'p>,
        path: Path<'p>,
        index: usize,
    ) -> Result<Walk<()>> {
        let (neighbour, first) = match self.neighbour(&path)? {
            Walk::Missing(page) => return Ok(Walk::Missing(page)),
            Walk::Found(found) => found,
        };
        let Node::Leaf(other) = node(neighbour.bytes, neighbour.name, 0)? else {
            unreachable!("level 0 is the leaves'")
        };
        let own = LeafEntry::all(&leaf).enumerate().filter(|(at, _)| *at != index);
        let own = own.map(|(_, entry)| entry);
        let is_left = path.last().is_some_and(|(_, own)| *own == first);
        let entries: Vec<LeafEntry<'_>> = if is_left {
            own.chain(LeafEntry::all(&other)).collect()
        } else {
            LeafEntry::all(&other).chain(own).collect()
        };
        if !entries.is_sorted_by(|left, right| left.key.cmp_key(&right.key).is_lt()) {
            return Err(corrupt(neighbour.name, OUT_OF_BOUNDS));
        }
        self.kill(page);
        self.kill(neighbour);
        let (children, separators) = self.divide_leaf(&entries, Bias::Even);
        self.plan_parents(path, Replacement { first, count: 2, children, separators }, Bias::Even)
    }

    /// A page was copied; its parent is to name the copy.
    fn plan_copied(
        &mut self,
        page: Seen<'p>,
        copy: PageRef,
        path: Path<'p>,
        bias: Bias,
    ) -> Result<Walk<()>> {
        self.kill(page);
        let first = path.last().map_or(0, |(_, index)| *index);
        let children = SmallVec::from_slice(&[copy]);
        let separators = SmallVec::new();
        self.plan_parents(path, Replacement { first, count: 1, children, separators }, bias)
    }

    /// Goes up the path until a node takes the replacement in place, or to the root.
    fn plan_parents(
        &mut self,
        mut path: Path<'p>,
        mut replacement: Replacement,
        bias: Bias,
    ) -> Result<Walk<()>> {
        let mut level = 0;
        while let Some((page, _)) = path.pop() {
            level += 1;
            let view = InteriorView::new(page.bytes);
            replacement.check_between(page.name, &view)?;
            let left = view.count() + 1 - replacement.count + replacement.children.len();
            if path.is_empty() && left == 1 {
                // The root has a single child left, which is the root from now on.
                self.kill(page);
                level -= 1;
                break;
            }
            if self.set.is_private(page.name) {
                if let Some(in_place) = fits_in_place(page.bytes, &replacement) {
                    self.plan.in_place = Some((page.name, in_place));
                    return Ok(Walk::Found(()));
                }
            } else if replacement.count == 1 && replacement.children.len() == 1 {
                let (index, child) = (replacement.first, replacement.children[0].as_u64());
                let copy = self.copy(page, |copy| edit::set_child(copy, index, child));
                self.kill(page);
                replacement.first = path.last().map_or(0, |(_, index)| *index);
                replacement.children[0] = copy;
                continue;
            }
            replacement = match self.plan_interior(page, view, &path, &replacement, bias)? {
                Walk::Missing(page) => return Ok(Walk::Missing(page)),
                Walk::Found(None) => return Ok(Walk::Found(())),
                Walk::Found(Some(next)) => next,
            };
        }
        self.plan_root(level, &replacement);
        Ok(Walk::Found(()))
    }

    /// Builds an interior node anew, split or merged if need be. `None` if nothing changes above.
    fn plan_interior(
        &mut self,
        page: Seen<'p>,
        view: InteriorView<'p>,
        path: &Path<'p>,
        replacement: &Replacement,
        bias: Bias,
    ) -> Result<Walk<Option<Replacement>>> {
        let level = view.level();
        let mut list = InteriorList::of(&view);
        replacement.apply_to(&mut list);
        let len = interior_len(&list.separators);
        let mut first = path.last().map_or(0, |(_, index)| *index);
        let mut count = 1;
        if !path.is_empty() && (is_sparse(len, self.page_len()) || list.separators.is_empty()) {
            let own = first;
            let (neighbour, merged) = match self.neighbour(path)? {
                Walk::Missing(page) => return Ok(Walk::Missing(page)),
                Walk::Found(found) => found,
            };
            let Node::Interior(other) = node(neighbour.bytes, neighbour.name, level)? else {
                return Err(corrupt(neighbour.name, "a leaf among interior nodes"));
            };
            let (parent, _) = *path.last().expect("a neighbour has a parent");
            let between = InteriorView::new(parent.bytes).separator(merged);
            let other = InteriorList::of(&other);
            list = if merged == own {
                list.append(between, other);
                list
            } else {
                let mut joined = other;
                joined.append(between, list);
                joined
            };
            if !list.separators.is_sorted_by(|left, right| left.cmp_key(right).is_lt()) {
                return Err(corrupt(neighbour.name, OUT_OF_BOUNDS));
            }
            self.kill(neighbour);
            (first, count) = (merged, 2);
        } else if len <= self.page_len() && self.set.is_private(page.name) {
            let mut buffer = self.reserve.take_frame();
            build_interior(&mut buffer, level, &list.children, &list.separators);
            self.take_place(page, buffer);
            return Ok(Walk::Found(None));
        }
        self.kill(page);
        let (children, separators) = self.divide_interior(level, &list, bias);
        Ok(Walk::Found(Some(Replacement { first, count, children, separators })))
    }

    /// The root is `replacement`, on `level`, or a new node above if that is several.
    fn plan_root(&mut self, level: u8, replacement: &Replacement) {
        let (page, level) = match replacement.children[..] {
            [page] => (page, level),
            _ => {
                let list = InteriorList {
                    children: replacement.children.iter().map(|page| page.as_u64()).collect(),
                    separators: replacement.keys().collect(),
                };
                (self.build_interior(level + 1, &list.children, &list.separators), level + 1)
            }
        };
        self.plan.root.page = Some(page);
        self.plan.root.level = level;
    }

    /// The neighbour of the node at the end of `path`, the right one if there is one, and the
    /// index of the left one of both in their parent.
    fn neighbour(&self, path: &Path<'p>) -> Result<Walk<(Seen<'p>, usize)>> {
        let (parent, index) = *path.last().expect("the root has no neighbour");
        let view = InteriorView::new(parent.bytes);
        let (other, first) =
            if index < view.count() { (index + 1, index) } else { (index - 1, index - 1) };
        let page = PageRef::from_u64(view.child(other));
        let bytes = resident_or_return!(self.pages, page);
        Ok(Walk::Found((Seen { name: page, bytes }, first)))
    }

    // Pages.

    fn page_len(&self) -> usize {
        self.pages.resident.page_size().bytes()
    }

    /// Leaves and the separators between them, with these entries.
    fn divide_leaf(
        &mut self,
        entries: &[LeafEntry<'_>],
        bias: Bias,
    ) -> (SmallVec<[PageRef; 3]>, SmallVec<[Vec<u8>; 2]>) {
        let (mut children, mut separators) = (SmallVec::new(), SmallVec::new());
        let mut from = 0;
        for len in divide_leaf(entries, self.page_len(), bias) {
            if from > 0 {
                separators.push(shortest_separator(&entries[from - 1].key, &entries[from].key));
            }
            children.push(self.build_leaf(&entries[from..from + len]));
            from += len;
        }
        (children, separators)
    }

    /// Interior nodes and the separators between them, with what is in the list.
    fn divide_interior(
        &mut self,
        level: u8,
        list: &InteriorList<'_>,
        bias: Bias,
    ) -> (SmallVec<[PageRef; 3]>, SmallVec<[Vec<u8>; 2]>) {
        let (mut children, mut separators) = (SmallVec::new(), SmallVec::new());
        let mut from = 0;
        for len in divide_interior(list, self.page_len(), bias) {
            if from > 0 {
                separators.push(list.separators[from - 1].to_vec());
            }
            let own = &list.separators[from..from + len];
            children.push(self.build_interior(level, &list.children[from..=from + len], own));
            from += len + 1;
        }
        (children, separators)
    }

    fn build_leaf(&mut self, entries: &[LeafEntry<'_>]) -> PageRef {
        let mut fresh = self.reserve.take();
        build_leaf(&mut fresh.buffer, entries);
        self.add(fresh)
    }

    fn build_interior(&mut self, level: u8, children: &[u64], keys: &[KeyRef<'_>]) -> PageRef {
        let mut fresh = self.reserve.take();
        build_interior(&mut fresh.buffer, level, children, keys);
        self.add(fresh)
    }

    fn copy(&mut self, page: Seen<'p>, change: impl FnOnce(&mut [u8])) -> PageRef {
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
    fn take_place(&mut self, page: Seen<'p>, mut buffer: yieldb_core::Buffer) {
        let id = page.name.page();
        page_format::set_name(&mut buffer, id, stamp_of(page.bytes));
        self.plan.fresh.push(Fresh { id, buffer });
    }

    fn kill(&mut self, page: Seen<'p>) {
        let birth = stamp_of(page.bytes);
        self.plan.dead.push((page.name.page(), birth));
    }

    /// Puts back what was taken, in reverse, so that the next attempt takes the same.
    fn put_back(&mut self) {
        while let Some(fresh) = self.plan.fresh.pop() {
            self.reserve.put_back(fresh);
        }
    }
}

/// The change in place that makes a replacement in a private node, if there is one.
fn fits_in_place(page: &[u8], replacement: &Replacement) -> Option<InPlace> {
    match (replacement.count, &replacement.children[..], &replacement.separators[..]) {
        (1, [child], []) => Some(InPlace::SetChild(replacement.first, *child)),
        (1, [left, right], [separator]) if edit::fits_separator(page, separator) => {
            Some(InPlace::SplitChild(replacement.first, *left, separator.clone(), *right))
        }
        _ => None,
    }
}

/// Is a node with this many bytes so empty that it should be merged with its neighbour? A quarter
/// of a page leaves distance to the half that a split makes.
fn is_sparse(used_len: usize, page_len: usize) -> bool {
    used_len < page_len / 4
}
