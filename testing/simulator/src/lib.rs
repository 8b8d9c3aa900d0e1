//! The engine on computers that are not there.
//!
//! One seed decides everything: how a database is set up, what is done with it, in which order its
//! I/O finishes, what of that fails, when the process is killed or the power is cut, and what a
//! power cut leaves of what was not durable. Only the disk is simulated: everything above it is
//! the production code, through the door that its users have.
//!
//! ```text
//!   campaign   seeds, threads, the command line
//!   attempt    one plan, to its end or to its failure;  shrink: with less of it
//!   run        one process after the other, on one disk
//!   session    the operations of a plan, on the database and on the model
//!   recovery   what a crash left, opened and looked at
//!   host       tasks, and whose turn it is
//!   computer   requests in flight, faults, a clock
//!   disk       what is durable, and what is only visible
//! ```

pub mod attempt;
pub mod campaign;
pub mod computer;
pub mod disk;
pub mod host;
pub mod model;
pub mod plan;
pub mod profile;
pub mod random;
pub mod recovery;
pub mod report;
pub mod run;
pub mod session;
pub mod shrink;
pub mod sweep;
pub mod tolerance;
