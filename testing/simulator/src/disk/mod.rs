//! A disk: files, what they are called, and what is durable of both.
//!
//! ```text
//!             write, truncate, create ..        sync (of what had finished before it)
//!   visible  ---------------------------> pending ----------------------------------> durable
//!                                            |
//!                                            `--- power cut: lost, kept, or torn at sectors
//! ```
//!
//! A disk is plain data. A copy costs a count for each file, and shares the blocks: thousands of
//! crashes can be tried from one moment.

mod blocks;
mod directory;
mod inode;
mod pending;

use std::path::Path;
use std::sync::Arc;

use blocks::Blocks;
pub(crate) use blocks::{ALL_SECTORS, MAX_FILE_LEN};
pub use blocks::{BLOCK_LEN, SECTOR_LEN};
use directory::Directory;
pub(crate) use directory::directory_of;
pub(crate) use inode::{Inode, Landing};
pub(crate) use pending::Pieces;
use pending::PowerCut;
pub use pending::{Choice, CrashEffects};

/// Files by name, and what a power cut may take of them.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// By number. One that nothing names any more is gone after the next crash.
    files: Vec<Option<Arc<Inode>>>,
    directory: Arc<Directory>,
    /// The number of the next change.
    sequence: u64,
}

impl Disk {
    /// A disk without files.
    pub fn new() -> Disk {
        Disk::default()
    }

    /// The bytes of a file, as everybody sees them.
    pub fn image(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let file = self.directory.find(path.as_ref())?;
        Some(self.file(file).visible().to_bytes())
    }

    /// Gives a file other bytes, or creates it with them. All of it is durable at once.
    pub fn set_image(&mut self, path: impl AsRef<Path>, bytes: &[u8]) {
        let inode = Inode::new(Blocks::from_bytes(bytes));
        let path = Arc::from(path.as_ref());
        let file = match self.directory.find(&path) {
            Some(file) => file,
            None => self.new_file(),
        };
        self.files[file] = Some(Arc::new(inode));
        Arc::make_mut(&mut self.directory).create_durable(&path, file);
    }

    /// The names of all files, in order.
    pub fn paths(&self) -> Vec<Arc<Path>> {
        self.directory.paths()
    }

    /// How many changes a power cut decides about: writes, lengths and directory entries. So many
    /// bits does [`Choice::Subset`] have a use for.
    pub fn pending_count(&self) -> usize {
        let files = self.files.iter().flatten();
        self.directory.pending_count() + files.map(|file| file.pending_count()).sum::<usize>()
    }

    /// The disk after a power cut, and what was lost. Nothing is pending any more.
    pub fn power_cut(&self, choice: &mut Choice) -> (Disk, CrashEffects) {
        let mut cut = PowerCut::new(choice);
        let directory = match self.directory.pending_count() {
            0 => self.directory.clone(),
            _ => Arc::new(self.directory.power_cut(&mut cut)),
        };
        let mut files = Vec::with_capacity(self.files.len());
        for (number, file) in self.files.iter().enumerate() {
            // The fate of what nothing names any more is decided as well: bits keep their meaning.
            let after = file.as_ref().map(|file| Arc::new(file.power_cut(&mut cut)));
            let after = after.filter(|_| directory.names(number));
            let is_lost = after.is_none() && self.directory.shows(number);
            cut.effects.lost_files += u64::from(is_lost);
            files.push(after);
        }
        let effects = cut.effects;
        (Disk { files, directory, sequence: self.sequence }, effects)
    }

    /// From now on a block of a file, counted from 0, cannot be read, whatever is written to it.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn mark_unreadable(&mut self, path: impl AsRef<Path>, block: u64) {
        let file = self.directory.find(path.as_ref()).expect("the file is there");
        self.file_mut(file).mark_unreadable(block);
    }

    /// Turns a bit of a file over, counted from 0. `false`, and nothing turned, if its block is
    /// not durable or lies behind the end.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn flip_bit(&mut self, path: impl AsRef<Path>, bit: u64) -> bool {
        let file = self.directory.find(path.as_ref()).expect("the file is there");
        self.file_mut(file).flip_bit(bit)
    }

    /// Forgets files that nothing names, now or after some crash. Only where none is open.
    pub(crate) fn forget_unnamed(&mut self) {
        for (number, file) in self.files.iter_mut().enumerate() {
            if !self.directory.names(number) {
                *file = None;
            }
        }
    }

    /// The number of the next change: a sync that is submitted now covers those below it.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence - 1
    }

    pub(crate) fn file(&self, file: usize) -> &Inode {
        self.files[file].as_ref().expect("a file that is open is there")
    }

    pub(crate) fn file_mut(&mut self, file: usize) -> &mut Inode {
        Arc::make_mut(self.files[file].as_mut().expect("a file that is open is there"))
    }

    /// A number for a file that is made.
    fn new_file(&mut self) -> usize {
        let free = self.files.iter().position(Option::is_none);
        let file = free.unwrap_or_else(|| {
            self.files.push(None);
            self.files.len() - 1
        });
        self.files[file] = Some(Arc::default());
        file
    }

    /// The file of this name.
    pub(crate) fn find(&self, path: &Path) -> Option<usize> {
        self.directory.find(path)
    }

    /// Makes an empty file. The name is pending.
    pub(crate) fn create(&mut self, path: &Arc<Path>) -> usize {
        let (file, sequence) = (self.new_file(), self.next_sequence());
        Arc::make_mut(&mut self.directory).create(sequence, path, file);
        file
    }

    /// Takes a name away; `false` if there is none.
    pub(crate) fn remove(&mut self, path: &Arc<Path>) -> bool {
        let is_there = self.find(path).is_some();
        if is_there {
            let sequence = self.next_sequence();
            Arc::make_mut(&mut self.directory).remove(sequence, path);
        }
        is_there
    }

    /// Gives a file another name; `false` if there is none of the old one.
    pub(crate) fn rename(&mut self, from: &Arc<Path>, to: &Arc<Path>) -> bool {
        let Some(file) = self.find(from) else { return false };
        let sequence = self.next_sequence();
        Arc::make_mut(&mut self.directory).rename(sequence, from, to, file);
        true
    }

    /// Makes durable what was changed in a directory before `before`.
    pub(crate) fn sync_directory(&mut self, path: &Path, before: u64) {
        if self.directory.pending_count() > 0 {
            Arc::make_mut(&mut self.directory).sync(path, before);
        }
    }

    /// Writes parts, each with its offset. `filter` says for each block which sectors get there;
    /// the file reaches to `end` at least.
    pub(crate) fn write<'a>(
        &mut self,
        file: usize,
        parts: impl Iterator<Item = (u64, &'a [u8])>,
        filter: &mut dyn FnMut() -> u8,
        end: u64,
        durable: bool,
    ) {
        let sequence = self.next_sequence();
        let inode = self.file_mut(file);
        let mut pieces = Pieces::new();
        for (offset, bytes) in parts {
            inode.show(offset, bytes, filter, &mut pieces);
        }
        inode.land(pieces, Landing { sequence, end, durable });
    }

    /// Sets a file's length.
    pub(crate) fn set_len(&mut self, file: usize, len: u64) {
        let sequence = self.next_sequence();
        self.file_mut(file).set_len(sequence, len);
    }

    /// Makes a file at least so long.
    pub(crate) fn grow(&mut self, file: usize, len: u64) {
        let sequence = self.next_sequence();
        let landing = Landing { sequence, end: len, durable: false };
        self.file_mut(file).land(Pieces::new(), landing);
    }
}
