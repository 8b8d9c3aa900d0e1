//! How far a search goes: what may happen in a run, and how often.

use std::fmt;

/// What may happen in a run, and how often. The search takes every run within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Page numbers. A tree is one page, a large value one.
    pub pages: u8,
    /// Blocks of the log; each takes one group. 0 is the protocol without a log.
    pub blocks: u8,
    /// Blocks by which the log is made longer when a checkpoint begins, once.
    pub growth: u8,
    /// Where in the ring the log starts at first.
    pub offset: u8,
    /// Does each lap of the log end with a wrap group? Else it ends at the ring's end.
    pub wraps: bool,
    /// Blocks that commits leave for names: one is enough as long as each checkpoint gives a block
    /// back; two, where one may have only what waits for a group; three, where one of the two
    /// names may need a wrap group.
    pub left_for_names: u8,
    /// Groups in flight at most, and commits in one.
    pub depth: u8,
    /// See [`depth`](Bounds::depth).
    pub group_commits: u8,
    /// Does the name of a checkpoint overtake the commits that wait for a group?
    pub names_first: bool,
    /// Commits that their writer has applied, and is slow to queue.
    pub delays: u8,
    /// Commits of one change.
    pub puts: u8,
    /// Commits of a large value.
    pub large_values: u8,
    /// Large transactions, which a checkpoint commits. Without a log, every commit is one.
    pub large_transactions: u8,
    /// Transactions in several steps, and what may happen in them.
    pub transactions: u8,
    /// Further changes in them.
    pub edits: u8,
    /// Savepoints in them, each with a way back.
    pub savepoints: u8,
    /// Private pages that are written before the commit.
    pub spills: u8,
    /// Transactions that are given up.
    pub aborts: u8,
    /// Checkpoints of what small commits have made.
    pub checkpoints: u8,
    /// Snapshots that readers hold for a while.
    pub snapshots: u8,
    /// Openings for reading only, of what a process left that was killed.
    pub peeks: u8,
    /// Clean closes, with a reopening.
    pub closes: u8,
    /// Crashes, with a reopening behind each; the last is a power cut.
    pub crashes: u8,
    /// Is there no log at first? The first commit that needs one makes it, whenever it is absent.
    pub starts_without_log: bool,
    /// Is a file that is longer than it needs to be cut when it is opened?
    pub cuts: bool,
    /// May the earlier crashes be failed syncs?
    pub sync_failures: bool,
    /// May one slot, or one group of the log, rot before a reopening? It is the last one then.
    pub rot: bool,
}

impl Bounds {
    /// Blocks that the log has at most.
    pub fn most_blocks(&self) -> u8 {
        self.blocks + self.growth
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.pages, "pages"),
            (self.blocks, "log blocks"),
            (self.growth, "more of them"),
            (if self.blocks > 0 { self.depth } else { 0 }, "groups in flight"),
            (if self.blocks > 0 { self.group_commits } else { 0 }, "commits in a group"),
            (self.delays, "slow writers"),
            (self.puts, "small commits"),
            (self.large_values, "large values"),
            (self.large_transactions, "large transactions"),
            (self.transactions, "transactions in steps"),
            (self.edits, "further changes"),
            (self.savepoints, "savepoints"),
            (self.spills, "spills"),
            (self.aborts, "aborts"),
            (self.checkpoints, "checkpoints"),
            (self.snapshots, "snapshots"),
            (self.peeks, "openings for reading"),
            (self.closes, "closes"),
            (self.crashes, "crashes"),
        ];
        let used = counts.iter().filter(|(count, _)| *count > 0);
        let mut words: Vec<String> = used.map(|(count, what)| format!("{what} {count}")).collect();
        words.extend(self.wraps.then(|| "wrap groups".to_owned()));
        words.extend(self.names_first.then(|| "names first".to_owned()));
        words.extend(self.starts_without_log.then(|| "no log at first".to_owned()));
        words.extend(self.cuts.then(|| "cuts".to_owned()));
        words.extend(self.sync_failures.then(|| "failed syncs".to_owned()));
        words.extend(self.rot.then(|| "rot".to_owned()));
        f.write_str(&words.join(", "))
    }
}

/// A bound with a name.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// What the tests search.
    pub bounds: Bounds,
    /// What is searched on request.
    pub larger: Bounds,
}

/// Nothing happens, in four pages.
const NOTHING: Bounds = Bounds {
    pages: 4,
    blocks: 0,
    growth: 0,
    offset: 0,
    wraps: false,
    left_for_names: 1,
    depth: 4,
    group_commits: 4,
    names_first: false,
    delays: 0,
    puts: 0,
    large_values: 0,
    large_transactions: 0,
    transactions: 0,
    edits: 0,
    savepoints: 0,
    spills: 0,
    aborts: 0,
    checkpoints: 0,
    snapshots: 0,
    peeks: 0,
    closes: 0,
    crashes: 2,
    starts_without_log: false,
    cuts: false,
    sync_failures: true,
    rot: true,
};

/// Few groups in flight, of few commits: so commits wait, beside checkpoints.
const fn queue(name: &'static str, about: &'static str, names_first: bool) -> Scenario {
    let bounds = Bounds {
        blocks: 5,
        left_for_names: 2,
        depth: 1,
        group_commits: 1,
        names_first,
        puts: 3,
        large_transactions: 1,
        checkpoints: 1,
        ..NOTHING
    };
    let larger = Bounds {
        pages: 5,
        blocks: 6,
        depth: 2,
        group_commits: 2,
        puts: 4,
        checkpoints: 2,
        ..bounds
    };
    Scenario { name, about, bounds, larger }
}

/// All that is searched.
///
/// Who may only read cannot write again what a failed sync has left, nor a slot that the log does
/// not name: what he is shown is safe from a power cut behind a kill, and from no more than that.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "no-log",
        about: "the protocol without a log: each commit is a checkpoint in both slots",
        bounds: Bounds {
            large_transactions: 4,
            snapshots: 1,
            closes: 1,
            cuts: true,
            crashes: 3,
            ..NOTHING
        },
        larger: Bounds {
            pages: 5,
            large_transactions: 5,
            snapshots: 1,
            closes: 1,
            cuts: true,
            crashes: 4,
            ..NOTHING
        },
    },
    Scenario {
        name: "groups",
        about: "small commits, several groups in flight, a checkpoint beside them",
        bounds: Bounds { blocks: 4, puts: 3, checkpoints: 1, ..NOTHING },
        larger: Bounds { blocks: 4, puts: 3, checkpoints: 2, crashes: 3, ..NOTHING },
    },
    Scenario {
        name: "flight",
        about: "four groups in flight, which finish in any order, and what waits behind them",
        bounds: Bounds { pages: 7, blocks: 7, puts: 5, checkpoints: 1, crashes: 1, ..NOTHING },
        larger: Bounds { pages: 7, blocks: 7, puts: 5, checkpoints: 1, ..NOTHING },
    },
    Scenario {
        name: "ring",
        about: "a log so short that it goes round",
        bounds: Bounds { blocks: 3, puts: 4, checkpoints: 2, ..NOTHING },
        larger: Bounds { pages: 5, blocks: 3, puts: 5, checkpoints: 3, ..NOTHING },
    },
    queue("queue", "commits that wait for a group, and checkpoints that have them", false),
    queue("names-first", "the same, and a checkpoint is named before what waits is written", true),
    Scenario {
        name: "growth",
        about: "a log that is made longer beside its groups",
        bounds: Bounds {
            blocks: 6,
            growth: 2,
            offset: 4,
            wraps: true,
            left_for_names: 3,
            puts: 3,
            checkpoints: 1,
            rot: false,
            ..NOTHING
        },
        larger: Bounds {
            blocks: 6,
            growth: 3,
            offset: 4,
            wraps: true,
            left_for_names: 3,
            puts: 4,
            checkpoints: 2,
            ..NOTHING
        },
    },
    Scenario {
        name: "growth-around-the-end",
        about: "a log that is made longer while its groups reach around its end",
        bounds: Bounds {
            blocks: 6,
            growth: 4,
            offset: 4,
            wraps: true,
            left_for_names: 3,
            puts: 5,
            checkpoints: 1,
            sync_failures: false,
            rot: false,
            ..NOTHING
        },
        larger: Bounds {
            blocks: 6,
            growth: 6,
            offset: 4,
            wraps: true,
            left_for_names: 3,
            puts: 6,
            checkpoints: 1,
            ..NOTHING
        },
    },
    Scenario {
        name: "slow-writers",
        about: "commits that are applied, and queued when others have gone on",
        bounds: Bounds {
            blocks: 7,
            offset: 4,
            wraps: true,
            left_for_names: 3,
            delays: 1,
            puts: 2,
            large_transactions: 1,
            checkpoints: 1,
            sync_failures: false,
            rot: false,
            ..NOTHING
        },
        larger: Bounds {
            blocks: 7,
            offset: 4,
            wraps: true,
            left_for_names: 3,
            delays: 2,
            puts: 4,
            checkpoints: 3,
            ..NOTHING
        },
    },
    Scenario {
        name: "large-values",
        about: "runs beside the log that names them",
        bounds: Bounds { pages: 5, blocks: 4, puts: 1, large_values: 2, checkpoints: 1, ..NOTHING },
        larger: Bounds { pages: 5, blocks: 4, puts: 2, large_values: 2, checkpoints: 2, ..NOTHING },
    },
    Scenario {
        name: "cuts",
        about: "files that are cut to their last page in use when they are opened",
        bounds: Bounds {
            blocks: 3,
            puts: 1,
            large_values: 1,
            large_transactions: 1,
            checkpoints: 1,
            cuts: true,
            ..NOTHING
        },
        larger: Bounds {
            pages: 5,
            blocks: 4,
            puts: 1,
            large_values: 2,
            checkpoints: 1,
            cuts: true,
            ..NOTHING
        },
    },
    Scenario {
        name: "large-transactions",
        about: "transactions that a checkpoint commits, among small ones",
        bounds: Bounds { blocks: 4, puts: 2, large_transactions: 2, ..NOTHING },
        larger: Bounds {
            pages: 5,
            blocks: 4,
            puts: 3,
            large_transactions: 2,
            crashes: 3,
            ..NOTHING
        },
    },
    Scenario {
        name: "transactions",
        about: "transactions with savepoints, spilled pages and ends of both kinds",
        bounds: Bounds {
            blocks: 3,
            transactions: 2,
            edits: 2,
            savepoints: 1,
            spills: 1,
            aborts: 1,
            checkpoints: 1,
            ..NOTHING
        },
        larger: Bounds {
            pages: 5,
            blocks: 4,
            puts: 1,
            transactions: 2,
            edits: 2,
            savepoints: 1,
            spills: 2,
            aborts: 1,
            checkpoints: 1,
            snapshots: 1,
            ..NOTHING
        },
    },
    Scenario {
        name: "versions",
        about: "what pins a version: a reader, the log under way, a checkpoint under way",
        bounds: Bounds { pages: 5, blocks: 4, puts: 3, checkpoints: 2, snapshots: 1, ..NOTHING },
        larger: Bounds { pages: 5, blocks: 4, puts: 4, checkpoints: 2, snapshots: 1, ..NOTHING },
    },
    Scenario {
        name: "readers",
        about: "whoever may only read looks at what a killed process has left",
        bounds: Bounds {
            blocks: 3,
            puts: 3,
            checkpoints: 1,
            peeks: 2,
            sync_failures: false,
            rot: false,
            ..NOTHING
        },
        larger: Bounds {
            blocks: 4,
            puts: 3,
            checkpoints: 1,
            peeks: 2,
            closes: 1,
            sync_failures: false,
            rot: false,
            ..NOTHING
        },
    },
    Scenario {
        name: "mixed",
        about: "commits of all three kinds, and a checkpoint",
        bounds: Bounds {
            pages: 5,
            blocks: 4,
            puts: 1,
            large_values: 1,
            large_transactions: 1,
            checkpoints: 1,
            ..NOTHING
        },
        larger: Bounds {
            pages: 6,
            blocks: 4,
            puts: 2,
            large_values: 1,
            large_transactions: 1,
            checkpoints: 1,
            snapshots: 1,
            ..NOTHING
        },
    },
    Scenario {
        name: "close",
        about: "logs that are made when a commit needs one, and removed by clean closes",
        bounds: Bounds {
            blocks: 3,
            puts: 2,
            large_transactions: 1,
            checkpoints: 2,
            starts_without_log: true,
            closes: 1,
            ..NOTHING
        },
        larger: Bounds {
            blocks: 3,
            puts: 2,
            checkpoints: 2,
            starts_without_log: true,
            closes: 2,
            large_transactions: 1,
            crashes: 3,
            ..NOTHING
        },
    },
];
