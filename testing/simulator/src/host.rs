//! A thread that never waits: it runs tasks, and turns the simulated computer when all of them
//! wait.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use yieldb::Database;

use crate::computer::Computer;
use crate::random::Random;

/// How often tasks may be run before they count as never ending.
const MAX_POLLS: u64 = 2_000_000;

/// What a task is woken by.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Something to be run.
struct Task<'t> {
    future: Pin<Box<dyn Future<Output = ()> + 't>>,
    flag: Arc<Flag>,
}

/// Runs tasks on a simulated computer.
pub struct Host {
    /// The computer.
    pub computer: Computer,
    /// What is being done that a crash would interrupt.
    pub doing: Cell<Doing>,
    /// The database whose machines are turned, as long as it is open.
    database: RefCell<Option<Database>>,
}

/// What a crash interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// A file is being opened or created.
    Opening,
    /// Reads, and changes that are not committed.
    Working,
    /// A tree is being loaded in bulk.
    Loading,
    /// A commit.
    Committing,
    /// Relaxed commits become durable.
    Syncing,
    /// The file is made shorter.
    Compacting,
    /// The last checkpoint, and the end of the log.
    Closing,
}

impl Doing {
    /// What a crash then is called in tables.
    pub fn crash(self) -> &'static str {
        match self {
            Doing::Opening => "crash-while-opening",
            Doing::Working => "crash-while-working",
            Doing::Loading => "crash-while-loading",
            Doing::Committing => "crash-while-committing",
            Doing::Syncing => "crash-while-syncing",
            Doing::Compacting => "crash-while-compacting",
            Doing::Closing => "crash-while-closing",
        }
    }
}

/// What is told before each I/O that finishes, while it is in flight, and says whether to go on.
pub type Watch<'w> = &'w mut dyn FnMut(&Host) -> ControlFlow<()>;

impl Host {
    /// A host on this computer.
    pub fn new(computer: Computer) -> Host {
        let doing = Cell::new(Doing::Opening);
        Host { computer, doing, database: RefCell::new(None) }
    }

    /// From now on the machines of this database are turned.
    pub fn attach(&self, database: &Database) {
        self.doing.set(Doing::Working);
        self.database.replace(Some(database.clone()));
    }

    /// The database is turned no more.
    pub fn detach(&self) {
        self.database.take();
    }

    /// Runs one task to its end; `None` if `watch` has ended it.
    pub fn run<T>(&self, task: impl Future<Output = T>, watch: Watch<'_>) -> Option<T> {
        let mut output = None;
        let task = Box::pin(async { output = Some(task.await) });
        self.run_all(vec![task], &mut Random::new(0), watch);
        output
    }

    /// Runs tasks until all are over or `watch` ends them. Where several can go on, or a task can
    /// and an I/O can finish, `random` decides who is first.
    ///
    /// # Panics
    ///
    /// If a task waits for nothing, or does not end.
    pub fn run_all(
        &self,
        tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>,
        random: &mut Random,
        watch: Watch<'_>,
    ) {
        let ready = || Arc::new(Flag(AtomicBool::new(true)));
        let mut tasks: Vec<Task<'_>> =
            tasks.into_iter().map(|future| Task { future, flag: ready() }).collect();
        let mut polls = 0;
        while !tasks.is_empty() {
            let runnable: Vec<usize> = (0..tasks.len())
                .filter(|index| tasks[*index].flag.0.load(Ordering::Relaxed))
                .collect();
            let is_alone = tasks.len() == 1;
            if runnable.is_empty() || !is_alone && random.one_in(4) {
                if self.watched(watch).is_break() {
                    return;
                }
                let finished = self.turn();
                let is_stuck = finished == 0 && self.computer.in_flight() == 0;
                let is_woken = || tasks.iter().any(|task| task.flag.0.load(Ordering::Relaxed));
                assert!(!is_stuck || is_woken(), "all wait, and nothing is in flight");
                continue;
            }
            polls += 1;
            assert!(polls < MAX_POLLS, "an operation does not end");
            let index = runnable[random.index(runnable.len())];
            let task = &mut tasks[index];
            task.flag.0.store(false, Ordering::Relaxed);
            let waker = Waker::from(task.flag.clone());
            if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                drop(tasks.swap_remove(index));
            }
        }
    }

    /// Lets the engine's own machines go on, and finishes one I/O. Returns how many finished.
    pub fn turn(&self) -> usize {
        // Not under the borrow: what is turned may attach and detach.
        let database = self.database.borrow().clone();
        match database {
            Some(database) => database.turn(),
            None => self.computer.backend().driver.poll(),
        }
    }

    /// Lets everything end that is under way, unless `watch` ends it.
    pub fn settle(&self, watch: Watch<'_>) -> ControlFlow<()> {
        loop {
            self.watched(watch)?;
            if self.turn() == 0 {
                return ControlFlow::Continue(());
            }
        }
    }

    /// Tells `watch` of a moment at which something is in flight.
    fn watched(&self, watch: Watch<'_>) -> ControlFlow<()> {
        if self.computer.in_flight() > 0 { watch(self) } else { ControlFlow::Continue(()) }
    }
}

/// How often an operation may be polled before it is dropped; `None`: until it is over.
pub type Patience = Option<u8>;

/// Drives an operation to its end, or drops it when its patience is over: then it is `None`. Now
/// and then it is polled when it has no reason to go on.
pub async fn drive<F: Future + Unpin>(mut operation: F, patience: Patience) -> Option<F::Output> {
    let mut polls = 0;
    std::future::poll_fn(|context| {
        if patience.is_some_and(|patience| polls >= u32::from(patience)) {
            return Poll::Ready(None);
        }
        polls += 1;
        if let Poll::Ready(output) = Pin::new(&mut operation).poll(context) {
            return Poll::Ready(Some(output));
        }
        if polls % 3 == 0
            && let Poll::Ready(output) = Pin::new(&mut operation).poll(context)
        {
            return Poll::Ready(Some(output));
        }
        Poll::Pending
    })
    .await
}
