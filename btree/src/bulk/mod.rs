//! Building a whole tree from entries that come in any order: the parts that never wait.
//!
//! ```text
//!   entries --> Collected --- in order so far -----------------------> Builder --> leaves, and
//!                   |                                                   ^          above them
//!                   '-- not: Sorted, in memory --- all of them fit ---->|          what they need
//!                               '--- they do not: runs of the SortFile -'
//!                                                 merged, twice or more if they are many
//! ```
//!
//! Entries are collected in frames of the cache, no more than its [share](Limits), so that the
//! limit of the cache is one on the whole. Beside it there is what sorts a piece, 16 MiB at most.
//! As long as they come in order they go on to the builder, and nothing is sorted. Where the order
//! breaks behind leaves that are built, those are one more thing to merge; their pages are free
//! afterwards.
//!
//! Of equal keys the last one stays: whatever is merged is in the order in which it came, and the
//! builder replaces an entry by the next one with its key.

mod block;
mod builder;
mod collected;
mod loader;
mod merge;
mod packing;
mod run_writer;
mod sort_file;
mod source;

pub(crate) use loader::Loader;

use yieldb_pager::Pager;

/// How much of the cache is used for what, in frames.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// The length of a page in bytes.
    page_len: usize,
    /// For all that is collected, sorted and merged.
    frames: usize,
    /// How many are read or written at a time.
    block: usize,
    /// How many runs are merged at a time: each has a block that is being looked at and one that is
    /// being read, and so has what is written.
    fan_in: usize,
    /// How many are collected of what is in order before it goes to the builder.
    in_order: usize,
}

/// The longest block that is read or written at a time, in bytes.
const MAX_BLOCK_LEN: usize = 256 * 1024;

/// The most memory for all that is collected, in bytes.
const MAX_COLLECTED_LEN: usize = 1 << 30;

/// How many bytes are collected of what is in order before they go to the builder.
const IN_ORDER_LEN: usize = 1 << 20;

impl Limits {
    fn of(pager: &Pager) -> Limits {
        let page_len = pager.page_size().bytes();
        let frames = pager.sort_share().min(MAX_COLLECTED_LEN / page_len);
        let block = (frames / 128).clamp(1, MAX_BLOCK_LEN / page_len);
        let fan_in = frames / (2 * block) - 1;
        let in_order = (IN_ORDER_LEN / page_len).min(frames / 2);
        Limits { page_len, frames, block, fan_in, in_order }
    }
}
