//! Making a file shorter, while it is used.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;
use yieldb_core::{Completion, IOResult, StateMachine, StateTransition, Transition, reached};
use yieldb_pager::ops::checkpoint::Ticket;
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Compaction, Durability, PageRef, Pager, PinnedPage, Root, Tree};

use crate::descend::{Route, Target, descend};
use crate::edit::{Change, Edited, Part, most_pages};
use crate::node::{InteriorView, LargeValue, Stored};
use crate::ops::begin::{Begin, begin};
use crate::ops::commit::{Commit, commit};
use crate::ops::read_value::{ReadValue, check_place, read_value};
use crate::pages::Pages;
use crate::transaction::{Attempt, Subject, Transaction};
use crate::work::Step;
use crate::{Error, Result};

/// Makes the file shorter: leaves that are half empty become fewer, and what lies behind is moved
/// to the front, until the pages in use are together there; then the file is cut.
///
/// ```text
///   begin -> Start -> Beginning --> Pack --- enough for one transaction --> Committing
///            ^         ^  ^  |       '------- the pass is over -------------^  |  |
///            |         |  '--|----------- others' turn ------------------------'  |
///            |         '-----|----------- Flushing <--- the pass is over ---------'
///            |               v flushed
///            '-----------  Cutting --- short enough, nothing moved, the sixth pass --> done
///            another pass
///
///   Start:  waits while another one makes the file shorter
///   Pack:   a page is missing --> Fetching --> Pack
///           a large value is to be moved, and there is room --> Reading --> Write
///   Write:  more is to be read --> Reading; all is written --> Name
///   Name:   a page is missing --> FetchingName --> Name; made --> Pack
/// ```
///
/// It works in transactions of its own, each so short that others get their turn soon: it ends when
/// enough was looked at, even if nothing was changed. The one that cuts the file is short, too: a
/// checkpoint has written before what there was to be written. What anybody reads does not change:
/// the log has records of them without changes, and what a crash undoes of it is as good as it was.
/// An abandoned run leaves the transaction that it is in undone.
///
/// Passes: what one has replaced is free only behind it, and others may write meanwhile. The first
/// two empty the file behind as many pages as are in use. If large values are left there, because
/// what is free in front is in small pieces, the next one moves all that is behind the dense part
/// to behind the end, and the one after that from there to the front.
pub struct Compact {
    pager: Arc<Pager>,
    /// New pages go in front as long as this is there: from the first step on.
    compaction: Option<Compaction>,
    report: Compacted,
    /// Where the pass goes on; `None` when it is over.
    place: Option<Place>,
    /// What is to be emptied in this pass.
    emptied: Part,
    /// How many pages were replaced in this pass.
    replaced: u64,
    /// How many large values there was no room for.
    stuck: u64,
    /// Large values to be moved, the next one last. Only this transaction knows them so: in the
    /// next one they may be others.
    to_move: Vec<Moving>,
    /// How many pages of large values were moved in this transaction.
    moved: u64,
    /// How many leaves it has looked at, at most.
    looked_at: usize,
    /// The pages fetched for a change: they stay until it has seen them.
    pins: SmallVec<[PinnedPage; 4]>,
}

/// What became of a file that was made shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// How many pages the file had.
    pub pages_before: u64,
    /// How many it has.
    pub pages: u64,
    /// How many pages and large values were replaced; some more than once.
    pub replaced: u64,
    /// How often all trees were gone through.
    pub passes: u32,
}

/// The leaf that is next.
#[derive(Debug)]
struct Place {
    subject: Subject,
    key: Vec<u8>,
}

/// A large value that is to be moved.
#[derive(Debug)]
pub struct Moving {
    tree: Tree,
    key: Vec<u8>,
    value: LargeValue,
    /// How many bytes of it are read.
    read: u64,
}

/// How far it is.
pub enum State {
    /// Begin to go through all trees, when nobody else does.
    Start,
    /// Wait for the writer's turn.
    Beginning(StateMachine<Begin>),
    /// Pack the next leaves.
    Pack(Box<Transaction>),
    /// A page of theirs, or above them, is being fetched.
    Fetching(Box<Transaction>, StateMachine<Fetch>),
    /// The next part of a large value is being read.
    Reading(Box<Transaction>, Box<Moving>, StateMachine<ReadValue<Vec<u8>>>),
    /// What was read is written into its copy.
    Write(Box<Transaction>, Box<Moving>, Vec<u8>),
    /// The leaf is to name the copy.
    Name(Box<Transaction>, Box<Moving>),
    /// That leaf, or a page above it, is being fetched.
    FetchingName(Box<Transaction>, Box<Moving>, StateMachine<Fetch>),
    /// What was done is committed.
    Committing(Box<StateMachine<Commit>>),
    /// A checkpoint has what the pass has done, so that the file is cut soon.
    Flushing(Arc<Ticket>),
    /// It is made durable, and the file cut.
    Cutting(Arc<Ticket>),
}

/// How many pages a transaction replaces before others get their turn: work of a few milliseconds.
const MOST_REPLACED: usize = 512;

/// How many leaves it looks at.
const MOST_LOOKED_AT: usize = 256;

/// How many pages of large values it moves, about: none is moved in parts.
const MOST_MOVED: u64 = 2048;

/// How many leaves are packed at once.
const MOST_PACKED: usize = 16;

/// How many leaves are asked for ahead.
const AHEAD: usize = 64;

/// How many passes there are at most.
const MOST_PASSES: u32 = 6;

/// Begins to make the file shorter.
pub fn compact(pager: Arc<Pager>) -> StateMachine<Compact> {
    let machine = Compact {
        pager,
        compaction: None,
        report: Compacted { pages_before: 0, pages: 0, replaced: 0, passes: 0 },
        place: None,
        emptied: Part::default(),
        replaced: 0,
        stuck: 0,
        to_move: Vec::new(),
        moved: 0,
        looked_at: 0,
        pins: SmallVec::new(),
    };
    StateMachine::new(machine, State::Start)
}

impl StateTransition for Compact {
    type State = State;
    type Context = Pager;
    type Output = Compacted;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Start => match self.enter() {
                Err(other) => Transition::Wait(State::Start, other),
                Ok(()) => {
                    self.begin_pass();
                    Transition::Next(self.begin())
                }
            },
            State::Beginning(mut begin) => match begin.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Beginning(begin), io.into()),
                IOResult::Done(transaction) if self.place.is_some() => {
                    Transition::Next(State::Pack(Box::new(transaction)))
                }
                IOResult::Done(transaction) => wait(State::Cutting, transaction.cut(), pager),
            },
            State::Pack(transaction) => self.pack(transaction, pager)?,
            State::Fetching(transaction, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => {
                    Transition::Wait(State::Fetching(transaction, fetch), io.into())
                }
                IOResult::Done(page) => {
                    self.pins.push(page);
                    Transition::Next(State::Pack(transaction))
                }
            },
            State::Reading(transaction, moving, mut reading) => match reading.step(pager)? {
                IOResult::IO(io) => {
                    Transition::Wait(State::Reading(transaction, moving, reading), io.into())
                }
                IOResult::Done(part) => Transition::Next(State::Write(transaction, moving, part)),
            },
            State::Write(transaction, moving, part) => write(transaction, moving, part, pager)?,
            State::Name(transaction, moving) => self.name(transaction, moving)?,
            State::FetchingName(transaction, moving, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => {
                    Transition::Wait(State::FetchingName(transaction, moving, fetch), io.into())
                }
                IOResult::Done(page) => {
                    self.pins.push(page);
                    Transition::Next(State::Name(transaction, moving))
                }
            },
            State::Committing(mut commit) => match commit.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Committing(commit), io.into()),
                IOResult::Done(_version) if self.place.is_some() => {
                    // Whoever steps has other things to do, too.
                    Transition::Wait(self.begin(), Completion::new_yield())
                }
                IOResult::Done(_version) => wait(State::Flushing, pager.checkpoint()?, pager),
            },
            State::Flushing(ticket) => {
                ticket.outcome()?;
                Transition::Next(self.begin())
            }
            State::Cutting(ticket) => {
                ticket.outcome()?;
                match self.is_over() {
                    true => Transition::Done(self.report()),
                    false => Transition::Next(State::Start),
                }
            }
        })
    }
}

impl Compact {
    fn begin(&self) -> State {
        State::Beginning(begin(self.pager.clone()))
    }

    /// One makes the file shorter at a time. `Err`: the end of another one's work.
    fn enter(&mut self) -> std::result::Result<(), Completion> {
        if self.compaction.is_none() {
            self.compaction = Some(self.pager.begin_compaction()?);
            self.report.pages_before = self.pager.space_use().pages;
        }
        Ok(())
    }

    /// Begins to go through all trees.
    fn begin_pass(&mut self) {
        let space = self.pager.space_use();
        let compaction = self.compaction.as_ref().expect("it is the only one");
        let live = space.used - space.held;
        let is_stuck = self.stuck > 0 && self.report.passes >= 2;
        let floor = if is_stuck && self.report.passes.is_multiple_of(2) { space.pages } else { 0 };
        self.emptied = match floor {
            0 => Part { first: live + live / 64, end: u64::MAX },
            end => Part { first: compaction.dense_count(), end },
        };
        compaction.fill_from(floor);
        self.place = Some(Place { subject: Subject::Tree(Tree::MAIN), key: Vec::new() });
        (self.replaced, self.stuck) = (0, 0);
        self.report.passes += 1;
    }

    /// All trees were gone through. Is that enough?
    fn is_over(&self) -> bool {
        let is_done = self.replaced == 0 && self.stuck == 0;
        is_done || self.is_short() || self.report.passes == MOST_PASSES
    }

    /// Are nearly all pages of the file in use?
    fn is_short(&self) -> bool {
        let space = self.pager.space_use();
        space.pages <= space.used + space.used / 32 + 8
    }

    fn report(&mut self) -> Compacted {
        self.compaction = None;
        self.report.pages = self.pager.space_use().pages;
        self.report
    }

    /// Packs the next leaves, unless there is something else to be done in front of that.
    fn pack(
        &mut self,
        mut transaction: Box<Transaction>,
        pager: &Pager,
    ) -> Result<Transition<Self>> {
        if self.is_enough(&transaction) {
            return Ok(Transition::Next(self.commit(transaction)));
        }
        if let Some(moving) = self.to_move.pop() {
            return self.move_value(transaction, moving, pager);
        }
        let Some(place) = &self.place else {
            return Ok(Transition::Next(self.commit(transaction)));
        };
        let Ok(root) = transaction.root(place.subject) else {
            // Somebody has dropped it.
            self.place = place.next_tree(&transaction);
            return Ok(Transition::Next(State::Pack(transaction)));
        };
        let (most, emptied) = (width(root, pager), self.emptied);
        let change = Change::Pack { from: &place.key, most, emptied };
        Ok(match transaction.attempt(place.subject, change)? {
            Attempt::Wait(io) => Transition::Wait(State::Pack(transaction), io),
            Attempt::Missing(page) => {
                place.read_ahead(root, &transaction, pager)?;
                Transition::Next(State::Fetching(transaction, fetch(page)))
            }
            Attempt::Done(edited) => {
                self.pins.clear();
                self.looked_at += most;
                self.go_on(edited, &transaction);
                Transition::Next(State::Pack(transaction))
            }
        })
    }

    /// Is it others' turn? Of the large values that are to be moved, each transaction tries one at
    /// least.
    fn is_enough(&self, transaction: &Transaction) -> bool {
        let replaced = transaction.write_set().replaced_count();
        let is_begun = self.moved > 0 || self.to_move.is_empty();
        self.moved > MOST_MOVED
            || is_begun && replaced > most_replaced(&self.pager)
            || self.to_move.is_empty() && self.looked_at > MOST_LOOKED_AT
    }

    /// Commits what was done. Large values that are still to be moved are looked for again.
    fn commit(&mut self, transaction: Box<Transaction>) -> State {
        if let Some(Moving { tree, key, .. }) = self.to_move.pop() {
            self.place = Some(Place { subject: Subject::Tree(tree), key });
            self.to_move.clear();
        }
        let replaced = transaction.write_set().replaced_count() as u64;
        self.replaced += replaced;
        self.report.replaced += replaced;
        (self.moved, self.looked_at) = (0, 0);
        State::Committing(Box::new(commit(*transaction, Durability::Relaxed)))
    }

    /// Some leaves are packed: what is next?
    fn go_on(&mut self, edited: Edited, transaction: &Transaction) {
        let Some(place) = self.place.take() else { return };
        let Edited { rest, to_move, .. } = edited;
        if let Subject::Tree(tree) = place.subject {
            // Those in front were looked at before: each is moved once in a pass.
            let to_move = to_move.into_iter().filter(|(key, _)| *key >= place.key);
            let moving = |(key, value)| Moving { tree, key, value, read: 0 };
            self.to_move = to_move.rev().map(moving).collect();
        }
        self.place = match rest {
            Some(key) => Some(Place { subject: place.subject, key }),
            None => place.next_tree(transaction),
        };
    }

    /// Begins to move a large value, if there is room for it.
    fn move_value(
        &mut self,
        mut transaction: Box<Transaction>,
        moving: Moving,
        pager: &Pager,
    ) -> Result<Transition<Self>> {
        check_place(pager, &moving.value)?;
        if transaction.begin_copy(&moving.value, self.emptied)? {
            return Ok(read(transaction, Box::new(moving), pager));
        }
        self.stuck += 1;
        Ok(Transition::Next(State::Pack(transaction)))
    }

    /// Tries to name the copy of a large value in the leaf.
    fn name(
        &mut self,
        mut transaction: Box<Transaction>,
        moving: Box<Moving>,
    ) -> Result<Transition<Self>> {
        let copy = Stored::Large(transaction.unfinished_value(moving.value.len));
        Ok(match transaction.change_put(moving.tree, &moving.key, copy)? {
            Step::Next(_) => Transition::Next(State::Name(transaction, moving)),
            Step::Wait(_, io) => Transition::Wait(State::Name(transaction, moving), io),
            Step::Missing(page) => {
                Transition::Next(State::FetchingName(transaction, moving, fetch(page)))
            }
            Step::Done(_) => {
                reached!(ValueMoved);
                transaction.finish_value();
                self.moved += moving.value.run.count();
                self.pins.clear();
                Transition::Next(State::Pack(transaction))
            }
        })
    }
}

/// Waits for a checkpoint.
fn wait(
    state: impl Fn(Arc<Ticket>) -> State,
    ticket: Arc<Ticket>,
    pager: &Pager,
) -> Transition<Compact> {
    let over = ticket.completion();
    let _submitted = pager.turn();
    Transition::Wait(state(ticket), over)
}

/// How many pages a transaction may replace here, so that the log takes it.
fn most_replaced(pager: &Pager) -> usize {
    MOST_REPLACED.min(pager.most_together())
}

/// How many leaves of a tree are packed at once: their pages and their copies are in memory.
fn width(root: Root, pager: &Pager) -> usize {
    let path = most_pages(root, Change::Delete { key: &[] });
    MOST_PACKED.min(pager.private_limit().saturating_sub(path) / 2).max(2)
}

/// Reads the next part of a large value; when there is none, its copy is complete.
fn read(
    transaction: Box<Transaction>,
    mut moving: Box<Moving>,
    pager: &Pager,
) -> Transition<Compact> {
    let Moving { value, read: offset, .. } = *moving;
    if offset == value.len {
        return Transition::Next(State::Name(transaction, moving));
    }
    let len = (value.len - offset).min(transaction.part_len() as u64) as usize;
    moving.read += len as u64;
    let reading = read_value(pager, value, offset, vec![0; len]);
    Transition::Next(State::Reading(transaction, moving, reading))
}

/// Writes some pages of what was read.
fn write(
    mut transaction: Box<Transaction>,
    moving: Box<Moving>,
    mut part: Vec<u8>,
    pager: &Pager,
) -> Result<Transition<Compact>> {
    Ok(match transaction.write_part(&mut part)? {
        Step::Done(()) => read(transaction, moving, pager),
        Step::Wait((), io) => Transition::Wait(State::Write(transaction, moving, part), io),
        Step::Next(()) | Step::Missing(_) => {
            Transition::Next(State::Write(transaction, moving, part))
        }
    })
}

impl Place {
    /// The beginning of the next tree; behind the last one comes the catalogue.
    fn next_tree(&self, transaction: &Transaction) -> Option<Place> {
        let Subject::Tree(tree) = self.subject else { return None };
        let number = tree.as_u32().checked_add(1);
        let next = number.and_then(|number| transaction.trees.first_from(number));
        let subject = next.map_or(Subject::Catalogue, Subject::Tree);
        Some(Place { subject, key: Vec::new() })
    }

    /// Asks for the leaves from here on that are below the same node.
    fn read_ahead(&self, root: Root, transaction: &Transaction, pager: &Pager) -> Result<()> {
        let private = Some(transaction.write_set());
        let pages = Pages { private, resident: pager.resident()? };
        let mut route = Route::default();
        let _leaf = descend(&pages, root, Target::Key(&self.key), &mut route)?;
        let Some((parent, index)) = route.parent() else { return Ok(()) };
        let Some(bytes) = pages.page(parent)? else { return Ok(()) };
        let view = InteriorView::new(bytes);
        let children = (index..=view.count()).map(|child| PageRef::from_u64(view.child(child)));
        let missing: SmallVec<[PageRef; AHEAD]> =
            children.filter(|child| !pages.is_resident(*child)).take(AHEAD).collect();
        if missing.len() > 1 {
            pager.prefetch(&missing);
        }
        Ok(())
    }
}

impl fmt::Debug for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "compacting, pass {}, at {:?}", self.report.passes, self.place)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Start => f.write_str("Start"),
            State::Beginning(begin) => begin.fmt(f),
            State::Pack(_) => f.write_str("Pack"),
            State::Fetching(_, fetch) => write!(f, "Fetching({fetch:?})"),
            State::Reading(_, moving, _) => write!(f, "Reading({})", moving.read),
            State::Write(_, _, part) => write!(f, "Write({})", part.len()),
            State::Name(..) => f.write_str("Name"),
            State::FetchingName(_, _, fetch) => write!(f, "FetchingName({fetch:?})"),
            State::Committing(commit) => commit.fmt(f),
            State::Flushing(_) => f.write_str("Flushing"),
            State::Cutting(_) => f.write_str("Cutting"),
        }
    }
}
