//! A position in a tree.

use std::cmp::Ordering;
use std::ops::{Bound, Range};

use yieldb_core::{StateMachine, is_planted, reached};
use yieldb_pager::{PageRef, Pager, PinnedPage, Root, page_format};

use crate::descend::{Leaf, Route, Target, descend, go_beside, prefetch_beside};
use crate::node::{LargeValue, LeafView, Stored};
use crate::ops::next::{Next, NextKey, next, next_key};
use crate::pages::{Located, Pages, Reader, Walk};
use crate::read_ahead::{Names, ReadAhead};
use crate::{KeyRange, Result, error};

/// How many entries ahead of the cursor are asked for from memory.
const AHEAD: usize = 4;

/// A position in a range of a tree's entries, in key order.
///
/// ```text
///             next: first                 next past the last
///   Before --------------> On an entry --------------------> After
///          <--------------             <--------------------
///      previous past the first            previous: last
/// ```
///
/// A cursor that was sent [somewhere](Cursor::seek) is between two entries. A new cursor is on both
/// ends at once: `next` goes to the first entry, `previous` to the last.
/// Within a leaf a move costs no descent. It keeps one page pinned. From the second leaf on, leaves
/// ahead are read together.
#[derive(Debug)]
pub struct Cursor<'a> {
    reader: Reader<'a>,
    range: KeyRange,
    place: Place,
    /// The way to the leaf that the cursor is on, if it is on an entry.
    route: Route,
    /// The way to the leaf that a move under way comes to.
    next_route: Route,
    /// The key of the entry that the cursor is on.
    key: Vec<u8>,
    /// The value of the entry, if it is large and was loaded.
    loaded: Option<Vec<u8>>,
    /// The page fetched last: it stays until the walk has seen it.
    pin: Option<PinnedPage>,
    ahead: ReadAhead,
    /// Were reads begun that may not have been sent out yet?
    has_begun_reads: bool,
}

/// Where a cursor is.
#[derive(Debug)]
enum Place {
    /// On both ends.
    New,
    /// In front of the first entry with this key or a greater one.
    At(Vec<u8>),
    /// In front of the first entry.
    Before,
    /// On an entry.
    On(Held, usize),
    /// Behind the last entry.
    After,
}

/// The leaf that a cursor is on.
#[derive(Debug)]
struct Held {
    page: HeldPage,
    /// Entries that are known to be in the range: all of those where the cursor goes.
    entries: Range<usize>,
    /// Where the value of the entry that the cursor is on is in the page, or what stands in its
    /// place; and whether it is large.
    value: (Range<usize>, bool),
}

#[derive(Debug)]
enum HeldPage {
    Pinned(PinnedPage),
    Private(PageRef),
}

/// Which way a cursor moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Next,
    Previous,
}

impl Direction {
    /// The index beside another one; in front of 0 there is one that nothing has.
    #[inline]
    pub fn beside(self, index: usize) -> usize {
        self.ahead(index, 1)
    }

    /// The index so far ahead of another one; it may be one that nothing has.
    #[inline]
    fn ahead(self, index: usize, distance: usize) -> usize {
        match self {
            Direction::Next => index + distance,
            Direction::Previous => index.wrapping_sub(distance),
        }
    }

    /// The order of an entry that is ahead against the one where the cursor is.
    fn order(self) -> Ordering {
        match self {
            Direction::Next => Ordering::Greater,
            Direction::Previous => Ordering::Less,
        }
    }
}

/// Where a move ends. Nothing has moved before the cursor [arrives](Cursor::arrive).
#[derive(Debug)]
pub(crate) struct Arrival {
    place: Destination,
    /// Where the entry's value is, if it is large.
    pub large: Option<LargeValue>,
}

#[derive(Debug)]
enum Destination {
    /// On the entry at this index of the same leaf, where these are known to be in the range.
    Within(usize, Range<usize>),
    /// On an entry of another leaf.
    Into(Held, usize),
    /// Behind the last entry, or in front of the first.
    Beyond(Direction),
}

/// An entry that a cursor is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'c> {
    key: &'c [u8],
    value: &'c [u8],
}

impl<'c> Entry<'c> {
    /// The key.
    pub fn key(&self) -> &'c [u8] {
        self.key
    }

    /// The value.
    pub fn value(&self) -> &'c [u8] {
        self.value
    }
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(reader: Reader<'a>, range: KeyRange) -> Cursor<'a> {
        Cursor {
            reader,
            range,
            place: Place::New,
            route: Route::default(),
            next_route: Route::default(),
            key: Vec::new(),
            loaded: None,
            pin: None,
            ahead: ReadAhead::default(),
            has_begun_reads: false,
        }
    }

    /// Did the last moves begin reads ahead that nobody waits for yet? Whoever drives sends them
    /// out then, so that they are done beside what is done with the entries.
    #[inline]
    pub fn take_begun_reads(&mut self) -> bool {
        std::mem::take(&mut self.has_begun_reads)
    }

    /// Moves to the next entry, or from a new cursor to the first one of the range.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> StateMachine<Next<'_, 'a>> {
        next(self, Direction::Next)
    }

    /// Moves to the entry before, or from a new cursor to the last one of the range.
    pub fn previous(&mut self) -> StateMachine<Next<'_, 'a>> {
        next(self, Direction::Previous)
    }

    /// Moves like [`Cursor::next`], without reading a large value.
    pub fn next_key(&mut self) -> StateMachine<NextKey<'_, 'a>> {
        next_key(self, Direction::Next)
    }

    /// Moves like [`Cursor::previous`], without reading a large value.
    pub fn previous_key(&mut self) -> StateMachine<NextKey<'_, 'a>> {
        next_key(self, Direction::Previous)
    }

    /// Goes to the place in front of the first entry whose key is `key` or greater, within the
    /// range: `next` moves to it, `previous` to the one before it. Costs nothing before that.
    pub fn seek(&mut self, key: &[u8]) {
        self.place = Place::At(key.to_vec());
        self.loaded = None;
        self.ahead = ReadAhead::default();
    }

    /// The entry that the cursor is on; `None` if it is on none, or on one with a large value
    /// that was not read.
    pub fn entry(&self) -> Option<Entry<'_>> {
        let Place::On(held, _) = &self.place else { return None };
        let value = match &held.value {
            (range, false) => &held.page.bytes(self.reader)[range.clone()],
            (_, true) => self.loaded.as_deref()?,
        };
        Some(Entry { key: &self.key, value })
    }

    /// The key of the entry that the cursor is on.
    pub fn key(&self) -> Option<&[u8]> {
        matches!(self.place, Place::On(..)).then_some(&self.key)
    }

    /// The length of the value of the entry that the cursor is on, in bytes.
    pub fn value_len(&self) -> Option<u64> {
        self.stored().map(|value| value.value_len())
    }

    /// How many entries of the range there are from the one that the cursor came to with
    /// [`Cursor::next_key`] to the last one of its leaf, where the cursor goes; 0 if it is on none.
    pub(crate) fn count_to_end_of_leaf(&mut self) -> u64 {
        let Place::On(held, index) = &self.place else { return 0 };
        let (from, last, entries) = (*index, held.entries.end - 1, held.entries.clone());
        self.arrive(Arrival { place: Destination::Within(last, entries), large: None }, None);
        (last - from + 1) as u64
    }

    /// What the leaf has of the value of the entry that the cursor is on.
    #[inline]
    fn stored(&self) -> Option<Stored<'_>> {
        let Place::On(held, index) = &self.place else { return None };
        Some(self.leaf(held).value(*index))
    }

    /// The leaf that a cursor is on.
    #[inline]
    fn leaf<'c>(&'c self, held: &'c Held) -> LeafView<'c> {
        LeafView::new(held.page.bytes(self.reader))
    }

    /// The number of the page that the cursor is on.
    pub(crate) fn leaf_number(&self) -> Option<u64> {
        let Place::On(held, _) = &self.place else { return None };
        Some(match &held.page {
            HeldPage::Pinned(page) => page_format::number_of(page),
            HeldPage::Private(page) => page.page().as_u64(),
        })
    }

    /// Keeps a page that was fetched until the next move has seen it.
    pub(crate) fn hold(&mut self, page: PinnedPage) {
        self.pin = Some(page);
    }

    /// The same, and the cursor goes on.
    pub(crate) fn holding(&mut self, page: PinnedPage) -> &mut Self {
        self.hold(page);
        self
    }

    /// Moves by one entry within the leaf, if there is one that way whose value is not large.
    #[inline]
    pub(crate) fn move_within(&mut self, direction: Direction) -> bool {
        let Place::On(held, index) = &mut self.place else { return false };
        let next = direction.beside(*index);
        if !held.entries.contains(&next) {
            return false;
        }
        let leaf = LeafView::new(held.page.bytes(self.reader));
        let value = leaf.value_place(next);
        if value.1 {
            return false;
        }
        held.value = value;
        *index = next;
        leaf.prefetch(direction.ahead(next, AHEAD));
        leaf.replace_suffix(next, &mut self.key);
        self.loaded = None;
        true
    }

    /// Finds out where a move by one entry ends, over the pages in memory, or says what is missing.
    pub(crate) fn advance(&mut self, pager: &Pager, direction: Direction) -> Result<Walk<Arrival>> {
        if let Place::On(held, index) = &self.place {
            let next = direction.beside(*index);
            let leaf = self.leaf(held);
            if next < leaf.count() {
                let is_known = held.entries.contains(&next);
                let known = || held.entries.clone();
                let entries = if is_known { known() } else { self.range.indexes_in(&leaf) };
                if !entries.contains(&next) {
                    return Ok(Walk::Found(Arrival::beyond(direction)));
                }
                let large = leaf.value(next).large();
                return Ok(Walk::Found(Arrival {
                    place: Destination::Within(next, entries),
                    large,
                }));
            }
        }
        self.enter_leaf(pager, direction)
    }

    /// The same for a move to another leaf.
    fn enter_leaf(&mut self, pager: &Pager, direction: Direction) -> Result<Walk<Arrival>> {
        let pages = Pages { private: self.reader.private, resident: pager.resident()? };
        let mut names = Names::new();
        let arrival = self.look_beside(pager, &pages, direction, &mut names);
        drop(pages);
        if !names.is_empty() {
            reached!(ReadAhead);
            self.has_begun_reads |= pager.prefetch(&names) > 0;
        }
        arrival
    }

    /// The same, and what is to be read ahead then.
    fn look_beside(
        &mut self,
        pager: &Pager,
        pages: &Pages<'_>,
        direction: Direction,
        names: &mut Names,
    ) -> Result<Walk<Arrival>> {
        if is_planted!(CursorBeforePage)
            && let Place::On(..) = self.place
        {
            self.place = Place::New;
        }
        let mut route = std::mem::take(&mut self.next_route);
        let found = match self.find_leaf(pages, direction, &mut route)? {
            Walk::Missing(page) => return Ok(Walk::Missing(page)),
            Walk::Found(found) => found,
        };
        let Some((leaf, index)) = found else {
            return Ok(Walk::Found(Arrival::beyond(direction)));
        };
        let page = match leaf.at {
            Located::Private(_) => HeldPage::Private(leaf.page),
            Located::Resident(page) => match page.pin_owned() {
                Some(page) => HeldPage::Pinned(page),
                None => return Ok(Walk::Missing(leaf.page)),
            },
        };
        prefetch_beside(pages, &route, direction);
        self.ahead.entered(pager, pages, &route, direction, names);
        self.next_route = route;
        let entries = match direction {
            Direction::Next => index..self.range.end_in(&leaf.view),
            Direction::Previous => self.range.start_in(&leaf.view)..index + 1,
        };
        Ok(Walk::Found(if entries.contains(&index) {
            for distance in 0..AHEAD {
                leaf.view.prefetch(direction.ahead(index, distance));
            }
            let large = leaf.view.value(index).large();
            let held = Held { page, entries, value: leaf.view.value_place(index) };
            Arrival { place: Destination::Into(held, index), large }
        } else {
            Arrival::beyond(direction)
        }))
    }

    /// The entry beside the place where the cursor is, and its leaf, which is another one.
    fn find_leaf<'p>(
        &self,
        pages: &'p Pages<'_>,
        direction: Direction,
        route: &mut Route,
    ) -> Result<Walk<Option<(Leaf<'p, 'p>, usize)>>> {
        let root = self.reader.root()?;
        let (target, open) = match (&self.place, direction) {
            (Place::On(..), _) => {
                route.copy_from(&self.route);
                let leaf = go_beside(pages, route, direction)?;
                return at_the_near_end(leaf, &self.key, direction);
            }
            (Place::After, Direction::Next) | (Place::Before, Direction::Previous) => {
                return Ok(Walk::Found(None));
            }
            (Place::New | Place::At(_) | Place::Before, Direction::Next) => match self.start() {
                Bound::Unbounded => (Target::First, false),
                Bound::Included(key) => (Target::Key(key), false),
                Bound::Excluded(key) => (Target::Key(key), true),
            },
            (Place::New | Place::At(_) | Place::After, Direction::Previous) => match self.end() {
                Bound::Unbounded => (Target::Last, false),
                Bound::Included(key) => (Target::Key(key), false),
                Bound::Excluded(key) => (Target::Below(key), true),
            },
        };
        locate(pages, root, target, open, direction, route)
    }

    /// Where a cursor that is on no entry goes from to the next one.
    fn start(&self) -> Bound<&[u8]> {
        match &self.place {
            Place::At(key) if self.range.is_above_start(key) => Bound::Included(key),
            Place::New | Place::At(_) | Place::Before | Place::On(..) | Place::After => {
                self.range.start()
            }
        }
    }

    /// Where a cursor that is on no entry goes from to the one before.
    fn end(&self) -> Bound<&[u8]> {
        match &self.place {
            Place::At(key) if self.range.is_below_end(key) => Bound::Excluded(key),
            Place::New | Place::At(_) | Place::Before | Place::On(..) | Place::After => {
                self.range.end()
            }
        }
    }

    /// Moves to where [`Cursor::advance`] found that the move ends.
    pub(crate) fn arrive(&mut self, arrival: Arrival, loaded: Option<Vec<u8>>) {
        match (arrival.place, &mut self.place) {
            (Destination::Within(to, entries), Place::On(held, index)) => {
                held.entries = entries;
                held.value = LeafView::new(held.page.bytes(self.reader)).value_place(to);
                *index = to;
            }
            (Destination::Within(..), _) => unreachable!("it is on an entry of the leaf"),
            (Destination::Into(held, index), place) => {
                std::mem::swap(&mut self.route, &mut self.next_route);
                let left = std::mem::replace(place, Place::On(held, index));
                if let Place::On(Held { page: HeldPage::Pinned(page), .. }, _) = left
                    && self.ahead.is_long()
                {
                    page.pass();
                }
            }
            (Destination::Beyond(Direction::Next), place) => *place = Place::After,
            (Destination::Beyond(Direction::Previous), place) => *place = Place::Before,
        }
        if let Place::On(held, index) = &self.place {
            let leaf = LeafView::new(held.page.bytes(self.reader));
            self.key.clear();
            self.key.extend_from_slice(leaf.prefix());
            leaf.replace_suffix(*index, &mut self.key);
        }
        self.loaded = loaded;
        self.pin = None;
    }
}

impl HeldPage {
    #[inline]
    fn bytes<'c>(&'c self, reader: Reader<'c>) -> &'c [u8] {
        match self {
            HeldPage::Pinned(page) => page,
            HeldPage::Private(page) => {
                let page = reader.private.and_then(|private| private.page(*page));
                page.expect("a transaction that is read does not change")
            }
        }
    }
}

impl Arrival {
    fn beyond(direction: Direction) -> Arrival {
        Arrival { place: Destination::Beyond(direction), large: None }
    }
}

/// The first entry at or behind `target`, or the last one at or in front of it, and its leaf.
fn locate<'p>(
    pages: &'p Pages<'_>,
    root: Root,
    target: Target<'_>,
    open: bool,
    direction: Direction,
    route: &mut Route,
) -> Result<Walk<Option<(Leaf<'p, 'p>, usize)>>> {
    let leaf = match descend(pages, root, target, route)? {
        Walk::Missing(page) => return Ok(Walk::Missing(page)),
        Walk::Found(None) => return Ok(Walk::Found(None)),
        Walk::Found(Some(leaf)) => leaf,
    };
    if let Some(index) = index_in(&leaf.view, target, open, direction) {
        return Ok(Walk::Found(Some((leaf, index))));
    }
    // All of this leaf is on the wrong side of the target.
    match target {
        Target::First | Target::Last => unreachable!("no leaf is empty"),
        Target::Key(key) | Target::Below(key) => {
            at_the_near_end(go_beside(pages, route, direction)?, key, direction)
        }
    }
}

/// The entry of the leaf beside that of `key` that a move in this direction comes to first.
///
/// It must be behind the key, so that no damage makes a scan go in circles or leave its range.
fn at_the_near_end<'p, 'a>(
    leaf: Walk<Option<Leaf<'p, 'a>>>,
    key: &[u8],
    direction: Direction,
) -> Result<Walk<Option<(Leaf<'p, 'a>, usize)>>> {
    let leaf = match leaf {
        Walk::Missing(page) => return Ok(Walk::Missing(page)),
        Walk::Found(None) => return Ok(Walk::Found(None)),
        Walk::Found(Some(leaf)) => leaf,
    };
    let index = match direction {
        Direction::Next => 0,
        Direction::Previous => leaf.view.count() - 1,
    };
    if leaf.view.key(index).cmp_slice(key) != direction.order() {
        let what = "its keys are not behind those of the leaf before it";
        return Err(error::corrupt(leaf.page, what));
    }
    Ok(Walk::Found(Some((leaf, index))))
}

/// The entry of a leaf that is next to `target` in this direction.
fn index_in(
    view: &LeafView<'_>,
    target: Target<'_>,
    open: bool,
    direction: Direction,
) -> Option<usize> {
    let last = view.count().checked_sub(1)?;
    let (found, exact) = match target {
        Target::First => return Some(0),
        Target::Last => return Some(last),
        Target::Key(key) | Target::Below(key) => match view.find(key) {
            Ok(index) => (index, true),
            Err(index) => (index, false),
        },
    };
    match direction {
        Direction::Next => Some(found + usize::from(exact && open)).filter(|index| *index <= last),
        Direction::Previous => {
            let inclusive = exact && !open && matches!(target, Target::Key(_));
            if inclusive { Some(found) } else { found.checked_sub(1) }
        }
    }
}
