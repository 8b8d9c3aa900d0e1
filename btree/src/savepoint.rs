//! Points in a transaction that it can go back to.

use yieldb_core::{is_planted, reached};
use yieldb_pager::write_set::Mark;

use crate::record::TreeChange;
use crate::recorder::RecordMark;
use crate::transaction::Transaction;
use crate::tree_set::TreeSet;
use crate::{Error, Result};

/// A point in a transaction that it can go back to: see [`Transaction::savepoint`].
///
/// It is over when it is released, when the transaction goes back to an older one, and with the
/// transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Savepoint(Mark);

/// What a transaction was like at a savepoint.
#[derive(Debug)]
pub(crate) struct Saved {
    savepoint: Savepoint,
    trees: TreeSet,
    record: RecordMark,
}

impl Transaction {
    /// Notes what the trees are like now. Costs a copy of the list of trees that the
    /// transaction has changed so far; later each page that it has made is copied if it changes
    /// again.
    pub fn savepoint(&mut self) -> Savepoint {
        let (set, pager) = self.write_set_mut();
        let savepoint = Savepoint(set.savepoint(pager));
        let (trees, record) = (self.trees.clone(), self.recorder.mark());
        self.saved.push(Saved { savepoint, trees, record });
        savepoint
    }

    /// Makes everything as it was at the savepoint, which stays; those made behind it are over.
    /// Cost: a look at each page that the transaction has in memory.
    ///
    /// # Errors
    ///
    /// [`Error::SavepointOver`].
    pub fn roll_back_to(&mut self, savepoint: Savepoint) -> Result<()> {
        let index = self.index_of(savepoint)?;
        self.saved.truncate(index + 1);
        self.go_back_in_record(index);
        if !is_planted!(TreesNotRolledBack) {
            self.trees.go_back_to(&self.saved[index].trees);
        }
        let (set, pager) = self.write_set_mut();
        set.roll_back_to(pager, savepoint.0);
        Ok(())
    }

    /// Ends a savepoint, and those made behind it; what was done since stays. Gives back what only
    /// they kept.
    ///
    /// # Errors
    ///
    /// [`Error::SavepointOver`].
    pub fn release(&mut self, savepoint: Savepoint) -> Result<()> {
        let index = self.index_of(savepoint)?;
        self.saved.truncate(index);
        let (set, pager) = self.write_set_mut();
        set.release(pager, savepoint.0);
        Ok(())
    }

    /// Forgets what was recorded since a savepoint, but for the numbers of trees.
    fn go_back_in_record(&mut self, index: usize) {
        let before = &self.saved[index];
        self.recorder.go_back_to(before.record);
        let next = self.trees.next_number();
        if next > before.trees.next_number() {
            self.recorder.note(TreeChange::PassOver { next });
        }
    }

    fn index_of(&self, savepoint: Savepoint) -> Result<usize> {
        let index = self.saved.iter().position(|saved| saved.savepoint == savepoint);
        index.ok_or(Error::SavepointOver)
    }
}

/// A stretch of work in a transaction that is undone when this is dropped, unless it is kept.
#[derive(Debug)]
pub(crate) struct Tentative<'t> {
    pub transaction: &'t mut Transaction,
    /// `None` once the work is kept.
    since: Option<Savepoint>,
}

impl<'t> Tentative<'t> {
    /// Everything that is done from now on is tentative.
    pub fn begin(transaction: &'t mut Transaction) -> Tentative<'t> {
        let since = Some(transaction.savepoint());
        Tentative { transaction, since }
    }

    /// The work stays.
    pub fn keep(mut self) {
        if let Some(since) = self.since.take() {
            self.transaction.release(since).expect("nobody else has ended it");
        }
    }
}

impl Drop for Tentative<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since.take() {
            reached!(WorkUndone);
            let undone = if is_planted!(TentativeWorkKept) {
                Ok(())
            } else {
                self.transaction.roll_back_to(since)
            };
            let ended = undone.and_then(|()| self.transaction.release(since));
            ended.expect("nobody else has ended it");
        }
    }
}
