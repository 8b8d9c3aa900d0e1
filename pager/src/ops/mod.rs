//! The pager's operations, each a state machine. Everything outside this folder is free of waiting.

pub mod checkpoint;
pub mod fetch;
pub mod open;
pub(crate) mod turn;
