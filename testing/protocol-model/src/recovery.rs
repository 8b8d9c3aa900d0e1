//! What recovery reads, and whether it may read that.

use crate::disk::{Disk, Place};
use crate::format::{Block, Group, Page, Slot, Superblock, group_in, is_rotten};
use crate::state::{Found, State};
use crate::{Broken, Mistake, Model};

/// Why recovery refuses a file.
pub(crate) type Corrupt = &'static str;

impl Model {
    /// What opening finds in a file.
    pub(crate) fn read(&self, disk: &Disk) -> Result<Found, Corrupt> {
        let [first, second] = [0, 1].map(|slot: usize| disk.slots[slot].visible());
        // "The newer valid slot."
        let (superblock, slot, other) = match (first, second) {
            (Slot::Bad, Slot::Bad) => return Err("no slot is good"),
            (Slot::Good(first), Slot::Good(second)) if second.number > first.number => {
                (second, 1, Slot::Good(first))
            }
            (Slot::Good(first), second) => (first, 0, second),
            (Slot::Bad, Slot::Good(second)) => (second, 1, Slot::Bad),
        };
        if superblock.log.is_none() {
            return Ok(Found { superblock, slot, groups: Vec::new() });
        }
        // "Log in use but missing or of another id: LogMissing, never an older state."
        if disk.log.visible() != superblock.log {
            return Err("the log is missing");
        }
        let groups = self.chain(disk, &superblock);
        if other == Slot::Bad && self.is_newer_named(disk, &superblock, &groups) {
            return Err("a slot is bad, and the log names a newer checkpoint");
        }
        let found = Found { superblock, slot, groups };
        self.check_end(disk, &found)?;
        Ok(found)
    }

    /// The groups that follow each other from the checkpoint's start on.
    fn chain(&self, disk: &Disk, superblock: &Superblock) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        while groups.len() < disk.blocks.len() {
            let position = superblock.version.next + groups.len() as u8;
            let group = group_in(&disk.block_of(position).visible());
            let Some(group) = group.filter(|group| group.position == position) else { break };
            let session = self.session_before(superblock, &groups);
            if group.session < session && !self.has(Mistake::StaleGroupAccepted) {
                break;
            }
            groups.push(group);
        }
        groups
    }

    /// The session that the next group has at least: "a group of a lower session than its
    /// predecessor is stale", and the predecessor of the first one is the checkpoint.
    fn session_before(&self, superblock: &Superblock, groups: &[Group]) -> u8 {
        let start = match self.mistake {
            Some(Mistake::StartWithoutSession) => 0,
            _ => superblock.start_session,
        };
        groups.last().map_or(start, |group| group.session)
    }

    /// "If the other is bad: with a log group that names a newer checkpoint it is Corrupt."
    fn is_newer_named(&self, disk: &Disk, superblock: &Superblock, chain: &[Group]) -> bool {
        match self.mistake {
            Some(Mistake::NameIgnored) => false,
            Some(Mistake::NamesAlongChainOnly) => {
                chain.iter().any(|group| group.names > superblock.number)
            }
            _ => whole_groups(disk).any(|group| group.names > superblock.number),
        }
    }

    /// Is the log's end one that a crash may leave?
    fn check_end(&self, disk: &Disk, found: &Found) -> Result<(), Corrupt> {
        let end = found.end();
        let session = self.session_before(&found.superblock, &found.groups);
        let is_rotten = is_rotten(&disk.block_of(end).visible(), end, session);
        if is_rotten && !self.has(Mistake::RottenGroupTruncated) {
            return Err("a group's checksum is wrong, and its sectors are right");
        }
        // "A bad group that a later one's known-durable position covers is damage to acknowledged
        // commits."
        let is_covered = whole_groups(disk).any(|later| later.position > end && later.known > end);
        if is_covered && !self.has(Mistake::CoveredGroupTruncated) {
            return Err("a group is bad, and a later one knows it durable");
        }
        Ok(())
    }

    /// Opens, and compares what is found with what was promised.
    pub(crate) fn recover(&self, state: &State) -> Result<Found, Broken> {
        let found = self.read(&state.disk).map_err(Broken::Refused)?;
        let (history, promise) = (found.history(), &state.promise);
        if !history.contains(promise.kept) {
            return Err(Broken::Lost { kept: promise.kept, found: history });
        }
        if !history.is_prefix_of(promise.submitted) {
            return Err(Broken::NoPrefix { submitted: promise.submitted, found: history });
        }
        let runs = found.groups.iter().filter_map(|group| group.run);
        let runs = runs.map(|run| (run.page, Page::Run { stamp: run.stamp }));
        for (page, content) in found.superblock.version.pages().chain(runs) {
            if state.disk.pages[usize::from(page)].visible() != content {
                return Err(Broken::WrongPage { page });
            }
        }
        let session = found.superblock.session + 1;
        if promise.sealed.session >= session {
            return Err(Broken::SessionRepeated { session });
        }
        Ok(found)
    }

    /// Is what a last crash left recovered, also if something of it has rotted?
    pub(crate) fn survives(&self, state: &State) -> bool {
        let survives_rot = |(_, rotten): (Rot, State)| self.recover_rotten(&rotten).is_ok();
        self.recover(state).is_ok() && (!self.bounds.rot || rotten(state).all(survives_rot))
    }

    /// As [`Model::recover`] where something has rotted: "damage to the file is reported, never
    /// returned as data". A refusal is right, unless the file was closed: then each
    /// slot says the same.
    pub(crate) fn recover_rotten(&self, state: &State) -> Result<(), Broken> {
        match self.recover(state) {
            Err(Broken::Refused(_)) if !state.promise.is_closed => Ok(()),
            other => other.map(drop),
        }
    }
}

/// The whole groups that stand anywhere in the log.
fn whole_groups(disk: &Disk) -> impl Iterator<Item = Group> {
    disk.blocks.iter().filter_map(|block| group_in(&block.visible()))
}

/// Where something rots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rot {
    /// A slot.
    Slot(u8),
    /// A block of the log, whose sectors can be told still.
    Group(u8),
    /// A block of the log, of which nothing is left.
    Block(u8),
}

/// Every way in which one thing rots of what is used. What is only the log's end may not be
/// wholly unreadable: nobody could know that it was there.
pub(crate) fn rotten(state: &State) -> impl Iterator<Item = (Rot, State)> {
    let with = |rot, change: &dyn Fn(&mut Disk)| {
        let mut rotten = state.clone();
        rotten.left.rot = false;
        change(&mut rotten.disk);
        (rot, rotten)
    };
    let slots = (0..2_u8).map(|slot| {
        with(Rot::Slot(slot), &|disk| disk.slots[usize::from(slot)] = Place::new(Slot::Bad))
    });
    let mut results: Vec<(Rot, State)> = slots.collect();
    let blocks = if state.promise.is_closed { 0 } else { state.disk.blocks.len() };
    for index in 0..blocks {
        let place = &state.disk.blocks[index];
        let Some(group) = group_in(&place.visible()) else { continue };
        let set = |content: Block| move |disk: &mut Disk| disk.blocks[index] = Place::new(content);
        let changed = Group { rotten: true, ..group };
        results.push(with(Rot::Group(index as u8), &set([Some(group), Some(changed)])));
        let is_covered = whole_groups(&state.disk)
            .any(|later| later.known > group.position && later.position > group.position);
        if is_covered {
            results.push(with(Rot::Block(index as u8), &set([None; 2])));
        }
    }
    results.into_iter()
}
