//! The trees as a transaction sees them.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use yieldb_pager::{Root, Tree, Trees};

use crate::catalogue;
use crate::{Error, Result};

/// The trees as a transaction sees them: those of the version that it began on, with its changes.
///
/// The catalogue itself is changed once, by the commit: see [`TreeSet::records`].
#[derive(Clone, Debug)]
pub(crate) struct TreeSet {
    trees: Trees,
    /// The roots of trees whose entries were changed: ahead of those in `trees`.
    roots: FxHashMap<Tree, Root>,
    /// The names whose catalogue entries are not those of the version before any more.
    touched: BTreeSet<Arc<[u8]>>,
}

/// What the catalogue is to say of one name: an entry, or nothing.
pub(crate) type Record = (Arc<[u8]>, Option<[u8; catalogue::ENTRY_LEN]>);

impl TreeSet {
    pub fn new(trees: Trees) -> TreeSet {
        TreeSet { trees, roots: FxHashMap::default(), touched: BTreeSet::new() }
    }

    /// Where a tree begins.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`].
    pub fn root(&self, tree: Tree) -> Result<Root> {
        let changed = self.roots.get(&tree).copied();
        let root = changed.or_else(|| self.trees.root(tree));
        root.ok_or(Error::NoSuchTree { tree: tree.as_u32() })
    }

    /// Notes where an existing tree begins now.
    pub fn set_root(&mut self, tree: Tree, root: Root) {
        self.roots.insert(tree, root);
    }

    /// The tree with a name.
    pub fn find(&self, name: &[u8]) -> Option<Tree> {
        self.trees.find(name)
    }

    /// The tree with the least number from `number` on.
    pub fn first_from(&self, number: u32) -> Option<Tree> {
        self.trees.first_from(number)
    }

    /// All trees, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (Tree, &[u8], Root)> {
        self.trees.iter().map(|(tree, info)| {
            let changed = self.roots.get(&tree).copied();
            (tree, &*info.name, changed.unwrap_or(info.root))
        })
    }

    /// Makes a new tree.
    ///
    /// # Errors
    ///
    /// [`Error::TreeExists`], [`Error::TooManyTrees`].
    pub fn create(&mut self, name: &[u8]) -> Result<Tree> {
        self.check_free(name)?;
        let tree = self.trees.create(name).ok_or(Error::TooManyTrees)?;
        self.touched.insert(name.into());
        Ok(tree)
    }

    /// The number of the tree that is created next.
    pub fn next_number(&self) -> u32 {
        self.trees.next_number()
    }

    /// Makes sure that no tree created from now on has a number below `next`.
    pub fn pass_over(&mut self, next: u32) {
        self.trees.skip_numbers(next);
    }

    /// Gives a tree another name. `false` if it has that one.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`], [`Error::TreeExists`], [`Error::MainTree`].
    pub fn rename(&mut self, tree: Tree, name: &[u8]) -> Result<bool> {
        let old = self.changeable(tree)?;
        if *old == *name {
            return Ok(false);
        }
        self.check_free(name)?;
        self.trees.rename(tree, name);
        self.touched.extend([old, name.into()]);
        Ok(true)
    }

    /// Where a tree begins that may be removed.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`], [`Error::MainTree`].
    pub fn droppable(&self, tree: Tree) -> Result<Root> {
        let _name = self.changeable(tree)?;
        self.root(tree)
    }

    /// Removes a tree.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`], [`Error::MainTree`].
    pub fn remove(&mut self, tree: Tree) -> Result<()> {
        let name = self.changeable(tree)?;
        self.trees.remove(tree);
        self.roots.remove(&tree);
        self.touched.insert(name);
        Ok(())
    }

    /// Brings everything together. Nothing is ahead of [`TreeSet::trees`] afterwards.
    pub fn settle(&mut self) {
        for (tree, root) in self.roots.drain() {
            if self.trees.root(tree) != Some(root) {
                self.trees.set_root(tree, root);
                self.touched.extend(self.trees.name(tree).cloned());
            }
        }
    }

    /// What the catalogue is to say, once settled, of each name that it says something else of.
    pub fn records(&self) -> Vec<Record> {
        let record = |name: &Arc<[u8]>| {
            let tree = self.trees.find(name);
            let entry = tree.and_then(|tree| Some(catalogue::encode(tree, self.trees.root(tree)?)));
            (name.clone(), entry)
        };
        self.touched.iter().map(record).collect()
    }

    /// Makes everything as it was in `before`, but for the numbers of trees that were created
    /// since: a handle on one of those does not come to life again.
    pub fn go_back_to(&mut self, before: &TreeSet) {
        let next = self.trees.next_number();
        *self = before.clone();
        self.trees.skip_numbers(next);
    }

    /// The trees, once settled.
    pub fn trees(&self) -> &Trees {
        &self.trees
    }

    /// Has anything changed since the transaction began?
    pub fn is_unchanged(&self) -> bool {
        self.touched.is_empty()
            && self.roots.iter().all(|(tree, root)| self.trees.root(*tree) == Some(*root))
    }

    /// The name of a tree that may be renamed and removed.
    fn changeable(&self, tree: Tree) -> Result<Arc<[u8]>> {
        if tree == Tree::MAIN {
            return Err(Error::MainTree);
        }
        self.trees.name(tree).cloned().ok_or(Error::NoSuchTree { tree: tree.as_u32() })
    }

    fn check_free(&self, name: &[u8]) -> Result<()> {
        match self.trees.find(name) {
            None => Ok(()),
            Some(_) => Err(Error::TreeExists { name: name.escape_ascii().to_string() }),
        }
    }
}
