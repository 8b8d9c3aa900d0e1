//! Looking for damage: every page of a version, and whether they make sense together.

use std::collections::VecDeque;
use std::fmt;

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::page_format::{
    INTERIOR, LEAF, SPACE_BITS, SPACE_INDEX, count_of, kind_of, level_of, stamp_of,
};
use yieldb_pager::space::map::MapLoader;
use yieldb_pager::superblock::{Superblock, reserved_page_count};
use yieldb_pager::{
    HeldMap, PageId, PageRef, Pager, PinnedPage, Root, Stamp, VersionPin, value_page,
};

use crate::node::{InteriorView, LargeValue, LeafView, layout};
use crate::ops::read_value;
use crate::{Error, Result, catalogue};

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckProgress {
    /// How many pages were read.
    pub pages: u64,
    /// How many pages the file has, used or not.
    pub of: u64,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The page's number.
    pub page: u64,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}: {}", self.page, self.what)
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Each damage, in the order in which it was found, up to ten thousand of them.
    pub damages: Vec<Damage>,
    /// How many more there are.
    pub unlisted: u64,
    /// How many pages were read.
    pub pages: u64,
    /// How many of them are the space map's. Only the version of the newest checkpoint has one.
    pub map_pages: u64,
    /// How many entries there are in all trees, the catalogue's not counted.
    pub entries: u64,
}

/// How many damages are listed: a page may have hundreds of bad references, and a report is not to
/// be longer than the file.
const MAX_DAMAGES: usize = 10_000;

/// Reads every page of a version and looks for damage: checksums, stamps and structure, the order
/// of keys within and across nodes, births that are later than their parents', pages that are
/// reached twice, counts, and the space map.
///
/// ```text
///   begin -> Next --- a page is left ---> Fetching
///             ^ '---- none is left -----> done
///             '---------------------------'
/// ```
///
/// Memory: one bit for each page of the file, the pages on the way that are still to be read, and
/// 32 bytes for each tree.
/// An abandoned run leaves nothing behind.
pub struct Check<P> {
    pin: VersionPin,
    progress: P,
    /// That the space map is compared with, if it is of the same version.
    checkpoint: HeldMap,
    /// No page of the version has this number, or one behind it.
    page_count: u64,
    todo: Vec<Todo>,
    /// The trees that the catalogue names. They are read when it has been: the counts would mix.
    trees: VecDeque<Root>,
    /// Which pages were reached, one bit each.
    reached: Vec<u64>,
    map: Option<MapLoader>,
    report: Report,
    /// The entries of the tree that is being read, and how many it should have.
    counted: u64,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Find the next page to be read.
    Next,
    /// It is being fetched.
    Fetching(Todo, StateMachine<Fetch>),
}

/// Something to be done.
#[derive(Debug)]
pub enum Todo {
    /// Read a page of a tree.
    Node(Expected),
    /// A tree is complete; compare its count.
    End(Root),
    /// Read a page of the space map.
    Map(PageRef),
    /// Read a page of a large value.
    Value(LargeValue, u64),
}

impl Todo {
    /// The page that is to be read.
    fn page(&self) -> Option<PageRef> {
        match self {
            Todo::Node(Expected { page, .. }) | Todo::Map(page) => Some(*page),
            Todo::Value(value, index) => value.page(*index),
            Todo::End(_) => None,
        }
    }
}

/// A node, and what its parent says of it.
#[derive(Debug)]
pub struct Expected {
    page: PageRef,
    level: u8,
    /// No page below is younger than the one above.
    youngest: Stamp,
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
    in_catalogue: bool,
}

/// Begins to check the version that `pin` holds.
pub(crate) fn check<P: FnMut(CheckProgress)>(
    pin: VersionPin,
    progress: P,
) -> Result<StateMachine<Check<P>>> {
    let checkpoint = pin.pager().hold_map();
    let superblock = checkpoint.superblock();
    // Pages of other versions may lie behind the end that the durable one has.
    let page_count = match pin.roots().version == superblock.version {
        true => superblock.page_count,
        false => pin.pager().space_use().pages,
    };
    let len = page_count.div_ceil(64) as usize;
    let mut reached = Vec::new();
    reached.try_reserve_exact(len).map_err(|_| yieldb_core::Error::OutOfMemory { len: len * 8 })?;
    reached.resize(len, 0);
    let mut check = Check {
        pin,
        progress,
        checkpoint,
        page_count,
        todo: Vec::new(),
        trees: VecDeque::new(),
        reached,
        map: None,
        report: Report::default(),
        counted: 0,
    };
    check.begin();
    Ok(StateMachine::new(check, State::Next))
}

impl<P: FnMut(CheckProgress)> StateTransition for Check<P> {
    type State = State;
    type Context = Pager;
    type Output = Report;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Next => match self.todo.pop() {
                None => match self.trees.pop_front() {
                    Some(root) => {
                        self.begin_tree(root, false);
                        Transition::Next(State::Next)
                    }
                    None => {
                        self.check_map();
                        Transition::Done(std::mem::take(&mut self.report))
                    }
                },
                Some(Todo::End(root)) => {
                    self.end_tree(root);
                    Transition::Next(State::Next)
                }
                Some(todo) => match todo.page() {
                    Some(page) if self.reach(page) => {
                        Transition::Next(State::Fetching(todo, fetch(page)))
                    }
                    Some(_) | None => Transition::Next(State::Next),
                },
            },
            State::Fetching(todo, mut fetch) => match fetch.step(pager) {
                Ok(IOResult::IO(io)) => Transition::Wait(State::Fetching(todo, fetch), io.into()),
                Ok(IOResult::Done(page)) => {
                    self.visit(&todo, &page);
                    Transition::Next(State::Next)
                }
                Err(error) => {
                    self.unreadable(&todo, error)?;
                    Transition::Next(State::Next)
                }
            },
        })
    }
}

impl<P: FnMut(CheckProgress)> Check<P> {
    fn superblock(&self) -> &Superblock {
        self.checkpoint.superblock()
    }

    /// Notes what is to be read, the last first.
    fn begin(&mut self) {
        let roots = self.pin.roots().clone();
        // Only of the durable version is there a space map.
        if roots.version == self.superblock().version
            && let Some(root) = self.superblock().space
        {
            let Superblock { page_size, page_count, space_level, .. } = *self.superblock();
            match MapLoader::new(page_size, page_count, root, space_level) {
                Ok(loader) => {
                    self.map = Some(loader);
                    self.todo.push(Todo::Map(root));
                }
                Err(what) => self.damage(root, what),
            }
        }
        self.begin_tree(roots.catalogue, true);
    }

    fn begin_tree(&mut self, root: Root, in_catalogue: bool) {
        self.todo.push(Todo::End(root));
        if let Some(page) = root.page {
            let youngest = self.pin.roots().moment;
            let (level, low, high) = (root.level, None, None);
            let expected = Expected { page, level, youngest, low, high, in_catalogue };
            self.todo.push(Todo::Node(expected));
        }
    }

    fn end_tree(&mut self, root: Root) {
        let counted = std::mem::take(&mut self.counted);
        if counted != root.count && self.report.damages.is_empty() {
            let number = root.page.map_or(0, |page| page.page().as_u64());
            let what = format!("its tree has {counted} entries, not {}", root.count);
            self.note(Damage { page: number, what });
        }
    }

    /// Notes that a page is reached; `false` if it must not be read.
    fn reach(&mut self, page: PageRef) -> bool {
        let number = page.page().as_u64();
        if number < reserved_page_count(self.superblock().page_size) {
            self.damage(page, "it is referred to, but belongs to the superblock");
            return false;
        }
        let bit = 1 << (number % 64);
        match self.reached.get_mut((number / 64) as usize) {
            Some(_) | None if number >= self.page_count => {
                self.damage(page, "it is referred to, but lies behind the end of the file");
                false
            }
            Some(word) if *word & bit != 0 => {
                self.damage(page, "it is referred to twice");
                false
            }
            Some(word) => {
                *word |= bit;
                true
            }
            None => unreachable!("there is a bit for each page"),
        }
    }

    fn visit(&mut self, todo: &Todo, page: &PinnedPage) {
        self.report.pages += 1;
        (self.progress)(CheckProgress { pages: self.report.pages, of: self.page_count });
        match todo {
            Todo::Node(expected) => match kind_of(page) {
                LEAF | INTERIOR if level_of(page) == expected.level => {
                    self.visit_node(expected, page);
                }
                _ => self.damage(expected.page, "it is not on the level that its parent says"),
            },
            Todo::Map(name) => {
                self.report.map_pages += 1;
                self.visit_map(*name, page);
            }
            Todo::Value(value, index) => self.visit_value(*value, *index, page),
            Todo::End(_) => {}
        }
    }

    fn visit_node(&mut self, expected: &Expected, page: &[u8]) {
        if stamp_of(page) > expected.youngest {
            self.damage(expected.page, "it is younger than its parent");
        }
        if expected.level == 0 {
            let view = LeafView::new(page);
            if view.large_values().any(|value| value.birth > stamp_of(page)) {
                self.damage(expected.page, "it has a value that is younger than itself");
            }
            self.visit_leaf(expected, view);
            return;
        }
        let view = InteriorView::new(page);
        let (first, last) = (view.separator(0), view.separator(view.count() - 1));
        self.check_bounds(expected, first.to_vec(), last.to_vec());
        for index in (0..=view.count()).rev() {
            let left = index.checked_sub(1).map(|left| view.separator(left).to_vec());
            let right = (index < view.count()).then(|| view.separator(index).to_vec());
            self.todo.push(Todo::Node(Expected {
                page: PageRef::from_u64(view.child(index)),
                level: expected.level - 1,
                youngest: stamp_of(page),
                low: left.or_else(|| expected.low.clone()),
                high: right.or_else(|| expected.high.clone()),
                in_catalogue: expected.in_catalogue,
            }));
        }
    }

    fn visit_leaf(&mut self, expected: &Expected, view: LeafView<'_>) {
        let Some(last) = view.count().checked_sub(1) else {
            return self.damage(expected.page, "it is a leaf without entries");
        };
        self.check_bounds(expected, view.key(0).to_vec(), view.key(last).to_vec());
        self.counted += view.count() as u64;
        self.todo.extend(view.large_values().map(|value| Todo::Value(value, 0)));
        if !expected.in_catalogue {
            self.report.entries += view.count() as u64;
            return;
        }
        for index in 0..view.count() {
            match catalogue::parse(&view.key(index).to_vec(), view.value(index)) {
                Ok((_, root)) => self.trees.push_back(root),
                Err(what) => self.damage(expected.page, what),
            }
        }
    }

    fn check_bounds(&mut self, expected: &Expected, first: Vec<u8>, last: Vec<u8>) {
        if expected.low.as_ref().is_some_and(|low| first < *low) {
            self.damage(expected.page, "its first key belongs to the left of it");
        }
        if expected.high.as_ref().is_some_and(|high| last >= *high) {
            self.damage(expected.page, "its last key belongs to the right of it");
        }
    }

    fn visit_value(&mut self, value: LargeValue, index: u64, page: &[u8]) {
        let name = value.page(index).expect("it was read");
        if let Err(what) = read_value::check_page(&value, page) {
            return self.damage(name, what);
        }
        let body_len = value_page::body_len(self.superblock().page_size) as u64;
        let used_len = (value.len - index * body_len).min(body_len) as usize;
        if let Err(what) = value_page::check_end(page, used_len) {
            self.damage(name, what);
        }
        // A value that is longer than the file ends at the first page that was reached before.
        if index + 1 < value.run.count() {
            self.todo.push(Todo::Value(value, index + 1));
        }
    }

    fn visit_map(&mut self, name: PageRef, page: &[u8]) {
        let Some(loader) = &mut self.map else { return };
        if let Err(what) = loader.accept(page) {
            self.map = None;
            return self.damage(name, what);
        }
        if kind_of(page) == SPACE_INDEX {
            let count = count_of(page).min((page.len() - layout::HEADER_LEN) / 8);
            let body = page[layout::HEADER_LEN..].chunks_exact(8).take(count);
            let children = body.map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight")));
            let children: Vec<PageRef> = children.map(PageRef::from_u64).collect();
            self.todo.extend(children.into_iter().rev().map(Todo::Map));
        } else {
            debug_assert_eq!(kind_of(page), SPACE_BITS);
        }
    }

    /// Compares the space map with what was reached.
    fn check_map(&mut self) {
        let Some(loader) = self.map.take() else { return };
        if !self.report.damages.is_empty() {
            // What lies below a damaged page was not reached; it is not the map that is wrong.
            return;
        }
        let reserved = reserved_page_count(self.superblock().page_size);
        let (space, _) = match loader.finish(reserved) {
            Ok(loaded) => loaded,
            Err(what) => {
                let root = self.superblock().space.unwrap_or(PageRef::from_u64(0));
                return self.damage(root, what);
            }
        };
        for number in reserved..self.superblock().page_count {
            let page = PageId::from_u64(number).expect("a page of the file");
            let reached = self.reached[(number / 64) as usize] & 1 << (number % 64) != 0;
            let what = match (space.is_used(page), reached) {
                (true, false) => "the space map says it is used, but nothing refers to it",
                (false, true) => "it is referred to, but the space map says it is free",
                (true, true) | (false, false) => continue,
            };
            self.note(Damage { page: number, what: what.to_owned() });
        }
    }

    /// A page that cannot be read is damage; anything else that fails ends the check.
    fn unreadable(&mut self, todo: &Todo, error: yieldb_pager::Error) -> Result<()> {
        let Some(page) = todo.page() else { return Ok(()) };
        let what = if let yieldb_pager::Error::Corrupt { what, .. } = &error {
            (*what).to_owned()
        } else if let yieldb_pager::Error::Io(yieldb_core::Error::Io(cause)) = &error {
            cause.to_string()
        } else {
            return Err(error.into());
        };
        match todo {
            Todo::Map(_) => self.map = None,
            Todo::Value(value, index) if index + 1 < value.run.count() => {
                self.todo.push(Todo::Value(*value, index + 1));
            }
            Todo::Node(_) | Todo::End(_) | Todo::Value(..) => {}
        }
        self.note(Damage { page: page.page().as_u64(), what });
        Ok(())
    }

    fn damage(&mut self, page: PageRef, what: &'static str) {
        self.note(Damage { page: page.page().as_u64(), what: what.to_owned() });
    }

    fn note(&mut self, damage: Damage) {
        if self.report.damages.len() < MAX_DAMAGES {
            self.report.damages.push(damage);
        } else {
            self.report.unlisted += 1;
        }
    }
}

impl<P> fmt::Debug for Check<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "check, {} pages so far", self.report.pages)
    }
}
