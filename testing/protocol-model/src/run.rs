//! A process that has the database open: commits, checkpoints, readers.

use crate::checkpoint::{commit_and_begin_log, commit_large};
use crate::disk::Write;
use crate::format::{Page, Ref, Version};
use crate::model::{Next, Running};
use crate::state::{
    CheckpointPhase, Frame, LogFile, Memory, Process, Queued, RunPhase, State, Transaction,
};
use crate::{Broken, Mistake, Model, Step};

impl Memory {
    /// Is the writer's turn free?
    pub(crate) fn is_writer_free(&self) -> bool {
        let is_large = self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.is_large);
        // "A large transaction holds the writer until its checkpoint is named in the log."
        let is_busy = self.transaction.is_some() || self.applied_only.is_some();
        !is_busy && !is_large && self.log.is_settled()
    }
}

impl Running<'_> {
    /// Makes a page with the current stamp.
    pub(crate) fn make_page(
        &mut self,
        page: u8,
        content: impl FnOnce(Ref) -> Page,
    ) -> Result<Ref, Broken> {
        let stamp = self.memory.stamp();
        if stamp <= self.promise.sealed {
            return Err(Broken::StampRepeated { stamp });
        }
        let made = Ref { page, stamp };
        let frame = Frame { content: content(made), is_handed_over: false };
        self.memory.frames[usize::from(page)] = Some(frame);
        Ok(made)
    }

    /// Hands a page to the driver for writing, unless that was done.
    pub(crate) fn write_page(&mut self, page: u8) {
        let frame = self.memory.frames[usize::from(page)].as_mut().expect("what is new is there");
        if !frame.is_handed_over {
            frame.is_handed_over = true;
            self.disk.submit(Write::Page(page, frame.content));
        }
    }

    /// "The counter advances at each sealed log group, snapshot, savepoint and capture."
    pub(crate) fn seal(&mut self) {
        self.promise.sealed = self.promise.sealed.max(self.memory.stamp());
        self.memory.counter += 1;
    }

    /// The number of a new commit.
    pub(crate) fn next_commit(&mut self) -> u8 {
        self.promise.next_commit += 1;
        self.promise.next_commit - 1
    }

    /// Applies a commit whose root is made. The next writer goes on from it when it is queued.
    pub(crate) fn commit(&mut self, commit: u8, root: Ref, edits: u8, run: Option<Ref>) {
        let applied = *self.memory.applied();
        let history = applied.history.with(commit);
        let version = Version { history, edits, root, run: run.or(applied.run) };
        self.promise.submitted = version.history;
        self.memory.versions.push(version);
        self.memory.applied_only = Some(Queued::Commit { version, commit, run });
        self.seal();
    }

    /// Queues the commit that was applied.
    pub(crate) fn queue(&mut self) {
        let queued = self.memory.applied_only.take().expect("one was applied");
        self.memory.queue.push(queued);
    }

    pub(crate) fn set_phase(&mut self, phase: CheckpointPhase) {
        self.memory.checkpoint.as_mut().expect("it is under way").phase = phase;
    }
}

impl Model {
    /// May this number be given out? "Only when its death is published in the newest acknowledged
    /// root, and no pinned version lies in the interval, and no I/O on it is in flight."
    fn may_be_used(&self, state: &State, memory: &Memory, page: u8) -> bool {
        let in_flight = state.disk.is_writing_page(page);
        let is_careless =
            matches!(self.mistake, Some(Mistake::NumberReusedInFlight | Mistake::CutNotOver));
        let is_named = memory.runs.iter().any(|(_, run)| run.page == page);
        let pins = |version: Option<&Version>| version.is_some_and(|own| own.refers_to(page));
        let under_way = memory.checkpoint.as_ref().map(|checkpoint| &checkpoint.version);
        let is_base = pins(Some(&memory.base)) && !self.has(Mistake::DurableCheckpointNotPinned);
        let is_captured = pins(under_way) && !self.has(Mistake::CheckpointUnderWayNotPinned);
        let is_read = pins(memory.snapshot.as_ref()) && !self.has(Mistake::SnapshotNotPinned);
        let from = match self.mistake {
            Some(Mistake::ReuseBetweenAcknowledgedAndApplied) => memory.versions.len() - 1,
            _ => 0,
        };
        let is_current = memory.versions[from..].iter().any(|version| pins(Some(version)));
        !(is_base || is_captured || is_read || is_current || memory.is_private(page))
            && (!in_flight || is_careless)
            && (!is_named || self.has(Mistake::RunReusedBeforeCheckpoint))
    }

    /// The numbers that may be given out. Those that nobody has used are alike, so that one of them
    /// stands for all, unless files are cut: then it matters which is behind which.
    pub(crate) fn numbers(&self, state: &State, memory: &Memory) -> Vec<u8> {
        let is_fresh = |page: u8| {
            let place = &state.disk.pages[usize::from(page)];
            let is_empty = place.durable == Page::Zero && place.newer.is_empty();
            is_empty
                && memory.frames[usize::from(page)].is_none()
                && !state.disk.is_writing_page(page)
        };
        let all = (0..self.bounds.pages).filter(|page| self.may_be_used(state, memory, *page));
        if self.bounds.cuts {
            return all.collect();
        }
        let (fresh, used): (Vec<u8>, Vec<u8>) = all.partition(|page| is_fresh(*page));
        used.into_iter().chain(fresh.first().copied()).collect()
    }

    /// Has the log nothing but names behind its start, and no room for a commit? Then a checkpoint
    /// of what is durable already gives it room.
    fn is_full_of_names(&self, memory: &Memory) -> bool {
        memory.log.is_in_use()
            && !self.has_room(memory)
            && memory.applied().history == memory.base.history
    }

    /// Is the log full, and will nothing ever empty it?
    pub(crate) fn is_stuck(&self, state: &State, memory: &Memory) -> bool {
        let is_idle = memory.is_writer_free() && memory.is_without_checkpoint();
        is_idle
            && state.disk.in_flight.is_empty()
            && self.is_full_of_names(memory)
            && self.has(Mistake::NamesFillTheLog)
    }

    /// Commits in one step, and those of large values.
    pub(crate) fn commit_steps(&self, state: &State, memory: &Memory, next: &mut Vec<Next>) {
        if let Some(Transaction::Run { commit, run, phase: RunPhase::Durable }) =
            &memory.transaction
        {
            if self.has_room(memory) {
                let (commit, run) = (*commit, *run);
                next.extend(self.numbers(state, memory).into_iter().map(|page| {
                    self.next(state, Step::CommitLargeValue(page), |state| {
                        let mut running = state.running();
                        running.memory.transaction = None;
                        put(&mut running, page, commit, Some(run))?;
                        running.queue();
                        Ok(())
                    })
                }));
            }
            return;
        }
        if memory.applied_only.is_some() {
            next.push(self.next(state, Step::Queue, |state| {
                state.running().queue();
                Ok(())
            }));
        }
        if !memory.is_writer_free() {
            return;
        }
        for page in self.numbers(state, memory) {
            if state.left.puts > 0 && self.has_room(memory) {
                next.push(self.next(state, Step::Put(page), |state| {
                    state.left.puts -= 1;
                    let mut running = state.running();
                    let commit = running.next_commit();
                    put(&mut running, page, commit, None)?;
                    running.queue();
                    Ok(())
                }));
            }
            if state.left.puts > 0 && state.left.delays > 0 && self.has_room(memory) {
                next.push(self.next(state, Step::PutSlowly(page), |state| {
                    state.left.puts -= 1;
                    state.left.delays -= 1;
                    let mut running = state.running();
                    let commit = running.next_commit();
                    put(&mut running, page, commit, None)
                }));
            }
            if state.left.large_values > 0 && memory.log.is_in_use() {
                next.push(self.next(state, Step::BeginLargeValue(page), |state| {
                    state.left.large_values -= 1;
                    begin_run(&mut state.running(), page)
                }));
            }
            let can_be_large = state.left.large_transactions > 0 && memory.is_without_checkpoint();
            let can_begin_log = memory.log == LogFile::Absent && self.bounds.blocks > 0;
            if can_be_large && can_begin_log {
                next.push(self.next(state, Step::CommitAndBeginLog(page), |state| {
                    state.left.large_transactions -= 1;
                    commit_and_begin_log(&mut state.running(), page)
                }));
            }
            if can_be_large {
                next.push(self.next(state, Step::CommitLarge(page), |state| {
                    state.left.large_transactions -= 1;
                    commit_large(&mut state.running(), page)
                }));
            }
        }
    }

    /// The beginnings of checkpoints.
    pub(crate) fn checkpoint_steps(&self, state: &State, memory: &Memory, next: &mut Vec<Next>) {
        if !memory.is_without_checkpoint() || !memory.log.is_settled() {
            return;
        }
        if self.is_full_of_names(memory) && !self.has(Mistake::NamesFillTheLog) {
            next.push(self.next(state, Step::EmptyCheckpoint, |state| {
                self.begin_checkpoint(&mut state.running());
                Ok(())
            }));
        }
        if state.left.checkpoints > 0 && memory.applied().history != memory.base.history {
            next.push(self.next(state, Step::Checkpoint, |state| {
                state.left.checkpoints -= 1;
                self.begin_checkpoint(&mut state.running());
                Ok(())
            }));
        }
    }

    /// Snapshots.
    pub(crate) fn reader_steps(&self, state: &State, memory: &Memory, next: &mut Vec<Next>) {
        if memory.snapshot.is_some() {
            next.push(self.next(state, Step::DropSnapshot, |state| {
                state.running().memory.snapshot = None;
                Ok(())
            }));
        } else if state.left.snapshots > 0 {
            next.push(self.next(state, Step::Snapshot, |state| {
                state.left.snapshots -= 1;
                let memory = state.running().memory;
                memory.snapshot = Some(*memory.acknowledged());
                Ok(())
            }));
        }
    }

    /// What the process does at once because of what has happened.
    pub(crate) fn go_on(&self, state: &mut State) -> Result<(), Broken> {
        match &state.process {
            Process::Down => Ok(()),
            Process::Opening(_) => {
                self.go_on_opening(state);
                Ok(())
            }
            Process::Running(memory) if memory.closing.is_some() => {
                self.go_on_closing(state);
                Ok(())
            }
            Process::Running(_) => {
                let mut running = state.running();
                self.go_on_with_log_file(&mut running);
                self.go_on_with_run(&mut running);
                self.go_on_with_groups(&mut running)?;
                self.go_on_with_growth(&mut running);
                while self.go_on_with_checkpoint(&mut running) {}
                self.go_on_with_groups(&mut running)?;
                // The sync that one of both waited for may be free for the other now.
                self.go_on_with_run(&mut running);
                running.promise.kept = match self.mistake {
                    Some(Mistake::ReadersSeeApplied) => running.memory.applied().history,
                    _ => running.memory.acknowledged().history,
                };
                running.memory.forget_garbage();
                Ok(())
            }
        }
    }

    /// "Larger ones are written and synced at their final place before their group is submitted."
    fn go_on_with_run(&self, running: &mut Running<'_>) {
        let Running { disk, memory, .. } = running;
        let Some(Transaction::Run { run, phase, .. }) = &mut memory.transaction else { return };
        let is_written = !disk.is_writing_page(run.page);
        match phase {
            RunPhase::Writing if self.has(Mistake::RunNotSynced) => *phase = RunPhase::Durable,
            RunPhase::Writing if is_written && !disk.is_syncing => {
                disk.submit_sync();
                *phase = RunPhase::Syncing;
            }
            RunPhase::Syncing if !disk.is_syncing => *phase = RunPhase::Durable,
            RunPhase::Writing | RunPhase::Syncing | RunPhase::Durable => {}
        }
    }
}

/// A commit of one change.
fn put(running: &mut Running<'_>, page: u8, commit: u8, run: Option<Ref>) -> Result<(), Broken> {
    let applied = *running.memory.applied();
    let history = applied.history.with(commit);
    let root = running.make_page(page, |made| Page::Root {
        stamp: made.stamp,
        history,
        edits: 1,
        run: run.or(applied.run),
    })?;
    running.commit(commit, root, 1, run);
    Ok(())
}

/// A large value is written at its final place.
fn begin_run(running: &mut Running<'_>, page: u8) -> Result<(), Broken> {
    let commit = running.next_commit();
    let run = running.make_page(page, |made| Page::Run { stamp: made.stamp })?;
    running.write_page(page);
    running.memory.transaction = Some(Transaction::Run { commit, run, phase: RunPhase::Writing });
    Ok(())
}
