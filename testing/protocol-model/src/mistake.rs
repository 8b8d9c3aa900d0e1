//! Mistakes that can be planted, each against one rule.

use crate::{Explored, Model, SCENARIOS, explore, script};

/// Declares the mistakes: what each is called, where it shows, and the rule that it breaks.
macro_rules! mistakes {
    ($(
        $(#[doc = $doc:literal])*
        $variant:ident, $name:literal, $scenario:literal, $rule:literal;
    )*) => {
        /// A rule of the protocol that is not kept.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mistake {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Mistake {
            /// All of them.
            pub const ALL: &[Mistake] = &[$(Mistake::$variant,)*];

            /// What it is called.
            pub fn name(self) -> &'static str {
                match self { $(Mistake::$variant => $name,)* }
            }

            /// The scenario that shows it.
            pub fn scenario(self) -> &'static str {
                match self { $(Mistake::$variant => $scenario,)* }
            }

            /// The sentence that it breaks.
            pub fn rule(self) -> &'static str {
                match self { $(Mistake::$variant => $rule,)* }
            }
        }
    };
}

mistakes! {
    /// A page of the newest acknowledged version is reused while its successor is not durable.
    ReuseBetweenAcknowledgedAndApplied, "reuse-between-acknowledged-and-applied", "versions",
        "A page's number may be reused only when its death is published in the newest \
         acknowledged root.";
    /// A snapshot's pages are reused.
    SnapshotNotPinned, "snapshot-not-pinned", "versions",
        "Pinned: every open snapshot.";
    /// The pages of a checkpoint that is being written are reused.
    CheckpointUnderWayNotPinned, "checkpoint-under-way-not-pinned", "versions",
        "Pinned: the durable checkpoint, one under way.";
    /// The pages of the durable checkpoint are reused.
    DurableCheckpointNotPinned, "durable-checkpoint-not-pinned", "versions",
        "Pages of the durable checkpoint are never overwritten.";
    /// Readers get a version whose group is not durable.
    ReadersSeeApplied, "readers-see-applied", "groups",
        "Readers get the newest acknowledged root. Nobody reads what a crash could take away.";
    /// A number is given out while an older write of it is in flight.
    NumberReusedInFlight, "number-reused-in-flight", "transactions",
        "A number may be reused only when no I/O on it is in flight.";
    /// The counter goes back when a transaction is given up.
    StampRepeatedAfterAbort, "stamp-repeated-after-abort", "transactions",
        "A stamp is never reused, not even after an abort.";
    /// The session stays the same when the file is opened.
    StampRepeatedAfterCrash, "stamp-repeated-after-crash", "groups",
        "A stamp is never reused, not even after a crash.";
    /// What was made before a savepoint is changed in place behind it.
    SavepointDoesNotSeal, "savepoint-does-not-seal", "transactions",
        "Savepoints seal the pages born so far.";
    /// A page is changed after it was handed to the driver.
    ChangedAfterHandedOver, "changed-after-handed-over", "transactions",
        "A page may change in place only while it was never handed to a driver for writing.";
    /// A commit is acknowledged when its own group is durable.
    AcknowledgedBeforeGroupAhead, "acknowledged-before-group-ahead", "groups",
        "A commit is acknowledged when all groups up to its own are durable.";
    /// The slot is written when the pages are written, and not synced.
    SlotBeforePagesSync, "slot-before-pages-sync", "groups",
        "Flip: pages; sync; write the other slot.";
    /// The new checkpoint is written over the newest one.
    FlipOverNewestSlot, "flip-over-newest-slot", "ring",
        "Flip: write the other slot.";
    /// The log's tail advances, and pages are reused, when the slot is durable.
    TailBeforeNamed, "tail-before-named", "ring",
        "Only when a log group that names the new checkpoint is durable may the log tail advance, \
         old pages be reused.";
    /// The log's tail advances when the naming group is durable, although one before it is not.
    NamedBeforeGroupAhead, "named-before-group-ahead", "ring",
        "A checkpoint is named when all groups up to the one that names it are durable.";
    /// A large transaction is acknowledged when the slot is durable.
    LargeTransactionBeforeNamed, "large-transaction-before-named", "large-transactions",
        "Only then may a large transaction be acknowledged.";
    /// A checkpoint that has commits which wait for a group acknowledges them when its slot is
    /// durable.
    TakenOverBeforeNamed, "taken-over-before-named", "queue",
        "Commits that wait for a group are acknowledged without one when the checkpoint that has \
         them is named.";
    /// Commits that wait for a group get none from the moment on when a checkpoint captures them.
    SkippedBeforeNamed, "skipped-before-named", "queue",
        "Commits that wait for a group get one, until a checkpoint that has them is named.";
    /// The commits of all groups behind the log's start are made again.
    ReplayedTwice, "replayed-twice", "queue",
        "A group behind the log's start may have commits that the checkpoint has: replay skips \
         them.";
    /// The log starts at the head as it is when the slot is written.
    StartReadLate, "start-read-late", "groups",
        "A checkpoint starts the log at the head as it is when the version is captured.";
    /// The ring has more blocks when zeros are written there.
    GrownBeforeSynced, "grown-before-synced", "growth",
        "Zeros, one sync, then the ring has them.";
    /// What is new in the ring is free at once.
    GrowthFreesAtOnce, "growth-frees-at-once", "growth-around-the-end",
        "If what is used reaches around the old end, the new blocks are skipped.";
    /// Behind a group in the ring's last block the log goes on at offset 0.
    LapWithoutWrap, "lap-without-wrap", "growth",
        "A lap always ends with a wrap group.";
    /// Groups are acknowledged while the sync of new zeros is in flight.
    AcknowledgedBesideGrowth, "acknowledged-beside-growth", "growth",
        "No group is acknowledged while the sync of the zeros is in flight: it may be told the \
         error of a group's write.";
    /// Whether a commit leaves enough room for names is looked at again when its group is made.
    RoomCheckedAgain, "room-checked-again", "slow-writers",
        "Room that a commit was promised stays its own: a name may come between.";
    /// A group without commits has to follow as if it had some.
    NamesHaveVersions, "names-have-versions", "slow-writers",
        "A group without commits says nothing of versions: what waits behind it may be older.";
    /// The log is as long as it is seen to be.
    LogLengthNotRewritten, "log-length-not-rewritten", "growth",
        "Open for writing writes the log's last block again: that the file is so long may be in a \
         cache that has forgotten it.";
    /// No room is kept in the log for the group that names a checkpoint.
    NoRoomToName, "no-room-to-name", "ring",
        "Commits leave room in the log for the group that names a checkpoint.";
    /// A checkpoint is made only of something new.
    NamesFillTheLog, "names-fill-the-log", "slow-writers",
        "A log that is full of names is emptied by a checkpoint of nothing new.";
    /// The end of the log is not told from what another session left behind it.
    StaleGroupAccepted, "stale-group-accepted", "groups",
        "A group of a lower session than its predecessor is stale.";
    /// The first group is taken whatever its session.
    StartWithoutSession, "start-without-session", "groups",
        "A group at the log's start, of a lower session than the checkpoint's, is stale.";
    /// The log ends where a group is bad, although a later one knows it durable.
    CoveredGroupTruncated, "covered-group-truncated", "groups",
        "A bad group that a later one's known-durable position covers is damage: report it, never \
         truncate it away.";
    /// A rotten group is taken for a torn one.
    RottenGroupTruncated, "rotten-group-truncated", "groups",
        "A tear is told from rot (all sectors right, checksum wrong: Corrupt).";
    /// The older slot is taken although the log names a newer checkpoint.
    NameIgnored, "name-ignored", "large-transactions",
        "If the other is bad: with a log group that names a newer checkpoint it is Corrupt.";
    /// Names are looked for among those groups only that follow from the slot's start.
    NamesAlongChainOnly, "names-along-chain-only", "ring",
        "The group that names a newer checkpoint may be anywhere in the log.";
    /// What may only be in a cache is built upon.
    NoSyncAtOpen, "no-sync-at-open", "groups",
        "Open for writing rewrites the chosen slot and every valid group behind the last \
         known-durable position, syncs both files, and only then publishes a root.";
    /// Who may only read shows what may only be in a cache.
    NoSyncBeforeReading, "no-sync-before-reading", "readers",
        "Nobody reads what a crash could take away: also not where nothing may be written.";
    /// The same, without a log.
    NoSyncAtOpenNoLog, "no-sync-at-open-no-log", "no-log",
        "What an earlier process may have left in a cache becomes durable before anything else.";
    /// The groups behind the known-durable position are synced, and not rewritten.
    GroupsNotRewritten, "groups-not-rewritten", "groups",
        "Open for writing rewrites every valid group behind the last known-durable position.";
    /// The chosen slot is synced before the other one is overwritten, and not rewritten.
    ChosenSlotNotRewritten, "chosen-slot-not-rewritten", "groups",
        "Open for writing rewrites the chosen slot.";
    /// The same, without a log.
    ChosenSlotNotRewrittenNoLog, "chosen-slot-not-rewritten-no-log", "no-log",
        "Open for writing rewrites the chosen slot.";
    /// The new session goes into the slot that counts first.
    SessionInChosenSlotFirst, "session-in-chosen-slot-first", "groups",
        "The new session is made durable in the other slot first.";
    /// The new session goes into one slot only.
    SessionInOneSlot, "session-in-one-slot", "groups",
        "Open writes both slots with the new session.";
    /// The new session is only in memory.
    SessionNotDurable, "session-not-durable", "groups",
        "Open makes durable a session number never used before, and only then publishes a root.";
    /// The file is cut when it is opened, before anything is durable.
    CutBeforeSlots, "cut-before-slots", "no-log",
        "The file is cut not before both slots are durable: the one that was durable until then \
         may refer to what is behind the end that the other one names.";
    /// The file is cut to what the checkpoint needs.
    CutOverRun, "cut-over-run", "cuts",
        "Recovery marks every run that the log names as used: also where it cuts the file.";
    /// Numbers behind the new end are given out while the file is being cut.
    CutNotOver, "cut-not-over", "cuts",
        "The cut is over before a number behind the new end is given out.";
    /// Replay takes numbers that the checkpoint does not use.
    ReplayOverRun, "replay-over-run", "large-values",
        "Recovery marks every run that the log names as used before it replays anything.";
    /// A run is reused when no version needs it.
    RunReusedBeforeCheckpoint, "run-reused-before-checkpoint", "large-values",
        "A run that the log names is not reused until a checkpoint has passed that group.";
    /// The group is submitted beside the run.
    RunNotSynced, "run-not-synced", "large-values",
        "Larger ones are written and synced at their final place before their group is submitted.";
    /// Without a log, a commit is acknowledged when one slot is durable.
    AcknowledgedBeforeSecondSlot, "acknowledged-before-second-slot", "no-log",
        "Both slots name the new version before it is acknowledged.";
    /// The slots say that a log is in use before its file is durable.
    LogUsedBeforeDurable, "log-used-before-durable", "close",
        "The log's file and its entry are durable before a slot says that it is in use.";
    /// A group is written when the log's file is durable, and no slot tells of it.
    LogUsedBeforeSlots, "log-used-before-slots", "close",
        "A slot says that the log is in use before a group is written.";
    /// A group is written when one slot tells of the log.
    LogUsedBeforeSecondSlot, "log-used-before-second-slot", "close",
        "Both slots say that the log is in use before a group is written.";
    /// A clean close removes the log beside the slots that tell of it.
    LogRemovedFirst, "log-removed-first", "close",
        "A clean close checkpoints, and removes the log when no slot says that it is in use.";
    /// A clean close leaves the older checkpoint in the other slot.
    CloseWritesOneSlot, "close-writes-one-slot", "close",
        "A clean close writes the same checkpoint to both slots.";
}

impl Mistake {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Mistake> {
        Mistake::ALL.iter().copied().find(|mistake| mistake.name() == name)
    }
}

impl Mistake {
    /// Searches its scenario with it planted.
    pub fn explore(self) -> Explored {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == self.scenario());
        let bounds = scenario.expect("each mistake has a scenario").bounds;
        explore(&Model::new(bounds, Some(self)))
    }

    /// The shortest way to where it shows, in words; `None` if it does not show.
    pub fn script(self) -> Option<String> {
        let found = self.explore();
        let script = script(found.counterexample.as_ref()?);
        let (name, rule, scenario) = (self.name(), self.rule(), self.scenario());
        Some(format!("MISTAKE {name}, in scenario {scenario}\nAGAINST: {rule}\n\n{script}"))
    }
}
