//! Operations as states and the transitions between them, and the one loop that runs them.
//!
//! A wait is a transition: to wait, a transition names the state in which the operation goes on,
//! and the state that it left is gone. So nothing is ever executed twice, and a wait without a
//! next state does not compile:
//!
//! ```compile_fail,E0061
//! # use yieldb_core::{Completion, StateTransition, Transition};
//! # #[derive(Debug)] enum State { Begin }
//! # struct Machine;
//! # impl StateTransition for Machine {
//! #     type State = State; type Context = (); type Output = (); type Error = ();
//! fn transition(&mut self, state: State, context: &()) -> Result<Transition<Self>, ()> {
//!     Ok(Transition::Wait(Completion::new_yield())) // and then?
//! }
//! # }
//! ```
//!
//! Nor can the state that was left be used again:
//!
//! ```compile_fail,E0382
//! # use yieldb_core::{Completion, StateTransition, Transition};
//! # #[derive(Debug)] enum State { Reading(Vec<u8>) }
//! # struct Machine;
//! # impl StateTransition for Machine {
//! #     type State = State; type Context = (); type Output = Vec<u8>; type Error = ();
//! fn transition(&mut self, state: State, context: &()) -> Result<Transition<Self>, ()> {
//!     let State::Reading(buffer) = state;
//!     let next = Transition::Wait(State::Reading(buffer), Completion::new_yield());
//!     if buffer.is_empty() { Ok(next) } else { Ok(Transition::Done(buffer)) }
//! }
//! # }
//! ```

use std::any;
use std::fmt;

use crate::{Completion, IOCompletions, IOResult};

/// How many transitions an operation may make in one step without a wait. One that is still not
/// done yields explicitly, so that it cannot hold an executor's thread.
pub const MAX_TRANSITIONS_PER_STEP: u32 = 1024;

/// What one transition decided.
#[must_use = "a transition that is dropped loses the operation's state"]
pub enum Transition<T: StateTransition + ?Sized> {
    /// Go on at once, in this state.
    Next(T::State),
    /// Wait for the I/O, then go on in this state.
    Wait(T::State, Completion),
    /// The operation is over.
    Done(T::Output),
}

/// An operation written as states and the transitions between them.
///
/// The fields of `Self` are what stays true for the whole operation; the fields of a `State`
/// variant are what is true in that state only.
pub trait StateTransition {
    /// Where the operation stands.
    type State: fmt::Debug;
    /// What the operation works on, lent for one step.
    type Context: ?Sized;
    /// What the operation comes to.
    type Output;
    /// Why it may fail.
    type Error;

    /// Leaves `state`, which is given up for good: the only way to be called again is to return
    /// the state to be called with.
    ///
    /// # Errors
    ///
    /// An error ends the operation.
    fn transition(
        &mut self,
        state: Self::State,
        context: &Self::Context,
    ) -> Result<Transition<Self>, Self::Error>;
}

/// A state machine under way.
#[must_use = "an operation does nothing until it is stepped"]
pub struct StateMachine<T: StateTransition> {
    machine: T,
    progress: Progress<T::State>,
}

/// How far a machine is.
///
/// ```text
///             .---- Next ----.                 .-- I/O in flight: nothing runs --.
///             v              |                 v                                 |
///   new -> Ready -- step --> transition -- Wait --> Waiting -- step -------------'
///             ^                |   |                   |
///             |                |   '-- error, panic ---|------------> Failed
///             |                '------ Done -----------|------------> Finished
///             '------------- step, I/O finished -------'
/// ```
enum Progress<S> {
    /// The next step leaves this state.
    Ready(S),
    /// The next step that finds the I/O finished leaves this state.
    Waiting(S, Completion),
    /// The output has been handed out.
    Finished,
    /// A transition failed or panicked and took its state with it.
    Failed,
}

impl<T: StateTransition> StateMachine<T> {
    /// A machine that will begin in `state`.
    pub fn new(machine: T, state: T::State) -> Self {
        StateMachine { machine, progress: Progress::Ready(state) }
    }

    /// Runs transitions until one must wait, or the last one is done.
    ///
    /// Stepping while the I/O is in flight is harmless: it returns the same completion again and
    /// runs nothing.
    ///
    /// # Errors
    ///
    /// Whatever a transition failed with. The operation is then over.
    ///
    /// # Panics
    ///
    /// If the operation is already over.
    #[inline(always)]
    pub fn step(&mut self, context: &T::Context) -> Result<IOResult<T::Output>, T::Error> {
        let (state, mut resumed) = match std::mem::replace(&mut self.progress, Progress::Failed) {
            Progress::Ready(state) => (state, false),
            Progress::Waiting(state, io) if io.is_explicit_yield() => (state, true),
            Progress::Waiting(state, io) if io.finished() => (state, false),
            Progress::Waiting(state, io) => return Ok(self.wait(state, io)),
            Progress::Finished => panic!("{} stepped after it finished", any::type_name::<T>()),
            Progress::Failed => panic!("{} stepped after it failed", any::type_name::<T>()),
        };
        if must_yield::<T>(&mut resumed, &state) {
            return Ok(self.wait(state, Completion::new_yield()));
        }
        // Most operations are over with their first transition: it has its own place in the code.
        match self.machine.transition(state, context)? {
            Transition::Done(output) => Ok(self.finish(output)),
            decided @ (Transition::Next(_) | Transition::Wait(..)) => self.go_on(decided, context),
        }
    }

    /// The transitions behind the first one of a step.
    #[cold]
    #[inline(never)]
    fn go_on(
        &mut self,
        first: Transition<T>,
        context: &T::Context,
    ) -> Result<IOResult<T::Output>, T::Error> {
        let mut decided = first;
        let mut left = MAX_TRANSITIONS_PER_STEP - 1;
        loop {
            let state = match decided {
                Transition::Next(next) => next,
                Transition::Wait(next, io) if io.finished() => next,
                Transition::Wait(next, io) => return Ok(self.wait(next, io)),
                Transition::Done(output) => return Ok(self.finish(output)),
            };
            if left == 0 || must_yield::<T>(&mut false, &state) {
                return Ok(self.wait(state, Completion::new_yield()));
            }
            left -= 1;
            decided = self.machine.transition(state, context)?;
        }
    }

    /// Has it begun, and waits for something?
    #[inline]
    pub fn is_waiting(&self) -> bool {
        matches!(self.progress, Progress::Waiting(..))
    }

    /// The operation itself, for what its owner may ask of it between steps.
    pub fn machine(&self) -> &T {
        &self.machine
    }

    #[inline]
    fn finish(&mut self, output: T::Output) -> IOResult<T::Output> {
        // What it says now, that a transition failed, is nothing to be dropped.
        std::mem::forget(std::mem::replace(&mut self.progress, Progress::Finished));
        IOResult::Done(output)
    }

    fn wait(&mut self, state: T::State, io: Completion) -> IOResult<T::Output> {
        self.progress = Progress::Waiting(state, io.clone());
        IOResult::IO(IOCompletions::Single(io))
    }
}

impl<T: StateTransition> fmt::Debug for StateMachine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.progress {
            Progress::Ready(state) => write!(f, "ready in {state:?}"),
            Progress::Waiting(state, io) => write!(f, "waiting in {state:?} for {io:?}"),
            Progress::Finished => f.write_str("finished"),
            Progress::Failed => f.write_str("failed"),
        }
    }
}

/// Does the yield test want a yield in front of the next transition? After one that it forced, the
/// transition runs, so a schedule that yields everywhere still makes progress.
#[cfg(any(test, feature = "injection"))]
fn must_yield<T: StateTransition>(resumed: &mut bool, state: &T::State) -> bool {
    !std::mem::take(resumed) && crate::injection::at_gate(any::type_name::<T>(), state)
}

#[cfg(not(any(test, feature = "injection")))]
fn must_yield<T: StateTransition>(_resumed: &mut bool, _state: &T::State) -> bool {
    false
}
