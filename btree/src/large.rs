//! The large value that a transaction is writing.
//!
//! It is written piece by piece into a run of pages that nothing refers to. The change that names
//! it in a leaf makes it part of the transaction. Whatever the transaction does instead abandons
//! it.

use yieldb_core::Completion;
use yieldb_pager::{Tree, value_page};

use crate::edit::Part;
use crate::node::{LargeValue, MAX_VALUE_LEN, max_entry_len, max_key_len};
use crate::transaction::Transaction;
use crate::work::Step;
use crate::{Error, Result};

/// How many bytes of a value are in memory before they are written, about.
const PART_LEN: usize = 256 * 1024;

impl Transaction {
    /// Is a value too long to be in a leaf with its key?
    pub(crate) fn is_large(&self, key_len: usize, value_len: u64) -> bool {
        let page_len = self.pager().page_size().bytes();
        key_len <= max_key_len(page_len)
            && value_len.saturating_add(key_len as u64) > max_entry_len(page_len) as u64
    }

    /// Takes pages for a value of `len` bytes. One that is not finished is abandoned.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`], [`Error::KeyTooLong`], [`Error::ValueTooLong`].
    ///
    /// # Panics
    ///
    /// If `len` is 0.
    pub(crate) fn begin_value(&mut self, tree: Tree, key_len: usize, len: u64) -> Result<()> {
        self.count(tree)?;
        self.check_key_len(key_len)?;
        if len > MAX_VALUE_LEN {
            return Err(Error::ValueTooLong { len, max: MAX_VALUE_LEN });
        }
        let count = value_page::pages_for(len, self.pager().page_size());
        let (set, pager) = self.write_set_mut();
        Ok(set.begin_run(pager, count)?)
    }

    /// Takes pages for another copy of a large value, if there is a better place for it when this
    /// part of the file is to be emptied. One that is not finished is abandoned.
    ///
    /// # Errors
    ///
    /// The failure of an earlier write: the transaction is doomed.
    pub(crate) fn begin_copy(&mut self, value: &LargeValue, emptied: Part) -> Result<bool> {
        let (set, pager) = self.write_set_mut();
        let place = pager.place_for_run(value.run.count());
        let is_better = emptied.is_better(value.run, place);
        if is_better {
            set.begin_run(pager, value.run.count())?;
        }
        Ok(is_better)
    }

    /// Sees to it that the next pages can be written, those that `len` bytes fill at most;
    /// otherwise says what to wait for.
    pub(crate) fn prepare_value(&mut self, len: usize) -> Result<Option<Completion>> {
        let (set, pager) = self.write_set_mut();
        let most = value_page::pages_for(len as u64, pager.page_size());
        Ok(set.prepare_run(pager, most as usize)?)
    }

    /// Writes the pages that are [ready](Transaction::prepare_value), whose contents begin with
    /// `bytes`. `true` if the value is complete.
    ///
    /// # Panics
    ///
    /// If `bytes` are neither the rest of the value nor enough for all these pages.
    pub(crate) fn write_value(&mut self, mut bytes: &[u8]) -> bool {
        let (set, pager) = self.write_set_mut();
        set.write_run(pager, |body| {
            let len = body.len().min(bytes.len());
            assert!(len > 0, "a page of a value without a byte of it");
            let (now, later) = bytes.split_at(len);
            body[..len].copy_from_slice(now);
            bytes = later;
            len
        });
        set.run_left() == 0
    }

    /// Writes some pages of the value whose contents `part` begins with, and takes those out of it.
    /// Done: it was all of the part.
    ///
    /// # Errors
    ///
    /// The failure of an earlier write: the transaction is doomed.
    pub(crate) fn write_part(&mut self, part: &mut Vec<u8>) -> Result<Step<(), ()>> {
        if let Some(io) = self.prepare_value(part.len())? {
            return Ok(Step::Wait((), io));
        }
        let before = self.value_written();
        let _complete = self.write_value(part);
        let written = (self.value_written() - before) as usize;
        part.drain(..written.min(part.len()));
        Ok(if part.is_empty() { Step::Done(()) } else { Step::Next(()) })
    }

    /// How many bytes of a value are best written at a time: whole pages.
    pub(crate) fn part_len(&self) -> usize {
        let body_len = value_page::body_len(self.pager().page_size());
        (PART_LEN / body_len).max(1) * body_len
    }

    /// How many bytes of the value are written.
    pub(crate) fn value_written(&self) -> u64 {
        let set = self.write_set();
        let Some((run, _)) = set.run() else { return 0 };
        (run.count() - set.run_left()) * value_page::body_len(self.pager().page_size()) as u64
    }

    /// The value of `len` bytes that is being written.
    ///
    /// # Panics
    ///
    /// If none is.
    pub(crate) fn unfinished_value(&self, len: u64) -> LargeValue {
        let (run, birth) = self.write_set().run().expect("a value is being written");
        LargeValue { run, len, birth }
    }

    /// Makes the value part of the transaction: in the same step a leaf has named it.
    ///
    /// # Panics
    ///
    /// If it is not complete.
    pub(crate) fn finish_value(&mut self) {
        let (set, _) = self.write_set_mut();
        let (_run, _birth) = set.finish_run();
    }
}
