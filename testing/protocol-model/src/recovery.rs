//! What recovery reads, and whether it may read that.

use crate::disk::{Disk, Place};
use crate::format::{Block, Group, LogPlace, Page, Slot, Superblock, group_in, is_rotten};
use crate::log_place::Ring;
use crate::state::{Found, Replayed, State};
use crate::{Broken, Mistake, Model};

/// Why recovery refuses a file.
pub(crate) type Corrupt = &'static str;

impl Model {
    /// What opening finds in a file.
    pub(crate) fn read(&self, disk: &Disk) -> Result<Found, Corrupt> {
        let [first, second] = [0, 1].map(|slot: usize| disk.slots[slot].visible());
        // "The newer valid slot."
        let (superblock, slot) = match (first, second) {
            (Slot::Bad, Slot::Bad) => return Err("no slot is good"),
            (Slot::Good(first), Slot::Good(second)) if second.number > first.number => (second, 1),
            (Slot::Good(first), _) => (first, 0),
            (Slot::Bad, Slot::Good(second)) => (second, 1),
        };
        let ring_blocks = disk.log_len.visible();
        let version = superblock.version;
        let replayed = Replayed {
            history: version.history,
            edits: version.edits,
            run: version.run,
            twice: None,
        };
        let (groups, end) = (Vec::new(), superblock.start);
        let mut found = Found { superblock, slot, groups, end, ring_blocks, replayed };
        if superblock.log.is_none() {
            return Ok(found);
        }
        // "Log in use but missing or of another id: LogMissing, never an older state."
        if disk.log.visible() != superblock.log {
            return Err("the log is missing");
        }
        self.chain(disk, &mut found)?;
        if self.is_newer_named(disk, &found) {
            return Err("the log names a newer checkpoint than the slots");
        }
        self.check_end(disk, &found)?;
        Ok(found)
    }

    /// Takes the groups that follow each other from the checkpoint's start on.
    fn chain(&self, disk: &Disk, found: &mut Found) -> Result<(), Corrupt> {
        let ring = Ring { blocks: found.ring_blocks, wraps: self.wraps() };
        let start = found.superblock.start;
        if start.offset >= ring.blocks {
            return Err("the log cannot start there");
        }
        // How many blocks were looked at.
        let mut index = 0;
        while index < ring.blocks {
            let place = found.end;
            let group = group_in(&disk.blocks[usize::from(place.offset)].visible());
            let group = group.filter(|group| group.position == place.position);
            let Some(group) = group else { break };
            let session = self.session_before(&found.superblock, &found.groups);
            if group.session < session && !self.has(Mistake::StaleGroupAccepted) {
                break;
            }
            if ring.is_at_end(place) && ring.wraps && !group.is_wrap {
                return Err("a group leaves no block for a wrap group");
            }
            self.replay(found, &group)?;
            found.groups.push((place.offset, group));
            found.end = ring.behind(place, group.is_wrap);
            index = if group.is_wrap { ring.blocks - start.offset } else { index + 1 };
        }
        Ok(())
    }

    /// Makes the commits of a group again that are not there yet: versions follow each other, and
    /// where a group has some of those that the checkpoint has, they are skipped.
    fn replay(&self, found: &mut Found, group: &Group) -> Result<(), Corrupt> {
        let names_have_versions = self.has(Mistake::NamesHaveVersions);
        let base = found.superblock.version.history.count();
        let has_version = |group: &Group| names_have_versions || group.commits.count() > 0;
        let before = found.groups.iter().rfind(|(_, group)| has_version(group));
        let next = before.map(|(_, group)| group.first_version + group.commits.count());
        let is_behind_base = group.first_version == base + 1 && next < Some(base + 1);
        let follows = match next {
            None => (1..=base + 1).contains(&group.first_version),
            // Behind a checkpoint those that it has taken over are in no group.
            Some(next) => group.first_version == next || is_behind_base,
        };
        if has_version(group) && !follows {
            return Err("the version of a group does not follow");
        }
        let replayed = &mut found.replayed;
        let known = (replayed.history.count() + 1).saturating_sub(group.first_version);
        for (index, commit) in group.commits.commits().enumerate() {
            let with = replayed.history.with(commit);
            let is_skipped = index < usize::from(known);
            if is_skipped && with != replayed.history {
                return Err("a commit is skipped that is not there");
            }
            if is_skipped && !self.has(Mistake::ReplayedTwice) {
                continue;
            }
            if with == replayed.history {
                replayed.twice = Some(commit);
            }
            replayed.history = with;
            replayed.edits = group.edits;
            replayed.run = group.run.or(replayed.run);
        }
        Ok(())
    }

    /// The session that the next group has at least: "a group of a lower session than its
    /// predecessor is stale", and the predecessor of the first one is the checkpoint.
    fn session_before(&self, superblock: &Superblock, groups: &[(u8, Group)]) -> u8 {
        let start = match self.mistake {
            Some(Mistake::StartWithoutSession) => 0,
            _ => superblock.start_session,
        };
        groups.last().map_or(start, |(_, group)| group.session)
    }

    /// "With a log group that names a newer checkpoint it is Corrupt": where a slot is bad.
    fn is_newer_named(&self, disk: &Disk, found: &Found) -> bool {
        let is_newer = |group: &Group| group.names > found.superblock.number;
        match self.mistake {
            Some(Mistake::NameIgnored) => false,
            Some(Mistake::NamesAlongChainOnly) => {
                found.groups.iter().any(|(_, group)| is_newer(group))
            }
            _ => whole_groups(disk).any(|group| is_newer(&group)),
        }
    }

    /// Is the log's end one that a crash may leave?
    fn check_end(&self, disk: &Disk, found: &Found) -> Result<(), Corrupt> {
        let LogPlace { position: end, offset } = found.end;
        let session = self.session_before(&found.superblock, &found.groups);
        let is_rotten = is_rotten(&disk.blocks[usize::from(offset)].visible(), end, session);
        if is_rotten && !self.has(Mistake::RottenGroupTruncated) {
            return Err("a group's checksum is wrong, and its sectors are right");
        }
        // "A bad group that a later one's known-durable position covers is damage to acknowledged
        // commits."
        let is_covered = whole_groups(disk).any(|later| later.position > end && later.known > end);
        if is_covered && !self.has(Mistake::CoveredGroupTruncated) {
            return Err("a group is bad, and a later one knows it durable");
        }
        let ring = Ring { blocks: found.ring_blocks, wraps: self.wraps() };
        let used = ring.used(found.superblock.start, found.end);
        if ring.wraps && ring.place(used, found.end, 0).is_none() {
            return Err("the log is too full");
        }
        Ok(())
    }

    /// Opens, and compares what is found with what was promised.
    pub(crate) fn recover(&self, state: &State) -> Result<Found, Broken> {
        let found = self.read(&state.disk).map_err(Broken::Refused)?;
        let (history, promise) = (found.replayed.history, &state.promise);
        if let Some(commit) = found.replayed.twice {
            return Err(Broken::Twice { commit });
        }
        if !history.contains(promise.kept) {
            return Err(Broken::Lost { kept: promise.kept, found: history });
        }
        if !history.is_prefix_of(promise.submitted) {
            return Err(Broken::NoPrefix { submitted: promise.submitted, found: history });
        }
        let runs = found.runs().map(|(_, run)| (run.page, Page::Run { stamp: run.stamp }));
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
    disk.ring().iter().filter_map(|block| group_in(&block.visible()))
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
    let blocks = if state.promise.is_closed { 0 } else { state.disk.ring().len() };
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
