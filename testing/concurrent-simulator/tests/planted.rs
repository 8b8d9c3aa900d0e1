//! Mistakes made on purpose that show where several commits are under way: each is noticed within
//! the seeds that `docs/testing.md` publishes, five times as many and a hundred.

use concurrent_simulator::run;
use rstest::rstest;
use simulator::attempt::attempt;
use simulator::plan::Plan;
use simulator::profile::Profile;
use yieldb_core::injection::Mistake;

#[rstest]
#[case(Mistake::GroupAheadNotAwaited, 21)]
#[case(Mistake::AppliedIsAcknowledged, 4)]
#[case(Mistake::UnchangedNotAwaited, 4)]
#[case(Mistake::DepositsForgotten, 3)]
#[case(Mistake::RelaxedOvertakes, 31)]
#[case(Mistake::ReusedWhenApplied, 9)]
fn a_mistake_is_noticed_where_commits_are_beside_each_other(
    #[case] mistake: Mistake,
    #[case] seeds: u64,
) {
    let mut plans = (1..=5 * seeds + 100).map(|seed| Plan::draw(seed, Profile::Crashes));
    assert!(plans.any(|plan| attempt(run, &plan, Some(mistake)).failure().is_some()));
}
