//! Versions: what a commit makes, and what a snapshot holds on to.

use std::sync::Arc;

use crate::{Pager, Root, Stamp, Trees};

/// All trees of one version. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootSet {
    /// The version: 0 for a new database, one more with each commit.
    pub version: u64,
    /// The last stamp of the version's pages: its place on the time line of births and deaths.
    pub moment: Stamp,
    /// The tree of trees: name to root.
    pub catalogue: Root,
    /// What the catalogue says.
    pub trees: Trees,
}

impl RootSet {
    /// The next version, of the same trees, at a later moment.
    pub(crate) fn successor(&self, moment: Stamp) -> RootSet {
        RootSet { version: self.version + 1, moment, ..self.clone() }
    }
}

/// Holds on to one version: none of its pages' numbers is used again as long as this exists.
///
/// Cheap to clone: one more count on the pin.
pub struct VersionPin {
    pager: Arc<Pager>,
    roots: Arc<RootSet>,
}

impl VersionPin {
    /// Takes over one count on the pin of `roots.moment`.
    pub(crate) fn new(pager: Arc<Pager>, roots: Arc<RootSet>) -> VersionPin {
        VersionPin { pager, roots }
    }

    /// The version's trees.
    pub fn roots(&self) -> &RootSet {
        &self.roots
    }

    /// The pager that has the version's pages.
    pub fn pager(&self) -> &Arc<Pager> {
        &self.pager
    }
}

impl Clone for VersionPin {
    fn clone(&self) -> Self {
        self.pager.pin_moment(self.roots.moment);
        VersionPin { pager: self.pager.clone(), roots: self.roots.clone() }
    }
}

impl Drop for VersionPin {
    fn drop(&mut self) {
        self.pager.unpin_moment(self.roots.moment);
    }
}

impl std::fmt::Debug for VersionPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pin of version {}", self.roots.version)
    }
}
