//! Which trees a version has: a name, a number and a root each.
//!
//! Both maps are persistent: versions share what they have in common, so that a commit costs what
//! it changed, however many trees there are. About 200 bytes of memory for each tree.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::PageRef;

/// Where a tree begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// The root node; `None` for a tree without entries.
    pub page: Option<PageRef>,
    /// The root's level; 0 if it is a leaf, or if there is none.
    pub level: u8,
    /// How many entries the tree has.
    pub count: u64,
}

/// A tree of a database: the same one in all versions that have it, whatever its name is there.
///
/// Numbers are not used again: after a tree was dropped, a new one with its name is another tree.
/// Only the number of a tree that was never committed may be another tree's later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tree(u32);

impl Tree {
    /// The tree named `main`, which every version has.
    pub const MAIN: Tree = Tree(0);

    /// The tree with this number.
    pub const fn from_u32(number: u32) -> Tree {
        Tree(number)
    }

    /// Its number.
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

/// The name of the tree that every version has.
pub const MAIN_NAME: &[u8] = b"main";

/// A tree's name and root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeInfo {
    /// Its name.
    pub name: Arc<[u8]>,
    /// Where it begins.
    pub root: Root,
}

/// The trees of a version. Cloning costs nothing: what is not changed afterwards is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trees {
    by_number: RedBlackTreeMapSync<Tree, TreeInfo>,
    by_name: RedBlackTreeMapSync<Arc<[u8]>, Tree>,
    /// The number of the tree that is created next.
    next: u32,
}

impl Trees {
    /// Only `main`, which is empty; the tree created next has the number `next`.
    pub fn new(next: u32) -> Trees {
        let name: Arc<[u8]> = MAIN_NAME.into();
        let mut by_number = RedBlackTreeMapSync::default();
        let mut by_name = RedBlackTreeMapSync::default();
        by_number.insert_mut(Tree::MAIN, TreeInfo { name: name.clone(), root: Root::default() });
        by_name.insert_mut(name, Tree::MAIN);
        Trees { by_number, by_name, next: next.max(1) }
    }

    /// Where a tree begins, if there is such a tree.
    pub fn root(&self, tree: Tree) -> Option<Root> {
        self.by_number.get(&tree).map(|info| info.root)
    }

    /// A tree's name, if there is such a tree.
    pub fn name(&self, tree: Tree) -> Option<&Arc<[u8]>> {
        self.by_number.get(&tree).map(|info| &info.name)
    }

    /// The tree with a name.
    pub fn find(&self, name: &[u8]) -> Option<Tree> {
        self.by_name.get(name).copied()
    }

    /// The tree with the least number from `number` on.
    pub fn first_from(&self, number: u32) -> Option<Tree> {
        self.by_number.range(Tree(number)..).next().map(|(tree, _)| *tree)
    }

    /// All trees, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (Tree, &TreeInfo)> {
        self.by_name.values().filter_map(|tree| Some((*tree, self.by_number.get(tree)?)))
    }

    /// How many trees there are.
    pub fn count(&self) -> usize {
        self.by_name.size()
    }

    /// The number of the tree that is created next.
    pub fn next_number(&self) -> u32 {
        self.next
    }

    /// Makes sure that no tree created from now on has a number below `next`.
    pub fn skip_numbers(&mut self, next: u32) {
        self.next = self.next.max(next);
    }

    /// Notes where a tree begins now.
    ///
    /// # Panics
    ///
    /// If there is no such tree.
    pub fn set_root(&mut self, tree: Tree, root: Root) {
        let info = self.by_number.get_mut(&tree);
        info.unwrap_or_else(|| panic!("{tree:?} gets a root and does not exist")).root = root;
    }

    /// A new, empty tree with a name that no other has; `None` when all numbers are used.
    ///
    /// # Panics
    ///
    /// If there is a tree with this name.
    pub fn create(&mut self, name: &[u8]) -> Option<Tree> {
        let tree = Tree(self.next);
        self.next = self.next.checked_add(1)?;
        let added = self.add(tree, name, Root::default());
        assert!(added, "two trees with the name \"{}\"", name.escape_ascii());
        Some(tree)
    }

    /// Adds a tree that is known to exist; for `main`, notes where it begins. `false`, and nothing
    /// added, if its number or its name is taken.
    pub fn add(&mut self, tree: Tree, name: &[u8], root: Root) -> bool {
        let is_main = name == MAIN_NAME;
        if is_main && tree == Tree::MAIN {
            self.set_root(tree, root);
            return true;
        }
        if self.by_number.contains_key(&tree) || self.by_name.contains_key(name) {
            return false;
        }
        let name: Arc<[u8]> = name.into();
        self.by_name.insert_mut(name.clone(), tree);
        self.by_number.insert_mut(tree, TreeInfo { name, root });
        true
    }

    /// Removes a tree, and returns what it was.
    pub fn remove(&mut self, tree: Tree) -> Option<TreeInfo> {
        let info = self.by_number.get(&tree)?.clone();
        self.by_number.remove_mut(&tree);
        self.by_name.remove_mut(&info.name);
        Some(info)
    }

    /// Gives a tree another name, which no other tree has.
    ///
    /// # Panics
    ///
    /// If there is no such tree, or one with that name.
    pub fn rename(&mut self, tree: Tree, name: &[u8]) {
        let info = self.remove(tree).unwrap_or_else(|| panic!("{tree:?} does not exist"));
        let added = self.add(tree, name, info.root);
        assert!(added, "two trees with the name \"{}\"", name.escape_ascii());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(trees: &Trees) -> Vec<&[u8]> {
        trees.iter().map(|(_, info)| &*info.name).collect()
    }

    #[test]
    fn versions_share_trees_and_do_not_see_each_others_changes() {
        let mut now = Trees::new(1);
        let users = now.create(b"users").unwrap();
        let before = now.clone();
        let root = Root { page: Some(PageRef::from_u64(7)), level: 1, count: 9 };
        now.set_root(users, root);
        now.rename(users, b"people");
        let logs = now.create(b"logs").unwrap();
        assert_eq!(names(&before), [&b"main"[..], b"users"]);
        assert_eq!(names(&now), [&b"logs"[..], b"main", b"people"]);
        assert_eq!(before.root(users), Some(Root::default()));
        assert_eq!((now.find(b"people"), now.root(users)), (Some(users), Some(root)));
        assert_eq!(now.remove(logs).map(|info| info.root), Some(Root::default()));
        assert_eq!((now.root(logs), now.find(b"logs"), now.count()), (None, None, 2));
        assert_ne!(now.create(b"logs"), Some(logs), "a number was used again");
    }

    #[test]
    fn what_contradicts_itself_is_not_added() {
        let mut trees = Trees::new(9);
        assert!(trees.add(Tree::from_u32(3), b"a", Root::default()));
        assert!(!trees.add(Tree::from_u32(3), b"b", Root::default()), "the number is taken");
        assert!(!trees.add(Tree::from_u32(4), b"a", Root::default()), "the name is taken");
        assert!(!trees.add(Tree::from_u32(4), MAIN_NAME, Root::default()));
        assert!(!trees.add(Tree::MAIN, b"b", Root::default()));
        assert!(trees.add(Tree::MAIN, MAIN_NAME, Root { count: 4, ..Root::default() }));
        assert_eq!(trees.root(Tree::MAIN).map(|root| root.count), Some(4));
    }
}
