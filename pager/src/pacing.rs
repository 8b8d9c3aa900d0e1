//! How fast a checkpoint writes its pages.
//!
//! Alone it writes as fast as the device can. Beside commits it keeps pace with them, since each
//! group of theirs makes the device write what it was given before: for every two pages that they
//! make, three are written; and as much of all as they have used of half the log's room. So it is
//! over before they have to wait for it, and no group waits for much.

use yieldb_core::Completion;

/// What a checkpoint may have in flight.
#[derive(Debug)]
pub(crate) struct Pace {
    /// How many writes.
    pub depth: usize,
    /// The longest of them, in bytes.
    pub write_len: usize,
    /// How many pages it leaves for later, as long as this is not finished.
    pub later: Option<(u64, Completion)>,
}

/// Where the commits are.
#[derive(Debug)]
pub(crate) struct Course {
    /// How many blocks their groups had so far.
    pub position: u64,
    /// How many blocks of the log are free.
    pub free_blocks: u64,
    /// The group that is being written.
    pub group: Option<Completion>,
}

/// The pace of one checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    /// How many pages it has to write.
    pages: u64,
    /// The log's position when it began, and the room in it.
    from: u64,
    free_blocks: u64,
    /// The position at the last look.
    seen: u64,
}

impl Pace {
    /// What a checkpoint waits for that has so many pages left and is ahead of its pace. With none
    /// left it goes on.
    pub fn waits_for(&self, left: u64) -> Option<&Completion> {
        let (later, group) = self.later.as_ref()?;
        ((1..=*later).contains(&left) && !group.finished()).then_some(group)
    }
}

/// As fast as the device can.
const FAST: Pace = Pace { depth: 32, write_len: 256 * 1024, later: None };

/// Beside commits.
const GENTLE: Pace = Pace { depth: 32, write_len: 64 * 1024, later: None };

/// Beside commits of which none is on its way just now.
const ONE_BY_ONE: Pace = Pace { depth: 1, ..GENTLE };

impl Pacing {
    /// For a checkpoint that has `pages` to write and begins now.
    pub fn begin(pages: u64, course: Option<&Course>) -> Pacing {
        let (from, free_blocks) = course.map_or((0, 0), |now| (now.position, now.free_blocks));
        Pacing { pages, from, free_blocks, seen: from }
    }

    /// The pace from now on. Commits have made `news` pages since it began; without a course, none
    /// are on their way, or they wait for this checkpoint.
    pub fn next(&mut self, news: u64, course: Option<Course>) -> Pace {
        let Some(Course { position, group, .. }) = course else { return FAST };
        let has_moved = std::mem::replace(&mut self.seen, position) != position;
        let Some(group) = group else { return if has_moved { ONE_BY_ONE } else { FAST } };
        let passed = position.saturating_sub(self.from);
        let for_room = self.pages.saturating_mul(2 * passed) / self.free_blocks.max(1);
        let due = for_room.max(news * 3 / 2);
        Pace { later: Some((self.pages.saturating_sub(due), group)), ..GENTLE }
    }
}

#[cfg(test)]
mod tests {
    use yieldb_core::Request;

    use super::*;

    fn course(position: u64, group: Option<&Completion>) -> Course {
        Course { position, free_blocks: 1000, group: group.cloned() }
    }

    #[test]
    fn beside_commits_it_keeps_pace_with_them() {
        let group = Completion::signal();
        let mut pacing = Pacing::begin(600, Some(&course(50, None)));
        let mut later = |news, position| {
            let pace = pacing.next(news, Some(course(position, Some(&group))));
            assert_eq!((pace.depth, pace.write_len), (GENTLE.depth, GENTLE.write_len));
            pace.later.unwrap().0
        };
        assert_eq!(later(0, 50), 600);
        assert_eq!(later(100, 60), 450, "for two pages of theirs, three");
        assert_eq!(later(100, 300), 300, "with half of the log's room gone, all of them");
        assert_eq!(later(100, 550), 0);
        assert_eq!(later(400, 350), 0, "when as many were made as it has, all of them");
        assert_eq!(later(500, 900), 0);
    }

    #[test]
    fn it_waits_for_the_commits_only_as_long_as_it_is_ahead_of_them() {
        let group = Completion::signal();
        let at = |later| Pace { later: Some((later, group.clone())), ..GENTLE };
        assert!(at(5).waits_for(5).is_some() && at(5).waits_for(6).is_none());
        assert!(at(5).waits_for(0).is_none() && at(0).waits_for(0).is_none(), "all are written");
        assert!(FAST.waits_for(5).is_none());
        group.succeed(0);
        assert!(at(5).waits_for(5).is_none());
    }

    #[test]
    fn alone_it_is_as_fast_as_the_device() {
        let mut pacing = Pacing::begin(600, Some(&course(50, None)));
        let depth = |pace: Pace| {
            assert!(pace.later.is_none());
            pace.depth
        };
        assert_eq!(depth(pacing.next(0, None)), FAST.depth, "they wait for it");
        assert_eq!(depth(pacing.next(0, Some(course(50, None)))), FAST.depth, "nobody came");
        assert_eq!(depth(pacing.next(1, Some(course(51, None)))), ONE_BY_ONE.depth, "one did");
        assert_eq!(depth(pacing.next(1, Some(course(51, None)))), FAST.depth);
    }
}
