//! A computer to run the engine on, of which everything follows from one seed.
//!
//! Only the disk is simulated: the engine above it is the one that is shipped, and a request that
//! is done in part is continued by the drivers' own code.
//!
//! | module | what |
//! |---|---|
//! | [`random`] | the only source of chance |
//! | [`disk`] | files, what is durable of them, and what a power cut makes of the rest |
//! | [`computer`] | a disk, requests in flight, a virtual clock, faults |
//!
//! Nothing here asks the real clock, starts a thread, or lets an address, the order of a hash
//! table or the number of a completion decide anything: the same seed gives the same run, to the
//! last byte.

pub mod computer;
pub mod disk;
pub mod random;
