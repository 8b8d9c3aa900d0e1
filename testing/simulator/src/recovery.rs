//! Opening what a crash left, and looking at it.

use std::cell::RefCell;
use std::ops::ControlFlow;

use yieldb::{Database, MAIN, Options};
use yieldb_pager::superblock::{SLOT_LEN, SLOT_OFFSETS, Superblock};

use crate::computer::{Computer, ComputerSettings, FaultKind, FaultRates, Latency};
use crate::disk::{Choice, Disk};
use crate::host::{Doing, Host};
use crate::model::{Promise, State, Value};
use crate::plan::{CrashKind, Plan};
use crate::profile::Profile;
use crate::random::Random;
use crate::report::Report;
use crate::session::{assert_no_page_is_lost, check, compare};
use crate::tolerance::{Tolerance, Trouble};

/// The database's file.
pub const PATH: &str = "/data/db";

/// The file of its log.
pub const LOG_PATH: &str = "/data/db-log";

/// How deep crashes are nested: a crash while a crash is recovered from, and so on.
pub const MAX_DEPTH: usize = 3;

/// How long the superblock is, with both slots.
const SLOTS_LEN: usize = SLOT_OFFSETS.len() * SLOT_LEN;

/// Of how many changes that are not durable all subsets are tried.
const MAX_SUBSETS: usize = 12;

/// What crashed, when, and what that did.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    kind: CrashKind,
    /// After so many I/Os of the computer.
    ios: u64,
    in_flight: usize,
    /// How many crashes deep.
    depth: usize,
}

/// A disk after a crash, and what has to be on it.
#[derive(Clone)]
pub struct Left {
    /// The disk.
    pub disk: Disk,
    /// What has to be on it.
    pub promise: Promise,
    /// May something be damaged?
    pub is_damaged: bool,
    /// Did a write to the log, while it was recovered, get lost or go elsewhere?
    pub is_misplaced: bool,
}

/// What all of a run has in common.
pub struct Context<'p> {
    /// What is run.
    pub plan: &'p Plan,
    /// What was reached.
    pub report: RefCell<Report>,
    /// The crashes that are being recovered from, the outermost one first.
    pub events: RefCell<Vec<Event>>,
    /// What the traces of all computers have come to.
    pub trace: RefCell<u64>,
    /// The computers that are running, if what they do is to be told.
    told: Option<RefCell<Vec<Computer>>>,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.kind {
            CrashKind::Kill => "the process is killed",
            CrashKind::PowerCut => "the power is cut",
        };
        write!(f, "{what} after {} I/Os, with {} in flight", self.ios, self.in_flight)?;
        match self.depth {
            0 | 1 => Ok(()),
            _ => write!(f, ", while the crash before is recovered from"),
        }
    }
}

impl<'p> Context<'p> {
    /// For a run of `plan`, which can be told I/O by I/O.
    pub fn new(plan: &'p Plan, is_told: bool) -> Context<'p> {
        Context {
            plan,
            report: RefCell::default(),
            events: RefCell::default(),
            trace: RefCell::new(plan.seed),
            told: is_told.then(RefCell::default),
        }
    }

    /// What goes wrong on the next computer. A disk lies only once, and there is one piece of
    /// damage at most.
    pub fn faults(&self, is_first: bool, is_damaged: bool) -> FaultRates {
        match self.plan.profile {
            Profile::Lies if !is_first => FaultRates::none(),
            Profile::Damage if is_damaged => FaultRates::none(),
            _ => self.plan.shape.faults,
        }
    }

    /// A computer with this disk.
    pub fn start(&self, disk: Disk, seed: u64, faults: FaultRates) -> Computer {
        let latency = match self.plan.shape.is_reordered {
            true => Latency::Random { max: 1_000 },
            false => Latency::Ordered,
        };
        let computer = Computer::start(disk, ComputerSettings { seed, latency, faults });
        if let Some(told) = &self.told {
            computer.set_log(true);
            told.borrow_mut().push(computer.clone());
        }
        computer
    }

    /// What has happened up to now: the crashes, and the I/O of each computer before them.
    pub fn story(&self) -> Vec<String> {
        let mut story = Vec::new();
        let told = self.told.as_ref().map(RefCell::borrow);
        let mut computers = told.iter().flat_map(|told| told.iter());
        let mut ios = || computers.next().map(Computer::take_log).unwrap_or_default();
        for event in &*self.events.borrow() {
            story.extend(ios());
            story.push(event.to_string());
        }
        story.extend(ios());
        story
    }

    /// How the database is opened.
    pub fn options(&self, computer: &Computer) -> Options {
        let shape = &self.plan.shape;
        Options::new()
            .backend(computer.backend())
            .driver(yieldb::DriverMode::Manual)
            .page_size(shape.page_size)
            .cache_bytes(shape.cache_pages * u64::from(shape.page_size))
            .log(shape.log)
    }

    /// A computer is not used any more.
    pub fn stop(&self, computer: &Computer) {
        computer.halt();
        if let Some(told) = &self.told {
            told.borrow_mut().pop();
        }
        let mut trace = self.trace.borrow_mut();
        *trace = trace.rotate_left(17) ^ computer.trace_hash().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.report.borrow_mut().computer(&computer.faults(), computer.finished());
    }

    /// What a crash of this computer leaves.
    pub fn crash(&self, computer: &Computer, kind: CrashKind, random: &mut Random) -> Disk {
        let mut report = self.report.borrow_mut();
        match kind {
            CrashKind::Kill => {
                report.fault("kill", 1);
                report.in_flight(computer.in_flight());
                computer.crash_kill(random)
            }
            CrashKind::PowerCut => {
                let mut survival = match random.below(8) {
                    0 => Choice::Nothing,
                    1 => Choice::Everything,
                    _ => Choice::Random(random.fork()),
                };
                let (disk, effects) = computer.crash_power(&mut survival);
                report.crash(&effects, computer.in_flight());
                disk
            }
        }
    }

    /// Tries crashes of a computer that goes on afterwards as if nothing had been: one, or all that
    /// can be.
    pub fn try_crash(&self, host: &Host, left: impl Fn(Disk) -> Left, random: &mut Random) {
        let computer = &host.computer;
        self.report.borrow_mut().fault(host.doing.get().crash(), 1);
        if !self.plan.shape.is_exhaustive {
            let kind = if random.one_in(4) { CrashKind::Kill } else { CrashKind::PowerCut };
            let disk = self.crash(computer, kind, random);
            return self.recover_behind(computer, kind, left(disk), random);
        }
        let killed = self.crash(computer, CrashKind::Kill, random);
        self.recover_behind(computer, CrashKind::Kill, left(killed), random);
        for disk in self.every_cut(computer, random) {
            self.recover_behind(computer, CrashKind::PowerCut, left(disk), random);
        }
    }

    /// What power cuts leave: with any subset of what is not durable as long as that is little, and
    /// samples of more; parts of writes are samples, too. Deep inside recoveries, few of them.
    fn every_cut(&self, computer: &Computer, random: &mut Random) -> Vec<Disk> {
        let pending = computer.pending_count();
        let is_outermost = self.events.borrow().is_empty();
        let mut disks = Vec::new();
        let subsets = match pending {
            0..=MAX_SUBSETS if is_outermost => 1 << pending,
            _ => 0,
        };
        for mask in 0..subsets {
            disks.push(computer.crash_power(&mut Choice::Subset(mask)).0);
        }
        if subsets == 0 {
            disks.push(computer.crash_power(&mut Choice::Nothing).0);
            disks.push(computer.crash_power(&mut Choice::Everything).0);
        }
        let samples = if is_outermost { 8 } else { 1 };
        disks.extend((0..samples).map(|_| self.crash(computer, CrashKind::PowerCut, random)));
        disks
    }

    fn recover_behind(
        &self,
        computer: &Computer,
        kind: CrashKind,
        left: Left,
        random: &mut Random,
    ) {
        let depth = self.events.borrow().len() + 1;
        let (ios, in_flight) = (computer.finished(), computer.in_flight());
        self.events.borrow_mut().push(Event { kind, ios, in_flight, depth });
        self.recover(left, random);
        self.events.borrow_mut().pop();
    }

    /// Opens what a crash left, and looks at it: a whole version is there, one of those that may
    /// be; nothing is damaged, no page is lost, and the next commit is good.
    pub fn recover(&self, mut left: Left, random: &mut Random) {
        let depth = self.events.borrow().len();
        {
            let mut report = self.report.borrow_mut();
            report.crash_recoveries += 1;
            report.fault("crash-in-recovery", u64::from(depth > 1));
            report.fault("crash-in-recovery-three-deep", u64::from(depth >= MAX_DEPTH));
        }
        // What was seen and not acknowledged is in one slot only: damage may take it, or a kernel
        // that forgets what it was to write.
        let forgets = [FaultKind::SyncErrorDropped, FaultKind::SlotSyncErrorDropped]
            .iter()
            .any(|kind| self.plan.shape.faults.one_in(*kind) > 0);
        if random.one_in(12) && self.plan.profile != Profile::Damage && !forgets {
            self.look_only(&mut left, random);
        }
        // With faults, if there are any, and then without.
        let faults = match random.one_in(3) {
            true => self.faults(false, left.is_damaged).after(0),
            false => FaultRates::none(),
        };
        // Where a group that was written again went astray, nobody knows what there is.
        if !self.try_recover(&mut left, faults, random) && !left.is_misplaced {
            let is_good = self.try_recover(&mut left, FaultRates::none(), random);
            assert!(is_good || left.is_damaged, "opening fails again without a fault");
        }
    }

    /// Opens it for reading only, and then cuts the power: what a reader has seen is not lost.
    fn look_only(&self, left: &mut Left, random: &mut Random) {
        let computer = self.start(left.disk.clone(), random.next(), FaultRates::none());
        let tolerance = Tolerance::new(&computer, left.is_damaged);
        let host = Host::new(computer.clone());
        let mut undisturbed = |_: &Host| ControlFlow::Continue(());
        let opening = self.options(&computer).read_only(true).open(PATH);
        let opened = host.run(opening, &mut undisturbed).expect("nobody ends it");
        // Where nothing was created, there is nothing to be read.
        if let Ok(database) = opened {
            let snapshot = database.snapshot();
            let number = snapshot.version();
            let state = left.promise.state(number).clone();
            let compared = host.run(compare(&snapshot, &state, false), &mut undisturbed);
            let compared = tolerance.ok(compared.expect("nobody ends it"));
            let disk = self.crash(&computer, CrashKind::PowerCut, random);
            if compared.is_ok() && self.plan.profile != Profile::Lies {
                let promise = left.promise.seen(number);
                *left = Left { disk, promise, ..*left };
            }
        }
        self.stop(&computer);
    }

    /// One attempt. If something fails that may fail, what it leaves takes the place of `left`.
    fn try_recover(&self, left: &mut Left, faults: FaultRates, random: &mut Random) -> bool {
        let computer = self.start(left.disk.clone(), random.next(), faults);
        let tolerance = Tolerance::new(&computer, left.is_damaged);
        let host = Host::new(computer.clone());
        let depth = self.events.borrow().len();
        let is_exhaustive = self.plan.shape.is_exhaustive;
        let mut crashes = random.fork();
        let mut watch = |host: &Host| {
            let one_in = if is_exhaustive { 4 } else { 12 };
            let is_misplaced = host.computer.misplaced(LOG_PATH).is_some();
            if depth < MAX_DEPTH && !is_misplaced && crashes.one_in(one_in) {
                let again = |disk| left.behind(disk, &host.computer);
                self.try_crash(host, again, &mut crashes);
            }
            ControlFlow::Continue(())
        };
        let opened = host.run(self.options(&computer).open(PATH), &mut watch);
        let opened = tolerance.ok(opened.expect("nobody ends it"));
        let looked = opened.and_then(|database| {
            host.attach(&database);
            let looked = self.look(&host, &tolerance, database, left, random);
            host.detach();
            looked
        });
        if looked.is_err() {
            *left = left.behind(computer.crash_kill(random), &computer);
        }
        self.stop(&computer);
        let is_damaged = left.is_damaged || computer.damage_fired();
        if looked.is_ok() && !is_damaged && random.one_in(16) {
            self.open_twice(computer.disk(), random);
        }
        looked.is_ok()
    }

    /// Opens what is there once more, and does nothing: no byte changes but those of the
    /// superblock, in either file.
    fn open_twice(&self, disk: Disk, random: &mut Random) {
        let (before, log_before) = (disk.image(PATH), disk.image(LOG_PATH));
        let computer = self.start(disk, random.next(), FaultRates::none());
        let host = Host::new(computer.clone());
        let mut undisturbed = |_: &Host| ControlFlow::Continue(());
        let opening = self.options(&computer).open(PATH);
        let opened = host.run(opening, &mut undisturbed).expect("nobody ends it");
        drop(opened.expect("what was good is good"));
        self.stop(&computer);
        let pages = |image: Option<Vec<u8>>| image.unwrap_or_default().split_off(SLOTS_LEN);
        let disk = computer.disk();
        // One that was being made, and is not in use, is removed.
        let log_after = disk.image(LOG_PATH);
        let is_removed = log_after.is_none() && !before.as_deref().is_some_and(speaks_of_log);
        assert!(is_removed || log_before == log_after, "opening changes the log");
        let (before, after) = (pages(before), pages(disk.image(PATH)));
        // What lies behind the end of the file may be cut off. What is made again of the log may
        // not fit the cache, and large values do not wait for it: they are written where nothing
        // is.
        let has_log = log_before.is_some();
        assert!(has_log || before.starts_with(&after), "opening changes pages");
        self.report.borrow_mut().path("opened again, and no page is changed");
    }

    fn look(
        &self,
        host: &Host,
        tolerance: &Tolerance,
        database: Database,
        left: &mut Left,
        random: &mut Random,
    ) -> Result<(), Trouble> {
        let mut undisturbed = |_: &Host| ControlFlow::Continue(());
        let snapshot = database.snapshot();
        let number = snapshot.version();
        let state = left.promise.state(number).clone();
        self.report.borrow_mut().path(left.promise.which(number));
        let backwards = random.one_in(4);
        let compared = host.run(compare(&snapshot, &state, backwards), &mut undisturbed);
        tolerance.ok(compared.expect("nobody ends it"))?;
        let checked = host.run(check(&snapshot, &state, tolerance), &mut undisturbed);
        let pages = checked.expect("nobody ends it")?;
        drop(snapshot);
        // A checkpoint may be under way, if there was much to be made again.
        let settled = host.settle(&mut undisturbed);
        assert!(settled.is_continue(), "nobody ends it");
        // What waited for I/O is noticed to be free when the next transaction begins.
        drop(tolerance.ok(database.try_begin())?);
        assert_no_page_is_lost(&database, self.plan.shape.page_size, pages);
        if random.one_in(6) && self.events.borrow().len() < MAX_DEPTH {
            self.go_on(host, tolerance, &database, left, random)?;
        }
        Ok(())
    }

    /// Commits something behind what was found, and crashes at some I/O of that.
    fn go_on(
        &self,
        host: &Host,
        tolerance: &Tolerance,
        database: &Database,
        left: &mut Left,
        random: &mut Random,
    ) -> Result<(), Trouble> {
        let number = database.snapshot().version();
        let value = Value { tag: u32::MAX, len: 1 + random.below(3_000) as u32 };
        let key = self.plan.key(random.below(1 << 16) as u16);
        let mut after = State::clone(left.promise.state(number));
        after.entries_mut(crate::model::MAIN_NAME).insert(key.clone(), value);
        left.promise = left.promise.behind(number, after, self.plan.profile == Profile::Lies);
        let mut crashes = random.fork();
        host.doing.set(Doing::Committing);
        let mut watch = |host: &Host| {
            if crashes.one_in(8) {
                let again = |disk| left.behind(disk, &host.computer);
                self.try_crash(host, again, &mut crashes);
            }
            ControlFlow::Continue(())
        };
        let commit = async {
            let mut transaction = database.begin().await?;
            transaction.put(MAIN, &key, value.bytes()).await?;
            transaction.commit().await
        };
        let version = host.run(commit, &mut watch).expect("nobody ends it");
        assert_eq!(tolerance.ok(version)?, number + 1, "the version after a recovery");
        Ok(())
    }
}

/// Does a slot of the superblock say that there is a log?
fn speaks_of_log(image: &[u8]) -> bool {
    let slots = SLOT_OFFSETS.map(|offset| image.get(offset as usize..offset as usize + SLOT_LEN));
    let mut said = slots.into_iter().flatten().filter_map(|slot| Superblock::parse(slot).ok());
    said.any(|superblock| superblock.log.is_some())
}

impl Left {
    /// What a crash of a computer leaves that was started with this.
    fn behind(&self, disk: Disk, computer: &Computer) -> Left {
        let is_damaged = self.is_damaged || computer.damage_fired();
        let is_misplaced = self.is_misplaced || computer.misplaced(LOG_PATH).is_some();
        Left { disk, promise: self.promise.clone(), is_damaged, is_misplaced }
    }
}
