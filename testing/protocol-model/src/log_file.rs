//! The log's file: the first commit that needs one makes it, a clean close removes it.

use crate::checkpoint::begin;
use crate::disk::Write;
use crate::format::{LogPlace, Slot, Stamp, Superblock};
use crate::model::{Next, Running};
use crate::state::{CheckpointPhase, ClosePhase, LogFile, Memory, Process, State};
use crate::{Mistake, Model, Step};

impl Running<'_> {
    /// Is a slot being written?
    fn is_writing_slot(&self) -> bool {
        self.disk.in_flight.iter().any(|write| matches!(write, Write::Slot(..)))
    }

    /// Begins to make the log's file, with an id that no log had.
    pub(crate) fn make_log(&mut self) -> u8 {
        let memory = &mut *self.memory;
        let id = memory.session;
        (memory.head, memory.tail) = (LogPlace::default(), LogPlace::default());
        (memory.known, memory.ring_blocks) = (0, self.disk.first_len);
        memory.next_version = memory.applied().history.count() + 1;
        memory.runs.clear();
        memory.log = LogFile::Creating(id);
        self.disk.submit(Write::Log(Some(id)));
        id
    }

    /// Writes the durable checkpoint anew, with what is known of the log: first into the slot that
    /// does not hold the newest one, then into the other.
    fn write_log_use(&mut self, log: Option<u8>) {
        let superblock = Superblock {
            number: self.memory.number + 1,
            session: self.memory.session,
            version: self.memory.base,
            start: self.memory.tail,
            start_session: self.memory.session,
            log,
        };
        self.disk.submit(Write::Slot(1 - self.memory.slot, Slot::Good(superblock)));
    }

    /// Writes into the other slot what one says since a moment ago.
    fn write_second_slot(&mut self) {
        self.memory.number += 1;
        self.memory.slot = 1 - self.memory.slot;
        let newest = self.disk.slots[usize::from(self.memory.slot)].visible();
        self.disk.submit(Write::Slot(1 - self.memory.slot, newest));
    }
}

impl Model {
    /// The making of a log, and clean closes.
    pub(crate) fn log_file_steps(&self, state: &State, memory: &Memory, next: &mut Vec<Next>) {
        let is_idle = memory.is_writer_free() && memory.is_without_checkpoint();
        let is_wanted = state.left.puts + state.left.large_values + state.left.transactions > 0;
        let can_be_made = memory.log == LogFile::Absent && self.bounds.blocks > 0;
        if is_idle && is_wanted && can_be_made {
            next.push(self.next(state, Step::CreateLog, |state| {
                let mut running = state.running();
                let id = running.make_log();
                if self.has(Mistake::LogUsedBeforeDurable) {
                    running.memory.log = LogFile::FirstSlot(id);
                    running.write_log_use(Some(id));
                }
                Ok(())
            }));
        }
        let is_quiet = state.disk.in_flight.is_empty() && !state.disk.is_syncing;
        if state.left.closes > 0 && is_idle && is_quiet {
            next.push(self.next(state, Step::Close, |state| {
                state.left.closes -= 1;
                let mut running = state.running();
                running.memory.closing = Some(ClosePhase::Checkpoint);
                if self.has(Mistake::LogRemovedFirst) {
                    running.disk.submit(Write::Log(None));
                }
                let version = *running.memory.applied();
                begin(&mut running, version, false);
                Ok(())
            }));
        }
    }

    /// Takes the making of the log further, if it can go: the file and its entry are durable, then
    /// both slots say that it is in use, and only then is a group written.
    pub(crate) fn go_on_with_log_file(&self, running: &mut Running<'_>) {
        let is_making = running.disk.in_flight.iter().any(|write| matches!(write, Write::Log(_)));
        match running.memory.log {
            LogFile::Creating(id) if !is_making => {
                running.memory.log = LogFile::FirstSlot(id);
                if let Some(checkpoint) = &mut running.memory.checkpoint {
                    checkpoint.phase = CheckpointPhase::Writing;
                    return;
                }
                if self.has(Mistake::LogUsedBeforeSlots) {
                    running.memory.log = LogFile::InUse(id);
                    return;
                }
                running.write_log_use(Some(id));
            }
            // A log that begins with a checkpoint is in both slots when that is.
            LogFile::FirstSlot(_) if running.memory.checkpoint.is_some() => {}
            LogFile::FirstSlot(id) if !running.is_writing_slot() => {
                running.memory.log = LogFile::SecondSlot(id);
                if self.has(Mistake::LogUsedBeforeSecondSlot) {
                    running.memory.log = LogFile::InUse(id);
                    running.memory.number += 1;
                    running.memory.slot = 1 - running.memory.slot;
                    return;
                }
                running.write_second_slot();
            }
            LogFile::SecondSlot(id) if !running.is_writing_slot() => {
                running.memory.log = LogFile::InUse(id);
            }
            LogFile::Absent
            | LogFile::Creating(_)
            | LogFile::FirstSlot(_)
            | LogFile::SecondSlot(_)
            | LogFile::InUse(_) => {}
        }
    }

    /// Takes a clean close further, if it can go: both slots say that there is no log, and then
    /// there is none.
    pub(crate) fn go_on_closing(&self, state: &mut State) {
        let mut running = state.running();
        while self.go_on_with_checkpoint(&mut running) {}
        if running.memory.checkpoint.is_some() || !running.disk.in_flight.is_empty() {
            return;
        }
        let has_log = running.disk.log.visible().is_some();
        if running.memory.closing == Some(ClosePhase::Checkpoint) && has_log {
            running.disk.submit(Write::Log(None));
            running.memory.closing = Some(ClosePhase::Removing);
            return;
        }
        let session = running.memory.session;
        running.promise.sealed = Stamp { session, counter: u8::MAX };
        running.promise.kept = running.memory.acknowledged().history;
        running.promise.is_closed = true;
        state.disk.forget_garbage();
        state.process = Process::Down;
    }
}
