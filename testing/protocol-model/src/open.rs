//! Opening for writing: "it trusts nothing that may only be in a cache".

use crate::disk::Write;
use crate::format::{Page, Slot, Superblock, Version};
use crate::model::Next;
use crate::state::{Found, LogFile, Memory, OpenPhase, Opening, Process, Promise, Replayed, State};
use crate::{Broken, Mistake, Model, Step};

impl Model {
    /// A file that nobody has open is opened, or rots.
    pub(crate) fn open_steps(&self, state: &State, next: &mut Vec<Next>) {
        let has_rotted = self.bounds.rot && !state.left.rot;
        if has_rotted {
            if let Err(broken) = self.recover_rotten(state) {
                next.push(Next { step: Step::Open, state: state.clone(), result: Err(broken) });
            }
            return;
        }
        self.rot_steps(state, next);
        match self.recover(state) {
            Err(broken) => {
                next.push(Next { step: Step::Open, state: state.clone(), result: Err(broken) });
            }
            Ok(_) if state.left.crashes == 0 && !state.promise.is_closed => {}
            Ok(found) => {
                if state.left.peeks > 0 {
                    next.push(self.next(state, Step::Peek, |state| {
                        state.left.peeks -= 1;
                        self.peek(state, &found);
                        Ok(())
                    }));
                }
                next.push(self.next(state, Step::Open, |state| {
                    self.restore(state, &found);
                    state.promise.is_closed = false;
                    let phase = OpenPhase::Restoring;
                    state.process = Process::Opening(Opening { found, phase });
                    Ok(())
                }));
            }
        }
    }

    /// "Nobody reads what a crash could take away": who may not write can sync.
    fn peek(&self, state: &mut State, found: &Found) {
        if !self.has(Mistake::NoSyncBeforeReading) {
            state.disk.submit_sync_of_both();
            state.disk.finish_sync();
        }
        state.promise.kept = found.replayed.history;
    }

    /// "It rewrites the chosen slot and every valid group behind the last known-durable position,
    /// syncs both files." So it does with the log's last block, whatever is in it.
    fn restore(&self, state: &mut State, found: &Found) {
        if matches!(self.mistake, Some(Mistake::CutBeforeSlots)) {
            self.cut(state, found);
        }
        if matches!(self.mistake, Some(Mistake::NoSyncAtOpen | Mistake::NoSyncAtOpenNoLog)) {
            return;
        }
        let is_slot_trusted = matches!(
            self.mistake,
            Some(Mistake::ChosenSlotNotRewritten | Mistake::ChosenSlotNotRewrittenNoLog)
        );
        if !is_slot_trusted {
            state.disk.submit(Write::Slot(found.slot, Slot::Good(found.superblock)));
        }
        let unknown = found.groups.iter().filter(|(_, group)| group.position >= found.known());
        for (offset, group) in unknown.filter(|_| !self.has(Mistake::GroupsNotRewritten)) {
            state.disk.submit(Write::Group(*offset, *group));
        }
        // Where it is durable that the file is so long, the write would change nothing.
        let is_len_durable = state.disk.log_len.newer.is_empty();
        if !is_len_durable
            && found.superblock.log.is_some()
            && !self.has(Mistake::LogLengthNotRewritten)
        {
            state.disk.submit(Write::LogEnd(found.ring_blocks));
        }
        state.disk.submit_sync_of_both();
    }

    /// Goes on with opening when nothing is in flight.
    pub(crate) fn go_on_opening(&self, state: &mut State) {
        while let Process::Opening(opening) = &mut state.process {
            let is_busy = !state.disk.in_flight.is_empty() || state.disk.is_syncing;
            if is_busy || opening.phase == OpenPhase::Ready {
                return;
            }
            let (mut first, mut second) = (1 - opening.found.slot, opening.found.slot);
            if self.has(Mistake::SessionInChosenSlotFirst) {
                (first, second) = (second, first);
            }
            let renewed = self.renewed(&opening.found.superblock);
            let slot = match opening.phase {
                OpenPhase::Restoring if self.has(Mistake::SessionNotDurable) => {
                    opening.phase = OpenPhase::Ready;
                    return;
                }
                OpenPhase::Restoring => {
                    opening.phase = OpenPhase::OtherSlot;
                    first
                }
                OpenPhase::OtherSlot if self.has(Mistake::SessionInOneSlot) => {
                    opening.phase = OpenPhase::Ready;
                    return;
                }
                OpenPhase::OtherSlot => {
                    opening.phase = OpenPhase::ChosenSlot;
                    second
                }
                OpenPhase::ChosenSlot if self.bounds.cuts => {
                    opening.phase = OpenPhase::Cutting;
                    let found = opening.found.clone();
                    if self.has(Mistake::CutNotOver) {
                        opening.phase = OpenPhase::Ready;
                    }
                    self.cut(state, &found);
                    continue;
                }
                OpenPhase::ChosenSlot | OpenPhase::Cutting | OpenPhase::Ready => {
                    opening.phase = OpenPhase::Ready;
                    return;
                }
            };
            state.disk.submit(Write::Slot(slot, Slot::Good(renewed)));
        }
    }

    /// "Makes durable a session number never used before."
    fn renewed(&self, found: &Superblock) -> Superblock {
        Superblock { number: found.number + 1, session: self.session_after(found), ..*found }
    }

    fn session_after(&self, found: &Superblock) -> u8 {
        let is_repeated = self.has(Mistake::StampRepeatedAfterCrash);
        if is_repeated { found.session } else { found.session + 1 }
    }

    /// "Only then publishes a root or reuses a page."
    pub(crate) fn publish_steps(&self, state: &State, opening: &Opening, next: &mut Vec<Next>) {
        if opening.phase != OpenPhase::Ready {
            return;
        }
        let found = &opening.found;
        let memory = self.memory_after(found);
        if found.replayed.history == found.superblock.version.history {
            next.push(self.next(state, Step::Publish(None), |state| {
                self.publish(state, found, memory, None)
            }));
            return;
        }
        for page in self.numbers_for_replay(state, &memory) {
            next.push(self.next(state, Step::Publish(Some(page)), |state| {
                self.publish(state, found, memory.clone(), Some(page))
            }));
        }
    }

    /// "Recovery marks every run that the log names as used before it replays anything."
    fn numbers_for_replay(&self, state: &State, memory: &Memory) -> Vec<u8> {
        if self.has(Mistake::ReplayOverRun) {
            let unmarked = Memory { runs: Vec::new(), ..memory.clone() };
            return self.numbers(state, &unmarked);
        }
        let is_named = |page: &u8| memory.runs.iter().any(|(_, run)| run.page == *page);
        let mut numbers = self.numbers(state, memory);
        numbers.retain(|page| !is_named(page));
        numbers
    }

    /// What a process knows before it has replayed the log.
    fn memory_after(&self, found: &Found) -> Memory {
        let version = found.superblock.version;
        Memory {
            session: found.superblock.session + 1,
            counter: 0,
            slot: found.slot,
            number: found.superblock.number + 1,
            ring_blocks: found.ring_blocks,
            head: found.end,
            tail: found.superblock.start,
            known: found.end.position,
            next_version: found.replayed.history.count() + 1,
            applied_only: None,
            queue: Vec::new(),
            flying: Vec::new(),
            base: version,
            versions: vec![version],
            snapshot: None,
            growth: None,
            checkpoint: None,
            transaction: None,
            frames: vec![None; usize::from(self.bounds.pages)],
            runs: found.runs().collect(),
            log: found.superblock.log.map_or(LogFile::Absent, LogFile::InUse),
            closing: None,
        }
    }

    fn publish(
        &self,
        state: &mut State,
        found: &Found,
        memory: Memory,
        page: Option<u8>,
    ) -> Result<(), Broken> {
        let number = match self.mistake {
            Some(Mistake::SessionNotDurable) => found.superblock.number,
            _ => memory.number,
        };
        let session = self.session_after(&found.superblock);
        state.process = Process::Running(Memory { session, number, ..memory });
        let Replayed { history, edits, run, twice: _ } = found.replayed;
        state.promise = Promise { submitted: history, kept: history, ..state.promise };
        let Some(page) = page else { return Ok(()) };
        let mut running = state.running();
        let root = running.make_page(page, |made| Page::Root {
            stamp: made.stamp,
            history,
            edits,
            run,
        })?;
        running.seal();
        running.memory.versions = vec![Version { history, edits, root, run }];
        Ok(())
    }

    /// Cuts what is behind the last page in use.
    fn cut(&self, state: &mut State, found: &Found) {
        let runs = found.runs().map(|(_, run)| run.page);
        let runs = runs.filter(|_| !self.has(Mistake::CutOverRun));
        let pages = found.superblock.version.pages().map(|(page, _)| page);
        let last = pages.chain(runs).max().unwrap_or(0);
        for page in last + 1..self.bounds.pages {
            if state.disk.pages[usize::from(page)].visible() != Page::Zero {
                state.disk.submit(Write::Page(page, Page::Zero));
            }
        }
    }
}
