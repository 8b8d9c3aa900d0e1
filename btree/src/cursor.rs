//! A position in a tree.

use std::ops::Bound;

use yieldb_core::{StateMachine, is_planted};
use yieldb_pager::{PageRef, Pager, PinnedPage, page_format};

use crate::descend::{Leaf, Target, descend};
use crate::node::{KeyRef, LeafView};
use crate::ops::next::{Next, next};
use crate::pages::{Pages, Reader, Walk};
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
/// A new cursor is on both ends at once: `next` goes to the first entry, `previous` to the last.
/// Within a leaf a move costs no descent. It keeps one page pinned.
#[derive(Debug)]
pub struct Cursor<'a> {
    reader: Reader<'a>,
    range: KeyRange,
    place: Place,
    leaf: LeafBounds,
    /// The key of the entry that the cursor is on.
    key: Vec<u8>,
    /// The page fetched last: it stays until the walk has seen it.
    pin: Option<PinnedPage>,
}

/// Where a cursor is.
#[derive(Debug)]
enum Place {
    /// On both ends.
    New,
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

/// The separators around the leaf that a cursor is on.
#[derive(Debug, Default)]
struct LeafBounds {
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
}

/// Which way a cursor moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Next,
    Previous,
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
            leaf: LeafBounds::default(),
            key: Vec::new(),
            pin: None,
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

    /// The entry that the cursor is on.
    pub fn entry(&self) -> Option<Entry<'_>> {
        let Place::On(held, index) = &self.place else { return None };
        let bytes: &[u8] = match held {
            Held::Pinned(page) => page,
            Held::Private(page) => self.reader.private?.page(*page)?,
        };
        let view = LeafView::new(bytes);
        Some(Entry { key: &self.key, value: view.value(*index) })
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

    /// Moves by one entry over the pages in memory, or says what is missing and stays.
    pub(crate) fn advance(&mut self, pager: &Pager, direction: Direction) -> Result<Walk<()>> {
        match (&self.place, direction) {
            (Place::After, Direction::Next) | (Place::Before, Direction::Previous) => {
                return Ok(Walk::Found(()));
            }
            (Place::On(held, index), _) => {
                let (held, index) = (held.clone(), *index);
                if let Some(moved) = self.move_within(&held, index, direction) {
                    self.arrive(held, moved, direction);
                    return Ok(Walk::Found(()));
                }
            }
            (Place::New | Place::Before, Direction::Next)
            | (Place::New | Place::After, Direction::Previous) => {}
        }
        let pages = Pages { private: self.reader.private, resident: pager.resident()? };
        if is_planted!(CursorBeforePage)
            && let Place::On(..) = self.place
        {
            self.place = Place::New;
        }
        let found = {
            let (target, open) = self.target(direction);
            let Some(target) = target else { return Ok(self.leave(direction)) };
            match locate(&pages, self.reader, target, open, direction)? {
                Walk::Missing(page) => return Ok(Walk::Missing(page)),
                Walk::Found(found) => found,
            }
        };
        let Some((leaf, index)) = found else { return Ok(self.leave(direction)) };
        let held = match self.reader.private.and_then(|private| private.page(leaf.page)) {
            Some(_) => Held::Private(leaf.page),
            None => match pages.pin(leaf.page) {
                Some(page) => Held::Pinned(page),
                None => return Ok(Walk::Missing(leaf.page)),
            },
        };
        store(&mut self.leaf.low, leaf.low);
        store(&mut self.leaf.high, leaf.high);
        self.pin = None;
        self.arrive(held, index, direction);
        Ok(Walk::Found(()))
    }

    /// The neighbour of an entry, if it is in the same leaf.
    fn move_within(&self, held: &Held, index: usize, direction: Direction) -> Option<usize> {
        match direction {
            Direction::Previous => index.checked_sub(1),
            Direction::Next => {
                let bytes: &[u8] = match held {
                    Held::Pinned(page) => page,
                    Held::Private(page) => self.reader.private?.page(*page)?,
                };
                Some(index + 1).filter(|next| *next < LeafView::new(bytes).count())
            }
        }
    }

    /// Where to look for the next leaf, and whether an entry with just that key is left out.
    /// `None` if there is no leaf that way.
    fn target(&self, direction: Direction) -> (Option<Target<'_>>, bool) {
        let on_entry = matches!(self.place, Place::On(..));
        match direction {
            Direction::Next if on_entry => (self.leaf.high.as_deref().map(Target::Key), false),
            Direction::Previous if on_entry => (self.leaf.low.as_deref().map(Target::Below), false),
            Direction::Next => match self.range.start() {
                Bound::Unbounded => (Some(Target::First), false),
                Bound::Included(key) => (Some(Target::Key(key)), false),
                Bound::Excluded(key) => (Some(Target::Key(key)), true),
            },
            Direction::Previous => match self.range.end() {
                Bound::Unbounded => (Some(Target::Last), false),
                Bound::Included(key) => (Some(Target::Key(key)), false),
                Bound::Excluded(key) => (Some(Target::Below(key)), true),
            },
        }
    }

    /// Stops on an entry, or leaves the range if the entry is outside.
    fn arrive(&mut self, held: Held, index: usize, direction: Direction) {
        let bytes: &[u8] = match &held {
            Held::Pinned(page) => page,
            Held::Private(page) => match self.reader.private.and_then(|set| set.page(*page)) {
                Some(bytes) => bytes,
                None => return,
            },
        };
        self.key.clear();
        LeafView::new(bytes).key(index).copy_into(&mut self.key);
        if self.range.contains(&self.key) {
            self.place = Place::On(held, index);
        } else {
            let Walk::Found(()) = self.leave(direction) else { return };
        }
    }

    /// Goes behind the last entry, or in front of the first.
    fn leave(&mut self, direction: Direction) -> Walk<()> {
        self.place = match direction {
            Direction::Next => Place::After,
            Direction::Previous => Place::Before,
        };
        self.pin = None;
        Walk::Found(())
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
