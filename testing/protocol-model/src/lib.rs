//! The protocol of commits, checkpoints and recovery as a model, and a search through every run of
//! it within [bounds](Bounds).
//!
//! A run is a sequence of [`Step`]s: the engine begins something, a write or a sync finishes, the
//! process is killed, the power is cut, the file is opened. Writes finish in any order; of those in
//! flight at a crash, each may have happened wholly, in part or not at all. After every step the
//! promises are [checked](Broken). What the engine does by itself it does at once: that it could
//! wait makes no difference to what a crash finds, since a write that was submitted may also not
//! have happened.
//!
//! ```text
//!   Running -- crash --> Down -- open --> Opening -- publish --> Running
//!      '------ close ---->^                  '---- crash ---> Down
//! ```
//!
//! The same model has the protocol without a log (a log of no blocks), in which a commit is a
//! checkpoint, and the one with a log. [`Mistake`]s can be planted; each must be noticed.

mod bounds;
mod check;
mod checkpoint;
mod disk;
mod format;
mod groups;
mod log_file;
mod log_place;
mod mistake;
mod model;
mod open;
mod recovery;
mod run;
mod search;
mod state;
mod transaction;
mod words;

pub use bounds::{Bounds, SCENARIOS, Scenario};
pub use mistake::Mistake;
pub use model::{Broken, Model, Step};
pub use recovery::Rot;
pub use search::{Explored, explore};
pub use words::script;
