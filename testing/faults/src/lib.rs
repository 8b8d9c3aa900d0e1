//! What the fault tests have in common: driving with a bound, a specimen with everything that the
//! format has, and the examination of a damaged copy of it.
//!
//! The scenarios are in `tests/faults`, one a file; `docs/faults.md` says which fault is shown by
//! which of them.

pub mod drive;
pub mod examine;
pub mod forge;
pub mod logged;
pub mod place;
pub mod specimen;
pub mod spread;

/// The page length of the specimen, in bytes.
pub const PAGE: usize = 4096;
