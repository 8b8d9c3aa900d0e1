//! Seeds of every profile; small plans with everything that can happen to them. `SIMULATOR_SEED`
//! is the first one, `SIMULATOR_SEEDS` says how many.

use rstest::rstest;
use simulator::attempt::attempt;
use simulator::computer::FaultKind;
use simulator::plan::{Operation, Plan};
use simulator::profile::Profile;
use simulator::report::Report;
use simulator::run::run;
use simulator::shrink::{Feature, Reduction};
use simulator::sweep::sweep;
use yieldb::{LogLimits, MAIN, MemoryDisk, Options};
use yieldb_core::injection;

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The report of the seeds that the environment says.
fn report(profile: Profile, default: u64, of: impl Fn(&Plan) -> Report) -> Report {
    let first = variable("SIMULATOR_SEED", 1);
    let mut report = Report::default();
    for seed in first..first + variable("SIMULATOR_SEEDS", default) {
        report.add(of(&Plan::draw(seed, profile)));
    }
    for failure in &report.failures {
        let seed = failure.seed;
        println!("cargo run --release -p simulator -- --replay {seed} --profile {profile}");
    }
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    report
}

#[rstest]
#[case(Profile::Crashes, 100)]
#[case(Profile::Errors, 100)]
#[case(Profile::Damage, 60)]
#[case(Profile::Lies, 60)]
#[case(Profile::Large, 25)]
fn nothing_is_lost_and_the_same_seed_is_the_same_run(#[case] profile: Profile, #[case] seeds: u64) {
    let report = report(profile, seeds, |plan| {
        let (first, second) = (attempt(run, plan, None), attempt(run, plan, None));
        assert_eq!(first.trace, second.trace, "seed {} is two runs", plan.seed);
        first.report
    });
    // Nothing was only not noticed because nothing was done.
    assert!(report.crash_recoveries > 10 * report.runs, "{report}");
    assert!(report.faults["kill"] > 0 && report.faults["power-cut"] > 0, "{report}");
    assert!(report.faults.contains_key("crash-in-recovery-three-deep") || seeds < 50, "{report}");
}

/// What was found by seeds that are not among the first ones.
#[rstest]
#[case::two_loads_took_the_same_name_away(Profile::Crashes, 1_795_637_677_011_693)]
#[case::a_compaction_came_back_to_the_same_leaf(Profile::Crashes, 1_795_773_408_009_264)]
#[case::a_slot_that_could_not_be_read_hid_what_was_seen(Profile::Errors, 1_795_812_296_005_420)]
#[case::a_checkpoint_was_made_behind_a_failed_sync(Profile::Errors, 1_795_765_081_001_356)]
fn what_has_failed_once_does_not_fail_again(#[case] profile: Profile, #[case] seed: u64) {
    let report = attempt(run, &Plan::draw(seed, profile), None).report;
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
}

/// Each session has few moments: transactions take them whether or not they come to anything.
#[rstest]
#[case::with_a_log(Some(LogLimits::default()))]
#[case::without(None)]
fn a_session_goes_on_behind_its_last_moment(#[case] log: Option<LogLimits>) {
    const COUNT: u32 = 2_000;
    let disk = MemoryDisk::new();
    let open = || {
        let options = Options::new().backend(disk.yielding(1)).log(log);
        options.open("some.db").wait().unwrap()
    };
    let key = |number: u32| number.to_be_bytes();
    injection::shorten_sessions(64, || {
        let database = open();
        for number in 0..COUNT {
            let mut transaction = database.begin().wait().unwrap();
            transaction.put(MAIN, key(number), key(number)).wait().unwrap();
            transaction.commit().wait().unwrap();
            drop(database.begin().wait().unwrap());
        }
        for _ in 0..COUNT {
            drop(database.begin().wait().unwrap());
            database.turn();
        }
        let session = database.info().session;
        assert!(session > 3 * COUNT / 64, "{session}");
        drop(database);
        let database = open();
        assert!(database.info().session > session);
        let snapshot = database.snapshot();
        for number in 0..COUNT {
            let found = snapshot.get(MAIN, key(number)).wait().unwrap();
            assert_eq!(found.as_deref(), Some(&key(number)[..]));
        }
        let report = snapshot.check(|_| {}).unwrap().wait().unwrap();
        assert_eq!(report.damages, []);
    });
}

/// The same I/O, with the same bytes, in the same order: what is done does not depend on yields.
#[test]
fn forced_yields_change_no_byte() {
    let first = variable("SIMULATOR_SEED", 1);
    for seed in first..first + variable("SIMULATOR_SEEDS", 200) {
        let mut plan = Plan::draw(seed, Profile::Crashes);
        let without = vec![Feature::Reordering, Feature::Yields, Feature::Drops];
        plan = Reduction { keep: None, without }.of(&plan);
        plan.shape.cache_pages = 4_096;
        plan.shape.crash_one_in = u64::MAX;
        plan.shape.session_moments = u32::MAX;
        // One of many commits makes checkpoints beside them, which are where they are by then.
        plan.operations.retain(|operation| !matches!(operation, Operation::Compact(_)));
        let undisturbed = attempt(run, &plan, None);
        for one_in in [1, 2 + seed % 30] {
            plan.shape.yield_one_in = one_in;
            let yielding = attempt(run, &plan, None);
            assert_eq!(yielding.trace, undisturbed.trace, "seed {seed}, one in {one_in}");
        }
    }
}

#[test]
fn small_plans_survive_everything_at_every_place() {
    let report = report(Profile::Small, 1, |plan| {
        let mut plan = plan.clone();
        plan.operations.truncate(3);
        sweep(run, &plan, None)
    });
    assert!(report.runs > 300 && report.crash_recoveries > 5_000, "{report}");
    for kind in Profile::Errors.faults() {
        // Little is cut off so small a file, and nearly all reads are of one block.
        let may_miss = matches!(kind, FaultKind::TruncateError | FaultKind::ShortRead);
        assert!(may_miss || report.faults.contains_key(kind.name()), "{kind}: {report}");
    }
}
