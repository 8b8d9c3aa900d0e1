//! What is written: pages, slots of the superblock, groups of the log.

use std::fmt;

/// When a page was made. "A stamp is 64 bits (session, counter), never reused, not even after an
/// abort or a crash."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub session: u8,
    pub counter: u8,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.session, self.counter)
    }
}

/// A reference: a number and the stamp that the page must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ref {
    pub page: u8,
    pub stamp: Stamp,
}

/// A set of commits, a bit each. Commits have numbers that are never given twice, so that one that
/// is lost and one that is made in its place differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct History(u8);

impl History {
    pub fn with(self, commit: u8) -> History {
        History(self.0 | 1 << commit)
    }

    pub fn contains(self, other: History) -> bool {
        self.0 & other.0 == other.0
    }

    /// Is this what `line` was at some moment?
    pub fn is_prefix_of(self, line: History) -> bool {
        let later = line.0 & !self.0;
        line.contains(self) && (later == 0 || later & later.wrapping_neg() > self.0)
    }

    pub fn commits(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |commit| self.0 >> commit & 1 == 1)
    }

    /// How many they are: the number of the version that has them.
    pub fn count(self) -> u8 {
        self.0.count_ones() as u8
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.commits().map(commit_name).collect();
        if names.is_empty() { f.write_str("nothing") } else { f.write_str(&names.join("+")) }
    }
}

/// Commits are A, B, C, ...
pub(crate) fn commit_name(commit: u8) -> String {
    char::from(b'A' + commit).to_string()
}

/// What a page number holds. A tree is one page here, its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Page {
    Zero,
    /// A mixture of two contents: the checksum is wrong.
    Torn,
    Root {
        stamp: Stamp,
        history: History,
        /// How many changes of the last commit it has.
        edits: u8,
        run: Option<Ref>,
    },
    /// A large value.
    Run {
        stamp: Stamp,
    },
}

/// What a commit makes: the tree as it is then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Version {
    pub history: History,
    /// How many changes its last commit made.
    pub edits: u8,
    pub root: Ref,
    /// The large value, if there is one.
    pub run: Option<Ref>,
}

impl Version {
    /// What the page of its root must hold.
    pub fn page(&self) -> Page {
        let Version { history, edits, root, run } = *self;
        Page::Root { stamp: root.stamp, history, edits, run }
    }

    /// Its pages, and what they must hold.
    pub fn pages(&self) -> impl Iterator<Item = (u8, Page)> {
        let run = self.run.map(|run| (run.page, Page::Run { stamp: run.stamp }));
        [(self.root.page, self.page())].into_iter().chain(run)
    }

    pub fn refers_to(&self, page: u8) -> bool {
        self.pages().any(|(own, _)| own == page)
    }
}

/// A slot of the superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// A mixture, or rotten: the checksum is wrong.
    Bad,
    Good(Superblock),
}

/// What a good slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Superblock {
    /// Of two slots, the one with the higher number counts.
    pub number: u8,
    pub session: u8,
    /// The checkpoint.
    pub version: Version,
    /// Where the log starts: replay begins there.
    pub start: LogPlace,
    /// The session that made the checkpoint: what stands at the log's start and is of a lower one
    /// is stale.
    pub start_session: u8,
    /// The id of the log, if one is in use.
    pub log: Option<u8>,
}

/// A place in the log. Positions grow for ever; the offset is a block of the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LogPlace {
    pub position: u8,
    pub offset: u8,
}

/// A group of the log: commits, or none and only a name, or the end of a lap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Group {
    pub position: u8,
    pub session: u8,
    /// Its commits; they make one version after the other.
    pub commits: History,
    /// The number of the first of these versions; without commits, of one to come.
    pub first_version: u8,
    /// How many changes the last of its commits made.
    pub edits: u8,
    /// One that names a run has one commit.
    pub run: Option<Ref>,
    /// The newest checkpoint that was durable when it was written.
    pub names: u8,
    /// All groups before this position were durable when it was written.
    pub known: u8,
    /// Does the log go on at offset 0?
    pub is_wrap: bool,
    /// Its bytes have changed, but not those that tell position and session.
    pub rotten: bool,
}

/// A block of the log, in two sectors: of which group each is. "Each 512-byte sector carries
/// position and session bits."
pub(crate) type Block = [Option<Group>; 2];

/// The whole group in a block.
pub(crate) fn group_in(block: &Block) -> Option<Group> {
    let [first, second] = *block;
    first.filter(|group| first == second && !group.rotten)
}

/// "A tear (a sector of another lap or session) is told from rot (all sectors right, checksum
/// wrong)." Is the block of the group at `position` rotten?
pub(crate) fn is_rotten(block: &Block, position: u8, session: u8) -> bool {
    let [Some(first), Some(second)] = block else { return false };
    let are_right = [first, second].iter().all(|part| part.position == position)
        && first.session == second.session
        && first.session >= session;
    are_right && group_in(block).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(commits: &[u8]) -> History {
        commits.iter().fold(History::default(), |history, commit| history.with(*commit))
    }

    #[test]
    fn a_prefix_has_all_up_to_its_last() {
        let line = history(&[0, 2, 3]);
        for prefix in [&[][..], &[0], &[0, 2], &[0, 2, 3]] {
            assert!(history(prefix).is_prefix_of(line), "{prefix:?}");
        }
        for other in [&[2][..], &[0, 3], &[2, 3], &[0, 1], &[0, 2, 3, 4]] {
            assert!(!history(other).is_prefix_of(line), "{other:?}");
        }
    }
}
