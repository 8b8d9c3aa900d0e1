//! Walks from a root to a leaf over the pages that are in memory.

use smallvec::SmallVec;
use yieldb_pager::{PageRef, Root};

use crate::node::{InteriorView, KeyRef, LeafView};
use crate::pages::{Node, Pages, Walk, node, resident_or_return};
use crate::{Result, error};

/// A page as it was seen in memory. It may be evicted while the guard is held, so that it is not
/// found again; its bytes stay.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'p> {
    pub name: PageRef,
    pub bytes: &'p [u8],
}

/// The interior nodes above a leaf, the root first, and in each the index of the child below.
pub(crate) type Path<'p> = SmallVec<[(Seen<'p>, usize); 8]>;

/// Which leaf a walk is to end at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'k> {
    /// The first one.
    First,
    /// The last one.
    Last,
    /// The one where this key is, or would be.
    Key(&'k [u8]),
    /// The one where the greatest key below this one is, or would be.
    Below(&'k [u8]),
}

/// A leaf, and the separators that enclose its keys.
pub(crate) struct Leaf<'p> {
    pub page: PageRef,
    pub view: LeafView<'p>,
    pub path: Path<'p>,
    /// No key of the leaf is less. `None` at the tree's left edge.
    pub low: Option<KeyRef<'p>>,
    /// Every key of the leaf is less. `None` at the tree's right edge.
    pub high: Option<KeyRef<'p>>,
}

/// Walks to a leaf; `None` if the tree has no pages.
pub(crate) fn descend<'p>(
    pages: &'p Pages<'_>,
    root: Root,
    target: Target<'_>,
) -> Result<Walk<Option<Leaf<'p>>>> {
    let Some(mut page) = root.page else { return Ok(Walk::Found(None)) };
    let (mut low, mut high) = (None, None);
    let mut path = Path::new();
    let mut level = root.level;
    loop {
        let seen = if level == 0 { pages.passing_page(page)? } else { pages.page(page)? };
        let Some(bytes) = seen else { return Ok(Walk::Missing(page)) };
        match node(bytes, page, level)? {
            Node::Leaf(view) => {
                if view.count() == 0 {
                    return Err(error::corrupt(page, "a leaf without entries"));
                }
                return Ok(Walk::Found(Some(Leaf { page, view, path, low, high })));
            }
            Node::Interior(view) => {
                let index = child_index(&view, target);
                if index > 0 {
                    low = Some(view.separator(index - 1));
                }
                if index < view.count() {
                    high = Some(view.separator(index));
                }
                path.push((Seen { name: page, bytes }, index));
                page = PageRef::from_u64(view.child(index));
                level -= 1;
            }
        }
    }
}

/// Walks to the leaf where a key is, or would be, without the separators: the way of a lookup.
pub(crate) fn leaf_of<'p>(
    pages: &'p Pages<'_>,
    root: Root,
    key: &[u8],
) -> Result<Walk<Option<(PageRef, LeafView<'p>)>>> {
    let Some(mut page) = root.page else { return Ok(Walk::Found(None)) };
    let mut level = root.level;
    loop {
        let bytes = resident_or_return!(pages, page);
        match node(bytes, page, level)? {
            Node::Leaf(view) => return Ok(Walk::Found(Some((page, view)))),
            Node::Interior(view) => {
                page = PageRef::from_u64(view.child(view.child_index(key)));
                level -= 1;
            }
        }
    }
}

fn child_index(view: &InteriorView<'_>, target: Target<'_>) -> usize {
    match target {
        Target::First => 0,
        Target::Last => view.count(),
        Target::Key(key) => view.child_index(key),
        // A separator equal to the key belongs to the child on its right, all of whose keys are
        // too great.
        Target::Below(key) => match view.find(key) {
            Ok(index) | Err(index) => index,
        },
    }
}
