//! The first block of the log's file: whose log it is. Written once, before any group.
//!
//! All integers are little-endian; what is not listed is zero. As with a slot of the superblock,
//! the fields are in the first sector and the checksum is in the last one.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 16 | magic: `yieldb`, 0x80, CR, LF, 0x1a, LF, 0, ` log` |
//! | 16 | 4 | format version, 1 |
//! | 32 | 16 | database id |
//! | 48 | 16 | log id |
//! | 4092 | 4 | checksum: CRC-32 of everything before it |

use std::path::Path;

use super::scan::End;
use super::{BLOCK_LEN, u32_at};
use crate::superblock::{OpenError, Superblock};

/// The format that this program writes, and the newest one it reads.
pub const FORMAT_VERSION: u32 = 1;
/// What the file of a log begins with.
pub const MAGIC: [u8; 16] = *b"yieldb\x80\r\n\x1a\n\0 log";

const VERSION: usize = 16;
pub(super) const DATABASE_ID: usize = 32;
const LOG_ID: usize = 48;
const FIELDS_END: usize = 64;
pub(super) const CHECKSUM: usize = BLOCK_LEN - 4;

/// What the first block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// The database whose log it is.
    pub database_id: [u8; 16],
    /// What tells this log from all others of the database.
    pub log_id: [u8; 16],
}

/// Why a file is not a log that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The file is something else.
    #[error("not the log of a yieldb file: {what}")]
    Foreign {
        /// How it can be told.
        what: &'static str,
    },
    /// The log was written in a format that this program does not know.
    #[error("the log has format version {found}, this program reads versions up to {supported}")]
    FutureVersion {
        /// The log's format version.
        found: u32,
        /// The newest that this program reads.
        supported: u32,
    },
    /// The block cannot be relied on.
    #[error("the database is damaged: {what}")]
    Damaged {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl FileHeader {
    /// Writes the block's bytes.
    ///
    /// # Panics
    ///
    /// If `block` is not [`BLOCK_LEN`] bytes long.
    pub fn encode(&self, block: &mut [u8]) {
        assert_eq!(block.len(), BLOCK_LEN, "a block of another length");
        block.fill(0);
        block[..MAGIC.len()].copy_from_slice(&MAGIC);
        block[VERSION..VERSION + 4].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[DATABASE_ID..DATABASE_ID + 16].copy_from_slice(&self.database_id);
        block[LOG_ID..LOG_ID + 16].copy_from_slice(&self.log_id);
        let checksum = crc32fast::hash(&block[..CHECKSUM]);
        block[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads the first [`BLOCK_LEN`] bytes of a file.
    ///
    /// # Errors
    ///
    /// Why the file is not a log that can be read.
    pub fn parse(block: &[u8]) -> Result<FileHeader, HeaderError> {
        let Some(block) = block.first_chunk::<BLOCK_LEN>() else {
            return Err(HeaderError::Foreign { what: "it is too short" });
        };
        if block[..MAGIC.len()] != MAGIC {
            return Err(HeaderError::Foreign { what: "it does not begin as one" });
        }
        if crc32fast::hash(&block[..CHECKSUM]) != u32_at(block, CHECKSUM) {
            return Err(HeaderError::Damaged {
                what: "its log's header does not match its checksum",
            });
        }
        let found = u32_at(block, VERSION);
        if found > FORMAT_VERSION {
            return Err(HeaderError::FutureVersion { found, supported: FORMAT_VERSION });
        }
        let mut unused = block[VERSION + 4..DATABASE_ID].iter().chain(&block[FIELDS_END..CHECKSUM]);
        if found == 0 || unused.any(|byte| *byte != 0) {
            return Err(HeaderError::Damaged { what: "its log's header has impossible values" });
        }
        let id_at = |at: usize| block[at..at + 16].try_into().expect("the slice has sixteen bytes");
        Ok(FileHeader { database_id: id_at(DATABASE_ID), log_id: id_at(LOG_ID) })
    }
}

/// Is `block` the first one of the log that a superblock speaks of? An error tells `path`, the
/// file's name.
///
/// # Errors
///
/// Why it is not.
pub fn check_header(block: &[u8], superblock: &Superblock, path: &Path) -> Result<(), OpenError> {
    let missing = |what| OpenError::LogMissing { path: path.to_path_buf(), what };
    let header = FileHeader::parse(block).map_err(|error| match error {
        HeaderError::Foreign { what } => missing(what),
        HeaderError::FutureVersion { found, supported } => {
            OpenError::FutureVersion { found, supported }
        }
        HeaderError::Damaged { what } => OpenError::Damaged { what },
    })?;
    if header.database_id != superblock.database_id {
        return Err(missing("what has its name is the log of another database"));
    }
    if Some(header.log_id) != superblock.log.map(|log| log.id) {
        return Err(missing("what has its name is another log of this database"));
    }
    Ok(())
}

/// Can a log that ends so be that of a superblock?
///
/// # Errors
///
/// [`OpenError::Damaged`]: a newer superblock was lost.
pub fn check_end(end: &End, superblock: &Superblock) -> Result<(), OpenError> {
    if end.names > superblock.checkpoint {
        let what = "its log names a checkpoint that neither superblock has";
        return Err(OpenError::Damaged { what });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded() -> (FileHeader, Vec<u8>) {
        let header = FileHeader { database_id: *b"a database's own", log_id: *b"the log's own id" };
        let mut block = vec![0xaa; BLOCK_LEN];
        header.encode(&mut block);
        (header, block)
    }

    /// Changes a byte as a program of another time would have written it.
    fn sealed_with(at: usize, byte: u8) -> Vec<u8> {
        let (_, mut block) = encoded();
        block[at] = byte;
        let checksum = crc32fast::hash(&block[..CHECKSUM]);
        block[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    #[test]
    fn what_was_encoded_is_parsed_and_every_flipped_byte_is_found_out() {
        let (header, mut block) = encoded();
        assert_eq!(FileHeader::parse(&block), Ok(header));
        for at in 0..BLOCK_LEN {
            block[at] ^= 0x10;
            let parsed = FileHeader::parse(&block);
            let is_named = match parsed {
                Err(HeaderError::Foreign { .. }) => at < MAGIC.len(),
                Err(HeaderError::Damaged { .. }) => at >= MAGIC.len(),
                Err(HeaderError::FutureVersion { .. }) | Ok(_) => false,
            };
            assert!(is_named, "byte {at}: {parsed:?}");
            block[at] ^= 0x10;
        }
    }

    #[test]
    fn every_torn_header_is_damaged() {
        let (_, block) = encoded();
        for mask in 0..255_u32 {
            let mut torn = vec![0; BLOCK_LEN];
            for sector in (0..8).filter(|sector| mask & 1 << sector != 0) {
                torn[sector * 512..][..512].copy_from_slice(&block[sector * 512..][..512]);
            }
            // Sectors of zeros only are the same, written or not.
            let is_whole = mask & 0x81 == 0x81;
            assert_eq!(FileHeader::parse(&torn).is_ok(), is_whole, "sectors {mask:b}");
        }
    }

    #[test]
    fn files_of_others_and_of_the_future_are_refused_by_name() {
        for foreign in [&[][..], &[0; 4095], &[0; 4096]] {
            let parsed = FileHeader::parse(foreign);
            assert!(matches!(parsed, Err(HeaderError::Foreign { .. })), "{parsed:?}");
        }
        let future = FileHeader::parse(&sealed_with(VERSION, 2));
        assert_eq!(future, Err(HeaderError::FutureVersion { found: 2, supported: 1 }));
        for (at, byte) in [(VERSION, 0), (20, 1), (31, 1), (64, 1), (4091, 1)] {
            let parsed = FileHeader::parse(&sealed_with(at, byte));
            assert!(matches!(parsed, Err(HeaderError::Damaged { .. })), "{at}: {parsed:?}");
        }
    }
}
