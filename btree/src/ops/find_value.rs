//! Looking up a value to read it part by part.

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Pager, PinnedPage};

use crate::node::LargeValue;
use crate::ops::get::{Found, Value, find};
use crate::ops::read_value::{ReadValue, check_place, copied, read_value};
use crate::pages::{Reader, Walk};
use crate::{Error, Result};

/// Looks up a value to read it part by part.
///
/// ```text
///   begin -> Walk --- found ---------> done
///             ^ '---- missing -> Fetching
///             '---------------------'
/// ```
///
/// An abandoned run leaves nothing behind but pages in the cache.
#[derive(Debug)]
pub struct FindValue<'a, K> {
    reader: Reader<'a>,
    /// What the operation works on, for as long as its value may be looked at.
    pager: &'a Pager,
    key: K,
    /// The page fetched last: it stays until the walk has seen it.
    pin: Option<PinnedPage>,
}

/// How far a lookup is.
#[derive(Debug)]
pub enum State {
    /// Walk from the root over the pages in memory.
    Walk,
    /// The page that the walk missed is being fetched.
    Fetching(StateMachine<Fetch>),
}

/// A value that is read part by part.
#[derive(Debug)]
pub struct ValueReader<'a> {
    place: Place<'a>,
}

#[derive(Debug)]
enum Place<'a> {
    Here(Value<'a>),
    Large(LargeValue),
}

/// Begins to look up the value of `key`.
pub(crate) fn find_value<'a, K: AsRef<[u8]>>(
    reader: Reader<'a>,
    pager: &'a Pager,
    key: K,
) -> StateMachine<FindValue<'a, K>> {
    StateMachine::new(FindValue { reader, pager, key, pin: None }, State::Walk)
}

impl<'a, K: AsRef<[u8]>> StateTransition for FindValue<'a, K> {
    type State = State;
    type Context = Pager;
    type Output = Option<ValueReader<'a>>;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Walk => match find(self.reader, self.pager, self.key.as_ref())? {
                Walk::Missing(page) => Transition::Next(State::Fetching(fetch(page))),
                Walk::Found(None) => Transition::Done(None),
                Walk::Found(Some(Found::Here(value))) => {
                    Transition::Done(Some(ValueReader { place: Place::Here(value) }))
                }
                Walk::Found(Some(Found::Large(value))) => {
                    check_place(pager, &value)?;
                    Transition::Done(Some(ValueReader { place: Place::Large(value) }))
                }
            },
            State::Fetching(mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(fetch), io.into()),
                IOResult::Done(page) => {
                    self.pin = Some(page);
                    Transition::Next(State::Walk)
                }
            },
        })
    }
}

impl ValueReader<'_> {
    /// The value's length in bytes.
    pub fn len(&self) -> u64 {
        match &self.place {
            Place::Here(value) => value.len() as u64,
            Place::Large(value) => value.len,
        }
    }

    /// Is the value empty?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins to fill `out` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// [`Error::BehindValue`] if the value ends before `out` does.
    pub fn read<B: AsMut<[u8]>>(
        &self,
        pager: &Pager,
        offset: u64,
        mut out: B,
    ) -> Result<StateMachine<ReadValue<B>>> {
        let end = offset.saturating_add(out.as_mut().len() as u64);
        if end > self.len() {
            return Err(Error::BehindValue { end, len: self.len() });
        }
        Ok(match &self.place {
            Place::Here(value) => {
                out.as_mut().copy_from_slice(&value[offset as usize..end as usize]);
                copied(out)
            }
            Place::Large(value) => read_value(pager, *value, offset, out),
        })
    }
}
