//! Planning what becomes of a leaf.

use std::ops::Bound;

use smallvec::SmallVec;
use yieldb_core::reached;
use yieldb_pager::{PageRef, Root};

use super::plan::{ChildEdit, InPlace, Planner};
use super::{Path, Seen, Target, parents::is_sparse};
use crate::Result;
use crate::balance::{Bias, divide_leaf, halve_leaf};
use crate::error::corrupt;
use crate::node::{
    InteriorView, KeyRef, LeafEntry, Stored, build_leaf, edit, leaf_len, shortest_separator,
};
use crate::pages::{Node, Walk, node};
use crate::replacement::{OUT_OF_BOUNDS, Replacement};

impl<'p> Planner<'p> {
    /// The first entry of a tree.
    pub fn plan_first(&mut self, key: &[u8], value: Stored<'_>) {
        let page = self.build_leaf(&[LeafEntry { key: KeyRef::from_slice(key), value }]);
        self.plan.root = Root { page: Some(page), level: 0, count: 1 };
    }

    /// Stores an entry; `found` is where the leaf has one with the key, or would have it.
    pub fn plan_put(
        &mut self,
        target: Target<'p>,
        key: &[u8],
        value: Stored<'_>,
        found: std::result::Result<usize, usize>,
    ) -> Result<Walk<()>> {
        let bias = target.bias(found);
        let Target { page, leaf, path, .. } = target;
        match found {
            Ok(index) => {
                self.plan.found = 1;
                self.plan.dead_values.extend(leaf.value(index).large());
            }
            // A damaged file may say that there are as many as can be.
            Err(_) => self.plan.root.count = self.plan.root.count.saturating_add(1),
        }
        let in_place = match found {
            Ok(index) if edit::fits_value(page.bytes, index, value) => InPlace::ReplaceValue(index),
            Err(index) if edit::fits_entry(page.bytes, key, value) => InPlace::InsertEntry(index),
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
        if self.is_private(page) {
            self.plan.in_place = Some((page.name, in_place));
            return Ok(Walk::Found(()));
        }
        let copy = self.copy(page, |copy| match found {
            Ok(index) => edit::replace_value(copy, index, value),
            Err(index) => edit::insert_entry(copy, index, key, value),
        });
        self.plan_copied(page, copy, path, bias)
    }

    /// Removes the entry at `index`.
    pub fn plan_delete(&mut self, target: Target<'p>, index: usize) -> Result<Walk<()>> {
        let Target { page, leaf, path, .. } = target;
        self.plan.found = 1;
        self.plan.root.count = self.plan.root.count.saturating_sub(1);
        self.plan.dead_values.extend(leaf.value(index).large());
        let entry_len = leaf.key(index).len() + leaf.value(index).stored_len();
        let left_len = leaf.used_len().saturating_sub(entry_len);
        if leaf.count() == 1 || is_sparse(left_len, self.page_len()) && !path.is_empty() {
            let rest = LeafEntry::all(&leaf).enumerate().filter(|(at, _)| *at != index);
            let rest = rest.map(|(_, entry)| entry).collect();
            return self.plan_rest(page, path, rest, Bias::Even);
        }
        if self.is_private(page) {
            self.plan.in_place = Some((page.name, InPlace::RemoveEntry(index)));
            return Ok(Walk::Found(()));
        }
        let copy = self.copy(page, |copy| edit::remove_entry(copy, index));
        self.plan_copied(page, copy, path, Bias::Even)
    }

    /// Removes the entries of a range that are in the leaf where it begins.
    pub fn plan_delete_range(
        &mut self,
        target: Target<'p>,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
    ) -> Result<Walk<()>> {
        let Target { page, leaf, path, .. } = target;
        let from = match start {
            Bound::Unbounded => 0,
            Bound::Included(key) => leaf.find(key).unwrap_or_else(|index| index),
            Bound::Excluded(key) => leaf.find(key).map_or_else(|index| index, |index| index + 1),
        };
        let to = match end {
            Bound::Unbounded => leaf.count(),
            Bound::Included(key) => leaf.find(key).map_or_else(|index| index, |index| index + 1),
            Bound::Excluded(key) => leaf.find(key).unwrap_or_else(|index| index),
        };
        let to = to.max(from);
        if to == leaf.count() {
            let bound = right_bound(&path).filter(|bound| match end {
                Bound::Unbounded => true,
                Bound::Included(key) => bound.cmp_slice(key).is_le(),
                Bound::Excluded(key) => bound.cmp_slice(key).is_lt(),
            });
            self.plan.rest = bound.map(|bound| bound.to_vec());
        }
        if from == to {
            return Ok(Walk::Found(()));
        }
        self.plan.found = (to - from) as u64;
        self.plan.root.count = self.plan.root.count.saturating_sub(self.plan.found);
        let removed = (from..to).filter_map(|index| leaf.value(index).large());
        self.plan.dead_values.extend(removed);
        let rest = LeafEntry::all(&leaf).enumerate();
        let rest = rest.filter(|(at, _)| !(from..to).contains(at)).map(|(_, entry)| entry);
        self.plan_rest(page, path, rest.collect(), Bias::Even)
    }

    /// A leaf that has these entries from now on, few or many.
    pub fn plan_rest(
        &mut self,
        page: Seen<'p>,
        path: Path<'p>,
        entries: Vec<LeafEntry<'_>>,
        bias: Bias,
    ) -> Result<Walk<()>> {
        if path.is_empty() && entries.is_empty() {
            self.kill(page);
            self.plan.root = Root::default();
            return Ok(Walk::Found(()));
        }
        if !path.is_empty()
            && (entries.is_empty() || is_sparse(leaf_len(&entries), self.page_len()))
        {
            return self.plan_merge_leaves(page, path, entries);
        }
        self.plan_leaves(page, path, &entries, bias)
    }

    /// A leaf with these entries, or as many as they need.
    fn plan_leaves(
        &mut self,
        page: Seen<'p>,
        path: Path<'p>,
        entries: &[LeafEntry<'_>],
        bias: Bias,
    ) -> Result<Walk<()>> {
        if self.falls_short() {
            return Ok(Walk::Found(()));
        }
        if leaf_len(entries) <= self.page_len() {
            if self.is_private(page) {
                self.rebuild(page, |bytes| build_leaf(bytes, entries));
                return Ok(Walk::Found(()));
            }
        } else if bias == Bias::Even
            && let Some(shared) = self.find_room(page, &path, entries)?
        {
            return self.plan_shared(path, &shared);
        }
        self.kill(page);
        let (children, separators) = self.divide_leaf(entries, bias);
        if children.len() > 1 {
            reached!(LeafSplit);
        }
        let first = path.last().map_or(0, |(_, index)| *index);
        self.plan_parents(path, Replacement { first, count: 1, children, separators }, bias)
    }

    /// A neighbour that takes some entries of a leaf that is too full, so that it need not be
    /// split: what keeps leaves at about 80 % in a tree that grows at random places.
    ///
    /// One that is private comes first: it changes at no cost. One that is not in memory is none:
    /// reading it would cost more than the room that it may have. `None` if there is no neighbour
    /// with room.
    fn find_room<'e>(
        &self,
        page: Seen<'p>,
        path: &Path<'p>,
        entries: &[LeafEntry<'e>],
    ) -> Result<Option<Shared<'e>>>
    where
        'p: 'e,
    {
        let Some((parent, index)) = path.last().copied() else { return Ok(None) };
        let view = InteriorView::new(parent.bytes);
        let right = (index < view.count()).then_some(index + 1);
        let sides = right.into_iter().chain(index.checked_sub(1));
        let mut others: SmallVec<[(usize, PageRef); 2]> =
            sides.map(|side| (side, PageRef::from_u64(view.child(side)))).collect();
        others.sort_by_key(|(_, name)| !self.set.is_private(*name));
        for (side, name) in others {
            let Some(bytes) = self.pages.passing_page(name)? else { continue };
            let other = Seen { name, bytes };
            let Node::Leaf(other_leaf) = node(bytes, name, 0)? else { continue };
            // Some room must be left, or the next entry would find both full again.
            let most = 2 * (self.page_len() - self.page_len() / 16);
            if other_leaf.used_len() + leaf_len(entries) > most {
                continue;
            }
            let is_left = side < index;
            let theirs = LeafEntry::all(&other_leaf);
            let own = entries.iter().copied();
            let all: Vec<LeafEntry<'e>> =
                if is_left { theirs.chain(own).collect() } else { own.chain(theirs).collect() };
            check_ascending(other, &all)?;
            let Some(cut) = halve_leaf(&all, self.page_len()) else { continue };
            let (left, right) = if is_left { (other, page) } else { (page, other) };
            return Ok(Some(Shared { left, right, first: index.min(side), entries: all, cut }));
        }
        Ok(None)
    }

    /// Two neighbouring leaves with the entries of both, shared anew.
    fn plan_shared(&mut self, path: Path<'p>, shared: &Shared<'_>) -> Result<Walk<()>> {
        reached!(LeafPushedAside);
        let Shared { left, right, first, entries, cut } = shared;
        let (left, right, first) = (*left, *right, *first);
        let (of_left, of_right) = entries.split_at(*cut);
        let separator = shortest_separator(&of_left[cut - 1].key, &of_right[0].key);
        let (parent, _) = *path.last().expect("a neighbour has a parent");
        let children = SmallVec::from_iter([left.name, right.name]);
        let separators = SmallVec::from_iter([separator]);
        let mut replacement = Replacement { first, count: 2, children, separators };
        replacement.check_between(parent.name, &InteriorView::new(parent.bytes))?;
        let separator = &replacement.separators[0];
        if self.is_private(left)
            && self.is_private(right)
            && edit::fits_new_separator(parent.bytes, first, separator)
        {
            self.rebuild(left, |bytes| build_leaf(bytes, of_left));
            self.rebuild(right, |bytes| build_leaf(bytes, of_right));
            let edit = ChildEdit::SetSeparator(first, replacement.separators.remove(0));
            self.plan.in_place = Some((parent.name, InPlace::Children(edit)));
            return Ok(Walk::Found(()));
        }
        self.kill(left);
        self.kill(right);
        replacement.children =
            SmallVec::from_iter([self.build_leaf(of_left), self.build_leaf(of_right)]);
        self.plan_parents(path, replacement, Bias::Even)
    }

    /// A leaf that is nearly empty with these entries, together with its neighbour.
    fn plan_merge_leaves(
        &mut self,
        page: Seen<'p>,
        path: Path<'p>,
        own: Vec<LeafEntry<'_>>,
    ) -> Result<Walk<()>> {
        if self.falls_short() {
            return Ok(Walk::Found(()));
        }
        let (neighbour, first) = match self.neighbour(&path)? {
            Walk::Missing(page) => return Ok(Walk::Missing(page)),
            Walk::Found(found) => found,
        };
        let Node::Leaf(other) = node(neighbour.bytes, neighbour.name, 0)? else {
            unreachable!("level 0 is the leaves'")
        };
        let is_left = path.last().is_some_and(|(_, own)| *own == first);
        let others = LeafEntry::all(&other);
        let entries: Vec<LeafEntry<'_>> = if is_left {
            own.into_iter().chain(others).collect()
        } else {
            others.chain(own).collect()
        };
        check_ascending(neighbour, &entries)?;
        self.kill(page);
        self.kill(neighbour);
        let (children, separators) = self.divide_leaf(&entries, Bias::Even);
        if children.len() == 1 {
            reached!(LeavesMerged);
        } else {
            reached!(LeavesRedistributed);
        }
        self.plan_parents(path, Replacement { first, count: 2, children, separators }, Bias::Even)
    }

    /// Leaves and the separators between them, with these entries.
    fn divide_leaf(
        &mut self,
        entries: &[LeafEntry<'_>],
        bias: Bias,
    ) -> (SmallVec<[PageRef; 3]>, SmallVec<[Vec<u8>; 2]>) {
        let parts = divide_leaf(entries, self.page_len(), bias);
        self.build_leaves(entries, parts)
    }

    /// Leaves with these parts of the entries, and the separators between them.
    pub fn build_leaves(
        &mut self,
        entries: &[LeafEntry<'_>],
        parts: Vec<usize>,
    ) -> (SmallVec<[PageRef; 3]>, SmallVec<[Vec<u8>; 2]>) {
        let (mut children, mut separators) = (SmallVec::new(), SmallVec::new());
        let mut from = 0;
        for len in parts {
            if from > 0 {
                separators.push(shortest_separator(&entries[from - 1].key, &entries[from].key));
            }
            children.push(self.build_leaf(&entries[from..from + len]));
            from += len;
        }
        (children, separators)
    }
}

/// Two neighbouring leaves, and how their entries are shared between them.
struct Shared<'e> {
    left: Seen<'e>,
    right: Seen<'e>,
    /// The index of the left one in their parent.
    first: usize,
    /// What both are to have together; one entry of it may be new.
    entries: Vec<LeafEntry<'e>>,
    /// Where the entries of the right one begin.
    cut: usize,
}

/// Checks that the keys of neighbouring leaves do not mix.
pub(super) fn check_ascending(page: Seen<'_>, entries: &[LeafEntry<'_>]) -> Result<()> {
    if entries.is_sorted_by(|left, right| left.key.cmp_key(&right.key).is_lt()) {
        return Ok(());
    }
    Err(corrupt(page.name, OUT_OF_BOUNDS))
}

/// What separates the leaf at the end of a path from the leaf on its right.
pub(super) fn right_bound<'p>(path: &Path<'p>) -> Option<KeyRef<'p>> {
    path.iter().rev().find_map(|(page, index)| {
        let view = InteriorView::new(page.bytes);
        (*index < view.count()).then(|| view.separator(*index))
    })
}
