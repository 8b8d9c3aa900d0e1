//! The engine's threads under many schedules.
//!
//! Every [`Scenario`] is a small program of two to five threads on the production code, whose
//! locks, atomics and threads are the checker's (`yieldb_core::sync`). A *schedule* says which
//! thread runs from one access to the next. Half of the schedules are random; the others are of few
//! changes of thread, at random places (PCT: Burckhardt et al., ASPLOS 2010), which find what needs
//! a long run of one thread in the middle of another's.
//!
//! | variable | what | without it |
//! |---|---|---|
//! | `THREADS_SCHEDULES` | how many schedules, over all scenarios | [`SCHEDULES`] |
//! | `THREADS_SEED` | which ones | 1 |
//! | `THREADS_REPLAY` | a schedule as a failure prints it: the only one to be run | |
//!
//! A schedule is one for a scenario and a build: replay it with the filter of the test's name.

mod model;
pub mod scenario;
mod world;

use shuttle::scheduler::{
    PctScheduler, RandomScheduler, ReplayScheduler, Scheduler,
    UncontrolledNondeterminismCheckScheduler,
};
use shuttle::{Config, MaxSteps, Runner};

pub use scenario::{SCENARIOS, Scenario};

/// How many schedules are run if nobody says otherwise, over all scenarios.
pub const SCHEDULES: usize = 200_000;

/// The longest schedule, in accesses: one that takes longer does not end.
const MAX_STEPS: usize = 200_000;

/// The memory of a thread's stack, in bytes.
const STACK_LEN: usize = 256 * 1024;

/// Which schedules are run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many.
    pub schedules: usize,
    /// Which ones.
    pub seed: u64,
}

/// What the environment says of a scenario: its share of all schedules.
///
/// # Panics
///
/// If it says something else than numbers.
pub fn plan(scenario: &Scenario) -> Plan {
    let number = |name: &str| -> Option<u64> {
        let said = std::env::var(name).ok()?;
        Some(said.parse().unwrap_or_else(|_| panic!("{name} is no number: {said}")))
    };
    let all = number("THREADS_SCHEDULES").map_or(SCHEDULES, |count| count as usize);
    let shares: usize = SCENARIOS.iter().map(|scenario| scenario.share).sum();
    let schedules = (all * scenario.share).div_ceil(shares);
    Plan { schedules, seed: number("THREADS_SEED").unwrap_or(1) }
}

/// Runs a scenario under the schedules of a plan. Returns how many that were.
///
/// # Panics
///
/// As soon as one fails; the schedule is printed.
pub fn check(scenario: &Scenario, plan: Plan) -> usize {
    scenario::prepare();
    let run = |scheduler: Box<dyn Scheduler + Send>| run(scenario.run, scheduler);
    if let Ok(schedule) = std::env::var("THREADS_REPLAY") {
        return run(Box::new(ReplayScheduler::new_from_encoded(schedule.trim())));
    }
    let Plan { schedules, seed } = plan;
    let few = schedules / 4;
    let mut done = run(Box::new(RandomScheduler::new_from_seed(seed, schedules - 2 * few)));
    for changes in [2, 4].into_iter().filter(|_| few > 0) {
        done += run(Box::new(PctScheduler::new_from_seed(seed, changes, few)));
    }
    done
}

/// Runs each of so many schedules of a scenario twice.
///
/// # Panics
///
/// If two runs of one schedule differ: then it could not be replayed.
pub fn check_replay(scenario: &Scenario, schedules: usize) {
    scenario::prepare();
    let once = RandomScheduler::new_from_seed(1, schedules);
    let twice = Box::new(UncontrolledNondeterminismCheckScheduler::new(once));
    run(scenario.run, twice);
}

fn run(body: fn(), scheduler: Box<dyn Scheduler + Send>) -> usize {
    let mut config = Config::new();
    config.stack_size = STACK_LEN;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || {
        yieldb_core::sync::begin_execution();
        body();
        let left = yieldb_core::sync::end_execution();
        assert_eq!(left, 0, "completions are lost");
    })
}
