//! The rows of the table. Each panics when it notices something.

use yieldb_core::injection::{Schedule, force};

use crate::scenario::Scenario;
use crate::world::{Entries, Policy, Stop, World};

/// What a run leaves behind.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    output: String,
    image: Vec<u8>,
    entries: Entries,
}

/// An undisturbed run: what it leaves behind, how many gates it passes, how often it waits, and how
/// many I/Os it makes.
pub struct Baseline {
    outcome: Outcome,
    before: Entries,
    /// How many gates it passes.
    pub gates: u64,
    /// How often it waits.
    pub waits: u64,
    /// How many I/Os it makes.
    pub ios: u64,
}

fn outcome(world: &World, output: String) -> Outcome {
    world.assert_whole();
    Outcome { output, image: world.image(), entries: world.entries() }
}

/// Runs undisturbed.
pub fn baseline(scenario: &Scenario, image: &[u8]) -> Baseline {
    let world = World::open(image, Policy::default());
    let before = world.entries();
    let world = World::open(image, Policy::default());
    let (output, gates) = force(Schedule::Never, || (scenario.run)(&world, false));
    let (waits, ios) = (world.waits(), world.ios());
    let outcome = outcome(&world, output.expect("an undisturbed run"));
    Baseline { outcome, before, gates, waits, ios }
}

/// All of `0..count`, or `most` of them, spread evenly.
pub fn sample(count: u64, most: u64) -> impl Iterator<Item = u64> {
    (0..count).step_by(count.div_ceil(most).max(1) as usize)
}

/// Row 1: forced to yield at these gates, it ends the same.
pub fn resume(scenario: &Scenario, image: &[u8], schedule: Schedule, expected: &Baseline) {
    let world = World::open(image, Policy::default());
    let (output, _) = force(schedule, || (scenario.run)(&world, false));
    let output = output.unwrap_or_else(|stop| panic!("{}: {stop:?}", scenario.name));
    assert!(outcome(&world, output) == expected.outcome, "{}, {schedule:?}", scenario.name);
}

/// Row 1, where everything fits: it leaves the same pages in the cache as without yields.
pub fn same_cache(scenario: &Scenario, image: &[u8], schedule: Schedule) {
    let resident = |schedule| {
        let world = World::open_roomy(image);
        let (output, _) = force(schedule, || (scenario.run)(&world, false));
        output.unwrap_or_else(|stop| panic!("{}: {stop:?}", scenario.name));
        world.resident()
    };
    assert_eq!(resident(schedule), resident(Schedule::Never), "{}, {schedule:?}", scenario.name);
}

/// Row 2: stepped again while it waits, it does nothing.
pub fn step_again(scenario: &Scenario, image: &[u8], expected: &Baseline) {
    let policy = Policy { step_again: true, ..Policy::default() };
    let world = World::open(image, policy);
    let (output, gates) = force(Schedule::Never, || (scenario.run)(&world, false));
    assert_eq!(gates, expected.gates, "{}", scenario.name);
    assert!(outcome(&world, output.unwrap()) == expected.outcome, "{}", scenario.name);
}

/// Row 3: when an I/O fails, it fails, and the rest goes on. A read ahead that fails is nothing to
/// whoever did not wait for it: then it ends as if nothing had happened.
pub fn fail_once(scenario: &Scenario, image: &[u8], policy: Policy, expected: &Baseline) {
    let what = format!("{}, {:?}", scenario.name, policy.fail);
    let world = World::open(image, policy);
    let error = match (scenario.run)(&world, false) {
        Err(Stop::Failed(error)) => error,
        Err(Stop::Dropped) => unreachable!("nothing is dropped in this row"),
        Ok(output) => {
            let is_spared = scenario.spares_reads && world.has_failed_read();
            assert!(is_spared, "{what}: a failed I/O was not noticed");
            world.set_policy(Policy::default());
            assert!(outcome(&world, output) == expected.outcome, "{what}: it was not noticed");
            return;
        }
    };
    assert!(!error.is_empty(), "{what}");
    world.set_policy(Policy::default());
    if error.contains("poisoned") {
        // What is durable is found out by opening again: all of the commit, or nothing.
        let world = world.reopen();
        let entries = world.entries();
        let known = entries == expected.before || entries == expected.outcome.entries;
        assert!(known, "{what}: half a commit");
        world.assert_whole();
        return;
    }
    world.assert_whole();
    assert!(world.entries() == expected.before, "{what}: it failed, and changed something");
    let output = (scenario.run)(&world, false).unwrap_or_else(|stop| panic!("{what}: {stop:?}"));
    assert_eq!(output, expected.outcome.output, "{what}");
    assert!(world.entries() == expected.outcome.entries, "{what}");
    world.assert_whole();
}

/// Row 4: dropped, it leaves nothing behind.
pub fn drop_once(
    scenario: &Scenario,
    image: &[u8],
    policy: Policy,
    schedule: Schedule,
    again: bool,
    expected: &Baseline,
) {
    let what = format!("{}, {policy:?}, {schedule:?}, again: {again}", scenario.name);
    let world = World::open(image, policy);
    let (result, _) = force(schedule, || (scenario.run)(&world, again));
    match result {
        Ok(output) => assert_eq!(output, expected.outcome.output, "{what}"),
        Err(Stop::Dropped) => {}
        Err(Stop::Failed(error)) => panic!("{what}: {error}"),
    }
    world.assert_whole();
    assert_eq!(world.disk.image("db-sort"), None, "{what}: the sort file has a name");
    let entries = world.entries();
    let known = entries == expected.before || entries == expected.outcome.entries;
    assert!(known, "{what}: something half done");
    // Once more, and it is as if nothing had happened.
    let world = if entries == expected.before { world } else { World::open(image, policy) };
    world.set_policy(Policy::default());
    let output = (scenario.run)(&world, false).unwrap_or_else(|stop| panic!("{what}: {stop:?}"));
    if !output.starts_with("version") {
        assert_eq!(output, expected.outcome.output, "{what}");
    }
    assert!(world.entries() == expected.outcome.entries, "{what}");
    world.assert_whole();
}
