//! The file that entries are sorted in where they do not fit memory.
//!
//! It has a name only until it is open: whatever ends the process then, nothing is left of it. That
//! its name is gone is durable before anything is written to it, so that after a power cut an empty
//! file may be left, and never one that could be taken for somebody else's. Who stops to wait for
//! it does not change that, since its name is removed by whatever opens it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use yieldb_core::{
    Completion, CompletionGroup, Create, File, IO, IoError, OpenOptions, Operation, Request,
    SharedBuffer, SharedBuffers,
};
use yieldb_pager::Pager;

use crate::{Error, Result};

/// The file that entries are sorted in.
pub(super) struct SortFile {
    path: PathBuf,
    file: Arc<OnceLock<Arc<dyn File>>>,
    /// It is open, and has no name any more.
    ready: Completion,
    /// How many frames it has.
    len: u64,
    page_len: u64,
}

impl SortFile {
    /// Begins to make the file beside the database's.
    pub fn begin(pager: &Pager) -> SortFile {
        let mut name = OsString::from(pager.file().path());
        name.push("-sort");
        let path = PathBuf::from(name);
        let (file, ready) = (Arc::new(OnceLock::new()), Completion::directory());
        let open = Completion::open();
        let mut group = {
            let (file, ready, open) = (file.clone(), ready.clone(), open.clone());
            let (path, io) = (path.clone(), Arc::downgrade(pager.io()));
            CompletionGroup::new(move |result| {
                let opened = result.clone().and_then(|()| accept(&path, &open));
                match (opened, io.upgrade()) {
                    (Ok(opened), Some(io)) => remove(&path, &file, opened, io, ready),
                    (Ok(_), None) => drop(ready),
                    (Err(error), _) => {
                        ready.fail(error);
                    }
                }
            })
        };
        group.add(&open);
        let direct = pager.file().is_direct();
        // One that a crash has left is empty, and as good as a new one.
        let options = OpenOptions { write: true, create: Create::IfMissing, direct };
        let io: &dyn IO = &**pager.io();
        io.open(&path, options, open);
        let _opened = group.build();
        SortFile { path, file, ready, len: 0, page_len: pager.page_size().bytes() as u64 }
    }

    /// What to wait for before the file can be used; `None` if it can be.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn prepare(&self) -> Result<Option<Completion>> {
        if !self.ready.finished() {
            return Ok(Some(self.ready.clone()));
        }
        match self.ready.get_error() {
            Some(error) => Err(error.into()),
            None => Ok(None),
        }
    }

    /// How many frames it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Begins to write frames at the end.
    pub fn append(&mut self, frames: impl IntoIterator<Item = SharedBuffer>) -> Completion {
        let frames: SharedBuffers = frames.into_iter().collect();
        let offset = self.len * self.page_len;
        self.len += frames.len() as u64;
        let io = Completion::write(frames);
        self.file().write(offset, false, io.clone());
        io
    }

    /// The file itself.
    ///
    /// # Panics
    ///
    /// If it [is not ready](SortFile::prepare).
    pub fn file(&self) -> &dyn File {
        &**self.file.get().expect("the sort file is ready before it is used")
    }

    /// The error for a frame that is not what was written.
    pub fn damaged(&self, place: u64, what: &'static str) -> Error {
        Error::SortFile { path: self.path.clone(), offset: place * self.page_len, what }
    }
}

/// Takes the file's name away, durably, and says that it is ready.
///
/// The name may be gone already: a load that was dropped while it began opened the same file, and
/// took its name away. It never got to use it.
fn remove(
    path: &Path,
    slot: &OnceLock<Arc<dyn File>>,
    file: Arc<dyn File>,
    io: Arc<dyn IO>,
    ready: Completion,
) {
    let directory = file.directory();
    let _first = slot.set(file).is_ok();
    let removed = Completion::directory();
    let mut group = {
        let io = io.clone();
        CompletionGroup::new(move |result| match result {
            Err(error) if error.errno() != Some(ENOENT) => {
                ready.fail(error.clone());
            }
            Ok(()) | Err(_) => io.sync_directory(&directory, ready),
        })
    };
    group.add(&removed);
    io.remove(path, removed);
    let _synced = group.build();
}

/// The file that was opened, unless it is somebody else's.
fn accept(path: &Path, open: &Completion) -> yieldb_core::Result<Arc<dyn File>> {
    let file = open.take_file().expect("an open that succeeded has a file");
    if file.size()? == 0 {
        return Ok(file);
    }
    let (operation, errno) = (Operation::Open, EEXIST);
    Err(IoError { operation, file: Arc::from(path), offset: 0, len: 0, done: 0, errno }.into())
}

/// "File exists", where the operating systems agree.
const EEXIST: i32 = 17;
/// "No such file or directory", where they agree as well.
const ENOENT: i32 = 2;

impl fmt::Debug for SortFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames in {}", self.len, self.path.display())
    }
}
