//! One version, for as long as somebody wants to read it.

use std::sync::Arc;

use yieldb_core::StateMachine;
use yieldb_pager::{Pager, VersionPin};

use crate::cursor::Cursor;
use crate::ops::check::{Check, CheckProgress, check};
use crate::ops::get::{Get, get};
use crate::pages::Reader;
use crate::{KeyRange, Result};

/// One version of the database. It does not change, whatever is committed meanwhile, and it keeps
/// the numbers of its own pages from being used again.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pin: VersionPin,
}

impl Snapshot {
    /// The newest acknowledged version.
    pub fn newest(pager: &Arc<Pager>) -> Snapshot {
        Snapshot { pin: pager.newest() }
    }

    /// The number of the version: one more with each commit.
    pub fn version(&self) -> u64 {
        self.pin.roots().version
    }

    /// How many entries there are. Costs nothing.
    pub fn count(&self) -> u64 {
        self.pin.roots().main.count
    }

    /// How many levels the tree has, the leaves' included; 0 if it is empty.
    pub fn depth(&self) -> usize {
        let root = self.pin.roots().main;
        root.page.map_or(0, |_| usize::from(root.level) + 1)
    }

    /// Looks up a key. Cost: one page for each level of the tree.
    pub fn get<K: AsRef<[u8]>>(&self, key: K) -> StateMachine<Get<'_, K>> {
        get(self.reader(), key)
    }

    /// A cursor over the entries in `range`.
    pub fn cursor(&self, range: KeyRange) -> Cursor<'_> {
        Cursor::new(self.reader(), range)
    }

    /// Reads every page of the version and looks for damage, telling `progress` after each page.
    ///
    /// # Errors
    ///
    /// If there is no memory for a bit for each page of the file.
    pub fn check<P: FnMut(CheckProgress)>(&self, progress: P) -> Result<StateMachine<Check<P>>> {
        check(self.pin.clone(), progress)
    }

    /// What pins the version.
    pub fn pin(&self) -> &VersionPin {
        &self.pin
    }

    fn reader(&self) -> Reader<'_> {
        Reader { root: self.pin.roots().main, private: None }
    }
}
