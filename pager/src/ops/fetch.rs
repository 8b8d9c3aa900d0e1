//! Bringing one page into memory.

use yieldb_core::{Completion, StateMachine, StateTransition, Transition};

use crate::cache::{Joined, PendingRead, PinnedPage};
use crate::{Error, PageRef, Pager, Result};

/// Brings one page into the cache and pins it.
///
/// ```text
///   begin -> Probe --- hit ------------------> done
///             ^ |----- miss ----> Reading ---> done
///             | '- later -------> Queued
///             '---------------------'
/// ```
///
/// An abandoned run leaves the read to itself: it is finished, verified and cached all the same.
#[derive(Debug)]
pub struct Fetch {
    page: PageRef,
}

/// How far a fetch is.
#[derive(Debug)]
pub enum State {
    /// Nothing is known of the page.
    Probe,
    /// Nothing could be done: all frames were taken. One may be free now.
    Queued,
    /// The page is on its way into the cache.
    Reading(PendingRead),
}

/// Begins to fetch a page.
pub fn fetch(page: PageRef) -> StateMachine<Fetch> {
    StateMachine::new(Fetch { page }, State::Probe)
}

impl StateTransition for Fetch {
    type State = State;
    type Context = Pager;
    type Output = PinnedPage;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Probe | State::Queued => match pager.join_read(self.page)? {
                Joined::Hit(page) => Transition::Done(page),
                Joined::Reading(read) => {
                    let io: Completion = read.completion();
                    Transition::Wait(State::Reading(read), io)
                }
                Joined::Later(signal) => Transition::Wait(State::Queued, signal),
            },
            State::Reading(read) => Transition::Done(read.take()?),
        })
    }
}
