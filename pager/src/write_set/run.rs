//! Writing a large value into a run of pages, piece by piece.
//!
//! ```text
//!              .--------- wait ---------.
//!              v                        |
//!   begin --> prepare --> write --> all written? --> finish --> of the transaction
//!              |            |                          |
//!              '------------'-- abandon <--------------' (never called)
//! ```
//!
//! The pages are handed to the file as they are made, those of several short runs together, so a
//! value may be longer than memory: no more than a quarter of the cache is on its way. The run is
//! part of nothing before [`WriteSet::finish_run`], which is to be called in the same step as the
//! change that refers to it. If the operation is dropped before that, the run is abandoned by the
//! next one that is begun, by the next savepoint, or by the transaction's end.

use yieldb_core::{Buffer, Completion, reached};

use super::WriteSet;
use crate::{PageRun, Pager, Result, Stamp, value_page};

/// A run that is being written.
#[derive(Debug)]
pub(super) struct Unfinished {
    run: PageRun,
    /// The stamp of all its pages: the one that was current when it was begun.
    birth: Stamp,
    /// How many of its pages are published.
    published_count: u64,
    /// Frames for the next ones.
    frames: Vec<Buffer>,
}

impl WriteSet {
    /// Begins a run of `count` pages in the lowest place that it fits. One that was begun before,
    /// and is not finished, is abandoned.
    ///
    /// # Errors
    ///
    /// The failure of an earlier write: the transaction is doomed.
    ///
    /// # Panics
    ///
    /// If `count` is 0, or more than there are numbers.
    pub fn begin_run(&mut self, pager: &Pager, count: u64) -> Result<()> {
        self.abandon_run();
        self.check_writes()?;
        self.renew_stamp(pager);
        let run = pager.allocate_run(count);
        self.is_stamp_used = true;
        self.unfinished =
            Some(Unfinished { run, birth: self.stamp, published_count: 0, frames: Vec::new() });
        Ok(())
    }

    /// Sees to it that the next pages of the run can be written, `most` of them at most: `None` if
    /// at least one can, or none is left; otherwise what to wait for before asking again.
    ///
    /// # Errors
    ///
    /// The failure of an earlier write: the transaction is doomed.
    ///
    /// # Panics
    ///
    /// If no run was begun.
    pub fn prepare_run(&mut self, pager: &Pager, most: usize) -> Result<Option<Completion>> {
        let most = most.min(pager.piece_len()) as u64;
        let count = self.run_left().min(most) as usize;
        if let Some(io) = self.await_writes(pager, count)? {
            return Ok(Some(io));
        }
        let unfinished = self.unfinished.as_mut().expect("a run was begun");
        unfinished.frames.truncate(count);
        while unfinished.frames.len() < count {
            match pager.cache().take_frame() {
                Ok(frame) => unfinished.frames.push(frame),
                Err(signal) if unfinished.frames.is_empty() => return Ok(Some(signal)),
                Err(_) => break,
            }
        }
        Ok(None)
    }

    /// Publishes the pages that [`WriteSet::prepare_run`] made ready, writes them if there is a
    /// piece of them, and returns how many those are. `fill` is called for each in order: it copies
    /// the next bytes of the value to the beginning of the body that it is given, whose contents
    /// are arbitrary, and returns how many those are. What is behind them becomes zero.
    ///
    /// # Panics
    ///
    /// If no run was begun.
    pub fn write_run(&mut self, pager: &Pager, mut fill: impl FnMut(&mut [u8]) -> usize) -> usize {
        let unfinished = self.unfinished.as_mut().expect("a run was begun");
        let frames = std::mem::take(&mut unfinished.frames);
        let count = frames.len();
        for mut frame in frames {
            let page = unfinished.run.page(unfinished.published_count);
            let page = page.expect("frames are taken for pages that are left");
            value_page::encode(&mut frame, page, unfinished.birth, &mut fill);
            pager.cache().publish_dirty(page, frame);
            unfinished.published_count += 1;
            self.unwritten.push(page);
        }
        if self.unwritten.len() >= pager.piece_len() && !pager.is_read_only() {
            self.write_runs(pager);
        }
        count
    }

    /// Writes the pages of runs that wait for it.
    pub(super) fn write_runs(&mut self, pager: &Pager) {
        let mut pages = std::mem::take(&mut self.unwritten);
        if !pages.is_empty() {
            pages.sort_unstable();
            self.writes.push(pager.write_out(&pages), pages.len());
        }
    }

    /// The run that is being written, and its birth.
    pub fn run(&self) -> Option<(PageRun, Stamp)> {
        self.unfinished.as_ref().map(|unfinished| (unfinished.run, unfinished.birth))
    }

    /// How many pages of the run are left to be written; 0 if no run was begun.
    pub fn run_left(&self) -> u64 {
        let left = |unfinished: &Unfinished| unfinished.run.count() - unfinished.published_count;
        self.unfinished.as_ref().map_or(0, left)
    }

    /// Makes the run part of the transaction, until it is [killed](WriteSet::kill_run), and returns
    /// it and its birth. Its last writes may be in flight.
    ///
    /// # Panics
    ///
    /// If no run was begun, or some of it is not written.
    pub fn finish_run(&mut self) -> (PageRun, Stamp) {
        let Unfinished { run, birth, published_count, .. } =
            self.unfinished.take().expect("a run was begun");
        assert_eq!(published_count, run.count(), "a run is finished when all of it is written");
        self.published.insert(birth, run);
        (run, birth)
    }

    /// Gives up the run that is not finished, if there is one: its numbers are vacated.
    pub fn abandon_run(&mut self) {
        let Some(Unfinished { run, birth, .. }) = self.unfinished.take() else { return };
        reached!(RunAbandoned);
        self.vacate(run, birth);
    }
}
