//! Reads, each beside what it should come to.

use yieldb::{Error, KeyRange, Snapshot, Tree};

use crate::host::{Patience, drive};
use crate::model::{Entries, State, Value};
use crate::plan::{Plan, Read};
use crate::tolerance::{Tolerance, Trouble};

/// Asserts that a version has what it should have, and nothing else.
///
/// # Errors
///
/// When a read fails.
pub async fn compare(snapshot: &Snapshot, state: &State, backwards: bool) -> Result<(), Error> {
    let listed = snapshot.trees().map(|(_, name, count)| (name, count));
    let expected = state.trees().map(|(name, entries)| (name, entries.len() as u64));
    assert!(listed.eq(expected), "other trees in version {}", snapshot.version());
    for (tree, name, _) in snapshot.trees() {
        let entries = state.entries(name).expect("it was listed");
        if backwards {
            compare_tree(snapshot, tree, &mut entries.iter().rev(), true).await?;
        } else {
            compare_tree(snapshot, tree, &mut entries.iter(), false).await?;
        }
    }
    Ok(())
}

async fn compare_tree<'e>(
    snapshot: &Snapshot,
    tree: Tree,
    expected: &mut dyn Iterator<Item = (&'e Vec<u8>, &'e Value)>,
    backwards: bool,
) -> Result<(), Error> {
    let mut cursor = snapshot.cursor(tree, KeyRange::all());
    loop {
        let entry = if backwards { cursor.previous().await? } else { cursor.next().await? };
        let expected = expected.next();
        let Some(entry) = entry else {
            assert_eq!(expected, None, "an entry is missing");
            return Ok(());
        };
        assert_eq!(Some(entry.key()), expected.map(|(key, _)| &key[..]), "the next key");
        assert_value(Some(entry.value()), expected.map(|(_, value)| value));
    }
}

/// Asserts that a value is the one that should be there.
pub fn assert_value(found: Option<&[u8]>, expected: Option<&Value>) {
    match (found, expected) {
        (None, None) => {}
        (Some(bytes), Some(value)) if value.is(bytes) => {}
        (found, expected) => {
            let len = found.map(<[u8]>::len);
            panic!("another value: {len:?} bytes are found, {expected:?} should be");
        }
    }
}

/// A version that is read, and what should be in it.
pub struct View<'r> {
    /// For the keys.
    pub plan: &'r Plan,
    /// Which errors may be.
    pub tolerance: &'r Tolerance,
    /// The version.
    pub snapshot: &'r Snapshot,
    /// What should be in it.
    pub state: &'r State,
}

impl View<'_> {
    /// Reads, and compares.
    ///
    /// # Errors
    ///
    /// What became of a read that failed.
    pub async fn read(&self, read: Read, patience: Patience) -> Result<(), Trouble> {
        match read {
            Read::Get(tree, number) => {
                let Some((tree, entries)) = self.tree(tree) else { return Ok(()) };
                let key = self.plan.key(number);
                let Some(found) = drive(self.snapshot.get(tree, &key), patience).await else {
                    return Ok(());
                };
                assert_value(self.tolerance.ok(found)?.as_deref(), entries.get(&key));
                Ok(())
            }
            Read::MultiGet(tree, count) => self.multi_get(tree, count, patience).await,
            Read::Scan { backwards } => {
                self.tolerance.ok(compare(self.snapshot, self.state, backwards).await)
            }
            Read::Count(tree, from, to) => self.count(tree, from, to, patience).await,
        }
    }

    /// A tree, and what should be in it; `None` if the version has no such tree.
    fn tree(&self, tree: u8) -> Option<(Tree, &Entries)> {
        let name = Plan::tree_name(tree);
        let (tree, entries) = (self.snapshot.tree(&name), self.state.entries(&name));
        assert_eq!(tree.is_some(), entries.is_some(), "which trees there are");
        tree.zip(entries)
    }

    async fn count(&self, tree: u8, from: u16, to: u16, patience: Patience) -> Result<(), Trouble> {
        let Some((tree, entries)) = self.tree(tree) else { return Ok(()) };
        let (from, to) = (self.plan.key(from), self.plan.key(to));
        let range = KeyRange::all().from(&from).to(&to);
        if let Some(count) = drive(self.snapshot.count_range(tree, range), patience).await {
            let expected = entries.keys().filter(|key| **key >= from && **key < to).count();
            assert_eq!(self.tolerance.ok(count)?, expected as u64, "entries in a range");
        }
        Ok(())
    }

    async fn multi_get(&self, tree: u8, count: u16, patience: Patience) -> Result<(), Trouble> {
        let Some((tree, entries)) = self.tree(tree) else { return Ok(()) };
        let keys: Vec<Vec<u8>> = (0..count).map(|n| self.plan.key(n.wrapping_mul(31))).collect();
        let mut lookups = self.snapshot.multi_get(tree, keys.iter(), 8);
        let mut answered = 0;
        while let Some(lookup) = drive(lookups.next(), patience).await {
            let Some(lookup) = self.tolerance.ok(lookup)? else {
                assert_eq!(answered, keys.len(), "every key is answered");
                break;
            };
            answered += 1;
            match lookup.value {
                Ok(found) => assert_value(found.as_deref(), entries.get(&lookup.key[..])),
                // The other lookups go on.
                Err(error) => assert_ne!(self.tolerance.trouble(&error.into()), Trouble::Doomed),
            }
        }
        Ok(())
    }
}
