//! What is run: small programs of a few threads, each with something that must hold.

mod cache;
mod completions;
mod engine;
mod lead;
mod log;
mod versions;
mod writers;

/// Makes the files that some scenarios begin with.
pub(crate) fn prepare() {
    engine::prepare();
    log::prepare();
}

/// A program of a few threads, and what must hold when it is run.
#[derive(Debug)]
pub struct Scenario {
    /// What must hold.
    pub name: &'static str,
    /// Its share of all schedules: more for a short one, which costs less.
    pub share: usize,
    /// One execution, from the beginning to the end.
    pub run: fn(),
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "evicted_pages_stay_while_looked_at", share: 12, run: cache::looks },
    Scenario { name: "a_miss_is_one_read_for_all", share: 10, run: cache::shared_miss },
    Scenario { name: "a_failed_read_is_an_error_for_all", share: 10, run: cache::failed_read },
    Scenario { name: "an_abandoned_read_leaves_nothing", share: 10, run: cache::abandoned_read },
    Scenario { name: "a_run_is_read_for_all", share: 8, run: cache::prefetched },
    Scenario { name: "who_waits_for_a_frame_gets_one", share: 30, run: cache::frame_waiters },
    Scenario { name: "everybody_hears_of_an_end", share: 12, run: completions::wakers },
    Scenario { name: "a_group_ends_once", share: 15, run: completions::groups },
    Scenario { name: "a_weak_handle_is_on_its_own", share: 15, run: completions::weak_handles },
    Scenario { name: "no_arrival_is_lost", share: 10, run: completions::arrivals },
    Scenario { name: "turns_come_in_order", share: 15, run: writers::queue },
    Scenario { name: "deposits_are_made_once", share: 12, run: writers::deposits },
    Scenario { name: "the_lead_is_handed_over", share: 20, run: lead::hand_over },
    Scenario { name: "everybody_is_interrupted", share: 12, run: lead::interrupt },
    Scenario { name: "no_turn_is_lost", share: 6, run: versions::turns },
    Scenario { name: "a_snapshot_is_one_version", share: 6, run: versions::snapshots },
    Scenario { name: "commits_share_the_log", share: 6, run: log::commits },
    Scenario { name: "batches_are_made_together", share: 4, run: log::batches },
    Scenario { name: "what_readers_see_stays", share: 3, run: log::readers },
    Scenario { name: "closing_loses_nothing", share: 3, run: log::closing },
    Scenario { name: "the_engine_is_linearizable", share: 5, run: engine::polled },
    Scenario { name: "the_engine_wakes_who_sleeps", share: 5, run: engine::sleeping },
    Scenario { name: "awaited_operations_are_driven", share: 3, run: engine::awaited },
];
