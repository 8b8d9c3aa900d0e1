//! The tree's operations, each a state machine. Everything outside this folder is free of waiting.

pub mod begin;
pub mod check;
pub mod commit;
pub mod delete;
pub mod drop_tree;
pub mod get;
pub mod next;
pub mod open;
pub mod put;
