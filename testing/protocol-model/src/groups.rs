//! Groups of the log: what waits for one, and those in flight.
//!
//! ```text
//!   commit --> applied --> queue --> in flight --> durable, as all before it: acknowledged
//!                            '--- a checkpoint that has it is named: acknowledged
//! ```

use crate::disk::Write;
use crate::format::{Group, History, LogPlace, Version};
use crate::model::Running;
use crate::state::{Checkpoint, CheckpointPhase, Flying, Memory, Queued};
use crate::{Broken, Mistake, Model};

impl Memory {
    /// Readers get this version, if theirs is an older one.
    pub(crate) fn acknowledge(&mut self, history: History) {
        let is_it = |version: &Version| version.history == history;
        if let Some(newest) = self.versions.iter().position(is_it) {
            self.versions.drain(..newest);
        }
    }

    /// Takes the commits out of the queue that a checkpoint has.
    pub(crate) fn take_over(&mut self, version: &Version) {
        self.queue.retain(|queued| match queued {
            Queued::Commit { version: queued, .. } => !version.history.contains(queued.history),
            Queued::Name => true,
        });
    }

    /// The commits of the next group, and whether it names the checkpoint.
    fn take_group(&mut self, limit: u8, are_names_alone: bool) -> (Vec<Queued>, bool) {
        let (mut commits, mut is_named) = (Vec::new(), false);
        while let Some(queued) = self.queue.first() {
            match queued {
                Queued::Name => is_named = true,
                Queued::Commit { run, .. } => {
                    let has_room = commits.len() < usize::from(limit)
                        && (run.is_none() || commits.is_empty())
                        && !commits.last().is_some_and(has_run);
                    if !has_room {
                        break;
                    }
                    commits.push(*queued);
                }
            }
            self.queue.remove(0);
            if is_named && are_names_alone {
                break;
            }
        }
        (commits, is_named)
    }
}

fn has_run(queued: &Queued) -> bool {
    matches!(queued, Queued::Commit { run: Some(_), .. })
}

impl Model {
    /// Takes note of the groups that are written, and writes what waits.
    pub(crate) fn go_on_with_groups(&self, running: &mut Running<'_>) -> Result<(), Broken> {
        self.reap(running);
        while !running.memory.queue.is_empty()
            && running.memory.flying.len() < usize::from(self.bounds.depth)
        {
            self.submit_group(running)?;
            // One that overtook others may be the next.
            self.reap(running);
        }
        Ok(())
    }

    /// "A commit is acknowledged when all groups up to its own are durable."
    fn reap(&self, running: &mut Running<'_>) {
        let memory = &mut *running.memory;
        if running.disk.is_log_syncing && !self.has(Mistake::AcknowledgedBesideGrowth) {
            return;
        }
        while let Some(flying) = memory.flying.first().copied().filter(|first| first.is_finished) {
            memory.flying.remove(0);
            memory.known = flying.position + 1;
            flying.history.into_iter().for_each(|history| memory.acknowledge(history));
        }
        if self.has(Mistake::AcknowledgedBeforeGroupAhead) {
            let finished = memory.flying.iter().filter(|flying| flying.is_finished);
            let newest = finished.filter_map(|flying| flying.history).next_back();
            newest.into_iter().for_each(|history| memory.acknowledge(history));
        }
    }

    /// Makes a group of what waits, and a wrap group before it if a lap ends there.
    fn submit_group(&self, running: &mut Running<'_>) -> Result<(), Broken> {
        let (limit, are_names_alone) = (self.bounds.group_commits, self.bounds.names_first);
        let (commits, is_named) = running.memory.take_group(limit, are_names_alone);
        // What commits leave was looked at before they were applied: names may have come since.
        let is_checked_again = self.has(Mistake::RoomCheckedAgain) && !commits.is_empty();
        let left = if is_checked_again { self.left_for_names() } else { 0 };
        let (used, ring) = (self.used(running.memory), self.ring(running.memory));
        let placed = ring.place(used, running.memory.head, left);
        let (wrap, at) = placed.ok_or(Broken::NoRoom)?;
        let memory = &mut *running.memory;
        let mut group = Group {
            position: at.position,
            session: memory.session,
            commits: History::default(),
            first_version: memory.next_version,
            edits: 0,
            run: None,
            names: memory.number,
            known: memory.known,
            is_wrap: false,
            rotten: false,
        };
        if let Some(Queued::Commit { version, .. }) = commits.first() {
            group.first_version = version.history.count();
        }
        let wrap_group = Group { is_wrap: true, ..group };
        let mut history = None;
        for queued in commits {
            let Queued::Commit { version, commit, run } = queued else { continue };
            group.commits = group.commits.with(commit);
            (group.edits, group.run) = (version.edits, run);
            memory.next_version = version.history.count() + 1;
            history = Some(version.history);
        }
        if let Some(place) = wrap {
            write_group(running, place, Group { position: place.position, ..wrap_group }, None);
        }
        write_group(running, at, group, history);
        let memory = &mut *running.memory;
        memory.head = ring.behind(at, false);
        memory.runs.extend(group.run.map(|run| (at.position + 1, run)));
        if let Some(Checkpoint { phase: CheckpointPhase::Naming(name @ None), .. }) =
            &mut memory.checkpoint
            && is_named
        {
            *name = Some(at.position);
        }
        Ok(())
    }
}

fn write_group(running: &mut Running<'_>, place: LogPlace, group: Group, history: Option<History>) {
    let flying = Flying { position: place.position, history, is_finished: false };
    running.memory.flying.push(flying);
    running.disk.submit(Write::Group(place.offset, group));
}
