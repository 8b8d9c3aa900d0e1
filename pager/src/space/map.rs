//! The space map in the file: bits in pages, and pages that name those.
//!
//! ```text
//!   superblock --> index (level 2) --> index (level 1) --> bits (level 0)
//! ```
//!
//! There are as many levels as the file's length needs; where one page of bits is enough it is the
//! root. Behind the 40 bytes of every page's header, a page of bits has one bit a page, the lowest
//! bit of the first byte for the first one; an index has `count` references of 8 bytes. The rest is
//! zero.

use super::Space;
use crate::page_format::{
    HEADER_LEN, SPACE_BITS, SPACE_INDEX, count_of, kind_of, level_of, own_is_zero, set_kind,
};
use crate::{PageId, PageRef, PageSize};

/// The greatest level that a map's root may have.
pub const MAX_LEVEL: u8 = 3;

/// How many pages a map has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// How many pages of each level, the bits first; 0 above the root.
    counts: [u64; MAX_LEVEL as usize + 1],
}

impl MapShape {
    /// The shape of the map of a file with `page_count` pages.
    pub fn of(page_size: PageSize, page_count: u64) -> MapShape {
        let mut counts = [0; MAX_LEVEL as usize + 1];
        counts[0] = page_count.div_ceil(bits_per_page(page_size));
        for level in 1..counts.len() {
            if counts[level - 1] > 1 {
                counts[level] = counts[level - 1].div_ceil(references_per_page(page_size));
            }
        }
        MapShape { counts }
    }

    /// How many pages it has in all.
    pub fn page_count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The level of its root.
    pub fn root_level(&self) -> u8 {
        let level = self.counts.iter().rposition(|count| *count > 0);
        level.unwrap_or(0) as u8
    }
}

/// How many pages one page of bits tells of.
pub fn bits_per_page(page_size: PageSize) -> u64 {
    8 * (page_size.bytes() - HEADER_LEN) as u64
}

fn references_per_page(page_size: PageSize) -> u64 {
    ((page_size.bytes() - HEADER_LEN) / 8) as u64
}

/// Writes the page of the map that has the given place in the order of [`MapShape`]: the bits
/// first, the root last. `names` are those of all pages in that order.
pub fn encode_page(space: &Space, shape: MapShape, names: &[PageRef], at: usize, page: &mut [u8]) {
    page.fill(0);
    let body = page.len() - HEADER_LEN;
    let (mut level, mut first) = (0, 0);
    while (at - first) as u64 >= shape.counts[level] {
        first += shape.counts[level] as usize;
        level += 1;
    }
    let index = at - first;
    if level == 0 {
        set_kind(page, SPACE_BITS, 0, 0);
        // The body's length is a multiple of eight bytes, so a word is never cut.
        let words = space.words().iter().skip(index * body / 8);
        for (bytes, word) in page[HEADER_LEN..].chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        return;
    }
    let below = shape.counts[level - 1] as usize;
    let children = &names[first - below..first];
    let children = &children[index * (body / 8)..below.min((index + 1) * (body / 8))];
    set_kind(page, SPACE_INDEX, level as u8, children.len() as u16);
    for (bytes, child) in page[HEADER_LEN..].chunks_exact_mut(8).zip(children) {
        bytes.copy_from_slice(&child.as_u64().to_le_bytes());
    }
}

/// Checks that a page is one of a space map.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_page(page: &[u8]) -> Result<(), &'static str> {
    if !own_is_zero(page) {
        return Err("its header has bits that mean nothing yet");
    }
    match (kind_of(page), level_of(page), count_of(page)) {
        (SPACE_BITS, 0, 0) => Ok(()),
        (SPACE_INDEX, 1..=MAX_LEVEL, count @ 1..) => {
            let end = HEADER_LEN + 8 * count;
            match page.get(end..) {
                None => Err("it has more references than fit"),
                Some(rest) if rest.iter().any(|byte| *byte != 0) => {
                    Err("it has something behind its references")
                }
                Some(_) => Ok(()),
            }
        }
        _ => Err("its kind, level and count do not go together"),
    }
}

/// What a page of a map says of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Is its number used?
    Known(bool),
    /// This page of the map knows.
    Below(PageRef),
}

/// Looks a page up in a page of a map, or in its root: `None` if that does not tell of it.
///
/// For looking at single pages of a file; the engine has the whole map in memory.
pub fn look_up(page: &[u8], number: u64) -> Option<Lookup> {
    check_page(page).ok()?;
    let body = &page[HEADER_LEN..];
    let (bits, references) = (8 * body.len() as u64, body.len() as u64 / 8);
    if kind_of(page) == SPACE_BITS {
        let bit = number % bits;
        return Some(Lookup::Known(body[(bit / 8) as usize] & 1 << (bit % 8) != 0));
    }
    // One page of bits, or one index, for each reference.
    let covered = bits * references.pow(u32::from(level_of(page)) - 1);
    let index = (number / covered % references) as usize;
    let child = body.chunks_exact(8).take(count_of(page)).nth(index)?;
    let bits = u64::from_le_bytes(child.try_into().expect("eight bytes"));
    Some(Lookup::Below(PageRef::from_u64(bits)))
}

/// Puts a map together from its pages.
#[derive(Debug)]
pub struct MapLoader {
    page_size: PageSize,
    page_count: u64,
    shape: MapShape,
    words: Vec<u64>,
    /// Pages to be read, the next one last, with the levels that they must have.
    todo: Vec<(PageRef, u8)>,
    /// The pages that were read.
    pages: Vec<PageRef>,
}

impl MapLoader {
    /// Begins with the root that the superblock of a file with `page_count` pages names.
    ///
    /// # Errors
    ///
    /// If a map of that level is not the one of such a file.
    pub fn new(
        page_size: PageSize,
        page_count: u64,
        root: PageRef,
        level: u8,
    ) -> Result<MapLoader, &'static str> {
        let shape = MapShape::of(page_size, page_count);
        if shape.root_level() != level {
            return Err("the space map is not as high as the file is long");
        }
        let todo = vec![(root, level)];
        Ok(MapLoader { page_size, page_count, shape, words: Vec::new(), todo, pages: Vec::new() })
    }

    /// The page to be read next; `None` when all are.
    pub fn next(&self) -> Option<PageRef> {
        self.todo.last().map(|(page, _)| *page)
    }

    /// Takes the page that [`MapLoader::next`] named, verified and checked.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn accept(&mut self, page: &[u8]) -> Result<(), &'static str> {
        let Some((name, level)) = self.todo.pop() else { return Err("it is one page too many") };
        if level_of(page) != level || !matches!(kind_of(page), SPACE_BITS | SPACE_INDEX) {
            return Err("it is not the page of the space map that the one above names");
        }
        if self.pages.len() as u64 >= self.shape.page_count() {
            return Err("the space map has more pages than it needs");
        }
        self.pages.push(name);
        let body = page[HEADER_LEN..].chunks_exact(8);
        let words = body.map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
        if level == 0 {
            self.words.extend(words);
        } else {
            let children =
                words.take(count_of(page)).map(|bits| (PageRef::from_u64(bits), level - 1));
            let first = self.todo.len();
            self.todo.extend(children);
            self.todo[first..].reverse();
        }
        Ok(())
    }

    /// The map, once all pages are taken, and the names of its own pages.
    ///
    /// # Errors
    ///
    /// What is wrong with it as a whole.
    pub fn finish(mut self, reserved: u64) -> Result<(Space, Vec<PageRef>), &'static str> {
        if self.pages.len() as u64 != self.shape.page_count() {
            return Err("the space map has fewer pages than it needs");
        }
        let len = self.page_count.div_ceil(64) as usize;
        let unused_bits = (len as u64 * 64 - self.page_count) as u32;
        let beyond = self.words.split_off(len.min(self.words.len()));
        let spills = self.words.last().is_some_and(|word| word.leading_zeros() < unused_bits);
        if spills || beyond.iter().any(|word| *word != 0) {
            return Err("the space map tells of pages behind the end of the file");
        }
        let space = Space::from_words(self.words, self.page_count);
        let own = self.pages.iter().map(|page| page.page());
        let reserved = (0..reserved).filter_map(PageId::from_u64);
        if own.chain(reserved).any(|page| !space.is_used(page)) {
            return Err("the space map says that its own pages are free");
        }
        let last = PageId::from_u64(self.page_count - 1);
        if !last.is_some_and(|last| space.is_used(last)) {
            return Err("the space map ends before the file");
        }
        let mut own: Vec<u64> = self.pages.iter().map(|page| page.page().as_u64()).collect();
        own.sort_unstable();
        if own.windows(2).any(|two| two[0] == two[1]) {
            return Err("the space map has a page twice");
        }
        debug_assert_eq!(bits_per_page(self.page_size) % 64, 0);
        Ok((space, self.pages))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stamp;

    fn named(count: u64) -> Vec<PageRef> {
        (0..count)
            .map(|number| PageRef::new(PageId::from_u64(number).unwrap(), Stamp::new(1, 1)))
            .collect()
    }

    fn load(
        pages: &[Vec<u8>],
        names: &[PageRef],
        page_size: PageSize,
        page_count: u64,
    ) -> Result<(Space, Vec<PageRef>), &'static str> {
        let shape = MapShape::of(page_size, page_count);
        let root = *names.last().unwrap();
        let mut loader = MapLoader::new(page_size, page_count, root, shape.root_level())?;
        while let Some(next) = loader.next() {
            let at = names.iter().position(|name| *name == next).ok_or("no such page")?;
            check_page(&pages[at])?;
            loader.accept(&pages[at])?;
        }
        loader.finish(2)
    }

    fn encoded(space: &Space, page_size: PageSize) -> (Vec<Vec<u8>>, Vec<PageRef>) {
        let shape = MapShape::of(page_size, space.page_count());
        let names = named(shape.page_count());
        let pages = (0..names.len())
            .map(|at| {
                let mut page = vec![0xee; page_size.bytes()];
                encode_page(space, shape, &names, at, &mut page);
                page
            })
            .collect();
        (pages, names)
    }

    #[test]
    fn maps_of_every_height_come_back() {
        let page_size = PageSize::MIN;
        let per_index = bits_per_page(page_size) * references_per_page(page_size);
        for page_count in [600, 40_000, 1_000_000, per_index + 5] {
            let mut words: Vec<u64> =
                (0..page_count.div_ceil(64)).map(|at| at.wrapping_mul(0x9e37_79b9) | 1).collect();
            for word in &mut words[..10] {
                *word = u64::MAX;
            }
            let last = words.len() - 1;
            words[last] &= u64::MAX >> ((64 - page_count % 64) % 64);
            words[last] |= 1 << ((page_count - 1) % 64);
            let space = Space::from_words(words.clone(), page_count);
            let (pages, names) = encoded(&space, page_size);
            let (loaded, own) = load(&pages, &names, page_size, page_count).unwrap();
            assert_eq!(loaded.words(), &words);
            assert_eq!(own.len(), names.len());
            for number in (0..page_count).step_by(page_count as usize / 50) {
                let (mut at, mut steps) = (names.len() - 1, 0);
                let is_used = loop {
                    match look_up(&pages[at], number).unwrap() {
                        Lookup::Known(is_used) => break is_used,
                        Lookup::Below(name) => {
                            at = names.iter().position(|other| *other == name).unwrap();
                        }
                    }
                    steps += 1;
                };
                assert_eq!(is_used, space.is_used(PageId::from_u64(number).unwrap()), "{number}");
                assert!(steps <= MAX_LEVEL);
            }
        }
    }

    #[test]
    fn a_map_that_does_not_fit_its_file_is_refused() {
        let page_size = PageSize::MIN;
        let space = Space::from_words(vec![u64::MAX; 1000], 64_000);
        let (pages, names) = encoded(&space, page_size);
        assert!(load(&pages, &names, page_size, 64_000).is_ok());
        assert!(load(&pages, &names, page_size, 63_999).is_err(), "a page behind the end");
        assert!(load(&pages, &names, page_size, 10).is_err(), "another height");
        let mut cycle = pages.clone();
        let root = names.last().unwrap().as_u64().to_le_bytes();
        cycle[2][HEADER_LEN..HEADER_LEN + 8].copy_from_slice(&root);
        assert!(load(&cycle, &names, page_size, 64_000).is_err(), "a root below itself");
        let mut twice = pages.clone();
        twice[2].copy_within(HEADER_LEN..HEADER_LEN + 8, HEADER_LEN + 8);
        assert!(load(&twice, &names, page_size, 64_000).is_err(), "a page twice");
        let mut short = Space::from_words(vec![u64::MAX; 1000], 64_000);
        short.free(PageId::from_u64(63_999).unwrap());
        let (short, _) = encoded(&short, page_size);
        assert!(load(&short, &names, page_size, 64_000).is_err(), "its last page is free");
        let mut own_free = pages;
        own_free[0][HEADER_LEN] &= !2;
        assert!(load(&own_free, &names, page_size, 64_000).is_err(), "its own page is free");
    }
}
