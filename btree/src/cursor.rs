//! A position in a tree.

use std::ops::Bound;

use yieldb_core::{StateMachine, is_planted};
use yieldb_pager::{PageRef, Pager, PinnedPage, page_format};

use crate::descend::{Leaf, Target, descend};
use crate::node::{KeyRef, LargeValue, LeafView, Stored};
use crate::ops::next::{Next, NextKey, next, next_key};
use crate::pages::{Pages, Reader, Walk};
use crate::read_ahead::ReadAhead;
use crate::{KeyRange, Result};

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
    /// Where the cursor is.
    here: Surroundings,
    /// Where the move under way ends.
    there: Surroundings,
    /// The value of the entry, if it is large and was loaded.
    loaded: Option<Vec<u8>>,
    /// The page fetched last: it stays until the walk has seen it.
    pin: Option<PinnedPage>,
    ahead: ReadAhead,
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
#[derive(Clone, Debug)]
enum Held {
    Pinned(PinnedPage),
    Private(PageRef),
}

/// The key of an entry, and the separators around its leaf.
#[derive(Debug, Default)]
struct Surroundings {
    key: Vec<u8>,
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
}

/// Which way a cursor moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Next,
    Previous,
}

/// Where a move ends. Nothing has moved before the cursor [arrives](Cursor::arrive).
#[derive(Debug)]
pub(crate) struct Arrival {
    place: Place,
    /// Is the leaf another one?
    is_new_leaf: bool,
    /// Where the entry's value is, if it is large.
    pub large: Option<LargeValue>,
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
            here: Surroundings::default(),
            there: Surroundings::default(),
            loaded: None,
            pin: None,
            ahead: ReadAhead::default(),
        }
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
        let value = match (self.stored()?, &self.loaded) {
            (Stored::Here(bytes), _) => bytes,
            (Stored::Large(_), loaded) => loaded.as_deref()?,
        };
        Some(Entry { key: &self.here.key, value })
    }

    /// The key of the entry that the cursor is on.
    pub fn key(&self) -> Option<&[u8]> {
        matches!(self.place, Place::On(..)).then_some(&self.here.key)
    }

    /// The length of the value of the entry that the cursor is on, in bytes.
    pub fn value_len(&self) -> Option<u64> {
        self.stored().map(|value| value.value_len())
    }

    /// How many entries of the range there are from the one that the cursor is on to the last one
    /// of its leaf, where the cursor goes; 0 if it is on none.
    pub(crate) fn count_to_end_of_leaf(&mut self) -> u64 {
        let Place::On(held, index) = &self.place else { return 0 };
        let (held, index) = (held.clone(), *index);
        let Some(leaf) = self.leaf(&held) else { return 0 };
        let end = match self.range.end() {
            Bound::Unbounded => leaf.count(),
            Bound::Included(key) => leaf.find(key).map_or_else(|at| at, |at| at + 1),
            Bound::Excluded(key) => leaf.find(key).unwrap_or_else(|at| at),
        };
        let last = end.max(index + 1) - 1;
        self.here.key = leaf.key(last).to_vec();
        self.place = Place::On(held, last);
        (last - index + 1) as u64
    }

    /// What the leaf has of the value of the entry that the cursor is on.
    fn stored(&self) -> Option<Stored<'_>> {
        let Place::On(held, index) = &self.place else { return None };
        Some(self.leaf(held)?.value(*index))
    }

    /// The leaf that a cursor is on.
    fn leaf<'c>(&'c self, held: &'c Held) -> Option<LeafView<'c>> {
        let bytes: &[u8] = match held {
            Held::Pinned(page) => page,
            Held::Private(page) => self.reader.private?.page(*page)?,
        };
        Some(LeafView::new(bytes))
    }

    /// The number of the page that the cursor is on.
    pub(crate) fn leaf_number(&self) -> Option<u64> {
        let Place::On(held, _) = &self.place else { return None };
        Some(match held {
            Held::Pinned(page) => page_format::number_of(page),
            Held::Private(page) => page.page().as_u64(),
        })
    }

    /// Keeps a page that was fetched until the next move has seen it.
    pub(crate) fn hold(&mut self, page: PinnedPage) {
        self.pin = Some(page);
    }

    /// Finds out where a move by one entry ends, over the pages in memory, or says what is missing.
    pub(crate) fn advance(&mut self, pager: &Pager, direction: Direction) -> Result<Walk<Arrival>> {
        match (&self.place, direction) {
            (Place::After, Direction::Next) | (Place::Before, Direction::Previous) => {
                return Ok(Walk::Found(Arrival::beyond(direction)));
            }
            (Place::On(held, index), _) => {
                if let Some(moved) = self.move_within(held, *index, direction) {
                    let held = held.clone();
                    return Ok(Walk::Found(self.arrival(held, moved, false, direction)));
                }
            }
            (Place::New | Place::At(_) | Place::Before, Direction::Next)
            | (Place::New | Place::At(_) | Place::After, Direction::Previous) => {}
        }
        let pages = Pages { private: self.reader.private, resident: pager.resident()? };
        if is_planted!(CursorBeforePage)
            && let Place::On(..) = self.place
        {
            self.place = Place::New;
        }
        let (target, open) = self.target(direction);
        let Some(target) = target else { return Ok(Walk::Found(Arrival::beyond(direction))) };
        let found = match locate(&pages, self.reader, target, open, direction)? {
            Walk::Missing(page) => return Ok(Walk::Missing(page)),
            Walk::Found(found) => found,
        };
        let Some((leaf, index)) = found else {
            return Ok(Walk::Found(Arrival::beyond(direction)));
        };
        let held = match self.reader.private.and_then(|private| private.page(leaf.page)) {
            Some(_) => Held::Private(leaf.page),
            None => match pages.pin(leaf.page) {
                Some(page) => Held::Pinned(page),
                None => return Ok(Walk::Missing(leaf.page)),
            },
        };
        store(&mut self.there.low, leaf.low);
        store(&mut self.there.high, leaf.high);
        self.ahead.entered(pager, &pages, &leaf.path, direction);
        Ok(Walk::Found(self.arrival(held, index, true, direction)))
    }

    /// The neighbour of an entry, if it is in the same leaf.
    fn move_within(&self, held: &Held, index: usize, direction: Direction) -> Option<usize> {
        match direction {
            Direction::Previous => index.checked_sub(1),
            Direction::Next => {
                let count = self.leaf(held)?.count();
                Some(index + 1).filter(|next| *next < count)
            }
        }
    }

    /// Where to look for the next leaf, and whether an entry with just that key is left out.
    /// `None` if there is no leaf that way.
    fn target(&self, direction: Direction) -> (Option<Target<'_>>, bool) {
        let on_entry = matches!(self.place, Place::On(..));
        match direction {
            Direction::Next if on_entry => (self.here.high.as_deref().map(Target::Key), false),
            Direction::Previous if on_entry => (self.here.low.as_deref().map(Target::Below), false),
            Direction::Next => match self.start() {
                Bound::Unbounded => (Some(Target::First), false),
                Bound::Included(key) => (Some(Target::Key(key)), false),
                Bound::Excluded(key) => (Some(Target::Key(key)), true),
            },
            Direction::Previous => match self.end() {
                Bound::Unbounded => (Some(Target::Last), false),
                Bound::Included(key) => (Some(Target::Key(key)), false),
                Bound::Excluded(key) => (Some(Target::Below(key)), true),
            },
        }
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

    /// An arrival at an entry, or beyond the range if the entry is outside.
    fn arrival(
        &mut self,
        held: Held,
        index: usize,
        is_new_leaf: bool,
        direction: Direction,
    ) -> Arrival {
        let mut key = std::mem::take(&mut self.there.key);
        key.clear();
        let leaf = self.leaf(&held).expect("the leaf was seen in this step");
        leaf.key(index).copy_into(&mut key);
        let large = leaf.value(index).large();
        self.there.key = key;
        if self.range.contains(&self.there.key) {
            Arrival { place: Place::On(held, index), is_new_leaf, large }
        } else {
            Arrival::beyond(direction)
        }
    }

    /// Moves to where [`Cursor::advance`] found that the move ends.
    pub(crate) fn arrive(&mut self, arrival: Arrival, loaded: Option<Vec<u8>>) {
        if let Place::On(..) = arrival.place {
            std::mem::swap(&mut self.here.key, &mut self.there.key);
            if arrival.is_new_leaf {
                std::mem::swap(&mut self.here.low, &mut self.there.low);
                std::mem::swap(&mut self.here.high, &mut self.there.high);
            }
        }
        self.place = arrival.place;
        self.loaded = loaded;
        self.pin = None;
    }
}

impl Arrival {
    /// Behind the last entry, or in front of the first.
    fn beyond(direction: Direction) -> Arrival {
        let place = match direction {
            Direction::Next => Place::After,
            Direction::Previous => Place::Before,
        };
        Arrival { place, is_new_leaf: false, large: None }
    }
}
/// The first entry at or behind `target`, or the last one at or in front of it, and its leaf.
fn locate<'p>(
    pages: &'p Pages<'_>,
    reader: Reader<'_>,
    target: Target<'_>,
    open: bool,
    direction: Direction,
) -> Result<Walk<Option<(Leaf<'p>, usize)>>> {
    let mut leaf = match descend(pages, reader.root()?, target)? {
        Walk::Missing(page) => return Ok(Walk::Missing(page)),
        Walk::Found(None) => return Ok(Walk::Found(None)),
        Walk::Found(Some(leaf)) => leaf,
    };
    if let Some(index) = index_in(&leaf.view, target, open, direction) {
        return Ok(Walk::Found(Some((leaf, index))));
    }
    // All of this leaf is on the wrong side of the target: the entry is at the near end of the
    // leaf next to it.
    let beyond = match direction {
        Direction::Next => leaf.high.map(|high| high.to_vec()),
        Direction::Previous => leaf.low.map(|low| low.to_vec()),
    };
    let Some(beyond) = beyond else { return Ok(Walk::Found(None)) };
    let target = match direction {
        Direction::Next => Target::Key(&beyond),
        Direction::Previous => Target::Below(&beyond),
    };
    leaf = match descend(pages, reader.root()?, target)? {
        Walk::Missing(page) => return Ok(Walk::Missing(page)),
        Walk::Found(None) => return Ok(Walk::Found(None)),
        Walk::Found(Some(leaf)) => leaf,
    };
    let index = match direction {
        Direction::Next => 0,
        Direction::Previous => leaf.view.count() - 1,
    };
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

/// Copies a separator to where the one before was.
fn store(place: &mut Option<Vec<u8>>, key: Option<KeyRef<'_>>) {
    match key {
        None => *place = None,
        Some(key) => {
            let bytes = place.get_or_insert_default();
            bytes.clear();
            key.copy_into(bytes);
        }
    }
}
