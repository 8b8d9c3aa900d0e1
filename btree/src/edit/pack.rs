//! Planning how leaves become fewer, or leave a part of the file.

use smallvec::SmallVec;
use yieldb_core::reached;
use yieldb_pager::PageRef;

use super::leaves::{check_ascending, right_bound};
use super::plan::Planner;
use super::{Part, Path, Seen, Target};
use crate::Result;
use crate::balance::{Bias, even_out_last, pack_leaves};
use crate::node::{InteriorView, LeafEntry};
use crate::pages::{Walk, leaf, resident_or_return};
use crate::replacement::Replacement;

impl<'p> Planner<'p> {
    /// Packs up to `most` leaves below one parent, from the target on: they become fewer if that is
    /// possible. If not, those pages are moved that are in the part to be emptied, if there is room
    /// elsewhere.
    pub fn plan_pack(
        &mut self,
        target: Target<'p>,
        most: usize,
        emptied: Part,
    ) -> Result<Walk<()>> {
        if self.falls_short() {
            return Ok(Walk::Found(()));
        }
        let Target { page, mut path, .. } = target;
        let leaves = match self.leaves_from(page, &path, most)? {
            Walk::Missing(page) => return Ok(Walk::Missing(page)),
            Walk::Found(leaves) => leaves,
        };
        let mut entries = Vec::new();
        for seen in &leaves {
            entries.extend(LeafEntry::all(&leaf(seen.bytes, seen.name)?));
        }
        check_ascending(page, &entries)?;
        self.note_values(&entries, emptied);
        let Some((parent, index)) = path.last_mut() else {
            if self.is_to_move(page.name, emptied) {
                let copy = self.copy(page, |_| {});
                return self.plan_copied(page, copy, path, Bias::Even);
            }
            return Ok(Walk::Found(()));
        };
        let (view, first, last) =
            (InteriorView::new(parent.bytes), *index, *index + leaves.len() - 1);
        // What goes up from here looks at the indices above only.
        *index = last;
        self.plan.rest = right_bound(&path).map(|bound| bound.to_vec());
        let mut parts = pack_leaves(&entries, self.page_len());
        let (children, separators) = if parts.len() < leaves.len() {
            reached!(LeavesPacked);
            let is_end = last == view.count();
            if is_end {
                even_out_last(&mut parts, &entries, self.page_len());
            }
            leaves.iter().for_each(|leaf| self.kill(*leaf));
            let (children, separators) = self.build_leaves(&entries, parts);
            if let Some(separator) = separators.last().filter(|_| !is_end) {
                // The last one has room for what comes behind.
                self.plan.rest = Some(separator.clone());
            }
            (children, separators)
        } else {
            let pages = path.iter().map(|(node, _)| node).chain(&leaves);
            if !pages.into_iter().any(|page| self.is_to_move(page.name, emptied)) {
                return Ok(Walk::Found(()));
            }
            reached!(PagesMoved);
            let children = leaves.iter().map(|leaf| self.moved(*leaf, emptied)).collect();
            (children, (first..last).map(|index| view.separator(index).to_vec()).collect())
        };
        let count = leaves.len();
        self.plan_parents(path, Replacement { first, count, children, separators }, Bias::Even)
    }

    /// A leaf and those behind it, below the same parent.
    fn leaves_from(
        &self,
        page: Seen<'p>,
        path: &Path<'p>,
        most: usize,
    ) -> Result<Walk<SmallVec<[Seen<'p>; 16]>>> {
        let mut leaves = SmallVec::from_iter([page]);
        let Some((parent, index)) = path.last() else { return Ok(Walk::Found(leaves)) };
        let view = InteriorView::new(parent.bytes);
        for child in (index + 1..=view.count()).take(most.saturating_sub(1)) {
            let name = PageRef::from_u64(view.child(child));
            leaves.push(Seen { name, bytes: resident_or_return!(self.pages, name) });
        }
        Ok(Walk::Found(leaves))
    }

    /// Notes the large values that are to be moved.
    fn note_values(&mut self, entries: &[LeafEntry<'_>], emptied: Part) {
        for entry in entries {
            if let Some(value) = entry.value.large()
                && emptied.has(value.run)
            {
                self.plan.to_move.push((entry.key.to_vec(), value));
            }
        }
    }

    /// Is a page to be moved, and is there a better number for it? One that the transaction has
    /// made got its number just now.
    fn is_to_move(&self, name: PageRef, emptied: Part) -> bool {
        let is_there = emptied.has(name.page()) && !self.set.is_private(name);
        is_there && self.next_number().is_some_and(|next| emptied.is_better(name.page(), next))
    }

    /// A leaf, or its copy if it is to be moved.
    fn moved(&mut self, leaf: Seen<'p>, emptied: Part) -> PageRef {
        if !self.is_to_move(leaf.name, emptied) {
            return leaf.name;
        }
        let copy = self.copy(leaf, |_| {});
        self.kill(leaf);
        copy
    }
}
