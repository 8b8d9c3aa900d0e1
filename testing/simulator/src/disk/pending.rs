//! What is not durable, and what becomes of it in a power cut.

use smallvec::SmallVec;

use super::blocks::{ALL_SECTORS, BLOCK_LEN, Block, Blocks};
use crate::random::Random;

/// Some sectors of one block.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub index: u64,
    pub block: Block,
    /// A bit for each sector that is still pending; what the others hold means nothing.
    pub sectors: u8,
}

/// The parts of one write.
pub(crate) type Pieces = SmallVec<[Piece; 1]>;

/// A change of a file.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Other bytes. The length is a change of its own.
    Write(Pieces),
    /// A length in bytes.
    SetLen(u64),
    /// A length in bytes that the file has at least.
    Grow(u64),
}

/// A change that a power cut may take.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// When it was made, among all changes of the disk.
    pub sequence: u64,
    pub change: Change,
}

impl Change {
    /// Makes the change.
    pub fn apply(&self, blocks: &mut Blocks) {
        match self {
            Change::Write(pieces) => {
                for piece in pieces {
                    blocks.put(piece.index, &piece.block, piece.sectors);
                }
            }
            Change::SetLen(len) => blocks.set_len(*len),
            Change::Grow(len) => blocks.grow(*len),
        }
    }
}

/// Which of the pending changes a power cut keeps.
///
/// Changes are numbered from 0: those of the directory first, then those of the files in the order
/// of their numbers; within each, in the order in which they were made. A write that makes a file
/// longer is two changes, the bytes first.
#[derive(Clone, Debug)]
pub enum Choice {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// Each is lost, kept, or, if it is a write, torn: some of its sectors are kept. How likely
    /// each of the three is differs from one cut to the next.
    Random(Random),
    /// The change `k` is kept, whole, if bit `k` is set; those from 64 on are lost.
    Subset(u64),
}

/// What a crash did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashEffects {
    /// Writes that were kept whole.
    pub kept_writes: u64,
    /// Writes of which nothing is left.
    pub lost_writes: u64,
    /// Writes of which some sectors are left.
    pub torn_writes: u64,
    /// Changes of a length that were lost.
    pub lost_lengths: u64,
    /// Changes of a directory that were lost.
    pub lost_entries: u64,
    /// Files that nothing names any more.
    pub lost_files: u64,
    /// Writes that are lost in whole or in part though the length that they gave was kept: there
    /// are zeros in their place.
    pub holes: u64,
}

impl CrashEffects {
    /// Adds what another crash did.
    pub fn add(&mut self, other: CrashEffects) {
        self.kept_writes += other.kept_writes;
        self.lost_writes += other.lost_writes;
        self.torn_writes += other.torn_writes;
        self.lost_lengths += other.lost_lengths;
        self.lost_entries += other.lost_entries;
        self.lost_files += other.lost_files;
        self.holes += other.holes;
    }
}

/// A power cut under way: decides about one change after the other.
pub(crate) struct PowerCut<'a> {
    choice: &'a mut Choice,
    /// How likely a change is lost, kept and torn.
    weights: [u64; 3],
    next: u32,
    pub effects: CrashEffects,
}

enum Fate {
    Lost,
    Kept,
    Torn,
}

impl PowerCut<'_> {
    pub fn new(choice: &mut Choice) -> PowerCut<'_> {
        let weights = match choice {
            // Often one of the three rules, so that "all but one" is not rare among many.
            Choice::Random(random) => [0; 3].map(|_: u64| 1 << (2 * random.below(4))),
            Choice::Nothing | Choice::Everything | Choice::Subset(_) => [0; 3],
        };
        PowerCut { choice, weights, next: 0, effects: CrashEffects::default() }
    }

    fn fate(&mut self) -> Fate {
        let index = self.next;
        self.next += 1;
        let is_kept = match self.choice {
            Choice::Nothing => false,
            Choice::Everything => true,
            Choice::Subset(mask) => mask.checked_shr(index).is_some_and(|rest| rest & 1 == 1),
            Choice::Random(random) => {
                let [lost, kept, torn] = self.weights;
                let at = random.below(lost + kept + torn);
                return match at {
                    _ if at < lost => Fate::Lost,
                    _ if at < lost + kept => Fate::Kept,
                    _ => Fate::Torn,
                };
            }
        };
        if is_kept { Fate::Kept } else { Fate::Lost }
    }

    /// Is a change that is made as a whole or not at all kept?
    fn keeps(&mut self) -> bool {
        match self.fate() {
            Fate::Kept => true,
            Fate::Lost => false,
            Fate::Torn => self.random_sectors() & 1 == 1,
        }
    }

    fn random_sectors(&mut self) -> u8 {
        match self.choice {
            Choice::Random(random) => random.next() as u8,
            Choice::Nothing | Choice::Everything | Choice::Subset(_) => ALL_SECTORS,
        }
    }

    /// Is a change of the directory kept?
    pub fn keeps_entry(&mut self) -> bool {
        let is_kept = self.keeps();
        self.effects.lost_entries += u64::from(!is_kept);
        is_kept
    }

    /// Makes those of the changes of one file that are kept.
    pub fn apply(&mut self, changes: &[Pending], durable: &mut Blocks) {
        let old_len = durable.len();
        // Where the first byte of each write that was lost in part is.
        let mut gaps: SmallVec<[u64; 8]> = SmallVec::new();
        for pending in changes {
            match &pending.change {
                Change::Write(pieces) => gaps.extend(self.apply_write(pieces, durable)),
                Change::SetLen(_) | Change::Grow(_) if self.keeps() => {
                    pending.change.apply(durable);
                }
                Change::SetLen(_) | Change::Grow(_) => self.effects.lost_lengths += 1,
            }
        }
        durable.cut();
        let is_hole = |gap: &&u64| (old_len..durable.len()).contains(*gap);
        self.effects.holes += gaps.iter().filter(is_hole).count() as u64;
    }

    /// Returns the offset of the last sector that was lost, if any was.
    fn apply_write(&mut self, pieces: &Pieces, durable: &mut Blocks) -> Option<u64> {
        let fate = self.fate();
        let (mut gap, mut is_any_kept) = (None, false);
        for piece in pieces {
            let sectors = match fate {
                Fate::Lost => 0,
                Fate::Kept => piece.sectors,
                Fate::Torn => piece.sectors & self.random_sectors(),
            };
            if sectors != 0 {
                durable.put(piece.index, &piece.block, sectors);
                is_any_kept = true;
            }
            let lost = piece.sectors & !sectors;
            if lost != 0 {
                let sector = u64::from(lost.ilog2());
                gap = Some(piece.index * BLOCK_LEN as u64 + sector * super::SECTOR_LEN as u64);
            }
        }
        match (gap, is_any_kept) {
            (None, _) => self.effects.kept_writes += 1,
            (Some(_), true) => self.effects.torn_writes += 1,
            (Some(_), false) => self.effects.lost_writes += 1,
        }
        gap
    }
}
