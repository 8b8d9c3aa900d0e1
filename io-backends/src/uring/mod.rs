//! The io_uring back-end: one ring, any number of threads.
//!
//! Requests go into a list under a short mutex, and from there through the submission queue to the
//! kernel together, by whoever drives. One who waits for a read that is still in the list performs
//! it himself. Completions are taken out under another mutex, and finished where no lock is held,
//! so that sinks and wakers may submit. See `lead` for who waits, and `in_flight` for what the
//! kernel works on.
#![allow(unsafe_code)]

mod handle;
mod in_flight;
#[cfg(not(feature = "shuttle"))]
mod lead;
#[cfg(feature = "shuttle")]
pub mod lead;
mod probe;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{IoUring, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};
use smallvec::SmallVec;
use yieldb_core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use yieldb_core::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use yieldb_core::{Canceller, Completion, ForkMark, MonotonicClock, Request};

use crate::Backend;
use crate::transfer::RawHook;
use handle::{Handle, UringFile};
use in_flight::{InFlight, Iovec, Next, Over, Read};
use lead::{Kernel, Lead};

/// The token of the poll on the wake event.
const WAKE: u64 = u64::MAX;
/// The token of requests to cancel others; their own results mean nothing.
const CANCEL: u64 = u64::MAX - 1;

/// How many completions are taken out of the queue at a time by whoever waits. Their successors are
/// submitted before the next ones are looked at: a device that is given its requests in large
/// groups has little to do in between.
const REAP_BATCH: usize = 8;

/// The io_uring back-end. `why` is what a user is told when he asks for the reason.
///
/// # Errors
///
/// Why there is no ring: `EPERM` where a container forbids it, `ENOSYS` or `EOPNOTSUPP` on an old
/// kernel, `EMFILE` when there are no more descriptors.
pub fn uring(why: impl Into<String>) -> io::Result<Backend> {
    with_hook(why, None)
}

/// The same, with a hook on the results of each request.
///
/// # Errors
///
/// As [`uring`].
pub fn with_hook(why: impl Into<String>, hook: Option<Arc<dyn RawHook>>) -> io::Result<Backend> {
    let (uring, truncates) = probe::ring()?;
    let (wake_event, event) = (new_event()?, new_event()?);
    let ring = Arc::new_cyclic(|own| Ring {
        own: own.clone(),
        home: ForkMark::new(),
        uring,
        truncates,
        queue: Mutex::default(),
        reap: Mutex::new(()),
        in_flight: AtomicUsize::new(0),
        is_crowded: AtomicBool::new(false),
        lead: Lead::default(),
        wake_event,
        is_kicked: AtomicBool::new(false),
        event,
        event_wanted: AtomicBool::new(false),
        hook,
        clock: MonotonicClock::default(),
    });
    ring.arm_wake_event(&mut ring.queue());
    let handle = Arc::new(Handle(ring));
    let (engines, why) = (Arc::default(), why.into());
    Ok(Backend { io: handle.clone(), driver: handle, engines, name: "uring", why })
}

fn new_event() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)
}

/// The ring, and the requests in it.
struct Ring {
    own: Weak<Ring>,
    /// The process that the ring belongs to. A fork shares its memory, and must not touch it.
    home: ForkMark,
    uring: IoUring,
    /// Does the kernel truncate when asked through the ring?
    truncates: bool,
    /// Guards the submission queue as well.
    queue: Mutex<Queue>,
    /// Guards the completion queue.
    reap: Mutex<()>,
    in_flight: AtomicUsize,
    /// May so many have been in flight that the completion queue had no room for all?
    is_crowded: AtomicBool,
    lead: Lead,
    /// Written to get the lead out of the kernel. Readable until the lead has left it.
    wake_event: OwnedFd,
    /// Was the wake event written since it was read? Set behind the writing, so that a reading
    /// which comes between leaves it to the next one.
    is_kicked: AtomicBool,
    /// Readable when there is something to reap or to submit, for loops of the user's own.
    event: OwnedFd,
    event_wanted: AtomicBool,
    hook: Option<Arc<dyn RawHook>>,
    clock: MonotonicClock,
}

#[derive(Default)]
struct Queue {
    /// A request's token is its index.
    requests: Vec<Option<InFlight>>,
    /// The pieces of memory that each request is about; used again by the next with its token.
    iovecs: Vec<Vec<Iovec>>,
    free: Vec<u32>,
    /// Entries on their way into the submission queue. Whoever waits for a read may take it out
    /// again.
    backlog: VecDeque<squeue::Entry>,
}

impl Queue {
    /// Takes out the read that `until` is the end of, which stays in its place until it has a
    /// result; `None` if there is no such read that can be performed at one go, or the kernel has
    /// it.
    fn take_read(&mut self, until: &Completion) -> Option<(u64, Read)> {
        let is_wanted = |entry: &squeue::Entry| {
            let request = self.requests.get(entry.get_user_data() as usize);
            request.is_some_and(|request| {
                request.as_ref().is_some_and(|request| request.completion.id() == until.id())
            })
        };
        // It is the last one, unless others have been submitted since.
        let place = self.backlog.iter().rposition(is_wanted)?;
        let token = self.backlog[place].get_user_data();
        let read = self.requests[token as usize].as_mut()?.as_read()?;
        self.backlog.remove(place);
        Some((token, read))
    }
}

impl Ring {
    fn submit_request(self: &Arc<Self>, mut request: InFlight) {
        if !self.home.is_here() {
            return request.refuse();
        }
        let canceller: Weak<Ring> = Arc::downgrade(self);
        request.cancelled = !request.completion.accept(canceller);
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        self.note_crowd();
        let mut queue = self.queue();
        let token = queue.free.pop().unwrap_or_else(|| {
            queue.requests.push(None);
            queue.iovecs.push(Vec::new());
            queue.requests.len() as u32 - 1
        });
        self.enqueue(&mut queue, token, request);
        drop(queue);
        self.ring_event();
    }

    /// Puts a request into the submission queue, or behind it.
    fn enqueue(&self, queue: &mut Queue, token: u32, mut request: InFlight) {
        let iovecs = &mut queue.iovecs[token as usize];
        let entry = request.entry(iovecs).user_data(u64::from(token));
        queue.requests[token as usize] = Some(request);
        queue.backlog.push_back(entry);
    }

    /// Hands to the kernel what is queued.
    fn submit(&self) {
        if !self.home.is_here() {
            return;
        }
        let mut queue = self.queue();
        loop {
            // SAFETY: the submission queue is touched only with the queue's mutex held.
            let mut submission = unsafe { self.uring.submission_shared() };
            while let Some(entry) = queue.backlog.pop_front() {
                // SAFETY: what the entry points to is owned by the request with its token, or is
                // beside it in `iovecs`. They stay there until the kernel's last completion for it;
                // a poll points to nothing.
                if unsafe { submission.push(&entry) }.is_err() {
                    queue.backlog.push_front(entry);
                    break;
                }
            }
            submission.sync();
            if submission.is_empty() {
                return;
            }
            drop(submission);
            match self.uring.submit() {
                Ok(_) if queue.backlog.is_empty() => return,
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                // The completion queue is full, or the kernel is short of memory for now: what is
                // queued stays queued, and goes out when somebody has reaped.
                Err(_) => return,
            }
        }
    }

    /// Performs the read that this thread is going to wait for, if it has not been handed to the
    /// kernel: nobody has to reap it then, and to wake this thread. Whoever else waits drives
    /// himself meanwhile.
    fn read_own(&self, until: &Completion) -> bool {
        let mut queue = self.queue();
        let Some((token, read)) = queue.take_read(until) else { return false };
        drop(queue);
        self.submit();
        self.take_results(&[(token, read.perform())]);
        self.ring_event();
        true
    }

    fn take_results(&self, results: &[(u64, i32)]) -> usize {
        let mut over: SmallVec<[Over; REAP_BATCH]> = SmallVec::new();
        let mut truncated = Vec::new();
        let mut again = false;
        let mut queue = self.queue();
        for (token, result) in results.iter().copied() {
            if token == CANCEL {
                continue;
            }
            if token == WAKE {
                self.lead.forget_stray_kicks(self);
                // If the lead has not left yet, the event is readable, and ends its wait again.
                self.arm_wake_event(&mut queue);
                again = true;
                continue;
            }
            let request = queue.requests[token as usize].take();
            let request = request.expect("the kernel completes what was submitted, once");
            let result = match &self.hook {
                None => result,
                Some(hook) => {
                    let (operation, offset, len) = request.describe();
                    hook.raw(operation, offset, len, result)
                }
            };
            match request.after(result) {
                Next::Again(request) => {
                    self.enqueue(&mut queue, token as u32, request);
                    again = true;
                }
                Next::Over(end) => {
                    queue.free.push(token as u32);
                    over.push(end);
                }
                Next::Truncate(request) => {
                    queue.free.push(token as u32);
                    truncated.push(request);
                }
            }
        }
        drop(queue);
        if again {
            self.submit();
        }
        over.extend(truncated.into_iter().map(InFlight::truncate));
        let finished = over.len();
        // Not moved out of where they are: there is room for many.
        for end in over.drain(..) {
            end.finish(|file| {
                let ring = self.own.upgrade()?;
                Some(Arc::new(UringFile { ring, file }))
            });
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
        }
        if finished > 0 {
            // What a sink asked for is nobody's to send out otherwise: this thread may have what it
            // waited for, and the next one that waits goes straight to the kernel.
            self.submit();
        }
        finished
    }

    /// Asks the kernel to tell when the wake event is written.
    fn arm_wake_event(&self, queue: &mut Queue) {
        let fd = types::Fd(self.wake_event.as_raw_fd());
        let poll = opcode::PollAdd::new(fd, libc::POLLIN as u32).build().user_data(WAKE);
        queue.backlog.push_back(poll);
    }

    /// Makes the user's event readable, if he has asked for it.
    fn ring_event(&self) {
        if self.event_wanted.load(Ordering::Relaxed) {
            let _written = rustix::io::write(&self.event, &1_u64.to_ne_bytes()).is_ok();
        }
    }

    fn quiesce(&self) {
        while self.home.is_here() && self.in_flight.load(Ordering::SeqCst) > 0 {
            self.submit();
            if self.reap() == 0 && self.in_flight.load(Ordering::SeqCst) > 0 {
                self.kick();
                self.wait_in_kernel();
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of the completion queue is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// A group, so that what waits for it can go on.
    Group,
    /// All that there is.
    All,
}

/// What a look at the completion queue came to.
#[derive(Default)]
struct Reaped {
    /// How many requests are over.
    finished: usize,
    /// Is another thread at it? It need not have seen what came last.
    is_contended: bool,
}

impl Ring {
    /// Finishes what the kernel is done with. A group is enough only where somebody comes back for
    /// what is left.
    fn take_completed(&self, extent: Extent) -> Reaped {
        let mut reaped = Reaped::default();
        if !self.home.is_here() {
            return reaped;
        }
        loop {
            let mut results: SmallVec<[(u64, i32); REAP_BATCH]> = SmallVec::new();
            {
                let _guard = match self.reap.try_lock() {
                    Ok(guard) => guard,
                    Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                    Err(TryLockError::WouldBlock) => {
                        reaped.is_contended = true;
                        return reaped;
                    }
                };
                // SAFETY: the completion queue is touched only with the reap mutex held.
                let mut completions = unsafe { self.uring.completion_shared() };
                completions.sync();
                let taken = completions.by_ref().take(REAP_BATCH);
                results.extend(taken.map(|entry| (entry.user_data(), entry.result())));
            }
            if results.is_empty() && self.fetch_overflow() {
                continue;
            }
            let is_news = results.iter().any(|(token, _)| *token != WAKE);
            reaped.finished += self.take_results(&results);
            // Whoever has the event is told of what comes, and not of what is left.
            let is_left = extent == Extent::Group && !self.event_wanted.load(Ordering::SeqCst);
            if !is_news || (is_left && reaped.finished > 0) {
                return reaped;
            }
        }
    }

    /// Has the kernel put into the queue what did not fit it before, if there is anything: it does
    /// not do that by itself. `true` if there was.
    fn fetch_overflow(&self) -> bool {
        if !self.is_crowded.swap(false, Ordering::SeqCst) {
            return false;
        }
        // There may be more behind that, or it is still to come.
        self.note_crowd();
        let _queue = self.queue();
        // SAFETY: the submission queue is touched only with the queue's mutex held.
        let is_there = unsafe { self.uring.submission_shared() }.cq_overflow();
        if is_there {
            self.is_crowded.store(true, Ordering::SeqCst);
            self.enter_for(0);
        }
        is_there
    }

    /// Notes whether the completion queue might have no room for what is in flight. Others than
    /// requests have completions, too: half of the room is theirs.
    fn note_crowd(&self) {
        let room = self.uring.params().cq_entries() as usize;
        if self.in_flight.load(Ordering::SeqCst) > room / 2 {
            self.is_crowded.store(true, Ordering::SeqCst);
        }
    }

    /// Has the kernel bring completions, and waits for so many.
    fn enter_for(&self, count: u32) {
        let submitter = self.uring.submitter();
        let get_events = 1; // IORING_ENTER_GETEVENTS
        // SAFETY: nothing is submitted by this call and no signal mask is given; it only waits.
        let result = unsafe { submitter.enter::<libc::sigset_t>(0, count, get_events, None) };
        // An interruption is as good as a completion: the caller looks again.
        drop(result);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel may still be writing into buffers that the requests own. Nobody else leads.
        self.forget_kicks();
        while self.home.is_here() && self.in_flight.load(Ordering::SeqCst) > 0 {
            self.submit();
            if self.reap() == 0 && self.in_flight.load(Ordering::SeqCst) > 0 {
                self.wait_in_kernel();
            }
        }
    }
}

impl Kernel for Ring {
    /// Finishes some of what the kernel is done with. Returns how many requests that were: 0 when
    /// there are no more, or another thread is at it. Whoever has the event did not take them, and
    /// may be waiting for one of them.
    fn reap(&self) -> usize {
        let Reaped { finished, .. } = self.take_completed(Extent::Group);
        if finished > 0 {
            self.ring_event();
        }
        finished
    }

    /// Waits in the kernel until there is a completion.
    fn wait_in_kernel(&self) {
        self.enter_for(1);
    }

    /// Gets the lead out of the kernel.
    fn kick(&self) {
        // A full counter wakes as well.
        let _written = rustix::io::write(&self.wake_event, &1_u64.to_ne_bytes()).is_ok();
        self.is_kicked.store(true, Ordering::SeqCst);
    }

    fn forget_kicks(&self) {
        if self.is_kicked.swap(false, Ordering::SeqCst) {
            let mut counter = [0; 8];
            // Several are read as one.
            let _read = rustix::io::read(&self.wake_event, &mut counter).is_ok();
        }
    }
}

impl Canceller for Ring {
    fn cancel(&self, completion: &Completion) {
        if !self.home.is_here() {
            return;
        }
        let mut queue = self.queue();
        let token = queue.requests.iter_mut().position(|request| {
            let found =
                request.as_mut().filter(|request| request.completion.id() == completion.id());
            found.map(|request| request.cancelled = true).is_some()
        });
        if let Some(token) = token {
            let cancel = opcode::AsyncCancel::new(token as u64).build().user_data(CANCEL);
            queue.backlog.push_back(cancel);
            drop(queue);
            // It has a completion of its own.
            self.is_crowded.store(true, Ordering::SeqCst);
            self.submit();
        }
    }
}
