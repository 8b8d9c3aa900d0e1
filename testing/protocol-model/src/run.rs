//! A process that has the database open: commits, checkpoints, readers.

use crate::disk::{Disk, Write};
use crate::format::{Group, Page, Ref, Slot, Superblock, Version};
use crate::model::{Next, Running};
use crate::state::{
    Checkpoint, CheckpointPhase, Frame, Memory, Process, RunPhase, State, Transaction,
};
use crate::{Broken, Mistake, Model, Step};

impl Memory {
    pub(crate) fn note_durable(&mut self, position: u8) {
        let at = self.durable.partition_point(|other| *other < position);
        self.durable.insert(at, position);
        while self.durable.first() == Some(&self.known) {
            self.durable.remove(0);
            self.known += 1;
        }
    }

    /// Is the writer's turn free?
    pub(crate) fn is_writer_free(&self) -> bool {
        let is_large = self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.is_large);
        // "A large transaction holds the writer until its checkpoint is named in the log."
        self.transaction.is_none() && !is_large && self.log.is_settled()
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

    /// Applies a commit whose root is made, and submits its group.
    pub(crate) fn commit(&mut self, commit: u8, root: Ref, edits: u8, run: Option<Ref>) {
        let applied = *self.memory.applied();
        self.submit_group(Some(commit), edits, run);
        let version = Version {
            history: applied.history.with(commit),
            edits,
            root,
            run: run.or(applied.run),
            next: self.memory.head,
        };
        self.promise.submitted = version.history;
        self.memory.versions.push(version);
        self.seal();
    }

    fn set_phase(&mut self, phase: CheckpointPhase) {
        self.memory.checkpoint.as_mut().expect("it is under way").phase = phase;
    }

    fn submit_group(&mut self, commit: Option<u8>, edits: u8, run: Option<Ref>) {
        let memory = &mut *self.memory;
        let group = Group {
            position: memory.head,
            session: memory.session,
            commit,
            edits,
            run,
            names: memory.number,
            known: memory.known,
            rotten: false,
        };
        memory.head += 1;
        memory.runs.extend(run.map(|run| (memory.head, run)));
        if let Some(Checkpoint { phase: CheckpointPhase::Naming(name @ None), .. }) =
            &mut memory.checkpoint
        {
            *name = Some(group.position);
        }
        self.disk.submit(Write::Group(group));
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

    /// Is there room in the log for a commit? One block is kept for a checkpoint's name.
    pub(crate) fn has_room(&self, memory: &Memory) -> bool {
        let kept = if self.has(Mistake::NoRoomToName) { 0 } else { 1 };
        memory.log.is_in_use() && memory.head - memory.tail + kept < self.bounds.blocks
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
        let is_idle = memory.is_writer_free() && memory.checkpoint.is_none();
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
                        put(&mut running, page, commit, Some(run))
                    })
                }));
            }
            return;
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
                    put(&mut running, page, commit, None)
                }));
            }
            if state.left.large_values > 0 && memory.log.is_in_use() {
                next.push(self.next(state, Step::BeginLargeValue(page), |state| {
                    state.left.large_values -= 1;
                    begin_run(&mut state.running(), page)
                }));
            }
            if state.left.large_transactions > 0 && memory.checkpoint.is_none() {
                next.push(self.next(state, Step::CommitLarge(page), |state| {
                    state.left.large_transactions -= 1;
                    commit_large(&mut state.running(), page)
                }));
            }
        }
    }

    /// The beginnings of checkpoints, and their names.
    pub(crate) fn checkpoint_steps(&self, state: &State, memory: &Memory, next: &mut Vec<Next>) {
        if let Some(Checkpoint { phase: CheckpointPhase::Naming(None), .. }) = memory.checkpoint {
            next.push(self.next(state, Step::Name, |state| {
                state.running().submit_group(None, 0, None);
                Ok(())
            }));
        }
        if memory.checkpoint.is_some() || !memory.log.is_settled() {
            return;
        }
        if self.is_full_of_names(memory) && !self.has(Mistake::NamesFillTheLog) {
            next.push(self.next(state, Step::EmptyCheckpoint, |state| {
                let memory = state.running().memory;
                let version = Version { next: memory.head, ..memory.base };
                let phase = CheckpointPhase::Writing;
                memory.checkpoint = Some(Checkpoint { version, is_large: false, phase });
                Ok(())
            }));
        }
        for (index, version) in memory.versions.iter().enumerate() {
            let is_newer = version.history != memory.base.history
                && version.history.contains(memory.base.history);
            if state.left.checkpoints > 0 && is_newer {
                next.push(self.next(state, Step::Checkpoint(index), |state| {
                    state.left.checkpoints -= 1;
                    let running = &mut state.running();
                    begin_checkpoint(running, running.memory.versions[index], false);
                    Ok(())
                }));
            }
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
                while self.go_on_with_checkpoint(&mut running)? {}
                // The sync that one of both waited for may be free for the other now.
                self.go_on_with_run(&mut running);
                self.acknowledge(&mut running);
                running.memory.forget_garbage();
                Ok(())
            }
        }
    }

    /// "A commit is acknowledged when all groups up to its own are durable."
    fn acknowledge(&self, running: &mut Running<'_>) {
        let memory = &mut *running.memory;
        let is_durable = |version: &Version| {
            let is_own_durable = memory.durable.contains(&version.next.wrapping_sub(1));
            version.next <= memory.known
                || (is_own_durable && self.has(Mistake::AcknowledgedBeforeGroupAhead))
        };
        if let Some(newest) = memory.versions.iter().skip(1).rposition(is_durable) {
            memory.versions.drain(..=newest);
        }
        running.promise.kept = match self.mistake {
            Some(Mistake::ReadersSeeApplied) => memory.applied().history,
            _ => memory.acknowledged().history,
        };
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

    /// Takes a checkpoint a phase further, if it can go.
    fn go_on_with_checkpoint(&self, running: &mut Running<'_>) -> Result<bool, Broken> {
        let Some(Checkpoint { version, phase, .. }) = running.memory.checkpoint else {
            return Ok(false);
        };
        let Disk { in_flight, is_syncing, .. } = &*running.disk;
        let is_writing_slot = in_flight.iter().any(|write| matches!(write, Write::Slot(..)));
        let is_writing_page = in_flight.contains(&Write::Page(version.root.page, version.page()));
        match phase {
            CheckpointPhase::Writing if is_writing_page => return Ok(false),
            CheckpointPhase::Writing if self.has(Mistake::SlotBeforePagesSync) => {
                self.flip(running, version);
            }
            CheckpointPhase::Writing if !is_syncing => {
                running.set_phase(CheckpointPhase::Syncing);
                running.disk.submit_sync();
            }
            CheckpointPhase::Syncing if !is_syncing => self.flip(running, version),
            CheckpointPhase::Slot if !is_writing_slot => self.flipped(running)?,
            CheckpointPhase::SecondSlot if !is_writing_slot => conclude(running),
            CheckpointPhase::Naming(Some(name)) if self.is_named(running.memory, name) => {
                conclude(running);
            }
            CheckpointPhase::Writing
            | CheckpointPhase::Syncing
            | CheckpointPhase::Slot
            | CheckpointPhase::SecondSlot
            | CheckpointPhase::Naming(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Is the group at this position durable, and all before it?
    fn is_named(&self, memory: &Memory, name: u8) -> bool {
        let is_own_durable = memory.durable.contains(&name);
        name < memory.known || (is_own_durable && self.has(Mistake::NamedBeforeGroupAhead))
    }

    /// "Write the other slot."
    fn flip(&self, running: &mut Running<'_>, version: Version) {
        running.set_phase(CheckpointPhase::Slot);
        let Running { disk, memory, .. } = running;
        let superblock = Superblock {
            number: memory.number + 1,
            session: memory.session,
            version,
            start_session: memory.session,
            log: memory.log.id(),
        };
        let slot = match self.mistake {
            Some(Mistake::FlipOverNewestSlot) => memory.slot,
            _ => 1 - memory.slot,
        };
        disk.submit(Write::Slot(slot, Slot::Good(superblock)));
    }

    /// The new checkpoint is in one slot.
    fn flipped(&self, running: &mut Running<'_>) -> Result<(), Broken> {
        let Running { disk, memory, .. } = running;
        memory.number += 1;
        if !self.has(Mistake::FlipOverNewestSlot) {
            memory.slot = 1 - memory.slot;
        }
        let checkpoint = memory.checkpoint.as_mut().expect("it is under way");
        if !memory.log.is_in_use() {
            if self.has(Mistake::AcknowledgedBeforeSecondSlot) {
                conclude(running);
                return Ok(());
            }
            // "Without a log so does every commit": it writes the same to both slots.
            checkpoint.phase = CheckpointPhase::SecondSlot;
            let newest = disk.slots[usize::from(memory.slot)].visible();
            disk.submit(Write::Slot(1 - memory.slot, newest));
            return Ok(());
        }
        checkpoint.phase = CheckpointPhase::Naming(None);
        if memory.head - memory.tail >= self.bounds.blocks {
            return Err(Broken::Stuck);
        }
        let (version, is_large) = (checkpoint.version, checkpoint.is_large);
        if self.has(Mistake::TailBeforeNamed) {
            memory.base = version;
            memory.tail = version.next;
        }
        if is_large && self.has(Mistake::LargeTransactionBeforeNamed) {
            memory.versions = vec![version];
        }
        Ok(())
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

/// "A large one skips the log and commits by checkpoint."
fn commit_large(running: &mut Running<'_>, page: u8) -> Result<(), Broken> {
    let commit = running.next_commit();
    let applied = *running.memory.applied();
    let history = applied.history.with(commit);
    let (edits, run) = (1, applied.run);
    let root =
        running.make_page(page, |made| Page::Root { stamp: made.stamp, history, edits, run })?;
    running.seal();
    running.promise.submitted = history;
    let version = Version { history, edits, root, run, next: running.memory.head };
    begin_checkpoint(running, version, true);
    Ok(())
}

/// "A checkpoint writes the dirty pages of one immutable root to places that nothing durable
/// refers to."
fn begin_checkpoint(running: &mut Running<'_>, version: Version, is_large: bool) {
    running.write_page(version.root.page);
    let phase = CheckpointPhase::Writing;
    running.memory.checkpoint = Some(Checkpoint { version, is_large, phase });
}

/// "Only then may the log tail advance, old pages be reused, or a large transaction be
/// acknowledged."
fn conclude(running: &mut Running<'_>) {
    let memory = &mut *running.memory;
    let done = memory.checkpoint.take().expect("it is under way");
    memory.base = done.version;
    memory.tail = done.version.next;
    memory.runs.retain(|(behind, _)| *behind > done.version.next);
    if done.is_large {
        memory.versions = vec![done.version];
    }
}
