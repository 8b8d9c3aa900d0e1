//! The redo log: what stands in its file, where the next group goes, and what waits for it.
//!
//! ```text
//!   file       header | ring: blocks 0, 1, 2, ... as far as the file goes
//!
//!   ring       |.....[ A ][   B   ][ C ][W]ssss|        positions grow along A B C W D E
//!              |[  D  ][ E ].......[ C ][W]ssss|        (one lap later)
//!                           ^ head ^ tail
//!
//!   group      sector 0: header 64 | payload 440 | tag 8      sectors of 512 bytes,
//!              sector 1:             payload 504 | tag 8      eight to a block,
//!              ...                                            a whole number of blocks
//! ```
//!
//! - All is counted in blocks of [`BLOCK_LEN`] bytes. A *position* grows for ever; an *offset* is
//!   a block of the ring, and a [`Place`] is both. Since the ring grows, only the groups say which
//!   offset a position has.
//! - A *group* is contiguous, and has at least one block behind it. Where it would not, a *wrap
//!   group* takes the next block, the rest is skipped, and the group is at offset 0. So each lap
//!   ends with a wrap group, and the ring may grow at any time.
//! - Each sector ends with a *tag* that says of which block of which session it is. Payload lies in
//!   front of the tags only, so nothing a user stores can look like a group. A sector is written
//!   whole or not at all: one of another time shows that its group is *torn*, and that the log ends
//!   there. A wrong checksum behind right tags is *rot*: no crash leaves that.
//!
//! | piece | where |
//! |---|---|
//! | where the file is | [`path`] |
//! | the file's first block | [`header`] |
//! | what is left of an earlier log | [`remains`] |
//! | a group's bytes | [`group`] |
//! | where the next group goes | [`ring`] |
//! | which groups follow each other, and whether anything is damaged | [`scan`] |
//! | what waits for a group, and is in flight | [`writer`] |

pub mod group;
pub mod header;
mod limits;
pub mod path;
pub mod remains;
pub mod ring;
pub mod scan;
#[cfg(test)]
mod tests;
pub mod writer;

/// The length of a block in bytes.
pub const BLOCK_LEN: usize = 4096;
/// The length of a sector in bytes: what a disk writes whole or not at all.
pub const SECTOR_LEN: usize = 512;
/// The most blocks that a group has in any log: 8 MiB.
pub const MAX_GROUP_BLOCKS: u64 = 2048;

/// A place in the log. [Compared](Ord) by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// How many blocks of groups were written before it, since the log began.
    pub position: u64,
    /// Which block of the ring it is.
    pub offset: u64,
}

/// The most blocks that a group has in a ring of this many.
pub fn max_group_blocks(ring_blocks: u64) -> u64 {
    (ring_blocks / 8).clamp(1, MAX_GROUP_BLOCKS)
}

/// How many blocks the ring has in a file of this many bytes. What is no whole block is none.
pub fn ring_blocks(file_len: u64) -> u64 {
    (file_len / BLOCK_LEN as u64).saturating_sub(1)
}

/// Where a block of the ring is in the file, in bytes.
pub fn file_offset(offset: u64) -> u64 {
    (offset + 1) * BLOCK_LEN as u64
}

/// Positions and versions in a file are at most this, so that there is always a next one.
const MAX_NUMBER: u64 = u64::MAX >> 1;

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("the slice has four bytes"))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("the slice has eight bytes"))
}
