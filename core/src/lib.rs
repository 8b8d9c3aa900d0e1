//! The asynchronous I/O model of yieldb: what an operation waits for, and how it waits.
//!
//! Nothing here opens a file, knows a page, or blocks. The crate offers
//!
//! - [`Completion`]: a handle on something that will be over one day: an I/O, a group of them, a
//!   signal raised by the engine, or an explicit yield;
//! - [`Request`]: what those do with one who ask for it, or who end it;
//! - [`CompletionGroup`]: one completion for many; [`Arrivals`]: whichever of many is next;
//! - [`IOResult`] and [`IOCompletions`]: a result, or what to wait for before asking again;
//! - [`StateTransition`], [`Transition`], [`StateMachine`]: the idiom in which every operation of
//!   the engine is written, and the one loop that runs them all;
//! - [`IO`], [`File`], [`Driver`]: the contract between the engine and what performs its I/O;
//! - [`Buffer`], [`SharedBuffer`], [`Arena`], [`BufferPool`]: memory that may be lent to a kernel;
//! - [`Lanes`], [`Tally`]: what keeps threads from meeting at a cache line;
//! - [`Error`], [`IoError`]: what went wrong, with file, offset and length;
//! - [`sync`]: where locks, atomics and threads come from.
//!
//! The engine crates hold an [`IO`] and can only *submit*. Polling and waiting live on [`Driver`],
//! which they never see.

mod arrivals;
pub mod buffer;
mod clock;
mod completion;
mod completion_group;
mod driver;
mod error;
mod file;
#[cfg(any(test, feature = "injection"))]
pub mod injection;
mod io;
mod io_result;
mod lanes;
mod planted;
mod request;
mod slots;
mod state_machine;
pub mod sync;

pub use arrivals::Arrivals;
pub use buffer::{Arena, Buffer, BufferPool, Buffers, ForkMark, SharedBuffer, SharedBuffers};
pub use clock::{Clock, MonotonicClock};
pub use completion::{Canceller, Completion, CompletionKind, Sink, WeakCompletion};
pub use completion_group::{AnyCompletion, CompletionGroup};
pub use driver::Driver;
pub use error::{Error, IoError, Operation, Result};
pub use file::{DurableWrites, File, LockKind, SyncMethod};
pub use io::{Create, IO, OpenOptions};
pub use io_result::{IOCompletions, IOResult};
pub use lanes::{Lanes, Tally};
pub use request::Request;
#[doc(hidden)]
pub use state_machine::{MAX_TRANSITIONS_PER_STEP, StateMachine, StateTransition, Transition};
