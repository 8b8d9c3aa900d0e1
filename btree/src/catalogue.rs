//! The tree of trees: the name of each tree, and where it begins.
//!
//! An entry's key is the tree's name. Its value, all integers little-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | the reference to the root, 0 for an empty tree |
//! | 8 | 8 | how many entries the tree has |
//! | 16 | 1 | the root's level |

use yieldb_pager::{PageRef, Root};

/// The name of the tree that there always is.
pub(crate) const MAIN: &[u8] = b"main";

/// The length of an entry's value in bytes.
pub(crate) const ENTRY_LEN: usize = 17;

/// The value for a tree's root.
pub(crate) fn encode(root: Root) -> [u8; ENTRY_LEN] {
    let mut entry = [0; ENTRY_LEN];
    entry[..8].copy_from_slice(&root.page.map_or(0, PageRef::as_u64).to_le_bytes());
    entry[8..16].copy_from_slice(&root.count.to_le_bytes());
    entry[16] = root.level;
    entry
}

/// The root that a value names.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn parse(entry: &[u8]) -> Result<Root, &'static str> {
    let entry: &[u8; ENTRY_LEN] =
        entry.try_into().map_err(|_| "a catalogue entry of another length")?;
    let (page, rest) = entry.split_first_chunk::<8>().expect("the entry is long enough");
    let (count, _) = rest.split_first_chunk::<8>().expect("the entry is long enough");
    let page = match u64::from_le_bytes(*page) {
        0 => None,
        bits => Some(PageRef::from_u64(bits)),
    };
    let root = Root { page, level: entry[16], count: u64::from_le_bytes(*count) };
    if root.page.is_none() && root != Root::default() {
        return Err("a catalogue entry of a tree with entries and no root");
    }
    if usize::from(root.level) > crate::node::MAX_LEVEL {
        return Err("a catalogue entry with an impossible level");
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_parsed() {
        let root = Root { page: Some(PageRef::from_u64(77)), level: 3, count: 123_456 };
        assert_eq!(parse(&encode(root)), Ok(root));
        assert_eq!(parse(&encode(Root::default())), Ok(Root::default()));
    }

    #[test]
    fn hostile_entries_are_refused() {
        assert!(parse(b"").is_err());
        assert!(parse(&[0; 18]).is_err());
        let without_root = Root { page: None, level: 0, count: 4 };
        assert!(parse(&encode(without_root)).is_err());
        let deep = Root { page: Some(PageRef::from_u64(77)), level: 255, count: 1 };
        assert!(parse(&encode(deep)).is_err());
    }
}
