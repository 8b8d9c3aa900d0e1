//! A write transaction: the trees as it sees them, and the pages that it has made.

use std::sync::Arc;

use yieldb_core::{Completion, StateMachine, is_planted};
use yieldb_pager::ops::checkpoint::Ticket;
use yieldb_pager::writer_queue::WriterTurn;
use yieldb_pager::{PageRef, Pager, Root, RootSet, WriteSet};

use crate::cursor::Cursor;
use crate::edit::{self, Change};
use crate::node::{max_entry_len, max_key_len};
use crate::ops::commit::{Commit, commit};
use crate::ops::delete::{Delete, delete};
use crate::ops::get::{Get, get};
use crate::ops::put::{Put, put};
use crate::pages::{Reader, Walk};
use crate::{Error, KeyRange, Result, catalogue};

/// A write transaction under way. One at a time: it holds the writer's turn.
///
/// It reads its own writes; nobody else sees them before the commit is acknowledged. Dropping it
/// undoes it.
#[derive(Debug)]
pub struct Transaction {
    pager: Arc<Pager>,
    /// `None` once it was handed over with the commit.
    turn: Option<WriterTurn>,
    set: WriteSet,
    roots: RootSet,
}

/// A tree of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TreeName {
    /// The tree of trees.
    Catalogue,
    /// The tree named `main`.
    Main,
}

/// What an attempt to change a tree came to.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The change is made. Was there an entry with the key before?
    Done { existed: bool },
    /// Nothing has changed; try again after this.
    Wait(Completion),
    /// Nothing has changed; fetch this page and try again.
    Missing(PageRef),
}

impl Transaction {
    /// A transaction on the newest version, for the one who has the turn.
    pub fn new(pager: Arc<Pager>, turn: WriterTurn) -> Transaction {
        let roots = *pager.newest().roots();
        let set = pager.begin_write_set();
        Transaction { pager, turn: Some(turn), set, roots }
    }

    /// Looks up a key. Cost: one page for each level of the tree.
    pub fn get<K: AsRef<[u8]>>(&self, key: K) -> StateMachine<Get<'_, K>> {
        get(self.reader(), key)
    }

    /// A cursor over the entries in `range`.
    pub fn cursor(&self, range: KeyRange) -> Cursor<'_> {
        Cursor::new(self.reader(), range)
    }

    /// How many entries there are. Costs nothing.
    pub fn count(&self) -> u64 {
        self.roots.main.count
    }

    /// Stores `value` under `key`, in place of the value that was there.
    pub fn put<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        key: K,
        value: V,
    ) -> StateMachine<Put<'_, K, V>> {
        put(self, key, value)
    }

    /// Removes the entry with `key`, if there is one.
    pub fn delete<K: AsRef<[u8]>>(&mut self, key: K) -> StateMachine<Delete<'_, K>> {
        delete(self, key)
    }

    /// Makes the changes durable, all or none of them. Cost: every page that the transaction made,
    /// the space map, and three syncs.
    pub fn commit(self) -> StateMachine<Commit> {
        commit(self)
    }

    /// What the transaction works on.
    pub fn pager(&self) -> &Arc<Pager> {
        &self.pager
    }

    fn reader(&self) -> Reader<'_> {
        Reader { root: self.roots.main, private: Some(&self.set) }
    }

    /// Tries to change a tree: either the change is made, or nothing has changed and the answer
    /// says what stands in its way.
    pub(crate) fn attempt(&mut self, tree: TreeName, change: Change<'_>) -> Result<Attempt> {
        self.check_lens(change)?;
        if let Some(turn) = &self.turn {
            turn.used_here();
        }
        let root = self.root(tree);
        if let Some(io) = self.set.prepare(&self.pager, edit::pages_needed(root))? {
            return Ok(Attempt::Wait(io));
        }
        if is_planted!(CountBeforePages) {
            self.root_mut(tree).count += 1;
        }
        Ok(match edit::change(&mut self.set, &self.pager, root, change)? {
            Walk::Missing(page) => Attempt::Missing(page),
            Walk::Found(edited) => {
                *self.root_mut(tree) = edited.root;
                Attempt::Done { existed: edited.existed }
            }
        })
    }

    /// Refuses what does not fit a node.
    fn check_lens(&self, change: Change<'_>) -> Result<()> {
        let Change::Put { key, value } = change else { return Ok(()) };
        let page_len = self.pager.page_size().bytes();
        let max = max_key_len(page_len);
        if key.len() > max {
            return Err(Error::KeyTooLong { len: key.len(), max });
        }
        let max = max_entry_len(page_len) - key.len();
        if value.len() > max {
            return Err(Error::ValueTooLong { len: value.len(), max });
        }
        Ok(())
    }

    /// Tries to write the roots of changed trees into the catalogue.
    pub(crate) fn attempt_record(&mut self) -> Result<Attempt> {
        let entry = catalogue::encode(self.roots.main);
        let change = Change::Put { key: catalogue::MAIN, value: &entry };
        self.attempt(TreeName::Catalogue, change)
    }

    /// Has the transaction changed anything?
    pub(crate) fn is_unchanged(&self) -> bool {
        self.set.is_empty()
    }

    /// The version that the transaction began on.
    pub(crate) fn version(&self) -> u64 {
        self.roots.version
    }

    /// Hands everything over to the engine, which commits it.
    pub(crate) fn hand_over(&mut self) -> Arc<Ticket> {
        let turn = self.turn.take().expect("a transaction commits once");
        turn.used_by_engine();
        let set = self.set.take();
        self.pager.commit(set, self.roots, turn)
    }

    fn root(&self, tree: TreeName) -> Root {
        match tree {
            TreeName::Catalogue => self.roots.catalogue,
            TreeName::Main => self.roots.main,
        }
    }

    fn root_mut(&mut self, tree: TreeName) -> &mut Root {
        match tree {
            TreeName::Catalogue => &mut self.roots.catalogue,
            TreeName::Main => &mut self.roots.main,
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
