//! One operation, and the three ways to drive it.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use yieldb_core::{IOCompletions, IOResult, StateMachine, StateTransition};

use crate::driving::Driving;
use crate::{Error, Result};

/// An operation under way. It does nothing until it is driven, in one of three ways:
///
/// - [`Op::step`], in a loop of one's own: goes as far as it can without waiting;
/// - [`Op::wait`], on a thread: waits for the I/O, and does others' work meanwhile;
/// - `.await`, in any runtime.
///
/// An operation that finds all it needs in memory is over in its first step, in all three, and
/// allocates nothing. Dropping one at any time is safe: it leaves behind what its own documentation
/// says, and never a half-made change.
///
/// ```text
///   step ---> machine --- done ----------------------------------> output
///                '------- waits for I/O --- step again
///                                      '--- wait: drive, then step
///                                      '--- await: register, see that somebody drives; pending
/// ```
#[must_use = "an operation does nothing until it is driven: `.wait()`, `.await` or `.step()`"]
pub struct Op<'a, M: StateTransition> {
    machine: StateMachine<M>,
    context: Held<'a, M::Context>,
    driving: Held<'a, Driving>,
}

/// Something that an operation borrows from the database, or keeps alive itself.
pub(crate) enum Held<'a, T: ?Sized> {
    Borrowed(&'a T),
    Owned(Arc<T>),
}

impl<T: ?Sized> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Held::Borrowed(held) => held,
            Held::Owned(held) => held,
        }
    }
}

impl<'a, M: StateTransition<Error: Into<Error>>> Op<'a, M> {
    pub(crate) fn new(
        machine: StateMachine<M>,
        context: Held<'a, M::Context>,
        driving: Held<'a, Driving>,
    ) -> Op<'a, M> {
        Op { machine, context, driving }
    }

    /// The operation itself.
    pub(crate) fn machine(&self) -> &M {
        self.machine.machine()
    }

    /// Goes as far as it can without waiting.
    ///
    /// The result is the output, or the I/O after which to step again. I/O is submitted; it is
    /// finished when somebody drives: [`crate::Database::turn`], another operation's `wait`, or the
    /// driver's own thread where one was started. Stepping too early is harmless.
    ///
    /// # Errors
    ///
    /// The operation's. It is then over.
    ///
    /// # Panics
    ///
    /// If the operation is already over.
    pub fn step(&mut self) -> Result<IOResult<M::Output>> {
        self.turn_before_step();
        let result = self.machine.step(&self.context).map_err(M::Error::into)?;
        if !result.is_done() {
            self.driving.submit()?;
        }
        Ok(result)
    }

    /// Drives the operation to its end on this thread.
    ///
    /// # Errors
    ///
    /// The operation's.
    ///
    /// # Panics
    ///
    /// If the operation is already over.
    #[inline]
    pub fn wait(mut self) -> Result<M::Output> {
        self.driving.poll_in_passing();
        match self.machine.step(&self.context) {
            Ok(IOResult::Done(output)) => Ok(output),
            Ok(IOResult::IO(io)) => self.wait_for(io),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets the engine's machines go on, which may be what the operation waits for.
    #[inline]
    fn turn_before_step(&self) {
        if self.machine.is_waiting() {
            self.driving.turn_engine();
        } else {
            self.driving.turn_in_passing();
        }
    }

    /// Goes on with [`Op::wait`] when the operation has to.
    #[cold]
    #[inline(never)]
    fn wait_for(mut self, mut io: IOCompletions) -> Result<M::Output> {
        loop {
            if let IOCompletions::Single(io) = io {
                self.driving.wait(&io)?;
            }
            self.driving.turn_engine();
            io = match self.machine.step(&self.context).map_err(M::Error::into)? {
                IOResult::Done(output) => return Ok(output),
                IOResult::IO(io) => io,
            };
        }
    }
}

impl<M> Future for Op<'_, M>
where
    M: StateTransition<Error: Into<Error>> + Unpin,
    M::State: Unpin,
{
    type Output = Result<M::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let op = &mut *self;
        loop {
            op.turn_before_step();
            match op.machine.step(&op.context).map_err(M::Error::into)? {
                IOResult::Done(output) => return Poll::Ready(Ok(output)),
                IOResult::IO(IOCompletions::Single(io)) if !io.is_explicit_yield() => {
                    // One that is finished by now takes no waker: step again at once.
                    if io.register(context.waker()) {
                        op.driving.see_to_it()?;
                        return Poll::Pending;
                    }
                }
                IOResult::IO(_) => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<M: StateTransition> std::fmt::Debug for Op<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "operation {:?}", self.machine)
    }
}
