//! The pages that an operation sees: a version's, and on top of them those of the transaction
//! that it belongs to.

use yieldb_pager::page_format::{INTERIOR, LEAF, kind_of, level_of};
use yieldb_pager::{PagePin, PageRef, PinnedPage, Resident, Root, Tree, WriteSet};

use crate::node::{InteriorView, LeafView};
use crate::{Error, Result, error};

/// What a restartable read comes to.
#[derive(Debug)]
pub(crate) enum Walk<T> {
    /// The answer.
    Found(T),
    /// A page is not in memory; fetch it and walk again.
    Missing(PageRef),
}

/// Unwraps the page that a walk needs, or ends the walk with what is missing.
macro_rules! resident_or_return {
    ($pages:expr, $page:expr) => {{
        let page = $page;
        match $pages.page(page)? {
            Some(bytes) => bytes,
            None => return Ok($crate::pages::Walk::Missing(page)),
        }
    }};
}
pub(crate) use resident_or_return;

/// Where reads of a tree begin, and what they see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    /// The tree.
    pub tree: Tree,
    /// Where it begins; `None` if the version or the transaction does not have it.
    pub root: Option<Root>,
    /// The pages of the transaction that reads, if it is one.
    pub private: Option<&'a WriteSet>,
}

impl Reader<'_> {
    /// Where the tree begins.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`].
    pub fn root(&self) -> Result<Root> {
        self.root.ok_or(Error::NoSuchTree { tree: self.tree.as_u32() })
    }
}

/// The pages in memory, for one step.
pub(crate) struct Pages<'a> {
    pub private: Option<&'a WriteSet>,
    pub resident: Resident<'a>,
}

impl<'a> Pages<'a> {
    /// The bytes of a page, if they are in memory.
    #[inline(always)]
    pub fn page(&self, page: PageRef) -> Result<Option<&[u8]>> {
        if let Some(bytes) = self.private.and_then(|private| private.page(page)) {
            return Ok(Some(bytes));
        }
        match self.resident.page(page) {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(not_that_page(error)),
        }
    }

    /// The same for a leaf in a scan, which is not going to be needed again soon.
    pub fn passing_page(&self, page: PageRef) -> Result<Option<&[u8]>> {
        if let Some(bytes) = self.private.and_then(|private| private.page(page)) {
            return Ok(Some(bytes));
        }
        Ok(self.resident.passing_page(page)?)
    }

    /// Is the page in memory? It may be another one's by then; that shows when it is used.
    pub fn is_resident(&self, page: PageRef) -> bool {
        self.private.is_some_and(|private| private.page(page).is_some())
            || self.resident.contains(page)
    }

    /// A page in memory that stays there, unless it is private.
    #[inline]
    pub fn pin(&self, page: PageRef) -> Option<PagePin<'a>> {
        self.resident.pin(page)
    }

    /// The same, together with the cache.
    pub fn pin_owned(&self, page: PageRef) -> Option<PinnedPage> {
        self.resident.pin_owned(page)
    }
}

#[cold]
fn not_that_page(error: yieldb_core::Error) -> Error {
    error.into()
}

/// A node in memory.
pub(crate) enum Node<'p> {
    Leaf(LeafView<'p>),
    Interior(InteriorView<'p>),
}

/// The view of a node that its parent says is on `level`.
pub(crate) fn node(bytes: &[u8], page: PageRef, level: u8) -> Result<Node<'_>> {
    Ok(match level {
        0 => Node::Leaf(leaf(bytes, page)?),
        1.. => Node::Interior(interior(bytes, page, level)?),
    })
}

/// The view of a node that its parent says is a leaf.
#[inline(always)]
pub(crate) fn leaf(bytes: &[u8], page: PageRef) -> Result<LeafView<'_>> {
    // No leaf is verified that is on another level than 0.
    if kind_of(bytes) == LEAF { Ok(LeafView::new(bytes)) } else { Err(not_the_node(bytes, page)) }
}

/// The view of a node that its parent says is an interior one, on `level`.
#[inline(always)]
pub(crate) fn interior(bytes: &[u8], page: PageRef, level: u8) -> Result<InteriorView<'_>> {
    if kind_of(bytes) == INTERIOR && level_of(bytes) == level {
        Ok(InteriorView::new(bytes))
    } else {
        Err(not_the_node(bytes, page))
    }
}

#[cold]
fn not_the_node(bytes: &[u8], page: PageRef) -> Error {
    // A page of the space map or of a value is verified as what it is, and is no node.
    let what = match kind_of(bytes) {
        LEAF | INTERIOR => "it is not on the level that its parent says",
        _ => "it is not a node of a tree",
    };
    error::corrupt(page, what)
}
