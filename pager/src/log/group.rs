//! A group: commits that become durable together, or nothing but a name.
//!
//! All integers are little-endian. A group begins with its header.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic: `ylog` |
//! | 4 | 4 | kind: 1 commits, 2 wrap |
//! | 8 | 4 | block count: as many as header and payload take |
//! | 12 | 4 | payload length in bytes |
//! | 16 | 8 | position |
//! | 24 | 4 | session |
//! | 28 | 4 | how many transactions it has |
//! | 32 | 8 | first version: that of its first transaction; without one, that of no account |
//! | 40 | 8 | known: all groups before this position were durable when it was written |
//! | 48 | 8 | names: the newest checkpoint that a slot held when it was written |
//! | 56 | 4 | checksum: CRC-32 of all payload bytes of its blocks behind the header |
//! | 60 | 4 | checksum: CRC-32 of the 60 bytes before it |
//!
//! The payload has for each transaction its length (4 bytes), and so many bytes; behind it are
//! zeros up to the end of the last block. A wrap group has one block and no payload. Header and
//! payload are cut into pieces of 504 bytes, each with a tag behind it:
//!
//! | offset in a sector | bytes | what |
//! |---|---|---|
//! | 504 | 4 | the position of the sector's block, lower 32 bits |
//! | 508 | 4 | session in the lower 31 bits; the top bit says that the block is its group's first |
//!
//! Sessions begin with 1, so a sector of zeros is nobody's.

use crc32fast::Hasher;
use yieldb_core::is_planted;

use super::{BLOCK_LEN, MAX_GROUP_BLOCKS, MAX_NUMBER, SECTOR_LEN, u32_at, u64_at};

mod builder;
#[cfg(test)]
mod tests;

pub use builder::Builder;

/// The length of a group's header in bytes.
pub const HEADER_LEN: usize = 64;
/// The highest number of a session that a tag can hold.
pub const MAX_SESSION: u32 = FIRST_BLOCK - 1;

const MAGIC: [u8; 4] = *b"ylog";
const TAG_LEN: usize = 8;
const SECTOR_PAYLOAD_LEN: usize = SECTOR_LEN - TAG_LEN;
const BLOCK_PAYLOAD_LEN: usize = BLOCK_LEN / SECTOR_LEN * SECTOR_PAYLOAD_LEN;
const PAYLOAD_CHECKSUM: usize = 56;
const HEADER_CHECKSUM: usize = 60;
/// The bit of a tag that says that its block is the first one of a group.
const FIRST_BLOCK: u32 = 1 << 31;
/// The length that stands in front of each transaction takes so many bytes.
pub const LENGTH_LEN: usize = 4;

/// What a group is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has transactions, or at least names a checkpoint.
    Commits,
    /// It says that the next group is at offset 0.
    Wrap,
}

/// What a group says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is for.
    pub kind: Kind,
    /// The position of its first block.
    pub position: u64,
    /// The process that wrote it: 1 to [`MAX_SESSION`].
    pub session: u32,
    /// How many transactions it has.
    pub transactions: u32,
    /// The version that its first transaction made, or the next one will make if it has none.
    pub first_version: u64,
    /// All groups before this position were durable when it was written.
    pub known: u64,
    /// The number of the newest checkpoint that a slot held when it was written.
    pub names: u64,
}

/// Why bytes are not a whole group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// They do not begin with the first sector of a group.
    #[error("no group begins here")]
    NoGroup,
    /// A sector is of another time, or missing.
    #[error("the group is torn")]
    Torn,
    /// All sectors are of the group, and a checksum is wrong.
    #[error("the group's checksum does not match its contents")]
    Rotten,
    /// All checksums are right, and no writer writes that.
    #[error("the group is impossible: {what}")]
    Impossible {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A whole group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    header: Header,
    /// As many transactions as the header says, each behind its length.
    payload: Vec<u8>,
}

impl Group {
    /// What it says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many blocks it has.
    pub fn block_count(&self) -> u64 {
        block_count(self.payload.len())
    }

    /// The bytes of its transactions, in order.
    pub fn transactions(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.payload[..];
        std::iter::from_fn(move || {
            let (transaction, behind) = split_transaction(rest)?;
            rest = behind;
            Some(transaction)
        })
    }
}

/// The first transaction of a payload, and what is behind it; `None` if it is not there, or cut.
fn split_transaction(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = payload.split_first_chunk::<LENGTH_LEN>()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

/// Has the payload as many transactions as the header says, and nothing else?
fn check_transactions(header: &Header, payload: &[u8]) -> Result<(), Fault> {
    let mut rest = payload;
    for _ in 0..header.transactions {
        // Each takes four bytes at least, which bounds the loop.
        let Some((_, behind)) = split_transaction(rest) else {
            return impossible("its transactions are longer than its payload");
        };
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { impossible("its transactions end before its payload") }
}

/// How many blocks a group has with so many bytes of payload.
pub fn block_count(payload_len: usize) -> u64 {
    (HEADER_LEN + payload_len).div_ceil(BLOCK_PAYLOAD_LEN) as u64
}

/// How many blocks a group has with one transaction of `len` bytes.
pub fn blocks_of_one(len: usize) -> u64 {
    block_count(len.saturating_add(LENGTH_LEN))
}

/// Writes a group's bytes. The same group has the same bytes each time.
///
/// # Panics
///
/// If `out` is not as long as [`block_count`] says, or [`parse`] would refuse what header and
/// payload say.
pub fn encode(header: &Header, payload: &[u8], out: &mut [u8]) {
    assert_eq!(check_transactions(header, payload), Ok(()), "{header:?}");
    encode_any(header, payload, out);
}

/// Writes a group's bytes, whatever its payload is.
pub(super) fn encode_any(header: &Header, payload: &[u8], out: &mut [u8]) {
    let count = block_count(payload.len());
    assert_eq!(out.len() as u64, count * BLOCK_LEN as u64, "not the length of the group");
    let lengths = Lengths { block_count: count, payload: payload.len() };
    assert_eq!(lengths.check(header), Ok(()), "{header:?}");
    let mut hasher = Hasher::new();
    let mut rest = payload;
    for (index, sector) in out.chunks_exact_mut(SECTOR_LEN).enumerate() {
        let (bytes, tag) = sector.split_at_mut(SECTOR_PAYLOAD_LEN);
        let bytes = if index == 0 { &mut bytes[HEADER_LEN..] } else { bytes };
        let (here, behind) = rest.split_at(rest.len().min(bytes.len()));
        bytes[..here.len()].copy_from_slice(here);
        bytes[here.len()..].fill(0);
        hasher.update(bytes);
        tag.copy_from_slice(&Tag::of(header, (index * SECTOR_LEN / BLOCK_LEN) as u64).to_bytes());
        rest = behind;
    }
    header.put(lengths, hasher.finalize(), &mut out[..HEADER_LEN]);
}

/// Reads the group at the beginning of `blocks`, which may go on behind it.
///
/// # Errors
///
/// Why no whole group is there.
pub fn parse(blocks: &[u8]) -> Result<Group, Fault> {
    let mut blocks = blocks.as_chunks::<BLOCK_LEN>().0.iter();
    let first = blocks.next().ok_or(Fault::NoGroup)?;
    let mut reading = Reading::begin(first, true)?;
    reading.take(first)?;
    while !reading.is_complete() {
        reading.take(blocks.next().ok_or(Fault::Torn)?)?;
    }
    reading.check()?;
    reading.into_group()
}

impl Header {
    fn put(&self, lengths: Lengths, payload_checksum: u32, out: &mut [u8]) {
        let kind: u32 = match self.kind {
            Kind::Commits => 1,
            Kind::Wrap => 2,
        };
        let mut put = |offset: usize, bytes: &[u8]| {
            out[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &MAGIC);
        put(4, &kind.to_le_bytes());
        put(8, &(lengths.block_count as u32).to_le_bytes());
        put(12, &(lengths.payload as u32).to_le_bytes());
        put(16, &self.position.to_le_bytes());
        put(24, &self.session.to_le_bytes());
        put(28, &self.transactions.to_le_bytes());
        put(32, &self.first_version.to_le_bytes());
        put(40, &self.known.to_le_bytes());
        put(48, &self.names.to_le_bytes());
        put(PAYLOAD_CHECKSUM, &payload_checksum.to_le_bytes());
        let checksum = crc32fast::hash(&out[..HEADER_CHECKSUM]);
        out[HEADER_CHECKSUM..HEADER_LEN].copy_from_slice(&checksum.to_le_bytes());
    }

    fn parse(block: &[u8; BLOCK_LEN]) -> Result<(Header, Lengths), Fault> {
        if crc32fast::hash(&block[..HEADER_CHECKSUM]) != u32_at(block, HEADER_CHECKSUM) {
            return Err(Fault::Rotten);
        }
        if block[..MAGIC.len()] != MAGIC {
            return impossible("it does not begin as one");
        }
        let kind = match u32_at(block, 4) {
            1 => Kind::Commits,
            2 => Kind::Wrap,
            _ => return impossible("its kind does not exist"),
        };
        let header = Header {
            kind,
            position: u64_at(block, 16),
            session: u32_at(block, 24),
            transactions: u32_at(block, 28),
            first_version: u64_at(block, 32),
            known: u64_at(block, 40),
            names: u64_at(block, 48),
        };
        let block_count = u64::from(u32_at(block, 8));
        let lengths = Lengths { block_count, payload: u32_at(block, 12) as usize };
        lengths.check(&header)?;
        Ok((header, lengths))
    }
}

/// How long a group is.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    block_count: u64,
    /// In bytes.
    payload: usize,
}

impl Lengths {
    /// Is that what a writer writes?
    fn check(self, header: &Header) -> Result<(), Fault> {
        if self.block_count > MAX_GROUP_BLOCKS || self.block_count != block_count(self.payload) {
            return impossible("it has another length than its payload");
        }
        let is_empty = header.transactions == 0 && self.payload == 0;
        if header.kind == Kind::Wrap && !is_empty {
            return impossible("it leads to the ring's beginning, and has transactions");
        }
        if header.session == 0 || header.session > MAX_SESSION {
            return impossible("its session does not exist");
        }
        if header.position > MAX_NUMBER || header.first_version > MAX_NUMBER {
            return impossible("it has a number that no log lives to see");
        }
        if header.known > header.position {
            return impossible("it knows that groups behind it are durable");
        }
        Ok(())
    }
}

fn impossible<T>(what: &'static str) -> Result<T, Fault> {
    Err(Fault::Impossible { what })
}

/// Which block of which group a sector is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// The lower 32 bits of the block's position.
    position: u32,
    session: u32,
    is_first: bool,
}

impl Tag {
    /// That of all sectors of a group's block `index`.
    fn of(header: &Header, index: u64) -> Tag {
        let position = (header.position + index) as u32;
        Tag { position, session: header.session, is_first: index == 0 }
    }

    /// That of a block's first sector, which says whether a group begins there.
    pub(super) fn of_block(block: &[u8; BLOCK_LEN]) -> Tag {
        Tag::parse(&block[SECTOR_PAYLOAD_LEN..SECTOR_LEN])
    }

    /// May a group begin here that has this position and at least this session?
    pub(super) fn may_begin(self, position: u64, session: u32) -> bool {
        let is_stale = self.session < session && !is_planted!(StaleGroupAccepted);
        self.is_first && self.position == position as u32 && !is_stale
    }

    fn parse(bytes: &[u8]) -> Tag {
        let word = u32_at(bytes, 4);
        let is_first = word & FIRST_BLOCK != 0;
        Tag { position: u32_at(bytes, 0), session: word & !FIRST_BLOCK, is_first }
    }

    fn to_bytes(self) -> [u8; TAG_LEN] {
        let first = if self.is_first { FIRST_BLOCK } else { 0 };
        let word = u64::from(self.session | first) << 32 | u64::from(self.position);
        word.to_le_bytes()
    }
}

/// A group that is being read, block by block.
#[derive(Debug)]
pub(super) struct Reading {
    header: Header,
    lengths: Lengths,
    /// What the checksum of the payload's bytes has to be.
    checksum: u32,
    hasher: Hasher,
    taken_count: u64,
    /// The payload up to here, if it is wanted. It grows with what is read, whatever the header
    /// says.
    payload: Option<Vec<u8>>,
}

impl Reading {
    /// Begins with the header in a block, which is not yet [taken](Reading::take).
    ///
    /// # Errors
    ///
    /// Why no group can be read from here.
    pub(super) fn begin(block: &[u8; BLOCK_LEN], is_wanted: bool) -> Result<Reading, Fault> {
        let tag = Tag::of_block(block);
        if !tag.is_first || tag.session == 0 {
            return Err(Fault::NoGroup);
        }
        let (header, lengths) = Header::parse(block)?;
        if tag != Tag::of(&header, 0) {
            return impossible("its first sector is tagged as another's");
        }
        Ok(Reading {
            header,
            lengths,
            checksum: u32_at(block, PAYLOAD_CHECKSUM),
            hasher: Hasher::new(),
            taken_count: 0,
            payload: is_wanted.then(Vec::new),
        })
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// How many blocks the group has: at most [`MAX_GROUP_BLOCKS`].
    pub(super) fn block_count(&self) -> u64 {
        self.lengths.block_count
    }

    /// Has it all blocks?
    pub(super) fn is_complete(&self) -> bool {
        self.taken_count == self.lengths.block_count
    }

    /// Takes the next block.
    ///
    /// # Errors
    ///
    /// [`Fault::Torn`] if a sector is not of the group. Then nothing was taken.
    ///
    /// # Panics
    ///
    /// If it is complete.
    pub(super) fn take(&mut self, block: &[u8; BLOCK_LEN]) -> Result<(), Fault> {
        assert!(!self.is_complete(), "a block behind the group's last one");
        let tag = Tag::of(&self.header, self.taken_count).to_bytes();
        let sectors = || block.as_chunks::<SECTOR_LEN>().0.iter();
        if sectors().any(|sector| sector[SECTOR_PAYLOAD_LEN..] != tag) {
            return Err(Fault::Torn);
        }
        for (index, sector) in sectors().enumerate() {
            let is_header = self.taken_count == 0 && index == 0;
            let begin = if is_header { HEADER_LEN } else { 0 };
            let bytes = &sector[begin..SECTOR_PAYLOAD_LEN];
            self.hasher.update(bytes);
            if let Some(payload) = &mut self.payload {
                let wanted = bytes.len().min(self.lengths.payload - payload.len());
                payload.extend_from_slice(&bytes[..wanted]);
            }
        }
        self.taken_count += 1;
        Ok(())
    }

    /// Is the payload of a complete group as it was written?
    ///
    /// # Errors
    ///
    /// [`Fault::Rotten`] if not.
    pub(super) fn check(&self) -> Result<(), Fault> {
        assert!(self.is_complete(), "blocks are missing");
        let is_right = self.hasher.clone().finalize() == self.checksum;
        if is_right { Ok(()) } else { Err(Fault::Rotten) }
    }

    /// Hands out a group that was checked and whose payload was wanted.
    ///
    /// # Errors
    ///
    /// [`Fault::Impossible`] if its transactions are not as many and as long as it says.
    pub(super) fn into_group(self) -> Result<Group, Fault> {
        let payload = self.payload.expect("the payload was wanted");
        assert_eq!(payload.len(), self.lengths.payload, "blocks are missing");
        check_transactions(&self.header, &payload)?;
        Ok(Group { header: self.header, payload })
    }
}
