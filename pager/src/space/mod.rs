//! Which page numbers are used: one bit a page.
//!
//! In memory the whole map is there, 32 KiB for each GiB of pages of 4 KiB. In the file it is
//! written anew by every checkpoint, see [`map`].

pub mod map;

use crate::PageId;

/// Which page numbers are used.
#[derive(Clone, Debug)]
pub struct Space {
    /// One bit a page, the lowest bit of the first word for page 0.
    words: Vec<u64>,
    /// How many pages have a bit.
    page_count: u64,
    used_count: u64,
    /// No word in front of this one has a bit that is not set.
    hint: usize,
}

impl Space {
    /// A map in which only the first `reserved` pages are used.
    pub fn new(reserved: u64) -> Space {
        let mut space = Space { words: Vec::new(), page_count: 0, used_count: 0, hint: 0 };
        for _ in 0..reserved {
            space.allocate();
        }
        space
    }

    /// The map with these bits.
    pub(crate) fn from_words(words: Vec<u64>, page_count: u64) -> Space {
        debug_assert_eq!(words.len() as u64, page_count.div_ceil(64));
        let used_count = words.iter().map(|word| u64::from(word.count_ones())).sum();
        Space { words, page_count, used_count, hint: 0 }
    }

    /// Takes the lowest number that is not used.
    ///
    /// # Panics
    ///
    /// When all 2^40 numbers are used.
    pub fn allocate(&mut self) -> PageId {
        while self.words.get(self.hint).is_some_and(|word| *word == u64::MAX) {
            self.hint += 1;
        }
        if self.hint == self.words.len() {
            self.words.push(0);
        }
        let word = &mut self.words[self.hint];
        let bit = word.trailing_ones();
        *word |= 1 << bit;
        let number = self.hint as u64 * 64 + u64::from(bit);
        self.page_count = self.page_count.max(number + 1);
        self.used_count += 1;
        PageId::from_u64(number).expect("a file has less than 2^40 pages")
    }

    /// Gives a number back.
    ///
    /// # Panics
    ///
    /// If it is not used: freeing a number twice would give it to two owners.
    pub fn free(&mut self, page: PageId) {
        assert!(self.is_used(page), "{page:?} is freed but not used");
        let (word, bit) = place(page);
        self.words[word] &= !bit;
        self.used_count -= 1;
        self.hint = self.hint.min(word);
    }

    /// Is the number used?
    pub fn is_used(&self, page: PageId) -> bool {
        let (word, bit) = place(page);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many numbers are used.
    pub fn used_count(&self) -> u64 {
        self.used_count
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
    pub fn without(&self, pages: impl IntoIterator<Item = PageId>) -> Space {
        let mut image = self.clone();
        for page in pages {
            image.free(page);
        }
        image
    }

    /// Marks numbers used that were allocated in the map that this one was taken from.
    pub(crate) fn mark(&mut self, page: PageId) {
        let (word, bit) = place(page);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        debug_assert_eq!(self.words[word] & bit, 0, "{page:?} is marked twice");
        self.words[word] |= bit;
        self.used_count += 1;
        self.page_count = self.page_count.max(page.as_u64() + 1);
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
        self.hint = self.hint.min(self.words.len());
    }
}

fn place(page: PageId) -> (usize, u64) {
    ((page.as_u64() / 64) as usize, 1 << (page.as_u64() % 64))
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
        let mut image = space.without(pages[70..].iter().copied());
        image.trim();
        assert_eq!((image.page_count(), image.used_count()), (71, 71));
        assert_eq!(space.page_count(), 201);
    }
}
