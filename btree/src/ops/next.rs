//! Moving a cursor by one entry.

use std::marker::PhantomData;

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::Pager;
use yieldb_pager::ops::fetch::{Fetch, fetch};

use crate::cursor::{Arrival, Cursor, Direction, Entry};
use crate::ops::read_value::{ReadValue, read_whole};
use crate::pages::Walk;
use crate::{Error, Result};

/// Moves a cursor by one entry.
///
/// ```text
///   begin -> Move --- there ------------------------> done
///             ^ |'--- there, a large value: Loading -> done
///             | '---- missing -> Fetching
///             '---------------------'
/// ```
///
/// An abandoned run has moved the cursor or has not; nothing else is left behind.
#[derive(Debug)]
pub struct Next<'c, 'a> {
    direction: Direction,
    /// The cursor itself is in the state.
    cursor: PhantomData<&'c mut Cursor<'a>>,
}

/// How far it is. Each state has the cursor, which the entry that comes out borrows.
#[derive(Debug)]
pub enum State<'c, 'a> {
    /// Try the move over the pages in memory.
    Move(&'c mut Cursor<'a>),
    /// A page that it missed is being fetched.
    Fetching(&'c mut Cursor<'a>, StateMachine<Fetch>),
    /// It is known where the move ends; the value there is being read.
    Loading(&'c mut Cursor<'a>, Box<Load>),
}

/// Where a move ends, and the value there.
#[derive(Debug)]
pub struct Load {
    arrival: Arrival,
    read: StateMachine<ReadValue<Vec<u8>>>,
}

/// Begins to move `cursor`.
pub(crate) fn next<'c, 'a>(
    cursor: &'c mut Cursor<'a>,
    direction: Direction,
) -> StateMachine<Next<'c, 'a>> {
    StateMachine::new(Next { direction, cursor: PhantomData }, State::Move(cursor))
}

impl<'c, 'a> StateTransition for Next<'c, 'a> {
    type State = State<'c, 'a>;
    type Context = Pager;
    /// The entry that the cursor is on now; `None` past the last one in its direction.
    type Output = Option<Entry<'c>>;
    type Error = Error;

    fn transition(&mut self, state: State<'c, 'a>, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Move(cursor) => match cursor.advance(pager, self.direction)? {
                Walk::Found(arrival) => match arrival.large {
                    None => {
                        cursor.arrive(arrival, None);
                        Transition::Done(cursor.entry())
                    }
                    Some(value) => {
                        let load = Load { arrival, read: read_whole(pager, value)? };
                        Transition::Next(State::Loading(cursor, Box::new(load)))
                    }
                },
                Walk::Missing(page) => Transition::Next(State::Fetching(cursor, fetch(page))),
            },
            State::Fetching(cursor, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(cursor, fetch), io.into()),
                IOResult::Done(page) => {
                    cursor.hold(page);
                    Transition::Next(State::Move(cursor))
                }
            },
            State::Loading(cursor, mut load) => match load.read.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Loading(cursor, load), io.into()),
                IOResult::Done(value) => {
                    cursor.arrive(load.arrival, Some(value));
                    Transition::Done(cursor.entry())
                }
            },
        })
    }
}

/// Moves a cursor by one entry, without reading a large value.
///
/// ```text
///   begin -> Move --- there ---------> done
///             ^ '---- missing -> Fetching
///             '---------------------'
/// ```
///
/// An abandoned run has moved the cursor or has not; nothing else is left behind.
#[derive(Debug)]
pub struct NextKey<'c, 'a> {
    direction: Direction,
    /// The cursor itself is in the state.
    cursor: PhantomData<&'c mut Cursor<'a>>,
}

/// How far it is. Each state has the cursor, which the key that comes out borrows.
#[derive(Debug)]
pub enum KeyState<'c, 'a> {
    /// Try the move over the pages in memory.
    Move(&'c mut Cursor<'a>),
    /// A page that it missed is being fetched.
    Fetching(&'c mut Cursor<'a>, StateMachine<Fetch>),
}

/// Begins to move `cursor`.
pub(crate) fn next_key<'c, 'a>(
    cursor: &'c mut Cursor<'a>,
    direction: Direction,
) -> StateMachine<NextKey<'c, 'a>> {
    StateMachine::new(NextKey { direction, cursor: PhantomData }, KeyState::Move(cursor))
}

impl<'c, 'a> StateTransition for NextKey<'c, 'a> {
    type State = KeyState<'c, 'a>;
    type Context = Pager;
    /// The key of the entry that the cursor is on now; `None` past the last one in its direction.
    type Output = Option<&'c [u8]>;
    type Error = Error;

    fn transition(&mut self, state: KeyState<'c, 'a>, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            KeyState::Move(cursor) => match cursor.advance(pager, self.direction)? {
                Walk::Found(arrival) => {
                    cursor.arrive(arrival, None);
                    Transition::Done(cursor.key())
                }
                Walk::Missing(page) => Transition::Next(KeyState::Fetching(cursor, fetch(page))),
            },
            KeyState::Fetching(cursor, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(KeyState::Fetching(cursor, fetch), io.into()),
                IOResult::Done(page) => {
                    cursor.hold(page);
                    Transition::Next(KeyState::Move(cursor))
                }
            },
        })
    }
}
