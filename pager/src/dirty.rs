//! The published pages that only memory has, and those of them that a checkpoint is writing.
//!
//! ```text
//!             add               begin                  take              settle
//!   published ----> waiting -------------> to be written ----> in flight ------> in the file
//!                      ^                     |                    |
//!                      '------- end ---------'                    |
//!                      '------- the write failed -----------------'
//! ```
//!
//! A page whose number is freed is forgotten wherever it is. If it is in flight, its number is free
//! when that write is finished.

use yieldb_core::{Completion, Error as IoFailure};

use crate::{PageId, PageRun};

/// The published pages that only memory has.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    waiting: PageSet,
    to_be_written: PageSet,
    /// The writes under way, the oldest first, with those of their pages that are not forgotten.
    in_flight: Vec<(Completion, Vec<PageId>)>,
    /// How many of them a checkpoint left that was given up: where one fails, its pages are written
    /// by this one.
    left_over: usize,
}

impl Dirty {
    /// Adds a page that was just published.
    pub fn add(&mut self, page: PageId) {
        self.waiting.insert(page);
    }

    /// How many pages only memory has.
    pub fn count(&self) -> u64 {
        let in_flight: usize = self.in_flight.iter().map(|(_, pages)| pages.len()).sum();
        self.waiting.count + self.to_be_written.count + in_flight as u64
    }

    /// How many were added since the checkpoint under way began.
    pub fn waiting(&self) -> u64 {
        self.waiting.count
    }

    /// How many the checkpoint under way has not begun to write.
    pub fn to_be_written(&self) -> u64 {
        self.to_be_written.count
    }

    /// All of them are to be written.
    pub fn begin(&mut self) {
        debug_assert_eq!(self.to_be_written.count, 0, "one checkpoint at a time");
        self.left_over = self.in_flight.len();
        std::mem::swap(&mut self.waiting, &mut self.to_be_written);
    }

    /// The next neighbours to be written, at most `limit` of them; they are in flight from now on,
    /// with what `submit` makes of them.
    pub fn take(
        &mut self,
        limit: usize,
        submit: impl FnOnce(PageRun) -> Completion,
    ) -> Option<(Completion, PageRun)> {
        let run = self.to_be_written.take_run(limit as u64)?;
        let write = submit(run);
        self.in_flight.push((write.clone(), run.pages().collect()));
        Some((write, run))
    }

    /// Takes note of the writes that are finished. What did not get to the file waits again.
    ///
    /// # Errors
    ///
    /// The failure of one of them.
    pub fn settle(&mut self) -> Result<(), IoFailure> {
        let mut result = Ok(());
        let (mut index, left_over) = (0, self.left_over);
        self.in_flight.retain(|(write, pages)| {
            let is_left_over = index < left_over;
            index += 1;
            if !write.finished() {
                return true;
            }
            self.left_over -= usize::from(is_left_over);
            if let Some(error) = write.get_error() {
                let again = if is_left_over { &mut self.to_be_written } else { &mut self.waiting };
                pages.iter().for_each(|page| again.insert(*page));
                if !is_left_over {
                    result = Err(error);
                }
            }
            false
        });
        result
    }

    /// The write that was submitted first, and how many there are.
    pub fn oldest(&self) -> Option<(Completion, usize)> {
        let (write, _) = self.in_flight.first()?;
        Some((write.clone(), self.in_flight.len()))
    }

    /// What was to be written and is not yet, waits again.
    pub fn end(&mut self) {
        let rest = std::mem::take(&mut self.to_be_written);
        rest.pages().for_each(|page| self.waiting.insert(page));
    }

    /// Forgets a page whose number nothing refers to any more. The write of it that is under way,
    /// if there is one.
    pub fn forget(&mut self, page: PageId) -> Option<Completion> {
        if self.waiting.remove(page) || self.to_be_written.remove(page) {
            return None;
        }
        self.in_flight.iter_mut().find_map(|(write, pages)| {
            pages.remove(pages.binary_search(&page).ok()?);
            (!write.finished()).then(|| write.clone())
        })
    }
}

/// A set of page numbers: a bit for each.
#[derive(Debug, Default)]
struct PageSet {
    words: Vec<u64>,
    count: u64,
    /// No word in front of this one has a bit.
    first: usize,
}

impl PageSet {
    fn insert(&mut self, page: PageId) {
        let (word, bit) = place(page);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.count += u64::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
        self.first = self.first.min(word);
    }

    /// Takes a number out. `false` if it was not there.
    fn remove(&mut self, page: PageId) -> bool {
        let (word, bit) = place(page);
        let Some(bits) = self.words.get_mut(word).filter(|bits| **bits & bit != 0) else {
            return false;
        };
        *bits &= !bit;
        self.count -= 1;
        true
    }

    fn contains(&self, number: u64) -> bool {
        let word = self.words.get((number / 64) as usize);
        word.is_some_and(|bits| bits & 1 << (number % 64) != 0)
    }

    /// Takes out the first numbers, as long as they are neighbours and not more than `limit`.
    fn take_run(&mut self, limit: u64) -> Option<PageRun> {
        if self.count == 0 {
            return None;
        }
        while self.words[self.first] == 0 {
            self.first += 1;
        }
        let bit = self.words[self.first].trailing_zeros();
        let first = self.first as u64 * 64 + u64::from(bit);
        let count = (1..limit.max(1)).take_while(|count| self.contains(first + count)).count();
        let run = PageRun::new(PageId::from_u64(first)?, count as u64 + 1)?;
        for page in run.pages() {
            self.remove(page);
        }
        Some(run)
    }

    fn pages(&self) -> impl Iterator<Item = PageId> + '_ {
        let words = self.words.iter().enumerate().skip(self.first);
        words.flat_map(|(index, bits)| {
            let bits = *bits;
            let set = (0..64_u64).filter(move |bit| bits & 1 << bit != 0);
            set.filter_map(move |bit| PageId::from_u64(index as u64 * 64 + bit))
        })
    }
}

/// The index of the word that has a page's bit, and the bit.
fn place(page: PageId) -> (usize, u64) {
    ((page.as_u64() / 64) as usize, 1 << (page.as_u64() % 64))
}

#[cfg(test)]
mod tests {
    use yieldb_core::Request;

    use super::*;

    fn page(number: u64) -> PageId {
        PageId::from_u64(number).unwrap()
    }

    fn take(dirty: &mut Dirty, limit: usize) -> Option<(Completion, Vec<u64>)> {
        let (write, run) = dirty.take(limit, |_| Completion::signal())?;
        Some((write, run.pages().map(PageId::as_u64).collect()))
    }

    #[test]
    fn neighbours_are_written_together_in_order() {
        let mut dirty = Dirty::default();
        [130, 3, 64, 63, 62, 131].into_iter().for_each(|number| dirty.add(page(number)));
        dirty.begin();
        dirty.add(page(65));
        let runs: Vec<Vec<u64>> = std::iter::from_fn(|| take(&mut dirty, 2)).map(|t| t.1).collect();
        assert_eq!(runs, [vec![3], vec![62, 63], vec![64], vec![130, 131]]);
        assert_eq!(dirty.count(), 7);
    }

    #[test]
    fn what_did_not_get_to_the_file_is_written_again() {
        let mut dirty = Dirty::default();
        (10..13).for_each(|number| dirty.add(page(number)));
        dirty.begin();
        let (failing, _) = take(&mut dirty, 1).unwrap();
        let (well, _) = take(&mut dirty, 1).unwrap();
        failing.fail(IoFailure::Cancelled);
        assert!(dirty.settle().is_err());
        well.succeed(0);
        assert!(dirty.settle().is_ok());
        assert!(dirty.oldest().is_none());
        dirty.end();
        dirty.begin();
        assert_eq!(take(&mut dirty, 9).unwrap().1, [10]);
        assert_eq!(take(&mut dirty, 9).unwrap().1, [12]);
    }

    #[test]
    fn what_an_earlier_checkpoint_left_is_no_failure_of_the_next() {
        let mut dirty = Dirty::default();
        (10..12).for_each(|number| dirty.add(page(number)));
        dirty.begin();
        let (first, _) = take(&mut dirty, 1).unwrap();
        let (second, _) = take(&mut dirty, 1).unwrap();
        first.fail(IoFailure::Cancelled);
        assert!(dirty.settle().is_err());
        dirty.end();
        dirty.begin();
        second.fail(IoFailure::Cancelled);
        assert!(dirty.settle().is_ok());
        let (again, pages) = take(&mut dirty, 9).unwrap();
        assert_eq!(pages, [10, 11]);
        again.fail(IoFailure::Cancelled);
        assert!(dirty.settle().is_err());
    }

    #[test]
    fn a_freed_number_waits_for_its_write_only() {
        let mut dirty = Dirty::default();
        (10..14).for_each(|number| dirty.add(page(number)));
        dirty.begin();
        let (write, _) = take(&mut dirty, 2).unwrap();
        assert!(dirty.forget(page(12)).is_none());
        assert_eq!(dirty.forget(page(11)).map(|io| io.id()), Some(write.id()));
        write.succeed(0);
        assert!(dirty.forget(page(11)).is_none());
        assert_eq!(take(&mut dirty, 9).unwrap().1, [13]);
    }
}
