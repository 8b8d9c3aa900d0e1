//! Nodes: pure functions of the bytes of one page.
//!
//! Both kinds keep their keys sorted. Of each key a node stores the first four bytes behind the
//! prefix that all its keys share, as a *head*: an integer in a dense array, which a search runs
//! over without touching anything else. The rest of the key is in a record in the heap.
//!
//! ```text
//!   leaf      header | heads 4 x count | offsets 2 x count | gap | heap | prefix
//!   interior  header | child 0 | heads | offsets | children 8 x count | gap | heap | prefix
//! ```
//!
//! The header and both kinds of record are described in [`layout`].

mod build;
mod check;
pub mod edit;
mod key;
mod keys;
pub mod layout;
mod stored;
mod view;

pub(crate) use build::Shape;
pub use build::{InteriorList, LeafEntry, build_interior, build_leaf, interior_len, leaf_len};
pub use check::check_node;
pub use key::{KeyRef, shortest_separator};
pub use layout::{MAX_LEVEL, max_entry_len, max_key_len};
pub use stored::{LargeValue, MAX_VALUE_LEN, Stored};
pub use view::{InteriorView, LeafView};
