//! Taking many keys down a tree together.
//!
//! A descent is a chain of cache misses, each of which waits for the one before. Those of different
//! keys do not: so all keys go down one level, then all the next, and each page is asked for from
//! memory (a software prefetch) before any of them is searched. In the leaves the heads say which
//! record may be a key's, and those are asked for before any of them is read.

use std::ops::Range;

use smallvec::SmallVec;
use yieldb_pager::{PageRef, Root};

use crate::node::LeafView;
use crate::ops::get::{Found, find_among};
use crate::pages::{Located, Pages, Walk, interior, leaf};
use crate::{Error, Result};

/// How far a key is.
pub(crate) enum Way<'p, 'a> {
    /// There is no entry with it.
    NotThere,
    /// A page is not in memory.
    Missing(PageRef),
    /// This page is the next one.
    At(PageRef, Located<'p, 'a>),
    /// It is one of these entries of a leaf, or none. The first one's record is on its way into
    /// the processor's caches.
    Among(Located<'p, 'a>, LeafView<'p>, Range<usize>),
    /// There is damage on the way.
    Failed(Error),
}

impl<'a> Way<'_, 'a> {
    /// Where the way of a key ends, once all of them have come to their entries.
    #[inline(always)]
    pub fn end(self, key: &[u8]) -> Result<Walk<Option<Found<'a>>>> {
        match self {
            Way::NotThere => Ok(Walk::Found(None)),
            Way::Missing(page) => Ok(Walk::Missing(page)),
            Way::At(..) => unreachable!("level 0 is the leaves'"),
            Way::Among(at, leaf, candidates) => Ok(find_among(at, &leaf, candidates, key)),
            Way::Failed(error) => Err(error),
        }
    }
}

/// How many keys go down a tree together.
pub(crate) const TOGETHER: usize = 16;

/// Takes keys from the root to the entries of the leaves; the results are in their order.
pub(crate) fn descend_together<'p, 'a, 'k>(
    pages: &'p Pages<'a>,
    root: Root,
    keys: impl Iterator<Item = &'k [u8]> + Clone,
) -> SmallVec<[Way<'p, 'a>; TOGETHER]> {
    let begin = || root.page.map_or(Way::NotThere, |page| to(pages, page));
    let mut ways: SmallVec<[Way<'p, 'a>; TOGETHER]> = keys.clone().map(|_| begin()).collect();
    for level in (0..=root.level).rev() {
        for (way, key) in ways.iter_mut().zip(keys.clone()) {
            if let Way::At(page, at) = *way {
                *way = down(pages, page, at, level, key).unwrap_or_else(Way::Failed);
            }
        }
    }
    ways
}

/// To a page. What is looked at first is on its way into the processor's caches.
#[inline(always)]
fn to<'p, 'a>(pages: &'p Pages<'a>, page: PageRef) -> Way<'p, 'a> {
    let Some(at) = pages.locate(page) else { return Way::Missing(page) };
    at.prefetch();
    Way::At(page, at)
}

/// From a node to the child that may have the key, or to the records that may be it.
#[inline(always)]
fn down<'p, 'a>(
    pages: &'p Pages<'a>,
    page: PageRef,
    at: Located<'p, 'a>,
    level: u8,
    key: &[u8],
) -> Result<Way<'p, 'a>> {
    let bytes = at.bytes()?;
    if level == 0 {
        let leaf = leaf(bytes, page)?;
        return Ok(Way::Among(at, leaf, leaf.candidates(key)));
    }
    let view = interior(bytes, page, level)?;
    Ok(to(pages, PageRef::from_u64(view.child(view.child_index(key)))))
}
