//! The changes that a transaction can make, a step at a time: what the operations that change trees
//! are made of.
//!
//! ```text
//!   put:  Begin --- it fits a leaf ------------------------> Change --- done
//!           '------ it is large --> Write, piece by piece ---'
//! ```

use std::iter;
use std::ops::Bound;

use yieldb_core::{Completion, is_planted};
use yieldb_pager::{PageRef, Tree};

use crate::Result;
use crate::edit::{Change, Edited};
use crate::node::{Stored, max_entry_len, max_key_len};
use crate::record::TreeChange;
use crate::transaction::{Attempt, Subject, Transaction};

/// What a step came to. `S` is where to go on.
#[derive(Debug)]
pub(crate) enum Step<S, T> {
    /// Go on at once.
    Next(S),
    /// Go on after this.
    Wait(S, Completion),
    /// Go on with the last stage when this page was fetched.
    Missing(PageRef),
    /// The change is made.
    Done(T),
}

impl<S, T> Step<S, T> {
    /// The same step, with another output.
    pub fn map<U>(self, done: impl FnOnce(T) -> U) -> Step<S, U> {
        match self {
            Step::Next(stage) => Step::Next(stage),
            Step::Wait(stage, io) => Step::Wait(stage, io),
            Step::Missing(page) => Step::Missing(page),
            Step::Done(output) => Step::Done(done(output)),
        }
    }
}

/// How far storing an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PutStage {
    /// Take pages for the value if it is large.
    #[default]
    Begin,
    /// Write some of the pages of the large value.
    Write,
    /// Change the leaf.
    Change,
}

/// How far removing a range is.
#[derive(Debug, Default)]
pub struct RangeProgress {
    /// How many entries were removed.
    found: u64,
    /// Where the rest of the range begins; `None` before the first leaf.
    rest: Option<Vec<u8>>,
}

impl Transaction {
    /// Goes one step further in storing an entry. Done: was there one with the key?
    pub(crate) fn step_put(
        &mut self,
        stage: PutStage,
        tree: Tree,
        key: &[u8],
        value: &[u8],
    ) -> Result<Step<PutStage, bool>> {
        let is_large = self.is_large(key.len(), value.len() as u64);
        let step = match stage {
            PutStage::Begin if is_large => {
                self.begin_value(tree, key.len(), value.len() as u64)?;
                Step::Next(PutStage::Write)
            }
            PutStage::Begin => self.change_put(tree, key, Stored::Here(value))?,
            PutStage::Write => {
                let rest = &value[self.value_written() as usize..];
                match self.prepare_value(rest.len())? {
                    Some(io) => Step::Wait(PutStage::Write, io),
                    None if self.write_value(rest) => Step::Next(PutStage::Change),
                    None => Step::Next(PutStage::Write),
                }
            }
            PutStage::Change if is_large => {
                let large = self.unfinished_value(value.len() as u64);
                let step = self.change_put(tree, key, Stored::Large(large))?;
                if let Step::Done(_) = step {
                    self.finish_value();
                }
                step
            }
            PutStage::Change => self.change_put(tree, key, Stored::Here(value))?,
        };
        if matches!(step, Step::Done(_)) || is_planted!(RecordedBeforeStored) {
            self.recorder.note(TreeChange::Put { tree, key, value });
        }
        Ok(step)
    }

    /// Tries to name a value in a leaf. What this stores is for the caller to record.
    pub(crate) fn change_put(
        &mut self,
        tree: Tree,
        key: &[u8],
        value: Stored<'_>,
    ) -> Result<Step<PutStage, bool>> {
        let change = Change::Put { key, value };
        let attempt = self.attempt(Subject::Tree(tree), change)?;
        Ok(step_of(attempt, PutStage::Change, |edited| edited.found > 0))
    }

    /// Tries to remove an entry. Done: was there one?
    pub(crate) fn step_delete(&mut self, tree: Tree, key: &[u8]) -> Result<Step<(), bool>> {
        let attempt = self.attempt(Subject::Tree(tree), Change::Delete { key })?;
        let step = step_of(attempt, (), |edited| edited.found > 0);
        if let Step::Done(true) = step {
            self.recorder.note(TreeChange::Delete { tree, key });
        }
        Ok(step)
    }

    /// Tries to make a change of an entry that fits a leaf, and with it some of those behind it
    /// that are in the same leaf. Done: how many are made. `None`, and nothing was tried, if it is
    /// another change.
    pub(crate) fn step_several<'r>(
        &mut self,
        first: TreeChange<'r>,
        behind: &dyn Fn(usize) -> Option<TreeChange<'r>>,
    ) -> Result<Option<Step<(), usize>>> {
        let page_len = self.pager().page_size().bytes();
        let Some((tree, change)) = in_leaf(first, page_len) else { return Ok(None) };
        let others = |ahead| {
            let (of, change) = in_leaf(behind(ahead)?, page_len)?;
            (of == tree).then_some(change)
        };
        let attempt = self.attempt_several(Subject::Tree(tree), change, &others)?;
        if let Attempt::Done(edited) = &attempt {
            let made = || iter::once(first).chain((0..edited.made - 1).filter_map(behind));
            if edited.found > 0 || made().any(|change| matches!(change, TreeChange::Put { .. })) {
                made().for_each(|change| self.recorder.note(change));
            }
        }
        Ok(Some(step_of(attempt, (), |edited| edited.made)))
    }

    /// Removes the entries of a range from one leaf more. Next: there are more leaves; what was
    /// fetched for this one is not needed any more. Done: how many entries were removed.
    pub(crate) fn step_delete_range(
        &mut self,
        progress: &mut RangeProgress,
        tree: Tree,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
    ) -> Result<Step<(), u64>> {
        let from = progress.rest.as_deref().map_or(start, Bound::Included);
        let change = Change::DeleteRange { start: from, end };
        let edited = match self.attempt(Subject::Tree(tree), change)? {
            Attempt::Wait(io) => return Ok(Step::Wait((), io)),
            Attempt::Missing(page) => return Ok(Step::Missing(page)),
            Attempt::Done(edited) => edited,
        };
        progress.found += edited.found;
        progress.rest = edited.rest;
        if progress.rest.is_some() {
            return Ok(Step::Next(()));
        }
        if progress.found > 0 {
            self.recorder.note(TreeChange::DeleteRange { tree, start, end });
        }
        Ok(Step::Done(progress.found))
    }
}

/// A change as one of an entry that fits a leaf, and its tree, if it is one.
fn in_leaf(change: TreeChange<'_>, page_len: usize) -> Option<(Tree, Change<'_>)> {
    let (tree, key, change) = match change {
        TreeChange::Put { tree, key, value }
            if key.len() + value.len() <= max_entry_len(page_len) =>
        {
            (tree, key, Change::Put { key, value: Stored::Here(value) })
        }
        TreeChange::Delete { tree, key } => (tree, key, Change::Delete { key }),
        TreeChange::Put { .. }
        | TreeChange::DeleteRange { .. }
        | TreeChange::CreateTree { .. }
        | TreeChange::RenameTree { .. }
        | TreeChange::DropTree { .. }
        | TreeChange::PassOver { .. } => return None,
    };
    (key.len() <= max_key_len(page_len)).then_some((tree, change))
}

/// An attempt as a step: one that has to wait goes on at `stage`.
fn step_of<S, T>(attempt: Attempt, stage: S, done: impl FnOnce(Edited) -> T) -> Step<S, T> {
    match attempt {
        Attempt::Done(edited) => Step::Done(done(edited)),
        Attempt::Wait(io) => Step::Wait(stage, io),
        Attempt::Missing(page) => Step::Missing(page),
    }
}
