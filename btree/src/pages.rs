//! The pages that an operation sees: a version's, and on top of them those of the transaction
//! that it belongs to.

use std::ops::Deref;

use yieldb_pager as pager;
use yieldb_pager::page_format::{INTERIOR, LEAF, kind_of, level_of};
use yieldb_pager::{PagePin, PageRef, Resident, Root, Tree, WriteSet, prefetch_front};

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

/// Where a page is in memory, for one step. Nothing of it was looked at.
#[derive(Clone, Copy)]
pub(crate) enum Located<'p, 'a> {
    Private(&'a [u8]),
    Resident(pager::Located<'p, 'a>),
}

impl<'a> Pages<'a> {
    /// Where a page is, if it is in memory.
    #[inline(always)]
    pub fn locate(&self, page: PageRef) -> Option<Located<'_, 'a>> {
        if let Some(bytes) = self.private.and_then(|private| private.page(page)) {
            return Some(Located::Private(bytes));
        }
        self.resident.locate(page).map(Located::Resident)
    }

    /// The bytes of a page, if they are in memory.
    #[inline(always)]
    pub fn page(&self, page: PageRef) -> Result<Option<&[u8]>> {
        self.locate(page).map(Located::bytes).transpose()
    }

    /// The same for a leaf in a scan, which is not going to be needed again soon.
    pub fn passing_page(&self, page: PageRef) -> Result<Option<&[u8]>> {
        self.locate(page).map(Located::passing_bytes).transpose()
    }

    /// Is the page in memory? It may be another one's by then; that shows when it is used.
    pub fn is_resident(&self, page: PageRef) -> bool {
        self.locate(page).is_some()
    }
}

impl<'p, 'a: 'p> Located<'p, 'a> {
    /// Asks the processor for the front of the page.
    #[inline(always)]
    pub fn prefetch(self) {
        match self {
            Located::Private(bytes) => prefetch_front(bytes),
            Located::Resident(page) => page.prefetch(),
        }
    }

    /// The bytes of the page.
    #[inline(always)]
    pub fn bytes(self) -> Result<&'p [u8]> {
        match self {
            Located::Private(bytes) => Ok(bytes),
            Located::Resident(page) => page.bytes().map_err(not_that_page),
        }
    }

    /// The same for a leaf in a scan, which is not going to be needed again soon.
    #[inline]
    pub fn passing_bytes(self) -> Result<&'p [u8]> {
        match self {
            Located::Private(bytes) => Ok(bytes),
            Located::Resident(page) => page.passing_bytes().map_err(not_that_page),
        }
    }

    /// The page for as long as the reader likes. It is missing if it is on its way out.
    #[inline(always)]
    pub fn keep(self) -> Walk<Kept<'a>> {
        match self {
            Located::Private(bytes) => Walk::Found(Kept::Private(bytes)),
            Located::Resident(page) => match page.pin() {
                Some(pin) => Walk::Found(Kept::Pinned(pin)),
                None => Walk::Missing(page.page()),
            },
        }
    }
}

/// A page that stays: it is pinned, or of the transaction that reads.
#[derive(Debug)]
pub(crate) enum Kept<'a> {
    Pinned(PagePin<'a>),
    Private(&'a [u8]),
}

impl Deref for Kept<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Kept::Pinned(page) => page,
            Kept::Private(bytes) => bytes,
        }
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
