//! Checkpoints: of the newest version, and of large transactions.

use crate::disk::{Disk, Write};
use crate::format::{Page, Slot, Superblock, Version};
use crate::model::Running;
use crate::state::{Checkpoint, CheckpointPhase, GrowthPhase, LogFile, Memory, Queued};
use crate::{Broken, Mistake, Model};

impl Model {
    /// "A checkpoint of the newest version begins with making a log longer that is too short."
    pub(crate) fn begin_checkpoint(&self, running: &mut Running<'_>) {
        let memory = &mut *running.memory;
        if memory.log.is_in_use() && memory.ring_blocks < self.bounds.most_blocks() {
            running.disk.submit(Write::Growth(self.bounds.most_blocks()));
            memory.growth = Some(GrowthPhase::Writing);
            return;
        }
        self.capture(running);
    }

    /// "Zeros, one sync, then the ring has them."
    pub(crate) fn go_on_with_growth(&self, running: &mut Running<'_>) {
        let Running { disk, memory, .. } = running;
        let is_writing = disk.in_flight.iter().any(|write| matches!(write, Write::Growth(_)));
        match memory.growth {
            Some(GrowthPhase::Writing) if is_writing => {}
            Some(GrowthPhase::Writing) if !self.has(Mistake::GrownBeforeSynced) => {
                disk.submit_log_sync();
                memory.growth = Some(GrowthPhase::Syncing);
            }
            Some(GrowthPhase::Syncing) if disk.is_log_syncing => {}
            Some(GrowthPhase::Writing | GrowthPhase::Syncing) => {
                memory.growth = None;
                memory.ring_blocks = self.bounds.most_blocks();
                self.capture(running);
            }
            None => {}
        }
    }

    /// "A checkpoint captures the newest applied version, whatever of it is in groups, and starts
    /// the log at the head."
    fn capture(&self, running: &mut Running<'_>) {
        let version = *running.memory.applied();
        begin(running, version, false);
        if self.has(Mistake::SkippedBeforeNamed) {
            running.memory.take_over(&version);
        }
    }

    /// Takes a checkpoint a phase further, if it can go.
    pub(crate) fn go_on_with_checkpoint(&self, running: &mut Running<'_>) -> bool {
        let Some(Checkpoint { version, phase, .. }) = running.memory.checkpoint else {
            return false;
        };
        let Disk { in_flight, is_syncing, .. } = &*running.disk;
        let is_writing_slot = in_flight.iter().any(|write| matches!(write, Write::Slot(..)));
        let is_writing_page = in_flight.contains(&Write::Page(version.root.page, version.page()));
        match phase {
            CheckpointPhase::Writing if is_writing_page => return false,
            CheckpointPhase::Writing if self.has(Mistake::SlotBeforePagesSync) => {
                self.flip(running, version);
            }
            CheckpointPhase::Writing if !is_syncing => {
                running.set_phase(CheckpointPhase::Syncing);
                running.disk.submit_sync();
            }
            CheckpointPhase::Syncing if !is_syncing => self.flip(running, version),
            CheckpointPhase::Slot if !is_writing_slot => self.flipped(running),
            CheckpointPhase::SecondSlot if !is_writing_slot => conclude(running),
            CheckpointPhase::Naming(Some(name)) if self.is_named(running.memory, name) => {
                conclude(running);
            }
            CheckpointPhase::MakingLog
            | CheckpointPhase::Writing
            | CheckpointPhase::Syncing
            | CheckpointPhase::Slot
            | CheckpointPhase::SecondSlot
            | CheckpointPhase::Naming(_) => return false,
        }
        true
    }

    /// Is the group at this position durable, and all before it?
    fn is_named(&self, memory: &Memory, name: u8) -> bool {
        let is_own_durable =
            memory.flying.iter().any(|flying| flying.position == name && flying.is_finished);
        name < memory.known || (is_own_durable && self.has(Mistake::NamedBeforeGroupAhead))
    }

    /// "Write the other slot."
    fn flip(&self, running: &mut Running<'_>, version: Version) {
        running.set_phase(CheckpointPhase::Slot);
        let Running { disk, memory, .. } = running;
        let captured = memory.checkpoint.as_ref().expect("it is under way").start;
        let start = if self.has(Mistake::StartReadLate) { memory.head } else { captured };
        let superblock = Superblock {
            number: memory.number + 1,
            session: memory.session,
            version,
            start,
            start_session: memory.session,
            log: memory.log.id().filter(|_| memory.closing.is_none()),
        };
        let slot = match self.mistake {
            Some(Mistake::FlipOverNewestSlot) => memory.slot,
            _ => 1 - memory.slot,
        };
        disk.submit(Write::Slot(slot, Slot::Good(superblock)));
    }

    /// The new checkpoint is in one slot.
    fn flipped(&self, running: &mut Running<'_>) {
        let Running { disk, memory, .. } = running;
        memory.number += 1;
        if !self.has(Mistake::FlipOverNewestSlot) {
            memory.slot = 1 - memory.slot;
        }
        let checkpoint = memory.checkpoint.as_mut().expect("it is under way");
        let is_closing = memory.closing.is_some();
        if !memory.log.is_in_use() || is_closing {
            let is_one_enough = self.has(Mistake::AcknowledgedBeforeSecondSlot)
                || (is_closing && self.has(Mistake::CloseWritesOneSlot));
            if is_one_enough {
                conclude(running);
                return;
            }
            // "Without a log so does every commit": it writes the same to both slots.
            checkpoint.phase = CheckpointPhase::SecondSlot;
            let newest = disk.slots[usize::from(memory.slot)].visible();
            disk.submit(Write::Slot(1 - memory.slot, newest));
            return;
        }
        checkpoint.phase = CheckpointPhase::Naming(None);
        let at = if self.bounds.names_first { 0 } else { memory.queue.len() };
        memory.queue.insert(at, Queued::Name);
        let Checkpoint { version, start, is_large, phase: _ } = *checkpoint;
        if self.has(Mistake::TailBeforeNamed) {
            memory.base = version;
            memory.tail = start;
        }
        if is_large && self.has(Mistake::LargeTransactionBeforeNamed) {
            memory.versions = vec![version];
        }
        if self.has(Mistake::TakenOverBeforeNamed) {
            memory.acknowledge(version.history);
            memory.take_over(&version);
        }
    }
}

/// "A large one skips the log and commits by checkpoint."
pub(crate) fn commit_large(running: &mut Running<'_>, page: u8) -> Result<(), Broken> {
    let commit = running.next_commit();
    let applied = *running.memory.applied();
    let history = applied.history.with(commit);
    let (edits, run) = (1, applied.run);
    let root =
        running.make_page(page, |made| Page::Root { stamp: made.stamp, history, edits, run })?;
    running.seal();
    running.promise.submitted = history;
    let version = Version { history, edits, root, run };
    begin(running, version, true);
    Ok(())
}

/// "The first commit after opening is a checkpoint, and the second one begins the log, in the same
/// run of the same machine."
pub(crate) fn commit_and_begin_log(running: &mut Running<'_>, page: u8) -> Result<(), Broken> {
    running.make_log();
    commit_large(running, page)?;
    running.set_phase(CheckpointPhase::MakingLog);
    Ok(())
}

/// "A checkpoint writes the dirty pages of one immutable root to places that nothing durable
/// refers to."
pub(crate) fn begin(running: &mut Running<'_>, version: Version, is_large: bool) {
    if version != running.memory.base {
        running.write_page(version.root.page);
    }
    let (start, phase) = (running.memory.head, CheckpointPhase::Writing);
    running.memory.checkpoint = Some(Checkpoint { version, start, is_large, phase });
}

/// "Only then may the log tail advance, old pages be reused, or a large transaction be
/// acknowledged."
fn conclude(running: &mut Running<'_>) {
    let memory = &mut *running.memory;
    let done = memory.checkpoint.take().expect("it is under way");
    memory.base = done.version;
    memory.tail = done.start;
    if let LogFile::FirstSlot(id) = memory.log {
        memory.log = LogFile::InUse(id);
        memory.next_version = done.version.history.count() + 1;
    }
    memory.runs.retain(|(behind, _)| *behind > done.start.position);
    if done.is_large {
        memory.versions = vec![done.version];
    }
    // Commits that still wait for a group are acknowledged without one.
    memory.acknowledge(done.version.history);
    memory.take_over(&done.version);
}
