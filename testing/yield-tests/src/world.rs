//! A database in memory, and the loop that drives operations on it, under a policy.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use yieldb::Op;
use yieldb_btree::node::check_node;
use yieldb_btree::ops::{begin, open};
use yieldb_btree::{KeyRange, Snapshot, Transaction};
use yieldb_core::{Create, IOCompletions, IOResult, Operation, StateMachine, StateTransition};
use yieldb_io_backends::{Backend, MemoryDisk, RawHook};
use yieldb_pager::ops::checkpoint::Ticket;
use yieldb_pager::{CacheMemory, Settings};
use yieldb_pager::{MIN_FRAMES, PageId, PageRef, PageSize, Pager, Stamp};

/// Why a scenario ended.
#[derive(Debug)]
pub enum Stop {
    /// An operation was dropped, as the policy asked.
    Dropped,
    /// An operation failed.
    Failed(String),
}

/// How operations are driven.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Step once more while the I/O is in flight, and see that nothing happens.
    pub step_again: bool,
    /// Drop the operation at the first yield that the injector forces.
    pub drop_at_yield: bool,
    /// Drop the operation when it waits for the n-th time, counted from 0.
    pub drop_at_wait: Option<u64>,
    /// Fail the n-th I/O, counted from 0, with this error number.
    pub fail: Option<(u64, i32)>,
}

/// All entries of a database.
pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A database in memory.
pub struct World {
    /// The disk that it is on.
    pub disk: MemoryDisk,
    /// What performs its I/O, one request a turn.
    pub backend: Backend,
    /// Its pages.
    pub pager: Arc<Pager>,
    policy: Cell<Policy>,
    failures: Arc<Failures>,
    waits: Cell<u64>,
    /// How many operations were begun.
    driven: Cell<u64>,
    /// Was an operation dropped already?
    dropped: Cell<bool>,
}

/// Fails one I/O.
#[derive(Default)]
struct Failures {
    /// How many I/Os are left before the one that fails; below 0 none does.
    left: AtomicI64,
    errno: AtomicU64,
    passed: AtomicU64,
    /// Was it a read that failed?
    was_read: AtomicBool,
}

impl RawHook for Failures {
    fn raw(&self, operation: Operation, _offset: u64, _len: usize, result: i32) -> i32 {
        self.passed.fetch_add(1, Ordering::SeqCst);
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.was_read.store(operation == Operation::Read, Ordering::SeqCst);
            return -(self.errno.load(Ordering::SeqCst) as i32);
        }
        result
    }
}

/// How the database is opened in all scenarios, with the smallest cache.
pub fn settings() -> Settings {
    settings_with(MIN_FRAMES)
}

/// The same with a cache in which everything fits.
pub fn roomy_settings() -> Settings {
    settings_with(64 * MIN_FRAMES)
}

fn settings_with(frames: usize) -> Settings {
    Settings {
        page_size: PageSize::MIN,
        cache: CacheMemory::Own((frames * PageSize::MIN.bytes()) as u64),
        read_only: false,
        create: Create::IfMissing,
        database_id: Some([7; 16]),
        direct: true,
        check: check_node,
        log: None,
        checkpoint_only: false,
    }
}

/// The name of the file.
pub const FILE: &str = "db";

impl World {
    /// Opens the database whose file has these bytes; an empty file is created. The policy holds
    /// for operations that are driven afterwards.
    pub fn open(image: &[u8], policy: Policy) -> World {
        let disk = MemoryDisk::new();
        disk.set_image(FILE, image.to_vec());
        Self::open_on(disk, policy, MIN_FRAMES)
    }

    /// The same with a cache in which everything fits, and no policy.
    pub fn open_roomy(image: &[u8]) -> World {
        let disk = MemoryDisk::new();
        disk.set_image(FILE, image.to_vec());
        Self::open_on(disk, Policy::default(), 64 * MIN_FRAMES)
    }

    fn open_on(disk: MemoryDisk, policy: Policy, frames: usize) -> World {
        let failures = Arc::new(Failures::default());
        failures.left.store(-1, Ordering::SeqCst);
        let backend = disk.with_hook(Some(5), failures.clone());
        let machine = open::open(backend.io.clone(), Path::new(FILE), settings_with(frames));
        let machine = machine.unwrap();
        let pager = drive_plainly(&backend, machine);
        let world = World {
            disk,
            backend,
            pager,
            policy: Cell::default(),
            failures,
            waits: Cell::new(0),
            driven: Cell::new(0),
            dropped: Cell::new(false),
        };
        world.set_policy(policy);
        world
    }

    /// Closes and opens it again, undisturbed.
    pub fn reopen(self) -> World {
        self.quiesce();
        let disk = self.disk.clone();
        drop(self);
        Self::open_on(disk, Policy::default(), MIN_FRAMES)
    }

    /// From now on, drive like this.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.set(policy);
        self.waits.set(0);
        self.dropped.set(false);
        self.failures.passed.store(0, Ordering::SeqCst);
        let (left, errno) = policy.fail.map_or((-1, 0), |(left, errno)| (left as i64, errno));
        self.failures.errno.store(errno as u64, Ordering::SeqCst);
        self.failures.left.store(left, Ordering::SeqCst);
    }

    /// How often an operation has waited for I/O.
    pub fn waits(&self) -> u64 {
        self.waits.get()
    }

    /// How many I/Os there were.
    pub fn ios(&self) -> u64 {
        self.failures.passed.load(Ordering::SeqCst)
    }

    /// Was it a read that failed, as the policy asked?
    pub fn has_failed_read(&self) -> bool {
        self.failures.was_read.load(Ordering::SeqCst)
    }

    /// Was an operation dropped?
    pub fn has_dropped(&self) -> bool {
        self.dropped.get()
    }

    /// Drives an operation under the policy.
    ///
    /// # Errors
    ///
    /// [`Stop`].
    pub fn drive<M>(&self, machine: StateMachine<M>) -> Result<M::Output, Stop>
    where
        M: StateTransition<Context = Pager, Error: std::fmt::Display>,
    {
        self.drive_on(&self.pager, machine)
    }

    /// Drives an operation on another database of the same disk.
    ///
    /// # Errors
    ///
    /// [`Stop`].
    pub fn drive_on<M>(&self, pager: &Pager, machine: StateMachine<M>) -> Result<M::Output, Stop>
    where
        M: StateTransition<Context = Pager, Error: std::fmt::Display>,
    {
        self.drive_steps(pager, &mut InContext { machine, context: pager })
    }

    /// Drives operations on another database side by side, until all of them are over.
    ///
    /// # Errors
    ///
    /// [`Stop`]: then all of them are dropped.
    pub fn drive_together_on<M>(
        &self,
        pager: &Pager,
        machines: impl IntoIterator<Item = StateMachine<M>>,
    ) -> Result<(), Stop>
    where
        M: StateTransition<Context = Pager, Error: std::fmt::Display>,
    {
        let in_context = |machine| InContext { machine, context: pager };
        self.drive_steps(pager, &mut Together(machines.into_iter().map(in_context).collect()))
    }

    /// Waits for a checkpoint of another database.
    ///
    /// # Errors
    ///
    /// [`Stop`].
    pub fn wait_on(&self, pager: &Pager, ticket: Arc<Ticket>) -> Result<u64, Stop> {
        self.drive_steps(pager, &mut Waiter(ticket))
    }

    /// Drives an operation of the door.
    ///
    /// # Errors
    ///
    /// [`Stop`].
    pub fn drive_op<M>(&self, mut op: Op<'_, M>) -> Result<M::Output, Stop>
    where
        M: StateTransition<Error: Into<yieldb::Error>>,
    {
        self.drive_steps(&self.pager, &mut op)
    }

    /// Drives an operation with another context.
    ///
    /// # Errors
    ///
    /// [`Stop`].
    pub fn drive_in<M>(
        &self,
        context: &M::Context,
        machine: StateMachine<M>,
    ) -> Result<M::Output, Stop>
    where
        M: StateTransition<Error: std::fmt::Display>,
    {
        self.drive_steps(&self.pager, &mut InContext { machine, context })
    }

    fn drive_steps<S: Steps>(&self, pager: &Pager, operation: &mut S) -> Result<S::Output, Stop> {
        let policy = self.policy.get();
        self.driven.set(self.driven.get() + 1);
        assert!(self.driven.get() < 100_000, "the work does not end");
        for _ in 0..100_000 {
            pager.turn();
            let io = match operation.step() {
                Ok(IOResult::Done(output)) => return Ok(output),
                Ok(IOResult::IO(IOCompletions::Single(io))) => io,
                Ok(IOResult::IO(_)) => unreachable!("there is one kind of completions"),
                Err(error) => return Err(Stop::Failed(error)),
            };
            if io.is_explicit_yield() {
                if policy.drop_at_yield && !self.dropped.replace(true) {
                    return Err(Stop::Dropped);
                }
                continue;
            }
            if !io.finished() {
                let wait = self.waits.replace(self.waits.get() + 1);
                if policy.drop_at_wait == Some(wait) && !self.dropped.replace(true) {
                    return Err(Stop::Dropped);
                }
                if policy.step_again {
                    assert_steps_nothing(operation, io.id());
                }
            }
            self.backend.driver.poll();
        }
        panic!("an operation does not end: {}", operation.shown())
    }

    /// Lets everything end that is under way.
    pub fn quiesce(&self) {
        loop {
            let worked = self.pager.turn();
            if self.backend.driver.poll() == 0 && !worked {
                return;
            }
        }
    }

    /// The newest version.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::newest(&self.pager)
    }

    /// A transaction, begun under the policy.
    ///
    /// # Errors
    ///
    /// [`Stop`].
    pub fn begin(&self) -> Result<Transaction, Stop> {
        self.drive(begin::begin(self.pager.clone()))
    }

    /// All entries of all trees, read undisturbed; whatever was wrong before, they can be read.
    pub fn entries(&self) -> Entries {
        self.set_policy(Policy::default());
        let snapshot = self.snapshot();
        let mut entries = Entries::new();
        for (tree, name, count) in snapshot.trees() {
            let before = entries.len() as u64;
            let mut cursor = snapshot.cursor(tree, KeyRange::all());
            while let Some(entry) = self.drive(cursor.next()).expect("an undisturbed scan") {
                let key = [name, b"/", entry.key()].concat();
                entries.insert(key, entry.value().to_vec());
            }
            assert_eq!(entries.len() as u64 - before, count);
        }
        entries
    }

    /// Asserts that nothing is damaged, and nothing lost: no pin, no frame, no page number.
    pub fn assert_whole(&self) {
        self.quiesce();
        self.set_policy(Policy::default());
        // Numbers that waited for an I/O come back when the next writer begins.
        drop(self.begin().expect("the writer's turn is free"));
        let report = self.drive(self.snapshot().check(|_| {}).unwrap()).expect("a check");
        assert_eq!(report.damages, []);
        self.pager.cache().assert_idle();
        let space = self.pager.space_use();
        assert_eq!((space.pins, space.held), (1, 0), "a version is held");
        let reserved = yieldb_pager::superblock::reserved_page_count(PageSize::MIN);
        assert_eq!(space.used, reserved + report.pages, "page numbers are lost");
    }

    /// The numbers of the pages that are in the cache, once everything has ended.
    pub fn resident(&self) -> Vec<u64> {
        self.quiesce();
        let resident = self.pager.resident().expect("it is not poisoned");
        let is_resident = |number: &u64| {
            let page = PageId::from_u64(*number).expect("a page of the file");
            resident.contains(PageRef::new(page, Stamp::default()))
        };
        (0..self.pager.space_use().pages).filter(is_resident).collect()
    }

    /// The file's bytes.
    pub fn image(&self) -> Vec<u8> {
        self.disk.image(FILE).expect("the file is there")
    }
}

/// Something that is driven by steps.
trait Steps {
    type Output;

    fn step(&mut self) -> Result<IOResult<Self::Output>, String>;

    /// Where it stands.
    fn shown(&self) -> String;
}

/// A machine, and what it works on.
struct InContext<'c, M: StateTransition> {
    machine: StateMachine<M>,
    context: &'c M::Context,
}

impl<M: StateTransition<Error: std::fmt::Display>> Steps for InContext<'_, M> {
    type Output = M::Output;

    fn step(&mut self) -> Result<IOResult<M::Output>, String> {
        self.machine.step(self.context).map_err(|error| error.to_string())
    }

    fn shown(&self) -> String {
        format!("{:?}", self.machine)
    }
}

impl<M: StateTransition<Error: Into<yieldb::Error>>> Steps for Op<'_, M> {
    type Output = M::Output;

    fn step(&mut self) -> Result<IOResult<M::Output>, String> {
        Op::step(self).map_err(|error| error.to_string())
    }

    fn shown(&self) -> String {
        format!("{self:?}")
    }
}

/// Operations side by side. Waits for what the first of them waits for.
struct Together<S>(Vec<S>);

impl<S: Steps> Steps for Together<S> {
    type Output = ();

    fn step(&mut self) -> Result<IOResult<()>, String> {
        let mut waits_for = None;
        let mut failed = None;
        self.0.retain_mut(|operation| match operation.step() {
            Ok(IOResult::Done(_)) => false,
            Ok(IOResult::IO(io)) => {
                waits_for.get_or_insert(io);
                true
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        });
        match (failed, waits_for) {
            (Some(error), _) => Err(error),
            (None, Some(io)) => Ok(IOResult::IO(io)),
            (None, None) => Ok(IOResult::Done(())),
        }
    }

    fn shown(&self) -> String {
        self.0.iter().map(Steps::shown).collect()
    }
}

/// Waits for a checkpoint that the engine makes.
struct Waiter(Arc<Ticket>);

impl Steps for Waiter {
    type Output = u64;

    fn step(&mut self) -> Result<IOResult<u64>, String> {
        match self.0.result() {
            None => Ok(IOResult::IO(self.0.completion().into())),
            Some(result) => result.map(IOResult::Done).map_err(|error| error.to_string()),
        }
    }

    fn shown(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// Steps an operation that waits, and sees that nothing runs.
fn assert_steps_nothing(operation: &mut impl Steps, waits_for: u64) {
    let before = operation.shown();
    match operation.step() {
        Ok(IOResult::IO(IOCompletions::Single(again))) => assert_eq!(again.id(), waits_for),
        _ => panic!("an operation that waits went on: {before}"),
    }
    assert_eq!(operation.shown(), before);
}

/// Drives without a policy.
fn drive_plainly<M: StateTransition<Context = ()>>(
    backend: &Backend,
    mut machine: StateMachine<M>,
) -> M::Output
where
    M::Error: std::fmt::Debug,
{
    loop {
        match machine.step(&()).expect("an undisturbed operation") {
            IOResult::Done(output) => return output,
            IOResult::IO(_) => {
                backend.driver.poll();
            }
        }
    }
}
