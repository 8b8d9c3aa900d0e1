//! Points in a transaction that it can go back to.
//!
//! A savepoint ends a stamp: what was born before it does not change any more, and what is born
//! behind it is told by its birth. What the transaction made, and replaces while a savepoint covers
//! it, is *superseded*: it stays until the last savepoint that covers it is gone.
//!
//! ```text
//!   births   1   2   | savepoint |   3   4   | savepoint |   5
//!                    |  since 3  |           |  since 5  |
//!   killed now:   superseded       superseded            free at once
//! ```

use yieldb_core::{is_planted, reached};

use super::WriteSet;
use crate::{PageId, Pager, Stamp};

/// A savepoint of a transaction. It is over when it is released, when the transaction goes back to
/// an older one, and with the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// What has this birth, or a later one, was made behind the savepoint.
    since: Stamp,
    /// Counted over the transaction's life.
    number: u64,
}

/// What is known of a savepoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Savepoint {
    mark: Mark,
    /// How many pages and runs of the version before had been replaced.
    dead_count: usize,
    /// How many own pages and runs were superseded.
    superseded_count: usize,
}

impl WriteSet {
    /// Seals what was made so far: it stays as it is until the savepoint is over. A run that is not
    /// finished is abandoned. Costs a stamp, and later a copy of each sealed page that is changed.
    pub fn savepoint(&mut self, pager: &Pager) -> Mark {
        self.abandon_run();
        if !is_planted!(SavepointNotSealed) {
            self.advance_stamp(pager);
        }
        let mark = Mark { since: self.stamp, number: self.mark_count };
        self.mark_count += 1;
        self.savepoints.push(Savepoint {
            mark,
            dead_count: self.dead.len(),
            superseded_count: self.superseded.len(),
        });
        mark
    }

    /// Goes back to a savepoint, which stays; those made behind it are over. What was made since is
    /// free or vacated, and what was killed since is alive. Cost: a look at each private page, and
    /// what is freed.
    ///
    /// # Panics
    ///
    /// If the savepoint is over.
    pub fn roll_back_to(&mut self, pager: &Pager, mark: Mark) {
        self.abandon_run();
        reached!(SavepointRolledBack);
        let index = self.index_of(mark);
        self.savepoints.truncate(index + 1);
        let Savepoint { mark: _, dead_count, superseded_count } = self.savepoints[index];
        if self.dead.len() == dead_count || !is_planted!(ReplacedStaysDead) {
            self.dead.truncate(dead_count);
        }
        self.superseded.truncate(superseded_count);
        let private = self.private.extract_if(|_, private| private.birth >= mark.since);
        // The frames go back before the ledger is locked.
        let private: Vec<PageId> = private.map(|(id, _)| id).collect();
        if private.is_empty() || !is_planted!(NumbersOfAbandonedWork) {
            pager.free(private);
        }
        let published = self.published.split_off(mark.since);
        for (birth, run) in published.iter() {
            self.vacate(run, birth);
        }
        self.advance_stamp(pager);
    }

    /// Ends a savepoint, and those made behind it, without going back. What only they kept is free
    /// or vacated.
    ///
    /// # Panics
    ///
    /// If the savepoint is over.
    pub fn release(&mut self, pager: &Pager, mark: Mark) {
        self.release_from(pager, self.index_of(mark));
    }

    /// Ends the savepoints from `index` on.
    pub(super) fn release_from(&mut self, pager: &Pager, index: usize) {
        let Some(savepoint) = self.savepoints.get(index).copied() else { return };
        self.savepoints.truncate(index);
        let killed_since = self.superseded.split_off(savepoint.superseded_count);
        for (run, birth) in killed_since {
            if self.is_saved(birth) {
                self.superseded.push((run, birth));
            } else if self.private.remove(&run.first()).is_some() {
                pager.free([run]);
            } else if self.published.remove(birth, run) {
                self.vacate(run, birth);
            }
        }
    }

    /// Does a savepoint cover what was born then?
    pub(super) fn is_saved(&self, birth: Stamp) -> bool {
        self.savepoints.last().is_some_and(|savepoint| birth < savepoint.mark.since)
    }

    fn index_of(&self, mark: Mark) -> usize {
        let index = self.savepoints.iter().position(|savepoint| savepoint.mark == mark);
        index.unwrap_or_else(|| panic!("{mark:?} is over"))
    }
}
