//! The first or the last entry of a tree.

use std::marker::PhantomData;

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::Pager;
use yieldb_pager::ops::fetch::{Fetch, fetch};

use crate::cursor::{Arrival, Cursor, Direction};
use crate::ops::read_value::{ReadValue, read_whole};
use crate::pages::Walk;
use crate::{Error, Result};

/// Looks up the first or the last entry of a range.
///
/// ```text
///   begin -> Walk --- there ------------------------> done
///             ^ |'--- there, a large value: Loading -> done
///             | '---- missing -> Fetching
///             '---------------------'
/// ```
///
/// An abandoned run leaves nothing behind but pages in the cache.
#[derive(Debug)]
pub struct Edge<'a> {
    direction: Direction,
    /// The cursor is in the state.
    cursor: PhantomData<Cursor<'a>>,
}

/// How far it is.
#[derive(Debug)]
pub enum State<'a> {
    /// Walk to the entry over the pages in memory.
    Walk(Box<Cursor<'a>>),
    /// A page that the walk missed is being fetched.
    Fetching(Box<Cursor<'a>>, StateMachine<Fetch>),
    /// The value of the entry is being read.
    Loading(Box<Load<'a>>),
}

/// The entry, and its value.
#[derive(Debug)]
pub struct Load<'a> {
    cursor: Box<Cursor<'a>>,
    arrival: Arrival,
    read: StateMachine<ReadValue<Vec<u8>>>,
}

/// Begins to look up the first or the last entry of the range of a new cursor.
pub(crate) fn edge(cursor: Cursor<'_>, direction: Direction) -> StateMachine<Edge<'_>> {
    StateMachine::new(Edge { direction, cursor: PhantomData }, State::Walk(Box::new(cursor)))
}

impl<'a> StateTransition for Edge<'a> {
    type State = State<'a>;
    type Context = Pager;
    /// Key and value.
    type Output = Option<(Vec<u8>, Vec<u8>)>;
    type Error = Error;

    fn transition(&mut self, state: State<'a>, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Walk(mut cursor) => match cursor.advance(pager, self.direction)? {
                Walk::Missing(page) => Transition::Next(State::Fetching(cursor, fetch(page))),
                Walk::Found(arrival) => match arrival.large {
                    None => Transition::Done(arrived(&mut cursor, arrival, None)),
                    Some(value) => {
                        let read = read_whole(pager, value)?;
                        let load = Load { cursor, arrival, read };
                        Transition::Next(State::Loading(Box::new(load)))
                    }
                },
            },
            State::Fetching(mut cursor, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(cursor, fetch), io.into()),
                IOResult::Done(page) => {
                    cursor.hold(page);
                    Transition::Next(State::Walk(cursor))
                }
            },
            State::Loading(mut load) => match load.read.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Loading(load), io.into()),
                IOResult::Done(value) => {
                    let Load { mut cursor, arrival, .. } = *load;
                    Transition::Done(arrived(&mut cursor, arrival, Some(value)))
                }
            },
        })
    }
}

fn arrived(
    cursor: &mut Cursor<'_>,
    arrival: Arrival,
    loaded: Option<Vec<u8>>,
) -> Option<(Vec<u8>, Vec<u8>)> {
    cursor.arrive(arrival, loaded);
    cursor.entry().map(|entry| (entry.key().to_vec(), entry.value().to_vec()))
}
