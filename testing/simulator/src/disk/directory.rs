//! What files are called.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pending::PowerCut;

/// Names of files: what everybody sees, what is durable, and what is between the two.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    visible: Entries,
    durable: Entries,
    /// In the order of their sequence numbers.
    pending: Vec<(u64, EntryChange)>,
}

/// Numbers of files by their paths. There are few.
#[derive(Clone, Debug, Default)]
struct Entries(Vec<(Arc<Path>, usize)>);

#[derive(Clone, Debug)]
enum EntryChange {
    Create { path: Arc<Path>, file: usize },
    Remove { path: Arc<Path> },
    Rename { from: Arc<Path>, to: Arc<Path>, file: usize },
}

impl Entries {
    fn find(&self, path: &Path) -> Option<usize> {
        self.0.iter().find(|(own, _)| **own == *path).map(|(_, file)| *file)
    }

    fn remove(&mut self, path: &Path) {
        self.0.retain(|(own, _)| **own != *path);
    }

    fn insert(&mut self, path: &Arc<Path>, file: usize) {
        self.remove(path);
        self.0.push((path.clone(), file));
    }

    fn apply(&mut self, change: &EntryChange) {
        match change {
            EntryChange::Create { path, file } => self.insert(path, *file),
            EntryChange::Remove { path } => self.remove(path),
            EntryChange::Rename { from, to, file } => {
                self.remove(from);
                self.insert(to, *file);
            }
        }
    }
}

impl EntryChange {
    /// Is it a change of this directory?
    fn is_in(&self, directory: &Path) -> bool {
        match self {
            EntryChange::Create { path, .. } | EntryChange::Remove { path } => {
                directory_of(path) == directory
            }
            EntryChange::Rename { from, to, .. } => {
                directory_of(from) == directory || directory_of(to) == directory
            }
        }
    }

    fn file(&self) -> Option<usize> {
        match self {
            EntryChange::Create { file, .. } | EntryChange::Rename { file, .. } => Some(*file),
            EntryChange::Remove { .. } => None,
        }
    }
}

/// The directory that a path names an entry of.
pub(crate) fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        Some(_) | None => PathBuf::from("."),
    }
}

impl Directory {
    /// The file of this name.
    pub fn find(&self, path: &Path) -> Option<usize> {
        self.visible.find(path)
    }

    /// The names that everybody sees, in order.
    pub fn paths(&self) -> Vec<Arc<Path>> {
        let mut paths: Vec<_> = self.visible.0.iter().map(|(path, _)| path.clone()).collect();
        paths.sort();
        paths
    }

    /// Does everybody see a name of this file?
    pub fn shows(&self, file: usize) -> bool {
        self.visible.0.iter().any(|(_, own)| *own == file)
    }

    /// Does anything name this file, or will it after some crash?
    pub fn names(&self, file: usize) -> bool {
        let mut entries = self.visible.0.iter().chain(&self.durable.0);
        entries.any(|(_, own)| *own == file)
            || self.pending.iter().any(|(_, change)| change.file() == Some(file))
    }

    /// How many changes are pending.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    fn change(&mut self, sequence: u64, change: EntryChange) {
        self.visible.apply(&change);
        self.pending.push((sequence, change));
    }

    /// Names a file.
    pub fn create(&mut self, sequence: u64, path: &Arc<Path>, file: usize) {
        self.change(sequence, EntryChange::Create { path: path.clone(), file });
    }

    /// Names a file, durably.
    pub fn create_durable(&mut self, path: &Arc<Path>, file: usize) {
        self.visible.insert(path, file);
        self.durable.insert(path, file);
    }

    /// Takes a name away.
    pub fn remove(&mut self, sequence: u64, path: &Arc<Path>) {
        self.change(sequence, EntryChange::Remove { path: path.clone() });
    }

    /// Gives a file another name, whatever had it.
    pub fn rename(&mut self, sequence: u64, from: &Arc<Path>, to: &Arc<Path>, file: usize) {
        let change = EntryChange::Rename { from: from.clone(), to: to.clone(), file };
        self.change(sequence, change);
    }

    /// Makes durable what was changed in a directory before `before`.
    pub fn sync(&mut self, directory: &Path, before: u64) {
        let durable = &mut self.durable;
        self.pending.retain(|(sequence, change)| {
            let is_covered = *sequence < before && change.is_in(directory);
            if is_covered {
                durable.apply(change);
            }
            !is_covered
        });
    }

    /// The names after a power cut.
    pub fn power_cut(&self, cut: &mut PowerCut<'_>) -> Directory {
        let mut durable = self.durable.clone();
        for (_, change) in &self.pending {
            if cut.keeps_entry() {
                durable.apply(change);
            }
        }
        Directory { visible: durable.clone(), durable, pending: Vec::new() }
    }
}
