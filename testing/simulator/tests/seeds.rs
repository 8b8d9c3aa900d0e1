//! Seeds of every profile; small plans with everything that can happen to them. `SIMULATOR_SEED`
//! is the first one, `SIMULATOR_SEEDS` says how many.

use rstest::rstest;
use simulator::attempt::attempt;
use simulator::computer::FaultKind;
use simulator::plan::Plan;
use simulator::profile::Profile;
use simulator::report::Report;
use simulator::run::run;
use simulator::sweep::sweep;

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

#[test]
fn small_plans_survive_everything_at_every_place() {
    let report = report(Profile::Small, 1, |plan| {
        let mut plan = plan.clone();
        plan.operations.truncate(3);
        sweep(run, &plan, None)
    });
    assert!(report.runs > 300 && report.crash_recoveries > 5_000, "{report}");
    for kind in Profile::Errors.faults() {
        // Little is cut off so small a file.
        let may_miss = kind == FaultKind::TruncateError;
        assert!(may_miss || report.faults.contains_key(kind.name()), "{kind}: {report}");
    }
}
