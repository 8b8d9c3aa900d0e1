//! One version, for as long as somebody wants to read it.

use std::sync::Arc;

use yieldb_core::StateMachine;
use yieldb_pager::{Pager, Tree, VersionPin};

use crate::cursor::{Cursor, Direction};
use crate::multi_get::MultiGet;
use crate::ops::check::{Check, CheckProgress, check};
use crate::ops::count::{Count, count};
use crate::ops::edge::{Edge, edge};
use crate::ops::find_value::{FindValue, find_value};
use crate::ops::get::{Get, get};
use crate::ops::stats::{Stats, StatsProgress, stats};
use crate::pages::Reader;
use crate::{KeyRange, Result};

/// One version of the database. It does not change, whatever is committed meanwhile, and it keeps
/// the numbers of its own pages from being used again.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pin: VersionPin,
}

impl Snapshot {
    /// The version that is pinned.
    pub fn new(pin: VersionPin) -> Snapshot {
        Snapshot { pin }
    }

    /// The newest acknowledged version.
    pub fn newest(pager: &Arc<Pager>) -> Snapshot {
        Snapshot::new(pager.newest())
    }

    /// The number of the version: one more with each commit.
    pub fn version(&self) -> u64 {
        self.pin.roots().version
    }

    /// The tree with a name.
    pub fn tree(&self, name: &[u8]) -> Option<Tree> {
        self.pin.roots().trees.find(name)
    }

    /// All trees in the order of their names, with the numbers of their entries.
    pub fn trees(&self) -> impl Iterator<Item = (Tree, &[u8], u64)> {
        self.pin.roots().trees.iter().map(|(tree, info)| (tree, &*info.name, info.root.count))
    }

    /// How many entries a tree has. Costs nothing.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NoSuchTree`] if the version does not have it.
    pub fn count(&self, tree: Tree) -> Result<u64> {
        self.reader(tree).root().map(|root| root.count)
    }

    /// How many levels a tree has, the leaves' included; 0 if it is empty.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NoSuchTree`] if the version does not have it.
    pub fn depth(&self, tree: Tree) -> Result<usize> {
        let root = self.reader(tree).root()?;
        Ok(root.page.map_or(0, |_| usize::from(root.level) + 1))
    }

    /// Looks up a key. Cost: one page for each level of the tree.
    pub fn get<K: AsRef<[u8]>>(&self, tree: Tree, key: K) -> StateMachine<Get<'_, K>> {
        get(self.reader(tree), self.pin.pager(), key)
    }

    /// Looks up many keys, with up to `depth` reads in flight at a time.
    pub fn multi_get<I>(&self, tree: Tree, keys: I, depth: usize) -> MultiGet<'_, I::IntoIter>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        MultiGet::new(self.reader(tree), self.pin.pager(), keys.into_iter(), depth)
    }

    /// Looks up the first entry of `range`.
    pub fn first(&self, tree: Tree, range: KeyRange) -> StateMachine<Edge<'_>> {
        edge(self.cursor(tree, range), Direction::Next)
    }

    /// Looks up the last entry of `range`.
    pub fn last(&self, tree: Tree, range: KeyRange) -> StateMachine<Edge<'_>> {
        edge(self.cursor(tree, range), Direction::Previous)
    }

    /// Counts the entries in `range`.
    pub fn count_range(&self, tree: Tree, range: KeyRange) -> StateMachine<Count<'_>> {
        count(self.cursor(tree, range))
    }

    /// Looks up the value of a key to read it part by part: for large ones.
    pub fn value<K: AsRef<[u8]>>(&self, tree: Tree, key: K) -> StateMachine<FindValue<'_, K>> {
        find_value(self.reader(tree), self.pin.pager(), key)
    }

    /// A cursor over the entries in `range`.
    pub fn cursor(&self, tree: Tree, range: KeyRange) -> Cursor<'_> {
        Cursor::new(self.reader(tree), range)
    }

    /// Reads every page of the version and looks for damage, telling `progress` after each page.
    ///
    /// # Errors
    ///
    /// If there is no memory for a bit for each page of the file.
    pub fn check<P: FnMut(CheckProgress)>(&self, progress: P) -> Result<StateMachine<Check<P>>> {
        check(self.pin.clone(), progress)
    }

    /// Reads every node of a tree and tells what it consists of, telling `progress` after each
    /// page.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`](crate::Error::NoSuchTree) if the version does not have it.
    pub fn stats<P: FnMut(StatsProgress)>(
        &self,
        tree: Tree,
        progress: P,
    ) -> Result<StateMachine<Stats<P>>> {
        stats(self.pin.clone(), tree, progress)
    }

    /// What pins the version.
    pub fn pin(&self) -> &VersionPin {
        &self.pin
    }

    fn reader(&self, tree: Tree) -> Reader<'_> {
        Reader { tree, root: self.pin.roots().trees.root(tree), private: None }
    }
}
