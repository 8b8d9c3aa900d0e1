//! The handles: a database, a version of it, a transaction on it, a cursor.

use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;

use yieldb_btree as btree;
use yieldb_btree::ops::check::{Check, CheckProgress};
use yieldb_btree::ops::commit::Commit;
use yieldb_btree::ops::delete::Delete;
use yieldb_btree::ops::drop_tree::DropTree;
use yieldb_btree::ops::get::Get;
use yieldb_btree::ops::next::Next;
use yieldb_btree::ops::put::Put;
use yieldb_core::{Completion, StateMachine, StateTransition};
use yieldb_pager::superblock::FORMAT_VERSION;
use yieldb_pager::{Pager, SpaceUse, Tree};

use crate::driving::Driving;
use crate::op::{Held, Op};
use crate::open::{self, Begin, Close, Open};
use crate::{Error, KeyRange, Options, Result};

/// An open database. Clones are handles on the same one; it may be used from any number of threads
/// and tasks.
///
/// The file is closed, and its lock given back, when the last handle on it is gone: the database's,
/// its snapshots', its transactions' and its operations'. Dropping them never waits.
#[derive(Clone)]
pub struct Database {
    pager: Arc<Pager>,
    driving: Arc<Driving>,
}

/// What is known of an open database.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Info {
    /// The version of the file's format.
    pub format_version: u32,
    /// The length of a page in bytes.
    pub page_size: u32,
    /// The length of the file in bytes, as far as it is used.
    pub file_bytes: u64,
    /// What tells this database from all others.
    pub database_id: [u8; 16],
    /// How often a superblock was written.
    pub checkpoint: u64,
    /// The newest version: how many commits there were.
    pub version: u64,
    /// How often the database was opened for writing.
    pub session: u32,
    /// How many trees there are.
    pub trees: usize,
    /// How many entries they have together.
    pub entries: u64,
    /// The back-end that performs the I/O: `uring`, `pread` or `memory`.
    pub driver: &'static str,
    /// Why this one.
    pub driver_reason: String,
    /// Does the I/O go past the operating system's cache?
    pub direct: bool,
    /// How many pages fit into the cache.
    pub cache_pages: usize,
    /// The pages of the file, by use.
    pub space: SpaceUse,
}

impl Database {
    pub(crate) fn new(pager: Arc<Pager>, driving: Arc<Driving>) -> Database {
        driving.attach(&pager);
        Database { pager, driving }
    }

    /// Opens the database in the file at `path` with the usual [`Options`]; a missing one is
    /// created.
    pub fn open(path: impl AsRef<Path>) -> Op<'static, Open> {
        Options::new().open(path)
    }

    /// The newest acknowledged version. Never waits.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { snapshot: btree::Snapshot::newest(&self.pager), driving: self.driving.clone() }
    }

    /// Waits for the writer's turn and begins a transaction. Turns come in order.
    ///
    /// # Errors
    ///
    /// When driven: [`crate::ErrorKind::Usage`] if the database was opened for reading only, and
    /// for `wait` on the thread that used the transaction under way last: it would wait for itself.
    pub fn begin(&self) -> Op<'static, Begin> {
        let machine = open::begin(self.pager.clone(), self.driving.clone());
        Op::new(machine, Held::Owned(self.pager.clone()), Held::Owned(self.driving.clone()))
    }

    /// Begins a transaction if nobody else has the writer's turn.
    ///
    /// # Errors
    ///
    /// As [`Database::begin`].
    pub fn try_begin(&self) -> Result<Option<WriteTransaction>> {
        let writers = self.pager.writers().map_err(btree::Error::from)?;
        Ok(writers.try_take().map(|turn| {
            let transaction = btree::Transaction::new(self.pager.clone(), turn);
            WriteTransaction::new(transaction, self.driving.clone())
        }))
    }

    /// Does what can be done without waiting: finishes I/O, and lets commits go on. Returns how
    /// many I/Os it finished. For loops of one's own, see [`crate::DriverMode::Manual`].
    pub fn turn(&self) -> usize {
        self.driving.turn()
    }

    /// Drives on this thread until `io` is finished or something else has happened: for loops of
    /// one's own that have nothing better to do. May return early.
    ///
    /// # Errors
    ///
    /// If `io` is the writer's turn, and this thread has it.
    pub fn wait_for(&self, io: &Completion) -> Result<()> {
        self.driving.turn_engine();
        self.driving.wait(io)?;
        self.driving.turn_engine();
        Ok(())
    }

    /// A descriptor that polls as readable when [`Database::turn`] has something to do; `None`
    /// where the platform or the back-end has no such thing.
    pub fn event_fd(&self) -> Option<RawFd> {
        self.driving.backend().driver.event_fd()
    }

    /// Waits until every commit under way is over, and gives up this handle. The file is closed
    /// with the last handle; closing is not needed for durability, and a database that is only
    /// dropped is as good.
    ///
    /// # Errors
    ///
    /// When driven: [`crate::ErrorKind::Poisoned`] if a commit before failed so that its outcome
    /// is open.
    pub fn close(self) -> Op<'static, Close> {
        let (pager, driving) = (self.pager.clone(), self.driving.clone());
        let machine = open::close(self, pager.clone());
        Op::new(machine, Held::Owned(pager), Held::Owned(driving))
    }

    /// Was the database opened for reading only?
    pub fn is_read_only(&self) -> bool {
        self.pager.is_read_only()
    }

    /// What is known of the database. Costs nothing worth mentioning.
    pub fn info(&self) -> Info {
        let (superblock, space) = (self.pager.superblock(), self.pager.space_use());
        let snapshot = btree::Snapshot::newest(&self.pager);
        let page_size = superblock.page_size.as_u32();
        let backend = self.driving.backend();
        Info {
            format_version: FORMAT_VERSION,
            page_size,
            file_bytes: superblock.file_len(),
            database_id: superblock.database_id,
            checkpoint: superblock.checkpoint,
            version: snapshot.version(),
            session: superblock.session,
            trees: snapshot.trees().count(),
            entries: snapshot.trees().map(|(_, _, count)| count).sum(),
            driver: backend.name,
            driver_reason: backend.why.clone(),
            direct: self.pager.file().is_direct(),
            cache_pages: self.pager.cache().frame_count(),
            space,
        }
    }

    /// What the cache has done and holds. Costs a pass over what is known of all its frames.
    pub fn cache_stats(&self) -> yieldb_pager::cache::CacheStats {
        self.pager.cache().stats()
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "database in {}", self.pager.file().path().display())
    }
}

/// One version of a database. It does not change, whatever is committed meanwhile; the file cannot
/// reuse the pages that only this version has as long as it exists.
#[derive(Clone)]
pub struct Snapshot {
    snapshot: btree::Snapshot,
    driving: Arc<Driving>,
}

impl Snapshot {
    /// The tree with a name, if the version has one. Costs nothing: a handle is good for every
    /// version that has the tree.
    pub fn tree(&self, name: impl AsRef<[u8]>) -> Option<Tree> {
        self.snapshot.tree(name.as_ref())
    }

    /// All trees in the order of their names, each with its name and the number of its entries.
    pub fn trees(&self) -> impl Iterator<Item = (Tree, &[u8], u64)> {
        self.snapshot.trees()
    }

    /// Looks up a key. Cost: one page for each level of the tree. Allocates nothing.
    ///
    /// # Errors
    ///
    /// When driven: the version does not have the tree; damage on the way to the leaf; a failed
    /// read.
    pub fn get<K: AsRef<[u8]>>(&self, tree: Tree, key: K) -> Op<'_, Get<'_, K>> {
        self.op(self.snapshot.get(tree, key))
    }

    /// A cursor over the entries in `range`.
    pub fn cursor(&self, tree: Tree, range: KeyRange) -> Cursor<'_> {
        let cursor = self.snapshot.cursor(tree, range);
        Cursor { cursor, pager: self.snapshot.pin().pager(), driving: &self.driving }
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

    /// The number of the version: how many commits made it.
    pub fn version(&self) -> u64 {
        self.snapshot.version()
    }

    /// Reads every page and looks for damage, telling `progress` after each. Memory: a bit for
    /// each page of the file.
    ///
    /// # Errors
    ///
    /// If there is no memory for that.
    pub fn check<P: FnMut(CheckProgress)>(&self, progress: P) -> Result<Op<'_, Check<P>>> {
        Ok(self.op(self.snapshot.check(progress)?))
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

/// A write transaction. It reads its own writes; nobody else sees them before the commit is
/// acknowledged. Dropping it undoes it.
pub struct WriteTransaction {
    transaction: btree::Transaction,
    driving: Arc<Driving>,
}

impl WriteTransaction {
    pub(crate) fn new(transaction: btree::Transaction, driving: Arc<Driving>) -> WriteTransaction {
        WriteTransaction { transaction, driving }
    }

    /// The tree with a name.
    pub fn tree(&self, name: impl AsRef<[u8]>) -> Option<Tree> {
        self.transaction.tree(name.as_ref())
    }

    /// All trees in the order of their names, each with its name and the number of its entries.
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
    /// # Errors
    ///
    /// The name is too long or empty.
    pub fn open_tree(&mut self, name: impl AsRef<[u8]>) -> Result<Tree> {
        match self.tree(&name) {
            Some(tree) => Ok(tree),
            None => self.create_tree(name),
        }
    }

    /// Gives a tree another name. Its handle stays good. Costs nothing.
    ///
    /// # Errors
    ///
    /// There is no such tree, or one with that name; the name is too long or empty; `main` keeps
    /// its name.
    pub fn rename_tree(&mut self, tree: Tree, name: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.transaction.rename_tree(tree, name.as_ref())?)
    }

    /// Drops a tree with all its entries; its handle is good for nothing afterwards. Cost: every
    /// page of the tree is read. Dropping the operation leaves all of the tree, or nothing.
    ///
    /// # Errors
    ///
    /// There is no such tree; `main` cannot be dropped. When driven: damage in the tree, a failed
    /// read.
    pub fn drop_tree(&mut self, tree: Tree) -> Result<Op<'_, DropTree<'_>>> {
        let pager = Held::Owned(self.transaction.pager().clone());
        let driving = Held::Borrowed(&*self.driving);
        Ok(Op::new(self.transaction.drop_tree(tree)?, pager, driving))
    }

    /// Looks up a key, in the transaction's own writes first.
    pub fn get<K: AsRef<[u8]>>(&self, tree: Tree, key: K) -> Op<'_, Get<'_, K>> {
        let machine = self.transaction.get(tree, key);
        Op::new(machine, Held::Borrowed(self.transaction.pager()), self.driving())
    }

    /// A cursor over the entries in `range`, the transaction's own writes included.
    pub fn cursor(&self, tree: Tree, range: KeyRange) -> Cursor<'_> {
        let cursor = self.transaction.cursor(tree, range);
        Cursor { cursor, pager: self.transaction.pager(), driving: &self.driving }
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
    /// # Errors
    ///
    /// When driven: a key or a value that is too long, damage on the way to the leaf, a failed
    /// read; the transaction can go on. A failed write of pages that the transaction no longer has
    /// room for dooms it.
    pub fn put<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        tree: Tree,
        key: K,
        value: V,
    ) -> Op<'_, Put<'_, K, V>> {
        let pager = Held::Owned(self.transaction.pager().clone());
        let driving = Held::Borrowed(&*self.driving);
        Op::new(self.transaction.put(tree, key, value), pager, driving)
    }

    /// Removes the entry with `key`; the output is whether there was one.
    ///
    /// # Errors
    ///
    /// As [`WriteTransaction::put`].
    pub fn delete<K: AsRef<[u8]>>(&mut self, tree: Tree, key: K) -> Op<'_, Delete<'_, K>> {
        let pager = Held::Owned(self.transaction.pager().clone());
        let driving = Held::Borrowed(&*self.driving);
        Op::new(self.transaction.delete(tree, key), pager, driving)
    }

    /// Makes the changes durable, all or none of them; the output is the number of the version
    /// that has them. Once it was driven as far as the engine, the commit goes on even if the
    /// operation is dropped.
    ///
    /// # Errors
    ///
    /// When driven: a failed write, and nothing has changed; [`crate::ErrorKind::Poisoned`], and
    /// whether the commit took place is found out by opening the database again.
    pub fn commit(self) -> Op<'static, Commit> {
        let pager = self.transaction.pager().clone();
        let driving = Held::Owned(self.driving);
        Op::new(self.transaction.commit(), Held::Owned(pager), driving)
    }

    fn driving(&self) -> Held<'_, Driving> {
        Held::Borrowed(&self.driving)
    }
}

impl std::fmt::Debug for WriteTransaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.transaction.fmt(f)
    }
}

/// A position in a range of entries, in key order. A new one is on both ends at once.
#[derive(Debug)]
pub struct Cursor<'a> {
    cursor: btree::Cursor<'a>,
    pager: &'a Pager,
    driving: &'a Driving,
}

impl<'a> Cursor<'a> {
    /// Moves to the next entry, from a new cursor to the first one; the output is the entry, or
    /// `None` behind the last one.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Op<'_, Next<'_, 'a>> {
        let (pager, driving) = (Held::Borrowed(self.pager), Held::Borrowed(self.driving));
        Op::new(self.cursor.next(), pager, driving)
    }

    /// Moves to the entry before, from a new cursor to the last one; the output is the entry, or
    /// `None` in front of the first one.
    pub fn previous(&mut self) -> Op<'_, Next<'_, 'a>> {
        let (pager, driving) = (Held::Borrowed(self.pager), Held::Borrowed(self.driving));
        Op::new(self.cursor.previous(), pager, driving)
    }

    /// The entry that the cursor is on.
    pub fn entry(&self) -> Option<crate::Entry<'_>> {
        self.cursor.entry()
    }
}
