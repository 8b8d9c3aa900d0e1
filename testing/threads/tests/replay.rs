//! A schedule is the same program each time.

use threads::{SCENARIOS, check_replay};

#[test]
fn a_schedule_can_be_run_again() {
    for scenario in SCENARIOS {
        println!("{}", scenario.name);
        check_replay(scenario, 20);
    }
}
