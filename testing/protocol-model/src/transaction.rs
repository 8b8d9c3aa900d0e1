//! Transactions of several changes, with savepoints, spilled pages, and ends of both kinds.

use crate::format::{Page, Ref};
use crate::model::{Next, Running};
use crate::state::{Memory, Small, State, Transaction};
use crate::{Broken, Mistake, Model, Step};

impl Model {
    /// What a transaction of several changes may do.
    pub(crate) fn transaction_steps(&self, state: &State, memory: &Memory, next: &mut Vec<Next>) {
        if let Some(Transaction::Small(small)) = memory.transaction {
            self.edit_steps(state, memory, &small, next);
            self.savepoint_steps(state, memory, &small, next);
            self.end_steps(state, memory, &small, next);
        } else if state.left.transactions > 0 && memory.is_writer_free() {
            next.extend(self.numbers(state, memory).into_iter().map(|page| {
                self.next(state, Step::Begin(page), |state| {
                    state.left.transactions -= 1;
                    begin(&mut state.running(), page)
                })
            }));
        }
    }

    /// "A page may change in place only while it has the current stamp and was never handed to a
    /// driver for writing; otherwise it gets a new number and stamp."
    fn edit_steps(&self, state: &State, memory: &Memory, small: &Small, next: &mut Vec<Next>) {
        if state.left.edits == 0 {
            return;
        }
        let frame = memory.frames[usize::from(small.root.page)].expect("what is private is there");
        let is_handed_over = frame.is_handed_over && !self.has(Mistake::ChangedAfterHandedOver);
        if small.root.stamp == memory.stamp() && !is_handed_over {
            next.push(self.next(state, Step::Edit(None), |state| {
                state.left.edits -= 1;
                edit_in_place(&mut state.running());
                Ok(())
            }));
            return;
        }
        next.extend(self.numbers(state, memory).into_iter().map(|page| {
            self.next(state, Step::Edit(Some(page)), |state| {
                state.left.edits -= 1;
                edit_copy(&mut state.running(), page)
            })
        }));
    }

    fn savepoint_steps(&self, state: &State, memory: &Memory, small: &Small, next: &mut Vec<Next>) {
        if state.left.savepoints > 0 && small.savepoint.is_none() {
            next.push(self.next(state, Step::Savepoint, |state| {
                state.left.savepoints -= 1;
                let mut running = state.running();
                // "Savepoints seal the pages born so far."
                if !self.has(Mistake::SavepointDoesNotSeal) {
                    running.seal();
                }
                let small = small_of(&mut running);
                small.savepoint = Some((small.root, small.edits));
                Ok(())
            }));
        }
        if small.savepoint.is_some() {
            next.push(self.next(state, Step::RollBack, |state| {
                let mut running = state.running();
                let small = small_of(&mut running);
                (small.root, small.edits) = small.savepoint.take().expect("there is one");
                Ok(())
            }));
        }
        let frame = memory.frames[usize::from(small.root.page)].expect("what is private is there");
        if state.left.spills > 0 && !frame.is_handed_over {
            // "A dirty page may be written out at any time."
            next.push(self.next(state, Step::Spill, |state| {
                state.left.spills -= 1;
                let page = small.root.page;
                state.running().write_page(page);
                Ok(())
            }));
        }
    }

    fn end_steps(&self, state: &State, memory: &Memory, small: &Small, next: &mut Vec<Next>) {
        if self.has_room(memory) {
            next.push(self.next(state, Step::Commit, |state| {
                let mut running = state.running();
                running.memory.transaction = None;
                running.commit(small.commit, small.root, small.edits, None);
                running.queue();
                Ok(())
            }));
        }
        if state.left.aborts > 0 {
            next.push(self.next(state, Step::Abort, |state| {
                state.left.aborts -= 1;
                let mut running = state.running();
                running.memory.transaction = None;
                // "A stamp is never reused, not even after an abort."
                running.seal();
                if self.has(Mistake::StampRepeatedAfterAbort) {
                    running.memory.counter = small.counter;
                }
                Ok(())
            }));
        }
    }
}

/// The transaction under way, and what is known of it.
fn small_of<'a>(running: &'a mut Running<'_>) -> &'a mut Small {
    let Some(Transaction::Small(small)) = &mut running.memory.transaction else {
        panic!("a transaction is under way")
    };
    small
}

fn begin(running: &mut Running<'_>, page: u8) -> Result<(), Broken> {
    let commit = running.next_commit();
    let counter = running.memory.counter;
    let root = make_root(running, page, commit, 1)?;
    let small = Small { commit, root, edits: 1, savepoint: None, counter };
    running.memory.transaction = Some(Transaction::Small(small));
    Ok(())
}

fn make_root(running: &mut Running<'_>, page: u8, commit: u8, edits: u8) -> Result<Ref, Broken> {
    let applied = *running.memory.applied();
    let (history, run) = (applied.history.with(commit), applied.run);
    running.make_page(page, |made| Page::Root { stamp: made.stamp, history, edits, run })
}

fn edit_in_place(running: &mut Running<'_>) {
    let small = small_of(running);
    small.edits += 1;
    let page = usize::from(small.root.page);
    let frame = running.memory.frames[page].as_mut().expect("what is private is there");
    if let Page::Root { edits, .. } = &mut frame.content {
        *edits += 1;
    }
}

fn edit_copy(running: &mut Running<'_>, page: u8) -> Result<(), Broken> {
    let Small { commit, edits, .. } = *small_of(running);
    let root = make_root(running, page, commit, edits + 1)?;
    let small = small_of(running);
    (small.root, small.edits) = (root, edits + 1);
    Ok(())
}
