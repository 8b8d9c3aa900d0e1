//! Writing sorted entries to the sort file.

use std::fmt;
use std::ops::Range;

use yieldb_core::{Buffer, Completion};
use yieldb_pager::Pager;

use super::Limits;
use super::block::{HEADER_LEN, record_len, seal, write_record};
use super::sort_file::SortFile;
use crate::Result;
use crate::node::Stored;

/// A run that is being written. While one block is on its way the next one is filled.
pub(super) struct RunWriter {
    /// Where it begins, in frames.
    first: u64,
    block: usize,
    frames: Vec<Buffer>,
    /// Where the records end in each of them but the last.
    ends: Vec<usize>,
    /// Where they end in the last one.
    end: usize,
    writing: Option<Completion>,
}

impl RunWriter {
    /// Begins a run at the end of the file.
    pub fn new(file: &SortFile, limits: Limits) -> RunWriter {
        RunWriter {
            first: file.len(),
            block: limits.block,
            frames: Vec::new(),
            ends: Vec::new(),
            end: 0,
            writing: None,
        }
    }

    /// Takes an entry. `false`, and nothing has changed, if it has no [room](RunWriter::prepare).
    #[inline]
    pub fn push(&mut self, key: &[u8], value: Stored<'_>) -> bool {
        let len = record_len(key, value);
        let Some(frame) = self.frames.last_mut().filter(|frame| self.end + len <= frame.len())
        else {
            return false;
        };
        write_record(frame, self.end, key, value);
        self.end += len;
        true
    }

    /// Makes room for another entry: `None` if there is some, otherwise what to wait for before
    /// asking again.
    ///
    /// # Errors
    ///
    /// A failed write.
    pub fn prepare(&mut self, file: &mut SortFile, pager: &Pager) -> Result<Option<Completion>> {
        if self.frames.len() == self.block
            && let Some(io) = self.write(file)?
        {
            return Ok(Some(io));
        }
        match pager.cache().take_frame() {
            Ok(frame) => {
                if !self.frames.is_empty() {
                    self.ends.push(self.end);
                }
                self.frames.push(frame);
                self.end = HEADER_LEN;
                Ok(None)
            }
            Err(signal) => Ok(Some(signal)),
        }
    }

    /// Ends the run: the frames that it is in, or what to wait for before asking again.
    ///
    /// # Errors
    ///
    /// A failed write.
    pub fn finish(
        &mut self,
        file: &mut SortFile,
    ) -> Result<std::result::Result<Range<u64>, Completion>> {
        loop {
            if let Some(io) = self.settle()? {
                return Ok(Err(io));
            }
            if self.frames.is_empty() {
                return Ok(Ok(self.first..file.len()));
            }
            if let Some(io) = self.write(file)? {
                return Ok(Err(io));
            }
        }
    }

    /// Begins to write the block, once the one before is written.
    fn write(&mut self, file: &mut SortFile) -> Result<Option<Completion>> {
        if let Some(io) = self.settle()? {
            return Ok(Some(io));
        }
        self.ends.push(self.end);
        let places = file.len()..;
        for ((frame, end), place) in self.frames.iter_mut().zip(self.ends.drain(..)).zip(places) {
            seal(frame, end, place);
        }
        self.writing = Some(file.append(self.frames.drain(..).map(Buffer::share)));
        Ok(None)
    }

    /// What to wait for before the last write is over.
    fn settle(&mut self) -> Result<Option<Completion>> {
        let Some(io) = &self.writing else { return Ok(None) };
        if !io.finished() {
            return Ok(Some(io.clone()));
        }
        let error = io.get_error();
        self.writing = None;
        error.map_or(Ok(None), |error| Err(error.into()))
    }
}

impl fmt::Debug for RunWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from frame {} on, {} in hand, {:?}", self.first, self.frames.len(), self.writing)
    }
}
