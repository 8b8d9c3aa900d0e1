//! The pread/pwrite back-end: requests are queued when they are submitted, and performed by
//! whoever drives.
//!
//! It blocks those who drive, one request each; as many requests are under way at a time as
//! threads are in [`Driver::wait`]. It is the fallback where io_uring is refused, and the default
//! off Linux.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::task::{Wake, Waker};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use yieldb_core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use yieldb_core::sync::{Arc, Condvar, IS_CHECKED, Mutex, MutexGuard, PoisonError, thread};
use yieldb_core::{
    Clock, Completion, Driver, Error, ForkMark, IO, MonotonicClock, OpenOptions, Result,
};

use crate::Backend;
use crate::os_file::{OsDirectory, random};
use crate::queued_file::{QueuedFile, Submit};
use crate::request::{Performer, Request, Work};
use crate::transfer::RawHook;

/// How many requests one [`Driver::poll`] performs at most.
const POLL_BATCH: usize = 32;

/// How many threads it takes to keep a fast drive busy with one request each.
const USEFUL_THREADS: usize = if IS_CHECKED { 2 } else { 16 };

/// The pread/pwrite back-end. `why` is what a user is told when he asks for the reason.
///
/// # Errors
///
/// The operating system's, if it has no more descriptors.
pub fn pread(why: impl Into<String>) -> std::io::Result<Backend> {
    with_hook(why, None)
}

/// The same, with a hook on the results of each request.
///
/// # Errors
///
/// The operating system's, if it has no more descriptors.
pub fn with_hook(
    why: impl Into<String>,
    hook: Option<Arc<dyn RawHook>>,
) -> std::io::Result<Backend> {
    performing(Performer { directory: Arc::new(OsDirectory), hook }, why.into())
}

/// The same with files in memory: for a model checker, which no system call may keep waiting.
///
/// # Errors
///
/// As [`pread`].
#[cfg(feature = "shuttle")]
pub fn in_memory(
    disk: &crate::MemoryDisk,
    hook: Option<Arc<dyn RawHook>>,
) -> std::io::Result<Backend> {
    performing(Performer { directory: Arc::new(disk.clone()), hook }, "asked for".to_owned())
}

fn performing(performer: Performer, why: String) -> std::io::Result<Backend> {
    let pread = Arc::new(Pread {
        performer,
        queue: Mutex::default(),
        home: ForkMark::new(),
        performing: AtomicUsize::new(0),
        alarm: Arc::default(),
        event: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        event_wanted: AtomicBool::new(false),
        clock: MonotonicClock::default(),
    });
    let waker = Waker::from(pread.alarm.clone());
    let handle = Arc::new(Handle { pread, waker });
    let engines = Arc::default();
    Ok(Backend { io: handle.clone(), driver: handle, engines, name: "pread", why })
}

struct Pread {
    performer: Performer,
    /// The process that performs requests.
    home: ForkMark,
    queue: Mutex<VecDeque<Request>>,
    performing: AtomicUsize,
    alarm: Arc<Alarm>,
    /// Readable when something is queued.
    event: OwnedFd,
    event_wanted: AtomicBool,
    clock: MonotonicClock,
}

/// Wakes those who sleep in [`Driver::wait`].
#[derive(Default)]
struct Alarm {
    state: Mutex<AlarmState>,
    rung: Condvar,
}

#[derive(Default)]
struct AlarmState {
    /// How often it rang.
    rings: u64,
    /// It rang on purpose while nobody slept: the next one who would, does not.
    interrupted: bool,
    sleepers: usize,
}

impl Alarm {
    /// Wakes all sleepers.
    fn ring(&self) {
        let mut state = lock(&self.state);
        state.rings += 1;
        if state.sleepers > 0 {
            self.rung.notify_all();
        }
    }

    /// Sleeps until the alarm has rung more often than `rings`.
    fn sleep(&self, rings: u64) {
        let mut state = lock(&self.state);
        state.sleepers += 1;
        while state.rings == rings && !state.interrupted {
            state = self.rung.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.interrupted = false;
        state.sleepers -= 1;
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

impl Pread {
    /// Makes the user's event readable, if he has asked for it.
    fn ring_event(&self) {
        if self.event_wanted.load(Ordering::Relaxed) {
            // A full counter is readable all the same.
            let _written = rustix::io::write(&self.event, &1_u64.to_ne_bytes()).is_ok();
        }
    }

    /// Performs some of the requests in the queue. Returns how many.
    fn perform_some(self: &Arc<Self>) -> usize {
        (0..POLL_BATCH).take_while(|_| self.perform_one()).count()
    }

    /// Performs the request that is next in the queue.
    fn perform_one(self: &Arc<Self>) -> bool {
        if !self.home.is_here() {
            return false;
        }
        let mut queue = lock(&self.queue);
        let Some(request) = queue.pop_front() else { return false };
        self.performing.fetch_add(1, Ordering::SeqCst);
        drop(queue);
        self.performer
            .perform(request, |medium| Arc::new(QueuedFile { back_end: self.clone(), medium }));
        self.performing.fetch_sub(1, Ordering::SeqCst);
        true
    }
}

impl Submit for Pread {
    fn submit(self: &Arc<Self>, work: Work, completion: Completion) {
        let request = Request { work, completion };
        if !self.home.is_here() {
            return request.refuse();
        }
        lock(&self.queue).push_back(request);
        self.ring_event();
        self.alarm.ring();
    }
}

impl Drop for Pread {
    fn drop(&mut self) {
        let queue = std::mem::take(&mut *lock(&self.queue));
        queue.into_iter().for_each(Request::abandon);
    }
}

/// Both sides of the back-end.
struct Handle {
    pread: Arc<Pread>,
    waker: Waker,
}

impl Clock for Handle {
    fn now(&self) -> Duration {
        self.pread.clock.now()
    }
}

impl IO for Handle {
    fn open(&self, path: &Path, options: OpenOptions, completion: Completion) {
        self.pread.submit(Work::Open { path: path.to_path_buf(), options }, completion);
    }

    fn remove(&self, path: &Path, completion: Completion) {
        self.pread.submit(Work::Remove { path: path.to_path_buf() }, completion);
    }

    fn rename(&self, from: &Path, to: &Path, completion: Completion) {
        let work = Work::Rename { from: from.to_path_buf(), to: to.to_path_buf() };
        self.pread.submit(work, completion);
    }

    fn sync_directory(&self, directory: &Path, completion: Completion) {
        self.pread.submit(Work::SyncDirectory { path: directory.to_path_buf() }, completion);
    }

    fn random(&self, bytes: &mut [u8]) {
        random(bytes);
    }
}

impl Driver for Handle {
    fn poll(&self) -> usize {
        if !self.pread.home.is_here() {
            return 0;
        }
        if self.pread.event_wanted.load(Ordering::Relaxed) {
            let mut counter = [0; 8];
            // Nothing to read means nothing was queued since the last time.
            let _read = rustix::io::read(&self.pread.event, &mut counter).is_ok();
        }
        let performed = self.pread.perform_some();
        if performed == POLL_BATCH {
            self.pread.ring_event();
        }
        performed
    }

    fn poll_beside(&self) -> usize {
        let performed = self.pread.perform_some();
        if performed > 0 {
            self.pread.ring_event();
        }
        performed
    }

    fn submit(&self) {}

    fn wait(&self, until: &Completion) {
        if !self.pread.home.is_here() {
            return;
        }
        let rings = lock(&self.pread.alarm.state).rings;
        if until.finished() {
            return;
        }
        if self.pread.perform_one() {
            self.pread.ring_event();
            return;
        }
        if until.register(&self.waker) {
            self.pread.alarm.sleep(rings);
        }
    }

    fn quiesce(&self) {
        while self.pread.perform_one() {}
        while self.pread.home.is_here() && self.pread.performing.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
    }

    fn interrupt(&self) {
        if !self.pread.home.is_here() {
            return;
        }
        let mut state = lock(&self.pread.alarm.state);
        state.interrupted = true;
        state.rings += 1;
        self.pread.alarm.rung.notify_all();
    }

    fn check_process(&self) -> Result<()> {
        if self.pread.home.is_here() { Ok(()) } else { Err(Error::Forked) }
    }

    fn in_flight(&self) -> usize {
        lock(&self.pread.queue).len() + self.pread.performing.load(Ordering::SeqCst)
    }

    fn event_fd(&self) -> Option<RawFd> {
        self.pread.event_wanted.store(true, Ordering::SeqCst);
        // What was queued before is news.
        self.pread.ring_event();
        Some(self.pread.event.as_raw_fd())
    }

    fn useful_threads(&self) -> usize {
        USEFUL_THREADS
    }

    fn name(&self) -> &'static str {
        "pread"
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
