//! What tasks do, and what they know of each other.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use simulator::computer::Mark;
use simulator::host::{Host, Patience, drive};
use simulator::model::{Promise, State, Version};
use simulator::plan::{Change, Ending, Operation, Plan, Read, Way};
use simulator::session::{View, Work, check, compare};
use simulator::tolerance::{Tolerance, Trouble};
use yieldb::{Database, Durability, Error, Snapshot};

/// What each version has.
#[derive(Default)]
pub(crate) struct Versions {
    versions: Vec<Version>,
    /// The newest version that somebody has seen.
    seen: u64,
    /// The newest version that no crash may take.
    durable: u64,
}

impl Versions {
    /// A process begins with version `number`, and what it may find was looked at.
    pub fn begin(&mut self, number: u64) {
        self.settle(number);
        self.seen = number;
        self.durable = number;
    }

    /// Version `number` is the newest: those behind it never came to be.
    pub fn settle(&mut self, number: u64) {
        if self.versions.is_empty() {
            self.versions.push(Version::default());
        }
        self.versions.truncate(number as usize + 1);
        assert_eq!(self.versions.len() as u64, number + 1, "version {number} does not exist");
    }

    /// Somebody has seen version `number`.
    pub fn see(&mut self, number: u64) {
        self.seen = self.seen.max(number);
        let strict = Version::last_strict(&self.versions[..=self.seen as usize]);
        self.durable = self.durable.max(strict as u64);
    }

    /// Somebody was told that version `number` is durable.
    pub fn make_durable(&mut self, number: u64) {
        self.durable = self.durable.max(number);
    }

    /// How far things are.
    pub fn mark(&self) -> Mark {
        Mark { durable: self.durable, submitted: self.versions.len().max(1) as u64 - 1 }
    }

    /// What there may be after a crash, when a write to the log was lost at `misplaced`: as long as
    /// nothing that was submitted later is durable, nothing knows of that.
    pub fn promise(&self, is_weak: bool, misplaced: Option<Mark>) -> Promise {
        if self.versions.is_empty() {
            return Promise::new(0, vec![Arc::default()]);
        }
        let first = match misplaced {
            _ if is_weak => 0,
            Some(mark) if mark.submitted >= self.durable => mark.durable,
            Some(_) | None => self.durable,
        };
        let states = self.versions[first as usize..].iter().map(|version| version.state.clone());
        Promise::new(first, states.collect())
    }
}

/// What all tasks have in common.
pub(crate) struct Shared<'p> {
    pub plan: &'p Plan,
    pub host: &'p Host,
    pub tolerance: Tolerance,
    pub database: Database,
    pub versions: Rc<RefCell<Versions>>,
}

impl Shared<'_> {
    /// One task: its operations one after the other.
    pub async fn task(&self, operations: Vec<&Operation>) {
        let mut held = Vec::new();
        for operation in operations {
            let done = self.operate(operation, &mut held).await;
            if done == Err(Trouble::Poisoned) {
                return;
            }
        }
        for (snapshot, state) in held {
            let compared = compare(&snapshot, &state, true).await;
            if self.tolerance.ok(compared).is_err() {
                return;
            }
        }
    }

    async fn operate(
        &self,
        operation: &Operation,
        held: &mut Vec<(Snapshot, Arc<State>)>,
    ) -> Result<(), Trouble> {
        match operation {
            Operation::Transaction { changes, ending } => self.transaction(changes, *ending).await,
            Operation::Batch { changes, way } => {
                self.transaction(changes, Ending::Commit(*way)).await
            }
            Operation::Sync(patience) => self.make_durable(self.database.sync(), *patience).await,
            Operation::Checkpoint(patience) => {
                self.make_durable(self.database.checkpoint(), *patience).await
            }
            Operation::TakeSnapshot | Operation::Reopen { .. } | Operation::Crash { .. } => {
                held.push(self.newest());
                Ok(())
            }
            Operation::ReleaseSnapshot(_) => match held.pop() {
                Some((snapshot, state)) => {
                    self.tolerance.ok(compare(&snapshot, &state, false).await)
                }
                None => Ok(()),
            },
            Operation::Read { held: None, read, patience } => {
                let newest = self.newest();
                self.read(&newest, *read, *patience).await
            }
            Operation::Read { held: Some(_), read, patience } => match held.last() {
                Some(held) => self.read(held, *read, *patience).await,
                None => Ok(()),
            },
            Operation::Check => self.check().await,
            // Its commits would be versions that nobody has submitted.
            Operation::Compact(_) => Ok(()),
            Operation::MakeRoom => {
                self.host.computer.make_room();
                Ok(())
            }
        }
    }

    /// The newest version, with what should be in it. It is not older than what anybody has seen.
    fn newest(&self) -> (Snapshot, Arc<State>) {
        let snapshot = self.database.snapshot();
        let number = snapshot.version();
        let mut versions = self.versions.borrow_mut();
        assert!(number >= versions.seen, "version {number} after version {}", versions.seen);
        versions.see(number);
        self.host.computer.set_mark(versions.mark());
        let version = versions.versions.get(number as usize);
        let version = version.unwrap_or_else(|| panic!("version {number} was never submitted"));
        (snapshot, version.state.clone())
    }

    /// Makes durable what somebody has seen, in the log or in the file.
    async fn make_durable(
        &self,
        making: impl Future<Output = Result<u64, Error>> + Unpin,
        patience: Patience,
    ) -> Result<(), Trouble> {
        let (newest, _) = self.newest();
        let Some(made) = drive(making, patience).await else { return Ok(()) };
        let version = self.tolerance.ok(made)?;
        assert!(version >= newest.version(), "version {version} is durable");
        let mut versions = self.versions.borrow_mut();
        versions.make_durable(version);
        self.host.computer.set_mark(versions.mark());
        Ok(())
    }

    async fn read(
        &self,
        (snapshot, state): &(Snapshot, Arc<State>),
        read: Read,
        patience: Patience,
    ) -> Result<(), Trouble> {
        let (plan, tolerance) = (self.plan, &self.tolerance);
        View { plan, tolerance, snapshot, state }.read(read, patience).await
    }

    async fn check(&self) -> Result<(), Trouble> {
        let (snapshot, state) = self.newest();
        check(&snapshot, &state, &self.tolerance).await.map(|_pages| ())
    }

    async fn transaction(&self, changes: &[Change], ending: Ending) -> Result<(), Trouble> {
        let begun = self.database.begin().await;
        let transaction = self.tolerance.ok(begun)?;
        // Whoever has the turn comes after every commit before him, durable or not.
        let before = transaction.version();
        let state = {
            let mut versions = self.versions.borrow_mut();
            versions.settle(before);
            State::clone(&versions.versions[before as usize].state)
        };
        let mut work = Work::new(self.plan, self.host, &self.tolerance, transaction, state);
        for change in changes {
            work.change(change).await?;
        }
        let Work { transaction, state, .. } = work;
        let Ending::Commit(Way { patience, durability }) = ending else { return Ok(()) };
        {
            let mut versions = self.versions.borrow_mut();
            versions.versions.push(Version { state: Arc::new(state), durability });
            self.host.computer.set_mark(versions.mark());
        }
        let commit = transaction.commit_with(durability);
        let Some(version) = drive(commit, patience).await else { return Ok(()) };
        let version = self.tolerance.ok(version)?;
        assert!([before, before + 1].contains(&version), "version {version} after {before}");
        let mut versions = self.versions.borrow_mut();
        versions.see(version);
        if durability == Durability::Sync {
            // Those before it, if nothing was changed.
            versions.make_durable(version);
        }
        self.host.computer.set_mark(versions.mark());
        Ok(())
    }
}
