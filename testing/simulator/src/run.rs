//! One run: a plan, from the first process to the last.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::slice;

use yieldb_core::injection;

use crate::computer::{Computer, FaultRates, Mark};
use crate::disk::Disk;
use crate::host::Host;
use crate::model::{History, Promise};
use crate::plan::{CrashKind, Operation};
use crate::profile::Profile;
use crate::random::Random;
use crate::recovery::{Context, LOG_PATH, Left, PATH};
use crate::session::{Session, compare};
use crate::tolerance::{Tolerance, Trouble};

/// How often one process after the other may fail to open the database because of errors.
const MAX_ATTEMPTS: usize = 4;

/// A run under way.
struct Run<'p> {
    context: &'p Context<'p>,
    history: Rc<RefCell<History>>,
    /// When the next crash is.
    alarm: RefCell<Option<(CrashKind, u16)>>,
    random: Random,
    /// What decides about the crashes that are tried.
    crashes: RefCell<Random>,
    is_damaged: bool,
    /// How far things were when a write to the log was lost, if one was since the database was
    /// opened.
    misplaced: Option<Mark>,
}

/// How a process ended.
enum End {
    /// There is nothing more to be done.
    Over,
    /// Another one goes on with this disk.
    Next(Disk),
    /// The database is damaged, and that was said.
    Lost,
}

/// Runs a plan.
///
/// # Panics
///
/// If anything is not as it should be; the context says what happened.
pub fn run(context: &Context<'_>) {
    let plan = context.plan;
    let mut random = Random::new(plan.seed ^ 0x5bd1_e995);
    let run = Run {
        context,
        history: Rc::default(),
        alarm: RefCell::default(),
        crashes: RefCell::new(random.fork()),
        random,
        is_damaged: false,
        misplaced: None,
    };
    injection::force(plan.schedule(), || run.processes());
}

impl Run<'_> {
    /// One process after the other.
    fn processes(mut self) {
        let mut operations = self.context.plan.operations.iter();
        let mut disk = Disk::default();
        let mut attempts = 0;
        let mut is_first = true;
        loop {
            let faults = match attempts < MAX_ATTEMPTS {
                true => self.context.faults(is_first, self.is_damaged),
                false => FaultRates::none(),
            };
            is_first = false;
            let computer = self.context.start(disk, self.random.next(), faults);
            let before = operations.len();
            let end = self.process(&computer, &mut operations);
            self.context.stop(&computer);
            attempts = if operations.len() < before { 0 } else { attempts + 1 };
            match end {
                End::Next(next) => disk = next,
                End::Over | End::Lost => return,
            }
            assert!(attempts < 3 * MAX_ATTEMPTS, "the database cannot be opened again");
        }
    }

    /// One process: opens the database, and does what there is to be done until it ends.
    fn process(&mut self, computer: &Computer, operations: &mut slice::Iter<'_, Operation>) -> End {
        let host = Host::new(computer.clone());
        if self.random.one_in(6) {
            let kind = CrashKind::draw(&mut self.random);
            *self.alarm.borrow_mut() = Some((kind, self.random.below(12) as u16));
        }
        let tolerance = Tolerance::new(computer, self.is_damaged);
        let opening = self.context.options(computer).open(PATH);
        let opened = match host.run(opening, &mut |host| self.watch(host)) {
            None => return self.crash(computer),
            Some(opened) => tolerance.ok(opened),
        };
        self.notice_damage(computer);
        let Ok(database) = opened else { return self.reopen_or_lose(computer) };
        let snapshot = database.snapshot();
        let number = snapshot.version();
        let state = self.promise(self.misplaced).state(number).clone();
        self.misplaced = None;
        self.history.borrow_mut().settle(number);
        host.attach(&database);
        let compared = host.run(compare(&snapshot, &state, false), &mut |host| self.watch(host));
        drop(snapshot);
        match compared.map(|compared| tolerance.ok(compared)) {
            None => {
                host.detach();
                return self.crash(computer);
            }
            Some(Err(_)) if tolerance.is_damaged() => {
                host.detach();
                return End::Lost;
            }
            Some(_) => {}
        }
        let session =
            Session::new(self.context.plan, &host, self.history.clone(), tolerance, database);
        let end = self.operations(&host, session, operations);
        host.detach();
        end
    }

    /// Does one operation after the other, until something ends the process.
    fn operations(
        &mut self,
        host: &Host,
        mut session: Session<'_>,
        operations: &mut slice::Iter<'_, Operation>,
    ) -> End {
        let computer = &host.computer;
        for operation in operations {
            self.context.report.borrow_mut().operations += 1;
            let done = match operation {
                Operation::Crash { kind, ios } => {
                    *self.alarm.borrow_mut() = Some((*kind, *ios));
                    continue;
                }
                Operation::Reopen { is_closed } => return self.leave(host, session, *is_closed),
                Operation::Check if host.settle(&mut |host| self.watch(host)).is_break() => None,
                _ => host.run(session.operate(operation), &mut |host| self.watch(host)),
            };
            self.notice_damage(computer);
            match done {
                None => return self.crash(computer),
                Some(Err(Trouble::Poisoned)) => {
                    self.context.report.borrow_mut().path("poisoned, and opened again");
                    return self.crash_anyhow(computer);
                }
                Some(_) => {}
            }
        }
        self.try_crash(host);
        End::Over
    }

    /// Closes the database, or only drops it, and lets all I/O end.
    fn leave(&mut self, host: &Host, session: Session<'_>, is_closed: bool) -> End {
        let computer = &host.computer;
        let closed = match is_closed {
            true => host.run(session.close(), &mut |host| self.watch(host)),
            false => {
                drop(session);
                Some(Err(Trouble::Failed))
            }
        };
        host.detach();
        let settled = host.settle(&mut |host| self.watch(host));
        self.notice_damage(computer);
        let (Some(closed), ControlFlow::Continue(())) = (closed, settled) else {
            return self.crash(computer);
        };
        let mut disk = computer.disk();
        if closed.is_ok() {
            // Everything is in one file now. A crash may have left another one, before it was
            // in use.
            let is_left = disk.remove(&Path::new(LOG_PATH).into());
            let path = if is_left { "closed beside a log that was never used" } else { "closed" };
            self.context.report.borrow_mut().path(path);
        }
        End::Next(disk)
    }

    /// Opening failed: with errors another process tries again, with damage that is the end.
    fn reopen_or_lose(&mut self, computer: &Computer) -> End {
        if self.is_damaged {
            return End::Lost;
        }
        self.crash_anyhow(computer)
    }

    /// Nothing is to be done any more but to open the database again.
    fn crash_anyhow(&mut self, computer: &Computer) -> End {
        let kind = CrashKind::draw(&mut self.crashes.borrow_mut());
        End::Next(self.context.crash(computer, kind, &mut self.random))
    }

    fn notice_damage(&mut self, computer: &Computer) {
        self.is_damaged |= computer.damage_fired();
        self.misplaced = computer.misplaced(LOG_PATH).or(self.misplaced);
    }

    /// Called before each I/O ends: tries a crash now and then. Says whether the process goes on.
    fn watch(&self, host: &Host) -> ControlFlow<()> {
        let shape = &self.context.plan.shape;
        if shape.is_exhaustive || self.crashes.borrow_mut().one_in(shape.crash_one_in) {
            self.try_crash(host);
        }
        match &mut *self.alarm.borrow_mut() {
            Some((_, 0)) => ControlFlow::Break(()),
            Some((_, ios)) => {
                *ios -= 1;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Continue(()),
        }
    }

    fn try_crash(&self, host: &Host) {
        let mut random = self.crashes.borrow_mut().fork();
        let is_damaged = self.is_damaged || host.computer.damage_fired();
        let promise = self.promise(host.computer.misplaced(LOG_PATH).or(self.misplaced));
        let left = |disk| Left { disk, promise: promise.clone(), is_damaged, is_misplaced: false };
        self.context.try_crash(host, left, &mut random);
    }

    /// What has to be found after a crash.
    fn promise(&self, misplaced: Option<Mark>) -> Promise {
        let history = self.history.borrow();
        match (self.context.plan.profile, misplaced) {
            (Profile::Lies, _) => history.weak_promise(),
            (_, Some(mark)) => history.promise_behind(mark),
            (_, None) => history.promise(),
        }
    }

    /// The alarm has rung.
    fn crash(&mut self, computer: &Computer) -> End {
        let alarm = self.alarm.borrow_mut().take();
        let (kind, _) = alarm.expect("only an alarm ends a process");
        self.notice_damage(computer);
        End::Next(self.context.crash(computer, kind, &mut self.random))
    }
}
