//! A write transaction.

use std::sync::Arc;

use yieldb_btree as btree;
use yieldb_btree::ops::commit::Commit;
use yieldb_btree::ops::count::Count;
use yieldb_btree::ops::delete::Delete;
use yieldb_btree::ops::delete_range::DeleteRange;
use yieldb_btree::ops::drop_tree::DropTree;
use yieldb_btree::ops::edge::Edge;
use yieldb_btree::ops::get::Get;
use yieldb_btree::ops::put::Put;
use yieldb_btree::ops::update::Update;
use yieldb_btree::{Decide, IfAbsent, IfEqual, Savepoint};
use yieldb_core::{StateMachine, StateTransition};
use yieldb_pager::{Durability, Pager, Tree};

use crate::bulk_load::BulkLoad;
use crate::cursor::Cursor;
use crate::driving::Driving;
use crate::multi_get::MultiGet;
use crate::op::{Held, Op};
use crate::open::OpenValue;
use crate::value::ValueWriter;
use crate::{Error, KeyRange, Result};

/// A write transaction. It reads its own writes; nobody else sees them before the commit is
/// acknowledged. Dropping it undoes it.
///
/// Nothing that it does is durable before [`WriteTransaction::commit`] is over. Each page that it
/// changes is copied once; what it has made stays in memory, until that is more than half its share
/// of the cache: then it is written out, and the transaction goes on.
///
/// An operation that fails has changed nothing, and others can follow; but for a failed write of
/// pages that are written out ahead of the commit, which dooms the transaction.
///
/// ```
/// # fn main() -> yieldb::Result<()> {
/// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
/// #     .open("a").wait()?;
/// use yieldb::MAIN;
///
/// let mut transaction = database.begin().wait()?;
/// assert!(!transaction.put(MAIN, "apple", "red").wait()?, "there was none before");
/// assert!(transaction.get(MAIN, "apple").wait()?.is_some());
/// assert!(database.snapshot().get(MAIN, "apple").wait()?.is_none());
/// assert_eq!(transaction.commit().wait()?, 1);
/// assert!(database.snapshot().get(MAIN, "apple").wait()?.is_some());
/// # Ok(()) }
/// ```
pub struct WriteTransaction {
    transaction: btree::Transaction,
    driving: Arc<Driving>,
}

impl WriteTransaction {
    pub(crate) fn new(transaction: btree::Transaction, driving: Arc<Driving>) -> WriteTransaction {
        WriteTransaction { transaction, driving }
    }

    /// The version that the transaction goes on from: what it would come to if it changed nothing.
    /// While commits are under way, it is newer than that of a [`crate::Snapshot`].
    pub fn version(&self) -> u64 {
        self.transaction.version()
    }

    /// The tree with a name, the transaction's own ones included. Costs nothing.
    pub fn tree(&self, name: impl AsRef<[u8]>) -> Option<Tree> {
        self.transaction.tree(name.as_ref())
    }

    /// All trees in the order of their names, each with its name and the number of its entries.
    /// Costs nothing: they are in memory.
    pub fn trees(&self) -> impl Iterator<Item = (Tree, &[u8], u64)> {
        self.transaction.trees()
    }

    /// Makes a new, empty tree. Names are bytes, from one to a quarter of a page; nothing is
    /// written before the commit.
    ///
    /// # Errors
    ///
    /// There is one with this name; the name is too long or empty.
    pub fn create_tree(&mut self, name: impl AsRef<[u8]>) -> Result<Tree> {
        Ok(self.transaction.create_tree(name.as_ref())?)
    }

    /// The tree with a name; a new one if there is none.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
    /// #     .open("a").wait()?;
    /// let mut transaction = database.begin().wait()?;
    /// let fruit = transaction.open_tree("fruit")?;
    /// assert_eq!(transaction.open_tree("fruit")?, fruit);
    /// transaction.put(fruit, "apple", "red").wait()?;
    /// transaction.commit().wait()?;
    /// assert_eq!(database.snapshot().tree("fruit"), Some(fruit));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The name is too long or empty.
    pub fn open_tree(&mut self, name: impl AsRef<[u8]>) -> Result<Tree> {
        match self.tree(&name) {
            Some(tree) => Ok(tree),
            None => self.create_tree(name),
        }
    }

    /// Gives a tree another name. Its handle stays good, here and in snapshots, where the tree has
    /// the name that it had. Costs nothing.
    ///
    /// # Errors
    ///
    /// There is no such tree, or one with that name; the name is too long or empty; `main` keeps
    /// its name.
    pub fn rename_tree(&mut self, tree: Tree, name: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.transaction.rename_tree(tree, name.as_ref())?)
    }

    /// Drops a tree with all its entries; its handle is good for nothing afterwards. Cost: every
    /// node of the tree is read, but no large value; 24 bytes of memory a page. Dropping the
    /// operation leaves all of the tree, or nothing.
    ///
    /// # Errors
    ///
    /// There is no such tree; `main` cannot be dropped. When driven: damage in the tree, a failed
    /// read.
    pub fn drop_tree(&mut self, tree: Tree) -> Result<Op<'_, DropTree<'_>>> {
        let (pager, driving) = self.held();
        Ok(Op::new(self.transaction.drop_tree(tree)?, pager, driving))
    }

    /// Looks up a key; the transaction's own writes count. Cost: as
    /// [`Snapshot::get`](crate::Snapshot::get).
    ///
    /// # Errors
    ///
    /// When driven: there is no such tree; damage on the way to the leaf; a failed read.
    pub fn get<K: AsRef<[u8]>>(&self, tree: Tree, key: K) -> Op<'_, Get<'_, K>> {
        self.op(self.transaction.get(tree, key))
    }

    /// Looks up many keys at once, in the transaction's own writes first: see
    /// [`crate::Snapshot::multi_get`].
    pub fn multi_get<I>(&self, tree: Tree, keys: I, depth: usize) -> MultiGet<'_, I::IntoIter>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        let lookups = self.transaction.multi_get(tree, keys, depth);
        MultiGet::new(lookups, self.transaction.pager(), &self.driving)
    }

    /// Looks up the first entry of `range`; the output is its key and its value.
    ///
    /// # Errors
    ///
    /// As [`WriteTransaction::get`].
    pub fn first(&self, tree: Tree, range: KeyRange) -> Op<'_, Edge<'_>> {
        self.op(self.transaction.first(tree, range))
    }

    /// Looks up the last entry of `range`; the output is its key and its value.
    ///
    /// # Errors
    ///
    /// As [`WriteTransaction::get`].
    pub fn last(&self, tree: Tree, range: KeyRange) -> Op<'_, Edge<'_>> {
        self.op(self.transaction.last(tree, range))
    }

    /// Counts the entries in `range`. Cost: every leaf of the range is read.
    ///
    /// # Errors
    ///
    /// As [`WriteTransaction::get`].
    pub fn count_range(&self, tree: Tree, range: KeyRange) -> Op<'_, Count<'_>> {
        self.op(self.transaction.count_range(tree, range))
    }

    /// Looks up a value to read it part by part, so that a large one need not be in memory as a
    /// whole.
    ///
    /// # Errors
    ///
    /// As [`WriteTransaction::get`].
    pub fn value<K: AsRef<[u8]>>(&self, tree: Tree, key: K) -> Op<'_, OpenValue<'_, K>> {
        let machine = self.transaction.value(tree, key);
        self.op(OpenValue::begin(machine, self.transaction.pager(), &self.driving))
    }

    /// A cursor over the entries in `range`, the transaction's own writes included.
    pub fn cursor(&self, tree: Tree, range: KeyRange) -> Cursor<'_> {
        let cursor = self.transaction.cursor(tree, range);
        Cursor::new(cursor, self.transaction.pager(), &self.driving)
    }

    /// How many entries a tree has. Costs nothing.
    ///
    /// # Errors
    ///
    /// If there is no such tree.
    pub fn count(&self, tree: Tree) -> Result<u64> {
        Ok(self.transaction.count(tree)?)
    }

    /// Stores `value` under `key`, in place of the value that was there; the output is whether one
    /// was. Dropping the operation leaves the transaction as it was before, or as it is after.
    ///
    /// Cost: one page for each level of the tree; each is copied in memory when the transaction
    /// changes it for the first time. A value that does not fit a leaf beside another entry is
    /// written to pages of its own at once.
    ///
    /// # Errors
    ///
    /// When driven: a key or a value that is too long, no such tree, damage on the way to the leaf,
    /// a failed read; the transaction can go on. A failed write of pages that the transaction no
    /// longer has room for dooms it.
    pub fn put<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        tree: Tree,
        key: K,
        value: V,
    ) -> Op<'_, Put<'_, K, V>> {
        let (pager, driving) = self.held();
        Op::new(self.transaction.put(tree, key, value), pager, driving)
    }

    /// Begins to store a value of `len` bytes piece by piece, so that a large one need not be in
    /// memory as a whole. Nothing changes before the writer is finished. Cost: a large value's
    /// pages are written as they come, 256 KiB at a time.
    ///
    /// # Errors
    ///
    /// There is no such tree; a key or a value that is too long.
    pub fn put_value<K: AsRef<[u8]>>(
        &mut self,
        tree: Tree,
        key: K,
        len: u64,
    ) -> Result<ValueWriter<'_, K>> {
        let pager = self.transaction.pager().clone();
        let writer = self.transaction.put_value(tree, key, len)?;
        Ok(ValueWriter::new(writer, pager, &self.driving))
    }

    /// Begins to fill an empty tree from entries in any order. That is the quickest way to store
    /// many: each page is written once, nine tenths full. Nothing changes before the load is
    /// finished; dropping it leaves the transaction as it was.
    ///
    /// # Errors
    ///
    /// There is no such tree, or it has entries.
    pub fn bulk_load(&mut self, tree: Tree) -> Result<BulkLoad<'_>> {
        let pager = self.transaction.pager().clone();
        let load = self.transaction.bulk_load(tree)?;
        Ok(BulkLoad::new(load, pager, &self.driving))
    }

    /// Stores `value` under `key` if there is no entry with it; the output is whether it was
    /// stored. Dropping the operation, and cost: as [`WriteTransaction::put`].
    ///
    /// # Errors
    ///
    /// As [`WriteTransaction::put`].
    pub fn insert<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        tree: Tree,
        key: K,
        value: V,
    ) -> Op<'_, Update<'_, K, V, IfAbsent<V>>> {
        self.update(tree, key, IfAbsent(value))
    }

    /// Stores `new`, or removes the entry if that is `None`, if what is there is `expected`, or
    /// nothing if that is `None`; the output is whether the entry was changed.
    ///
    /// Cost: as [`WriteTransaction::put`]; a large value is read to be compared.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
    /// #     .open("a").wait()?;
    /// use yieldb::MAIN;
    ///
    /// let mut transaction = database.begin().wait()?;
    /// let none = None::<&str>; // of which type does not matter
    /// assert!(transaction.compare_and_swap(MAIN, "owner", none, Some("anna")).wait()?);
    /// assert!(!transaction.compare_and_swap(MAIN, "owner", none, Some("ben")).wait()?);
    /// assert!(transaction.compare_and_swap(MAIN, "owner", Some("anna"), Some("ben")).wait()?);
    /// assert!(transaction.compare_and_swap(MAIN, "owner", Some("ben"), none).wait()?);
    /// assert!(transaction.get(MAIN, "owner").wait()?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`WriteTransaction::put`].
    pub fn compare_and_swap<K: AsRef<[u8]>, E: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        tree: Tree,
        key: K,
        expected: Option<E>,
        new: Option<V>,
    ) -> Op<'_, Update<'_, K, V, IfEqual<E, V>>> {
        self.update(tree, key, IfEqual { expected, new })
    }

    /// Reads the value of `key` and lets `decide` say what becomes of it: a closure, or a
    /// [`Decide`] of one's own. The output is whether the entry was changed.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
    /// #     .open("a").wait()?;
    /// use yieldb::{Decision, MAIN};
    ///
    /// let mut transaction = database.begin().wait()?;
    /// let increase = |value: Option<&[u8]>| {
    ///     let count = value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    ///     Decision::Put((count + 1).to_le_bytes())
    /// };
    /// transaction.update(MAIN, "visits", increase).wait()?;
    /// transaction.update(MAIN, "visits", increase).wait()?;
    /// let visits = transaction.get(MAIN, "visits").wait()?;
    /// assert_eq!(visits.as_deref(), Some(&2_u64.to_le_bytes()[..]));
    /// # Ok(()) }
    /// ```
    ///
    /// Cost: as a lookup and a [put](WriteTransaction::put), but for one way down. Dropping the
    /// operation changes nothing.
    ///
    /// # Errors
    ///
    /// As [`WriteTransaction::put`].
    pub fn update<K: AsRef<[u8]>, V: AsRef<[u8]>, D: Decide<V>>(
        &mut self,
        tree: Tree,
        key: K,
        decide: D,
    ) -> Op<'_, Update<'_, K, V, D>> {
        let (pager, driving) = self.held();
        Op::new(self.transaction.update(tree, key, decide), pager, driving)
    }

    /// Removes the entries in `range`; the output is how many there were. Cost: every leaf of the
    /// range is read, but no large value. Dropping the operation undoes what it has done.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
    /// #     .open("a").wait()?;
    /// use yieldb::{KeyRange, MAIN};
    ///
    /// let mut transaction = database.begin().wait()?;
    /// for key in ["a", "tmp/1", "tmp/2", "z"] {
    ///     transaction.put(MAIN, key, "").wait()?;
    /// }
    /// assert_eq!(transaction.delete_range(MAIN, KeyRange::prefix("tmp/")).wait()?, 2);
    /// assert_eq!(transaction.count(MAIN)?, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`WriteTransaction::put`]; then nothing was removed.
    pub fn delete_range(&mut self, tree: Tree, range: KeyRange) -> Op<'_, DeleteRange<'_>> {
        let (pager, driving) = self.held();
        Op::new(self.transaction.delete_range(tree, range), pager, driving)
    }

    /// Notes what the trees are like now, to [go back to](WriteTransaction::roll_back_to). Costs
    /// nothing at once; later each page that the transaction has made so far is copied if it
    /// changes again.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
    /// #     .open("a").wait()?;
    /// use yieldb::MAIN;
    ///
    /// let mut transaction = database.begin().wait()?;
    /// transaction.put(MAIN, "kept", "").wait()?;
    /// let savepoint = transaction.savepoint();
    /// transaction.put(MAIN, "undone", "").wait()?;
    /// transaction.roll_back_to(savepoint)?;
    /// transaction.put(MAIN, "kept, too", "").wait()?;
    /// transaction.commit().wait()?;
    /// assert_eq!(database.snapshot().count(MAIN)?, 2);
    /// # Ok(()) }
    /// ```
    pub fn savepoint(&mut self) -> Savepoint {
        self.transaction.savepoint()
    }

    /// Makes everything as it was at the savepoint, which stays; those made behind it are over.
    /// Trees that were created, renamed or dropped since are as they were, too. Cost: a look at
    /// each page that the transaction has in memory.
    ///
    /// # Errors
    ///
    /// The savepoint is over.
    pub fn roll_back_to(&mut self, savepoint: Savepoint) -> Result<()> {
        Ok(self.transaction.roll_back_to(savepoint)?)
    }

    /// Ends a savepoint, and those made behind it; what was done since stays. Pages that only they
    /// kept are free again; a commit releases all of them.
    ///
    /// # Errors
    ///
    /// The savepoint is over.
    pub fn release(&mut self, savepoint: Savepoint) -> Result<()> {
        Ok(self.transaction.release(savepoint)?)
    }

    /// Removes the entry with `key`; the output is whether there was one. Cost: as
    /// [`WriteTransaction::put`], and the neighbours of nodes that become small.
    ///
    /// # Errors
    ///
    /// As [`WriteTransaction::put`].
    pub fn delete<K: AsRef<[u8]>>(&mut self, tree: Tree, key: K) -> Op<'_, Delete<'_, K>> {
        let (pager, driving) = self.held();
        Op::new(self.transaction.delete(tree, key), pager, driving)
    }

    /// Makes the changes durable, all or none of them; the output is the number of the version
    /// that has them. Once it was driven as far as the engine, the commit goes on even if the
    /// operation is dropped.
    ///
    /// When it is over, the changes survive a power cut. Cost: a record of a small transaction's
    /// changes goes into the log, with one durable write, which commits that come at the same time
    /// share. The first two commits behind the opening of a file that has no log, of which the
    /// second one begins it, those that are too large for the log, and all [without a
    /// log](crate::Options::log) are checkpoints: every page that the transaction made is written,
    /// and the space map (a bit for each page of the file), with three syncs; beginning a log takes
    /// two more. A transaction without changes writes nothing of its own, and waits for what it has
    /// seen to be durable; its output is the version that it began on.
    ///
    /// # Errors
    ///
    /// When driven: a failed write, and nothing has changed; [`crate::ErrorKind::Poisoned`], and
    /// whether the commit took place is found out by opening the database again. Whoever cancels
    /// the completion that the operation waits for is told so, and not what becomes of the commit.
    pub fn commit(self) -> Op<'static, Commit> {
        self.commit_with(Durability::Sync)
    }

    /// The same as [`WriteTransaction::commit`], but as durable as is asked for.
    ///
    /// A [relaxed](Durability::Relaxed) commit waits for no I/O, unless those ahead of it do, or
    /// the log is full: it is acknowledged, and seen by readers, when it is in memory. What a kill
    /// or a power cut leaves is all commits up to one of them, and that is none before the last one
    /// that was durable; [`crate::Database::sync`] makes durable what is not. It is written within
    /// a second as long as anybody drives the database, and lost if nobody does until the process
    /// ends: a program that goes idle calls `sync`, or closes the database.
    ///
    /// A commit that is a checkpoint is durable whatever was asked for.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
    /// #     .open("a").wait()?;
    /// use yieldb::{Durability, MAIN};
    ///
    /// let mut transaction = database.begin().wait()?;
    /// transaction.put(MAIN, "apple", "red").wait()?;
    /// transaction.commit_with(Durability::Relaxed).wait()?;
    /// assert!(database.snapshot().get(MAIN, "apple").wait()?.is_some());
    /// database.sync().wait()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`WriteTransaction::commit`].
    pub fn commit_with(self, durability: Durability) -> Op<'static, Commit> {
        let pager = self.transaction.pager().clone();
        let driving = Held::Owned(self.driving);
        Op::new(self.transaction.commit_with(durability), Held::Owned(pager), driving)
    }

    /// What an operation that writes works on.
    fn held(&self) -> (Held<'static, Pager>, Held<'static, Driving>) {
        (Held::Owned(self.transaction.pager().clone()), Held::Owned(self.driving.clone()))
    }

    /// An operation that reads.
    fn op<'a, M>(&'a self, machine: StateMachine<M>) -> Op<'a, M>
    where
        M: StateTransition<Context = Pager, Error: Into<Error>>,
    {
        Op::new(machine, Held::Borrowed(self.transaction.pager()), Held::Borrowed(&self.driving))
    }
}

impl std::fmt::Debug for WriteTransaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.transaction.fmt(f)
    }
}
