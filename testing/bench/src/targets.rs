//! What is wanted of yieldb, as data.

/// One thing that is wanted.
#[derive(Debug)]
pub struct Target {
    /// Of which workload.
    pub workload: &'static str,
    /// What is measured.
    pub measure: &'static str,
    /// In which way yieldb is driven.
    pub ours: &'static str,
    /// What it is compared with.
    pub against: Against,
    /// How many times as good yieldb has to be.
    pub at_least: f64,
}

/// What a figure is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Against {
    /// The best engine that is not yieldb, at the same thing.
    BestPeer,
    /// One engine, at the same thing.
    Engine(&'static str),
    /// Another thing that the device was measured at.
    Device(&'static str),
}

const fn target(
    workload: &'static str,
    measure: &'static str,
    ours: &'static str,
    against: Against,
    at_least: f64,
) -> Target {
    Target { workload, measure, ours, against, at_least }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("table", "bulk load, sorted", "yieldb", Against::BestPeer, 1.0),
    target("table", "bulk load, unsorted", "yieldb", Against::BestPeer, 1.0),
    target("table", "durable puts, one by one", "yieldb", Against::BestPeer, 1.0),
    target("table", "durable puts, 1,000 in one", "yieldb", Against::Engine("lmdb"), 1.0),
    target("table", "get", "yieldb", Against::Engine("lmdb"), 1.0),
    target("table", "get, 64 at a time", "yieldb", Against::Engine("lmdb"), 2.0),
    target("table", "range of 10", "yieldb", Against::Engine("lmdb"), 1.0),
    target("table", "get, two threads", "yieldb", Against::Engine("lmdb"), 1.0),
    target("table", "removals, half in one", "yieldb", Against::Engine("lmdb"), 1.0),
    target("commits", "threads: 1", "yieldb", Against::BestPeer, 1.0),
    target("commits", "threads: 1", "yieldb", Against::Device("one write, asleep"), 1.0),
    target("commits", "threads: 1", "yieldb", Against::Device("one write, looking"), 0.85),
    target("commits", "threads: 8", "yieldb", Against::BestPeer, 1.0),
    target("commits", "threads: 64", "yieldb", Against::BestPeer, 1.0),
    target("ycsb", "A, relaxed, threads: 1", "yieldb", Against::BestPeer, 1.0),
    target("ycsb", "B, relaxed, threads: 1", "yieldb", Against::BestPeer, 1.0),
    target("ycsb", "C, threads: 1", "yieldb", Against::BestPeer, 1.0),
    target("ycsb", "C, threads: 2", "yieldb", Against::BestPeer, 1.0),
    target("ycsb", "E, relaxed, threads: 1", "yieldb", Against::Engine("lmdb"), 1.0),
    target("ycsb", "F, relaxed, threads: 1", "yieldb", Against::BestPeer, 1.0),
];
