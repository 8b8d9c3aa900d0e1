//! What may have been left of a log that no superblock speaks of: whether it is one, or somebody
//! else's file.
//!
//! A process that is killed, or a power cut, while it makes a log or removes one leaves
//!
//! | | |
//! |---|---|
//! | a log with its groups | it was to be removed |
//! | a first sector as of a log, with or without what is behind it | it was being made |
//! | zeros, perhaps with a checksum in the first block's last bytes, or nothing at all | likewise |
//!
//! A log of another database is not among them, and nothing else that somebody may keep there.

use super::header::{CHECKSUM, DATABASE_ID, MAGIC};
use super::{BLOCK_LEN, SECTOR_LEN};

/// How many bytes are looked at at a time: whole blocks.
const PIECE_LEN: u64 = 1 << 20;

/// Looks at a file, from its beginning on, as far as it takes to know whether it is what a log of a
/// database has left. Cost: a piece of a log; all of a file of zeros.
#[derive(Clone, Debug)]
pub struct Remains {
    database_id: [u8; 16],
    file_len: u64,
    /// How many bytes were looked at: zeros, but for the first block's last ones.
    seen: u64,
}

/// What a look has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what a log of the database has left.
    Ours,
    /// It is not.
    Foreign,
    /// These bytes are to be looked at.
    Look {
        /// Where they begin: at a block.
        offset: u64,
        /// How many there are.
        len: usize,
    },
}

impl Remains {
    /// Nothing is known yet of a file of so many bytes.
    pub fn new(database_id: [u8; 16], file_len: u64) -> Remains {
        Remains { database_id, file_len, seen: 0 }
    }

    /// What is to be done first.
    pub fn first(&self) -> Verdict {
        self.go_on()
    }

    /// Looks at the bytes that were to be looked at; fewer if the file was cut meanwhile.
    pub fn look(&mut self, bytes: &[u8]) -> Verdict {
        let mut rest = bytes;
        if self.seen == 0 {
            if self.is_header(bytes) {
                return Verdict::Ours;
            }
            let (block, others) = bytes.split_at(bytes.len().min(BLOCK_LEN));
            if block.iter().take(CHECKSUM).any(|byte| *byte != 0) {
                return Verdict::Foreign;
            }
            rest = others;
        }
        if rest.iter().any(|byte| *byte != 0) {
            return Verdict::Foreign;
        }
        if bytes.is_empty() {
            return Verdict::Ours;
        }
        self.seen += bytes.len() as u64;
        self.go_on()
    }

    fn go_on(&self) -> Verdict {
        match self.file_len.saturating_sub(self.seen).min(PIECE_LEN) {
            0 => Verdict::Ours,
            len => Verdict::Look { offset: self.seen, len: len as usize },
        }
    }

    /// Is this the first sector of a log of the database? Its checksum may not be there yet, or be
    /// that of the log before.
    fn is_header(&self, bytes: &[u8]) -> bool {
        bytes.first_chunk::<SECTOR_LEN>().is_some_and(|sector| {
            sector.starts_with(&MAGIC) && sector[DATABASE_ID..].starts_with(&self.database_id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::header::FileHeader;

    const ID: [u8; 16] = *b"a database's own";

    /// What a look at a whole file comes to, and how many bytes it has taken.
    fn verdict_on(file: &[u8]) -> (Verdict, usize) {
        let mut remains = Remains::new(ID, file.len() as u64);
        let (mut verdict, mut looked) = (remains.first(), 0);
        while let Verdict::Look { offset, len } = verdict {
            assert!(offset as usize == looked && offset % BLOCK_LEN as u64 == 0);
            looked += len;
            verdict = remains.look(&file[offset as usize..][..len]);
        }
        (verdict, looked)
    }

    fn header(database_id: [u8; 16]) -> Vec<u8> {
        let mut block = vec![0; BLOCK_LEN];
        FileHeader { database_id, log_id: [7; 16] }.encode(&mut block);
        block
    }

    #[test]
    fn a_log_is_ours_however_much_of_it_was_written() {
        let mut log = header(ID);
        log.extend_from_slice(&[0; 2 << 20]);
        for mask in 0..256_u32 {
            let mut torn = log.clone();
            for sector in (0..8).filter(|sector| mask & 1 << sector == 0) {
                torn[sector * SECTOR_LEN..][..SECTOR_LEN].fill(0);
            }
            let (verdict, looked) = verdict_on(&torn);
            assert_eq!(verdict, Verdict::Ours, "sectors {mask:b}");
            assert_eq!(looked == torn.len(), mask & 1 == 0, "sectors {mask:b}");
        }
        // With groups, and where its header is not the one that its checksum was made of.
        log[BLOCK_LEN..].fill(0xaa);
        log[CHECKSUM] ^= 1;
        assert_eq!(verdict_on(&log), (Verdict::Ours, 1 << 20));
        for len in [0, 512, BLOCK_LEN, BLOCK_LEN + 1, 3 << 20] {
            assert_eq!(verdict_on(&vec![0; len]), (Verdict::Ours, len));
        }
    }

    #[test]
    fn anything_else_is_foreign_wherever_it_shows() {
        assert_eq!(verdict_on(&header(*b"another database")).0, Verdict::Foreign);
        assert_eq!(verdict_on(b"notes").0, Verdict::Foreign);
        assert_eq!(verdict_on(&header(ID)[..100]).0, Verdict::Foreign);
        for at in [0, 600, CHECKSUM - 1, BLOCK_LEN, (1 << 20) + 5, (3 << 20) - 1] {
            let mut file = vec![0; 3 << 20];
            file[at] = 1;
            assert_eq!(verdict_on(&file).0, Verdict::Foreign, "byte {at}");
        }
    }

    #[test]
    fn a_file_that_is_cut_meanwhile_ends_there() {
        let mut remains = Remains::new(ID, 3 << 20);
        assert!(matches!(remains.look(&[0; 1 << 20]), Verdict::Look { .. }));
        assert_eq!(remains.look(&[]), Verdict::Ours);
    }
}
