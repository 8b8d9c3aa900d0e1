//! Merging sorted entries.
//!
//! A tournament of losers (Knuth, volume 3, 5.4.1): each node of a complete binary tree remembers
//! who lost there, so that the next entry costs one comparison a level.

use yieldb_core::Completion;

use super::source::{Files, Look, Source};
use crate::Result;
use crate::node::Stored;

/// How many entries are merged at a time, at most.
const STRIDE: usize = 512;

/// Sorted entries of several sources, merged; of equal keys in the order of the sources.
#[derive(Debug)]
pub(super) struct Merge {
    sources: Vec<Source>,
    /// The beginnings of the keys that are looked at.
    heads: Vec<Head>,
    /// At 0 the winner, then the losers, the root first. Empty until all sources are looked at.
    tree: Vec<u32>,
    /// The source that is to be looked at next.
    next: usize,
}

/// What is known of the key that a source looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    is_over: bool,
    /// Its first eight bytes.
    bytes: u64,
}

/// How far merging has come.
#[derive(Debug)]
pub(super) enum Merged {
    /// All entries are merged.
    All,
    /// Some of them are.
    Some,
    /// To go on after this.
    Wait(Completion),
    /// Whoever takes the entries has no room.
    NoRoom,
}

impl Merge {
    /// The sources in the order in which their entries came.
    pub fn new(sources: Vec<Source>) -> Merge {
        let heads = vec![Head { is_over: true, bytes: 0 }; sources.len()];
        Merge { sources, heads, tree: Vec::new(), next: 0 }
    }

    /// Hands some of the entries to `take`, which says whether it had room for one.
    ///
    /// # Errors
    ///
    /// A failed read; damage; what `take` fails with.
    pub fn go_on(
        &mut self,
        from: &Files<'_>,
        mut take: impl FnMut(&[u8], Stored<'_>) -> Result<bool>,
    ) -> Result<Merged> {
        for _ in 0..STRIDE {
            if self.next < self.sources.len()
                && let Some(io) = self.look(from)?
            {
                return Ok(Merged::Wait(io));
            }
            let winner = self.tree.first().map_or(0, |winner| *winner as usize);
            if self.heads.get(winner).is_none_or(|head| head.is_over) {
                return Ok(Merged::All);
            }
            let (key, value) = self.sources[winner].entry(from.limits.page_len);
            if !take(key, value)? {
                return Ok(Merged::NoRoom);
            }
            self.sources[winner].skip();
            self.next = winner;
        }
        Ok(Merged::Some)
    }

    /// Looks at the next entries of those sources that must be looked at, or says what to wait for.
    fn look(&mut self, from: &Files<'_>) -> Result<Option<Completion>> {
        let is_first = self.tree.is_empty();
        let last = if is_first { self.sources.len() } else { self.next + 1 };
        for index in self.next..last {
            self.heads[index] = match self.sources[index].look(from)? {
                Look::Entry => Head { is_over: false, bytes: head_of(self.sources[index].key()) },
                Look::Over => Head { is_over: true, bytes: 0 },
                Look::Wait(io) => return Ok(Some(io)),
            };
            self.next = index + 1;
        }
        if is_first {
            self.begin();
        } else {
            self.replay(last - 1);
        }
        self.next = self.sources.len();
        Ok(None)
    }

    /// Holds the first tournament.
    fn begin(&mut self) {
        let count = self.sources.len();
        // Above each two players, who won there: the sources are the leaves.
        let mut winners: Vec<u32> = vec![0; count];
        winners.extend(0..count as u32);
        self.tree = vec![0; count];
        for node in (1..count).rev() {
            let (left, right) = (winners[2 * node], winners[2 * node + 1]);
            let (winner, loser) =
                if self.wins(left, right) { (left, right) } else { (right, left) };
            winners[node] = winner;
            self.tree[node] = loser;
        }
        self.tree[0] = if count > 1 { winners[1] } else { 0 };
    }

    /// Lets a source that looks at another entry play on the way to the root.
    #[inline]
    fn replay(&mut self, source: usize) {
        let count = self.sources.len();
        let mut winner = source as u32;
        let mut node = (source + count) / 2;
        while node >= 1 && count > 1 {
            let other = self.tree[node];
            if self.wins(other, winner) {
                self.tree[node] = winner;
                winner = other;
            }
            node /= 2;
        }
        self.tree[0] = winner;
    }

    /// Does the entry of one source come before that of the other?
    #[inline]
    fn wins(&self, left: u32, right: u32) -> bool {
        let (one, other) = (left as usize, right as usize);
        if self.heads[one] != self.heads[other] || self.heads[one].is_over {
            return (self.heads[one], one) < (self.heads[other], other);
        }
        let keys = self.sources[one].key().cmp(self.sources[other].key());
        keys.then(one.cmp(&other)).is_lt()
    }
}

/// The beginning of a key as an integer that orders as it does.
fn head_of(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = key.len().min(8);
    bytes[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(bytes)
}
