//! Walks from a root to a leaf over the pages that are in memory.

use smallvec::SmallVec;
use yieldb_pager::{PageRef, Root};

use crate::cursor::Direction;
use crate::node::{InteriorView, LeafView};
use crate::pages::{Located, Pages, Walk, interior, leaf, resident_or_return};
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

/// A leaf, and the way to it.
pub(crate) struct Leaf<'p, 'a> {
    pub page: PageRef,
    pub at: Located<'p, 'a>,
    pub view: LeafView<'p>,
    pub path: Path<'p>,
}

impl Leaf<'_, '_> {
    /// Asks the processor for the front of the leaf beside this one, if that is in memory and below
    /// the same parent.
    pub fn prefetch_beside(&self, pages: &Pages<'_>, direction: Direction) {
        let Some((parent, index)) = self.path.last() else { return };
        let view = InteriorView::new(parent.bytes);
        let beside = direction.beside(*index);
        if beside <= view.count()
            && let Some(page) = pages.locate(PageRef::from_u64(view.child(beside)))
        {
            page.prefetch();
        }
    }
}

/// Walks to a leaf; `None` if the tree has no pages.
pub(crate) fn descend<'p, 'a>(
    pages: &'p Pages<'a>,
    root: Root,
    target: Target<'_>,
) -> Result<Walk<Option<Leaf<'p, 'a>>>> {
    let Some(page) = root.page else { return Ok(Walk::Found(None)) };
    go_down(pages, Path::new(), page, root.level, target)
}

/// Walks to the leaf beside the one where `key` is, or would be; `None` if there is none.
pub(crate) fn descend_beside<'p, 'a>(
    pages: &'p Pages<'a>,
    root: Root,
    key: &[u8],
    direction: Direction,
) -> Result<Walk<Option<Leaf<'p, 'a>>>> {
    let Some(page) = root.page else { return Ok(Walk::Found(None)) };
    match extend(pages, Path::new(), page, root.level, Target::Key(key))? {
        Walk::Missing(page) => Ok(Walk::Missing(page)),
        Walk::Found((path, _)) => go_beside(pages, path, direction),
    }
}

/// Walks to the leaf beside the one at the end of a path; `None` if there is none.
pub(crate) fn go_beside<'p, 'a>(
    pages: &'p Pages<'a>,
    path: Path<'p>,
    direction: Direction,
) -> Result<Walk<Option<Leaf<'p, 'a>>>> {
    match extend_beside(pages, path, direction)? {
        Walk::Missing(page) => Ok(Walk::Missing(page)),
        Walk::Found(None) => Ok(Walk::Found(None)),
        Walk::Found(Some((path, page))) => arrive(pages, path, page),
    }
}

/// Walks to the parent of leaves beside the one at the end of a path, and to the leaf below it that
/// is next, without looking at that; `None` if there is none.
pub(crate) fn go_beside_parent<'p>(
    pages: &'p Pages<'_>,
    mut path: Path<'p>,
    direction: Direction,
) -> Result<Walk<Option<Path<'p>>>> {
    path.pop();
    Ok(match extend_beside(pages, path, direction)? {
        Walk::Missing(page) => Walk::Missing(page),
        Walk::Found(beside) => Walk::Found(beside.map(|(path, _)| path)),
    })
}

/// Replaces the end of a path by the way to the leaf beside that; `None` if there is none. The leaf
/// is not looked at.
fn extend_beside<'p>(
    pages: &'p Pages<'_>,
    mut path: Path<'p>,
    direction: Direction,
) -> Result<Walk<Option<(Path<'p>, PageRef)>>> {
    while let Some((seen, index)) = path.pop() {
        let view = InteriorView::new(seen.bytes);
        let target = match direction {
            Direction::Next => Target::First,
            Direction::Previous => Target::Last,
        };
        let beside = direction.beside(index);
        if beside <= view.count() {
            path.push((seen, beside));
            let page = PageRef::from_u64(view.child(beside));
            return Ok(match extend(pages, path, page, view.level() - 1, target)? {
                Walk::Missing(page) => Walk::Missing(page),
                Walk::Found(found) => Walk::Found(Some(found)),
            });
        }
    }
    Ok(Walk::Found(None))
}

/// Walks from a page on `level`, to which `path` leads, to a leaf.
fn go_down<'p, 'a>(
    pages: &'p Pages<'a>,
    path: Path<'p>,
    page: PageRef,
    level: u8,
    target: Target<'_>,
) -> Result<Walk<Option<Leaf<'p, 'a>>>> {
    match extend(pages, path, page, level, target)? {
        Walk::Missing(page) => Ok(Walk::Missing(page)),
        Walk::Found((path, page)) => arrive(pages, path, page),
    }
}

/// The last step of a walk: into the leaf to which `path` leads.
fn arrive<'p, 'a>(
    pages: &'p Pages<'a>,
    path: Path<'p>,
    page: PageRef,
) -> Result<Walk<Option<Leaf<'p, 'a>>>> {
    let Some(at) = pages.locate(page) else { return Ok(Walk::Missing(page)) };
    at.prefetch();
    let view = leaf(at.passing_bytes()?, page)?;
    if view.count() == 0 {
        return Err(error::corrupt(page, "a leaf without entries"));
    }
    Ok(Walk::Found(Some(Leaf { page, at, view, path })))
}

/// Goes on with a path from a page on `level` to the last interior node. The leaf below it is not
/// looked at.
fn extend<'p>(
    pages: &'p Pages<'_>,
    mut path: Path<'p>,
    mut page: PageRef,
    level: u8,
    target: Target<'_>,
) -> Result<Walk<(Path<'p>, PageRef)>> {
    for level in (1..=level).rev() {
        let bytes = resident_or_return!(pages, page);
        let view = interior(bytes, page, level)?;
        let index = child_index(&view, target);
        path.push((Seen { name: page, bytes }, index));
        page = PageRef::from_u64(view.child(index));
    }
    Ok(Walk::Found((path, page)))
}

/// Walks to the leaf where a key is, or would be, without the separators: the way of a lookup.
pub(crate) fn leaf_of<'p, 'a>(
    pages: &'p Pages<'a>,
    root: Root,
    key: &[u8],
) -> Result<Walk<Option<(Located<'p, 'a>, LeafView<'p>)>>> {
    let Some(mut page) = root.page else { return Ok(Walk::Found(None)) };
    for level in (1..=root.level).rev() {
        let view = interior(resident_or_return!(pages, page), page, level)?;
        page = PageRef::from_u64(view.child(view.child_index(key)));
    }
    // Its header, heads and slots come together, instead of one behind the other.
    let Some(at) = pages.locate(page) else { return Ok(Walk::Missing(page)) };
    at.prefetch();
    let view = leaf(at.bytes()?, page)?;
    Ok(Walk::Found(Some((at, view))))
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
