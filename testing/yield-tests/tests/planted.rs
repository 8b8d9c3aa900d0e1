//! Mistakes made on purpose. Each must be noticed by one of the rows: a table that does not notice
//! them is no table.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rstest::rstest;
use yield_tests::rows::{Baseline, baseline, drop_once, fail_once, resume, sample, step_again};
use yield_tests::scenario::{ALL, Scenario, image};
use yield_tests::world::Policy;
use yieldb_core::injection::{Mistake, Schedule, plant};

/// Does a row notice the mistake? All rows together, cut down to what is quick.
fn is_noticed(mistake: Option<Mistake>) -> bool {
    let image = image();
    let expected: Vec<Baseline> = ALL.iter().map(|scenario| baseline(scenario, &image)).collect();
    let rows = || {
        for (scenario, expected) in ALL.iter().zip(&expected) {
            rows_of(scenario, &image, expected);
        }
    };
    let run = || mistake.map_or_else(rows, |mistake| plant(mistake, rows));
    catch_unwind(AssertUnwindSafe(run)).is_err()
}

fn rows_of(scenario: &Scenario, image: &[u8], expected: &Baseline) {
    resume(scenario, image, Schedule::Always, expected);
    step_again(scenario, image, expected);
    for io in sample(expected.ios, 60) {
        let policy = Policy { fail: Some((io, libc::EIO)), ..Policy::default() };
        fail_once(scenario, image, policy, expected);
    }
    for wait in sample(expected.waits, 60) {
        for again in [false, true] {
            let policy = Policy { drop_at_wait: Some(wait), ..Policy::default() };
            drop_once(scenario, image, policy, Schedule::Never, again, expected);
        }
    }
}

#[rstest]
#[case(Mistake::CountBeforePages)]
#[case(Mistake::ReserveNotPutBack)]
#[case(Mistake::TurnNotPassedOn)]
#[case(Mistake::WritesNotAwaited)]
#[case(Mistake::ReadErrorIgnored)]
#[case(Mistake::CursorBeforePage)]
#[case(Mistake::PinOfAbandonedRead)]
#[case(Mistake::NumbersOfAbandonedTransaction)]
#[case(Mistake::NumbersOfAbandonedPlan)]
#[case(Mistake::NumbersOfAbandonedWork)]
#[case(Mistake::TentativeWorkKept)]
#[case(Mistake::RecordNotRolledBack)]
#[case(Mistake::RecordedBeforeStored)]
#[case(Mistake::WriteErrorIgnored)]
#[case(Mistake::SyncErrorIgnored)]
#[case(Mistake::NotPoisoned)]
fn every_planted_mistake_is_noticed(#[case] mistake: Mistake) {
    assert!(is_noticed(Some(mistake)), "not noticed");
}

#[test]
fn without_a_mistake_nothing_is_noticed() {
    assert!(!is_noticed(None));
}
