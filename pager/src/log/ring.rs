//! Where in the ring the next group goes.
//!
//! ```text
//!       0            tail                 head       ring_blocks
//!       |    free     |#### used ###########|   free   |           the head is never at the end
//!
//!       0    head               tail                   |
//!       |#####|       free       |########[W]ssssssssss|           skipped blocks are used
//!
//!       0    head               tail                   |           grown
//!       |#####|       free       |########[W]ssssssssss|sssssss|   before the tail has passed W
//!
//!       0            tail                 head         |           grown
//!       |    free     |#### used ###########|        free      |   where nothing wraps
//! ```
//!
//! What is free is one stretch from the head on, across the ring's end. Each lap ends with a wrap
//! group, even one that has only its own block to skip: so it is written where the lap ends, and
//! follows from no length, which the ring has later, or a reader who finds a longer file.
//!
//! Commits leave [three blocks](LEFT_FOR_NAMES), so that the name of a checkpoint always finds
//! room: only that moves the tail. A checkpoint that began when the ring was empty starts at the
//! tail, and gives nothing back for its name. The next one starts behind that name at least, and
//! gives back all that is before it. So two names need room at once, and one of them a wrap group
//! in front of it, if it comes to the last block. Not both: a lap has more blocks than two.

use super::{Place, max_group_blocks};

/// What a group is placed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Commits, in a group of so many blocks. They leave room for names.
    Commits(u64),
    /// Commits that were told before that there is room, in a group of so many blocks: a name may
    /// have come since, of those that they leave room for.
    Promised(u64),
    /// The name of a checkpoint, in a group of one block. For each checkpoint it is asked for once
    /// at most, and the next checkpoint begins when this one is named and the tail has advanced.
    Name,
}

/// Where a group goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where a wrap group has to be written, if one has to.
    pub wrap: Option<Place>,
    /// Where the group has to be written.
    pub at: Place,
}

/// How many blocks commits leave: for two names, and one to wrap.
pub const LEFT_FOR_NAMES: u64 = 3;

/// The part of the log that counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ring {
    ring_blocks: u64,
    tail: Place,
    head: Place,
}

impl Ring {
    /// The fewest blocks that a ring has: one for commits, one to wrap, and what they leave. Then
    /// an empty one has room for the longest group, wherever it begins.
    pub const MIN_BLOCKS: u64 = 2 + LEFT_FOR_NAMES;

    /// A ring of `ring_blocks` blocks with groups from `tail` up to `head`. For a new log both are
    /// the same place; after a scan, its start and [its end](super::scan::End::place).
    ///
    /// # Panics
    ///
    /// If the two cannot be places in such a ring.
    pub fn new(ring_blocks: u64, tail: Place, head: Place) -> Ring {
        assert!(ring_blocks >= Ring::MIN_BLOCKS, "a ring of {ring_blocks} blocks");
        let ring = Ring { ring_blocks, tail, head };
        ring.assert_invariants();
        ring
    }

    /// Where the next group goes, unless a wrap is needed first. A checkpoint starts with the head
    /// as it is when the checkpoint begins: behind the last group that it contains, and behind the
    /// name of the checkpoint before it.
    pub fn head(&self) -> Place {
        self.head
    }

    /// From where on the groups are needed.
    pub fn tail(&self) -> Place {
        self.tail
    }

    /// The ring's length in blocks.
    pub fn ring_blocks(&self) -> u64 {
        self.ring_blocks
    }

    /// How many blocks are free.
    pub fn free_blocks(&self) -> u64 {
        self.ring_blocks - self.used_blocks()
    }

    /// How many blocks may not be overwritten, those that a wrap skipped among them.
    pub fn used_blocks(&self) -> u64 {
        self.used_from(self.tail)
    }

    /// How many blocks there are from a place up to the head, in the ring's order.
    fn used_from(&self, place: Place) -> u64 {
        let (from, to) = (place.offset, self.head.offset);
        if place.position == self.head.position || from < to {
            to - from
        } else {
            self.ring_blocks - from + to
        }
    }

    /// Takes the room for a group, and for a wrap group if it needs one; `None` if there is no
    /// room before the tail has moved.
    ///
    /// # Panics
    ///
    /// If the group has no block, or more than [`max_group_blocks`].
    pub fn place(&mut self, demand: Demand) -> Option<Placed> {
        let (blocks, left) = match demand {
            Demand::Commits(blocks) => (blocks, LEFT_FOR_NAMES),
            Demand::Promised(blocks) => (blocks, 0),
            Demand::Name => (1, 0),
        };
        let most = max_group_blocks(self.ring_blocks);
        assert!((1..=most).contains(&blocks), "a group of {blocks} blocks, of at most {most}");
        let rest = self.ring_blocks - self.head.offset;
        // A lap ends with a wrap group: whatever is placed leaves a block for it.
        let skipped = if blocks >= rest { rest } else { 0 };
        if self.used_blocks() + skipped + blocks + left > self.ring_blocks {
            return None;
        }
        let wrap = (skipped > 0).then_some(self.head);
        let at = Place {
            position: self.head.position + u64::from(wrap.is_some()),
            offset: if wrap.is_some() { 0 } else { self.head.offset },
        };
        self.head = Place { position: at.position + blocks, offset: at.offset + blocks };
        self.assert_invariants();
        Some(Placed { wrap, at })
    }

    /// Gives up the groups before `place`: a checkpoint that starts there has been named.
    ///
    /// # Panics
    ///
    /// If the place is not one between tail and head.
    pub fn advance_tail(&mut self, place: Place) {
        let positions = self.tail.position..=self.head.position;
        assert!(positions.contains(&place.position), "{place:?} is not in {self:?}");
        assert!(self.used_from(place) <= self.used_blocks(), "{place:?} is not in {self:?}");
        self.tail = place;
        self.assert_invariants();
    }

    /// Says that the file has `blocks` more blocks, zero-filled and durable. If what is used
    /// reaches around the old end, they are skipped until the tail has passed that.
    pub fn grow(&mut self, blocks: u64) {
        self.ring_blocks += blocks;
        self.assert_invariants();
    }

    fn assert_invariants(&self) {
        for place in [self.tail, self.head] {
            assert!(place.offset < self.ring_blocks, "{place:?} is not in {self:?}");
        }
        assert!(self.tail.position <= self.head.position, "the tail overtook the head: {self:?}");
        let groups = self.head.position - self.tail.position;
        assert!(groups <= self.used_blocks(), "more groups than room: {self:?}");
        let is_empty = self.tail.position == self.head.position;
        assert!(!is_empty || self.tail == self.head, "empty, and in two places: {self:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const BEGIN: Place = Place { position: 100, offset: 0 };

    fn place(position: u64, offset: u64) -> Place {
        Place { position, offset }
    }

    fn at(position: u64, offset: u64) -> Option<Placed> {
        Some(Placed { wrap: None, at: place(position, offset) })
    }

    /// Behind a wrap group at this place.
    fn wrapped(wrap: Place) -> Option<Placed> {
        Some(Placed { wrap: Some(wrap), at: place(wrap.position + 1, 0) })
    }

    #[test]
    fn commits_leave_room_for_a_name_and_a_name_frees_more() {
        let mut ring = Ring::new(8, BEGIN, BEGIN);
        // One that began when nothing was there.
        let first = ring.head();
        for offset in 0..5 {
            assert_eq!(ring.place(Demand::Commits(1)), at(100 + offset, offset));
        }
        assert_eq!(ring.place(Demand::Commits(1)), None);
        assert_eq!(ring.place(Demand::Name), at(105, 5));
        ring.advance_tail(first);
        assert_eq!((ring.place(Demand::Commits(1)), ring.used_blocks()), (None, 6));
        let second = ring.head();
        assert_eq!(ring.place(Demand::Name), at(106, 6));
        // The last block is a wrap group's.
        assert_eq!((ring.place(Demand::Name), ring.used_blocks()), (None, 7));
        ring.advance_tail(second);
        assert_eq!(ring.used_blocks(), 1);
        assert_eq!(ring.place(Demand::Commits(1)), wrapped(place(107, 7)));
        ring.advance_tail(ring.head());
        assert_eq!((ring.used_blocks(), ring.tail()), (0, place(109, 1)));
    }

    #[test]
    fn what_commits_leave_is_needed_to_the_last_block() {
        let begin = place(100, 2);
        let mut ring = Ring::new(8, begin, begin);
        for offset in 2..7 {
            assert_eq!(ring.place(Demand::Commits(1)), at(98 + offset, offset));
        }
        assert_eq!(ring.free_blocks(), LEFT_FOR_NAMES);
        assert_eq!(ring.place(Demand::Name), wrapped(place(105, 7)));
        ring.advance_tail(begin);
        let second = ring.head();
        assert_eq!(ring.place(Demand::Name), at(107, 1));
        assert_eq!(ring.free_blocks(), 0);
        ring.advance_tail(second);
        assert_eq!(ring.free_blocks(), 7);
    }

    #[test]
    fn what_a_wrap_skips_is_used_until_the_tail_passes_it() {
        // One that would reach over the end; one that would reach up to it.
        for blocks in [3, 2] {
            let mut ring = Ring::new(32, place(0, 30), place(0, 30));
            assert_eq!(ring.place(Demand::Commits(blocks)), wrapped(place(0, 30)));
            assert_eq!((ring.head(), ring.used_blocks()), (place(1 + blocks, blocks), 2 + blocks));
            ring.advance_tail(place(1, 0));
            assert_eq!(ring.used_blocks(), blocks);
        }
        let mut ring = Ring::new(32, place(0, 30), place(0, 30));
        assert_eq!(ring.place(Demand::Commits(1)), at(0, 30));
    }

    #[test]
    fn an_empty_ring_has_room_for_the_longest_group_wherever_it_begins() {
        for ring_blocks in [Ring::MIN_BLOCKS, 7, 8, 15, 16, 17, 100, 65_536] {
            let longest = max_group_blocks(ring_blocks);
            for offset in (0..ring_blocks).rev().take(10_000) {
                let begin = place(9, offset);
                let mut ring = Ring::new(ring_blocks, begin, begin);
                assert!(ring.place(Demand::Commits(longest)).is_some(), "{ring:?}");
            }
        }
    }

    #[test]
    fn a_ring_that_grows_goes_on_at_its_head() {
        // Nothing wraps: what is new is free.
        let mut ring = Ring::new(8, place(101, 1), place(107, 7));
        ring.grow(8);
        assert_eq!((ring.used_blocks(), ring.ring_blocks()), (6, 16));
        assert_eq!(ring.place(Demand::Commits(1)), at(107, 7));
        // Empty.
        let mut ring = Ring::new(8, place(105, 7), place(105, 7));
        ring.grow(8);
        assert_eq!((ring.used_blocks(), ring.place(Demand::Commits(1))), (0, at(105, 7)));
        // Around the end, and full: what is new is skipped until the tail has passed the old end.
        for tail in [5, 3] {
            let mut ring = Ring::new(8, place(100, tail), place(111 - tail, 3));
            let free = ring.free_blocks();
            ring.grow(8);
            assert_eq!(ring.free_blocks(), free);
            ring.advance_tail(place(108 - tail, 0));
            assert_eq!(ring.used_blocks(), 3);
            assert_eq!(ring.place(Demand::Commits(2)), at(111 - tail, 3));
        }
    }

    #[test]
    #[should_panic(expected = "is not in")]
    fn no_place_is_at_the_end() {
        Ring::new(8, BEGIN, place(108, 8));
    }

    #[test]
    #[should_panic(expected = "is not in")]
    fn the_tail_does_not_go_back() {
        let mut ring = Ring::new(8, place(103, 3), place(106, 6));
        ring.advance_tail(place(104, 2));
    }

    /// A group that must not be overwritten.
    struct Live {
        position: u64,
        /// With what was skipped.
        blocks: u64,
        is_wrap: bool,
    }

    /// A ring in which each block knows the position of the group it was last written for.
    struct Model {
        ring: Ring,
        blocks: Vec<Option<u64>>,
        live: Vec<Live>,
    }

    impl Model {
        /// Marks a group's blocks.
        fn write(&mut self, at: Place, group_blocks: u64, blocks: u64, is_wrap: bool) {
            let is_live = |position| self.live.iter().any(|live| live.position == position);
            for offset in at.offset..at.offset + blocks {
                let block = &mut self.blocks[offset as usize];
                assert!(!block.is_some_and(is_live), "{block:?} is overwritten at {at:?}");
                *block = (offset < at.offset + group_blocks).then_some(at.position);
            }
            self.live.push(Live { position: at.position, blocks, is_wrap });
        }

        fn place(&mut self, demand: Demand) -> bool {
            let blocks = match demand {
                Demand::Commits(blocks) | Demand::Promised(blocks) => blocks,
                Demand::Name => 1,
            };
            let Some(placed) = self.ring.place(demand) else { return false };
            if let Some(wrap) = placed.wrap {
                self.write(wrap, 1, self.ring.ring_blocks() - wrap.offset, true);
            }
            self.write(placed.at, blocks, blocks, false);
            true
        }

        fn grow(&mut self, blocks: u64) {
            self.ring.grow(blocks);
            self.blocks.resize(self.ring.ring_blocks() as usize, None);
            if let Some(wrap) = self.live.iter_mut().find(|live| live.is_wrap) {
                wrap.blocks += blocks;
            }
        }

        fn check(&self) {
            let used: u64 = self.live.iter().map(|live| live.blocks).sum();
            assert_eq!(self.ring.used_blocks(), used, "{:?}", self.ring);
            let tail = self.live.first().map_or(self.ring.head().position, |live| live.position);
            assert_eq!(self.ring.tail().position, tail);
            for live in &self.live {
                let is_there = self.blocks.contains(&Some(live.position));
                assert!(is_there, "{} is lost", live.position);
            }
        }
    }

    #[test]
    fn no_live_block_is_overwritten_and_a_name_always_finds_room() {
        let mut random: u64 = 0x2545_f491_4f6c_dd1d;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let (mut refused, mut wrapped, mut grown, mut grown_around) = (0, 0, 0, 0);
        for _ in 0..300 {
            let ring_blocks = Ring::MIN_BLOCKS + next(60);
            let begin = place(next(1_000), next(ring_blocks));
            let ring = Ring::new(ring_blocks, begin, begin);
            let blocks = vec![None; ring_blocks as usize];
            let mut model = Model { ring, blocks, live: Vec::new() };
            let mut checkpoint = None;
            for _ in 0..400 {
                let head = model.ring.head();
                let longest = max_group_blocks(model.ring.ring_blocks());
                refused += u32::from(!model.place(Demand::Commits(1 + next(longest))));
                wrapped += u32::from(model.ring.head().offset < head.offset);
                model.check();
                match checkpoint {
                    None if next(8) == 0 => checkpoint = Some(model.ring.head()),
                    Some(start) if next(8) == 0 => {
                        assert!(model.place(Demand::Name), "{:?}", model.ring);
                        model.ring.advance_tail(start);
                        model.live.retain(|live| live.position >= start.position);
                        model.check();
                        checkpoint = None;
                    }
                    None | Some(_) => {}
                }
                assert!(model.ring.clone().place(Demand::Name).is_some(), "{:?}", model.ring);
                if model.ring.ring_blocks() < 200 && next(20) == 0 {
                    grown_around += u32::from(model.live.iter().any(|live| live.is_wrap));
                    model.grow(1 + next(40));
                    model.check();
                    grown += 1;
                }
            }
        }
        assert!(refused > 1_000 && wrapped > 1_000, "{refused} {wrapped}");
        assert!(grown_around > 100 && grown > grown_around + 100, "{grown} {grown_around}");
    }

    /// A ring, and the start of a checkpoint under way.
    type Moment = (Ring, Option<Place>);

    /// What may happen next. Positions count from the tail.
    fn successors((ring, checkpoint): &Moment) -> Vec<Moment> {
        let mut next = Vec::new();
        for blocks in 1..=max_group_blocks(ring.ring_blocks) {
            let mut ring = ring.clone();
            if ring.place(Demand::Commits(blocks)).is_some() {
                next.push((ring, *checkpoint));
            }
        }
        let mut longer = ring.clone();
        longer.grow(1);
        next.push((longer, *checkpoint));
        match checkpoint {
            None => next.push((ring.clone(), Some(ring.head()))),
            Some(start) => {
                // It ends; or the process does, with a slot that names it or without.
                let mut named = ring.clone();
                assert!(named.place(Demand::Name).is_some(), "no room for a name: {ring:?}");
                named.advance_tail(*start);
                next.push((named, None));
                next.push((Ring::new(ring.ring_blocks, *start, ring.head()), None));
                next.push((ring.clone(), None));
            }
        }
        for (ring, checkpoint) in &mut next {
            let first = ring.tail.position;
            for place in [&mut ring.tail, &mut ring.head].into_iter().chain(checkpoint) {
                place.position -= first;
            }
        }
        next
    }

    #[test]
    fn whatever_happens_there_is_room_for_a_name_and_soon_for_commits() {
        let mut seen = HashSet::new();
        let mut open: Vec<Moment> = Vec::new();
        for offset in 0..Ring::MIN_BLOCKS {
            open.push((Ring::new(Ring::MIN_BLOCKS, place(0, offset), place(0, offset)), None));
        }
        while let Some(moment) = open.pop() {
            if moment.0.ring_blocks > 17 || !seen.insert(moment.clone()) {
                continue;
            }
            open.extend(successors(&moment));
            let mut ring = moment.0;
            let has_room = (0..3).any(|_| {
                let start = ring.head();
                assert!(ring.place(Demand::Name).is_some(), "{ring:?}");
                ring.advance_tail(start);
                let longest = max_group_blocks(ring.ring_blocks);
                ring.clone().place(Demand::Commits(longest)).is_some()
            });
            assert!(has_room, "{ring:?}");
        }
        assert!(seen.len() > 10_000, "{}", seen.len());
    }
}
