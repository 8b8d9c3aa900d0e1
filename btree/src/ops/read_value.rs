//! Reading a value, or a part of it, into a buffer.

use std::fmt;
use std::marker::PhantomData;

use smallvec::SmallVec;
use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::page_format::{VALUE, kind_of, stamp_of};
use yieldb_pager::{PageRef, Pager, value_page};

use crate::error::corrupt;
use crate::node::LargeValue;
use crate::pages::Walk;
use crate::{Error, Result};

/// Reads a part of a value into a buffer.
///
/// ```text
///   begin -> Copy --- all is copied ---> done
///            ^ ^ |'--- some is: Copy
///            | |  '--- missing -> Fetching
///            | '--------------------'
///   it was in a leaf: Copied -> done
/// ```
///
/// Pages ahead are read together. An abandoned run leaves nothing behind.
#[derive(Debug)]
pub struct ReadValue<B> {
    /// The buffer itself is in the state.
    out: PhantomData<B>,
}

/// How far it is. Each state has the buffer, which comes out full.
pub enum State<B> {
    /// The value was in a leaf, and is copied.
    Copied(B),
    /// Copy from pages in memory.
    Copy(Part<B>),
    /// The next page is being fetched.
    Fetching(Part<B>, StateMachine<Fetch>),
}

/// A part of a large value that is being read.
pub struct Part<B> {
    value: LargeValue,
    /// Where the part begins in the value.
    offset: u64,
    out: B,
    /// How many bytes are copied.
    done: usize,
    /// The first page of the run that was not asked for ahead.
    ahead: u64,
}

impl<B> fmt::Debug for State<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Copied(_) => f.write_str("Copied"),
            State::Copy(part) => write!(f, "Copy({})", part.done),
            State::Fetching(part, fetch) => write!(f, "Fetching({}, {fetch:?})", part.done),
        }
    }
}

/// How many pages one transition copies from.
const BATCH: usize = 16;

/// How many bytes are read ahead.
const AHEAD_LEN: u64 = 256 * 1024;

/// Begins to fill `out` with the bytes of a large value from `offset` on.
///
/// # Panics
///
/// If the value ends before `out` does.
pub(crate) fn read_value<B: AsMut<[u8]>>(
    pager: &Pager,
    value: LargeValue,
    offset: u64,
    mut out: B,
) -> StateMachine<ReadValue<B>> {
    let end = offset + out.as_mut().len() as u64;
    assert!(end <= value.len, "byte {end} of a value of {}", value.len);
    let ahead = offset / body_len(pager);
    let part = Part { value, offset, out, done: 0, ahead };
    StateMachine::new(ReadValue { out: PhantomData }, State::Copy(part))
}

/// The end of reading a value that was in a leaf.
pub(crate) fn copied<B: AsMut<[u8]>>(out: B) -> StateMachine<ReadValue<B>> {
    StateMachine::new(ReadValue { out: PhantomData }, State::Copied(out))
}

/// Begins to read all of a large value.
///
/// # Errors
///
/// Damage: the value lies behind the end of the file; no memory for it.
pub(crate) fn read_whole(
    pager: &Pager,
    value: LargeValue,
) -> Result<StateMachine<ReadValue<Vec<u8>>>> {
    check_place(pager, &value)?;
    let len = usize::try_from(value.len).map_err(|_| no_memory(usize::MAX))?;
    let mut out = Vec::new();
    out.try_reserve_exact(len).map_err(|_| no_memory(len))?;
    out.resize(len, 0);
    Ok(read_value(pager, value, 0, out))
}

fn no_memory(len: usize) -> Error {
    yieldb_core::Error::OutOfMemory { len }.into()
}

/// Checks that a large value lies in the file: before its length decides anything.
///
/// # Errors
///
/// Damage.
pub(crate) fn check_place(pager: &Pager, value: &LargeValue) -> Result<()> {
    if value.run.end() > pager.space_use().pages {
        let page = PageRef::new(value.run.first(), value.birth);
        return Err(corrupt(page, "a large value lies behind the end of the file"));
    }
    Ok(())
}

/// Checks that a page is one of a value that was made at its birth.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn check_page(value: &LargeValue, page: &[u8]) -> std::result::Result<(), &'static str> {
    if kind_of(page) != VALUE {
        return Err("it is not a page of a large value");
    }
    if stamp_of(page) != value.birth {
        return Err("it is a page of another large value");
    }
    Ok(())
}

impl<B: AsMut<[u8]>> StateTransition for ReadValue<B> {
    type State = State<B>;
    type Context = Pager;
    /// The buffer, full.
    type Output = B;
    type Error = Error;

    fn transition(&mut self, state: State<B>, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Copied(out) => Transition::Done(out),
            State::Copy(mut part) => match part.copy_resident(pager)? {
                Walk::Missing(page) => Transition::Next(State::Fetching(part, fetch(page))),
                Walk::Found(true) => Transition::Done(part.out),
                Walk::Found(false) => Transition::Next(State::Copy(part)),
            },
            State::Fetching(mut part, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(part, fetch), io.into()),
                IOResult::Done(page) => {
                    if let Some(name) = part.next_page(pager) {
                        part.copy_from(pager, name, &page)?;
                    }
                    Transition::Next(State::Copy(part))
                }
            },
        })
    }
}

impl<B: AsMut<[u8]>> Part<B> {
    /// Copies from pages in memory; `true` if all is copied.
    fn copy_resident(&mut self, pager: &Pager) -> Result<Walk<bool>> {
        self.read_ahead(pager);
        let resident = pager.resident()?;
        for _ in 0..BATCH {
            let Some(name) = self.next_page(pager) else { return Ok(Walk::Found(true)) };
            match resident.page(name)? {
                Some(page) => self.copy_from(pager, name, page)?,
                None => return Ok(Walk::Missing(name)),
            }
        }
        Ok(Walk::Found(false))
    }

    /// The page that has the next byte; `None` if all are copied.
    fn next_page(&mut self, pager: &Pager) -> Option<PageRef> {
        if self.done == self.out.as_mut().len() {
            return None;
        }
        self.value.page((self.offset + self.done as u64) / body_len(pager))
    }

    /// Copies what a page has of the part.
    fn copy_from(&mut self, pager: &Pager, name: PageRef, page: &[u8]) -> Result<()> {
        check_page(&self.value, page).map_err(|what| corrupt(name, what))?;
        let from = (self.offset + self.done as u64) % body_len(pager);
        let bytes = &value_page::body(page)[from as usize..];
        let out = &mut self.out.as_mut()[self.done..];
        let len = bytes.len().min(out.len());
        out[..len].copy_from_slice(&bytes[..len]);
        self.done += len;
        Ok(())
    }

    /// Asks for the pages ahead when half of those asked for are copied.
    fn read_ahead(&mut self, pager: &Pager) {
        let len = self.out.as_mut().len() as u64;
        let page = (self.offset + self.done as u64) / body_len(pager);
        let last = (self.offset + len.max(1) - 1) / body_len(pager);
        let window = AHEAD_LEN / pager.page_size().bytes() as u64;
        if self.ahead > last || page + window / 2 < self.ahead {
            return;
        }
        let end = (page + window).min(last + 1);
        let names: SmallVec<[PageRef; 64]> =
            (self.ahead.max(page)..end).filter_map(|index| self.value.page(index)).collect();
        self.ahead = end;
        if names.len() > 1 {
            pager.prefetch(&names);
        }
    }
}

fn body_len(pager: &Pager) -> u64 {
    value_page::body_len(pager.page_size()) as u64
}
