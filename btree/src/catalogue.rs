//! The tree of trees: the name of each tree, and where it begins.
//!
//! An entry's key is the tree's name. Its value, all integers little-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | the reference to the root, 0 for an empty tree |
//! | 8 | 8 | how many entries the tree has |
//! | 16 | 4 | the tree's number |
//! | 20 | 1 | the root's level |
//!
//! The tree named `main` has the number 0; as long as nothing was ever stored in it, it may be
//! missing.

use yieldb_pager::{MAIN_NAME, PageRef, Root, Tree};

use crate::node::Stored;

/// The length of an entry's value in bytes.
pub(crate) const ENTRY_LEN: usize = 21;

/// The value for a tree.
pub(crate) fn encode(tree: Tree, root: Root) -> [u8; ENTRY_LEN] {
    let mut entry = [0; ENTRY_LEN];
    entry[..8].copy_from_slice(&root.page.map_or(0, PageRef::as_u64).to_le_bytes());
    entry[8..16].copy_from_slice(&root.count.to_le_bytes());
    entry[16..20].copy_from_slice(&tree.as_u32().to_le_bytes());
    entry[20] = root.level;
    entry
}

/// The tree that an entry names.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn parse(name: &[u8], entry: Stored<'_>) -> Result<(Tree, Root), &'static str> {
    let Stored::Here(entry) = entry else { return Err("a catalogue entry that is large") };
    let entry: &[u8; ENTRY_LEN] =
        entry.try_into().map_err(|_| "a catalogue entry of another length")?;
    let (page, rest) = entry.split_first_chunk::<8>().expect("the entry is long enough");
    let (count, rest) = rest.split_first_chunk::<8>().expect("the entry is long enough");
    let (tree, _) = rest.split_first_chunk::<4>().expect("the entry is long enough");
    let page = match u64::from_le_bytes(*page) {
        0 => None,
        bits => Some(PageRef::from_u64(bits)),
    };
    let tree = Tree::from_u32(u32::from_le_bytes(*tree));
    let root = Root { page, level: entry[20], count: u64::from_le_bytes(*count) };
    if root.page.is_none() && root != Root::default() {
        return Err("a catalogue entry of a tree with entries and no root");
    }
    if usize::from(root.level) > crate::node::MAX_LEVEL {
        return Err("a catalogue entry with an impossible level");
    }
    if (tree == Tree::MAIN) != (name == MAIN_NAME) {
        return Err("a catalogue entry with the name or the number of the tree `main`");
    }
    Ok((tree, root))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: Tree = Tree::from_u32(5);

    #[test]
    fn what_was_encoded_is_parsed() {
        let root = Root { page: Some(PageRef::from_u64(77)), level: 3, count: 123_456 };
        assert_eq!(parse(b"a", Stored::Here(&encode(TREE, root))), Ok((TREE, root)));
        let main = encode(Tree::MAIN, Root::default());
        assert_eq!(parse(MAIN_NAME, Stored::Here(&main)), Ok((Tree::MAIN, Root::default())));
    }

    #[test]
    fn hostile_entries_are_refused() {
        assert!(parse(b"a", Stored::Here(b"")).is_err());
        assert!(parse(b"a", Stored::Here(&[0; 22])).is_err());
        let without_root = Root { page: None, level: 0, count: 4 };
        assert!(parse(b"a", Stored::Here(&encode(TREE, without_root))).is_err());
        let deep = Root { page: Some(PageRef::from_u64(77)), level: 255, count: 1 };
        assert!(parse(b"a", Stored::Here(&encode(TREE, deep))).is_err());
        assert!(parse(MAIN_NAME, Stored::Here(&encode(TREE, Root::default()))).is_err());
        assert!(parse(b"a", Stored::Here(&encode(Tree::MAIN, Root::default()))).is_err());
    }
}
