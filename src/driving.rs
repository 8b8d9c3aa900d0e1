//! Who turns the driver, and with it the engine's own machines.
//!
//! ```text
//!   step   submits only; whoever steps what waits also turns the engine's machines, and others do
//!          now and then
//!   wait   drives until its own operation is over: one thread of those that wait looks for the
//!          ends of requests for a while, and yields the processor in between, before it sleeps
//!   await  a thread of the database's own drives, started at the first pending poll,
//!          unless the user does
//! ```

use std::time::Duration;

use yieldb_core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use yieldb_core::sync::{Arc, IS_CHECKED, Mutex, OnceLock, PoisonError, Weak, thread};
use yieldb_core::{Completion, CompletionKind, Driver};
use yieldb_io_backends::{Backend, Engine as EngineOfBackend, Engines};
use yieldb_pager::Pager;

use crate::{Error, Result};

/// After so long a yield another thread has had its whole turn of the processor.
const SLOW_YIELD: Duration = Duration::from_millis(1);
/// How long nobody looks then.
const REST: Duration = Duration::from_millis(100);
/// How long nobody turns the engine in passing when somebody has. A device takes longer for
/// whatever comes of it.
const PASSING_PAUSE: Duration = Duration::from_micros(20);
/// The part of its patience that a thread has for what another one is about to do.
const TURN_SHARE: u32 = 5;

/// Who turns the driver when an operation is awaited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverMode {
    /// Threads of the database's own, started when the first operation has to wait.
    #[default]
    Automatic,
    /// The user, with [`crate::Database::turn`]. The database starts no thread.
    Manual,
}

/// A driver, and the engine that it is turned for. Dropping it stops its threads, and waits for
/// none of them.
pub(crate) struct Driving {
    backend: Backend,
    mode: DriverMode,
    /// How long a thread that waits looks for the end of a request before it sleeps.
    patience: Duration,
    /// Does a thread look for the ends of requests already?
    is_looked_for: AtomicBool,
    /// Does a thread look already for what another one is about to do?
    is_expected: AtomicBool,
    /// Nobody looks before this time of the clock, in nanoseconds: others wanted the processor.
    looks_again: AtomicU64,
    /// Nobody turns the engine in passing before this time of the clock, in nanoseconds.
    turns_again: AtomicU64,
    /// The same for taking what has come of its I/O: who only turns it does not put that off.
    polls_again: AtomicU64,
    engine: Arc<Engine>,
    /// Have the threads been started? Guards their start.
    threads: Mutex<bool>,
    /// The same, for the many polls that need no lock to know.
    started: AtomicBool,
    stop: Arc<AtomicBool>,
}

/// The engine whose machines are turned, once the database is open.
#[derive(Default)]
struct Engine {
    slot: OnceLock<Attached>,
    /// How many threads without a handle may be at it just now, and keep it for that long.
    visitors: AtomicUsize,
}

struct Attached {
    /// Weak: a driver thread keeps no database open.
    pager: Weak<Pager>,
    /// 0 as long as there is nothing to turn.
    activity: Arc<AtomicUsize>,
}

impl Engine {
    fn pager(&self) -> Option<Arc<Pager>> {
        self.slot.get()?.pager.upgrade()
    }

    /// May there be anything to turn?
    #[inline]
    fn is_active(&self) -> bool {
        self.slot.get().is_some_and(|attached| attached.activity.load(Ordering::SeqCst) > 0)
    }

    /// Is there work that was left until what is submitted has been sent out?
    fn is_settling(&self) -> bool {
        self.is_active() && self.pager().is_some_and(|pager| pager.is_settling())
    }

    #[inline]
    fn turn(&self, driver: &dyn Driver) {
        if self.is_active()
            && let Some(pager) = self.pager()
            && pager.turn()
        {
            // Whoever turned may have nothing of his own to wait for, and others may be asleep.
            driver.submit();
        }
    }
}

impl EngineOfBackend for Engine {
    fn visit(&self, driver: &dyn Driver) {
        self.visitors.fetch_add(1, Ordering::SeqCst);
        self.turn(driver);
        self.visitors.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Driving {
    pub fn new(backend: Backend, mode: DriverMode, patience: Duration) -> Arc<Driving> {
        Arc::new(Driving {
            backend,
            mode,
            patience,
            is_looked_for: AtomicBool::new(false),
            is_expected: AtomicBool::new(false),
            looks_again: AtomicU64::new(0),
            turns_again: AtomicU64::new(0),
            polls_again: AtomicU64::new(0),
            engine: Arc::default(),
            threads: Mutex::new(false),
            started: AtomicBool::new(false),
            stop: Arc::default(),
        })
    }

    /// The back-end that is driven.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Names the engine whose machines are turned from now on.
    pub fn attach(&self, pager: &Arc<Pager>) {
        let attached =
            Attached { pager: Arc::downgrade(pager), activity: pager.activity().clone() };
        let first = self.engine.slot.set(attached).is_ok();
        debug_assert!(first, "an engine is attached once");
        let engine: Arc<dyn EngineOfBackend> = self.engine.clone();
        self.backend.engines.add(Arc::downgrade(&engine));
    }

    /// Lets the engine's own machines go on, and those of others for which this thread may have
    /// finished something.
    #[inline]
    pub fn turn_engine(&self) {
        self.engine.turn(&*self.backend.driver);
        self.backend.engines.turn_several(&*self.backend.driver);
    }

    /// The same for one who drives an operation of his own, which may not have to wait for
    /// anything: unless that was done just now. There are locks on the way, and many operations.
    #[inline]
    pub fn turn_in_passing(&self) {
        if self.engine.is_active() && self.is_time(&self.turns_again) {
            self.turn_engine();
        }
    }

    /// The same, and takes what has come of the engine's I/O. Where nobody waits, nobody else does.
    #[inline]
    pub fn poll_in_passing(&self) {
        if self.engine.is_active() && self.is_time(&self.polls_again) {
            let driver = &*self.backend.driver;
            if driver.works_by_itself() && driver.in_flight() > 0 {
                driver.poll_beside();
            }
            self.turn_engine();
        }
    }

    /// Under a checker always: its schedules are to be the same again, whatever the clock says.
    fn is_time(&self, again: &AtomicU64) -> bool {
        if IS_CHECKED {
            return true;
        }
        let now = self.backend.io.now();
        let is_time = now.as_nanos() as u64 >= again.load(Ordering::Relaxed);
        if is_time {
            again.store((now + PASSING_PAUSE).as_nanos() as u64, Ordering::Relaxed);
        }
        is_time
    }

    /// May a thread without a handle be at the engine, although there is nothing left to turn? Then
    /// it is gone in a moment, and no other one comes.
    pub fn has_visitors(&self) -> bool {
        self.engine.visitors.load(Ordering::SeqCst) > 0
    }

    /// Sends out what was submitted, and no more.
    #[cold]
    pub fn send(&self) {
        self.backend.driver.submit();
    }

    /// Sends out what was submitted, and does then what was left for the time that it takes.
    ///
    /// # Errors
    ///
    /// In a fork of the process that opened the database.
    pub fn submit(&self) -> Result<()> {
        self.check_process()?;
        self.backend.driver.submit();
        if self.engine.is_settling() {
            self.turn_engine();
        }
        Ok(())
    }

    fn check_process(&self) -> Result<()> {
        Ok(self.backend.driver.check_process().map_err(yieldb_btree::Error::from)?)
    }

    /// Does what can be done without waiting. Returns how many I/Os it finished.
    pub fn turn(&self) -> usize {
        self.turn_engine();
        let finished = self.backend.driver.poll();
        self.turn_engine();
        self.backend.driver.submit();
        finished
    }

    /// Drives until `io` is finished, or something else has happened. For an explicit yield that is
    /// others' having had the processor: what is wanted may be another thread's to give back.
    ///
    /// # Errors
    ///
    /// If this thread would wait for itself; in a fork.
    pub fn wait(&self, io: &Completion) -> Result<()> {
        self.check_process()?;
        if io.is_explicit_yield() {
            thread::yield_now();
            return Ok(());
        }
        if let Some(pager) = self.engine.pager() {
            pager.check_wait(io).map_err(yieldb_btree::Error::from)?;
        }
        if self.engine.is_settling() {
            self.backend.driver.submit();
            self.turn_engine();
        }
        if !self.look_for(io) {
            self.backend.driver.wait(io);
        }
        Ok(())
    }

    /// Looks again and again whether `io`, or anything else, is finished, and lets others have the
    /// processor in between. `false` if it may be long until then, or another thread looks.
    ///
    /// Where no request is under way, or another thread looks for its end, `io` may be what a
    /// thread is about to do, as giving back the writer's turn. That is soon, or not soon at all.
    ///
    /// Others may keep the processor for as long as a few milliseconds, where one who was asleep
    /// gets it at once. If they do, nobody looks for a while.
    fn look_for(&self, io: &Completion) -> bool {
        let driver = &*self.backend.driver;
        if self.patience.is_zero() || !driver.works_by_itself() {
            return false;
        }
        let now = self.backend.io.now();
        if now < Duration::from_nanos(self.looks_again.load(Ordering::Relaxed)) {
            return false;
        }
        if driver.in_flight() > 0 && !self.is_looked_for.swap(true, Ordering::SeqCst) {
            let is_news =
                self.look(now, self.patience, || driver.poll_beside() > 0 || io.finished());
            self.is_looked_for.store(false, Ordering::SeqCst);
            return is_news;
        }
        if io.kind() != CompletionKind::Signal || self.is_expected.swap(true, Ordering::SeqCst) {
            return false;
        }
        let is_news = self.look(now, self.patience / TURN_SHARE, || io.finished());
        self.is_expected.store(false, Ordering::SeqCst);
        is_news
    }

    /// Looks for news, from now on and for so long, unless others keep the processor.
    fn look(&self, mut now: Duration, patience: Duration, is_news: impl Fn() -> bool) -> bool {
        let until = now + patience;
        loop {
            thread::yield_now();
            let before = std::mem::replace(&mut now, self.backend.io.now());
            let is_slow = now - before > SLOW_YIELD;
            if is_slow {
                let again = (now + REST).as_nanos() as u64;
                self.looks_again.store(again, Ordering::Relaxed);
            }
            if is_news() {
                return true;
            }
            if is_slow || now >= until {
                return false;
            }
        }
    }

    /// Sees to it that somebody drives what was submitted.
    ///
    /// # Errors
    ///
    /// In a fork, which has no threads but one; if the system has no thread for it.
    pub fn see_to_it(&self) -> Result<()> {
        self.submit()?;
        if self.mode == DriverMode::Automatic && !self.started.load(Ordering::Acquire) {
            self.start_threads()?;
        }
        Ok(())
    }

    fn start_threads(&self) -> Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if *threads {
            return Ok(());
        }
        for index in 0..self.backend.driver.useful_threads() {
            let Backend { driver, engines, .. } = self.backend.clone();
            let (engine, stop) = (self.engine.clone(), self.stop.clone());
            let started = thread::Builder::new()
                .name(format!("yieldb-driver-{index}"))
                .spawn(move || drive(&*driver, &engine, &engines, &stop));
            match started {
                Ok(_detached) => {}
                // With one thread less there is less depth; with none nobody would drive.
                Err(error) if index > 0 => {
                    tracing::warn!(%error, "fewer driver threads than would be useful");
                    break;
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    return Err(Error::NoDriver { errno });
                }
            }
        }
        *threads = true;
        self.started.store(true, Ordering::Release);
        Ok(())
    }
}

/// What a driver thread does until it is told to stop.
fn drive(driver: &dyn Driver, engine: &Engine, others: &Engines, stop: &AtomicBool) {
    // Nobody finishes it: the driver returns when anything else has happened.
    let never = Completion::signal();
    while !stop.load(Ordering::SeqCst) {
        driver.wait(&never);
        engine.visit(driver);
        others.turn_several(driver);
        driver.submit();
    }
    // For the thread beside this one that was not in the driver when all were told.
    driver.interrupt();
}

impl std::fmt::Debug for Driving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {:?}", self.mode, self.backend)
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if self.started.load(Ordering::SeqCst) {
            self.backend.driver.interrupt();
        }
    }
}
