//! Counting the entries of a range.

use std::marker::PhantomData;

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::Pager;
use yieldb_pager::ops::fetch::{Fetch, fetch};

use crate::cursor::{Cursor, Direction};
use crate::pages::Walk;
use crate::{Error, Result};

/// Counts the entries of a range, leaf by leaf, without looking at their values.
///
/// ```text
///   begin -> Count --- no entry is left --> done
///            ^ ^ |'--- a leaf is counted: Count
///            | |  '--- missing -> Fetching
///            | '--------------------'
/// ```
///
/// An abandoned run leaves nothing behind but pages in the cache.
#[derive(Debug)]
pub struct Count<'a> {
    counted: u64,
    /// The cursor is in the state.
    cursor: PhantomData<Cursor<'a>>,
}

/// How far it is.
#[derive(Debug)]
pub enum State<'a> {
    /// Go to the next leaf, over the pages in memory, and count its entries.
    Count(Box<Cursor<'a>>),
    /// A page that was missed is being fetched.
    Fetching(Box<Cursor<'a>>, StateMachine<Fetch>),
}

/// Begins to count the entries of the range of a new cursor.
pub(crate) fn count(cursor: Cursor<'_>) -> StateMachine<Count<'_>> {
    let machine = Count { counted: 0, cursor: PhantomData };
    StateMachine::new(machine, State::Count(Box::new(cursor)))
}

impl<'a> StateTransition for Count<'a> {
    type State = State<'a>;
    type Context = Pager;
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State<'a>, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Count(mut cursor) => match cursor.advance(pager, Direction::Next)? {
                Walk::Missing(page) => Transition::Next(State::Fetching(cursor, fetch(page))),
                Walk::Found(arrival) => {
                    cursor.arrive(arrival, None);
                    match cursor.count_to_end_of_leaf() {
                        0 => Transition::Done(self.counted),
                        count => {
                            self.counted += count;
                            Transition::Next(State::Count(cursor))
                        }
                    }
                }
            },
            State::Fetching(mut cursor, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(cursor, fetch), io.into()),
                IOResult::Done(page) => {
                    cursor.hold(page);
                    Transition::Next(State::Count(cursor))
                }
            },
        })
    }
}
