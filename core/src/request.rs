//! A completion in the hands of those who ask for it and of those who end it.

use smallvec::SmallVec;

use crate::completion::Payload;
use crate::sync::{Arc, Weak};
use crate::{
    Buffers, Canceller, Completion, CompletionKind, Error, File, SharedBuffers, WeakCompletion,
};

/// What an operation that made a [`Completion`] does with it, and what a driver does.
///
/// A trait, so that who is only to wait for something that others wait for, too, as the callers of
/// a database, can neither end it nor take what it carries.
pub trait Request {
    /// Takes the buffers of a read that is over and had no sink.
    fn take_buffers(&self) -> Buffers;

    /// The file that a successful [`crate::IO::open`] opened.
    fn take_file(&self) -> Option<Arc<dyn File>>;

    /// Asks for an early end. Only a request: the operation is over when it is *finished*, and it
    /// may succeed. A group passes the request to its children; a signal ends at once.
    fn cancel(&self);

    /// Notes who can be asked to finish it early. `false` if that was asked for already.
    fn accept(&self, canceller: Weak<dyn Canceller>) -> bool;

    /// Takes the buffers of a write out, for as long as it is in flight.
    fn take_shared_buffers(&self) -> SharedBuffers;

    /// Ends it well, after `len` bytes. `false` if it was over already.
    fn succeed(&self, len: usize) -> bool;

    /// Ends a read well, after `len` bytes, and hands its buffers over.
    fn succeed_read(&self, len: usize, buffers: Buffers) -> bool;

    /// Ends a read badly, and hands its buffers back.
    fn fail_read(&self, error: Error, buffers: Buffers) -> bool;

    /// Ends [`crate::IO::open`] well.
    fn succeed_open(&self, file: Arc<dyn File>) -> bool;

    /// Ends it badly. `false` if it was over already.
    fn fail(&self, error: impl Into<Error>) -> bool;
}

impl Request for Completion {
    fn take_buffers(&self) -> Buffers {
        match self.take_payload(|payload| matches!(payload, Payload::Reading(_))) {
            Payload::Reading(buffers) => buffers,
            _ => Buffers::new(),
        }
    }

    fn take_file(&self) -> Option<Arc<dyn File>> {
        match self.take_payload(|payload| matches!(payload, Payload::File(_))) {
            Payload::File(file) => Some(file),
            _ => None,
        }
    }

    fn cancel(&self) {
        if self.is_explicit_yield() || self.finished() {
            return;
        }
        let mut record = self.slot().record();
        record.cancel_requested = true;
        let canceller = record.canceller.clone();
        let children: SmallVec<[WeakCompletion; 4]> = record.group.children.clone();
        let is_signal = record.kind == Some(CompletionKind::Signal);
        drop(record);
        for child in children {
            if let Some(child) = child.upgrade() {
                child.cancel();
            }
        }
        if is_signal {
            self.fail(Error::Cancelled);
        } else if let Some(canceller) = canceller.and_then(|weak| weak.upgrade()) {
            canceller.cancel(self);
        }
    }

    fn accept(&self, canceller: Weak<dyn Canceller>) -> bool {
        let mut record = self.slot().record();
        record.canceller = Some(canceller);
        !record.cancel_requested
    }

    fn take_shared_buffers(&self) -> SharedBuffers {
        match self.take_payload(|payload| matches!(payload, Payload::Writing(_))) {
            Payload::Writing(buffers) => buffers,
            _ => SharedBuffers::new(),
        }
    }

    fn succeed(&self, len: usize) -> bool {
        self.finish(Ok(len), Payload::None)
    }

    fn succeed_read(&self, len: usize, buffers: Buffers) -> bool {
        self.finish(Ok(len), Payload::Reading(buffers))
    }

    fn fail_read(&self, error: Error, buffers: Buffers) -> bool {
        self.finish(Err(error), Payload::Reading(buffers))
    }

    fn succeed_open(&self, file: Arc<dyn File>) -> bool {
        self.finish(Ok(0), Payload::File(file))
    }

    fn fail(&self, error: impl Into<Error>) -> bool {
        self.finish(Err(error.into()), Payload::None)
    }
}

impl Completion {
    /// Takes what it carries, if it is of the kind that is wanted; otherwise that stays.
    fn take_payload(&self, is_wanted: impl FnOnce(&Payload) -> bool) -> Payload {
        let mut record = self.slot().record();
        match is_wanted(&record.payload) {
            true => std::mem::take(&mut record.payload),
            false => Payload::None,
        }
    }
}
