//! Which steps there are, and what they lead to.

use std::fmt;

use crate::Mistake;
use crate::bounds::Bounds;
use crate::disk::{Crash, Disk, Write};
use crate::format::{History, Stamp, commit_name};
use crate::recovery::{Rot, rotten};
use crate::state::{Memory, Process, Promise, State};

/// The protocol, within bounds, and with or without a mistake.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub(crate) bounds: Bounds,
    pub(crate) mistake: Option<Mistake>,
}

/// What happens next. Numbers are those that a page gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A small commit.
    Put(u8),
    /// One whose writer applies it, and is slow to queue it.
    PutSlowly(u8),
    /// A large value begins to be written.
    BeginLargeValue(u8),
    /// Its run is durable; the commit is applied and its group submitted.
    CommitLargeValue(u8),
    /// A large transaction is committed by a checkpoint.
    CommitLarge(u8),
    /// The same, and the log begins with it.
    CommitAndBeginLog(u8),
    /// A transaction begins with a change.
    Begin(u8),
    /// It makes a further one: in place, or in a copy.
    Edit(Option<u8>),
    /// It sets a savepoint.
    Savepoint,
    /// It goes back to it.
    RollBack,
    /// Its page is written before the commit.
    Spill,
    /// It is committed.
    Commit,
    /// It is given up.
    Abort,
    /// A reader takes a snapshot.
    Snapshot,
    /// And gives it back.
    DropSnapshot,
    /// A commit that was applied is queued.
    Queue,
    /// A checkpoint begins, of the newest version that was applied.
    Checkpoint,
    /// A checkpoint of what is durable already begins: it moves the log's start.
    EmptyCheckpoint,
    /// The log is made.
    CreateLog,
    /// A clean close begins.
    Close,
    /// A write in flight finishes: the one of this index.
    Finish(usize),
    /// It is a group's, and does not become durable: its error is told to the log's sync.
    FinishWithoutError(usize),
    /// The sync in flight finishes.
    FinishSync,
    /// That of the log does.
    FinishLogSync,
    /// The process is killed.
    Kill,
    /// A sync fails, and the process ends.
    SyncFailure,
    /// The power is cut.
    PowerCut,
    /// Something rots.
    Rot(Rot),
    /// The file is opened, read and left by a process that may not write.
    Peek,
    /// The file is opened.
    Open,
    /// The log is replayed into this page, if it has anything, and the result published.
    Publish(Option<u8>),
}

/// What was promised, and is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are what the message says")]
#[allow(private_interfaces, reason = "they can be printed, which is what they are for")]
pub enum Broken {
    /// A commit that was acknowledged or shown is lost.
    Lost { kept: History, found: History },
    /// The recovered state is no prefix of the commits.
    NoPrefix { submitted: History, found: History },
    /// Recovery refuses a file that nothing has damaged.
    Refused(&'static str),
    /// A page that recovery or replay uses is not what it was.
    WrongPage { page: u8 },
    /// Recovery would give the new session a number that was used before.
    SessionRepeated { session: u8 },
    /// A page of the durable checkpoint is overwritten, or not durable.
    CheckpointDamaged { page: u8 },
    /// A reader finds something else than its version.
    ReaderMisled { page: u8 },
    /// A page gets a stamp that was given out before.
    StampRepeated { stamp: Stamp },
    /// A commit that the checkpoint has is made again behind it.
    Twice { commit: u8 },
    /// There is no room in the log for a group for which it was kept.
    NoRoom,
    /// The log is full, and no checkpoint can empty it.
    Stuck,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Lost { kept, found } => {
                write!(f, "{kept} was acknowledged or shown, and {found} is recovered")
            }
            Broken::NoPrefix { submitted, found } => {
                write!(f, "{submitted} was submitted, and {found} is recovered")
            }
            Broken::Refused(why) => write!(f, "the file is refused without need: {why}"),
            Broken::WrongPage { page } => {
                write!(f, "recovery reads page {page}, which does not hold what is referred to")
            }
            Broken::SessionRepeated { session } => {
                write!(f, "session {session} was used before, and would be used again")
            }
            Broken::CheckpointDamaged { page } => {
                write!(f, "page {page} of the durable checkpoint is overwritten or not durable")
            }
            Broken::ReaderMisled { page } => {
                write!(f, "a reader finds in page {page} what is not of its version")
            }
            Broken::StampRepeated { stamp } => {
                write!(f, "stamp {stamp} is given out a second time")
            }
            Broken::Twice { commit } => {
                let commit = commit_name(*commit);
                write!(f, "{commit} is in the checkpoint, and is made again behind it")
            }
            Broken::NoRoom => f.write_str("the log has no room for a group that was promised it"),
            Broken::Stuck => f.write_str("the log is full, and stays so"),
        }
    }
}

/// A step and what it leads to.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    pub step: Step,
    pub state: State,
    pub result: Result<(), Broken>,
}

/// A running process and what is around it.
pub(crate) struct Running<'a> {
    pub disk: &'a mut Disk,
    pub memory: &'a mut Memory,
    pub promise: &'a mut Promise,
}

impl State {
    /// The process that runs.
    pub(crate) fn running(&mut self) -> Running<'_> {
        let State { disk, process, promise, left: _ } = self;
        let Process::Running(memory) = process else { panic!("no process runs") };
        Running { disk, memory, promise }
    }
}

impl Model {
    /// The protocol of the design, or one with a mistake.
    pub fn new(bounds: Bounds, mistake: Option<Mistake>) -> Model {
        Model { bounds, mistake }
    }

    pub(crate) fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Everything that may happen next, crashes aside.
    pub(crate) fn steps(&self, state: &State) -> Vec<Next> {
        let mut next = Vec::new();
        match &state.process {
            Process::Down => self.open_steps(state, &mut next),
            Process::Opening(opening) => self.publish_steps(state, opening, &mut next),
            Process::Running(memory) if memory.closing.is_none() => {
                self.log_file_steps(state, memory, &mut next);
                self.commit_steps(state, memory, &mut next);
                self.transaction_steps(state, memory, &mut next);
                self.checkpoint_steps(state, memory, &mut next);
                self.reader_steps(state, memory, &mut next);
            }
            Process::Running(_) => {}
        }
        self.io_steps(state, &mut next);
        next
    }

    /// One step: the change, what the engine does at once because of it, and the checks.
    pub(crate) fn next(
        &self,
        before: &State,
        step: Step,
        change: impl FnOnce(&mut State) -> Result<(), Broken>,
    ) -> Next {
        let mut state = before.clone();
        let result = change(&mut state)
            .and_then(|()| self.go_on(&mut state))
            .and_then(|()| self.check(&state));
        Next { step, state, result }
    }

    /// I/O finishes.
    fn io_steps(&self, state: &State, next: &mut Vec<Next>) {
        let in_flight = &state.disk.in_flight;
        for (index, write) in in_flight.iter().copied().enumerate() {
            // Two that are alike are one choice.
            if index > 0 && in_flight[index - 1] == write {
                continue;
            }
            next.push(self.next(state, Step::Finish(index), |state| {
                state.disk.finish(write);
                note_finished(state, write);
                Ok(())
            }));
            let is_error_told = state.disk.is_log_syncing && state.left.sync_failures;
            if let Write::Group(offset, group) = write
                && is_error_told
            {
                next.push(self.next(state, Step::FinishWithoutError(index), |state| {
                    state.disk.finish_without_error(offset, group);
                    note_finished(state, write);
                    Ok(())
                }));
            }
        }
        if state.disk.is_syncing {
            next.push(self.next(state, Step::FinishSync, |state| {
                state.disk.finish_sync();
                Ok(())
            }));
        }
        if state.disk.is_log_syncing && !state.disk.has_stolen_error {
            next.push(self.next(state, Step::FinishLogSync, |state| {
                state.disk.finish_log_sync();
                Ok(())
            }));
        }
    }

    /// Crashes, in every way. Of the last one's results only those are returned that do not
    /// recover: nothing happens behind the others, which are counted.
    pub(crate) fn crashes(&self, state: &State, ends: &mut usize) -> Vec<Next> {
        if self.crash_key(state).is_none() {
            return Vec::new();
        }
        let is_last = state.left.crashes == 1;
        let kinds: &[(Step, Crash)] = match (is_last, state.left.sync_failures) {
            // Whatever a kill may leave, a power cut may leave, too.
            (true, _) => &[(Step::PowerCut, Crash::PowerCut)],
            (false, false) => &[(Step::Kill, Crash::Kill), (Step::PowerCut, Crash::PowerCut)],
            (false, true) => &[
                (Step::Kill, Crash::Kill),
                (Step::SyncFailure, Crash::SyncFailure),
                (Step::PowerCut, Crash::PowerCut),
            ],
        };
        let promise = promise_after_crash(state);
        let left = Bounds { crashes: state.left.crashes - 1, ..state.left };
        let mut next = Vec::new();
        for (step, crash) in kinds {
            for mut disk in state.disk.after(*crash) {
                disk.forget_garbage();
                let state = State { disk, process: Process::Down, promise, left };
                *ends += usize::from(is_last);
                if !is_last || !self.survives(&state) {
                    next.push(Next { step: *step, state, result: Ok(()) });
                }
            }
        }
        next
    }

    /// What decides what crashes lead to; `None` if there can be none.
    pub(crate) fn crash_key<'a>(&self, state: &'a State) -> Option<(&'a Disk, Promise, Bounds)> {
        let has_nobody = state.process == Process::Down;
        // The power may be cut while nobody has the file open, and somebody has read it.
        let is_at_stake = state.left.peeks < self.bounds.peeks;
        if state.left.crashes == 0 || (has_nobody && !is_at_stake) {
            return None;
        }
        // Behind the last crash nothing is left to happen.
        let left = if state.left.crashes == 1 { Bounds::default() } else { state.left };
        Some((&state.disk, promise_after_crash(state), left))
    }

    /// What rots while nobody has the file open, and leads to no right recovery. Nothing happens
    /// behind the others.
    pub(crate) fn rot_steps(&self, state: &State, next: &mut Vec<Next>) {
        if !state.left.rot {
            return;
        }
        let broken = rotten(state).filter(|(_, rotten)| self.recover_rotten(rotten).is_err());
        next.extend(broken.map(|(rot, state)| Next {
            step: Step::Rot(rot),
            state,
            result: Ok(()),
        }));
    }
}

/// The process takes note of a group that is written.
fn note_finished(state: &mut State, write: Write) {
    if let (Process::Running(memory), Write::Group(_, group)) = (&mut state.process, write) {
        let flying = memory.flying.iter_mut();
        let own = flying.filter(|flying| flying.position == group.position);
        own.for_each(|flying| flying.is_finished = true);
    }
}

/// No stamp of the session that has ended is given out again.
fn promise_after_crash(state: &State) -> Promise {
    let mut promise = state.promise;
    if let Process::Running(memory) = &state.process {
        promise.sealed = Stamp { session: memory.session, counter: u8::MAX };
    }
    promise
}
