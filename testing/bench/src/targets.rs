//! What is wanted of yieldb, as data.

use crate::engine::DEVICE;
use crate::measure::Unit;

/// One comparison, and what is wanted of it.
#[derive(Debug)]
pub struct Target {
    /// What of yieldb's is looked at.
    pub ours: Ours,
    /// What it has to be like.
    pub wanted: Wanted,
}

/// A figure of yieldb's.
#[derive(Clone, Copy, Debug)]
pub struct Ours {
    /// Of which workload.
    pub workload: &'static str,
    /// What is measured.
    pub measure: &'static str,
    /// In which way yieldb is driven.
    pub engine: &'static str,
}

/// What a figure of yieldb's has to be like.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// So good beside another figure.
    Ratio(Against, Bound),
    /// Not more than a limit.
    AtMost(Limit),
}

/// How good a figure has to be beside another one.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// So many times as good: as many a second, or as small.
    AtLeast(f64),
    /// So many times as good; or this measure of yieldb's shows that its core was
    /// [full](FULL_CORE), so that it did not wait for the other one.
    AtLeastOrFull(f64, &'static str),
    /// Whatever it is.
    Reported,
}

/// The other figure: the best one, by medians, of some engines at some measures of the workload.
#[derive(Clone, Copy, Debug)]
pub struct Against {
    /// The engines; `None` is every peer.
    pub engines: Option<&'static [&'static str]>,
    /// The measures; none is the one that yieldb is looked at for.
    pub measures: &'static [&'static str],
}

/// A limit of a figure.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The largest value that is good.
    pub value: f64,
    /// What it counts.
    pub unit: Unit,
    /// What the figure is measured by, in words.
    pub of: &'static str,
}

/// A core that worked for so much of the time was full.
pub const FULL_CORE: f64 = 0.95;

const fn ours(workload: &'static str, measure: &'static str) -> Ours {
    Ours { workload, measure, engine: "yieldb" }
}

/// The best peer at the same measure.
const PEERS: Against = Against { engines: None, measures: &[] };

const fn peers_at(measures: &'static [&'static str]) -> Against {
    Against { engines: None, measures }
}

/// The best of these at the same measure.
const fn engines(engines: &'static [&'static str]) -> Against {
    Against { engines: Some(engines), measures: &[] }
}

const LMDB: Against = engines(&["lmdb"]);

const fn lmdb_at(measures: &'static [&'static str]) -> Against {
    Against { engines: Some(&["lmdb"]), measures }
}

/// yieldb itself at another measure.
const fn yieldb_at(measures: &'static [&'static str]) -> Against {
    Against { engines: Some(&["yieldb"]), measures }
}

const THE_DEVICE: Against = engines(&[DEVICE]);

const fn device_at(measures: &'static [&'static str]) -> Against {
    Against { engines: Some(&[DEVICE]), measures }
}

const fn at_least(ratio: f64, ours: Ours, against: Against) -> Target {
    Target { ours, wanted: Wanted::Ratio(against, Bound::AtLeast(ratio)) }
}

const fn reported(ours: Ours, against: Against) -> Target {
    Target { ours, wanted: Wanted::Ratio(against, Bound::Reported) }
}

const fn at_most(value: f64, unit: Unit, of: &'static str, ours: Ours) -> Target {
    Target { ours, wanted: Wanted::AtMost(Limit { value, unit, of }) }
}

const COLD_MANY: Ours = ours("cold", "get, 64 in flight");
const SINGLE_COMMITS: Ours = ours("commits", "threads: 1");
const COMMITS_UNDER_WAY: Ours =
    Ours { engine: "yieldb-step", ..ours("commits", "under way on one thread: 64") };
const SORTED_LOAD: Ours = ours("table", "bulk load, sorted, bytes written");
const OVERWRITES: Ours = ours("heavy", "overwrites, 100 in one");

/// All of them, in the order they are told.
pub const TARGETS: &[Target] = &[
    at_least(0.95, ours("cold", "get, 64 in flight, pages read"), THE_DEVICE),
    at_least(7.0, COLD_MANY, peers_at(&["get, 1 thread"])),
    at_least(1.3, COLD_MANY, lmdb_at(&["get, 16 threads"])),
    at_least(0.95, ours("cold", "get, 1 thread, pages read"), THE_DEVICE),
    at_least(0.97, SINGLE_COMMITS, device_at(&["one write, asleep"])),
    reported(SINGLE_COMMITS, device_at(&["one write, looking"])),
    at_least(1.0, SINGLE_COMMITS, PEERS),
    at_least(
        5.0,
        COMMITS_UNDER_WAY,
        peers_at(&["threads: 1", "threads: 2", "threads: 8", "threads: 64"]),
    ),
    at_least(1.2, ours("table", "durable puts, 1,000 in one"), PEERS),
    at_least(2.5, ours("table", "bulk load, unsorted"), PEERS),
    Target {
        ours: SORTED_LOAD,
        wanted: Wanted::Ratio(
            THE_DEVICE,
            Bound::AtLeastOrFull(0.7, "bulk load, sorted, of a core"),
        ),
    },
    at_least(2.2, ours("table", "get"), LMDB),
    at_least(2.2, ours("table", "get, two threads"), LMDB),
    at_least(6.0, ours("table", "get, 64 at a time"), lmdb_at(&["get"])),
    at_least(1.9, ours("table", "range of 10"), LMDB),
    at_least(0.8, ours("scans", "scan, cold, bytes read"), THE_DEVICE),
    at_least(
        0.9,
        ours("scans", "scan, overwritten, cold, bytes read"),
        device_at(&["random pages, 64 in flight, bytes read"]),
    ),
    at_least(1.8, ours("table", "removals, half in one"), PEERS),
    at_least(1.2, ours("ycsb", "A, relaxed, threads: 1"), PEERS),
    at_least(1.2, ours("ycsb", "A, relaxed, threads: 2"), PEERS),
    at_least(1.2, ours("ycsb", "B, relaxed, threads: 1"), PEERS),
    at_least(1.2, ours("ycsb", "B, relaxed, threads: 2"), PEERS),
    at_least(1.2, ours("ycsb", "C, threads: 1"), PEERS),
    at_least(1.2, ours("ycsb", "C, threads: 2"), PEERS),
    at_least(1.2, ours("ycsb", "E, relaxed, threads: 1"), PEERS),
    at_least(1.2, ours("ycsb", "E, relaxed, threads: 2"), PEERS),
    at_least(1.2, ours("ycsb", "F, relaxed, threads: 1"), PEERS),
    at_least(1.2, ours("ycsb", "F, relaxed, threads: 2"), PEERS),
    at_most(2.1, Unit::Times, "live data", ours("table", "files after removals, times what lives")),
    at_most(2.1, Unit::Times, "live data", ours("table", "files compacted, times what lives")),
    at_least(2.0, OVERWRITES, engines(&["redb", "lmdb", "sqlite"])),
    reported(OVERWRITES, engines(&["rocksdb"])),
    at_least(0.95, ours("cached", "get, await"), yieldb_at(&["get"])),
    at_least(0.95, ours("cached", "get, step"), yieldb_at(&["get"])),
    at_most(
        (32 << 20) as f64,
        Unit::Bytes,
        "the cache setting",
        ours("memory", "memory, beyond the cache"),
    ),
];
