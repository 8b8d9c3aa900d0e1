//! Moving a cursor by one entry.

use std::marker::PhantomData;

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::Pager;
use yieldb_pager::cache::{Joined, PendingRead};

use crate::cursor::{Arrival, Cursor, Direction, Entry};
use crate::ops::read_value::{ReadValue, read_whole};
use crate::pages::Walk;
use crate::{Error, Result};

/// Moves a cursor by one entry.
///
/// ```text
///   begin -> Move --- there ------------------------> done
///            ^  |---- there, a large value: Loading -> done
///            |  |---- missing -----> Reading --.
///            |  '---- no frame ----> Queued ---|
///            '---------------------------------'
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
    /// A page that it missed is being read.
    Reading(&'c mut Cursor<'a>, PendingRead),
    /// There was no frame for it. There may be one now.
    Queued(&'c mut Cursor<'a>),
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

    #[inline(always)]
    fn transition(&mut self, state: State<'c, 'a>, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Move(cursor) | State::Queued(cursor) => {
                if cursor.move_within(self.direction) {
                    return Ok(Transition::Done(cursor.entry()));
                }
                match cursor.advance(pager, self.direction)? {
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
                    Walk::Missing(page) => match pager.join_read(page)? {
                        Joined::Hit(page) => Transition::Next(State::Move(cursor.holding(page))),
                        Joined::Reading(read) => {
                            let io = read.completion();
                            Transition::Wait(State::Reading(cursor, read), io)
                        }
                        Joined::Later(signal) => Transition::Wait(State::Queued(cursor), signal),
                    },
                }
            }
            State::Reading(cursor, read) => {
                Transition::Next(State::Move(cursor.holding(read.take()?)))
            }
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
///   begin -> Move --- there ----------> done
///            ^  |---- missing -----> Reading --.
///            |  '---- no frame ----> Queued ---|
///            '---------------------------------'
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
    /// A page that it missed is being read.
    Reading(&'c mut Cursor<'a>, PendingRead),
    /// There was no frame for it. There may be one now.
    Queued(&'c mut Cursor<'a>),
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

    #[inline(always)]
    fn transition(&mut self, state: KeyState<'c, 'a>, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            KeyState::Move(cursor) | KeyState::Queued(cursor) => {
                if cursor.move_within(self.direction) {
                    return Ok(Transition::Done(cursor.key()));
                }
                match cursor.advance(pager, self.direction)? {
                    Walk::Found(arrival) => {
                        cursor.arrive(arrival, None);
                        Transition::Done(cursor.key())
                    }
                    Walk::Missing(page) => match pager.join_read(page)? {
                        Joined::Hit(page) => Transition::Next(KeyState::Move(cursor.holding(page))),
                        Joined::Reading(read) => {
                            let io = read.completion();
                            Transition::Wait(KeyState::Reading(cursor, read), io)
                        }
                        Joined::Later(signal) => Transition::Wait(KeyState::Queued(cursor), signal),
                    },
                }
            }
            KeyState::Reading(cursor, read) => {
                Transition::Next(KeyState::Move(cursor.holding(read.take()?)))
            }
        })
    }
}
