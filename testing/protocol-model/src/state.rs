//! What the search goes through: the disk, the process, and what was promised.

use crate::bounds::Bounds;
use crate::disk::{Disk, Place};
use crate::format::{Group, History, LogPlace, Page, Ref, Slot, Stamp, Superblock, Version};

/// One moment of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub disk: Disk,
    pub process: Process,
    pub promise: Promise,
    /// What may still happen.
    pub left: Bounds,
}

/// Who works on the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    /// Nobody.
    Down,
    Opening(Opening),
    Running(Memory),
}

/// What is known from outside, and must not be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Promise {
    /// All commits that were asked for and were not lost by a crash before: what is recovered is
    /// what this was at some moment.
    pub submitted: History,
    /// What was acknowledged, or shown to a reader.
    pub kept: History,
    /// The number of the next commit.
    pub next_commit: u8,
    /// No page that is made from now on has this stamp or an older one.
    pub sealed: Stamp,
    /// Was the file closed well?
    pub is_closed: bool,
}

/// How far opening is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Opening {
    pub found: Found,
    pub phase: OpenPhase,
}

/// What opening waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OpenPhase {
    /// What may only be in a cache becomes durable.
    Restoring,
    /// The slot that did not count gets the new session.
    OtherSlot,
    /// The one that did.
    ChosenSlot,
    /// What is behind the last page in use is cut off, before its numbers are given out.
    Cutting,
    /// Nothing: the log may be replayed, and a root be published.
    Ready,
}

/// What recovery reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Found {
    pub superblock: Superblock,
    /// The slot that counts.
    pub slot: u8,
    /// The log's groups, from its start on, and where they are.
    pub groups: Vec<(u8, Group)>,
    /// Where the next one goes.
    pub end: LogPlace,
    /// How many blocks the log has.
    pub ring_blocks: u8,
    /// What the checkpoint and the log come to.
    pub replayed: Replayed,
}

impl Found {
    /// The groups before it were durable when the last one was written.
    pub fn known(&self) -> u8 {
        self.groups.iter().map(|(_, group)| group.known).max().unwrap_or(0)
    }

    /// The runs that the log names, each with the position behind its group.
    pub fn runs(&self) -> impl Iterator<Item = (u8, Ref)> {
        let groups = self.groups.iter();
        groups.filter_map(|(_, group)| group.run.map(|run| (group.position + 1, run)))
    }
}

/// What replay comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Replayed {
    /// The commits of the checkpoint and of the log.
    pub history: History,
    /// How many changes the last of them made.
    pub edits: u8,
    pub run: Option<Ref>,
    /// A commit that is made although the checkpoint has it.
    pub twice: Option<u8>,
}

/// What a process that has the database open knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    pub session: u8,
    /// The current stamp's.
    pub counter: u8,
    /// The slot that holds the newest checkpoint, and its number.
    pub slot: u8,
    pub number: u8,
    /// How many blocks the log has.
    pub ring_blocks: u8,
    /// Where the next group goes, if no lap ends there.
    pub head: LogPlace,
    /// The first group that must not be overwritten.
    pub tail: LogPlace,
    /// All groups before this position are durable.
    pub known: u8,
    /// The number of the version that the next group begins with.
    pub next_version: u8,
    /// A commit that is applied, and that its writer is about to queue.
    pub applied_only: Option<Queued>,
    /// What waits for a group.
    pub queue: Vec<Queued>,
    /// The groups in flight, the oldest first, and those that have overtaken one.
    pub flying: Vec<Flying>,
    /// The durable checkpoint.
    pub base: Version,
    /// Versions from the newest acknowledged one to the one that the writer goes on from.
    pub versions: Vec<Version>,
    /// An older version that a reader holds.
    pub snapshot: Option<Version>,
    /// The log is made longer.
    pub growth: Option<GrowthPhase>,
    pub checkpoint: Option<Checkpoint>,
    pub transaction: Option<Transaction>,
    /// The pages in memory.
    pub frames: Vec<Option<Frame>>,
    /// The runs that the log names: a position behind the group, and the run.
    pub runs: Vec<(u8, Ref)>,
    pub log: LogFile,
    /// How far a clean close is, if one has begun.
    pub closing: Option<ClosePhase>,
}

/// What waits for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Queued {
    /// The last commit of this version.
    Commit { version: Version, commit: u8, run: Option<Ref> },
    /// The name of the checkpoint.
    Name,
}

/// A group in flight, or one that has overtaken another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flying {
    pub position: u8,
    /// The commits up to its last one, if it has any.
    pub history: Option<History>,
    /// Is it written, and not looked at?
    pub is_finished: bool,
}

/// How far a log is that is made longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum GrowthPhase {
    /// Zeros are written behind its end.
    Writing,
    /// They become durable. "While it is in flight, no group is acknowledged."
    Syncing,
}

/// "The log is created by the first commit that needs it."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LogFile {
    /// There is none.
    Absent,
    /// The file of this id is made.
    Creating(u8),
    /// It is durable; the one slot says that it is in use.
    FirstSlot(u8),
    /// The other one does.
    SecondSlot(u8),
    /// Both slots say it: groups may be written.
    InUse(u8),
}

impl LogFile {
    pub fn id(self) -> Option<u8> {
        match self {
            LogFile::Absent | LogFile::Creating(_) => None,
            LogFile::FirstSlot(id) | LogFile::SecondSlot(id) | LogFile::InUse(id) => Some(id),
        }
    }

    pub fn is_in_use(self) -> bool {
        matches!(self, LogFile::InUse(_))
    }

    /// Is it not about to be made?
    pub fn is_settled(self) -> bool {
        self.is_in_use() || self == LogFile::Absent
    }
}

/// "A clean close checkpoints and removes the log; it writes the same checkpoint to both slots."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClosePhase {
    /// A checkpoint of the newest version goes into both slots, which say that there is no log.
    Checkpoint,
    /// The log is removed.
    Removing,
}

/// A page in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Frame {
    pub content: Page,
    /// Was it handed to the driver for writing?
    pub is_handed_over: bool,
}

/// A checkpoint under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Checkpoint {
    pub version: Version,
    /// Where the log starts with it: the head when the version was captured.
    pub start: LogPlace,
    /// Does it commit a large transaction?
    pub is_large: bool,
    pub phase: CheckpointPhase,
}

/// What a checkpoint waits for: "pages; sync; write the other slot; sync; then a log group that
/// names the new checkpoint is made durable".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CheckpointPhase {
    /// A log is made, which begins with the checkpoint.
    MakingLog,
    Writing,
    Syncing,
    Slot,
    /// Without a log: the same checkpoint in both slots.
    SecondSlot,
    /// With a log: the position of the first group that names the checkpoint, once there is one.
    Naming(Option<u8>),
}

/// A transaction that takes more than one step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Transaction {
    /// A large value is written at its final place.
    Run {
        commit: u8,
        run: Ref,
        phase: RunPhase,
    },
    Small(Small),
}

/// "Larger ones are written and synced at their final place before their group is submitted."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RunPhase {
    Writing,
    Syncing,
    /// The group may be submitted.
    Durable,
}

/// A transaction of several changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Small {
    pub commit: u8,
    pub root: Ref,
    /// How many changes were made, those that were rolled back aside.
    pub edits: u8,
    pub savepoint: Option<(Ref, u8)>,
    /// The current stamp's counter when it began.
    pub counter: u8,
}

impl Memory {
    pub fn acknowledged(&self) -> &Version {
        self.versions.first().expect("there is a version")
    }

    /// What the writer goes on from.
    pub fn applied(&self) -> &Version {
        self.versions.last().expect("there is a version")
    }

    pub fn stamp(&self) -> Stamp {
        Stamp { session: self.session, counter: self.counter }
    }

    /// "Pinned: the durable checkpoint, one under way, every open snapshot, every root between
    /// acknowledged and applied."
    pub fn pinned(&self) -> impl Iterator<Item = &Version> {
        let under_way = self.checkpoint.as_ref().map(|checkpoint| &checkpoint.version);
        [&self.base].into_iter().chain(under_way).chain(&self.snapshot).chain(&self.versions)
    }

    /// Is no checkpoint under way, and none about to begin?
    pub fn is_without_checkpoint(&self) -> bool {
        self.checkpoint.is_none() && self.growth.is_none()
    }

    /// Does the transaction under way use this number?
    pub fn is_private(&self, page: u8) -> bool {
        match &self.transaction {
            None => false,
            Some(Transaction::Run { run, .. }) => run.page == page,
            Some(Transaction::Small(small)) => {
                small.root.page == page
                    || small.savepoint.is_some_and(|(root, _)| root.page == page)
            }
        }
    }

    /// Forgets what nobody can ask for, so that moments that differ in it alone are alike.
    pub fn forget_garbage(&mut self) {
        for page in 0..self.frames.len() as u8 {
            let is_used = self.is_private(page)
                || self.pinned().any(|version| version.refers_to(page))
                || self.runs.iter().any(|(_, run)| run.page == page);
            if !is_used {
                self.frames[usize::from(page)] = None;
            }
        }
    }
}

impl State {
    /// A database that was created a moment ago, and is open.
    pub fn first(bounds: Bounds) -> State {
        let stamp = Stamp { session: 0, counter: 0 };
        let root = Ref { page: 0, stamp };
        let version = Version { history: History::default(), edits: 0, root, run: None };
        let start = LogPlace { position: 0, offset: bounds.offset };
        let log = if bounds.blocks > 0 && !bounds.starts_without_log { Some(0) } else { None };
        let superblock =
            Superblock { number: 1, session: 1, version, start, start_session: 1, log };
        let mut pages = vec![Place::new(Page::Zero); usize::from(bounds.pages)];
        pages[0] = Place::new(version.page());
        let disk = Disk {
            pages,
            slots: [Place::new(Slot::Good(superblock)), Place::new(Slot::Good(superblock))],
            blocks: vec![Place::new([None; 2]); usize::from(bounds.most_blocks())],
            log_len: Place::new(bounds.blocks),
            first_len: bounds.blocks,
            log: Place::new(log),
            in_flight: Vec::new(),
            is_syncing: false,
            is_log_syncing: false,
            has_stolen_error: false,
        };
        let memory = Memory {
            session: 1,
            counter: 0,
            slot: 0,
            number: 1,
            ring_blocks: bounds.blocks,
            head: start,
            tail: start,
            known: 0,
            next_version: 1,
            applied_only: None,
            queue: Vec::new(),
            flying: Vec::new(),
            base: version,
            versions: vec![version],
            snapshot: None,
            growth: None,
            checkpoint: None,
            transaction: None,
            frames: vec![None; usize::from(bounds.pages)],
            runs: Vec::new(),
            log: log.map_or(LogFile::Absent, LogFile::InUse),
            closing: None,
        };
        let promise = Promise {
            submitted: History::default(),
            kept: History::default(),
            next_commit: 0,
            sealed: stamp,
            is_closed: false,
        };
        State { disk, process: Process::Running(memory), promise, left: bounds }
    }
}
