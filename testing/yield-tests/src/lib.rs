//! Every operation of the engine, interrupted at every transition.
//!
//! A [`scenario`] is some work with one operation or several, on a database that always begins as
//! the same file in memory. It is run once undisturbed, and then again and again with a yield, an
//! error or an end at each place where one can be; see [`rows`].
//!
//! The places are found by themselves: every transition of every operation passes the one gate of
//! `yieldb_core::injection`, and every I/O passes the hook of the memory back-end.

pub mod rows;
pub mod scenario;
pub mod world;
