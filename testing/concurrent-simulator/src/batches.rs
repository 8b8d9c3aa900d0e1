//! Many batches at a time: they may be committed together, so what a version has cannot be known
//! before. What must be is that each is there whole or not at all, and those that were acknowledged
//! are there, in every snapshot taken later and after every crash; or an error that faults explain.
//!
//! ```text
//!   key         value
//!   t<task>     the newest batch of the task
//!   b<batch>-n  its number: as many entries as the batch has
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;

use simulator::computer::{Computer, FaultRates, Mark};
use simulator::disk::Disk;
use simulator::host::{Doing, Host, drive};
use simulator::plan::CrashKind;
use simulator::random::Random;
use simulator::recovery::{Context, LOG_PATH, PATH};
use simulator::session::assert_no_page_is_lost;
use simulator::tolerance::{Tolerance, Trouble};
use yieldb::{Batch, Database, KeyRange, MAIN, Snapshot};

/// How many processes there are, one after the other.
const PROCESSES: usize = 3;
/// How many batches a task writes in a process, at most.
const BATCHES: u64 = 12;
/// How many entries a batch has, besides that of its task, at most.
const ENTRIES: u64 = 5;

/// What is known of all batches. Numbers go up with the order in which they were begun.
#[derive(Clone, Default)]
struct Known {
    /// Those that were begun, with the task of each.
    begun: BTreeMap<u64, usize>,
    /// Those that have to be there, in the order in which that was said.
    acknowledged: Vec<u64>,
    /// How far things were when a write to the log was lost, if one was since the database was
    /// opened.
    misplaced: Option<Mark>,
    /// May anything be damaged?
    is_damaged: bool,
}

impl Known {
    /// What has to be found by whoever opens the database: what was acknowledged before a write to
    /// the log was lost, if one was. Of what is behind that, nobody may know.
    fn required(&self) -> &[u64] {
        match self.misplaced {
            Some(mark) => &self.acknowledged[..mark.durable as usize],
            None => &self.acknowledged,
        }
    }

    /// Takes note of what has happened to a disk.
    fn notice(&mut self, computer: &Computer) {
        self.misplaced = self.misplaced.or(computer.misplaced(LOG_PATH));
        self.is_damaged |= computer.damage_fired();
    }

    /// The same, for a look aside.
    fn noticed(&self, computer: &Computer) -> Known {
        let mut known = self.clone();
        known.notice(computer);
        known
    }

    /// These batches were found, and no others will ever be.
    fn settle(&mut self, found: &BTreeSet<u64>) {
        self.acknowledged.retain(|batch| found.contains(batch));
        self.misplaced = None;
    }

    fn mark(&self) -> Mark {
        let (durable, submitted) = (self.acknowledged.len() as u64, self.begun.len() as u64);
        Mark { durable, submitted }
    }
}

/// What all tasks of a process have in common.
struct Shared<'h> {
    host: &'h Host,
    tolerance: Tolerance,
    database: Database,
    known: Rc<RefCell<Known>>,
}

/// Runs a plan's computers, with batches in place of its operations.
///
/// # Panics
///
/// If anything is not as it should be.
pub(crate) fn run(context: &Context<'_>) {
    let mut random = Random::new(context.plan.seed ^ 0x0b47_c4e5);
    let known = Rc::new(RefCell::new(Known::default()));
    let mut disk = Disk::default();
    for index in 0..PROCESSES {
        let faults = context.faults(index == 0, known.borrow().is_damaged);
        let computer = context.start(disk, random.next(), faults);
        let left = process(context, &computer, &known, &mut random);
        known.borrow_mut().notice(&computer);
        context.stop(&computer);
        let Some(left) = left else { return };
        recover(context, left.clone(), &known.borrow(), &mut random);
        disk = left;
    }
}

/// One process, up to its crash. Returns the disk that it leaves; `None` if there is no going on.
fn process(
    context: &Context<'_>,
    computer: &Computer,
    known: &Rc<RefCell<Known>>,
    random: &mut Random,
) -> Option<Disk> {
    let host = Host::new(computer.clone());
    computer.set_mark(known.borrow().mark());
    let mut alarm = 20 + random.below(400);
    let mut crashes = random.fork();
    let mut watch = |host: &Host| {
        if crashes.one_in(context.plan.shape.crash_one_in) {
            let kind = CrashKind::draw(&mut crashes);
            let disk = context.crash(&host.computer, kind, &mut crashes);
            let known = known.borrow().noticed(&host.computer);
            recover(context, disk, &known, &mut crashes);
        }
        alarm -= 1;
        if alarm == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let tolerance = Tolerance::new(computer, known.borrow().is_damaged);
    let opened = host.run(context.options(computer).open(PATH), &mut watch);
    if let Some(opened) = opened
        && let Ok(database) = tolerance.ok(opened)
    {
        host.attach(&database);
        known.borrow_mut().notice(computer);
        if known.borrow().is_damaged {
            let snapshot = database.snapshot();
            let state = known.borrow().clone();
            let looked = host.run(look(&snapshot, &state, state.required()), &mut watch);
            let Some(Ok(found)) = looked.map(|looked| tolerance.ok(looked)) else {
                host.detach();
                return None;
            };
            known.borrow_mut().settle(&found);
            computer.set_mark(known.borrow().mark());
        }
        let shared = Shared { host: &host, tolerance, database, known: known.clone() };
        let mut order = random.fork();
        let task = |task| -> Pin<Box<dyn Future<Output = ()> + '_>> {
            Box::pin(shared.task(task, random.fork()))
        };
        let tasks = (0..2 + order.index(12)).map(task).collect();
        host.run_all(tasks, &mut order, &mut watch);
        host.detach();
    }
    let kind = CrashKind::draw(random);
    Some(context.crash(computer, kind, random))
}

/// Opens what a crash left, and looks at it.
fn recover(context: &Context<'_>, disk: Disk, known: &Known, random: &mut Random) {
    context.report.borrow_mut().crash_recoveries += 1;
    let computer = context.start(disk, random.next(), FaultRates::none());
    let host = Host::new(computer.clone());
    let tolerance = Tolerance::new(&computer, known.is_damaged);
    let mut undisturbed = |_: &Host| ControlFlow::Continue(());
    let opened = host.run(context.options(&computer).open(PATH), &mut undisturbed);
    if let Ok(database) = tolerance.ok(opened.expect("nobody ends it")) {
        host.attach(&database);
        // Where anything is damaged, that is all that can be said.
        let _told = examine(context, &host, &tolerance, database, known);
        host.detach();
    }
    context.stop(&computer);
}

/// Looks at a database that was opened.
fn examine(
    context: &Context<'_>,
    host: &Host,
    tolerance: &Tolerance,
    database: Database,
    known: &Known,
) -> Result<(), Trouble> {
    let mut undisturbed = |_: &Host| ControlFlow::Continue(());
    let snapshot = database.snapshot();
    let looked = host.run(look(&snapshot, known, known.required()), &mut undisturbed);
    tolerance.ok(looked.expect("nobody ends it"))?;
    let check = async { snapshot.check(|_| {})?.await };
    let report = host.run(check, &mut undisturbed).expect("nobody ends it");
    let report = tolerance.ok(report)?;
    if let Some(damage) = report.damages.first() {
        return Err(tolerance.damage(&damage.to_string()));
    }
    drop(snapshot);
    assert!(host.settle(&mut undisturbed).is_continue(), "nobody ends it");
    drop(tolerance.ok(database.try_begin())?);
    let pages = report.pages - report.map_pages;
    assert_no_page_is_lost(&database, context.plan.shape.page_size, pages);
    Ok(())
}

/// Looks whether a snapshot has what it has to have. Returns the batches that it has.
async fn look(
    snapshot: &Snapshot,
    known: &Known,
    required: &[u64],
) -> Result<BTreeSet<u64>, yieldb::Error> {
    let (mut newest, mut found) = (BTreeMap::new(), BTreeMap::new());
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    while let Some(entry) = cursor.next().await? {
        let key = String::from_utf8(entry.key().to_vec()).expect("keys are text");
        let value: u64 = String::from_utf8_lossy(entry.value()).parse().expect("a number");
        match key.strip_prefix('t') {
            Some(task) => drop(newest.insert(task.parse().expect("a task"), value)),
            None => *found.entry(value).or_insert(0) += 1,
        }
    }
    for (batch, count) in &found {
        assert!(known.begun.contains_key(batch), "batch {batch} was never begun");
        assert_eq!(*count, entries_of(*batch), "a part of batch {batch}");
    }
    for batch in required {
        assert!(found.contains_key(batch), "batch {batch} is lost");
    }
    let mut expected = BTreeMap::new();
    for batch in found.keys() {
        expected.insert(known.begun[batch], *batch);
    }
    assert_eq!(newest, expected, "the newest batch of each task");
    Ok(found.into_keys().collect())
}

/// How many entries a batch has, besides that of its task.
fn entries_of(batch: u64) -> u64 {
    1 + batch % ENTRIES
}

impl Shared<'_> {
    /// One task: its batches one after the other.
    async fn task(&self, number: usize, mut random: Random) {
        for _ in 0..1 + random.below(BATCHES) {
            let done = match random.below(8) {
                0 => self.look().await,
                1 => self.transaction(number).await,
                _ => self.batch(number, &mut random).await,
            };
            if done == Err(Trouble::Poisoned) {
                return;
            }
        }
    }

    /// What was acknowledged before a snapshot is taken is in it.
    async fn look(&self) -> Result<(), Trouble> {
        let known = self.known.borrow().clone();
        let snapshot = self.database.snapshot();
        self.tolerance.ok(look(&snapshot, &known, &known.acknowledged).await).map(drop)
    }

    async fn batch(&self, task: usize, random: &mut Random) -> Result<(), Trouble> {
        let number = self.begin(task);
        let mut batch = Batch::new();
        batch.put(MAIN, format!("t{task}"), number.to_string());
        for entry in 0..entries_of(number) {
            batch.put(MAIN, format!("b{number}-{entry}"), number.to_string());
        }
        self.host.doing.set(Doing::Committing);
        let patience = random.one_in(5).then(|| 1 + random.below(6) as u8);
        let Some(written) = drive(self.database.write(&batch), patience).await else {
            return Ok(());
        };
        self.tolerance.ok(written)?;
        self.acknowledge(number);
        Ok(())
    }

    /// The same in a transaction of its own.
    async fn transaction(&self, task: usize) -> Result<(), Trouble> {
        let begun = self.database.begin().await;
        let mut transaction = self.tolerance.ok(begun)?;
        let number = self.begin(task);
        let value = number.to_string();
        let put = transaction.put(MAIN, format!("t{task}"), &value).await;
        self.tolerance.ok(put)?;
        for entry in 0..entries_of(number) {
            let put = transaction.put(MAIN, format!("b{number}-{entry}"), &value).await;
            self.tolerance.ok(put)?;
        }
        self.tolerance.ok(transaction.commit().await)?;
        self.acknowledge(number);
        Ok(())
    }

    fn begin(&self, task: usize) -> u64 {
        let mut known = self.known.borrow_mut();
        let number = known.begun.len() as u64;
        known.begun.insert(number, task);
        self.host.computer.set_mark(known.mark());
        number
    }

    fn acknowledge(&self, number: u64) {
        let mut known = self.known.borrow_mut();
        known.acknowledged.push(number);
        self.host.computer.set_mark(known.mark());
    }
}
