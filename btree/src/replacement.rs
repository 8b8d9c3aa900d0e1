//! What a change does to a node's children: some of them are replaced by others.

use smallvec::SmallVec;
use yieldb_pager::PageRef;

use crate::Result;
use crate::error::corrupt;
use crate::node::{InteriorList, InteriorView, KeyRef};

/// What is wrong with a page that has keys which are not its to have. That shows only
/// beside other pages; a change that relied on it would spread it.
pub(crate) const OUT_OF_BOUNDS: &str =
    "its keys and those of the pages beside and above it are out of order";

/// Some neighbouring children of a node, and the others that take their place.
pub(crate) struct Replacement {
    /// The index of the first child that is replaced.
    pub first: usize,
    /// How many are replaced.
    pub count: usize,
    /// What takes their place.
    pub children: SmallVec<[PageRef; 3]>,
    /// What stands between the new children.
    pub separators: SmallVec<[Vec<u8>; 2]>,
}

impl Replacement {
    /// Another page takes the place of the child at `index`.
    pub fn of_one(index: usize, page: PageRef) -> Replacement {
        let children = SmallVec::from_slice(&[page]);
        Replacement { first: index, count: 1, children, separators: SmallVec::new() }
    }

    /// What stands between the new children.
    pub fn keys(&self) -> impl Iterator<Item = KeyRef<'_>> {
        self.separators.iter().map(|key| KeyRef::from_slice(key))
    }

    /// Replaces the children in the list of their parent.
    pub fn apply_to<'a>(&'a self, list: &mut InteriorList<'a>) {
        let children = self.children.iter().map(|page| page.as_u64());
        list.children.splice(self.first..self.first + self.count, children);
        list.separators.splice(self.first..self.first + self.count - 1, self.keys());
    }

    /// Checks that what separates the new children lies where they are put: in `page`.
    ///
    /// # Errors
    ///
    /// [`crate::Error`] that names the page if it does not.
    pub fn check_between(&self, page: PageRef, view: &InteriorView<'_>) -> Result<()> {
        let (low, high) = (self.first.checked_sub(1), self.first + self.count - 1);
        let low = low.map(|index| view.separator(index));
        let high = (high < view.count()).then(|| view.separator(high));
        let keys = low.into_iter().chain(self.keys()).chain(high);
        if keys.is_sorted_by(|left, right| left.cmp_key(right).is_lt()) {
            return Ok(());
        }
        Err(corrupt(page, OUT_OF_BOUNDS))
    }
}
