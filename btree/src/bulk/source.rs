//! Sorted entries, one after the other: from memory, from the sort file, from leaves.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use yieldb_core::{Buffer, Buffers, Completion, Request};
use yieldb_pager::page_format::{INTERIOR, kind_of, verify};
use yieldb_pager::{PageRef, PageRun, Pager, Stamp};

use super::Limits;
use super::block::{self, HEADER_LEN, Record, end_of};
use super::collected::{Place, Sorted};
use super::sort_file::SortFile;
use crate::error::corrupt;
use crate::node::{LeafView, Stored, check_node};
use crate::{Error, Result};

/// Sorted entries, of which one is looked at.
#[derive(Debug)]
pub(super) enum Source {
    /// In memory, in the order that was sorted out.
    Sorted { sorted: Sorted, index: usize, place: Place },
    /// In frames that come one after the other.
    Frames(Frames),
}

/// What frames are read from.
#[derive(Debug)]
enum Origin {
    /// Nothing: all of them are in memory.
    Memory,
    /// A part of the sort file, in frames.
    SortFile(Range<u64>),
    /// Pages of a tree, of which the leaves count; the last first.
    Tree(Vec<(PageRun, Stamp)>),
}

/// Frames that come one after the other; those that follow are read ahead.
pub(super) struct Frames {
    origin: Origin,
    /// The next ones; the first one is looked at.
    ready: VecDeque<Buffer>,
    reading: Option<Reading>,
    /// Where the entry that is looked at is: an offset, or an index in a leaf.
    at: usize,
    /// Where the frame ends that is looked at: an offset, or a count; 0 if that is not known yet.
    end: usize,
    /// The key that is looked at, if it is one of a leaf.
    key: Vec<u8>,
}

/// Frames that are on their way, in one read.
#[derive(Debug)]
enum Reading {
    SortFile(Completion, u64),
    Tree(Completion, PageRun, Stamp),
}

/// What there is to look at.
#[derive(Debug)]
pub(super) enum Look {
    /// An entry.
    Entry,
    /// Nothing more.
    Over,
    /// Something, after this.
    Wait(Completion),
}

impl Source {
    /// Entries that were sorted in memory.
    pub fn sorted(sorted: Sorted) -> Source {
        let place = if sorted.count() > 0 { sorted.place(0) } else { Place::default() };
        Source::Sorted { sorted, index: 0, place }
    }

    /// Entries that came in order.
    pub fn in_order(frames: Vec<Buffer>) -> Source {
        Source::Frames(Frames::new(Origin::Memory, frames.into()))
    }

    /// A part of the sort file, in frames.
    pub fn run(run: Range<u64>) -> Source {
        Source::Frames(Frames::new(Origin::SortFile(run), VecDeque::new()))
    }

    /// The leaves among pages that are in the file.
    pub fn tree(mut pages: Vec<(PageRun, Stamp)>) -> Source {
        pages.reverse();
        Source::Frames(Frames::new(Origin::Tree(pages), VecDeque::new()))
    }

    /// The key that is looked at.
    #[inline]
    pub fn key(&self) -> &[u8] {
        match self {
            Source::Sorted { sorted, place, .. } => sorted.record(*place).key,
            Source::Frames(frames) => frames.key(),
        }
    }

    /// The key and the value that are looked at.
    #[inline]
    pub fn entry(&self, page_len: usize) -> (&[u8], Stored<'_>) {
        match self {
            Source::Sorted { sorted, place, .. } => {
                let record = sorted.record(*place);
                (record.key, record.value(page_len))
            }
            Source::Frames(frames) => (frames.key(), frames.value(page_len)),
        }
    }

    /// Goes on to the next entry; [`Source::look`] says whether there is one.
    #[inline]
    pub fn skip(&mut self) {
        match self {
            Source::Sorted { sorted, index, place } => {
                *index += 1;
                if *index < sorted.count() {
                    *place = sorted.place(*index);
                    sorted.prefetch_behind(*index);
                }
            }
            Source::Frames(frames) => frames.skip(),
        }
    }

    /// Is there an entry to look at? Reads what follows.
    ///
    /// # Errors
    ///
    /// A failed read; damage.
    #[inline]
    pub fn look(&mut self, from: &Files<'_>) -> Result<Look> {
        match self {
            Source::Sorted { sorted, index, .. } if *index < sorted.count() => Ok(Look::Entry),
            Source::Sorted { .. } => Ok(Look::Over),
            Source::Frames(frames) if frames.at < frames.end => Ok(Look::Entry),
            Source::Frames(frames) => frames.look(from),
        }
    }
}

/// Where sources read from.
pub(super) struct Files<'a> {
    pub pager: &'a Pager,
    pub file: Option<&'a SortFile>,
    pub limits: Limits,
}

impl Files<'_> {
    fn file(&self) -> &SortFile {
        self.file.expect("what is in the sort file was written there")
    }
}

impl Frames {
    fn new(origin: Origin, ready: VecDeque<Buffer>) -> Frames {
        Frames { origin, ready, reading: None, at: 0, end: 0, key: Vec::new() }
    }

    fn is_leaf(&self) -> bool {
        matches!(self.origin, Origin::Tree(_))
    }

    fn key(&self) -> &[u8] {
        if self.is_leaf() { &self.key } else { Record::at(&self.ready[0], self.at).key }
    }

    fn value(&self, page_len: usize) -> Stored<'_> {
        if self.is_leaf() {
            LeafView::new(&self.ready[0]).value(self.at)
        } else {
            Record::at(&self.ready[0], self.at).value(page_len)
        }
    }

    fn skip(&mut self) {
        if self.is_leaf() {
            self.at += 1;
            self.copy_key();
        } else {
            self.at += Record::at(&self.ready[0], self.at).len();
        }
    }

    fn copy_key(&mut self) {
        self.key.clear();
        if self.at < self.end {
            LeafView::new(&self.ready[0]).key(self.at).copy_into(&mut self.key);
        }
    }

    /// Looks for an entry where the frame that was looked at is over, or none ever was.
    fn look(&mut self, from: &Files<'_>) -> Result<Look> {
        loop {
            if self.end > 0 {
                self.ready.pop_front();
                (self.at, self.end) = (0, 0);
            }
            self.read_ahead(from)?;
            if let Some(frame) = self.ready.front() {
                match (self.is_leaf(), kind_of(frame)) {
                    // It is dropped, and the next one is looked at.
                    (true, INTERIOR) => (self.at, self.end) = (1, 1),
                    (true, _) => self.end = LeafView::new(frame).count(),
                    (false, _) => (self.at, self.end) = (HEADER_LEN, end_of(frame)),
                }
                if self.is_leaf() {
                    self.copy_key();
                }
                if self.at < self.end {
                    return Ok(Look::Entry);
                }
                self.end = self.end.max(1);
                continue;
            }
            match &self.reading {
                Some(Reading::SortFile(io, _) | Reading::Tree(io, ..)) if !io.finished() => {
                    return Ok(Look::Wait(io.clone()));
                }
                Some(_) => {}
                None if self.next_is_none() => return Ok(Look::Over),
                // No frame was to be had for the next read.
                None => match from.pager.cache().take_frame() {
                    Ok(frame) => self.read(vec![frame].into(), from),
                    Err(signal) => return Ok(Look::Wait(signal)),
                },
            }
        }
    }

    fn next_is_none(&self) -> bool {
        match &self.origin {
            Origin::Memory => true,
            Origin::SortFile(range) => range.is_empty(),
            Origin::Tree(pages) => pages.is_empty(),
        }
    }

    /// Takes what was read, and begins to read what follows.
    fn read_ahead(&mut self, from: &Files<'_>) -> Result<()> {
        self.accept(from)?;
        if self.reading.is_some() || self.next_is_none() || self.ready.len() >= from.limits.block {
            return Ok(());
        }
        let mut frames = Buffers::new();
        while frames.len() < self.next_count(from.limits.block) {
            match from.pager.cache().take_frame() {
                Ok(frame) => frames.push(frame),
                // It is tried again when there is nothing else to look at.
                Err(_signal) => break,
            }
        }
        if !frames.is_empty() {
            self.read(frames, from);
        }
        Ok(())
    }

    /// How many frames lie one behind the other from the next one on, `limit` at most.
    fn next_count(&self, limit: usize) -> usize {
        let left = match &self.origin {
            Origin::Memory => 0,
            Origin::SortFile(range) => range.end - range.start,
            Origin::Tree(pages) => pages.last().map_or(0, |(run, _)| run.count()),
        };
        limit.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Begins to read the next frames.
    fn read(&mut self, frames: Buffers, from: &Files<'_>) {
        let count = frames.len() as u64;
        let io = Completion::read(frames);
        let page_len = from.limits.page_len as u64;
        self.reading = match &mut self.origin {
            Origin::Memory => unreachable!("nothing is read of what is in memory"),
            Origin::SortFile(range) => {
                let first = range.start;
                range.start += count;
                from.file().file().read(first * page_len, io.clone());
                Some(Reading::SortFile(io, first))
            }
            Origin::Tree(pages) => {
                let (run, birth) = pages.pop().expect("there is a next one");
                let head = PageRun::new(run.first(), count).expect("it is a part of the run");
                if let Some(rest) =
                    run.page(count).and_then(|page| PageRun::new(page, run.count() - count))
                {
                    pages.push((rest, birth));
                }
                from.pager.file().read(head.first().as_u64() * page_len, io.clone());
                Some(Reading::Tree(io, head, birth))
            }
        };
    }

    /// Takes what was read, if that is finished, and checks it.
    fn accept(&mut self, from: &Files<'_>) -> Result<()> {
        let is_over = |reading: &mut Reading| match reading {
            Reading::SortFile(io, _) | Reading::Tree(io, ..) => io.finished(),
        };
        let Some(reading) = self.reading.take_if(is_over) else { return Ok(()) };
        match reading {
            Reading::SortFile(io, first) => {
                let frames = frames_of(&io, from.limits.page_len)?;
                for (frame, place) in frames.into_iter().zip(first..) {
                    let checked = frame.ok_or("the file ends before it");
                    let frame =
                        checked.and_then(|frame| block::check(&frame, place).map(|()| frame));
                    self.ready.push_back(frame.map_err(|what| from.file().damaged(place, what))?);
                }
            }
            Reading::Tree(io, run, birth) => {
                let frames = frames_of(&io, from.limits.page_len)?;
                for (frame, page) in frames.into_iter().zip(run.pages()) {
                    let page = PageRef::new(page, birth);
                    let checked = frame.ok_or("the file ends before it");
                    let frame = checked.and_then(|frame| {
                        verify(&frame, page).and_then(|()| check_node(&frame)).map(|()| frame)
                    });
                    self.ready.push_back(frame.map_err(|what| corrupt(page, what))?);
                }
            }
        }
        Ok(())
    }
}

/// The frames that a read has filled; `None` for those that the file ends before.
fn frames_of(io: &Completion, page_len: usize) -> Result<Vec<Option<Buffer>>> {
    let len = io.result().expect("the read is finished").map_err(Error::from)?;
    let frames = io.take_buffers().into_iter().zip(1..);
    Ok(frames.map(|(frame, count)| (count * page_len <= len).then_some(frame)).collect())
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} ready, {:?}", self.origin, self.ready.len(), self.reading)
    }
}
