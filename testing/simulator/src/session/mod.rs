//! The operations of a plan, each done on the database and on the model.

mod changes;
mod reads;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use yieldb::{Batch, Database, Durability, Error, KeyRange, Snapshot, WriteTransaction};
use yieldb_pager::PageSize;
use yieldb_pager::superblock::reserved_page_count;

use crate::host::{Doing, Host, Patience, drive};
use crate::model::{History, State};
use crate::plan::{Change, Edit, Ending, Operation, Plan, Read, Way};
use crate::tolerance::{Tolerance, Trouble};
pub use changes::Work;
pub use reads::{View, compare};

/// A database that is open, and what should be in it.
pub struct Session<'r> {
    plan: &'r Plan,
    host: &'r Host,
    history: Rc<RefCell<History>>,
    tolerance: Tolerance,
    database: Database,
    held: Vec<(Snapshot, Arc<State>)>,
}

/// The most commits that one compaction makes.
const MOST_COMMITS: usize = 400;

impl<'r> Session<'r> {
    /// The session of a database that was just opened, in the last version of `history`.
    pub fn new(
        plan: &'r Plan,
        host: &'r Host,
        history: Rc<RefCell<History>>,
        tolerance: Tolerance,
        database: Database,
    ) -> Session<'r> {
        Session { plan, host, history, tolerance, database, held: Vec::new() }
    }

    /// Does one operation.
    ///
    /// # Errors
    ///
    /// When the database is poisoned: only opening it again helps.
    ///
    /// # Panics
    ///
    /// If the outcome is not what it should be.
    pub async fn operate(&mut self, operation: &Operation) -> Result<(), Trouble> {
        let done = match operation {
            Operation::Transaction { changes, ending } => self.transaction(changes, *ending).await,
            Operation::Batch { changes, way } => self.batch(changes, *way).await,
            Operation::Sync(patience) => self.make_durable(self.database.sync(), *patience).await,
            Operation::Checkpoint(patience) => {
                self.make_durable(self.database.checkpoint(), *patience).await
            }
            Operation::Compact(patience) => self.compact(*patience).await,
            Operation::TakeSnapshot => {
                self.take_snapshot();
                Ok(())
            }
            Operation::ReleaseSnapshot(index) => self.release(*index).await,
            Operation::Read { held, read, patience } => self.read(*held, *read, *patience).await,
            Operation::Check => self.check().await,
            Operation::MakeRoom => {
                self.host.computer.make_room();
                Ok(())
            }
            Operation::Reopen { .. } | Operation::Crash { .. } => {
                unreachable!("it ends the session, or is to")
            }
        };
        match done {
            Err(Trouble::Failed | Trouble::Doomed) => Ok(()),
            other => other,
        }
    }

    /// Closes the database.
    ///
    /// # Errors
    ///
    /// If it is poisoned.
    pub async fn close(self) -> Result<(), Trouble> {
        self.host.doing.set(Doing::Closing);
        let closed = self.database.close().await;
        self.tolerance.ok(closed)?;
        let newest = self.history.borrow().acknowledged();
        self.history.borrow_mut().make_durable(newest);
        for (snapshot, state) in self.held {
            self.tolerance.ok(compare(&snapshot, &state, false).await)?;
        }
        Ok(())
    }

    /// The newest version, with what should be in it.
    fn newest(&self) -> (Snapshot, Arc<State>) {
        let snapshot = self.database.snapshot();
        let state = self.history.borrow_mut().see(snapshot.version());
        self.mark();
        (snapshot, state)
    }

    /// Tells the computer how far things are.
    fn mark(&self) {
        self.host.computer.set_mark(self.history.borrow().mark());
    }

    fn take_snapshot(&mut self) {
        if self.held.len() >= 6 {
            self.held.remove(0);
        }
        let newest = self.newest();
        self.held.push(newest);
    }

    async fn release(&mut self, index: u8) -> Result<(), Trouble> {
        if self.held.is_empty() {
            return Ok(());
        }
        let (snapshot, state) = self.held.remove(usize::from(index) % self.held.len());
        self.tolerance.ok(compare(&snapshot, &state, index.is_multiple_of(2)).await)
    }

    /// Reads from the newest version or from one that is held.
    async fn read(
        &mut self,
        held: Option<u8>,
        read: Read,
        patience: Patience,
    ) -> Result<(), Trouble> {
        let newest = self.newest();
        let (snapshot, state) = match held {
            Some(index) if !self.held.is_empty() => {
                &self.held[usize::from(index) % self.held.len()]
            }
            _ => &newest,
        };
        let (plan, tolerance) = (self.plan, &self.tolerance);
        View { plan, tolerance, snapshot, state }.read(read, patience).await
    }

    /// A transaction, with what should be in it: behind every commit before, durable or not.
    async fn begin(&self) -> Result<(WriteTransaction, State), Trouble> {
        let begun = self.database.begin().await;
        let transaction = self.tolerance.ok(begun)?;
        let state = self.history.borrow_mut().go_on_from(transaction.version());
        Ok((transaction, State::clone(&state)))
    }

    async fn transaction(&mut self, changes: &[Change], ending: Ending) -> Result<(), Trouble> {
        let (transaction, state) = self.begin().await?;
        let mut work = Work::new(self.plan, self.host, &self.tolerance, transaction, state);
        for change in changes {
            work.change(change).await?;
        }
        let Work { transaction, state, .. } = work;
        match ending {
            Ending::GiveUp => drop(transaction),
            Ending::Commit(way) => {
                let commit = transaction.commit_with(way.durability);
                self.commit(commit, state, way).await?;
            }
        }
        Ok(())
    }

    /// Drives a commit of `state`.
    async fn commit(
        &mut self,
        commit: impl Future<Output = Result<u64, Error>> + Unpin,
        state: State,
        way: Way,
    ) -> Result<(), Trouble> {
        self.history.borrow_mut().submit(state, way.durability);
        self.mark();
        self.host.doing.set(Doing::Committing);
        let version = drive(commit, way.patience).await;
        let concluded = self.conclude(version, way.durability).await;
        self.host.doing.set(Doing::Working);
        concluded
    }

    /// Makes durable what is acknowledged, in the log or in the file.
    async fn make_durable(
        &self,
        making: impl Future<Output = Result<u64, Error>> + Unpin,
        patience: Patience,
    ) -> Result<(), Trouble> {
        let (newest, _) = self.newest();
        self.host.doing.set(Doing::Syncing);
        let synced = drive(making, patience).await;
        self.host.doing.set(Doing::Working);
        let Some(synced) = synced else { return Ok(()) };
        let version = self.tolerance.ok(synced)?;
        assert!(version >= newest.version(), "version {version} is durable");
        self.history.borrow_mut().make_durable(version);
        self.mark();
        Ok(())
    }

    /// Makes the file shorter, by commits that change nothing that can be read.
    async fn compact(&mut self, patience: Patience) -> Result<(), Trouble> {
        let (transaction, state) = self.begin().await?;
        drop(transaction);
        for _ in 0..MOST_COMMITS {
            self.history.borrow_mut().submit(state.clone(), Durability::Relaxed);
        }
        self.mark();
        self.host.doing.set(Doing::Compacting);
        let compacted = drive(self.database.compact(), patience).await;
        self.host.doing.set(Doing::Working);
        if let Some(Err(error)) = &compacted
            && let trouble = self.tolerance.trouble(error)
            && trouble != Trouble::Failed
        {
            return Err(trouble);
        }
        // Those that never came to be are forgotten.
        drop(self.begin().await?);
        let (newest, _) = self.newest();
        if let Some(Ok(compacted)) = compacted {
            assert!(compacted.pages > 0, "{compacted:?}");
            self.history.borrow_mut().make_durable(newest.version());
            self.mark();
        }
        Ok(())
    }

    async fn batch(&mut self, changes: &[Change], way: Way) -> Result<(), Trouble> {
        let (transaction, mut state) = self.begin().await?;
        let mut batch = Batch::new();
        for change in changes {
            let name = Plan::tree_name(change.tree);
            let Some(tree) = transaction.tree(&name) else { continue };
            let entries = state.entries_mut(&name);
            match &change.edit {
                Edit::Delete(key) => {
                    let key = self.plan.key(*key);
                    batch.delete(tree, &key);
                    entries.remove(&key);
                }
                Edit::DeleteRange(from, to) => {
                    let (from, to) = (self.plan.key(*from), self.plan.key(*to));
                    batch.delete_range(tree, KeyRange::all().from(&from).to(&to));
                    entries.retain(|key, _| *key < from || *key >= to);
                }
                Edit::Put(key, value) => {
                    let key = self.plan.key(*key);
                    batch.put(tree, &key, value.bytes());
                    entries.insert(key, *value);
                }
                other => unreachable!("{other:?} in a batch"),
            }
        }
        drop(transaction);
        let database = self.database.clone();
        self.commit(database.write_with(&batch, way.durability), state, way).await
    }

    /// Takes the outcome of a commit: `None` if nobody waited for it. Then it may be under way, or
    /// never come to be: whoever goes on from what there is finds out.
    async fn conclude(
        &mut self,
        version: Option<Result<u64, Error>>,
        durability: Durability,
    ) -> Result<(), Trouble> {
        match version {
            Some(Ok(version)) => {
                let mut history = self.history.borrow_mut();
                // The one before, if nothing was changed.
                assert!(version + 1 >= history.last(), "version {version} after a commit");
                history.go_on_from(version);
                let newest = self.database.snapshot().version();
                assert_eq!(newest, version, "the version after a commit");
                history.see(version);
                if durability == Durability::Sync {
                    // Those before it, if nothing was changed.
                    history.make_durable(version);
                }
                drop(history);
                self.mark();
            }
            Some(Err(error)) => {
                let trouble = self.tolerance.trouble(&error);
                if trouble == Trouble::Failed {
                    let mut history = self.history.borrow_mut();
                    let before = history.last() - 1;
                    history.go_on_from(before);
                }
                return Err(trouble);
            }
            None => {
                // Who leaves the queue passes the turn on.
                drop(drive(self.database.begin(), Some(1)).await);
                drop(self.begin().await?);
            }
        }
        Ok(())
    }

    /// Looks for damage, and for pages that nothing uses and nobody can have. Nothing is under way.
    async fn check(&mut self) -> Result<(), Trouble> {
        // What waited for I/O is noticed to be free when the next transaction begins.
        let (transaction, _) = self.begin().await?;
        let (snapshot, state) = self.newest();
        assert_eq!(transaction.version(), snapshot.version(), "nothing is under way");
        drop(transaction);
        if self.plan.shape.session_moments < u32::MAX {
            // It may have been the one that made a checkpoint due.
            self.make_durable(self.database.checkpoint(), None).await?;
        }
        let reached = check(&snapshot, &state, &self.tolerance).await?;
        assert_no_page_is_lost(&self.database, self.plan.shape.page_size, reached);
        Ok(())
    }
}

/// Looks for damage in a version. Returns how many pages its trees have.
///
/// # Errors
///
/// What became of it where there is damage, or a read fails.
///
/// # Panics
///
/// If nothing explains what is found, or other entries are counted than there should be.
pub async fn check(
    snapshot: &Snapshot,
    state: &State,
    tolerance: &Tolerance,
) -> Result<u64, Trouble> {
    let found = async { snapshot.check(|_| {})?.await }.await;
    let report = tolerance.ok(found)?;
    if !report.damages.is_empty() {
        return Err(tolerance.damage(&format!("{:?}", report.damages)));
    }
    assert_eq!(report.entries, state.count(), "the entries of all trees");
    Ok(report.pages - report.map_pages)
}

/// Asserts that exactly the pages are used that the trees of the newest version have, those that
/// only older versions have, and those of the space map. Nothing may be under way.
pub fn assert_no_page_is_lost(database: &Database, page_size: u32, trees: u64) {
    let space = database.info().space;
    let reserved = reserved_page_count(PageSize::new(page_size).expect("a page size"));
    let known = reserved + trees + space.map + space.held;
    assert_eq!(space.used, known, "pages are lost: {space:?}");
}
