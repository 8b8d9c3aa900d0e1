//! Mistakes made on purpose. Each must be noticed within a number of schedules: scenarios that do
//! not notice them are none.
//!
//! Each is made in a process of its own: what was built on a mistake may come down with an abort.

use std::process::{Command, Output};

use threads::{Plan, SCENARIOS, check};
use yieldb_core::injection::{Mistake, plant};

/// A mistake, the scenario that must notice it, and how many schedules that may take.
const PLANTED: &[(Mistake, &str, usize)] = &[
    (Mistake::WokenBeforeEnd, "everybody_hears_of_an_end", 20_000),
    (Mistake::SlotBeforeName, "a_weak_handle_is_on_its_own", 10_000),
    (Mistake::GroupWithoutBuilder, "a_group_ends_once", 20_000),
    (Mistake::PinBehindCheck, "evicted_pages_stay_while_looked_at", 30_000),
    (Mistake::EpochNotAwaited, "evicted_pages_stay_while_looked_at", 4_000),
    (Mistake::WaitNotAnnounced, "who_waits_for_a_frame_gets_one", 600_000),
    (Mistake::LastHolderUnnoticed, "a_snapshot_is_one_version", 100_000),
    (Mistake::OldVersionLeft, "a_snapshot_is_one_version", 100_000),
    (Mistake::OldBesideNew, "a_snapshot_is_one_version", 100_000),
    (Mistake::TurnNotWanted, "no_turn_is_lost", 20_000),
    (Mistake::UnchangedNotAwaited, "commits_share_the_log", 100_000),
    (Mistake::AppliedIsAcknowledged, "what_readers_see_stays", 20_000),
    (Mistake::GroupAheadNotAwaited, "what_readers_see_stays", 100_000),
    (Mistake::DepositsForgotten, "deposits_are_made_once", 20_000),
    (Mistake::TurnGivenTwice, "deposits_are_made_once", 40_000),
    (Mistake::OfferOverlooked, "deposits_are_made_once", 20_000),
    (Mistake::LeadNotHandedOver, "the_lead_is_handed_over", 200_000),
    (Mistake::KickForgotten, "the_lead_is_handed_over", 20_000),
];

/// How many schedules are tried at a time.
const PIECE: usize = 50;

/// Tells the process of a mistake which one is its.
const MISTAKE: &str = "THREADS_MISTAKE";

/// What a schedule is called that went well.
const WELL: &str = "well so far";

#[test]
fn every_planted_mistake_is_noticed() {
    for (index, (mistake, scenario, within)) in PLANTED.iter().enumerate() {
        let child = make(index, None);
        assert!(!child.status.success(), "{mistake:?}: {within} schedules of {scenario} went well");
        let pieces = String::from_utf8_lossy(&child.stdout).matches(WELL).count();
        println!("{mistake:?}: noticed within {} schedules of {scenario}", (pieces + 1) * PIECE);

        let schedule = printed(&String::from_utf8_lossy(&child.stderr));
        let again = make(index, Some(&schedule));
        let went_well = String::from_utf8_lossy(&again.stdout).matches(WELL).count();
        assert!(!again.status.success() && went_well == 0, "{mistake:?}: {schedule} goes well");
        let said = String::from_utf8_lossy(&again.stderr);
        let is_other = ["schedule ended early", "is not runnable"].iter().any(|s| said.contains(s));
        assert!(!is_other, "{mistake:?}: {schedule} is not what is run");
    }
}

/// Makes a mistake in a process of its own, under many schedules or under one.
fn make(index: usize, schedule: Option<&str>) -> Output {
    let this = std::env::current_exe().expect("the program knows its own name");
    let mut child = Command::new(this);
    child.args(["--exact", "one_mistake", "--nocapture"]);
    child.env(MISTAKE, index.to_string()).env("RUST_BACKTRACE", "0");
    child.envs(schedule.map(|schedule| ("THREADS_REPLAY", schedule)));
    child.output().expect("a process can be started")
}

/// The schedule that a failure has printed last, with the steps of the thread that was coming down:
/// lines between two with a quotation mark.
fn printed(text: &str) -> String {
    let quoted = text.split("\"\n").skip(1).step_by(2);
    quoted.last().expect("a failure prints its schedule").split_whitespace().collect()
}

#[test]
fn without_a_mistake_nothing_is_noticed() {
    for (_, scenario, _) in PLANTED {
        run(scenario, 100);
    }
}

/// Makes one mistake, if it is a process for that; fails if it is noticed.
#[test]
fn one_mistake() {
    if let Ok(index) = std::env::var(MISTAKE) {
        let (mistake, scenario, within) = PLANTED[index.parse::<usize>().expect("an index")];
        plant(mistake, || run(scenario, within));
    }
}

fn run(scenario: &str, schedules: usize) {
    let scenario = SCENARIOS.iter().find(|known| known.name == scenario).expect("a scenario");
    for piece in 0..schedules.div_ceil(PIECE) {
        check(scenario, Plan { schedules: PIECE, seed: 1 + piece as u64 });
        println!("{WELL}");
    }
}
