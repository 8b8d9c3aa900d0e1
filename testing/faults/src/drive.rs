//! Driving an operation with a bound: what turns for ever is found out.

use yieldb::{Error, Op};
use yieldb_core::{IOResult, StateTransition};

/// More steps than any operation on a small file in memory has.
const MAX_STEPS: usize = 100_000;

/// Drives an operation on a back-end that performs requests at once.
///
/// # Errors
///
/// The operation's.
///
/// # Panics
///
/// If it does not end.
pub fn drive<M>(mut op: Op<'_, M>) -> Result<M::Output, Error>
where
    M: StateTransition<Error: Into<Error>>,
{
    for _ in 0..MAX_STEPS {
        if let IOResult::Done(output) = op.step()? {
            return Ok(output);
        }
    }
    panic!("{op:?} does not end")
}
