//! A computer: a disk, requests in flight, a virtual clock, and faults.
//!
//! ```text
//!   submitted -> in flight -- its virtual time has come --> attempt -- all of it --> finished
//!                   ^                                          |
//!                   `------------ only a part, interrupted ----'
//! ```
//!
//! Whoever polls finishes one attempt, the next in virtual time. Between two polls the computer may
//! [crash](Computer::crash_power), as often as one likes: a crash makes a disk for the next
//! computer and leaves this one as it is. Bytes move when an attempt ends, not when it is
//! submitted; until then a read's buffers hold junk, and a write's must not change.

mod crash;
mod faults;
mod file;
mod request;
mod trace;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use yieldb_core::{Clock, Completion, Driver, IO, OpenOptions};
use yieldb_io_backends::Backend;
use yieldb_io_backends::transfer::Transfer;

use faults::Faults;
pub use faults::{Counts, FaultKind, FaultRates, KINDS};
use file::{LockTable, no_bytes};
use request::{Request, Work};
use trace::{Trace, hash_bytes};

use crate::disk::Disk;
use crate::random::Random;

/// So often may somebody wait for what nobody will finish before that is a hang.
const MAX_IDLE_WAITS: u32 = 100_000;

/// When requests finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// In the order of their submission, each after 10 virtual microseconds.
    Ordered,
    /// In any order: each after up to `max` virtual nanoseconds, and now and then one much later.
    Random {
        /// The usual most; at least 1.
        max: u64,
    },
}

/// What a computer is like.
#[derive(Clone, Copy, Debug)]
pub struct ComputerSettings {
    /// Decides everything that is a matter of chance.
    pub seed: u64,
    /// When requests finish.
    pub latency: Latency,
    /// What goes wrong.
    pub faults: FaultRates,
}

impl Default for ComputerSettings {
    /// Nothing goes wrong, and everything finishes in order.
    fn default() -> Self {
        ComputerSettings { seed: 0, latency: Latency::Ordered, faults: FaultRates::none() }
    }
}

/// A computer that runs. Clones are handles on the same one.
#[derive(Clone)]
pub struct Computer {
    shared: Arc<Shared>,
}

/// What all handles share.
pub(crate) struct Shared {
    /// Never held while a completion is finished or a buffer given back.
    state: Mutex<State>,
    locks: Arc<LockTable>,
}

pub(crate) struct State {
    disk: Disk,
    queue: Vec<Request>,
    /// Virtual nanoseconds since the start.
    now: u64,
    latency: Latency,
    timing: Random,
    /// What the engine gets when it asks for random bytes.
    random: Random,
    faults: Faults,
    trace: Trace,
    submitted: u64,
    is_halted: bool,
    idle_waits: u32,
    mark: Mark,
    misplaced: Vec<(Arc<Path>, Mark)>,
}

/// How far things were when something happened: the newest version that somebody was told is
/// durable, and the last that was submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// What no crash may take.
    pub durable: u64,
    /// What was submitted.
    pub submitted: u64,
}

impl Computer {
    /// Starts a computer with this disk.
    pub fn start(disk: Disk, settings: ComputerSettings) -> Computer {
        let mut random = Random::new(settings.seed);
        let state = State {
            disk,
            queue: Vec::new(),
            now: 0,
            latency: settings.latency,
            timing: random.fork(),
            faults: Faults::new(settings.faults, random.fork()),
            random,
            trace: Trace::default(),
            submitted: 0,
            is_halted: false,
            idle_waits: 0,
            mark: Mark::default(),
            misplaced: Vec::new(),
        };
        Computer { shared: Arc::new(Shared { state: Mutex::new(state), locks: Arc::default() }) }
    }

    /// What the engine is opened with.
    pub fn backend(&self) -> Backend {
        let why = String::new();
        Backend {
            io: self.shared.clone(),
            driver: Arc::new(Turner(self.clone())),
            engines: Arc::default(),
            name: "simulated",
            why,
        }
    }

    /// Ends the next attempt, if anything is in flight; returns how many it ended.
    pub fn poll(&self) -> usize {
        // Declared before the lock, so that also a panic drops it when nothing is locked.
        let mut request;
        let mut state = lock(&self.shared.state);
        match state.take_next() {
            Some(next) => request = next,
            None => return 0,
        }
        match state.attempt(&mut request, &self.shared.locks) {
            None => state.go_on(request),
            Some(result) => {
                state.faults.finished += 1;
                state.trace_end(&request, &result);
                drop(state);
                request.end(result, &self.shared);
            }
        }
        1
    }

    /// The disk as it is, without anything of what is in flight.
    pub fn disk(&self) -> Disk {
        lock(&self.shared.state).disk.clone()
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> usize {
        lock(&self.shared.state).queue.len()
    }

    /// How many requests have finished.
    pub fn finished(&self) -> u64 {
        lock(&self.shared.state).faults.finished
    }

    /// The virtual time since the start.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(lock(&self.shared.state).now)
    }

    /// A number that stands for all that was submitted and finished, and for all notes, in order.
    pub fn trace_hash(&self) -> u64 {
        lock(&self.shared.state).trace.hash()
    }

    /// Takes something of the caller's into the trace.
    pub fn note(&self, number: u64) {
        lock(&self.shared.state).trace.mix(&[number]);
    }

    /// How many faults of each kind have fired.
    pub fn faults(&self) -> Counts {
        lock(&self.shared.state).faults.counts
    }

    /// Has anything happened that the engine may tell as damage? See [`FaultKind::is_damage`].
    pub fn damage_fired(&self) -> bool {
        lock(&self.shared.state).faults.damage_fired()
    }

    /// Says how far things are.
    pub fn set_mark(&self, mark: Mark) {
        lock(&self.shared.state).mark = mark;
    }

    /// How far things were when a write to the file at `path` was lost, or landed elsewhere in it.
    pub fn misplaced(&self, path: &str) -> Option<Mark> {
        let state = lock(&self.shared.state);
        state.misplaced.iter().find(|(at, _)| **at == *Path::new(path)).map(|(_, mark)| *mark)
    }

    /// Lets other things go wrong from now on. What lasts, lasts.
    pub fn set_faults(&self, rates: FaultRates) {
        lock(&self.shared.state).faults.set_rates(rates);
    }

    /// There is room again, after [`FaultKind::NoSpaceLasting`].
    pub fn make_room(&self) {
        lock(&self.shared.state).faults.is_full = false;
    }

    /// From now on nothing reaches the disk: what is in flight, and all that is submitted, fails
    /// with [`yieldb_core::Error::Abandoned`] at once. For the engine that a crash left behind.
    pub fn halt(&self) {
        let mut state = lock(&self.shared.state);
        state.is_halted = true;
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        queue.into_iter().for_each(Request::abandon);
    }

    /// Keeps a line for each event from now on, or no longer.
    pub fn set_log(&self, is_kept: bool) {
        lock(&self.shared.state).trace.log = is_kept.then(Vec::new);
    }

    /// The lines kept so far, which are then forgotten.
    pub fn take_log(&self) -> Vec<String> {
        lock(&self.shared.state).trace.log.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Shared {
    /// Takes a request.
    fn submit(&self, work: Work, transfer: Transfer, completion: Completion) {
        let mut state = lock(&self.state);
        let number = state.submitted;
        let mut request = Request { at: 0, tie: number, number, work, transfer, completion };
        if state.is_halted {
            drop(state);
            request.abandon();
            return;
        }
        state.submitted += 1;
        state.idle_waits = 0;
        (request.at, request.tie) = state.time(number);
        let [kind, offset, file, more] = request.work.numbers();
        let (len, now) = (transfer.len() as u64, state.now);
        state.trace.mix(&[kind, offset, file, more, len, now]);
        state.trace.log(|| format!("#{number} {} submitted", in_words(&request)));
        state.queue.push(request);
    }

    fn sequence(&self) -> u64 {
        lock(&self.state).disk.sequence()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.queue).into_iter().for_each(Request::abandon);
    }
}

impl State {
    /// When an attempt that is submitted now ends, and its place among those that end then.
    fn time(&mut self, number: u64) -> (u64, u64) {
        match self.latency {
            Latency::Ordered => (self.now + 10_000, number),
            Latency::Random { max } => {
                let usual = 1 + self.timing.below(max.max(1));
                let factor = if self.timing.one_in(64) { 50 } else { 1 };
                (self.now + usual * factor, self.timing.next())
            }
        }
    }

    /// Takes the next request out, and lets its time come.
    fn take_next(&mut self) -> Option<Request> {
        let keys = self.queue.iter().map(|request| (request.at, request.tie)).enumerate();
        let (index, _) = keys.min_by_key(|(_, key)| *key)?;
        let request = self.queue.swap_remove(index);
        self.now = self.now.max(request.at);
        Some(request)
    }

    /// Puts back a request of which there is more to be done.
    fn go_on(&mut self, mut request: Request) {
        let (number, done, now) = (request.number, request.transfer.done(), self.now);
        self.trace.mix(&[u64::MAX, number, done as u64, now]);
        let why = self.faults.last;
        self.trace.log(|| format!("#{number} goes on after {done} bytes{}", because(why)));
        if let Latency::Random { .. } = self.latency {
            (request.at, request.tie) = self.time(number);
        }
        self.queue.push(request);
    }

    fn trace_end(&mut self, request: &Request, result: &Result<usize, yieldb_core::IoError>) {
        let code = match result {
            Ok(len) => *len as u64,
            Err(error) => u64::from(error.errno.unsigned_abs()) << 32,
        };
        let bytes = match &request.work {
            Work::Read { buffers, .. } if result.is_ok() => {
                buffers.iter().fold(0, |hash, buffer| hash_bytes(buffer) ^ hash << 1)
            }
            _ => 0,
        };
        self.trace.mix(&[request.number, code, bytes, self.now]);
        let why = self.faults.last;
        self.trace.log(|| {
            let end = match result {
                Ok(len) => format!("{len}"),
                Err(error) => error.to_string(),
            };
            format!("#{} {}: {end}{}", request.number, in_words(request), because(why))
        });
    }
}

/// What a request asks for.
fn in_words(request: &Request) -> String {
    let (work, len) = (&request.work, request.transfer.len());
    let path = work.path().display();
    let page = |offset: u64| match (offset / 4096, offset % 4096) {
        (page, 0) => format!("page {page}"),
        (page, byte) => format!("byte {byte} of page {page}"),
    };
    match work {
        Work::Read { offset, .. } => format!("read {len} bytes at {} of {path}", page(*offset)),
        Work::Write { offset, durable, .. } => {
            let how = if *durable { "durable write" } else { "write" };
            format!("{how} of {len} bytes at {} of {path}", page(*offset))
        }
        Work::Allocate { offset, len, .. } => {
            format!("allocation of {len} bytes at {} of {path}", page(*offset))
        }
        Work::Truncate { len, .. } => format!("truncation of {path} to {len} bytes"),
        Work::Rename { to, .. } => format!("rename of {path} to {}", to.display()),
        Work::Open { .. }
        | Work::Remove { .. }
        | Work::Sync { .. }
        | Work::SyncDirectory { .. } => {
            format!("{} of {path}", work.operation())
        }
    }
}

/// The fault that was the cause.
fn because(fault: Option<FaultKind>) -> String {
    fault.map(|kind| format!(" ({kind})")).unwrap_or_default()
}

impl Clock for Shared {
    fn now(&self) -> Duration {
        Duration::from_nanos(lock(&self.state).now)
    }
}

impl IO for Shared {
    fn open(&self, path: &Path, options: OpenOptions, completion: Completion) {
        let work = Work::Open { path: path.into(), options, opened: None };
        self.submit(work, no_bytes(), completion);
    }

    fn remove(&self, path: &Path, completion: Completion) {
        self.submit(Work::Remove { path: path.into() }, no_bytes(), completion);
    }

    fn rename(&self, from: &Path, to: &Path, completion: Completion) {
        let work = Work::Rename { from: from.into(), to: to.into() };
        self.submit(work, no_bytes(), completion);
    }

    fn sync_directory(&self, directory: &Path, completion: Completion) {
        let before = self.sequence();
        let work = Work::SyncDirectory { path: directory.into(), before };
        self.submit(work, no_bytes(), completion);
    }

    fn random(&self, bytes: &mut [u8]) {
        let mut state = lock(&self.state);
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&state.random.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The side of the back-end that is turned.
struct Turner(Computer);

impl Driver for Turner {
    fn poll(&self) -> usize {
        self.0.poll()
    }

    fn submit(&self) {}

    fn wait(&self, until: &Completion) {
        while !until.finished() && self.0.poll() > 0 {}
        if !until.finished() {
            let mut state = lock(&self.0.shared.state);
            state.idle_waits += 1;
            let waits = state.idle_waits;
            drop(state);
            assert!(waits < MAX_IDLE_WAITS, "a wait for {until:?}, which nobody will finish");
        }
    }

    fn quiesce(&self) {
        while self.0.poll() > 0 {}
    }

    fn interrupt(&self) {}

    fn check_process(&self) -> yieldb_core::Result<()> {
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    fn event_fd(&self) -> Option<std::os::fd::RawFd> {
        None
    }

    fn useful_threads(&self) -> usize {
        1
    }

    fn name(&self) -> &'static str {
        "simulated"
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yieldb_core::{BufferPool, Create};
    use yieldb_io_backends::transfer::TransferKind;

    #[test]
    #[should_panic(expected = "a buffer was changed while it was being written")]
    fn a_buffer_that_changes_while_it_is_written_is_noticed() {
        let computer = Computer::start(Disk::new(), ComputerSettings::default());
        let options = OpenOptions { write: true, create: Create::New, direct: true };
        let path: Arc<Path> = Path::new("file").into();
        let file = lock(&computer.shared.state).disk.create(&path);
        let handle = file::Handle::new(path, file, options, computer.shared.locks.clone());
        let buffer = BufferPool::new(1, 4096).unwrap().take().unwrap();
        let buffers = [buffer.share()].into_iter().collect();
        // As if another byte had been there at the submission.
        let hash = request::hash_buffers(&buffers) ^ 1;
        let handle = Arc::new(handle);
        let work = Work::Write { handle, offset: 0, durable: false, buffers, hash };
        let completion = Completion::write(Default::default());
        let transfer = Transfer::new(TransferKind::Write, 4096, true);
        computer.shared.submit(work, transfer, completion);
        computer.poll();
    }
}
