//! Which page numbers are used: one bit a page.
//!
//! In memory the whole map is there, 32 KiB for each GiB of pages of 4 KiB. In the file it is
//! written anew by every checkpoint, see [`map`].
//!
//! Numbers are given out in *rounds* over the file, as by a log-structured file system that fills
//! holes: pages that are made one behind the other become neighbours, where the round finds many
//! holes, and a checkpoint writes neighbours together. A round finds the more of them the longer
//! the file is.

pub mod map;

use crate::{PageId, PageRun};

/// Which page numbers are used.
#[derive(Clone, Debug)]
pub struct Space {
    /// One bit a page, the lowest bit of the first word for page 0.
    words: Vec<u64>,
    /// How many pages have a bit.
    page_count: u64,
    used_count: u64,
    /// No word from `stretch` up to this one has a bit that is not set.
    next: usize,
    /// Where the round was when the newest checkpoint began. What is free again behind it lies
    /// among what is made now, and is given out first; what is in front of it, in the next round.
    stretch: usize,
    /// How far the round has come.
    reached: usize,
    /// The word at which it ends.
    round_end: usize,
    /// No run is given out in front of this word.
    floor: usize,
    run_hint: RunHint,
}

/// No place for `count` pages begins in front of the word at `word`.
#[derive(Clone, Copy, Debug, Default)]
struct RunHint {
    count: u64,
    word: usize,
}

impl Space {
    /// A map in which only the first `reserved` pages are used.
    pub fn new(reserved: u64) -> Space {
        let mut space = Space::from_words(Vec::new(), 0);
        for _ in 0..reserved {
            space.allocate();
        }
        space
    }

    /// The map with these bits.
    pub(crate) fn from_words(words: Vec<u64>, page_count: u64) -> Space {
        debug_assert_eq!(words.len() as u64, page_count.div_ceil(64));
        let used_count = words.iter().map(|word| u64::from(word.count_ones())).sum();
        let (next, stretch, reached, round_end, floor) = (0, 0, 0, 0, 0);
        let run_hint = RunHint::default();
        Space { words, page_count, used_count, next, stretch, reached, round_end, floor, run_hint }
    }

    /// Takes the next number of the round that is not used; the lowest one, if none is.
    ///
    /// # Panics
    ///
    /// When all 2^40 numbers are used.
    pub fn allocate(&mut self) -> PageId {
        loop {
            if self.next >= self.round_end && self.stretch > 0 {
                (self.next, self.stretch, self.reached) = (0, 0, 0);
            }
            match self.words.get(self.next) {
                Some(word) if *word == u64::MAX => self.next += 1,
                Some(_) => break,
                None => self.words.resize(self.next + 1, 0),
            }
        }
        self.reached = self.reached.max(self.next);
        let word = &mut self.words[self.next];
        let bit = word.trailing_ones();
        *word |= 1 << bit;
        let number = self.next as u64 * 64 + u64::from(bit);
        self.page_count = self.page_count.max(number + 1);
        self.used_count += 1;
        PageId::from_u64(number).expect("a file has less than 2^40 pages")
    }

    /// A checkpoint begins: the round goes on where it is, and ends behind `page_count` pages.
    pub fn begin_stretch(&mut self, page_count: u64) {
        (self.next, self.stretch) = (self.reached, self.reached);
        self.round_end = (page_count / 64) as usize;
        self.set_floor(0);
    }

    /// From now on the lowest numbers behind `page_count` pages are given out, to fill holes there:
    /// until a stretch [begins](Space::begin_stretch). Up to 63 more may be left out.
    pub fn fill_from(&mut self, page_count: u64) {
        let word = page_count.div_ceil(64) as usize;
        (self.next, self.stretch, self.reached) = (word, word, word);
        self.round_end = usize::MAX;
        self.set_floor(word);
    }

    fn set_floor(&mut self, word: usize) {
        if self.floor != word {
            self.floor = word;
            self.run_hint = RunHint::default();
        }
    }

    /// Takes the lowest `count` numbers in a row that are not used. Cost: a look at each word of
    /// the map between the place found and the one that was found before, if that was not for
    /// more; at worst, at all of them.
    ///
    /// # Panics
    ///
    /// If `count` is 0, or there are not so many numbers among the 2^40.
    pub fn allocate_run(&mut self, count: u64) -> PageRun {
        if count == 1 {
            return self.allocate().into();
        }
        let run = self.place_for_run(count);
        self.mark(run);
        self.run_hint = RunHint { count, word: place(run.first()).0 };
        run
    }

    /// The lowest `count` numbers in a row that are not used. Costs and panics as
    /// [`Space::allocate_run`].
    pub fn place_for_run(&self, count: u64) -> PageRun {
        let first = PageId::from_u64(self.find_run(count));
        let run = first.and_then(|first| PageRun::new(first, count));
        run.unwrap_or_else(|| panic!("no place for {count} pages among 2^40"))
    }

    /// The first number of the lowest place for `count` pages.
    fn find_run(&self, count: u64) -> u64 {
        let RunHint { count: hinted, word } = self.run_hint;
        let from = if count >= hinted { word } else { 0 }.max(self.floor);
        // The numbers from here on up to the one that is looked at are not used.
        let mut first = from as u64 * 64;
        for (index, word) in self.words.iter().enumerate().skip(from) {
            let base = index as u64 * 64;
            let mut rest = *word;
            while rest != 0 {
                let used = rest.trailing_zeros();
                if base + u64::from(used) - first >= count {
                    return first;
                }
                let behind = used + (rest >> used).trailing_ones();
                first = base + u64::from(behind);
                rest &= u64::MAX.checked_shl(behind).unwrap_or(0);
            }
            if base + 64 - first >= count {
                return first;
            }
        }
        first
    }

    /// Gives numbers back: a page's, or a run's.
    ///
    /// # Panics
    ///
    /// If one is not used: freeing a number twice would give it to two owners.
    pub fn free(&mut self, pages: impl Into<PageRun>) {
        let run = pages.into();
        assert!(self.is_used(run), "{run:?} is freed but not used");
        for (word, bits) in bits_of(run) {
            self.words[word] &= !bits;
        }
        self.used_count -= run.count();
        let (word, _) = place(run.first());
        if word >= self.stretch {
            self.next = self.next.min(word);
        }
        // A place that began in front of the hint, and was too small, may reach as far as this.
        let RunHint { count, word: hinted } = self.run_hint;
        if word as u64 <= hinted as u64 + count / 64 + 1 {
            self.run_hint = RunHint::default();
        }
    }

    /// Are all these numbers used?
    pub fn is_used(&self, pages: impl Into<PageRun>) -> bool {
        let run = pages.into();
        let is_known = run.end() <= self.words.len() as u64 * 64;
        is_known && bits_of(run).all(|(word, bits)| self.words[word] & bits == bits)
    }

    /// How many numbers are used.
    pub fn used_count(&self) -> u64 {
        self.used_count
    }

    /// The most pages, from the first one on, of which at most one in 32 is not used; to 64 pages.
    pub fn dense_count(&self) -> u64 {
        let (mut free, mut dense) = (0, 0);
        for (words, word) in (1..).zip(&self.words) {
            free += u64::from(word.count_zeros());
            if free <= 2 * words {
                dense = 64 * words;
            }
        }
        dense
    }

    /// How many pages the file has, used or not.
    pub fn page_count(&self) -> u64 {
        self.page_count
    }

    /// The map without some numbers.
    ///
    /// # Panics
    ///
    /// If one of them is not used.
    pub fn without(&self, runs: impl IntoIterator<Item = PageRun>) -> Space {
        let mut image = self.clone();
        for run in runs {
            image.free(run);
        }
        image
    }

    /// Marks numbers used: those of a place that was found, or that were allocated in the map that
    /// this one was taken from.
    pub(crate) fn mark(&mut self, pages: impl Into<PageRun>) {
        let run = pages.into();
        let len = run.end().div_ceil(64) as usize;
        if len > self.words.len() {
            self.words.resize(len, 0);
        }
        for (word, bits) in bits_of(run) {
            debug_assert_eq!(self.words[word] & bits, 0, "{run:?} is marked twice");
            self.words[word] |= bits;
        }
        self.used_count += run.count();
        self.page_count = self.page_count.max(run.end());
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Forgets unused numbers at the end.
    pub(crate) fn trim(&mut self) {
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
        let last = self.words.last().map_or(0, |word| 64 - u64::from(word.leading_zeros()));
        self.page_count = (self.words.len() as u64).saturating_sub(1) * 64 + last;
        let len = self.words.len();
        self.next = self.next.min(len);
        self.stretch = self.stretch.min(len);
        self.reached = self.reached.min(len);
        self.run_hint.word = self.run_hint.word.min(len);
    }
}

/// The index of the word that has a page's bit, and the bit.
fn place(page: PageId) -> (usize, u64) {
    ((page.as_u64() / 64) as usize, 1 << (page.as_u64() % 64))
}

/// The indices of the words that have bits of a run, each with those bits.
fn bits_of(run: PageRun) -> impl Iterator<Item = (usize, u64)> {
    let (first, last) = (run.first().as_u64(), run.end() - 1);
    (first / 64..=last / 64).map(move |word| {
        let low = if word == first / 64 { u64::MAX << (first % 64) } else { u64::MAX };
        let high = if word == last / 64 { u64::MAX >> (63 - last % 64) } else { u64::MAX };
        (word as usize, low & high)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_lowest_free_number_is_the_next() {
        let mut space = Space::new(2);
        let mut free: BTreeSet<u64> = BTreeSet::new();
        let mut used: Vec<u64> = vec![0, 1];
        let mut random: u64 = 0x2545_f491_4f6c_dd1d;
        for _ in 0..20_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if random % 5 < 3 {
                let expected = free.pop_first().unwrap_or(space.page_count());
                assert_eq!(space.allocate().as_u64(), expected);
                used.push(expected);
            } else if used.len() > 2 {
                let page = used.swap_remove(2 + (random >> 8) as usize % (used.len() - 2));
                space.free(PageId::from_u64(page).unwrap());
                free.insert(page);
            }
            assert_eq!(space.used_count(), used.len() as u64);
        }
    }

    #[test]
    fn what_is_free_again_in_a_stretch_is_next_and_then_the_round_goes_on() {
        let mut space = Space::new(2);
        let take = |space: &mut Space, count: usize| -> Vec<u64> {
            (0..count).map(|_| space.allocate().as_u64()).collect()
        };
        let free = |space: &mut Space, number| space.free(PageId::from_u64(number).unwrap());
        take(&mut space, 998);
        space.begin_stretch(1_280);
        assert_eq!(take(&mut space, 2), [1_000, 1_001]);
        free(&mut space, 1_000);
        free(&mut space, 500);
        assert_eq!(take(&mut space, 2), [1_000, 1_002], "500 is of the next round");
        take(&mut space, 1_279 - 1_002);
        assert_eq!(take(&mut space, 2), [500, 1_280], "the round is over, and nothing else free");
        // A shorter round leaves the end of the file alone.
        space.begin_stretch(640);
        free(&mut space, 1_100);
        free(&mut space, 300);
        free(&mut space, 200);
        assert_eq!(take(&mut space, 3), [200, 300, 1_100]);
    }

    /// How many neighbours are made one behind the other, on the average, where `live` pages are
    /// replaced at random, a tenth in each stretch, and what was replaced is free behind it.
    fn neighbours(live: u64, round: u64) -> f64 {
        let mut space = Space::new(live);
        let mut pages: Vec<PageId> = (0..live).filter_map(PageId::from_u64).collect();
        let mut random: u64 = 0x2545_f491_4f6c_dd1d;
        let (mut made_count, mut run_count) = (0, 0);
        for stretch in 0..200 {
            space.begin_stretch(round);
            let (mut made, mut old) = (BTreeSet::new(), Vec::new());
            for _ in 0..live / 10 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let page = &mut pages[(random >> 8) as usize % live as usize];
                let before = std::mem::replace(page, space.allocate());
                made.insert(page.as_u64());
                if made.remove(&before.as_u64()) {
                    space.free(before);
                } else {
                    old.push(before);
                }
            }
            old.into_iter().for_each(|page| space.free(page));
            if stretch >= 100 {
                made_count += made.len();
                run_count += made.iter().filter(|page| !made.contains(&(*page - 1))).count();
            }
        }
        assert!(space.page_count() <= round.max(live * 5 / 4) + 64);
        made_count as f64 / run_count as f64
    }

    #[test]
    fn rounds_make_neighbours_of_what_is_made_at_the_same_time() {
        let (lowest, rounds) = (neighbours(20_000, 0), neighbours(20_000, 34_000));
        assert!(lowest < 1.3 && rounds > 2.0, "{lowest} {rounds}");
    }

    /// The lowest place for `count` numbers, found one by one.
    fn lowest_place(used: &BTreeSet<u64>, count: u64) -> u64 {
        let mut first = 0;
        for number in used {
            if number - first >= count {
                break;
            }
            first = number + 1;
        }
        first
    }

    #[test]
    fn a_run_goes_to_the_lowest_place_that_it_fits() {
        let mut space = Space::new(2);
        let mut used: BTreeSet<u64> = [0, 1].into();
        let mut runs: Vec<PageRun> = Vec::new();
        let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 8) % below
        };
        for round in 0..6_000 {
            // The map fills for a while, and empties for a while.
            if runs.is_empty() || next(10) < if round / 500 % 2 == 0 { 7 } else { 3 } {
                let longest = [1, 3, 70, 400][next(4) as usize];
                let count = 1 + next(longest);
                let expected = lowest_place(&used, count);
                let run = space.allocate_run(count);
                assert_eq!((run.first().as_u64(), run.count()), (expected, count));
                assert!(space.is_used(run));
                used.extend(run.pages().map(PageId::as_u64));
                runs.push(run);
            } else {
                let run = runs.swap_remove(next(runs.len() as u64) as usize);
                space.free(run);
                assert!(run.pages().all(|page| !space.is_used(page)));
                used.retain(|number| !(run.first().as_u64()..run.end()).contains(number));
            }
            assert_eq!(space.used_count(), used.len() as u64);
            assert!(space.page_count() > *used.last().unwrap());
        }
        let all: Vec<u64> = (0..space.page_count())
            .filter_map(PageId::from_u64)
            .filter(|page| space.is_used(*page))
            .map(PageId::as_u64)
            .collect();
        assert!(used.into_iter().eq(all));
    }

    #[test]
    fn a_run_is_used_only_if_all_of_it_is() {
        let mut space = Space::new(1);
        let run = space.allocate_run(200);
        let middle = run.page(130).unwrap();
        space.free(middle);
        assert!(!space.is_used(run));
        assert!(space.is_used(PageRun::new(run.first(), 130).unwrap()));
        let beyond = PageRun::new(PageId::from_u64(131 + 1).unwrap(), PageId::COUNT - 132).unwrap();
        assert!(!space.is_used(beyond));
        assert_eq!(space.allocate_run(1), middle.into());
    }

    #[test]
    #[should_panic(expected = "freed but not used")]
    fn freeing_twice_is_noticed() {
        let mut space = Space::new(1);
        let page = space.allocate();
        space.free(page);
        space.free(page);
    }

    #[test]
    fn an_image_ends_with_its_last_used_page() {
        let mut space = Space::new(1);
        let pages: Vec<PageId> = (0..200).map(|_| space.allocate()).collect();
        let mut image = space.without(pages[70..].iter().map(|page| (*page).into()));
        image.trim();
        assert_eq!((image.page_count(), image.used_count()), (71, 71));
        assert_eq!(space.page_count(), 201);
    }
}
