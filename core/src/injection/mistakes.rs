//! Mistakes made on purpose, one at a time: a test that does not notice them is no test.

use std::cell::Cell;

use crate::named;

named! {
    /// A mistake of a kind that the engine's design is to rule out, made on purpose at one place of
    /// it: a test that does not notice it is no test.
    pub enum Mistake {
        // What the idiom of the state machines is to rule out.

        /// The tree's count is changed before it is known that the change can be made.
        CountBeforePages = "count-before-pages",
        /// The pages built for a plan that misses a page are not put back.
        ReserveNotPutBack = "reserve-not-put-back",
        /// The turn of a writer who left the queue is not passed on.
        TurnNotPassedOn = "turn-not-passed-on",
        /// A number is used again while the page with it is still being written.
        WritesNotAwaited = "writes-not-awaited",
        /// What was read is used whether or not the read failed.
        ReadErrorIgnored = "read-error-ignored",
        /// A cursor moves before the page that it moves to is there.
        CursorBeforePage = "cursor-before-page",
        /// A read that nobody waits for any more keeps its pin.
        PinOfAbandonedRead = "pin-of-abandoned-read",
        /// A transaction that is given up keeps its numbers.
        NumbersOfAbandonedTransaction = "numbers-of-abandoned-transaction",

        // Checkpoints.

        /// The slot is written while the pages that it names are not synced.
        PagesNotSynced = "pages-not-synced",
        /// The slots of a commit are written, and not made durable.
        SlotNotDurable = "slot-not-durable",
        /// A commit is acknowledged while the first slot that names it is being written.
        SlotNotAwaited = "slot-not-awaited",
        /// Which slot is written first does not depend on what the slots say.
        SlotsNotRead = "slots-not-read",
        /// The second slot is written while the first one is.
        SlotsTogether = "slots-together",
        /// A commit is acknowledged when only one slot names it.
        SecondSlotNotWritten = "second-slot-not-written",
        /// A sync, or a slot, that failed counts as one that succeeded.
        SyncErrorIgnored = "sync-error-ignored",
        /// A sync that failed is tried again, and a success then counts.
        SyncRetried = "sync-retried",
        /// The database goes on when it is not known what is durable.
        NotPoisoned = "not-poisoned",
        /// A checkpoint that waits behind one whose sync failed is made all the same.
        CheckpointBehindFailure = "checkpoint-behind-failure",
        /// A commit goes on when some of its pages could not be written.
        WriteErrorIgnored = "write-error-ignored",
        /// The slot is written while large values and pages written early are still on their way.
        RunsNotAwaited = "runs-not-awaited",
        /// The last pages of large values are not written.
        LastRunNotWritten = "last-run-not-written",
        /// Two checkpoints have the same number.
        CheckpointNumberRepeated = "checkpoint-number-repeated",
        /// The numbers of the space map's pages are lost when a checkpoint is given up.
        NumbersOfAbandonedPlan = "numbers-of-abandoned-plan",
        /// The next writer takes numbers behind the end of the file while that is being cut off.
        CutNotAwaited = "cut-not-awaited",
        /// They are free then while they are still being written.
        AbandonedMapNotAwaited = "abandoned-map-not-awaited",

        // Opening.

        /// What an earlier process has written is trusted without a sync.
        OpenNotSynced = "open-not-synced",
        /// The session is the same as before, so stamps repeat after a crash.
        SessionNotAdvanced = "session-not-advanced",
        /// The slots that name the session are not made durable.
        SessionNotDurable = "session-not-durable",
        /// The slot that counts is not written as it was found, before the other one is.
        ChosenNotRewritten = "chosen-not-rewritten",
        /// The file is cut before the slot that it is cut for is durable.
        CutBeforeSlots = "cut-before-slots",
        /// A log that no slot speaks of is removed while another slot may come back that does.
        LeftLogBeforeSlots = "left-log-before-slots",
        /// The directory entry of the file is not made durable.
        DirectoryNotSynced = "directory-not-synced",
        /// A reader sees a version that a power cut can still take.
        ReaderNotSynced = "reader-not-synced",

        // The log.

        /// A group is acknowledged when it is durable, whatever becomes of those ahead of it.
        GroupAheadNotAwaited = "group-ahead-not-awaited",
        /// A commit is acknowledged when it is applied.
        AppliedIsAcknowledged = "applied-is-acknowledged",
        /// What opening trusts to be the length of the log may only be in a cache.
        LogLengthNotRewritten = "log-length-not-rewritten",
        /// Changes that others left are not left again by one who took them and ended without them.
        DepositsForgotten = "deposits-forgotten",
        /// A commit without changes does not wait for the version that it began on.
        UnchangedNotAwaited = "unchanged-not-awaited",
        /// A relaxed commit is acknowledged when those ahead of it are not.
        RelaxedOvertakes = "relaxed-overtakes",
        /// Relaxed commits count as synced when they are being written.
        SyncNotAwaited = "sync-not-awaited",
        /// A log is used when one slot speaks of it.
        LogBeforeSecondSlot = "log-before-second-slot",
        /// The directory entry of a log is not made durable before it is used.
        LogEntryNotSynced = "log-entry-not-synced",
        /// The groups that a log was found with are trusted without a sync.
        LogNotSynced = "log-not-synced",
        /// What stands where the log ends is not looked at twice, nor what is written again.
        LogReadOnce = "log-read-once",
        /// A group goes on with the log whatever session it is of.
        StaleGroupAccepted = "stale-group-accepted",

        /// The log's tail advances when a slot has the checkpoint, before a group names it.
        TailBeforeNamed = "tail-before-named",
        /// Commits that stand in the log are made again though the checkpoint has them.
        ReplayedTwice = "replayed-twice",

        // Numbers and stamps.

        /// A number is free when the page is dead in the newest applied version, though readers get
        /// an older one.
        ReusedWhenApplied = "reused-when-applied",
        /// A page of the durable version is given up like one that the transaction has made.
        DurablePageReused = "durable-page-reused",
        /// A dead page is kept only for the oldest snapshot, not for those in its life's middle.
        MiddleSnapshotForgotten = "middle-snapshot-forgotten",
        /// With the newest snapshot that needs a dead page goes the page, whoever else needs it.
        OlderSnapshotForgotten = "older-snapshot-forgotten",
        /// The numbers of a transaction that is given up are free while its writes are in flight.
        AbandonedWritesNotAwaited = "abandoned-writes-not-awaited",
        /// The stamps of a transaction that was given up are given out again.
        StampRepeated = "stamp-repeated",

        // Transactions.

        /// What was made before a savepoint changes in place behind it.
        SavepointNotSealed = "savepoint-not-sealed",
        /// What was replaced behind a savepoint stays dead when the transaction goes back to it.
        ReplacedStaysDead = "replaced-stays-dead",
        /// The pages are as they were at a savepoint, the trees are not.
        TreesNotRolledBack = "trees-not-rolled-back",
        /// What was recorded since a savepoint stays recorded when the transaction goes back to it.
        RecordNotRolledBack = "record-not-rolled-back",
        /// An entry is recorded each time that storing it is tried.
        RecordedBeforeStored = "recorded-before-stored",
        /// The numbers of what a range delete, a batch or a load has made are lost when it is
        /// dropped.
        NumbersOfAbandonedWork = "numbers-of-abandoned-work",
        /// A range delete, a batch or a load that is dropped leaves half of its work.
        TentativeWorkKept = "tentative-work-kept",
        /// A transaction commits of which a page could not be written.
        DoomedCommits = "doomed-commits",
        /// A leaf is changed when the transaction has to wait before it may.
        LeafBeforeReservation = "leaf-before-reservation",
        /// The last leaf of a bulk load is not made.
        LastLeafNotMade = "last-leaf-not-made",
        /// The leaves that a bulk load has made are free before they are merged with the rest.
        LeavesFreedBeforeMerge = "leaves-freed-before-merge",

        // Reads, buffers and verification.

        /// A write that moved only some of its bytes is taken for a whole one.
        ShortWriteIgnored = "short-write-ignored",
        /// A group waits for its first child only.
        GroupForgetsChildren = "group-forgets-children",
        /// The frame of a read that was abandoned is used again while the read is in flight.
        FrameOfAbandonedRead = "frame-of-abandoned-read",
        /// A page's checksum is not looked at.
        ChecksumNotVerified = "checksum-not-verified",
        /// A page's own number is not looked at.
        NumberNotVerified = "number-not-verified",
        /// What the page above says of a page's stamp is not looked at.
        StampNotVerified = "stamp-not-verified",

        // Between threads.

        /// Those who wait for an I/O are taken from it before it is seen to be finished.
        WokenBeforeEnd = "woken-before-end",
        /// A slot may be taken before the name of the one before is worn out.
        SlotBeforeName = "slot-before-name",
        /// A group has no count of its own while it is built.
        GroupWithoutBuilder = "group-without-builder",
        /// Whether a page is still in its frame is asked before it is pinned, and not as one.
        PinBehindCheck = "pin-behind-check",
        /// A frame is used again whoever is looking at it.
        EpochNotAwaited = "epoch-not-awaited",
        /// Who waits for a frame says so after the last look for one.
        WaitNotAnnounced = "wait-not-announced",
        /// Who lets go of a version looks first whether others hold it, and lets go then.
        LastHolderUnnoticed = "last-holder-unnoticed",
        /// Who begins to read leaves a version to others of its lane when it may be the newest no
        /// longer.
        OldVersionLeft = "old-version-left",
        /// Some who begin to read get the next version while others still get the one before.
        OldBesideNew = "old-beside-new",
        /// News for the checkpoint that come while it is stepped are lost.
        TurnNotWanted = "turn-not-wanted",
        /// The turn is given to the next writer though somebody else took it a moment ago.
        TurnGivenTwice = "turn-given-twice",
        /// Whoever looks after the turn was offered waits until it is offered again.
        OfferOverlooked = "offer-overlooked",
        /// A thread that is woken leaves, though it was called to lead.
        LeadNotHandedOver = "lead-not-handed-over",
        /// A kick is forgotten by whoever sees it.
        KickForgotten = "kick-forgotten",
        /// That a slot is taken is seen before its name is.
        NameNotOrdered = "name-not-ordered",
    }
}

thread_local! {
    static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
    static MADE: Cell<u64> = const { Cell::new(0) };
}

/// Runs `work` with one mistake made on purpose.
pub fn plant<R>(mistake: Mistake, work: impl FnOnce() -> R) -> R {
    /// Also when the work panics, as a test that notices the mistake does.
    struct Remove;
    impl Drop for Remove {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
    MADE.set(0);
    PLANTED.set(Some(mistake));
    let _remove = Remove;
    work()
}

/// Is this mistake to be made? Each place that asks makes it then.
pub fn is_planted(mistake: Mistake) -> bool {
    let is_planted = PLANTED.get() == Some(mistake);
    if is_planted {
        MADE.set(MADE.get() + 1);
    }
    is_planted
}

/// How often the mistake was made that was planted last: 0 if its place was never reached.
pub fn made() -> u64 {
    MADE.get()
}
