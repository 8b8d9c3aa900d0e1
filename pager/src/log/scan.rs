//! What stands in the ring: which groups follow each other, and whether anything is damaged.
//!
//! ```text
//!   start --> Expecting <-- whole, follows: at the next block, or at offset 0 behind a wrap --.
//!               | | |                                                                         |
//!               | | '-------------------------------------------------------------------------'
//!               | '-- rotten, impossible ----> Damaged
//!               '-- none, stale, torn -------> Ended
//!
//!   all fed:    Expecting, Ended --> the end, or damage if a group anywhere knows of more
//! ```
//!
//! The scan is fed once with each block of the ring, in the ring's order, from the place that a
//! checkpoint starts at. The *chain* is what follows from there: groups whose positions and
//! versions continue, and whose sessions do not go down. It never goes back, so it has no loop.
//!
//! Other whole groups are looked at, too, wherever they are: one of them may know that something
//! was durable which the chain does not have, or name a newer checkpoint. Payload is not taken for
//! a group, so at most one group is being read at a time, and all is linear in the ring's length.

use std::collections::VecDeque;

use super::group::{Fault, Group, Header, Kind, MAX_SESSION, Reading, Tag};
use super::ring::{Demand, Ring};
use super::{BLOCK_LEN, MAX_NUMBER, Place, max_group_blocks};

#[cfg(test)]
mod tests;

/// Where a checkpoint says that the log starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The place of the first group behind the checkpoint.
    pub place: Place,
    /// The session that made the checkpoint: a group of a lower one is stale.
    pub session: u32,
    /// The checkpoint's version: the first transaction behind it made the next one.
    pub version: u64,
}

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Where the next group goes.
    pub place: Place,
    /// The session of the last group, or of the start.
    pub session: u32,
    /// The version that the last transaction made, or that of the start.
    pub version: u64,
    /// All groups before this position are known to be durable.
    pub known: u64,
    /// The first group that is not known to be durable, though it is whole; [`End::place`] if there
    /// is none. Whoever opens for writing writes all blocks from here up to the end once more, as
    /// they are.
    pub unknown_from: Place,
    /// The highest checkpoint that a whole group names, of the chain or not; 0 without a group.
    pub names: u64,
}

/// What no crash leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The start cannot be one of this ring.
    #[error("the log cannot start at position {position}, offset {offset}")]
    ImpossibleStart {
        /// The start's position.
        position: u64,
        /// The start's offset, in blocks.
        offset: u64,
    },
    /// The file has not as many blocks as any log has.
    #[error("the log is too short: it has {ring_blocks} blocks")]
    TooShort {
        /// How many blocks the ring has.
        ring_blocks: u64,
    },
    /// All sectors are of the group that has to be there, and a checksum is wrong.
    #[error("the log's group at position {position} is damaged")]
    RottenGroup {
        /// Its position.
        position: u64,
    },
    /// The chain ends, and a whole group knows that it went on.
    #[error("the log's group at position {position} is missing, and a later one knows it durable")]
    CoveredGroup {
        /// The position that the chain ends at.
        position: u64,
    },
    /// The groups leave no room for the name of a checkpoint.
    #[error("the log is too full: it ends at position {position}")]
    TooFull {
        /// The position that the chain ends at.
        position: u64,
    },
    /// The checksums are right, and no writer writes that.
    #[error("the log's group at position {position} is impossible: {what}")]
    ImpossibleGroup {
        /// Its position.
        position: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A scan under way.
#[derive(Debug)]
pub struct Scan {
    ring_blocks: u64,
    /// Where the log starts: the first block that is fed is there.
    start: Place,
    fed_count: u64,
    chain: Chain,
    reading: Option<(Reading, Belongs)>,
    /// Groups of the chain that nobody has fetched.
    ready: VecDeque<(Place, Group)>,
    /// The highest position that a whole group knew all groups before to be durable.
    covered: u64,
    names: u64,
}

/// Is a group that is being read the next one of the chain?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belongs {
    ToChain,
    Elsewhere,
}

/// What follows from the start.
#[derive(Debug)]
struct Chain {
    progress: Progress,
    /// Where the next group is, as one of the blocks that are fed.
    next_index: u64,
    /// Where the next group is.
    next: Place,
    session: u32,
    /// The version of the checkpoint.
    base: u64,
    /// The version that the groups so far come to.
    version: u64,
    /// The version that the next group begins with, if there was one.
    next_version: Option<u64>,
    known: u64,
    /// The places of groups at or behind `known`.
    unknown: VecDeque<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It may go on.
    Expecting,
    /// It ends as a crash may leave it.
    Ended,
    /// It ends as no crash leaves it.
    Damaged(Damage),
}

impl Scan {
    /// Begins to scan a ring of `ring_blocks` blocks.
    ///
    /// # Errors
    ///
    /// [`Damage::TooShort`], [`Damage::ImpossibleStart`].
    pub fn new(ring_blocks: u64, start: Start) -> Result<Scan, Damage> {
        if ring_blocks < Ring::MIN_BLOCKS {
            return Err(Damage::TooShort { ring_blocks });
        }
        let Place { position, offset } = start.place;
        let is_possible = offset < ring_blocks
            && position <= MAX_NUMBER
            && start.version <= MAX_NUMBER
            && (1..=MAX_SESSION).contains(&start.session);
        if !is_possible {
            return Err(Damage::ImpossibleStart { position, offset });
        }
        let chain = Chain {
            progress: Progress::Expecting,
            next_index: 0,
            next: start.place,
            session: start.session,
            base: start.version,
            version: start.version,
            next_version: None,
            known: position,
            unknown: VecDeque::new(),
        };
        Ok(Scan {
            ring_blocks,
            start: start.place,
            fed_count: 0,
            chain,
            reading: None,
            ready: VecDeque::new(),
            covered: 0,
            names: 0,
        })
    }

    /// The offset of the block to be fed next, and how many may be in one piece with it before the
    /// ring's end; `None` if all have been fed.
    pub fn wanted(&self) -> Option<(u64, u64)> {
        let left = self.ring_blocks - self.fed_count;
        let offset = self.offset_of(self.fed_count);
        (left > 0).then(|| (offset, left.min(self.ring_blocks - offset)))
    }

    /// Takes the next blocks. Fetch the [groups](Scan::next_group) before more are fed: then the
    /// scan holds no more than these blocks and the longest group.
    ///
    /// # Panics
    ///
    /// If it is not a whole number of blocks, or the round is over.
    pub fn feed(&mut self, blocks: &[u8]) {
        let (blocks, rest) = blocks.as_chunks::<BLOCK_LEN>();
        assert!(rest.is_empty(), "{} bytes are no block", rest.len());
        for block in blocks {
            assert!(self.fed_count < self.ring_blocks, "more than once around");
            self.take(block);
            self.fed_count += 1;
        }
    }

    /// The next group of the chain, wrap groups among them, and its place. Damage may be found
    /// behind it yet: nothing of it counts before [`Scan::finish`] says where the log ends.
    pub fn next_group(&mut self) -> Option<(Place, Group)> {
        self.ready.pop_front()
    }

    /// Says where the log ends, when all blocks have been fed.
    ///
    /// # Errors
    ///
    /// What no crash leaves behind.
    ///
    /// # Panics
    ///
    /// If blocks are missing.
    pub fn finish(self) -> Result<End, Damage> {
        assert_eq!(self.fed_count, self.ring_blocks, "the scan is not once around");
        assert!(self.reading.is_none(), "a group reaches over the end of the round");
        let chain = self.chain;
        let place = chain.next;
        if let Progress::Damaged(damage) = chain.progress {
            return Err(damage);
        }
        if self.covered > place.position {
            return Err(Damage::CoveredGroup { position: place.position });
        }
        if Ring::new(self.ring_blocks, self.start, place).place(Demand::Name).is_none() {
            return Err(Damage::TooFull { position: place.position });
        }
        Ok(End {
            place,
            session: chain.session,
            version: chain.version,
            known: chain.known,
            unknown_from: chain.unknown.front().copied().unwrap_or(place),
            names: self.names,
        })
    }

    fn offset_of(&self, index: u64) -> u64 {
        (self.start.offset + index) % self.ring_blocks
    }

    fn take(&mut self, block: &[u8; BLOCK_LEN]) {
        let under_way = self.reading.take();
        if let Some((reading, belongs)) = under_way
            && self.go_on(reading, belongs, block)
        {
            return;
        }
        if let Some((reading, belongs)) = self.begin(block) {
            self.go_on(reading, belongs, block);
        }
    }

    /// Gives a block to the group that is being read. `false` if it is not of it: then the group is
    /// torn.
    fn go_on(&mut self, mut reading: Reading, belongs: Belongs, block: &[u8; BLOCK_LEN]) -> bool {
        let taken = reading.take(block);
        if let Err(fault) = taken {
            self.fail(belongs, fault);
            return false;
        }
        if reading.is_complete() {
            self.complete(reading, belongs);
        } else {
            self.reading = Some((reading, belongs));
        }
        true
    }

    /// Begins to read a group, if one begins with this block.
    fn begin(&mut self, block: &[u8; BLOCK_LEN]) -> Option<(Reading, Belongs)> {
        let mut belongs = Belongs::Elsewhere;
        if self.chain.expects_at(self.fed_count) {
            if Tag::of_block(block).may_begin(self.chain.next.position, self.chain.session) {
                belongs = Belongs::ToChain;
            } else {
                self.chain.progress = Progress::Ended;
            }
        }
        let begun = Reading::begin(block, belongs == Belongs::ToChain);
        let reading = begun.map_err(|fault| self.fail(belongs, fault)).ok()?;
        if belongs == Belongs::ToChain && reading.header().position != self.chain.next.position {
            // The lower 32 bits are the same ones: it is thousands of laps old.
            self.chain.progress = Progress::Ended;
            belongs = Belongs::Elsewhere;
        }
        if let Err(fault) = self.check_length(&reading) {
            self.fail(belongs, fault);
            return None;
        }
        Some((reading, belongs))
    }

    /// Can a group of that length be here?
    fn check_length(&self, reading: &Reading) -> Result<(), Fault> {
        let count = reading.block_count();
        if count > max_group_blocks(self.ring_blocks) {
            return Err(Fault::Impossible { what: "it is longer than any of this log" });
        }
        let end = self.offset_of(self.fed_count) + count;
        if end + u64::from(reading.header().kind == Kind::Commits) > self.ring_blocks {
            return Err(Fault::Impossible { what: "it leaves no block for a wrap group" });
        }
        if self.fed_count + count > self.ring_blocks {
            return Err(Fault::Impossible { what: "it reaches over the log's start" });
        }
        Ok(())
    }

    fn fail(&mut self, belongs: Belongs, fault: Fault) {
        if belongs == Belongs::Elsewhere {
            return;
        }
        let position = self.chain.next.position;
        self.chain.progress = match fault {
            Fault::NoGroup | Fault::Torn => Progress::Ended,
            Fault::Rotten => Progress::Damaged(Damage::RottenGroup { position }),
            Fault::Impossible { what } => {
                Progress::Damaged(Damage::ImpossibleGroup { position, what })
            }
        };
    }

    /// Looks at a group of which all blocks are there.
    fn complete(&mut self, reading: Reading, belongs: Belongs) {
        if let Err(fault) = reading.check() {
            return self.fail(belongs, fault);
        }
        self.covered = self.covered.max(reading.header().known);
        self.names = self.names.max(reading.header().names);
        if belongs == Belongs::Elsewhere {
            return;
        }
        let index = self.fed_count + 1 - reading.block_count();
        let place = Place { offset: self.offset_of(index), ..self.chain.next };
        let followed = reading.into_group().and_then(|group| {
            self.follow(place, group.header(), group.block_count())?;
            Ok(group)
        });
        match followed {
            Ok(group) => self.ready.push_back((place, group)),
            Err(fault) => self.fail(belongs, fault),
        }
    }

    /// Goes on behind a whole group of the chain.
    fn follow(&mut self, place: Place, header: &Header, block_count: u64) -> Result<(), Fault> {
        if header.transactions > 0 && !self.chain.may_have(header.first_version) {
            return Err(Fault::Impossible { what: "its version does not follow" });
        }
        let position = place.position + block_count;
        let (next, next_index) = match header.kind {
            Kind::Commits => {
                (Place { position, offset: place.offset + block_count }, self.fed_count + 1)
            }
            Kind::Wrap => (Place { position, offset: 0 }, self.ring_blocks - self.start.offset),
        };
        if next_index <= self.fed_count {
            return Err(Fault::Impossible { what: "it leads back to before the log's start" });
        }
        self.chain.follow(place, header, next, next_index);
        Ok(())
    }
}

impl Chain {
    fn expects_at(&self, index: u64) -> bool {
        self.progress == Progress::Expecting && self.next_index == index
    }

    /// May the next group begin with this version? Commits that are waiting for a group when a
    /// checkpoint takes them over may get one yet, behind its start: the log goes on from any
    /// version that the checkpoint has. Once the checkpoint is named, those that are still waiting
    /// are in no group: the next commit is the first one that the checkpoint does not have.
    fn may_have(&self, version: u64) -> bool {
        let behind_base = self.base + 1;
        match self.next_version {
            None => (1..=behind_base).contains(&version),
            Some(next) => version == next || (version == behind_base && next < behind_base),
        }
    }

    fn follow(&mut self, place: Place, header: &Header, next: Place, next_index: u64) {
        self.next = next;
        self.next_index = next_index;
        self.session = header.session;
        // One without commits says nothing of versions: what waits behind it may be older.
        if header.transactions > 0 {
            let next_version = header.first_version + u64::from(header.transactions);
            self.version = self.version.max(next_version - 1);
            self.next_version = Some(next_version);
        }
        self.known = self.known.max(header.known);
        self.unknown.push_back(place);
        while self.unknown.front().is_some_and(|place| place.position < self.known) {
            self.unknown.pop_front();
        }
    }
}
