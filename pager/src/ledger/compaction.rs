//! Where numbers are given out, and how a file is made shorter.

use yieldb_core::Completion;

use super::{Ledger, spare};
use crate::PageRun;
use crate::cache::Cache;

impl Ledger {
    /// A stretch begins, in which numbers are given out in front while somebody compacts the file.
    pub(super) fn begin_stretch(&mut self) {
        let live = self.live();
        match self.compaction {
            None => self.space.begin_stretch(live + spare(live)),
            Some(_) => self.space.fill_from(self.floor),
        }
    }

    /// Somebody compacts the file.
    ///
    /// # Errors
    ///
    /// What to wait for before asking again: somebody else does.
    pub fn begin_compaction(&mut self) -> Result<(), Completion> {
        match &mut self.compaction {
            Some(other) => {
                if other.finished() {
                    // Somebody who waits has cancelled it.
                    *other = Completion::signal();
                }
                Err(other.clone())
            }
            none => {
                *none = Some(Completion::signal());
                Ok(())
            }
        }
    }

    /// Nobody does any more. Returns what others wait for.
    pub fn end_compaction(&mut self) -> Option<Completion> {
        let over = self.compaction.take();
        self.begin_stretch();
        over
    }

    /// As long as the file is compacted, new pages go behind `floor` pages, the lowest numbers
    /// there first.
    pub fn set_floor(&mut self, floor: u64) {
        self.floor = floor;
        self.begin_stretch();
    }

    /// Where a run would go now.
    pub fn place_for_run(&self, count: u64) -> PageRun {
        self.space.place_for_run(count)
    }

    /// How many pages from the first one on are so many that at most one in 32 of them is free.
    pub fn dense_count(&self) -> u64 {
        self.space.dense_count()
    }

    /// Forgets the numbers behind the last one that is used, when nobody can take one: to how many
    /// pages the file is to be cut; `None` if it has no more.
    pub fn begin_cut(&mut self, cache: &Cache) -> Option<u64> {
        self.settle(cache);
        self.uncut = self.uncut.max(self.space.page_count());
        self.space.trim();
        let count = self.space.page_count();
        assert!(count >= self.durable.page_count, "the durable checkpoint would be cut");
        (count < self.uncut).then_some(count)
    }

    /// The file was cut.
    pub fn end_cut(&mut self) {
        self.uncut = 0;
    }
}
