//! What a tree consists of: its pages, how full they are, how long keys and values are.

use std::fmt;

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{PageRef, Pager, Root, Tree, VersionPin};

use crate::error::corrupt;
use crate::node::LeafView;
use crate::pages::{Node, node};
use crate::{Error, Result};

/// How many parts a page's length is cut into for [`LevelStats::fill`].
pub const FILL_BUCKETS: usize = 10;
/// How many powers of two [`LenStats::buckets`] tells apart.
pub const LEN_BUCKETS: usize = 34;

/// How far the statistics of a tree are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsProgress {
    /// How many nodes were read.
    pub pages: u64,
    /// How many entries were seen.
    pub entries: u64,
    /// How many entries the tree has.
    pub of: u64,
}

/// What a tree consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeStats {
    /// The length of a page in bytes.
    pub page_len: u64,
    /// Its levels, that of the leaves first. There are as many as the tree is deep: none if it is
    /// empty.
    pub levels: Vec<LevelStats>,
    /// The lengths of all keys.
    pub keys: LenStats,
    /// The lengths of all values, the large ones included.
    pub values: LenStats,
    /// The large values, which have pages of their own.
    pub large: LargeStats,
}

/// The large values of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LargeStats {
    /// How many there are.
    pub count: u64,
    /// How many pages they have together.
    pub pages: u64,
    /// Their lengths together, in bytes.
    pub total: u64,
}

/// The nodes of one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelStats {
    /// How many nodes there are.
    pub pages: u64,
    /// How many bytes of them are used, together, their headers included.
    pub used_len: u64,
    /// How many nodes are filled to less than a tenth, to less than two tenths, and so on; the last
    /// one has those that are full as well.
    pub fill: [u64; FILL_BUCKETS],
}

/// How long some keys or values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LenStats {
    /// How many there are.
    pub count: u64,
    /// Their lengths together, in bytes.
    pub total: u64,
    /// The length of the shortest one in bytes; 0 if there is none.
    pub min: u64,
    /// The length of the longest one in bytes.
    pub max: u64,
    /// How many are empty; then, at *i*, how many have a length from 2^(*i* - 1) on and less than
    /// 2^*i*.
    pub buckets: [u64; LEN_BUCKETS],
}

impl TreeStats {
    /// How many entries the tree has.
    pub fn entries(&self) -> u64 {
        self.keys.count
    }

    /// How many nodes it has.
    pub fn nodes(&self) -> u64 {
        self.levels.iter().map(|level| level.pages).sum()
    }

    /// How many pages it has: its nodes, and the pages of its large values.
    pub fn pages(&self) -> u64 {
        self.nodes() + self.large.pages
    }
}

impl LevelStats {
    /// What part of the pages is used, from 0 to 1; 0 if there is none.
    pub fn mean_fill(&self, page_len: u64) -> f64 {
        ratio(self.used_len, self.pages * page_len)
    }

    fn add(&mut self, used_len: usize, page_len: usize) {
        self.pages += 1;
        self.used_len += used_len as u64;
        self.fill[(used_len * FILL_BUCKETS / page_len).min(FILL_BUCKETS - 1)] += 1;
    }
}

impl LenStats {
    /// The mean length in bytes; 0 if there is none.
    pub fn mean(&self) -> f64 {
        ratio(self.total, self.count)
    }

    /// The lengths in bytes that are counted at `index` of [`LenStats::buckets`]: the least, and
    /// the greatest.
    pub fn bounds(index: usize) -> (u64, u64) {
        match index.checked_sub(1) {
            None => (0, 0),
            Some(power) => (1 << power, (2 << power) - 1),
        }
    }

    fn add(&mut self, len: u64) {
        self.min = if self.count == 0 { len } else { self.min.min(len) };
        self.max = self.max.max(len);
        self.count += 1;
        self.total += len;
        let bits = (u64::BITS - len.leading_zeros()) as usize;
        self.buckets[bits.min(LEN_BUCKETS - 1)] += 1;
    }
}

impl Default for LenStats {
    fn default() -> Self {
        LenStats { count: 0, total: 0, min: 0, max: 0, buckets: [0; LEN_BUCKETS] }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Reads every node of a tree and tells what it consists of.
///
/// ```text
///   begin -> Next --- a page is left ---> Fetching
///             ^ '---- none is left -----> done
///             '---------------------------'
/// ```
///
/// Memory: the pages on the way that are still to be read. An abandoned run leaves nothing behind.
pub struct Stats<P> {
    pin: VersionPin,
    progress: P,
    root: Root,
    /// Pages to be read, the next one last, with their levels.
    todo: Vec<(PageRef, u8)>,
    stats: TreeStats,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Find the next page to be read.
    Next,
    /// It is being fetched; the parent says that it is on this level.
    Fetching(PageRef, u8, StateMachine<Fetch>),
}

/// Begins the statistics of a tree of the version that `pin` holds.
///
/// # Errors
///
/// [`Error::NoSuchTree`].
pub(crate) fn stats<P: FnMut(StatsProgress)>(
    pin: VersionPin,
    tree: Tree,
    progress: P,
) -> Result<StateMachine<Stats<P>>> {
    let root = pin.roots().trees.root(tree);
    let root = root.ok_or(Error::NoSuchTree { tree: tree.as_u32() })?;
    let page_len = pin.pager().page_size().bytes() as u64;
    let depth = root.page.map_or(0, |_| usize::from(root.level) + 1);
    let levels = vec![LevelStats::default(); depth];
    let stats = TreeStats { page_len, levels, ..TreeStats::default() };
    let todo = root.page.map(|page| (page, root.level)).into_iter().collect();
    Ok(StateMachine::new(Stats { pin, progress, root, todo, stats }, State::Next))
}

impl<P: FnMut(StatsProgress)> StateTransition for Stats<P> {
    type State = State;
    type Context = Pager;
    type Output = TreeStats;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Next => match self.todo.pop() {
                None => Transition::Done(std::mem::take(&mut self.stats)),
                Some((page, level)) => Transition::Next(State::Fetching(page, level, fetch(page))),
            },
            State::Fetching(page, level, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => {
                    Transition::Wait(State::Fetching(page, level, fetch), io.into())
                }
                IOResult::Done(bytes) => {
                    self.visit(page, level, &bytes)?;
                    Transition::Next(State::Next)
                }
            },
        })
    }
}

impl<P: FnMut(StatsProgress)> Stats<P> {
    fn visit(&mut self, page: PageRef, level: u8, bytes: &[u8]) -> Result<()> {
        if self.stats.nodes() >= self.pin.pager().space_use().pages {
            return Err(corrupt(page, "the tree that it belongs to has a page twice"));
        }
        let used_len = match node(bytes, page, level)? {
            Node::Leaf(view) => {
                self.visit_leaf(view);
                view.used_len()
            }
            Node::Interior(view) => {
                let children = (0..=view.count()).rev().map(|index| view.child(index));
                self.todo.extend(children.map(|child| (PageRef::from_u64(child), level - 1)));
                view.used_len()
            }
        };
        self.stats.levels[usize::from(level)].add(used_len, bytes.len());
        (self.progress)(StatsProgress {
            pages: self.stats.nodes(),
            entries: self.stats.entries(),
            of: self.root.count,
        });
        Ok(())
    }

    fn visit_leaf(&mut self, view: LeafView<'_>) {
        for index in 0..view.count() {
            self.stats.keys.add(view.key(index).len() as u64);
            self.stats.values.add(view.value(index).value_len());
        }
        // What a leaf says of them is enough; their pages are not read.
        for value in view.large_values() {
            self.stats.large.count += 1;
            self.stats.large.pages += value.run.count();
            self.stats.large.total += value.len;
        }
    }
}

impl<P> fmt::Debug for Stats<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statistics, {} nodes so far", self.stats.nodes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_where_their_bounds_say() {
        let mut lens = LenStats::default();
        let samples = [0, 1, 2, 3, 4, 7, 8, 1_000, 4_095, 4_096, u64::from(u32::MAX), 1 << 32];
        for len in samples {
            lens.add(len);
        }
        assert_eq!((lens.count, lens.min, lens.max), (samples.len() as u64, 0, 1 << 32));
        for (index, count) in lens.buckets.into_iter().enumerate() {
            let (least, greatest) = LenStats::bounds(index);
            let within = samples.iter().filter(|len| (least..=greatest).contains(*len)).count();
            assert_eq!(count, within as u64, "{least} to {greatest}");
        }
    }

    #[test]
    fn fill_is_counted_in_tenths() {
        let mut level = LevelStats::default();
        for used_len in [40, 409, 410, 2048, 4095, 4096] {
            level.add(used_len, 4096);
        }
        assert_eq!(level.fill, [2, 1, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!((level.pages, level.used_len), (6, 40 + 409 + 410 + 2048 + 4095 + 4096));
    }
}
