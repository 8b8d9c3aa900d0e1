//! The pager's operations, each a state machine. Everything outside this folder is free of waiting.

pub mod checkpoint;
pub mod fetch;
pub mod find_log;
pub mod grow_log;
pub mod left_log;
pub mod make_log;
pub mod open;
pub mod read_log;
pub mod slots;
pub(crate) mod turn;
