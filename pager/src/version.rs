//! Versions: what a commit makes, and what a snapshot holds on to.
//!
//! Who holds a version has counted himself on its [`RootSet`], and nothing else: the version's
//! moment is pinned once, when it is applied, until nobody holds it any more. So a snapshot begins
//! and ends without the ledger, unless it was the last one of a version that is not the newest.
//!
//! Snapshots count on a [`Tally`] of the version, of which each lane of threads has one
//! ([`Newest`](crate::newest::Newest)), and the tally counts on the version.

use yieldb_core::sync::{Arc, thread};
use yieldb_core::{Tally, is_planted};

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

/// Takes back the hold on a version; the version, if nobody holds it any more.
pub(crate) fn let_go(held: Arc<RootSet>) -> Option<RootSet> {
    if is_planted!(LastHolderUnnoticed) && Arc::strong_count(&held) > 1 {
        thread::yield_now();
        return None;
    }
    Arc::into_inner(held)
}

/// Holds on to one version: none of its pages' numbers is used again as long as this exists.
///
/// Cheap to clone: one more count on a tally of the version, and on one of the pager.
#[derive(Clone)]
pub struct VersionPin {
    pager: Tally<Pager>,
    /// `None` while it is dropped.
    roots: Option<Tally<RootSet>>,
}

impl VersionPin {
    /// Pins the newest acknowledged version.
    pub fn newest(pager: Tally<Pager>) -> VersionPin {
        let roots = Some(pager.newest_for_readers().get());
        VersionPin { pager, roots }
    }

    /// The version's trees.
    pub fn roots(&self) -> &RootSet {
        self.roots.as_ref().expect("it is not dropped yet")
    }

    /// The pager that has the version's pages.
    pub fn pager(&self) -> &Arc<Pager> {
        &self.pager
    }
}

impl Drop for VersionPin {
    fn drop(&mut self) {
        let last = self.roots.take().and_then(Tally::into_inner);
        if let Some(roots) = last.and_then(let_go) {
            self.pager.unpin_moment(roots.moment);
        }
    }
}

impl std::fmt::Debug for VersionPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pin of version {}", self.roots().version)
    }
}
