//! A result, or what to wait for before asking again.

use crate::Completion;

/// What a re-entrant function returns: its result, or the I/O after which to call it again.
#[derive(Debug)]
#[must_use = "an IOResult that is dropped loses a result or a wait"]
pub enum IOResult<T> {
    /// The function is over.
    Done(T),
    /// The function waits; call it again once this is finished, or at once if it is an explicit
    /// yield.
    IO(IOCompletions),
}

impl<T> IOResult<T> {
    /// Is the function over?
    pub fn is_done(&self) -> bool {
        matches!(self, IOResult::Done(_))
    }

    /// Applies `f` to the result, if there is one.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> IOResult<U> {
        match self {
            IOResult::Done(value) => IOResult::Done(f(value)),
            IOResult::IO(io) => IOResult::IO(io),
        }
    }
}

/// What a re-entrant function waits for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum IOCompletions {
    /// One completion. Several are one [`crate::CompletionGroup`].
    Single(Completion),
}

impl IOCompletions {
    /// Is the wait over? Never true for an explicit yield.
    pub fn finished(&self) -> bool {
        match self {
            IOCompletions::Single(completion) => completion.finished(),
        }
    }

    /// Is this only a request to be called again?
    pub fn is_explicit_yield(&self) -> bool {
        match self {
            IOCompletions::Single(completion) => completion.is_explicit_yield(),
        }
    }
}

impl From<Completion> for IOCompletions {
    fn from(completion: Completion) -> Self {
        IOCompletions::Single(completion)
    }
}

impl From<IOCompletions> for Completion {
    fn from(io: IOCompletions) -> Self {
        match io {
            IOCompletions::Single(completion) => completion,
        }
    }
}

/// Unwraps a finished re-entrant call, or returns its wait to the caller's caller.
///
/// For functions composed by hand. **Pitfall**: when the caller is called again, everything in
/// front of this line runs again. Whatever must happen once stands *behind* it, or in a state of
/// its own. Operations of the engine are [`crate::StateTransition`]s, where this cannot happen.
///
/// ```
/// use yieldb_core::{IOResult, Result, return_if_io};
///
/// /// Calls a child that may wait, and counts its results, each once.
/// fn count(child: &mut impl FnMut() -> Result<IOResult<u32>>, sum: &mut u32)
/// -> Result<IOResult<u32>> {
///     let value = return_if_io!(child());
///     *sum += value; // behind the wait: runs once
///     Ok(IOResult::Done(*sum))
/// }
/// let mut sum = 0;
/// assert!(matches!(count(&mut || Ok(IOResult::Done(2)), &mut sum), Ok(IOResult::Done(2))));
/// ```
#[macro_export]
macro_rules! return_if_io {
    ($call:expr) => {
        match $call? {
            $crate::IOResult::Done(value) => value,
            $crate::IOResult::IO(io) => return Ok($crate::IOResult::IO(io)),
        }
    };
}

/// Unwraps a finished re-entrant call; if it waits or fails, first puts the state back.
///
/// For a state machine composed by hand that has *taken* its state out of `field` to work on it:
/// `saved` is what `field` must hold when the function is called again. **Pitfall**: a child
/// operation that waits lives in `saved`; a `saved` that names the *next* state loses it, and with
/// it the child's work.
#[macro_export]
macro_rules! return_and_restore_if_io {
    ($field:expr, $saved:expr, $call:expr) => {
        match $call {
            Ok($crate::IOResult::Done(value)) => value,
            Ok($crate::IOResult::IO(io)) => {
                $field = $saved;
                return Ok($crate::IOResult::IO(io));
            }
            Err(error) => {
                $field = $saved;
                return Err(error);
            }
        }
    };
}

/// Returns a wait for one completion.
///
/// **Pitfall**: the state in which to go on must be set *before* this line, and only a raw
/// completion may be waited for this way: a child operation must be stepped again, which the next
/// state would not do.
#[macro_export]
macro_rules! io_yield_one {
    ($completion:expr) => {
        return Ok($crate::IOResult::IO($crate::IOCompletions::Single($completion)))
    };
}
