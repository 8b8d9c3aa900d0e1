//! Where everything begins: two slots at fixed places, of which the newer valid one counts.
//!
//! A slot is 4,096 bytes, at offset 0 and at offset 4,096 whatever the page size. All integers are
//! little-endian; what is not listed is zero. The fields lie in the first sector of 512 bytes and
//! the checksum in the last one, so a slot that was torn is as it was, as it was to be, or does not
//! count. One slot is written at a time, when the other one is durable.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 16 | magic: `yieldb`, 0x80, CR, LF, 0x1a, LF, 0, `page` |
//! | 16 | 4 | format version, 1 |
//! | 20 | 4 | page size in bytes |
//! | 24 | 8 | feature bits that a reader must know, 0 |
//! | 32 | 16 | database id |
//! | 48 | 8 | checkpoint: one more with each write of a superblock |
//! | 56 | 8 | version: one more with each commit |
//! | 64 | 8 | moment: the last stamp of the version |
//! | 72 | 4 | session: one more with each open for writing |
//! | 76 | 4 | log in use: 1, or 0; then the next three are zero |
//! | 80 | 16 | log id |
//! | 96 | 8 | log start: the position of the first group that the checkpoint does not have |
//! | 104 | 8 | log start: where that is, in blocks from the ring's beginning |
//! | 112 | 8 | catalogue: the reference to its root, 0 if it is empty |
//! | 120 | 8 | catalogue: how many entries it has |
//! | 128 | 1 | catalogue: the root's level |
//! | 129 | 1 | space map: the root's level |
//! | 136 | 8 | space map: the reference to its root, 0 if only the superblock is used |
//! | 144 | 8 | file length in pages |
//! | 152 | 4 | the number of the tree that is created next |
//! | 156 | 4 | log start: the session of the checkpoint; what is there of an older one is stale |
//! | 4092 | 4 | checksum: CRC-32 of everything before it |
//!
//! Every later format keeps magic, version and checksum where they are: so a file of the future is
//! told from a damaged one.

use std::path::PathBuf;

use yieldb_core::reached;

use crate::log::Place;
use crate::log::group::MAX_SESSION;
use crate::log::scan::{Damage, Start};
use crate::{PageId, PageRef, PageSize, Root, Stamp};

/// The length of a slot in bytes.
pub const SLOT_LEN: usize = 4096;
/// Where the slots are, in bytes from the beginning of the file.
pub const SLOT_OFFSETS: [u64; 2] = [0, SLOT_LEN as u64];
/// The format that this program writes, and the newest one it reads.
pub const FORMAT_VERSION: u32 = 1;
/// What a file of ours begins with. The bytes behind the name show up text-mode transfers.
pub const MAGIC: [u8; 16] = *b"yieldb\x80\r\n\x1a\n\0page";

/// Within this many bytes all fields lie, but for the checksum.
const FIELDS_LEN: usize = 512;
const CHECKSUM: usize = SLOT_LEN - 4;

/// What a slot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The length of the file's pages.
    pub page_size: PageSize,
    /// What tells this database from all others.
    pub database_id: [u8; 16],
    /// One more with each write of a superblock.
    pub checkpoint: u64,
    /// One more with each commit.
    pub version: u64,
    /// The last stamp of the version.
    pub moment: Stamp,
    /// One more with each open for writing.
    pub session: u32,
    /// The tree of trees.
    pub catalogue: Root,
    /// The root of the space map; `None` if only the superblock's own pages are used.
    pub space: Option<PageRef>,
    /// The level of the space map's root.
    pub space_level: u8,
    /// How many pages the file has, the superblock's included.
    pub page_count: u64,
    /// The number of the tree that is created next.
    pub next_tree: u32,
    /// The log that goes on where the checkpoint ends; `None` if there is none.
    pub log: Option<LogUse>,
}

/// Where a checkpoint's log is, and where in it the checkpoint ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogUse {
    /// What tells the log's file from all others.
    pub id: [u8; 16],
    /// Where the first group is that the checkpoint does not have.
    pub start: Place,
    /// The session that made the checkpoint: a group at the start of an older one is stale.
    pub session: u32,
}

/// Why a file cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is something else.
    #[error("not a yieldb file: {what}")]
    Foreign {
        /// How it can be told.
        what: &'static str,
    },
    /// The file was written in a format that this program does not know.
    #[error("the file has format version {found}, this program reads versions up to {supported}")]
    FutureVersion {
        /// The file's format version.
        found: u32,
        /// The newest that this program reads.
        supported: u32,
    },
    /// The file uses features that this program does not know.
    #[error("the file needs features that this program does not have: bits {bits:#x}")]
    UnknownFeatures {
        /// The bits that are not known.
        bits: u64,
    },
    /// Neither slot can be relied on, or the file is not as long as they say.
    #[error("the file is damaged: {what}")]
    Damaged {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The superblock says that a log is in use, and it is not there. Without it the file is older
    /// than the last commit.
    #[error(
        "the log {} is missing: {what}; without it the newest commits cannot be had",
        path.display()
    )]
    LogMissing {
        /// Where it should be.
        path: PathBuf,
        /// How it can be told.
        what: &'static str,
    },
    /// The log is not as a crash leaves it.
    #[error("the file is damaged: {0}")]
    DamagedLog(Damage),
    /// The file is shorter than its superblock says.
    #[error("the file is cut: it has {len} bytes, its superblock says {expected}")]
    Cut {
        /// The file's length in bytes.
        len: u64,
        /// What its superblock says.
        expected: u64,
    },
}

impl OpenError {
    /// Is the file whole, for all that is known, and newer than this program?
    pub fn is_of_the_future(&self) -> bool {
        matches!(self, OpenError::FutureVersion { .. } | OpenError::UnknownFeatures { .. })
    }
}

/// The slot that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// What it says.
    pub superblock: Superblock,
    /// Which one it is, 0 or 1.
    pub slot: usize,
    /// What is wrong with the other one; `None` if it says the same.
    pub spare: Option<&'static str>,
}

/// How many pages at the beginning of a file belong to the superblock.
pub fn reserved_page_count(page_size: PageSize) -> u64 {
    (2 * SLOT_LEN as u64).div_ceil(page_size.bytes() as u64)
}

/// The checksum that a slot with these contents has.
///
/// # Panics
///
/// If `slot` is shorter than [`SLOT_LEN`].
pub fn slot_checksum(slot: &[u8]) -> u32 {
    crc32fast::hash(&slot[..CHECKSUM])
}

impl Superblock {
    /// The length of the file in bytes.
    pub fn file_len(&self) -> u64 {
        self.page_count * self.page_size.bytes() as u64
    }

    /// Where the log starts that goes on behind the checkpoint, if there is one.
    pub fn log_start(&self) -> Option<Start> {
        let LogUse { start, session, .. } = self.log?;
        Some(Start { place: start, session, version: self.version })
    }

    /// Writes the slot's bytes.
    ///
    /// # Panics
    ///
    /// If `slot` is not [`SLOT_LEN`] bytes long.
    pub fn encode(&self, slot: &mut [u8]) {
        assert_eq!(slot.len(), SLOT_LEN, "a slot of another length");
        slot.fill(0);
        let mut put = |offset: usize, bytes: &[u8]| {
            slot[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &MAGIC);
        put(16, &FORMAT_VERSION.to_le_bytes());
        put(20, &self.page_size.as_u32().to_le_bytes());
        put(32, &self.database_id);
        put(48, &self.checkpoint.to_le_bytes());
        put(56, &self.version.to_le_bytes());
        put(64, &self.moment.as_u64().to_le_bytes());
        put(72, &self.session.to_le_bytes());
        put(112, &reference(self.catalogue.page).to_le_bytes());
        put(120, &self.catalogue.count.to_le_bytes());
        put(128, &[self.catalogue.level, self.space_level]);
        put(136, &reference(self.space).to_le_bytes());
        put(144, &self.page_count.to_le_bytes());
        put(152, &self.next_tree.to_le_bytes());
        if let Some(log) = &self.log {
            put(76, &1_u32.to_le_bytes());
            put(80, &log.id);
            put(96, &log.start.position.to_le_bytes());
            put(104, &log.start.offset.to_le_bytes());
            put(156, &log.session.to_le_bytes());
        }
        let checksum = slot_checksum(slot);
        slot[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads a slot.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub fn parse(slot: &[u8]) -> Result<Superblock, OpenError> {
        let Some(slot) = slot.first_chunk::<SLOT_LEN>() else {
            return Err(OpenError::Foreign { what: "it is too short" });
        };
        if slot[..MAGIC.len()] != MAGIC {
            return Err(OpenError::Foreign { what: "it does not begin as one" });
        }
        if slot_checksum(slot) != u32_at(slot, CHECKSUM) {
            return damaged("the superblock's checksum does not match its contents");
        }
        let found = u32_at(slot, 16);
        if found > FORMAT_VERSION {
            return Err(OpenError::FutureVersion { found, supported: FORMAT_VERSION });
        }
        if found == 0 {
            return damaged("its superblock has values that its format does not");
        }
        let bits = u64_at(slot, 24);
        if bits != 0 {
            return Err(OpenError::UnknownFeatures { bits });
        }
        let Some(page_size) = PageSize::new(u32_at(slot, 20)) else {
            return damaged("its page size is impossible");
        };
        let log = LogUse {
            id: slot[80..96].try_into().expect("the slice has sixteen bytes"),
            start: Place { position: u64_at(slot, 96), offset: u64_at(slot, 104) },
            session: u32_at(slot, 156),
        };
        let is_unused = slot[80..112].iter().chain(&slot[156..160]).all(|byte| *byte == 0);
        let log = match u32_at(slot, 76) {
            0 if is_unused => None,
            1 => Some(log),
            _ => return damaged("its superblock has values that its format does not"),
        };
        let catalogue =
            Root { page: page_at(slot, 112), level: slot[128], count: u64_at(slot, 120) };
        let superblock = Superblock {
            page_size,
            database_id: slot[32..48].try_into().expect("the slice has sixteen bytes"),
            checkpoint: u64_at(slot, 48),
            version: u64_at(slot, 56),
            moment: Stamp::from_u64(u64_at(slot, 64)),
            session: u32_at(slot, 72),
            catalogue,
            space: page_at(slot, 136),
            space_level: slot[129],
            page_count: u64_at(slot, 144),
            next_tree: u32_at(slot, 152),
            log,
        };
        superblock.check()
    }

    fn check(self) -> Result<Superblock, OpenError> {
        let has_pages = self.catalogue.page.is_some();
        let contradicts =
            has_pages != (self.catalogue.count > 0) || has_pages && self.space.is_none();
        let reserved = reserved_page_count(self.page_size);
        let contradicts = contradicts || self.space.is_none() && self.page_count > reserved;
        if contradicts || self.next_tree == 0 {
            return damaged("its superblock contradicts itself");
        }
        // Each of these grows with every open or commit, and the next number has to exist, in a
        // group of the log as well.
        let position = self.log.map_or(0, |log| log.start.position);
        let is_last = self.session >= MAX_SESSION
            || [self.checkpoint, self.version, position].iter().any(|number| *number >> 62 > 0);
        let is_future = self.log.is_some_and(|log| log.session > self.session);
        if is_last || is_future || self.moment.session() > self.session {
            return damaged("its superblock has a number that no file lives to see");
        }
        let counts = reserved..=PageId::COUNT;
        if !counts.contains(&self.page_count) {
            return damaged("its superblock says that it has an impossible length");
        }
        Ok(self)
    }
}

/// Was the file's creation cut off before its first slot was whole, or even begun? Then nothing was
/// ever in it. The second slot is written when the first one is durable.
///
/// # Panics
///
/// If a slot is not [`SLOT_LEN`] bytes long.
pub fn is_unfinished_creation([first, second]: [&[u8]; 2]) -> bool {
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let has_fields = first[..MAGIC.len()] == MAGIC && u64_at(first, 48) == 1;
    let is_torn = slot_checksum(first) != u32_at(first, CHECKSUM);
    is_torn
        && (has_fields || is_zero(&first[..FIELDS_LEN]))
        && is_zero(&first[FIELDS_LEN..CHECKSUM])
        && is_zero(second)
}

/// Chooses between the two slots of a file that is `file_len` bytes long. One that cannot be read
/// is empty.
///
/// # Errors
///
/// Why the file cannot be opened.
pub fn choose(slots: [&[u8]; 2], file_len: u64) -> Result<Chosen, OpenError> {
    let chosen = match slots.map(Superblock::parse) {
        [Ok(first), Ok(second)] if first == second => {
            Chosen { superblock: first, slot: 0, spare: None }
        }
        [Ok(first), Ok(second)] => newer(first, second)?,
        // A slot of the future is valid, and it is not ours to say that it is the older one.
        [Err(error), _] | [_, Err(error)] if error.is_of_the_future() => return Err(error),
        [Ok(superblock), Err(error)] => Chosen { superblock, slot: 0, spare: Some(reason(&error)) },
        [Err(error), Ok(superblock)] => Chosen { superblock, slot: 1, spare: Some(reason(&error)) },
        [Err(OpenError::Foreign { .. }), Err(error)] => return Err(error),
        [Err(error), Err(_)] => return Err(error),
    };
    if chosen.spare.is_some_and(|spare| spare != OLDER) {
        reached!(OneSlotValid);
    }
    let expected = chosen.superblock.page_count * chosen.superblock.page_size.bytes() as u64;
    if file_len < expected {
        return Err(OpenError::Cut { len: file_len, expected });
    }
    Ok(chosen)
}

/// What is wrong with a slot that is valid.
const OLDER: &str = "it is older";

fn newer(first: Superblock, second: Superblock) -> Result<Chosen, OpenError> {
    if first.database_id != second.database_id || first.page_size != second.page_size {
        return damaged("its two superblocks are those of different databases");
    }
    reached!(SlotsDiffered);
    let spare = Some(OLDER);
    if first.checkpoint > second.checkpoint {
        Ok(Chosen { superblock: first, slot: 0, spare })
    } else if first.checkpoint < second.checkpoint {
        Ok(Chosen { superblock: second, slot: 1, spare })
    } else {
        damaged("its two superblocks contradict each other")
    }
}

fn reason(error: &OpenError) -> &'static str {
    match error {
        OpenError::Foreign { what } | OpenError::Damaged { what } => what,
        OpenError::FutureVersion { .. } => "it is of a future format",
        OpenError::UnknownFeatures { .. } => "it has unknown features",
        OpenError::Cut { .. } | OpenError::LogMissing { .. } | OpenError::DamagedLog(_) => {
            "it cannot be"
        }
    }
}

fn damaged<T>(what: &'static str) -> Result<T, OpenError> {
    Err(OpenError::Damaged { what })
}

fn reference(page: Option<PageRef>) -> u64 {
    page.map_or(0, PageRef::as_u64)
}

fn page_at(slot: &[u8], offset: usize) -> Option<PageRef> {
    match u64_at(slot, offset) {
        0 => None,
        bits => Some(PageRef::from_u64(bits)),
    }
}

fn u32_at(slot: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(slot[offset..offset + 4].try_into().expect("the slice has four bytes"))
}

fn u64_at(slot: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(slot[offset..offset + 8].try_into().expect("the slice has eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(checkpoint: u64) -> Superblock {
        Superblock {
            page_size: PageSize::MIN,
            database_id: [7; 16],
            checkpoint,
            version: checkpoint * 2,
            moment: Stamp::new(3, 8),
            session: 4,
            catalogue: Root { page: Some(PageRef::from_u64(9)), level: 1, count: 2 },
            space: Some(PageRef::from_u64(5)),
            space_level: 1,
            page_count: 10,
            next_tree: 3,
            log: None,
        }
    }

    fn logged(checkpoint: u64) -> Superblock {
        let start = Place { position: 70_000, offset: 17 };
        Superblock { log: Some(LogUse { id: [9; 16], start, session: 3 }), ..sample(checkpoint) }
    }

    fn encoded(superblock: &Superblock) -> Vec<u8> {
        let mut slot = vec![0; SLOT_LEN];
        superblock.encode(&mut slot);
        slot
    }

    const LEN: u64 = 10 * 4096;

    #[test]
    fn what_was_encoded_is_parsed_and_the_newer_slot_counts() {
        let (old, new) = (sample(5), sample(6));
        assert_eq!(Superblock::parse(&encoded(&old)), Ok(old.clone()));
        let chosen = choose([&encoded(&old), &encoded(&new)], LEN).unwrap();
        assert_eq!((chosen.superblock, chosen.slot), (new.clone(), 1));
        let chosen = choose([&encoded(&new), &encoded(&old)], LEN).unwrap();
        assert_eq!((chosen.superblock, chosen.slot), (new.clone(), 0));
        let chosen = choose([&encoded(&new), &encoded(&new)], LEN).unwrap();
        assert_eq!(chosen.spare, None);
        assert_eq!(Superblock::parse(&encoded(&logged(7))), Ok(logged(7)));
    }

    #[test]
    fn every_flipped_byte_of_a_slot_leaves_the_other() {
        let (old, new) = (sample(5), sample(6));
        for flipped in 0..SLOT_LEN {
            let mut slot = encoded(&new);
            slot[flipped] ^= 0x10;
            let chosen = choose([&encoded(&old), &slot], LEN).unwrap();
            assert_eq!(chosen.superblock, old, "byte {flipped}");
            let both = choose([&slot, &slot], LEN);
            assert!(
                matches!(both, Err(OpenError::Damaged { .. } | OpenError::Foreign { .. })),
                "byte {flipped}: {both:?}"
            );
        }
    }

    #[test]
    fn any_mixture_of_old_and_new_sectors_is_one_of_both() {
        let (older, old, new) = (sample(4), sample(5), sample(6));
        let (from, to) = (encoded(&older), encoded(&new));
        for mask in 0..1_u32 << (SLOT_LEN / 512) {
            let mut torn = from.clone();
            for sector in (0..SLOT_LEN / 512).filter(|sector| mask & 1 << sector != 0) {
                let range = sector * 512..(sector + 1) * 512;
                torn[range.clone()].copy_from_slice(&to[range]);
            }
            let chosen = choose([&encoded(&old), &torn], LEN).unwrap().superblock;
            assert!(chosen == old || chosen == new, "sectors {mask:b}");
        }
    }

    #[test]
    fn a_first_slot_that_was_torn_is_an_unfinished_creation() {
        let (zeros, whole) = (vec![0; SLOT_LEN], encoded(&sample(1)));
        assert!(is_unfinished_creation([&zeros, &zeros]));
        assert!(!is_unfinished_creation([&whole, &zeros]));
        let (mut head, mut tail) = (whole.clone(), whole.clone());
        head[CHECKSUM..].fill(0);
        tail[..FIELDS_LEN].fill(0);
        for torn in [&head, &tail] {
            assert!(is_unfinished_creation([torn, &zeros]));
            assert!(!is_unfinished_creation([torn, &whole]), "the first slot was whole then");
        }
        let mut used = encoded(&sample(2));
        used[CHECKSUM..].fill(0);
        assert!(!is_unfinished_creation([&used, &zeros]), "it had a commit");
        tail[2_000] = 1;
        assert!(!is_unfinished_creation([&tail, &zeros]), "that is another's file");
    }

    #[test]
    fn numbers_without_a_next_one_are_damage() {
        let late =
            LogUse { id: [9; 16], start: Place { position: 1 << 62, offset: 1 }, session: 3 };
        let impossible = [
            Superblock { session: MAX_SESSION, ..sample(5) },
            Superblock { checkpoint: 1 << 62, ..sample(5) },
            Superblock { version: 1 << 62, ..sample(5) },
            Superblock { log: Some(late), ..logged(5) },
            Superblock { moment: Stamp::new(5, 0), ..sample(5) },
            Superblock { session: 2, ..logged(5) },
        ];
        for superblock in impossible {
            let parsed = Superblock::parse(&encoded(&superblock));
            assert!(matches!(parsed, Err(OpenError::Damaged { .. })), "{parsed:?}");
        }
    }

    /// Gives a slot the checksum that its contents have.
    fn seal(slot: &mut [u8]) {
        let checksum = slot_checksum(slot);
        slot[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    }

    #[test]
    fn files_of_others_and_of_the_future_are_refused_by_name() {
        let zeros = vec![0; SLOT_LEN];
        assert!(matches!(choose([&zeros, &zeros], LEN), Err(OpenError::Foreign { .. })));
        assert!(matches!(choose([&[], &[]], 0), Err(OpenError::Foreign { .. })));
        let mut future = encoded(&sample(5));
        future[16] = 2;
        seal(&mut future);
        assert_eq!(
            choose([&encoded(&sample(6)), &future], LEN),
            Err(OpenError::FutureVersion { found: 2, supported: 1 })
        );
        let mut featured = encoded(&sample(5));
        featured[24] = 4;
        seal(&mut featured);
        assert_eq!(
            choose([&featured, &featured], LEN),
            Err(OpenError::UnknownFeatures { bits: 4 })
        );
        // No format has version 0, whatever bits it names.
        featured[16] = 0;
        seal(&mut featured);
        let chosen = choose([&featured, &featured], LEN);
        assert!(matches!(chosen, Err(OpenError::Damaged { .. })), "{chosen:?}");
        let whole = encoded(&sample(5));
        assert_eq!(
            choose([&whole, &whole], LEN - 512),
            Err(OpenError::Cut { len: LEN - 512, expected: LEN })
        );
        let mut other = sample(6);
        other.database_id = [8; 16];
        let mixed = choose([&whole, &encoded(&other)], LEN);
        assert!(matches!(mixed, Err(OpenError::Damaged { .. })), "{mixed:?}");
    }
}
