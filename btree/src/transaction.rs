//! A write transaction: the trees as it sees them, and the pages that it has made.

use std::sync::Arc;

use yieldb_core::{Completion, StateMachine, is_planted};
use yieldb_pager::log::writer::Room;
use yieldb_pager::ops::checkpoint::Ticket;
use yieldb_pager::writer_queue::{Followers, WriterTurn};
use yieldb_pager::{Durability, PageRef, PageRun, Pager, Root, RootSet, Stamp, Tree, WriteSet};

use crate::cursor::{Cursor, Direction};
use crate::edit::{self, Behind, Change, Edited, Tried};
use crate::multi_get::MultiGet;
use crate::node::max_key_len;
use crate::ops::bulk_load::BulkLoad;
use crate::ops::commit::{Commit, commit};
use crate::ops::count::{Count, count};
use crate::ops::delete::{Delete, delete};
use crate::ops::delete_range::{DeleteRange, delete_range};
use crate::ops::drop_tree::{DropTree, drop_tree};
use crate::ops::edge::{Edge, edge};
use crate::ops::find_value::{FindValue, find_value};
use crate::ops::get::{Get, get};
use crate::ops::put::{Put, put};
use crate::ops::update::{Decide, IfAbsent, Update, update};
use crate::ops::write_value::ValueWriter;
use crate::pages::Reader;
use crate::record::TreeChange;
use crate::recorder::Recorder;
use crate::savepoint::Saved;
use crate::tree_set::{Record, TreeSet};
use crate::{Error, KeyRange, Result};

/// A write transaction under way. One at a time: it holds the writer's turn.
///
/// It reads its own writes; nobody else sees them before the commit is acknowledged. Dropping it
/// undoes it.
#[derive(Debug)]
pub struct Transaction {
    /// Changes of others that are made with it. In front of the turn, so that they are left again
    /// before that is passed on.
    followers: Followers,
    pager: Arc<Pager>,
    /// `None` once it was handed over with the commit.
    turn: Option<WriterTurn>,
    set: WriteSet,
    /// The version that it began on, which no change of it has touched.
    base: RootSet,
    catalogue: Root,
    pub(crate) trees: TreeSet,
    /// The savepoints, the oldest first.
    pub(crate) saved: Vec<Saved>,
    /// What it did so far, if that is recorded.
    pub(crate) recorder: Recorder,
}

/// How many bytes of records of others a transaction takes at most.
const MAX_TOGETHER: usize = 1 << 20;

/// A tree that a transaction changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The tree of trees.
    Catalogue,
    /// One of the trees in it.
    Tree(Tree),
}

/// What an attempt to change a tree came to.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The change is made.
    Done(Edited),
    /// Nothing has changed; try again after this.
    Wait(Completion),
    /// Nothing has changed; fetch this page and try again.
    Missing(PageRef),
}

/// What handing a transaction over came to.
#[derive(Debug)]
pub(crate) enum HandOver {
    /// There is no room yet; try again after this.
    Wait(Completion),
    /// The engine has it.
    Done(Arc<Ticket>),
}

impl Transaction {
    /// A transaction on the newest version, for the one who has the turn.
    pub fn new(pager: Arc<Pager>, turn: WriterTurn) -> Transaction {
        let base = pager.applied();
        let set = pager.begin_write_set();
        let (catalogue, trees) = (base.catalogue, TreeSet::new(base.trees.clone()));
        let (saved, recorder) = (Vec::new(), Recorder::default());
        let (followers, turn) = (Followers::default(), Some(turn));
        Transaction { followers, pager, turn, set, base, catalogue, trees, saved, recorder }
    }

    /// The same, for commits: what it does is recorded if there is a log to put that in.
    pub fn begin(pager: Arc<Pager>, turn: WriterTurn) -> Transaction {
        let limit = pager.record_limit();
        let mut transaction = Transaction::new(pager, turn);
        if let Some(limit) = limit {
            transaction.record_into(Vec::new(), limit);
        }
        transaction
    }

    // Changes that others have left.

    /// Takes changes that others have left, to be made in this transaction and committed with it,
    /// beside its own with keys and values of `own_len` bytes. They are left again if it ends
    /// without a commit.
    pub(crate) fn take_followers(&mut self, own_len: usize) {
        let turn = self.turn.as_ref().expect("it is not over");
        // Half of a record, so that what surrounds the changes does not make it too long.
        let most = self.pager.record_limit().unwrap_or(MAX_TOGETHER).min(MAX_TOGETHER) / 2;
        let len = most.saturating_sub(own_len);
        self.followers = turn.followers(self.pager.most_together(), len);
    }

    /// Those changes.
    pub(crate) fn followers(&self) -> &Followers {
        &self.followers
    }

    /// Begins again, and leaves to others what they have left.
    pub(crate) fn begin_again(mut self) -> Transaction {
        self.set.give_up(&self.pager);
        let turn = self.turn.take().expect("it is not over");
        self.followers = Followers::default();
        Transaction::begin(self.pager.clone(), turn)
    }

    // Trees.

    /// The tree with a name.
    pub fn tree(&self, name: &[u8]) -> Option<Tree> {
        self.trees.find(name)
    }

    /// All trees in the order of their names, with the numbers of their entries.
    pub fn trees(&self) -> impl Iterator<Item = (Tree, &[u8], u64)> {
        self.trees.iter().map(|(tree, name, root)| (tree, name, root.count))
    }

    /// Makes a new, empty tree.
    ///
    /// # Errors
    ///
    /// [`Error::TreeExists`], [`Error::TreeName`], [`Error::TooManyTrees`].
    pub fn create_tree(&mut self, name: &[u8]) -> Result<Tree> {
        self.check_name(name)?;
        let tree = self.trees.create(name)?;
        self.recorder.note(TreeChange::CreateTree { tree, name });
        Ok(tree)
    }

    /// Makes a new, empty tree with a number of the caller's; those below it are passed over.
    /// `false`, and nothing has changed, if the number was given out before.
    ///
    /// # Errors
    ///
    /// As [`Transaction::create_tree`].
    pub(crate) fn create_numbered_tree(&mut self, tree: Tree, name: &[u8]) -> Result<bool> {
        if tree.as_u32() < self.trees.next_number() {
            return Ok(false);
        }
        self.check_name(name)?;
        self.trees.pass_over(tree.as_u32());
        let created = self.create_tree(name)?;
        assert_eq!(created, tree, "the next number is the one that was passed over to");
        Ok(true)
    }

    /// Gives a tree another name. The handle stays good.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`], [`Error::TreeExists`], [`Error::TreeName`]; [`Error::MainTree`] for
    /// the tree `main`, which keeps its name.
    pub fn rename_tree(&mut self, tree: Tree, name: &[u8]) -> Result<()> {
        self.check_name(name)?;
        if self.trees.rename(tree, name)? {
            self.recorder.note(TreeChange::RenameTree { tree, name });
        }
        Ok(())
    }

    /// Drops a tree with all its entries. Cost: every page of it is read.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`]; [`Error::MainTree`] for the tree `main`, which always is.
    pub fn drop_tree(&mut self, tree: Tree) -> Result<StateMachine<DropTree<'_>>> {
        drop_tree(self, tree)
    }

    /// Where a tree begins that may be dropped.
    pub(crate) fn droppable(&self, tree: Tree) -> Result<Root> {
        self.trees.droppable(tree)
    }

    /// Makes a tree go that consists of these pages.
    pub(crate) fn drop_pages(&mut self, tree: Tree, pages: Vec<(PageRun, Stamp)>) -> Result<()> {
        self.trees.remove(tree)?;
        self.recorder.note(TreeChange::DropTree { tree });
        for (run, birth) in pages {
            if run.count() == 1 {
                self.set.kill(run.first(), birth);
            } else {
                self.set.kill_run(run, birth);
            }
        }
        Ok(())
    }

    fn check_name(&self, name: &[u8]) -> Result<()> {
        let max = max_key_len(self.pager.page_size().bytes());
        if name.is_empty() || name.len() > max {
            return Err(Error::TreeName { len: name.len(), max });
        }
        Ok(())
    }

    // Reading.

    /// Looks up a key. Cost: one page for each level of the tree.
    pub fn get<K: AsRef<[u8]>>(&self, tree: Tree, key: K) -> StateMachine<Get<'_, K>> {
        get(self.reader(tree), &self.pager, key)
    }

    /// Looks up many keys, with up to `depth` reads in flight at a time.
    pub fn multi_get<I>(&self, tree: Tree, keys: I, depth: usize) -> MultiGet<'_, I::IntoIter>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        MultiGet::new(self.reader(tree), &self.pager, keys.into_iter(), depth)
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
        find_value(self.reader(tree), &self.pager, key)
    }

    /// A cursor over the entries in `range`.
    pub fn cursor(&self, tree: Tree, range: KeyRange) -> Cursor<'_> {
        Cursor::new(self.reader(tree), range)
    }

    /// How many entries a tree has. Costs nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`].
    pub fn count(&self, tree: Tree) -> Result<u64> {
        self.trees.root(tree).map(|root| root.count)
    }

    /// The pages that the transaction has made.
    pub(crate) fn write_set(&self) -> &WriteSet {
        &self.set
    }

    /// The same, to make more of them.
    pub(crate) fn write_set_mut(&mut self) -> (&mut WriteSet, &Pager) {
        (&mut self.set, &self.pager)
    }

    pub(crate) fn reader(&self, tree: Tree) -> Reader<'_> {
        Reader { tree, root: self.trees.root(tree).ok(), private: Some(&self.set) }
    }

    // Writing.

    /// Stores `value` under `key`, in place of the value that was there.
    pub fn put<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        tree: Tree,
        key: K,
        value: V,
    ) -> StateMachine<Put<'_, K, V>> {
        put(self, tree, key, value)
    }

    /// Begins to store a value of `len` bytes piece by piece, so that it is never in memory as a
    /// whole.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`], [`Error::KeyTooLong`], [`Error::ValueTooLong`].
    pub fn put_value<K: AsRef<[u8]>>(
        &mut self,
        tree: Tree,
        key: K,
        len: u64,
    ) -> Result<ValueWriter<'_, K>> {
        ValueWriter::new(self, tree, key, len)
    }

    /// Begins to fill an empty tree from entries in any order. Cost: each page is written once, and
    /// what does not fit memory is sorted in a file beside the database's.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`], [`Error::TreeNotEmpty`].
    pub fn bulk_load(&mut self, tree: Tree) -> Result<BulkLoad<'_>> {
        BulkLoad::new(self, tree)
    }

    /// Stores `value` under `key` if there is no entry with it.
    pub fn insert<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        tree: Tree,
        key: K,
        value: V,
    ) -> StateMachine<Update<'_, K, V, IfAbsent<V>>> {
        update(self, tree, key, IfAbsent(value))
    }

    /// Reads the entry with `key`, and lets `decide` say what becomes of it.
    pub fn update<K: AsRef<[u8]>, V: AsRef<[u8]>, D: Decide<V>>(
        &mut self,
        tree: Tree,
        key: K,
        decide: D,
    ) -> StateMachine<Update<'_, K, V, D>> {
        update(self, tree, key, decide)
    }

    /// Removes the entries in `range`.
    pub fn delete_range(&mut self, tree: Tree, range: KeyRange) -> StateMachine<DeleteRange<'_>> {
        delete_range(self, tree, range)
    }

    /// Removes the entry with `key`, if there is one.
    pub fn delete<K: AsRef<[u8]>>(&mut self, tree: Tree, key: K) -> StateMachine<Delete<'_, K>> {
        delete(self, tree, key)
    }

    /// Makes the changes durable, all or none of them. Cost: every page that the transaction made,
    /// the space map, and three syncs.
    pub fn commit(self) -> StateMachine<Commit> {
        self.commit_with(Durability::Sync)
    }

    /// Makes the changes the newest version, all or none of them, and as durable as is asked for.
    pub fn commit_with(self, durability: Durability) -> StateMachine<Commit> {
        commit(self, durability)
    }

    /// What the transaction works on.
    pub fn pager(&self) -> &Arc<Pager> {
        &self.pager
    }

    /// Tries to change a tree: either the change is made, or nothing has changed and the answer
    /// says what stands in its way.
    pub(crate) fn attempt(&mut self, subject: Subject, change: Change<'_>) -> Result<Attempt> {
        self.attempt_several(subject, change, &|_| None)
    }

    /// The same, and with the change some of those behind it.
    pub(crate) fn attempt_several<'k>(
        &mut self,
        subject: Subject,
        change: Change<'k>,
        behind: Behind<'_, 'k>,
    ) -> Result<Attempt> {
        if let Change::Put { key, .. } = change {
            self.check_key_len(key.len())?;
        }
        self.used_here();
        let root = self.root(subject)?;
        let few = edit::few_pages(root);
        let most = edit::most_pages(root, change);
        // Of many changes some divide leaves: planning those twice would cost more.
        let first = if self.set.private_count() > 4 * most { most } else { few };
        for count in [first, most] {
            if let Some(io) = self.set.prepare(&self.pager, count)? {
                if self.set.ready_count() >= count
                    && is_planted!(LeafBeforeReservation)
                    && let Tried::Made(edited) =
                        edit::change(&mut self.set, &self.pager, root, change, behind)?
                {
                    self.set_root(subject, edited.root);
                }
                return Ok(Attempt::Wait(io));
            }
            if is_planted!(CountBeforePages) {
                self.set_root(subject, Root { count: root.count + 1, ..root });
            }
            match edit::change(&mut self.set, &self.pager, root, change, behind)? {
                Tried::Missing(page) => return Ok(Attempt::Missing(page)),
                Tried::TooFew => {}
                Tried::Made(edited) => {
                    self.set_root(subject, edited.root);
                    return Ok(Attempt::Done(edited));
                }
            }
        }
        unreachable!("no change makes more pages than the most")
    }

    /// Gives an empty tree its root.
    pub(crate) fn plant(&mut self, tree: Tree, root: Root) {
        self.trees.set_root(tree, root);
    }

    /// Notes that this thread works for the transaction: it must not wait for another one's turn.
    pub(crate) fn used_here(&self) {
        if let Some(turn) = &self.turn {
            turn.used_here();
        }
    }

    /// Refuses a key that does not fit a node.
    pub(crate) fn check_key_len(&self, len: usize) -> Result<()> {
        let max = max_key_len(self.pager.page_size().bytes());
        if len > max { Err(Error::KeyTooLong { len, max }) } else { Ok(()) }
    }

    // Committing.

    /// Has the transaction changed anything?
    pub(crate) fn is_unchanged(&self) -> bool {
        self.set.is_empty() && self.trees.is_unchanged()
    }

    /// The version that the transaction began on.
    pub fn version(&self) -> u64 {
        self.base.version
    }

    /// What the catalogue is to say of the trees that have changed.
    pub(crate) fn catalogue_records(&mut self) -> Vec<Record> {
        self.trees.settle();
        self.trees.records()
    }

    /// Hands everything over to the engine, which commits it: into the log if that has room, and
    /// the transaction is one for it.
    ///
    /// # Errors
    ///
    /// The failure of a write, or of what was waited for; a page was replaced that is not there.
    pub(crate) fn hand_over(&mut self, durability: Durability) -> Result<HandOver> {
        let len = self.record().filter(|_| !self.needs_checkpoint()).map(<[u8]>::len);
        if let Some(len) = len {
            match self.pager.room_for(&mut self.set, len)? {
                Room::Wait(io) => return Ok(HandOver::Wait(io)),
                Room::Never => {}
                Room::Enough => {
                    let (set, roots, turn) = self.take_all();
                    let followers = std::mem::take(&mut self.followers);
                    let record = self.record().expect("there is one");
                    let pager = &self.pager;
                    let ticket = pager.append(set, roots, turn, followers, record, durability)?;
                    return Ok(HandOver::Done(ticket));
                }
            }
        }
        let (set, roots, turn) = self.take_all();
        let followers = std::mem::take(&mut self.followers);
        let ticket = self.pager.commit(set, roots, turn, followers);
        let _submitted = self.pager.turn();
        Ok(HandOver::Done(ticket))
    }

    /// Gives the transaction up, and ends the log, for closing: see [`Pager::end_log`].
    pub fn end_log(self) -> Option<Arc<Ticket>> {
        let (pager, turn) = self.give_up_for_engine();
        pager.end_log(turn)
    }

    /// Gives the transaction up, and cuts the file: see [`Pager::cut`].
    pub(crate) fn cut(self) -> Arc<Ticket> {
        let (pager, turn) = self.give_up_for_engine();
        pager.cut(turn)
    }

    /// Gives the transaction up, and its turn to the engine.
    fn give_up_for_engine(mut self) -> (Arc<Pager>, WriterTurn) {
        self.set.give_up(&self.pager);
        let turn = self.turn.take().expect("a transaction ends once");
        turn.used_by_engine();
        (self.pager.clone(), turn)
    }

    /// Makes the changes the newest version, which the log has already: see [`Pager::adopt`].
    pub(crate) fn adopt(&mut self, version: u64) -> Result<Option<Completion>> {
        let roots = self.roots();
        let waits = self.pager.adopt(&mut self.set, roots, version)?;
        if waits.is_none() {
            self.turn = None;
        }
        Ok(waits)
    }

    fn take_all(&mut self) -> (WriteSet, RootSet, WriterTurn) {
        let turn = self.turn.take().expect("a transaction commits once");
        turn.used_by_engine();
        (self.set.take(), self.roots(), turn)
    }

    /// The trees of the new version, once settled.
    fn roots(&self) -> RootSet {
        let trees = self.trees.trees().clone();
        RootSet { catalogue: self.catalogue, trees, ..self.base.clone() }
    }

    /// Where one of the trees begins.
    pub(crate) fn root(&self, subject: Subject) -> Result<Root> {
        match subject {
            Subject::Catalogue => Ok(self.catalogue),
            Subject::Tree(tree) => self.trees.root(tree),
        }
    }

    fn set_root(&mut self, subject: Subject, root: Root) {
        match subject {
            Subject::Catalogue => self.catalogue = root,
            Subject::Tree(tree) => self.trees.set_root(tree, root),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.turn.is_some() {
            self.set.give_up(&self.pager);
        }
    }
}
