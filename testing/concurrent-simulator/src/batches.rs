//! Many batches at a time: they may be committed together, so what a version has cannot be known
//! before. What must be is that each is there whole or not at all, and those that were acknowledged
//! are there, in every snapshot taken later and after every crash.
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

use simulator::computer::{Computer, FaultRates};
use simulator::disk::Disk;
use simulator::host::{Doing, Host, drive};
use simulator::plan::CrashKind;
use simulator::random::Random;
use simulator::recovery::{Context, PATH};
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
    /// Those that have to be there.
    acknowledged: BTreeSet<u64>,
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
        let computer = context.start(disk, random.next(), context.faults(index == 0, false));
        let left = process(context, &computer, &known, &mut random);
        context.stop(&computer);
        recover(context, left.clone(), &known.borrow(), &mut random);
        disk = left;
    }
}

/// One process, up to its crash. Returns the disk that it leaves.
fn process(
    context: &Context<'_>,
    computer: &Computer,
    known: &Rc<RefCell<Known>>,
    random: &mut Random,
) -> Disk {
    let host = Host::new(computer.clone());
    let mut alarm = 20 + random.below(400);
    let mut crashes = random.fork();
    let mut watch = |host: &Host| {
        if crashes.one_in(context.plan.shape.crash_one_in) {
            let kind = CrashKind::draw(&mut crashes);
            let disk = context.crash(&host.computer, kind, &mut crashes);
            recover(context, disk, &known.borrow(), &mut crashes);
        }
        alarm -= 1;
        if alarm == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let tolerance = Tolerance::new(computer, false);
    let opened = host.run(context.options(computer).open(PATH), &mut watch);
    if let Some(opened) = opened
        && let Ok(database) = tolerance.ok(opened)
    {
        host.attach(&database);
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
    context.crash(computer, kind, random)
}

/// Opens what a crash left, and looks at it.
fn recover(context: &Context<'_>, disk: Disk, known: &Known, random: &mut Random) {
    context.report.borrow_mut().crash_recoveries += 1;
    let computer = context.start(disk, random.next(), FaultRates::none());
    let host = Host::new(computer.clone());
    let tolerance = Tolerance::new(&computer, false);
    let mut undisturbed = |_: &Host| ControlFlow::Continue(());
    let opened = host.run(context.options(&computer).open(PATH), &mut undisturbed);
    let database = opened.expect("nobody ends it").expect("what a crash left can be opened");
    host.attach(&database);
    let snapshot = database.snapshot();
    let looked = host.run(look(&snapshot, known), &mut undisturbed).expect("nobody ends it");
    tolerance.ok(looked).expect("nothing goes wrong");
    let check = async { snapshot.check(|_| {})?.await };
    let report = host.run(check, &mut undisturbed).expect("nobody ends it").expect("it is read");
    assert_eq!(report.damages, [], "damages");
    drop(snapshot);
    assert!(host.settle(&mut undisturbed).is_continue(), "nobody ends it");
    drop(database.try_begin().expect("it can be written"));
    let pages = report.pages - report.map_pages;
    assert_no_page_is_lost(&database, context.plan.shape.page_size, pages);
    host.detach();
    drop(database);
    context.stop(&computer);
}

/// Looks whether a snapshot has what it has to have.
async fn look(snapshot: &Snapshot, known: &Known) -> Result<(), yieldb::Error> {
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
    for batch in &known.acknowledged {
        assert!(found.contains_key(batch), "batch {batch} is lost");
    }
    let mut expected = BTreeMap::new();
    for batch in found.keys() {
        expected.insert(known.begun[batch], *batch);
    }
    assert_eq!(newest, expected, "the newest batch of each task");
    Ok(())
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
        self.tolerance.ok(look(&snapshot, &known).await)
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
        self.known.borrow_mut().acknowledged.insert(number);
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
        self.known.borrow_mut().acknowledged.insert(number);
        Ok(())
    }

    fn begin(&self, task: usize) -> u64 {
        let mut known = self.known.borrow_mut();
        let number = known.begun.len() as u64;
        known.begun.insert(number, task);
        number
    }
}
