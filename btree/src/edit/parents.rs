//! Planning what becomes of the nodes above a leaf.

use smallvec::SmallVec;
use yieldb_core::reached;
use yieldb_pager::PageRef;

use super::plan::{ChildEdit, InPlace, Planner};
use super::{Path, Seen};
use crate::Result;
use crate::balance::{Bias, divide_interior};
use crate::error::corrupt;
use crate::node::{InteriorList, InteriorView, build_interior, edit, interior_len};
use crate::pages::{Node, Walk, node, resident_or_return};
use crate::replacement::{OUT_OF_BOUNDS, Replacement};

impl<'p> Planner<'p> {
    /// A page was copied; its parent is to name the copy.
    pub fn plan_copied(
        &mut self,
        page: Seen<'p>,
        copy: PageRef,
        path: Path<'p>,
        bias: Bias,
    ) -> Result<Walk<()>> {
        self.kill(page);
        let first = path.last().map_or(0, |(_, index)| *index);
        self.plan_parents(path, Replacement::of_one(first, copy), bias)
    }

    /// Goes up the path until a node takes the replacement in place, or to the root.
    pub fn plan_parents(
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
                reached!(RootShrank);
                self.kill(page);
                level -= 1;
                break;
            }
            if let Some(edit) = fits_in_place(page.bytes, &replacement) {
                if self.is_private(page) {
                    self.plan.in_place = Some((page.name, InPlace::Children(edit)));
                    return Ok(Walk::Found(()));
                }
                let copy = self.copy(page, |copy| edit.apply(copy));
                self.kill(page);
                let first = path.last().map_or(0, |(_, index)| *index);
                replacement = Replacement::of_one(first, copy);
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
        } else if len <= self.page_len() && self.is_private(page) {
            self.rebuild(page, |bytes| {
                build_interior(bytes, level, &list.children, &list.separators);
            });
            return Ok(Walk::Found(None));
        }
        self.kill(page);
        let (children, separators) = self.divide_interior(level, &list, bias);
        match (count, children.len()) {
            (1, 1) => {}
            (1, _) => reached!(InteriorSplit),
            (_, 1) => reached!(InteriorsMerged),
            _ => reached!(InteriorsRedistributed),
        }
        Ok(Walk::Found(Some(Replacement { first, count, children, separators })))
    }

    /// The root is `replacement`, on `level`, or a new node above if that is several.
    fn plan_root(&mut self, level: u8, replacement: &Replacement) {
        let (page, level) = match replacement.children[..] {
            [page] => (page, level),
            _ => {
                reached!(RootGrew);
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
    pub fn neighbour(&self, path: &Path<'p>) -> Result<Walk<(Seen<'p>, usize)>> {
        let (parent, index) = *path.last().expect("the root has no neighbour");
        let view = InteriorView::new(parent.bytes);
        let (other, first) =
            if index < view.count() { (index + 1, index) } else { (index - 1, index - 1) };
        let page = PageRef::from_u64(view.child(other));
        let bytes = resident_or_return!(self.pages, page);
        Ok(Walk::Found((Seen { name: page, bytes }, first)))
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
}

/// The change that makes a replacement in a node as it is, if there is one.
fn fits_in_place(page: &[u8], replacement: &Replacement) -> Option<ChildEdit> {
    let first = replacement.first;
    match (replacement.count, &replacement.children[..], &replacement.separators[..]) {
        (1, [child], []) => Some(ChildEdit::SetChild(first, *child)),
        (1, [left, right], [separator]) if edit::fits_separator(page, separator) => {
            Some(ChildEdit::SplitChild(first, *left, separator.clone(), *right))
        }
        (2, [left, right], [separator]) if edit::fits_new_separator(page, first, separator) => {
            Some(ChildEdit::ReplaceTwo(first, *left, separator.clone(), *right))
        }
        _ => None,
    }
}

/// Is a node with this many bytes so empty that it should be merged with its neighbour? A quarter
/// of a page leaves distance to the half that a split makes.
pub(super) fn is_sparse(used_len: usize, page_len: usize) -> bool {
    used_len < page_len / 4
}
