//! Mistakes made on purpose: each is noticed within the number of seeds that
//! `docs/testing.md` publishes, and what shows it is small.

use std::ops::Range;

use simulator::attempt::attempt;
use simulator::computer::{FaultKind, FaultRates};
use simulator::plan::{Operation, Plan};
use simulator::profile::Profile;
use simulator::run::run;
use simulator::shrink::shrink;
use yieldb_core::injection::Mistake;

/// The table of the document: a mistake, the profile that notices it, and how many seeds it is
/// given.
fn published() -> Vec<(Mistake, Profile, u64)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/testing.md");
    let document = std::fs::read_to_string(path).unwrap();
    let mut rows = Vec::new();
    for line in document.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, profile, seeds, ..] = cells[..] else { continue };
        let Some(mistake) = Mistake::from_name(name.trim_matches('`')) else { continue };
        if let (Ok(profile), Ok(seeds)) = (profile.parse(), seeds.parse::<u64>()) {
            rows.push((mistake, profile, 5 * seeds + 100));
        }
    }
    rows
}

/// The plan of the first seed that notices a mistake.
fn noticed(mistake: Mistake, profile: Profile, seeds: u64) -> Option<Plan> {
    let plans = (1..=seeds).map(|seed| Plan::draw(seed, profile));
    plans.into_iter().find(|plan| attempt(run, plan, Some(mistake)).failure().is_some())
}

#[test]
fn every_mistake_is_noticed_within_the_published_seeds() {
    let rows = published();
    assert!(rows.len() >= 30, "{} mistakes are published", rows.len());
    let missed = rows
        .into_iter()
        .filter(|(mistake, profile, seeds)| noticed(*mistake, *profile, *seeds).is_none());
    let missed: Vec<&str> = missed.map(|(mistake, ..)| mistake.name()).collect();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}

/// An old page with the stamp of a new one passes for it where the write of the new one is lost.
#[test]
fn a_stamp_that_is_repeated_is_noticed_where_a_write_is_lost() {
    let plan = Plan::given_up_and_done_again();
    let ios = attempt(run, &plan, None).report.ios;
    let fails = |after: u64, mistake: Option<Mistake>| {
        let mut plan = plan.clone();
        let rates = FaultRates::none().with(FaultKind::LostWrite, 1).budget(1);
        plan.shape.faults = rates.after(after);
        attempt(run, &plan, mistake).failure().cloned()
    };
    for after in 0..ios {
        let failure = fails(after, None);
        assert!(failure.is_none(), "the write behind {after} I/Os is lost: {failure:?}");
    }
    let noticed = (0..ios).filter(|after| fails(*after, Some(Mistake::StampRepeated)).is_some());
    assert!(noticed.count() > 0);
}

/// Small plans of `seeds`, changed by `script`, with a crash at every I/O and one `fault` behind
/// each number of `ios`: nothing fails, and with the mistake something does.
fn is_noticed_by_a_script(
    (seeds, ios): (Range<u64>, Range<u64>),
    fault: FaultKind,
    mistake: Mistake,
    script: impl Fn(&mut Plan),
) {
    let rates = FaultRates::none().with(fault, 1).budget(1);
    let fails = |seed: u64, after: u64, mistake: Option<Mistake>| {
        let mut plan = Plan::draw(seed, Profile::Small);
        plan.shape.crash_one_in = 1;
        plan.shape.faults = rates.after(after);
        script(&mut plan);
        attempt(run, &plan, mistake).failure().cloned()
    };
    let moments = || seeds.clone().flat_map(|seed| ios.clone().map(move |after| (seed, after)));
    for (seed, after) in moments() {
        let failure = fails(seed, after, None);
        assert!(failure.is_none(), "seed {seed}, behind {after} I/Os: {failure:?}");
    }
    assert!(moments().any(|(seed, after)| fails(seed, after, Some(mistake)).is_some()));
}

/// The kernel has forgotten a slot's write; the next process finds it whole in the cache, and the
/// power is cut while it writes the other slot.
#[test]
fn a_slot_that_is_not_written_as_it_was_found_is_noticed_where_a_kernel_forgets() {
    let (fault, mistake) = (FaultKind::SlotSyncErrorDropped, Mistake::ChosenNotRewritten);
    is_noticed_by_a_script((0..60, 6..24), fault, mistake, |_plan| {});
}

/// A sync of the file fails while the kernel forgets what was to be written; nobody waits for its
/// checkpoint any more, and another one is queued behind it.
#[test]
fn a_checkpoint_behind_a_failed_sync_is_noticed_where_one_is_queued() {
    let (fault, mistake) = (FaultKind::SyncErrorDropped, Mistake::CheckpointBehindFailure);
    let queued = [Operation::Checkpoint(Some(1)), Operation::Checkpoint(None)];
    is_noticed_by_a_script((20..26, 20..40), fault, mistake, |plan| {
        let behind = |operation| std::iter::once(operation).chain(queued.clone());
        plan.operations =
            std::mem::take(&mut plan.operations).into_iter().flat_map(behind).collect();
    });
}

/// A disk has lost the write of one slot, and the power is cut while the other one is written.
#[test]
fn a_slot_that_is_not_looked_at_is_noticed_where_its_write_was_lost() {
    let (fault, mistake) = (FaultKind::LostWrite, Mistake::SlotsNotRead);
    is_noticed_by_a_script((0..40, 6..40), fault, mistake, |plan| {
        plan.profile = Profile::Damage;
        plan.shape.log = None;
    });
}

#[test]
fn every_mistake_is_published() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/testing.md");
    let document = std::fs::read_to_string(path).unwrap();
    for mistake in Mistake::ALL {
        assert!(document.contains(&format!("| `{}` |", mistake.name())), "{}", mistake.name());
    }
}

#[test]
fn what_is_left_of_a_failing_run_is_small_and_fails() {
    let mistake = Mistake::PagesNotSynced;
    let plan = noticed(mistake, Profile::Crashes, 100).expect("it is noticed");
    let reduction = shrink(run, &plan, Some(mistake));
    let reduced = reduction.of(&plan);
    assert!(reduced.operations.len() <= 10, "{reduction}");
    assert!(attempt(run, &reduced, Some(mistake)).failure().is_some(), "{reduction}");
    assert!(attempt(run, &reduced, None).failure().is_none(), "{reduction}");
}
