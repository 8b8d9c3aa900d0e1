//! Small plans with everything that can happen to them: every crash at every I/O, every operation
//! dropped at every wait, every kind of error at every I/O.

use yieldb_core::injection::Mistake;

use crate::attempt::{Attempt, Runner, attempt};
use crate::computer::FaultRates;
use crate::host::Patience;
use crate::plan::{Operation, Plan};
use crate::profile::Profile;
use crate::report::Report;

/// Operations are over after so many polls.
const MAX_PATIENCE: u8 = 200;

/// What a sweep goes through.
struct Sweep {
    run: Runner,
    mistake: Option<Mistake>,
    report: Report,
}

/// Sweeps a plan, and says what was reached and what failed.
pub fn sweep(run: Runner, plan: &Plan, mistake: Option<Mistake>) -> Report {
    let mut sweep = Sweep { run, mistake, report: Report::default() };
    let mut every_cut = plan.clone();
    every_cut.shape.is_exhaustive = true;
    sweep.attempt(&every_cut);
    let mut quiet = plan.clone();
    quiet.shape.crash_one_in = 16;
    let undisturbed = sweep.attempt(&quiet);
    sweep.drops(&quiet, undisturbed.trace);
    sweep.errors(&quiet, undisturbed.report.ios);
    sweep.report
}

impl Sweep {
    fn attempt(&mut self, plan: &Plan) -> Attempt {
        let attempt = attempt(self.run, plan, self.mistake);
        self.report.add(attempt.report.clone());
        attempt
    }

    /// Drops each operation when it is polled for the first time, the second time, and so on.
    fn drops(&mut self, plan: &Plan, undisturbed: u64) {
        for place in 0..patiences(&mut plan.clone()).len() {
            for polls in 0..MAX_PATIENCE {
                let mut dropped = plan.clone();
                *patiences(&mut dropped)[place] = Some(polls);
                if self.attempt(&dropped).trace == undisturbed {
                    // It was over before its patience was.
                    break;
                }
            }
        }
    }

    /// Each kind of error, at each I/O.
    fn errors(&mut self, plan: &Plan, ios: u64) {
        for kind in Profile::Errors.faults() {
            for after in 0..ios {
                let mut failing = plan.clone();
                failing.shape.faults = FaultRates::none().with(kind, 1).after(after).budget(1);
                self.attempt(&failing);
            }
        }
    }
}

/// The patience of each operation that can be dropped.
fn patiences(plan: &mut Plan) -> Vec<&mut Patience> {
    plan.operations.iter_mut().flat_map(Operation::patiences).collect()
}
