//! Running a plan to its end, or to its failure.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use yieldb_core::injection::{self, Mistake};

use crate::plan::Plan;
use crate::recovery::Context;
use crate::report::{Failure, Report};

thread_local! {
    /// What the last panic of this thread said, while its panics are caught.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// What came of a plan.
pub struct Attempt {
    /// What was reached; the failure included.
    pub report: Report,
    /// A hash of all that happened: the same plan has the same one.
    pub trace: u64,
}

impl Attempt {
    /// Did it fail?
    pub fn failure(&self) -> Option<&Failure> {
        self.report.failures.first()
    }
}

/// What runs a plan.
pub type Runner = fn(&Context<'_>);

/// Runs a plan, with one mistake made on purpose if there is to be one.
pub fn attempt(run: Runner, plan: &Plan, mistake: Option<Mistake>) -> Attempt {
    attempt_told(run, plan, mistake, false)
}

/// The same; a failure has a story that tells the I/Os as well, if it is to be told.
pub fn attempt_told(run: Runner, plan: &Plan, mistake: Option<Mistake>, is_told: bool) -> Attempt {
    HOOK.call_once(quiet_panics);
    CAUGHT.set(Some(String::new()));
    let context = Context::new(plan, is_told);
    let run = || injection::shorten_sessions(plan.shape.session_moments, || run(&context));
    let work = AssertUnwindSafe(|| match mistake {
        Some(mistake) => injection::plant(mistake, run),
        None => run(),
    });
    let outcome = panic::catch_unwind(work);
    let said = CAUGHT.take().unwrap_or_default();
    let mut report = context.report.take();
    report.runs += 1;
    if outcome.is_err() {
        let story = context.story();
        report.failures.push(Failure { seed: plan.seed, what: said, story });
    }
    report.states.extend(injection::take_states());
    for (name, count) in injection::take_reached() {
        *report.paths.entry(name).or_default() += count;
    }
    let trace = *context.trace.borrow();
    Attempt { report, trace }
}

/// Keeps what panics say, instead of printing it, on threads that catch them.
fn quiet_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let is_caught = CAUGHT.with_borrow_mut(|caught| {
            let Some(said) = caught else { return false };
            // The first one is the reason for those that follow.
            if said.is_empty() {
                let place = info.location().map_or_else(String::new, |at| format!(" ({at})"));
                let payload = info.payload_as_str().unwrap_or("a panic without a message");
                *said = format!("{payload}{place}");
            }
            true
        });
        if !is_caught {
            before(info);
        }
    }));
}
