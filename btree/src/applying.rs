//! Making changes one after the other, wherever they come from: a batch, a record.

use std::ops::Bound;

use smallvec::SmallVec;
use yieldb_pager::{PageRef, Pager, PinnedPage, Tree};

use crate::Result;
use crate::descend::leaf_of;
use crate::error::Error;
use crate::ops::drop_tree::Dropping;
use crate::pages::{Pages, Walk};
use crate::record::TreeChange;
use crate::transaction::Transaction;
use crate::work::{PutStage, RangeProgress, Step};

/// A transaction in which changes are made one after the other. The changes are the caller's: he
/// passes the same one until it is done.
#[derive(Debug)]
pub struct Applying {
    pub(crate) transaction: Transaction,
    /// Which change is made next, as the caller counts: the first one is at 0.
    pub(crate) position: usize,
    progress: Progress,
    /// How many changes were made since the pages of the next ones were asked for.
    made_since_look: usize,
    /// The pages fetched for this change: they stay until it has seen them.
    pins: SmallVec<[PinnedPage; 4]>,
}

/// How far the change is that is made next, whichever it is.
#[derive(Debug, Default)]
struct Progress {
    put: PutStage,
    range: RangeProgress,
    /// The tree that it drops, once that is begun.
    dropping: Option<Dropping>,
}

impl Applying {
    /// Before the first change.
    pub(crate) fn new(transaction: Transaction) -> Applying {
        let (progress, pins) = (Progress::default(), SmallVec::new());
        Applying { transaction, position: 0, progress, made_since_look: 0, pins }
    }

    /// A page that was missing is there, and stays until the change has seen it.
    pub(crate) fn keep_in_memory(&mut self, page: PinnedPage) {
        self.pins.push(page);
    }

    /// Goes a step further in making a change. Done: the next call is for the next one.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] for a tree with a number that was given out before; whatever making the
    /// change fails with.
    pub(crate) fn step(&mut self, change: TreeChange<'_>, pager: &Pager) -> Result<Step<(), ()>> {
        let step = match change {
            TreeChange::Put { tree, key, value } => self.step_put(tree, key, value)?,
            TreeChange::Delete { tree, key } => {
                self.transaction.step_delete(tree, key)?.map(|_found| ())
            }
            TreeChange::DeleteRange { tree, start, end } => {
                self.step_delete_range(tree, start, end)?
            }
            TreeChange::CreateTree { tree, name } => {
                if !self.transaction.create_numbered_tree(tree, name)? {
                    let what = "a tree with a number that was given out before";
                    return Err(Error::Record { offset: self.position, what });
                }
                Step::Done(())
            }
            TreeChange::RenameTree { tree, name } => {
                self.transaction.rename_tree(tree, name)?;
                Step::Done(())
            }
            TreeChange::DropTree { tree } => self.step_drop_tree(tree, pager)?,
            TreeChange::PassOver { next } => {
                self.transaction.trees.pass_over(next);
                Step::Done(())
            }
        };
        if let Step::Done(()) = step {
            self.end(1);
        }
        Ok(step)
    }

    /// The same, and with the change some of those behind it, if they are of the same leaf. Done:
    /// how many are made.
    pub(crate) fn step_several<'r>(
        &mut self,
        change: TreeChange<'r>,
        behind: &dyn Fn(usize) -> Option<TreeChange<'r>>,
        pager: &Pager,
    ) -> Result<Step<(), usize>> {
        let step = match self.transaction.step_several(change, behind)? {
            Some(step) => step,
            None => return Ok(self.step(change, pager)?.map(|()| 1)),
        };
        if let Step::Done(made) = step {
            self.end(made);
        }
        Ok(step)
    }

    /// So many changes are made.
    fn end(&mut self, made: usize) {
        self.progress = Progress::default();
        self.made_since_look += made;
        self.pins.clear();
    }

    fn step_put(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<Step<(), ()>> {
        let stage = self.progress.put;
        let (stage, step) = match self.transaction.step_put(stage, tree, key, value)? {
            Step::Next(stage) => (stage, Step::Next(())),
            Step::Wait(stage, io) => (stage, Step::Wait((), io)),
            Step::Missing(page) => (PutStage::Change, Step::Missing(page)),
            Step::Done(_) => return Ok(Step::Done(())),
        };
        self.progress.put = stage;
        Ok(step)
    }

    fn step_delete_range(
        &mut self,
        tree: Tree,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
    ) -> Result<Step<(), ()>> {
        let progress = &mut self.progress.range;
        Ok(match self.transaction.step_delete_range(progress, tree, start, end)? {
            Step::Next(()) => {
                self.pins.clear();
                Step::Next(())
            }
            Step::Wait((), io) => Step::Wait((), io),
            Step::Missing(page) => Step::Missing(page),
            Step::Done(_) => Step::Done(()),
        })
    }

    fn step_drop_tree(&mut self, tree: Tree, pager: &Pager) -> Result<Step<(), ()>> {
        let dropping = match &mut self.progress.dropping {
            Some(dropping) => dropping,
            none => none.insert(Dropping::begin(&self.transaction, tree)?),
        };
        let walk = dropping.step(&mut self.transaction, pager)?;
        // What was fetched before has been looked at.
        self.pins.clear();
        Ok(match walk {
            Walk::Missing(page) => Step::Missing(page),
            Walk::Found(false) => Step::Next(()),
            Walk::Found(true) => Step::Done(()),
        })
    }

    /// Asks for the pages that the first `depth` of the `next` changes are missing, the one that
    /// misses the page `missing` being the first of those.
    ///
    /// If that page is on its way already, so are the others: then they are looked for only when
    /// half of those changes are made.
    pub(crate) fn read_ahead<'r>(
        &mut self,
        missing: PageRef,
        next: impl Iterator<Item = TreeChange<'r>>,
        depth: usize,
        pager: &Pager,
    ) -> Result<()> {
        if pager.prefetch(&[missing]) == 0 && self.made_since_look < depth / 2 {
            return Ok(());
        }
        self.made_since_look = 0;
        let private = Some(self.transaction.write_set());
        let pages = Pages { private, resident: pager.resident()? };
        let mut names: SmallVec<[PageRef; 64]> = SmallVec::new();
        for change in next.take(depth) {
            let Some((tree, key)) = first_key(change) else { continue };
            let Ok(root) = self.transaction.reader(tree).root() else { continue };
            // What is damaged is for the change itself to find.
            if let Ok(Walk::Missing(page)) = leaf_of(&pages, root, key)
                && names.last() != Some(&page)
            {
                names.push(page);
            }
        }
        if !names.is_empty() {
            pager.prefetch(&names);
        }
        Ok(())
    }
}

/// Where a change of entries begins.
fn first_key(change: TreeChange<'_>) -> Option<(Tree, &[u8])> {
    match change {
        TreeChange::Put { tree, key, .. }
        | TreeChange::Delete { tree, key }
        | TreeChange::DeleteRange {
            tree,
            start: Bound::Included(key) | Bound::Excluded(key),
            ..
        } => Some((tree, key)),
        TreeChange::DeleteRange { tree, start: Bound::Unbounded, .. } => Some((tree, &[])),
        TreeChange::CreateTree { .. }
        | TreeChange::RenameTree { .. }
        | TreeChange::DropTree { .. }
        | TreeChange::PassOver { .. } => None,
    }
}
