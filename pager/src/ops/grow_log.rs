//! Making the file of a log longer.

use smallvec::smallvec;
use yieldb_core::{
    BufferPool, Completion, Error as IoFailure, StateMachine, StateTransition, Transition,
};

use crate::log::BLOCK_LEN;
use crate::ops::make_log::LogFile;
use crate::{Error, Pager, Result};

/// How many bytes are written at a time.
const PIECE_LEN: u64 = 1 << 20;

/// Makes the file of the log in use longer, by zeros: as in [`MakeLog`](super::make_log::MakeLog),
/// so that nothing but the bytes changes when a group is written there.
///
/// ```text
///   begin -> Fill --> Filling -- all is written --> Syncing --> done
///             ^----------'|
///                         '--> CuttingBack --> failed
/// ```
///
/// Groups go on beside it. A write that fails is nothing to anybody: the file is made as long again
/// as it was, so that a full disk has that room for pages. A sync that fails may have been that of
/// a group, so it poisons the database. An abandoned run leaves a longer file, which the next open
/// finds: each lap of the ring ends where its groups say.
#[derive(Debug)]
pub struct GrowLog {
    file: LogFile,
    /// How many bytes it has.
    from: u64,
    /// How many it is to have.
    to: u64,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// From this byte on there are no zeros yet.
    Fill(u64),
    /// So many of them are on their way.
    Filling(u64, Completion),
    /// It failed, and what was added goes again.
    CuttingBack(IoFailure, Completion),
    /// All of them become durable.
    Syncing(Completion),
}

/// Begins to make the log's file longer: from a number of bytes to another one.
pub(crate) fn grow_log(file: LogFile, from: u64, to: u64) -> StateMachine<GrowLog> {
    StateMachine::new(GrowLog { file, from, to }, State::Fill(from))
}

impl StateTransition for GrowLog {
    type State = State;
    type Context = Pager;
    /// How many blocks it has more.
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Fill(at) if at == self.to => {
                let sync = pager.log().sync();
                Transition::Wait(State::Syncing(sync.clone()), sync)
            }
            State::Fill(at) => {
                let len = PIECE_LEN.min(self.to - at);
                let mut zeros = BufferPool::new(1, len as usize)?.take().expect("it has one");
                zeros.fill(0);
                let io = Completion::write(smallvec![zeros.share()]);
                self.file.0.write(at, false, io.clone());
                Transition::Wait(State::Filling(at + len, io.clone()), io)
            }
            State::Filling(end, io) => match io.get_error() {
                None => Transition::Next(State::Fill(end)),
                Some(error) => {
                    let io = Completion::truncate();
                    self.file.0.truncate(self.from, io.clone());
                    Transition::Wait(State::CuttingBack(error, io.clone()), io)
                }
            },
            State::CuttingBack(error, _) => return Err(error.into()),
            State::Syncing(sync) => {
                if let Some(error) = sync.get_error() {
                    return Err(pager.poison(error));
                }
                Transition::Done((self.to - self.from) / BLOCK_LEN as u64)
            }
        })
    }
}
