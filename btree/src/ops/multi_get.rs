//! Waiting for the next of many lookups.

use std::marker::PhantomData;

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::Pager;

use crate::multi_get::{Gathered, Lookup, MultiGet};
use crate::{Error, Result};

/// Waits for the next of many lookups that is done.
///
/// ```text
///   begin -> Gather --- one is ready, or none is left --> done
///             ^ ^|'---- all wait for pages: waits in Gather; some have come: Gather
///             ^ '------ large values are left: Loading --> done
///             '------------------- (the next call)
/// ```
///
/// An abandoned run leaves all lookups where they are.
pub struct Next<'m, 'a, I: Iterator> {
    /// The lookups are in the state.
    lookups: PhantomData<&'m mut MultiGet<'a, I>>,
}

/// How far it is. Each state has the lookups.
pub enum State<'m, 'a, I: Iterator> {
    /// Go on with what has come, and take more keys.
    Gather(&'m mut MultiGet<'a, I>),
    /// The first large value is being read.
    Loading(&'m mut MultiGet<'a, I>),
}

impl<I: Iterator> std::fmt::Debug for State<'_, '_, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            State::Gather(lookups) => write!(f, "Gather({lookups:?})"),
            State::Loading(lookups) => write!(f, "Loading({lookups:?})"),
        }
    }
}

/// Begins to wait for the next lookup that is done.
pub(crate) fn next<'m, 'a, I: Iterator<Item: AsRef<[u8]>>>(
    lookups: &'m mut MultiGet<'a, I>,
) -> StateMachine<Next<'m, 'a, I>> {
    StateMachine::new(Next { lookups: PhantomData }, State::Gather(lookups))
}

impl<'m, 'a, I: Iterator<Item: AsRef<[u8]>>> StateTransition for Next<'m, 'a, I> {
    type State = State<'m, 'a, I>;
    type Context = Pager;
    /// The next lookup that is done, in no particular order; `None` when all are.
    type Output = Option<Lookup<'a, I::Item>>;
    type Error = Error;

    #[inline(always)]
    fn transition(&mut self, state: State<'m, 'a, I>, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Gather(lookups) => {
                if let Some(lookup) = lookups.take_ready() {
                    return Ok(Transition::Done(Some(lookup)));
                }
                match lookups.gather(pager)? {
                    Gathered::Ready | Gathered::Again => Transition::Next(State::Gather(lookups)),
                    Gathered::Wait(io) => Transition::Wait(State::Gather(lookups), io),
                    Gathered::Large => Transition::Next(State::Loading(lookups)),
                    Gathered::Over => Transition::Done(None),
                }
            }
            State::Loading(lookups) => match lookups.first_large(pager) {
                None => Transition::Next(State::Gather(lookups)),
                Some(Err(error)) => Transition::Done(lookups.take_large(Err(error))),
                Some(Ok(read)) => match read.step(pager) {
                    Ok(IOResult::IO(io)) => Transition::Wait(State::Loading(lookups), io.into()),
                    Ok(IOResult::Done(value)) => Transition::Done(lookups.take_large(Ok(value))),
                    Err(error) => Transition::Done(lookups.take_large(Err(error))),
                },
            },
        })
    }
}
