//! What both programs are made of: the bare device, keys and values, what the kernel is asked for.

pub mod device;
pub mod entries;
pub mod process;

/// What goes wrong, of whichever engine.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
