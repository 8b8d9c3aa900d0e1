//! A schedule is the same program each time.
//!
//! A process of its own: readers are counted by a number of their thread, which goes on for as long
//! as the process does, whoever else is in it.

use threads::{SCENARIOS, check_replay};

#[test]
fn a_schedule_can_be_run_again() {
    for scenario in SCENARIOS {
        println!("{}", scenario.name);
        check_replay(scenario, 20);
    }
}
