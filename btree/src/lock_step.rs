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
use crate::pages::{Pages, interior, leaf};
use crate::{Error, Result};

/// Where a key's descent ends.
pub(crate) enum Descent<'p> {
    /// A page is not in memory.
    Missing(PageRef),
    /// There is no entry with the key.
    NotThere,
    /// The entry at this index of this leaf.
    At(PageRef, LeafView<'p>, usize),
    /// There is damage on the way.
    Failed(Error),
}

/// Takes keys from the root to their leaves; the results are in their order.
pub(crate) fn descend_together<'p, 'k>(
    pages: &'p Pages<'_>,
    root: Root,
    keys: impl Iterator<Item = &'k [u8]>,
) -> SmallVec<[Descent<'p>; 16]> {
    let keys: SmallVec<[&[u8]; 16]> = keys.collect();
    let Some(page) = root.page else {
        return keys.iter().map(|_| Descent::NotThere).collect();
    };
    let mut ways: SmallVec<[Way<'_>; 16]> = keys.iter().map(|_| Way::At(page)).collect();
    for level in (0..=root.level).rev() {
        for (way, key) in ways.iter_mut().zip(&keys) {
            if let Way::At(page) = *way {
                *way = down(pages, page, level, key).unwrap_or_else(Way::Failed);
            }
        }
    }
    let end = |(way, key): (Way<'p>, &&[u8])| match way {
        Way::Missing(page) => Descent::Missing(page),
        Way::Failed(error) => Descent::Failed(error),
        Way::Among(page, leaf, candidates) => match leaf.find_among(candidates, key) {
            Ok(found) => Descent::At(page, leaf, found),
            Err(_) => Descent::NotThere,
        },
        Way::At(_) => unreachable!("level 0 is the leaves'"),
    };
    ways.into_iter().zip(&keys).map(end).collect()
}

/// How far a key is.
enum Way<'p> {
    /// This page is the next one.
    At(PageRef),
    Missing(PageRef),
    /// It is one of these entries of a leaf, or none.
    Among(PageRef, LeafView<'p>, Range<usize>),
    Failed(Error),
}

/// From a node to the child that may have the key, or to the records that may be it. What comes
/// next is on its way into the processor's caches.
#[inline]
fn down<'p>(pages: &'p Pages<'_>, page: PageRef, level: u8, key: &[u8]) -> Result<Way<'p>> {
    let Some(bytes) = pages.page(page)? else { return Ok(Way::Missing(page)) };
    if level == 0 {
        let leaf = leaf(bytes, page)?;
        return Ok(Way::Among(page, leaf, leaf.candidates(key)));
    }
    let view = interior(bytes, page, level)?;
    let child = PageRef::from_u64(view.child(view.child_index(key)));
    pages.resident.prefetch(child);
    Ok(Way::At(child))
}
