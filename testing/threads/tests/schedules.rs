//! Every scenario under its share of the schedules.

use std::time::Instant;

use threads::{SCENARIOS, check, plan};

fn run(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario");
    let began = Instant::now();
    let done = check(scenario, plan(scenario));
    println!("{name}: {done} schedules in {:.1} s", began.elapsed().as_secs_f64());
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*

        #[test]
        fn none_is_left_out() {
            let names = [$(stringify!($name)),*];
            assert!(SCENARIOS.iter().all(|scenario| names.contains(&scenario.name)));
        }
    };
}

scenarios! {
    evicted_pages_stay_while_looked_at
    a_miss_is_one_read_for_all
    a_failed_read_is_an_error_for_all
    an_abandoned_read_leaves_nothing
    a_run_is_read_for_all
    who_waits_for_a_frame_gets_one
    everybody_hears_of_an_end
    a_group_ends_once
    a_weak_handle_is_on_its_own
    no_arrival_is_lost
    turns_come_in_order
    deposits_are_made_once
    the_lead_is_handed_over
    everybody_is_interrupted
    no_turn_is_lost
    a_snapshot_is_one_version
    commits_share_the_log
    batches_are_made_together
    what_readers_see_stays
    closing_loses_nothing
    the_engine_is_linearizable
    the_engine_wakes_who_sleeps
    awaited_operations_are_driven
}
