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
//! | 2 | 2 | a leaf that is too full shares its entries with a neighbour that has room |
//! | some | fewer, or as many | leaves are packed, or moved to the front of the file |
//!
//! until a node takes its replacement in place, or the root is reached. New nodes are built at
//! once, in frames of the transaction's reserve, where nobody sees them: a plan that misses a page
//! puts them back, and nothing has happened. So does one that needs more of them than are in
//! reserve: most changes need a copy for each level at most, and the reserve has only those until
//! one needs more. Applying a finished plan makes them part of the transaction; it can neither wait
//! nor fail.

mod leaves;
mod pack;
mod parents;
mod plan;
mod several;

use std::ops::Bound;

use smallvec::SmallVec;
use yieldb_core::{is_planted, reached};
use yieldb_pager::{PageRef, PageRun, Pager, Root, WriteSet, prefetch_front};

use crate::Result;
use crate::balance::Bias;
use crate::node::{LargeValue, LeafView, Stored};
use crate::pages::{Pages, Walk, interior, leaf, resident_or_return};
use plan::Planner;
use several::Several;

/// What is to be changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'k> {
    /// Store a value under a key.
    Put { key: &'k [u8], value: Stored<'k> },
    /// Remove the entry with a key.
    Delete { key: &'k [u8] },
    /// Remove the entries of a range that are in the leaf where the range begins.
    DeleteRange { start: Bound<&'k [u8]>, end: Bound<&'k [u8]> },
    /// Make fewer leaves of up to `most` neighbours, the first one that with the key; or else move
    /// those of them, and of the nodes above, that are in a part of the file.
    Pack { from: &'k [u8], most: usize, emptied: Part },
}

/// The part of a file that is to be emptied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    /// The number of its first page.
    pub first: u64,
    /// That behind the last one.
    pub end: u64,
}

impl Part {
    /// Is any of these pages in it?
    pub fn has(self, pages: impl Into<PageRun>) -> bool {
        let run = pages.into();
        run.first().as_u64() < self.end && self.first < run.end()
    }

    /// Is something that is in it better elsewhere: outside, or at least further in front?
    pub fn is_better(self, from: impl Into<PageRun>, to: impl Into<PageRun>) -> bool {
        let (from, to) = (from.into(), to.into());
        !self.has(to) || to.first() < from.first()
    }
}

/// What is to be changed behind a change, in order, the first one at 0.
pub(crate) type Behind<'b, 'k> = &'b dyn Fn(usize) -> Option<Change<'k>>;

/// A change of one entry: what is stored under a key, if anything is.
#[derive(Clone, Copy)]
struct OfEntry<'k> {
    key: &'k [u8],
    value: Option<Stored<'k>>,
}

impl<'k> Change<'k> {
    /// As a change of one entry, if it is one.
    fn of_entry(self) -> Option<OfEntry<'k>> {
        match self {
            Change::Put { key, value } => Some(OfEntry { key, value: Some(value) }),
            Change::Delete { key } => Some(OfEntry { key, value: None }),
            Change::DeleteRange { .. } | Change::Pack { .. } => None,
        }
    }
}

/// What a change came to.
#[derive(Clone, Debug)]
pub(crate) struct Edited {
    /// The tree as it is now.
    pub root: Root,
    /// How many changes are made, with those behind the first one.
    pub made: usize,
    /// How many entries the change found: those that it replaced or removed.
    pub found: u64,
    /// Where the next leaf begins that a range is removed from, or that is to be packed; `None` if
    /// there are no more.
    pub rest: Option<Vec<u8>>,
    /// The large values of leaves that were packed that are in the part to be emptied.
    pub to_move: Vec<(Vec<u8>, LargeValue)>,
}

/// What trying to make a change comes to.
pub(crate) enum Tried {
    /// It is made.
    Made(Edited),
    /// A page is not in memory; nothing has changed.
    Missing(PageRef),
    /// It needs up to [`most_pages`] in reserve; nothing has changed.
    TooFew,
}

/// The pages that a change of a tree makes that divides and merges no node: a copy on each level.
pub(crate) fn few_pages(root: Root) -> usize {
    usize::from(root.level) + 1
}

/// The most pages that a change of a tree can make: three on each level, and a new root.
pub(crate) fn most_pages(root: Root, change: Change<'_>) -> usize {
    let packed = if let Change::Pack { most, .. } = change { most } else { 0 };
    3 * (usize::from(root.level) + 1) + 1 + packed
}

/// Makes a change, or says what stands in its way and has changed nothing. With a change of an
/// entry, some of those behind it are made that are in the same leaf.
///
/// The write set has [`few_pages`] in reserve at least.
pub(crate) fn change<'k>(
    set: &mut WriteSet,
    pager: &Pager,
    root: Root,
    change: Change<'k>,
    behind: Behind<'_, 'k>,
) -> Result<Tried> {
    let mut reserve = set.take_reserve();
    let tried = {
        let pages = Pages { private: Some(set), resident: pager.resident()? };
        let most = most_pages(root, change);
        let mut planner = Planner::new(set, &pages, &mut reserve, root, most);
        match planner.change(change, behind) {
            Ok(Walk::Found(())) if !planner.is_short => Ok(Walk::Found(Some(planner.plan))),
            other => {
                reached!(PlanPutBack);
                if !is_planted!(ReserveNotPutBack) {
                    planner.put_back();
                }
                other.map(|walk| match walk {
                    Walk::Missing(page) => Walk::Missing(page),
                    Walk::Found(()) => Walk::Found(None),
                })
            }
        }
    };
    set.put_back_reserve(reserve);
    Ok(match tried? {
        Walk::Missing(page) => Tried::Missing(page),
        Walk::Found(None) => Tried::TooFew,
        Walk::Found(Some(plan)) => Tried::Made(plan.apply(set, change)),
    })
}

/// A page as it was seen in memory. It may be evicted while the guard is held, so that it is not
/// found again; its bytes stay.
#[derive(Clone, Copy)]
struct Seen<'p> {
    pub name: PageRef,
    pub bytes: &'p [u8],
}

/// The interior nodes above a leaf, the root first, and in each the index of the child below.
type Path<'p> = SmallVec<[(Seen<'p>, usize); 8]>;

/// The leaf that a change is about, and the way to it.
struct Target<'p> {
    page: Seen<'p>,
    leaf: LeafView<'p>,
    path: Path<'p>,
    /// Does the path go along an edge of the tree? Then keys may arrive in order.
    leftmost: bool,
    rightmost: bool,
}

impl<'p> Planner<'p> {
    fn change<'k>(&mut self, change: Change<'k>, behind: Behind<'_, 'k>) -> Result<Walk<()>> {
        let first = match change {
            Change::Put { key, .. } | Change::Delete { key } | Change::Pack { from: key, .. } => {
                key
            }
            Change::DeleteRange { start: Bound::Included(key) | Bound::Excluded(key), .. } => key,
            Change::DeleteRange { start: Bound::Unbounded, .. } => &[],
        };
        let Some(root) = self.root.page else {
            if let Change::Put { key, value } = change {
                self.plan_first(key, value);
            }
            return Ok(Walk::Found(()));
        };
        let target = match self.gather(root, first)? {
            Walk::Missing(page) => return Ok(Walk::Missing(page)),
            Walk::Found(target) => target,
        };
        if let Some(several) = Several::of(&target, change, &|ahead| behind(ahead)) {
            return self.plan_several(target, several);
        }
        match change {
            Change::Put { key, value } => {
                let found = target.leaf.find(key);
                self.plan_put(target, key, value, found)
            }
            Change::Delete { key } => match target.leaf.find(key) {
                Err(_) => Ok(Walk::Found(())),
                Ok(index) => self.plan_delete(target, index),
            },
            Change::DeleteRange { start, end } => self.plan_delete_range(target, start, end),
            Change::Pack { most, emptied, .. } => self.plan_pack(target, most, emptied),
        }
    }

    /// Goes from the root to the leaf where `key` is, or would be.
    fn gather(&self, root: PageRef, key: &[u8]) -> Result<Walk<Target<'p>>> {
        let mut path = Path::new();
        let mut page = root;
        let (mut leftmost, mut rightmost) = (true, true);
        for level in (1..=self.root.level).rev() {
            let seen = Seen { name: page, bytes: resident_or_return!(self.pages, page) };
            let view = interior(seen.bytes, page, level)?;
            let index = view.child_index(key);
            leftmost &= index == 0;
            rightmost &= index == view.count();
            path.push((seen, index));
            page = PageRef::from_u64(view.child(index));
        }
        let seen = Seen { name: page, bytes: resident_or_return!(self.pages, page) };
        prefetch_front(seen.bytes);
        let leaf = leaf(seen.bytes, page)?;
        Ok(Walk::Found(Target { page: seen, leaf, path, leftmost, rightmost }))
    }
}

impl Target<'_> {
    /// How the leaf is best divided if it has to be, to make room for an entry at `index`.
    fn bias(&self, found: std::result::Result<usize, usize>) -> Bias {
        match found {
            Err(0) if self.leftmost => Bias::Descending,
            Err(index) if self.rightmost && index == self.leaf.count() => Bias::Ascending,
            Ok(_) | Err(_) => Bias::Even,
        }
    }
}
