//! The tree's operations, each a state machine. Everything outside this folder is free of waiting.

pub mod begin;
pub mod bulk_load;
pub mod check;
pub mod commit;
pub mod compact;
pub mod count;
pub mod delete;
pub mod delete_range;
pub mod drop_tree;
pub mod edge;
pub mod find_value;
pub mod get;
pub mod multi_get;
pub mod next;
pub mod open;
pub mod put;
pub mod read_value;
pub mod recover;
pub mod replay;
pub mod stats;
pub mod update;
pub mod write;
pub mod write_value;
