//! Looking up many keys, with many reads in flight.

use std::collections::VecDeque;
use std::iter::Fuse;

use smallvec::SmallVec;
use yieldb_core::{Arrivals, Completion, StateMachine};
use yieldb_pager::cache::{Joined, PendingRead};
use yieldb_pager::{PageRef, Pager, PinnedPage};

use crate::Result;
use crate::lock_step::{TOGETHER, descend_together};
use crate::node::LargeValue;
use crate::ops::get::{Found, Value};
use crate::ops::multi_get::{Next, next};
use crate::ops::read_value::{ReadValue, read_whole};
use crate::pages::{Pages, Reader, Walk};

/// Looks up many keys, and gives out what it finds as it comes, in any order.
///
/// ```text
///            descend together            found
///   keys ----------------------> ready <-------- reading: up to `depth` at a time
///             '--- page missing ---------------->
/// ```
///
/// Keys are taken from the iterator as there is room, and go down the tree together, so that their
/// memory accesses overlap. Of those that miss a page as many as the depth allows are waited for
/// at the same time; pages that several of them miss are read once.
pub struct MultiGet<'a, I: Iterator> {
    reader: Reader<'a>,
    /// What the lookups work on, for as long as their values may be looked at.
    pager: &'a Pager,
    keys: Fuse<I>,
    /// How many keys were taken.
    taken: u64,
    /// How many reads are in flight at most.
    depth: usize,
    /// What was found, and has not been given out; the last one is the next.
    ready: Vec<Lookup<'a, I::Item>>,
    /// Keys that wait for a page.
    reading: Vec<Reading<I::Item>>,
    /// Keys that go on: their pages have come, or there was no frame for them.
    short: Vec<(u64, I::Item)>,
    /// Keys whose values are large: they are read one after the other. While there are
    /// [`TOGETHER`] of them, no more keys are taken.
    large: VecDeque<(u64, I::Item, LargeValue)>,
    /// The read of the first of them, once it was begun.
    loading: Option<Box<Load>>,
    arrivals: Arrivals,
    /// Were reads begun that may not have been sent out yet?
    has_begun_reads: bool,
}

/// The read of a large value.
pub(crate) type Load = StateMachine<ReadValue<Vec<u8>>>;

/// A key that waits for a page.
struct Reading<K> {
    index: u64,
    key: K,
    read: PendingRead,
}

/// One of many keys, and what was found.
#[derive(Debug)]
pub struct Lookup<'a, K> {
    /// The key's place among those that were asked for, counted from 0.
    pub index: u64,
    /// The key.
    pub key: K,
    /// Its value, if it has one; or why that cannot be told. The other lookups go on.
    pub value: Result<Option<Value<'a>>>,
}

/// What to do next.
pub(crate) enum Gathered {
    /// Give out what is ready.
    Ready,
    /// Wait for this, and gather again.
    Wait(Completion),
    /// Gather again at once: a read was over before it could be watched.
    Again,
    /// Step the read of the first large value.
    Large,
    /// All keys are done.
    Over,
}

impl<'a, I: Iterator<Item: AsRef<[u8]>>> MultiGet<'a, I> {
    pub(crate) fn new(
        reader: Reader<'a>,
        pager: &'a Pager,
        keys: I,
        depth: usize,
    ) -> MultiGet<'a, I> {
        MultiGet {
            reader,
            pager,
            keys: keys.fuse(),
            taken: 0,
            depth: depth.max(1),
            ready: Vec::new(),
            reading: Vec::new(),
            short: Vec::new(),
            large: VecDeque::new(),
            loading: None,
            arrivals: Arrivals::new(),
            has_begun_reads: false,
        }
    }

    /// Moves on to the next key that is done.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> StateMachine<Next<'_, 'a, I>> {
        next(self)
    }

    /// How many keys are waiting for a page.
    pub fn in_flight(&self) -> usize {
        self.reading.len()
    }

    /// Were reads begun that nobody waits for yet? Whoever drives sends them out then, so that they
    /// are done beside what is done with the lookups.
    #[inline]
    pub fn take_begun_reads(&mut self) -> bool {
        std::mem::take(&mut self.has_begun_reads)
    }

    /// Takes what is to be given out next.
    #[inline]
    pub(crate) fn take_ready(&mut self) -> Option<Lookup<'a, I::Item>> {
        self.ready.pop()
    }

    /// Goes on with what has come, and takes more keys: in the place of those that have come at
    /// once, so that as many reads as possible are in flight while others are given out.
    pub(crate) fn gather(&mut self, pager: &Pager) -> Result<Gathered> {
        // What has come stays in flight until there is room for what it may lead to.
        if self.large.len() >= TOGETHER {
            return Ok(Gathered::Large);
        }
        // A small cache must keep frames for others, and for the pages above the leaves.
        let depth = self.depth.min(pager.cache().frame_count() / 4).max(1);
        // They keep what has come until it has been seen.
        let pins = self.harvest();
        let mut has_come = !pins.is_empty();
        let mut lack = None;
        while (self.ready.is_empty() || std::mem::take(&mut has_come))
            && lack.is_none()
            && self.reading.len() < depth
            && self.large.len() < TOGETHER
        {
            let group = self.next_group((depth - self.reading.len()).min(TOGETHER));
            if group.is_empty() {
                break;
            }
            lack = self.look_up(pager, group)?;
        }
        Ok(if !self.ready.is_empty() {
            Gathered::Ready
        } else if !self.large.is_empty() {
            Gathered::Large
        } else if self.reading.iter().any(|reading| reading.read.completion().finished()) {
            Gathered::Again
        } else if !self.reading.is_empty() {
            Gathered::Wait(self.arrivals.next_signal())
        } else if let Some(signal) = lack {
            Gathered::Wait(signal)
        } else {
            Gathered::Over
        })
    }

    /// Lets keys go on whose pages have come. Returns the pins of those.
    fn harvest(&mut self) -> SmallVec<[PinnedPage; TOGETHER]> {
        let mut pins = SmallVec::new();
        let mut at = 0;
        while at < self.reading.len() && pins.len() < TOGETHER {
            if self.reading[at].read.completion().finished() {
                let Reading { index, key, read } = self.reading.swap_remove(at);
                match read.take() {
                    Ok(page) => {
                        pins.push(page);
                        self.short.push((index, key));
                    }
                    Err(error) => self.give_out(index, key, Err(error.into())),
                }
            } else {
                at += 1;
            }
        }
        pins
    }

    /// The next keys, `count` of them if there are so many: first those that go on.
    fn next_group(&mut self, count: usize) -> Vec<Lookup<'a, I::Item>> {
        let mut group = Vec::new();
        if self.ready.is_empty() {
            // The memory of the last one.
            std::mem::swap(&mut group, &mut self.ready);
        }
        let again = self.short.len().saturating_sub(count);
        group.extend(self.short.drain(again..).map(|(index, key)| Lookup::new(index, key)));
        while group.len() < count {
            let Some(key) = self.keys.next() else { break };
            group.push(Lookup::new(self.taken, key));
            self.taken += 1;
        }
        group
    }

    /// Takes keys down the tree: they are ready, or wait for something. Returns what to wait for if
    /// there was no frame for some of them.
    fn look_up(
        &mut self,
        pager: &Pager,
        mut group: Vec<Lookup<'a, I::Item>>,
    ) -> Result<Option<Completion>> {
        let root = self.reader.root()?;
        let mut missing: SmallVec<[(u64, I::Item, PageRef); TOGETHER]> = SmallVec::new();
        {
            let pages = Pages { private: self.reader.private, resident: self.pager.resident()? };
            let keys = group.iter().map(|lookup| lookup.key.as_ref());
            let ways = descend_together(&pages, root, keys);
            for (at, way) in ways.into_iter().enumerate().rev() {
                // Those behind it, one of which may take its place, have been looked at.
                match way.end(group[at].key.as_ref()) {
                    Ok(Walk::Found(None)) => {}
                    Ok(Walk::Found(Some(Found::Here(value)))) => group[at].value = Ok(Some(value)),
                    Ok(Walk::Found(Some(Found::Large(value)))) => {
                        let Lookup { index, key, .. } = group.swap_remove(at);
                        self.large.push_back((index, key, value));
                    }
                    Ok(Walk::Missing(page)) => {
                        let Lookup { index, key, .. } = group.swap_remove(at);
                        missing.push((index, key, page));
                    }
                    Err(error) => group[at].value = Err(error),
                }
            }
        }
        if self.ready.is_empty() {
            self.ready = group;
        } else {
            self.ready.append(&mut group);
        }
        Ok(self.read(pager, missing))
    }

    fn give_out(&mut self, index: u64, key: I::Item, value: Result<Option<Value<'a>>>) {
        self.ready.push(Lookup { index, key, value });
    }

    /// Joins the reads of missing pages.
    fn read(
        &mut self,
        pager: &Pager,
        missing: SmallVec<[(u64, I::Item, PageRef); TOGETHER]>,
    ) -> Option<Completion> {
        let mut lack = None;
        for (index, key, page) in missing {
            match pager.join_read(page) {
                Err(error) => self.give_out(index, key, Err(error.into())),
                Ok(Joined::Reading(read)) => {
                    let io = read.completion();
                    // One that is over already is not watched: it is looked at before a wait.
                    let _watched = self.arrivals.watch(&io);
                    self.reading.push(Reading { index, key, read });
                    self.has_begun_reads = true;
                }
                // In memory by now: look again.
                Ok(Joined::Hit(_)) => self.short.push((index, key)),
                Ok(Joined::Later(signal)) => {
                    self.short.push((index, key));
                    lack = Some(signal);
                }
            }
        }
        lack
    }

    /// The read of the first large value, which begins with this if it has not.
    pub(crate) fn first_large(&mut self, pager: &Pager) -> Option<Result<&mut Load>> {
        let (_, _, value) = self.large.front()?;
        if self.loading.is_none() {
            match read_whole(pager, *value) {
                Ok(read) => self.loading = Some(Box::new(read)),
                Err(error) => return Some(Err(error)),
            }
        }
        self.loading.as_deref_mut().map(Ok)
    }

    /// Takes the first large value, whose read is over.
    pub(crate) fn take_large(&mut self, read: Result<Vec<u8>>) -> Option<Lookup<'a, I::Item>> {
        self.loading = None;
        let (index, key, _) = self.large.pop_front()?;
        Some(Lookup { index, key, value: read.map(|value| Some(Value::loaded(value))) })
    }
}

impl<K> Lookup<'_, K> {
    fn new(index: u64, key: K) -> Self {
        Lookup { index, key, value: Ok(None) }
    }
}

impl<I: Iterator> std::fmt::Debug for MultiGet<'_, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys taken, {} reading", self.taken, self.reading.len())
    }
}
