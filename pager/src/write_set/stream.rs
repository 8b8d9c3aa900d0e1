//! Pages that are written as they are made, in large pieces: for whoever builds a tree in order.
//!
//! ```text
//!   prepare_stream --> take_fresh --> insert ---.
//!        ^  '-- enough are private: they are    |
//!        |      published and written           |
//!        '--------------------------------------'
//! ```
//!
//! The pages of a piece have neighbouring numbers where the file has them, and all pieces have the
//! same stamp, as long as no number comes back that was written with it.

use yieldb_core::Completion;

use super::{Fresh, WriteSet};
use crate::{Pager, Result};

impl WriteSet {
    /// Sees to it that `count` pages can be [taken](WriteSet::take_fresh): `None` if they can,
    /// otherwise what to wait for before asking again. Writes the private pages where they make a
    /// large piece; a few pieces are on their way at a time.
    ///
    /// # Errors
    ///
    /// The failure of an earlier write: the transaction is doomed.
    pub fn prepare_stream(&mut self, pager: &Pager, count: usize) -> Result<Option<Completion>> {
        let is_piece = self.private.len() >= pager.piece_len();
        if is_piece && let Some(io) = self.write_stream(pager)? {
            return Ok(Some(io));
        }
        self.check_writes()?;
        self.renew_stamp(pager);
        if self.reserve.numbers.len() < count {
            pager.allocate(count.max(pager.piece_len()), &mut self.reserve.numbers);
            // The lowest is taken first, so that neighbours are made one behind the other.
            self.reserve.numbers.sort_unstable_by(|left, right| right.cmp(left));
        }
        while self.reserve.frames.len() < count {
            match pager.cache().take_frame() {
                Ok(frame) => self.reserve.frames.push(frame),
                Err(signal) => return Ok(Some(signal)),
            }
        }
        Ok(None)
    }

    /// How many pages can be taken now.
    pub fn ready_count(&self) -> usize {
        self.reserve.count()
    }

    /// A page to be built and [inserted](WriteSet::insert).
    ///
    /// # Panics
    ///
    /// If none [is ready](WriteSet::prepare_stream).
    pub fn take_fresh(&mut self) -> Fresh {
        self.reserve.take()
    }

    /// Publishes and writes the private pages, which do not change in place any more. `None` if
    /// their writes are submitted, otherwise what to wait for before asking again.
    ///
    /// # Errors
    ///
    /// The failure of an earlier write: the transaction is doomed.
    pub fn write_stream(&mut self, pager: &Pager) -> Result<Option<Completion>> {
        self.check_writes()?;
        if self.private.is_empty() {
            return Ok(None);
        }
        let count = self.private.len();
        if self.writes.page_count() + count > pager.stream_limit()
            && let Some(io) = self.writes.oldest()
        {
            return Ok(Some(io));
        }
        self.has_spilled = true;
        let pages = self.publish();
        self.hand_to_cache(pager);
        self.writes.push(pager.write_out(&pages), pages.len());
        Ok(None)
    }

    /// Gives back what was made ready and not taken, so that the file has no holes.
    pub fn end_stream(&mut self, pager: &Pager) {
        self.reserve.frames.clear();
        pager.free(self.reserve.numbers.drain(..));
    }

    /// The writes in flight, if there are any: `None` when all that is published is in the file.
    ///
    /// # Errors
    ///
    /// The failure of an earlier write: the transaction is doomed.
    pub fn settle_stream(&mut self) -> Result<Option<Completion>> {
        self.settle()
    }
}
