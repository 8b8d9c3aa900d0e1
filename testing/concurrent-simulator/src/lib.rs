//! Many tasks on one database, on one thread: at every wait the seed decides who goes on.
//!
//! Some tasks write, some read, some keep snapshots for long; commits and lookups are dropped
//! half-way, the process is killed and the power cut as in the simulator beside it, whose computers
//! and plans these are. What each version has is noted before its commit begins, so that whoever
//! takes a snapshot knows what must be in it: `model[version]`, and not a version that is older
//! than one that somebody was told of before.
//!
//! A third of the runs with crashes, errors or damage write batches, many at a time, which may be
//! committed together: see `batches.rs`.

mod batches;
mod shared;

use std::cell::RefCell;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;

use simulator::computer::{Computer, FaultRates, Mark};
use simulator::disk::Disk;
use simulator::host::Host;
use simulator::model::Promise;
use simulator::plan::{CrashKind, Operation};
use simulator::profile::Profile;
use simulator::random::Random;
use simulator::recovery::{Context, LOG_PATH, Left, PATH};
use simulator::session::compare;
use simulator::tolerance::Tolerance;
use yieldb_core::injection;

use shared::{Shared, Versions};

/// How many processes there are, one after the other.
const PROCESSES: usize = 3;

/// A run under way.
struct Run<'p> {
    context: &'p Context<'p>,
    versions: Rc<RefCell<Versions>>,
    random: Random,
    crashes: RefCell<Random>,
    is_damaged: bool,
    /// How far things were when a write to the log was lost, if one was since the database was
    /// opened.
    misplaced: Option<Mark>,
}

/// Runs a plan: its operations are shared out among tasks.
///
/// # Panics
///
/// If anything is not as it should be.
pub fn run(context: &Context<'_>) {
    let plan = context.plan;
    let is_of_batches =
        matches!(plan.profile, Profile::Crashes | Profile::Errors | Profile::Damage);
    if is_of_batches && plan.seed.is_multiple_of(3) {
        injection::force(plan.schedule(), || batches::run(context));
        return;
    }
    let mut random = Random::new(plan.seed ^ 0x2545_f491);
    let crashes = RefCell::new(random.fork());
    let versions = Rc::default();
    let run = Run { context, versions, random, crashes, is_damaged: false, misplaced: None };
    injection::force(plan.schedule(), || run.processes());
}

impl Run<'_> {
    fn processes(mut self) {
        let operations = &self.context.plan.operations;
        let mut disk = Disk::default();
        let mut is_first = true;
        for part in operations.chunks(operations.len().div_ceil(PROCESSES).max(1)) {
            let faults = self.context.faults(is_first, self.is_damaged);
            let computer = self.context.start(disk, self.random.next(), faults);
            is_first = false;
            let left = self.process(&computer, part);
            self.is_damaged |= computer.damage_fired();
            self.misplaced = computer.misplaced(LOG_PATH).or(self.misplaced);
            self.context.stop(&computer);
            let Some(next) = left else { return };
            disk = next;
        }
    }

    /// One process. Returns the disk that it leaves; `None` if there is no going on.
    fn process(&mut self, computer: &Computer, operations: &[Operation]) -> Option<Disk> {
        let host = Host::new(computer.clone());
        let tolerance = Tolerance::new(computer, self.is_damaged);
        let opening = self.context.options(computer).open(PATH);
        let opened = host.run(opening, &mut |host| self.watch(host));
        let Ok(database) = tolerance.ok(opened.expect("nobody ends it")) else {
            return self.try_again(computer, operations);
        };
        host.attach(&database);
        let snapshot = database.snapshot();
        let state = self.promise(self.misplaced).state(snapshot.version()).clone();
        self.misplaced = None;
        self.versions.borrow_mut().begin(snapshot.version());
        let compared =
            host.run(compare(&snapshot, &state, false), &mut |_| ControlFlow::Continue(()));
        drop(snapshot);
        if tolerance.ok(compared.expect("nobody ends it")).is_err() {
            host.detach();
            return None;
        }
        let shared = Shared {
            plan: self.context.plan,
            host: &host,
            tolerance,
            database,
            versions: self.versions.clone(),
        };
        self.context.report.borrow_mut().operations += operations.len() as u64;
        let mut alarm = self.random.one_in(2).then(|| self.random.below(300));
        let mut order = self.random.fork();
        host.run_all(self.tasks(&shared, operations), &mut order, &mut |host| {
            if let Some(ios) = &mut alarm {
                if *ios == 0 {
                    return ControlFlow::Break(());
                }
                *ios -= 1;
            }
            self.watch(host)
        });
        let kind = CrashKind::draw(&mut self.random);
        let disk = self.context.crash(computer, kind, &mut self.random);
        host.detach();
        Some(disk)
    }

    /// Opening failed, as faults let it: once more without them, to see that all is there.
    fn try_again(&mut self, computer: &Computer, operations: &[Operation]) -> Option<Disk> {
        let disk = self.context.crash(computer, CrashKind::Kill, &mut self.random);
        if self.is_damaged || computer.damage_fired() {
            return None;
        }
        let again = self.context.start(disk, self.random.next(), FaultRates::none());
        let left = self.process(&again, operations);
        self.context.stop(&again);
        left
    }

    fn tasks<'s>(
        &mut self,
        shared: &'s Shared<'_>,
        operations: &'s [Operation],
    ) -> Vec<Pin<Box<dyn Future<Output = ()> + 's>>> {
        let count = 2 + self.random.index(7);
        let mut parts: Vec<Vec<&Operation>> = vec![Vec::new(); count];
        for operation in operations {
            parts[self.random.index(count)].push(operation);
        }
        let task = |operations| -> Pin<Box<dyn Future<Output = ()> + 's>> {
            Box::pin(shared.task(operations))
        };
        parts.into_iter().map(task).collect()
    }

    fn watch(&self, host: &Host) -> ControlFlow<()> {
        if self.crashes.borrow_mut().one_in(self.context.plan.shape.crash_one_in) {
            let mut random = self.crashes.borrow_mut().fork();
            let is_damaged = self.is_damaged || host.computer.damage_fired();
            let promise = self.promise(host.computer.misplaced(LOG_PATH).or(self.misplaced));
            let left =
                |disk| Left { disk, promise: promise.clone(), is_damaged, is_misplaced: false };
            self.context.try_crash(host, left, &mut random);
        }
        ControlFlow::Continue(())
    }

    fn promise(&self, misplaced: Option<Mark>) -> Promise {
        let is_weak = self.context.plan.profile == Profile::Lies;
        self.versions.borrow().promise(is_weak, misplaced)
    }
}
