//! A handle on something that will be over one day.
//!
//! ```text
//!                        submitted to a driver, or held by the engine
//!   read, write, ..      +---------+   finish   +-----------+  sink done  +---------------------+
//!   signal, group  ----> | pending | ---------> | finishing | ----------> | succeeded or failed |
//!                        +---------+            +-----------+             +---------------------+
//!   yield: neither pending nor finished, ever.
//! ```
//!
//! Finishing happens once: the first to leave *pending* stores the result, lets the [`Sink`] look
//! at it, then publishes the phase, tells the groups it belongs to, runs the callback and wakes.
//! Nothing of that runs under a lock.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;

use crate::slots::{SLOTS, Slot};
use crate::sync::atomic::{Ordering, fence};
use crate::sync::{Arc, Weak};
use crate::{Buffers, Error, File, Result, SharedBuffers, is_planted};

/// The phases of a slot.
mod phase {
    pub const PENDING: u8 = 0;
    pub const FINISHING: u8 = 1;
    pub const SUCCEEDED: u8 = 2;
    pub const FAILED: u8 = 3;
}

/// The index that no slot has: an explicit yield. Its generation says whether it was polled.
const YIELD: u32 = u32::MAX;

/// What a completion stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompletionKind {
    /// A read into the completion's buffers.
    Read,
    /// A write from the completion's buffers.
    Write,
    /// A sync of a file.
    Sync,
    /// A change of a file's length or allocation.
    Truncate,
    /// Opening a file.
    Open,
    /// A change to a directory, or making one durable.
    Directory,
    /// All of several completions.
    Group,
    /// The first of several completions.
    Any,
    /// Something that the engine itself announces: a turn, a free frame.
    Signal,
    /// Not an I/O at all: a request to be called again.
    Yield,
}

/// Looks at a result before anybody who waits for it can see it.
///
/// It runs when the I/O is reaped, once, whether or not anyone still waits: the place to install
/// what was read.
pub trait Sink: Send + Sync {
    /// Takes the result and the buffers of the read that was given `token`, and returns the result
    /// that all waiters get.
    ///
    /// # Errors
    ///
    /// Whatever the waiters are to be told instead of success.
    fn finished(&self, token: u64, result: Result<usize>, buffers: Buffers) -> Result<usize>;
}

/// Something that can be asked to finish an I/O early.
pub trait Canceller: Send + Sync {
    /// Asks for `completion` to be finished soon. It may succeed all the same.
    fn cancel(&self, completion: &Completion);
}

/// What is known of one completion.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) kind: Option<CompletionKind>,
    pub(crate) payload: Payload,
    len: usize,
    error: Option<Error>,
    pub(crate) cancel_requested: bool,
    sink: Option<(Arc<dyn Sink>, u64)>,
    callback: Option<Callback>,
    pub(crate) canceller: Option<Weak<dyn Canceller>>,
    wakers: SmallVec<[Waker; 2]>,
    /// The groups that wait for this one.
    parents: SmallVec<[Completion; 1]>,
    pub(crate) group: GroupRecord,
}

/// What a group knows of its children.
#[derive(Default)]
pub(crate) struct GroupRecord {
    /// Children that are not finished, and one for the builder while it builds.
    pub unfinished: usize,
    /// The first error of a child.
    pub error: Option<Error>,
    /// For [`crate::Request::cancel`]. Weak, so that a group and its children are no cycle.
    pub children: SmallVec<[WeakCompletion; 4]>,
}

pub(crate) type Callback = Box<dyn FnOnce(&Result<()>) + Send>;

/// What an I/O carries besides its result.
#[derive(Default)]
pub(crate) enum Payload {
    #[default]
    None,
    Reading(Buffers),
    Writing(SharedBuffers),
    File(Arc<dyn File>),
}

/// A handle on something that will be over one day: an I/O, a group of them, a signal.
///
/// Handles are cheap to clone, and all of them see the same end. The future of a completion is
/// ready when it is finished; it does not drive anything by itself.
///
/// Who has a handle can wait. To end what it stands for, early or at all, is for those who have
/// [`crate::Request`], too:
///
/// ```compile_fail
/// yieldb_core::Completion::signal().succeed(0);
/// ```
pub struct Completion {
    index: u32,
    generation: u32,
}

impl Completion {
    /// A read that fills `buffers` in order.
    pub fn read(buffers: Buffers) -> Completion {
        Self::new(CompletionKind::Read, Payload::Reading(buffers), None)
    }

    /// A read whose result and buffers go to `sink` together with `token`.
    pub fn read_into(buffers: Buffers, sink: Arc<dyn Sink>, token: u64) -> Completion {
        Self::new(CompletionKind::Read, Payload::Reading(buffers), Some((sink, token)))
    }

    /// A write of `buffers` in order.
    pub fn write(buffers: SharedBuffers) -> Completion {
        Self::new(CompletionKind::Write, Payload::Writing(buffers), None)
    }

    /// A write whose result goes to `sink` together with `token`. The buffers are dropped first.
    pub fn write_into(buffers: SharedBuffers, sink: Arc<dyn Sink>, token: u64) -> Completion {
        Self::new(CompletionKind::Write, Payload::Writing(buffers), Some((sink, token)))
    }

    /// A sync.
    pub fn sync() -> Completion {
        Self::new(CompletionKind::Sync, Payload::None, None)
    }

    /// A change of a file's length or allocation.
    pub fn truncate() -> Completion {
        Self::new(CompletionKind::Truncate, Payload::None, None)
    }

    /// Opening a file.
    pub fn open() -> Completion {
        Self::new(CompletionKind::Open, Payload::None, None)
    }

    /// A change to a directory.
    pub fn directory() -> Completion {
        Self::new(CompletionKind::Directory, Payload::None, None)
    }

    /// Something that the engine itself finishes, with [`crate::Request::succeed`] or
    /// [`crate::Request::fail`].
    pub fn signal() -> Completion {
        Self::new(CompletionKind::Signal, Payload::None, None)
    }

    /// A request to be called again. It allocates nothing, and is never taken for finished I/O.
    pub fn new_yield() -> Completion {
        Completion { index: YIELD, generation: 0 }
    }

    /// A group's own completion, with one unfinished child: the builder.
    pub(crate) fn group(kind: CompletionKind, callback: Option<Callback>) -> Completion {
        let completion = Self::new(kind, Payload::None, None);
        let mut record = completion.slot().record();
        record.callback = callback;
        record.group.unfinished = usize::from(!is_planted!(GroupWithoutBuilder));
        drop(record);
        completion
    }

    fn new(
        kind: CompletionKind,
        payload: Payload,
        sink: Option<(Arc<dyn Sink>, u64)>,
    ) -> Completion {
        let (index, slot) = SLOTS.take();
        let mut record = slot.record();
        record.kind = Some(kind);
        record.payload = payload;
        record.sink = sink;
        drop(record);
        slot.phase.store(phase::PENDING, Ordering::Release);
        Completion { index, generation: slot.generation.load(Ordering::Relaxed) }
    }

    pub(crate) fn slot(&self) -> &'static Slot {
        assert!(!self.is_explicit_yield(), "an explicit yield is not an I/O");
        SLOTS.slot(self.index)
    }

    // What an operation may ask.

    /// Is it over, well or badly? Never true of an explicit yield.
    pub fn finished(&self) -> bool {
        !self.is_explicit_yield() && self.slot().phase.load(Ordering::Acquire) >= phase::SUCCEEDED
    }

    /// Is it over, and well?
    pub fn succeeded(&self) -> bool {
        !self.is_explicit_yield() && self.slot().phase.load(Ordering::Acquire) == phase::SUCCEEDED
    }

    /// Is it over, and badly?
    pub fn failed(&self) -> bool {
        !self.is_explicit_yield() && self.slot().phase.load(Ordering::Acquire) == phase::FAILED
    }

    /// Why it failed; `None` while it is pending and after a success.
    pub fn get_error(&self) -> Option<Error> {
        if self.failed() { self.slot().record().error.clone() } else { None }
    }

    /// How it ended: the bytes transferred, or the error. `None` while it is pending.
    pub fn result(&self) -> Option<Result<usize>> {
        if !self.finished() {
            return None;
        }
        let record = self.slot().record();
        Some(match &record.error {
            Some(error) => Err(error.clone()),
            None => Ok(record.len),
        })
    }

    /// Is this only a request to be called again?
    pub fn is_explicit_yield(&self) -> bool {
        self.index == YIELD
    }

    /// What it stands for.
    pub fn kind(&self) -> CompletionKind {
        if self.is_explicit_yield() {
            return CompletionKind::Yield;
        }
        self.slot().record().kind.expect("every slot in use has a kind")
    }

    /// Has `waker` woken when this is finished. `false`, and nothing registered, if it already is.
    ///
    /// Several waiters may register; the same one twice counts once.
    pub fn register(&self, waker: &Waker) -> bool {
        let slot = self.slot();
        let mut record = slot.record();
        if slot.phase.load(Ordering::Acquire) >= phase::SUCCEEDED {
            return false;
        }
        if !record.wakers.iter().any(|known| known.will_wake(waker)) {
            record.wakers.push(waker.clone());
        }
        true
    }

    /// Takes back what [`Completion::register`] did.
    pub fn unregister(&self, waker: &Waker) {
        let mut record = self.slot().record();
        let known = record.wakers.iter().position(|known| known.will_wake(waker));
        let waker = known.map(|index| record.wakers.swap_remove(index));
        drop(record);
        // It may be the last of something that has a destructor of its own: under no lock.
        drop(waker);
    }

    /// A handle that does not keep the completion alive.
    pub fn downgrade(&self) -> WeakCompletion {
        WeakCompletion { index: self.index, generation: self.generation }
    }

    /// A number that no other pending completion has.
    pub fn id(&self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn finish(&self, result: Result<usize>, payload: Payload) -> bool {
        let slot = self.slot();
        let claim = slot.phase.compare_exchange(
            phase::PENDING,
            phase::FINISHING,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if claim.is_err() {
            return false;
        }
        let (result, payload) = self.sunk(result, payload);
        let mut record = slot.record();
        let before = std::mem::replace(&mut record.payload, payload);
        let wakers = std::mem::take(&mut record.wakers);
        let parents = std::mem::take(&mut record.parents);
        let callback = record.callback.take();
        record.canceller = None;
        let (end, verdict) = match result {
            Ok(len) => {
                record.len = len;
                (phase::SUCCEEDED, Ok(()))
            }
            Err(error) => {
                record.error = Some(error.clone());
                (phase::FAILED, Err(error))
            }
        };
        if is_planted!(WokenBeforeEnd) {
            drop(record);
            slot.phase.store(end, Ordering::Release);
        } else {
            slot.phase.store(end, Ordering::Release);
            drop(record);
        }
        drop(before);
        if let Some(callback) = callback {
            callback(&verdict);
        }
        for parent in parents {
            parent.child_finished(verdict.as_ref().err().cloned());
        }
        for waker in wakers {
            // One that panics, as that of a runtime that has ended, is told of by the panic's hook;
            // the others, and whoever drives, have nothing to do with it.
            let _woken = catch_unwind(AssertUnwindSafe(|| waker.wake())).is_ok();
        }
        true
    }

    /// Lets the sink, if there is one, turn the result into the one that waiters see.
    fn sunk(&self, result: Result<usize>, payload: Payload) -> (Result<usize>, Payload) {
        let mut record = self.slot().record();
        let Some((sink, token)) = record.sink.take() else { return (result, payload) };
        let own = std::mem::take(&mut record.payload);
        drop(record);
        let buffers = match (payload, own) {
            (Payload::Reading(buffers), _) | (_, Payload::Reading(buffers)) => buffers,
            (_, rest) => {
                drop(rest);
                Buffers::new()
            }
        };
        (sink.finished(token, result, buffers), Payload::None)
    }

    // What a group does with its children and with itself.

    /// Makes `parent` wait for this one. `Err` with this one's verdict if it is over already.
    pub(crate) fn attach(&self, parent: &Completion) -> std::result::Result<(), Option<Error>> {
        let slot = self.slot();
        let mut record = slot.record();
        if slot.phase.load(Ordering::Acquire) >= phase::SUCCEEDED {
            return Err(record.error.clone());
        }
        record.parents.push(parent.clone());
        Ok(())
    }

    /// A child of this group, or its builder, is done.
    pub(crate) fn child_finished(&self, error: Option<Error>) {
        let mut record = self.slot().record();
        let first_only = record.kind == Some(CompletionKind::Any);
        let group = &mut record.group;
        // Children that end after the first of an `Any` have nothing left to say.
        group.unfinished = group.unfinished.saturating_sub(1);
        if group.error.is_none() {
            group.error = error;
        }
        let over = group.unfinished == 0 || first_only;
        let verdict = group.error.clone();
        drop(record);
        if over {
            self.finish(verdict.map_or(Ok(0), Err), Payload::None);
        }
    }
}

impl Clone for Completion {
    fn clone(&self) -> Self {
        if !self.is_explicit_yield() {
            let before = self.slot().handles.fetch_add(1, Ordering::Relaxed);
            if before > u32::MAX / 2 {
                // As `Arc` does: handles that were forgotten must not wrap the count.
                std::process::abort();
            }
        }
        Completion { index: self.index, generation: self.generation }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if self.is_explicit_yield() {
            return;
        }
        let slot = self.slot();
        if slot.handles.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        if slot.phase.load(Ordering::Acquire) == phase::PENDING {
            // Nobody is left who could finish it. Whoever depends on it is told.
            // As in `Slots::take`, for those who come with a name that is worn out.
            slot.handles.store(1, Ordering::Release);
            let last = Completion { index: self.index, generation: self.generation };
            last.finish(Err(Error::Abandoned), Payload::None);
            return;
        }
        let record = std::mem::take(&mut *slot.record());
        SLOTS.give_back(self.index);
        drop(record);
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_explicit_yield() {
            return f.write_str("explicit yield");
        }
        let phase = match self.slot().phase.load(Ordering::Acquire) {
            phase::SUCCEEDED => "succeeded",
            phase::FAILED => "failed",
            _ => "pending",
        };
        write!(f, "{:?} {}.{} {phase}", self.kind(), self.index, self.generation)
    }
}

impl Future for Completion {
    type Output = Result<usize>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_explicit_yield() {
            if self.generation > 0 {
                return Poll::Ready(Ok(0));
            }
            self.generation = 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.register(context.waker()) {
            return Poll::Pending;
        }
        Poll::Ready(self.result().expect("a completion that takes no waker is finished"))
    }
}

/// A handle that does not keep its completion alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeakCompletion {
    index: u32,
    generation: u32,
}

impl WeakCompletion {
    /// The completion, if somebody still holds it.
    pub fn upgrade(self) -> Option<Completion> {
        if self.index == YIELD {
            return Some(Completion::new_yield());
        }
        let slot = SLOTS.slot(self.index);
        slot.handles
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |handles| {
                (handles > 0).then(|| handles + 1)
            })
            .ok()?;
        // The handle just taken keeps the generation from changing; if it is not ours, it is a
        // handle on somebody else's completion, and dropped as such.
        let generation = slot.generation.load(Ordering::Acquire);
        let completion = Completion { index: self.index, generation };
        (generation == self.generation).then_some(completion)
    }
}
