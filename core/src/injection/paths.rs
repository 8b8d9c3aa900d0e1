//! Paths that a test must have reached to be worth something.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::named;

named! {
    /// A path through the engine that a test must have reached to be worth something.
    pub enum Path {
        // Opening.

        /// A file was created.
        FileCreated = "file-created",
        /// A creation that a crash had cut short was finished.
        CreationFinished = "creation-finished",
        /// The slots differed, and the newer one counted.
        SlotsDiffered = "slots-differed",
        /// Only one slot was valid.
        OneSlotValid = "one-slot-valid",
        /// A file that was longer than its superblock says was cut.
        FileCut = "file-cut",
        /// A reader made a version durable before it looked at it.
        ReaderSynced = "reader-synced",
        /// The space map that was read had several pages.
        MapOfSeveralPagesRead = "map-of-several-pages-read",
        /// The catalogue that was read had two levels or more.
        CatalogueOfTwoLevels = "catalogue-of-two-levels",

        // Checkpoints.

        /// A slot did not say what it was told, and was written first.
        SlotDamaged = "slot-damaged",

        /// A checkpoint was given up.
        CheckpointGivenUp = "checkpoint-given-up",
        /// The database was poisoned.
        Poisoned = "poisoned",
        /// The space map that was written had several pages.
        MapOfSeveralPages = "map-of-several-pages",
        /// The moments of a session were over, and the next one went on.
        SessionContinued = "session-continued",
        /// The end of a file was cut off that nothing referred to any more.
        FileCutWhileOpen = "file-cut-while-open",
        /// A checkpoint has fewer pages than the one before.
        FileShrank = "file-shrank",
        /// A log was found at opening.
        LogFound = "log-found",
        /// Groups that might only have been in a cache were written again.
        GroupsRewritten = "groups-rewritten",
        /// The changes of a log were made again.
        LogReplayed = "log-replayed",
        /// A log began.
        LogBegun = "log-begun",
        /// A log ended, and its file was removed.
        LogEnded = "log-ended",
        /// A commit waited for room in the log.
        LogFull = "log-full",
        /// Relaxed commits were written because their time had come.
        RelaxedInTime = "relaxed-in-time",
        /// Relaxed commits were written because they filled a group.
        RelaxedFillGroup = "relaxed-fill-group",
        /// A relaxed commit was acknowledged later than it was applied.
        RelaxedWaited = "relaxed-waited",
        /// Relaxed commits were written because somebody asked for it.
        RelaxedSynced = "relaxed-synced",
        /// A log that no superblock spoke of was removed.
        LeftLogRemoved = "left-log-removed",
        /// The log's file became longer.
        LogGrown = "log-grown",
        /// The log went on at its beginning.
        LogWrapped = "log-wrapped",
        /// So much was in the log, or in memory alone, that a checkpoint was made.
        CheckpointDue = "checkpoint-due",
        /// Changes that others had left were made together with others.
        DepositsTaken = "deposits-taken",
        /// They were left again.
        DepositsPutBack = "deposits-put-back",
        /// A batch was begun again, without those of others.
        MadeAlone = "made-alone",
        /// A commit ended that nobody waited for any more.
        CommitUnattended = "commit-unattended",

        // Changes of trees.

        /// A leaf was split.
        LeafSplit = "leaf-split",
        /// A leaf's entries were shared with its neighbour, instead of a split.
        LeafPushedAside = "leaf-pushed-aside",
        /// Several changes of one leaf were made at once.
        LeafChangedAtOnce = "leaf-changed-at-once",
        /// Some leaves became fewer, to make the file shorter.
        LeavesPacked = "leaves-packed",
        /// Pages were moved to the front of the file.
        PagesMoved = "pages-moved",
        /// A large value was moved to the front of the file.
        ValueMoved = "value-moved",
        /// Two leaves became one.
        LeavesMerged = "leaves-merged",
        /// Two leaves shared their entries anew.
        LeavesRedistributed = "leaves-redistributed",
        /// An interior node was split.
        InteriorSplit = "interior-split",
        /// Two interior nodes became one.
        InteriorsMerged = "interiors-merged",
        /// Two interior nodes shared their children anew.
        InteriorsRedistributed = "interiors-redistributed",
        /// A tree got a level more.
        RootGrew = "root-grew",
        /// A tree got a level less.
        RootShrank = "root-shrank",
        /// A plan missed a page, and was put back.
        PlanPutBack = "plan-put-back",

        // Transactions, numbers and runs.

        /// A transaction wrote pages before its commit, for want of memory.
        PagesWrittenEarly = "pages-written-early",
        /// A transaction went back to a savepoint.
        SavepointRolledBack = "savepoint-rolled-back",
        /// A long operation was undone.
        WorkUndone = "work-undone",
        /// A transaction was given up while writes of it were in flight.
        GivenUpWhileWriting = "given-up-while-writing",
        /// A write failed, and doomed its transaction.
        TransactionDoomed = "transaction-doomed",
        /// A number below the file's end was used again.
        NumberReused = "number-reused",
        /// Numbers that a transaction had vacated were free before it ended.
        VacatedFreed = "vacated-freed",
        /// Numbers had to wait for an I/O before they were free.
        NumberAwaitedIo = "number-awaited-io",
        /// A dead page was kept for a snapshot.
        HeldForSnapshot = "held-for-snapshot",
        /// A dead page whose newest snapshot went was kept for an older one.
        HeldForOlderSnapshot = "held-for-older-snapshot",
        /// A run was taken for a large value.
        RunTaken = "run-taken",
        /// A run went to a place below the file's end.
        RunReused = "run-reused",
        /// A large value that was not complete was forgotten.
        RunAbandoned = "run-abandoned",

        // Reads.

        /// Neighbouring pages were read in one go.
        ReadsMerged = "reads-merged",
        /// A merged read failed, and each of its pages was read by itself.
        MergedReadFailed = "merged-read-failed",
        /// A read under way was joined.
        ReadJoined = "read-joined",
        /// A read ended that nobody waited for any more.
        ReadAbandoned = "read-abandoned",
        /// What was read was not the page.
        PageRefused = "page-refused",
        /// A page made room for another one.
        PageEvicted = "page-evicted",
        /// Somebody had to wait for a frame.
        FrameAwaited = "frame-awaited",
        /// A scan asked for leaves ahead of itself.
        ReadAhead = "read-ahead",
        /// A transfer went on behind a short count.
        TransferContinued = "transfer-continued",
        /// A transfer that was interrupted was tried again.
        TransferRetried = "transfer-retried",

        // Bulk loads.

        /// The order of a load broke behind leaves that were made.
        LoadOrderBroke = "load-order-broke",
        /// A load was sorted in memory.
        LoadSortedInMemory = "load-sorted-in-memory",
        /// A load was sorted in a file.
        LoadSortedInFile = "load-sorted-in-file",
        /// Runs of the sort file were merged to longer ones.
        LoadRunsMerged = "load-runs-merged",
    }
}

thread_local! {
    static REACHED: [Cell<u64>; Path::ALL.len()] =
        const { [const { Cell::new(0) }; Path::ALL.len()] };
}

/// Notes that a path was reached.
pub fn reach(path: Path) {
    REACHED.with(|reached| {
        let count = &reached[path as usize];
        count.set(count.get() + 1);
    });
}

/// How often this thread has reached each path since it was asked before, 0 included.
pub fn take_reached() -> BTreeMap<&'static str, u64> {
    REACHED.with(|reached| {
        Path::ALL.iter().map(|path| (path.name(), reached[*path as usize].take())).collect()
    })
}
