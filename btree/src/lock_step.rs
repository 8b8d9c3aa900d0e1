//! Taking many keys down a tree together.
//!
//! A descent is a chain of cache misses, each of which waits for the one before. Those of different
//! keys do not: so all keys go down one level, then all the next, and each page is asked for from
//! memory (a software prefetch) before any of them is searched.

use smallvec::SmallVec;
use yieldb_pager::{PageRef, Root};

use crate::Error;
use crate::node::LeafView;
use crate::pages::{Node, Pages, node};

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
    let mut ways: SmallVec<[Way; 16]> = keys.iter().map(|_| Way::At(page)).collect();
    for level in (1..=root.level).rev() {
        for (way, key) in ways.iter_mut().zip(&keys) {
            if let Way::At(page) = *way {
                *way = down(pages, page, level, key);
            }
        }
    }
    let end = |(way, key): (Way, &&[u8])| match way {
        Way::Missing(page) => Descent::Missing(page),
        Way::Failed(error) => Descent::Failed(error),
        Way::At(page) => search(pages, page, key),
    };
    ways.into_iter().zip(&keys).map(end).collect()
}

/// How far a key is.
enum Way {
    At(PageRef),
    Missing(PageRef),
    Failed(Error),
}

/// From an interior node to the child that may have the key.
fn down(pages: &Pages<'_>, page: PageRef, level: u8, key: &[u8]) -> Way {
    let node = match pages.page(page) {
        Ok(None) => return Way::Missing(page),
        Ok(Some(bytes)) => node(bytes, page, level),
        Err(error) => return Way::Failed(error),
    };
    match node {
        Ok(Node::Interior(view)) => {
            let child = PageRef::from_u64(view.child(view.child_index(key)));
            pages.resident.prefetch(child);
            Way::At(child)
        }
        Ok(Node::Leaf(_)) => unreachable!("level 0 is the leaves'"),
        Err(error) => Way::Failed(error),
    }
}

/// Looks for the key in its leaf.
fn search<'p>(pages: &'p Pages<'_>, page: PageRef, key: &[u8]) -> Descent<'p> {
    let node = match pages.page(page) {
        Ok(None) => return Descent::Missing(page),
        Ok(Some(bytes)) => node(bytes, page, 0),
        Err(error) => return Descent::Failed(error),
    };
    match node {
        Ok(Node::Leaf(leaf)) => match leaf.find(key) {
            Ok(found) => Descent::At(page, leaf, found),
            Err(_) => Descent::NotThere,
        },
        Ok(Node::Interior(_)) => unreachable!("level 0 is the leaves'"),
        Err(error) => Descent::Failed(error),
    }
}
