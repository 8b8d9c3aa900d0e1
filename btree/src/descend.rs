//! Walks from a root to a leaf over the pages that are in memory.

use smallvec::SmallVec;
use yieldb_pager::{PageRef, Root};

use crate::cursor::Direction;
use crate::node::{InteriorView, LeafView};
use crate::pages::{Located, Pages, Walk, interior, leaf, resident_or_return};
use crate::{Result, error};

/// The interior nodes above a leaf by their names, the root first, and in each the index of the
/// child below. Whoever goes on along it looks for them in memory.
#[derive(Debug, Default)]
pub(crate) struct Route(SmallVec<[(PageRef, usize); 8]>);

impl Route {
    /// The parent of the leaf, and the leaf's index in it; `None` where the leaf is the root.
    pub fn parent(&self) -> Option<(PageRef, usize)> {
        self.0.last().copied()
    }

    /// Makes this the same as another one.
    pub fn copy_from(&mut self, other: &Route) {
        self.0.clear();
        self.0.extend_from_slice(&other.0);
    }
}

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

/// A leaf that a walk came to.
pub(crate) struct Leaf<'p, 'a> {
    pub page: PageRef,
    pub at: Located<'p, 'a>,
    pub view: LeafView<'p>,
}

/// Walks to a leaf, and makes `route` the way to it; `None` if the tree has no pages.
pub(crate) fn descend<'p, 'a>(
    pages: &'p Pages<'a>,
    root: Root,
    target: Target<'_>,
    route: &mut Route,
) -> Result<Walk<Option<Leaf<'p, 'a>>>> {
    route.0.clear();
    let Some(page) = root.page else { return Ok(Walk::Found(None)) };
    match extend(pages, route, page, root.level, target)? {
        Walk::Missing(page) => Ok(Walk::Missing(page)),
        Walk::Found(page) => arrive(pages, page),
    }
}

/// Walks to the leaf beside the one at the end of `route`, which ends there then; `None` if there
/// is none.
pub(crate) fn go_beside<'p, 'a>(
    pages: &'p Pages<'a>,
    route: &mut Route,
    direction: Direction,
) -> Result<Walk<Option<Leaf<'p, 'a>>>> {
    match turn_beside(pages, route, 1, direction)? {
        Walk::Missing(page) => Ok(Walk::Missing(page)),
        Walk::Found(None) => Ok(Walk::Found(None)),
        Walk::Found(Some(page)) => arrive(pages, page),
    }
}

/// Walks to the next leaf that has another parent than the one at the end of `route`, without
/// looking at it. `false` if there is none.
pub(crate) fn go_beside_parent(
    pages: &Pages<'_>,
    route: &mut Route,
    direction: Direction,
) -> Result<Walk<bool>> {
    route.0.pop();
    Ok(match turn_beside(pages, route, 2, direction)? {
        Walk::Missing(page) => Walk::Missing(page),
        Walk::Found(beside) => Walk::Found(beside.is_some()),
    })
}

/// Asks the processor for the front of the leaf beside the one at the end of `route`, if that is in
/// memory and below the same parent.
pub(crate) fn prefetch_beside(pages: &Pages<'_>, route: &Route, direction: Direction) {
    let Some((parent, index)) = route.parent() else { return };
    let Ok(Some(bytes)) = pages.page(parent) else { return };
    let (view, beside) = (InteriorView::new(bytes), direction.beside(index));
    if beside <= view.count()
        && let Some(page) = pages.locate(PageRef::from_u64(view.child(beside)))
    {
        page.prefetch();
    }
}

/// Turns a route to the leaf beside the end of it, whose last node is on `level`; `None` if there
/// is none. The leaf is not looked at.
fn turn_beside(
    pages: &Pages<'_>,
    route: &mut Route,
    mut level: u8,
    direction: Direction,
) -> Result<Walk<Option<PageRef>>> {
    while let Some((name, index)) = route.0.pop() {
        let view = interior(resident_or_return!(pages, name), name, level)?;
        let beside = direction.beside(index);
        if beside <= view.count() {
            route.0.push((name, beside));
            let page = PageRef::from_u64(view.child(beside));
            let target = match direction {
                Direction::Next => Target::First,
                Direction::Previous => Target::Last,
            };
            return Ok(match extend(pages, route, page, level - 1, target)? {
                Walk::Missing(page) => Walk::Missing(page),
                Walk::Found(page) => Walk::Found(Some(page)),
            });
        }
        level += 1;
    }
    Ok(Walk::Found(None))
}

/// Goes on with a route from a page on `level` to the last interior node. Returns the leaf below
/// it, which is not looked at.
fn extend(
    pages: &Pages<'_>,
    route: &mut Route,
    mut page: PageRef,
    level: u8,
    target: Target<'_>,
) -> Result<Walk<PageRef>> {
    for level in (1..=level).rev() {
        let view = interior(resident_or_return!(pages, page), page, level)?;
        let index = child_index(&view, target);
        route.0.push((page, index));
        page = PageRef::from_u64(view.child(index));
    }
    Ok(Walk::Found(page))
}

/// The last step of a walk: into a leaf.
fn arrive<'p, 'a>(pages: &'p Pages<'a>, page: PageRef) -> Result<Walk<Option<Leaf<'p, 'a>>>> {
    let Some(at) = pages.locate(page) else { return Ok(Walk::Missing(page)) };
    at.prefetch();
    let view = leaf(at.passing_bytes()?, page)?;
    if view.count() == 0 {
        return Err(error::corrupt(page, "a leaf without entries"));
    }
    Ok(Walk::Found(Some(Leaf { page, at, view })))
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
