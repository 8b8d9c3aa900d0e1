//! One version of a database.

use yieldb_btree as btree;
use yieldb_btree::ops::check::{Check, CheckProgress};
use yieldb_btree::ops::count::Count;
use yieldb_btree::ops::edge::Edge;
use yieldb_btree::ops::get::Get;
use yieldb_btree::ops::stats::{Stats, StatsProgress};
use yieldb_core::{StateMachine, StateTransition, Tally};
use yieldb_pager::{Pager, Tree};

use crate::cursor::Cursor;
use crate::driving::Driving;
use crate::multi_get::MultiGet;
use crate::op::{Held, Op};
use crate::open::OpenValue;
use crate::{Error, KeyRange, Result};

/// One version of a database. It does not change, whatever is committed meanwhile; the file cannot
/// reuse the pages that only this version has as long as it exists.
#[derive(Clone)]
pub struct Snapshot {
    snapshot: btree::Snapshot,
    driving: Tally<Driving>,
}

impl Snapshot {
    pub(crate) fn new(snapshot: btree::Snapshot, driving: Tally<Driving>) -> Snapshot {
        Snapshot { snapshot, driving }
    }

    /// The tree with a name, if the version has one. Costs nothing: a handle is good for every
    /// version that has the tree.
    pub fn tree(&self, name: impl AsRef<[u8]>) -> Option<Tree> {
        self.snapshot.tree(name.as_ref())
    }

    /// All trees in the order of their names, each with its name and the number of its entries.
    /// Costs nothing: they are in memory.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
    /// #     .open("a").wait()?;
    /// let mut transaction = database.begin().wait()?;
    /// let fruit = transaction.create_tree("fruit")?;
    /// transaction.put(fruit, "apple", "red").wait()?;
    /// transaction.commit().wait()?;
    /// let snapshot = database.snapshot();
    /// let trees: Vec<_> = snapshot.trees().map(|(_, name, count)| (name, count)).collect();
    /// assert_eq!(trees, [(&b"fruit"[..], 1), (&b"main"[..], 0)]);
    /// # Ok(()) }
    /// ```
    pub fn trees(&self) -> impl Iterator<Item = (Tree, &[u8], u64)> {
        self.snapshot.trees()
    }

    /// Looks up a key. Cost: one page for each level of the tree, and those of the value if it is
    /// large. Allocates nothing, but for a large value.
    ///
    /// # Errors
    ///
    /// When driven: the version does not have the tree; damage on the way to the leaf; a failed
    /// read; [`crate::ErrorKind::Poisoned`], as all that reads, once a sync of the database failed.
    pub fn get<K: AsRef<[u8]>>(&self, tree: Tree, key: K) -> Op<'_, Get<'_, K>> {
        self.op(self.snapshot.get(tree, key))
    }

    /// Looks up many keys, taken from the iterator as there is room, with up to `depth` reads in
    /// flight at a time (64 is a good number for a fast drive). Gives out each as it is done, in no
    /// particular order. Pages that several keys need are read once; keys whose pages are in memory
    /// go down the tree together, which is several times as fast as one by one.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
    /// #     .open("a").wait()?;
    /// # let mut transaction = database.begin().wait()?;
    /// # transaction.put(yieldb::MAIN, "plum", "blue").wait()?;
    /// # transaction.commit().wait()?;
    /// use yieldb::MAIN;
    ///
    /// let snapshot = database.snapshot();
    /// let mut lookups = snapshot.multi_get(MAIN, ["apple", "plum"], 64);
    /// while let Some(lookup) = lookups.next().wait()? {
    ///     println!("{}: {:?}", lookup.key, lookup.value?.as_deref());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn multi_get<I>(&self, tree: Tree, keys: I, depth: usize) -> MultiGet<'_, I::IntoIter>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        let lookups = self.snapshot.multi_get(tree, keys, depth);
        MultiGet::new(lookups, self.snapshot.pin().pager(), &self.driving)
    }

    /// Looks up the first entry of `range`; the output is its key and its value. Cost: as
    /// [`Snapshot::get`].
    ///
    /// # Errors
    ///
    /// As [`Snapshot::get`].
    pub fn first(&self, tree: Tree, range: KeyRange) -> Op<'_, Edge<'_>> {
        self.op(self.snapshot.first(tree, range))
    }

    /// Looks up the last entry of `range`; the output is its key and its value. Cost: as
    /// [`Snapshot::get`].
    ///
    /// # Errors
    ///
    /// As [`Snapshot::get`].
    pub fn last(&self, tree: Tree, range: KeyRange) -> Op<'_, Edge<'_>> {
        self.op(self.snapshot.last(tree, range))
    }

    /// Counts the entries in `range`. Cost: every leaf of the range is read.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::get`].
    pub fn count_range(&self, tree: Tree, range: KeyRange) -> Op<'_, Count<'_>> {
        self.op(self.snapshot.count_range(tree, range))
    }

    /// Looks up a value to read it part by part, so that a large one need not be in memory as a
    /// whole. Cost: one page for each level of the tree.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::get`].
    pub fn value<K: AsRef<[u8]>>(&self, tree: Tree, key: K) -> Op<'_, OpenValue<'_, K>> {
        let machine = self.snapshot.value(tree, key);
        self.op(OpenValue::begin(machine, self.snapshot.pin().pager(), &self.driving))
    }

    /// A cursor over the entries in `range`. Reads nothing before it is moved; then each leaf once.
    pub fn cursor(&self, tree: Tree, range: KeyRange) -> Cursor<'_> {
        let cursor = self.snapshot.cursor(tree, range);
        Cursor::new(cursor, self.snapshot.pin().pager(), &self.driving)
    }

    /// How many entries a tree has. Costs nothing.
    ///
    /// # Errors
    ///
    /// If the version does not have the tree.
    pub fn count(&self, tree: Tree) -> Result<u64> {
        Ok(self.snapshot.count(tree)?)
    }

    /// How many levels a tree has, the leaves' included; 0 if it is empty. Costs nothing.
    ///
    /// # Errors
    ///
    /// If the version does not have the tree.
    pub fn depth(&self, tree: Tree) -> Result<usize> {
        Ok(self.snapshot.depth(tree)?)
    }

    /// The number of the version: each commit makes the next one; batches made together share it.
    pub fn version(&self) -> u64 {
        self.snapshot.version()
    }

    /// Reads every page and looks for damage, telling `progress` after each. A page that cannot be
    /// read is damage, too. Memory: a bit for each page of the file, and 32 bytes for each tree.
    ///
    /// The file's space map is compared with what is found if this is the version of the last
    /// checkpoint: [make one](crate::Database::checkpoint) and take the snapshot then. At most
    /// 10,000 damages are told.
    ///
    /// # Errors
    ///
    /// If there is no memory for that. When driven: whatever fails but a read.
    pub fn check<P: FnMut(CheckProgress)>(&self, progress: P) -> Result<Op<'_, Check<P>>> {
        Ok(self.op(self.snapshot.check(progress)?))
    }

    /// Reads every node of a tree and tells what it consists of: its levels, how full the pages
    /// are, how long keys and values are. Tells `progress` after each page.
    ///
    /// # Errors
    ///
    /// If the version does not have the tree. When driven: damage in the tree, a failed read.
    pub fn stats<P: FnMut(StatsProgress)>(
        &self,
        tree: Tree,
        progress: P,
    ) -> Result<Op<'_, Stats<P>>> {
        Ok(self.op(self.snapshot.stats(tree, progress)?))
    }

    fn op<'a, M>(&'a self, machine: StateMachine<M>) -> Op<'a, M>
    where
        M: StateTransition<Context = Pager, Error: Into<Error>>,
    {
        let pager: &Pager = self.snapshot.pin().pager();
        Op::new(machine, Held::Borrowed(pager), Held::Borrowed(&self.driving))
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.snapshot.fmt(f)
    }
}
