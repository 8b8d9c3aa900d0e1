//! Storing a value piece by piece.

use std::fmt;
use std::marker::PhantomData;

use smallvec::SmallVec;
use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Pager, PinnedPage, Tree};

use crate::node::Stored;
use crate::record::TreeChange;
use crate::transaction::Transaction;
use crate::work::{PutStage, Step};
use crate::{Error, Result};

/// A value that is stored piece by piece. Nothing of it is seen before it is
/// [finished](ValueWriter::finish); dropping this forgets it.
pub struct ValueWriter<'t, K> {
    transaction: &'t mut Transaction,
    tree: Tree,
    key: K,
    /// How long the value will be.
    len: u64,
    /// Is it too long to be in a leaf?
    is_large: bool,
    /// Bytes that were taken and not written to pages yet.
    buffer: Vec<u8>,
    /// How many bytes were taken.
    taken: u64,
}

impl<K> fmt::Debug for ValueWriter<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.taken, self.len)
    }
}

impl<'t, K: AsRef<[u8]>> ValueWriter<'t, K> {
    /// Begins a value of `len` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`], [`Error::KeyTooLong`], [`Error::ValueTooLong`].
    pub(crate) fn new(
        transaction: &'t mut Transaction,
        tree: Tree,
        key: K,
        len: u64,
    ) -> Result<ValueWriter<'t, K>> {
        let key_len = key.as_ref().len();
        transaction.check_key_len(key_len)?;
        transaction.trees.root(tree)?;
        let is_large = transaction.is_large(key_len, len);
        if is_large {
            transaction.begin_value(tree, key_len, len)?;
        }
        let buffer = Vec::new();
        Ok(ValueWriter { transaction, tree, key, len, is_large, buffer, taken: 0 })
    }

    /// How many bytes of the value were taken so far. After a write that was abandoned, the next
    /// one goes on from here.
    pub fn position(&self) -> u64 {
        self.taken
    }

    /// Begins to take the next bytes of the value.
    ///
    /// # Errors
    ///
    /// [`Error::BehindValue`] if the value would be longer than was said.
    pub fn write<B: AsRef<[u8]>>(
        &mut self,
        bytes: B,
    ) -> Result<StateMachine<WriteValue<'_, 't, K, B>>> {
        let end = self.taken.saturating_add(bytes.as_ref().len() as u64);
        if end > self.len {
            return Err(Error::BehindValue { end, len: self.len });
        }
        let machine = WriteValue { writer: self, bytes, done: 0 };
        Ok(StateMachine::new(machine, State::Fill))
    }

    /// Begins to make the value that of the key.
    ///
    /// # Errors
    ///
    /// [`Error::ValueIncomplete`] if bytes of it are missing.
    pub fn finish(self) -> Result<StateMachine<FinishValue<'t, K>>> {
        if self.taken < self.len {
            return Err(Error::ValueIncomplete { written: self.taken, len: self.len });
        }
        let machine = FinishValue { writer: PhantomData, pins: SmallVec::new() };
        Ok(StateMachine::new(machine, FinishState::Finish(Box::new(self))))
    }

    /// Has the buffer enough to be written?
    fn is_full(&self) -> bool {
        self.is_large
            && (self.buffer.len() >= self.transaction.part_len() || self.taken == self.len)
    }
}

/// Takes the next bytes of a value.
///
/// ```text
///   begin -> Fill --- all are taken ----------> done
///            ^ '--- the buffer is full --> Flush
///            '-----------------------------' '--- some is written, or short: waits in Flush
/// ```
///
/// An abandoned run has taken some of the bytes: see [`ValueWriter::position`].
#[derive(Debug)]
pub struct WriteValue<'w, 't, K, B> {
    writer: &'w mut ValueWriter<'t, K>,
    bytes: B,
    /// How many of them are taken.
    done: usize,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Take bytes into the buffer.
    Fill,
    /// Write what the buffer has.
    Flush,
}

impl<K: AsRef<[u8]>, B: AsRef<[u8]>> StateTransition for WriteValue<'_, '_, K, B> {
    type State = State;
    type Context = Pager;
    type Output = ();
    type Error = Error;

    fn transition(&mut self, state: State, _pager: &Pager) -> Result<Transition<Self>> {
        let writer = &mut *self.writer;
        Ok(match state {
            State::Fill => {
                let bytes = &self.bytes.as_ref()[self.done..];
                let room = writer.transaction.part_len().saturating_sub(writer.buffer.len());
                let len = bytes.len().min(if writer.is_large { room } else { bytes.len() });
                writer.buffer.extend_from_slice(&bytes[..len]);
                writer.taken += len as u64;
                self.done += len;
                if writer.is_full() && !writer.buffer.is_empty() {
                    Transition::Next(State::Flush)
                } else {
                    Transition::Done(())
                }
            }
            State::Flush => match writer.transaction.write_part(&mut writer.buffer)? {
                Step::Next(()) | Step::Missing(_) => Transition::Next(State::Flush),
                Step::Wait((), io) => Transition::Wait(State::Flush, io),
                Step::Done(()) => Transition::Next(State::Fill),
            },
        })
    }
}

/// Makes a value that is complete that of its key.
///
/// ```text
///   begin -> Finish --- what is left is written --> Put --- made --> done
///              ^ '--- some is, or short: waits       ^ ^|'---- short: waits in Put
///              '---------'                           | ''----- missing -> Fetching
///                                                    '----------------------'
/// ```
///
/// An abandoned run has changed nothing, or everything.
#[derive(Debug)]
pub struct FinishValue<'t, K> {
    /// The writer itself is in the state.
    writer: PhantomData<ValueWriter<'t, K>>,
    /// The pages fetched so far: they stay until the change has seen them.
    pins: SmallVec<[PinnedPage; 4]>,
}

/// How far it is.
pub enum FinishState<'t, K> {
    /// Write what the buffer has.
    Finish(Box<ValueWriter<'t, K>>),
    /// Try to name the value in a leaf.
    Put(Box<ValueWriter<'t, K>>),
    /// A page that this missed is being fetched.
    Fetching(Box<ValueWriter<'t, K>>, StateMachine<Fetch>),
}

impl<K> fmt::Debug for FinishState<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FinishState::Finish(writer) => write!(f, "Finish({writer:?})"),
            FinishState::Put(writer) => write!(f, "Put({writer:?})"),
            FinishState::Fetching(writer, fetch) => write!(f, "Fetching({writer:?}, {fetch:?})"),
        }
    }
}

impl<'t, K: AsRef<[u8]>> StateTransition for FinishValue<'t, K> {
    type State = FinishState<'t, K>;
    type Context = Pager;
    /// Was there an entry with the key before?
    type Output = bool;
    type Error = Error;

    fn transition(&mut self, state: FinishState<'t, K>, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            FinishState::Finish(writer) if !writer.is_large || writer.buffer.is_empty() => {
                Transition::Next(FinishState::Put(writer))
            }
            FinishState::Finish(mut writer) => {
                match writer.transaction.write_part(&mut writer.buffer)? {
                    Step::Wait((), io) => Transition::Wait(FinishState::Finish(writer), io),
                    Step::Next(()) | Step::Missing(_) | Step::Done(()) => {
                        Transition::Next(FinishState::Finish(writer))
                    }
                }
            }
            FinishState::Put(mut writer) => match writer.put()? {
                Step::Next(_) => Transition::Next(FinishState::Put(writer)),
                Step::Wait(_, io) => Transition::Wait(FinishState::Put(writer), io),
                Step::Missing(page) => Transition::Next(FinishState::Fetching(writer, fetch(page))),
                Step::Done(existed) => Transition::Done(existed),
            },
            FinishState::Fetching(writer, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => {
                    Transition::Wait(FinishState::Fetching(writer, fetch), io.into())
                }
                IOResult::Done(page) => {
                    self.pins.push(page);
                    Transition::Next(FinishState::Put(writer))
                }
            },
        })
    }
}

impl<K: AsRef<[u8]>> ValueWriter<'_, K> {
    /// Tries to name the value in a leaf.
    fn put(&mut self) -> Result<Step<PutStage, bool>> {
        let key = self.key.as_ref();
        if !self.is_large {
            let (tree, value) = (self.tree, self.buffer.as_slice());
            let step = self.transaction.change_put(tree, key, Stored::Here(value))?;
            if let Step::Done(_) = step {
                self.transaction.recorder.note(TreeChange::Put { tree, key, value });
            }
            return Ok(step);
        }
        let large = self.transaction.unfinished_value(self.len);
        let step = self.transaction.change_put(self.tree, key, Stored::Large(large))?;
        if let Step::Done(_) = step {
            self.transaction.finish_value();
            self.transaction.recorder.end();
        }
        Ok(step)
    }
}
