//! The pages and runs that a transaction has made and published.

use std::collections::BTreeMap;

use crate::{PageId, PageRun, Stamp};

/// Pages and runs by their births. Neighbours with the same birth are kept as one, so that what was
/// written in one go takes no memory, however much it is.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// The birth and the first page of each run, with the number of its pages. None touches
    /// another one with the same birth.
    runs: BTreeMap<(Stamp, PageId), u64>,
}

impl Published {
    /// Adds a run. Nothing of it is there yet.
    pub fn insert(&mut self, birth: Stamp, run: PageRun) {
        let (mut first, mut count) = (run.first(), run.count());
        if let Some(end) = PageId::from_u64(run.end())
            && let Some(behind) = self.runs.remove(&(birth, end))
        {
            count += behind;
        }
        if let Some(before) = self.at_or_before(birth, first)
            && before.end() == first.as_u64()
        {
            first = before.first();
            count += before.count();
        }
        self.runs.insert((birth, first), count);
    }

    /// Takes a run out. `false`, and nothing changes, if not all of it is there.
    pub fn remove(&mut self, birth: Stamp, run: PageRun) -> bool {
        let Some(around) = self.around(birth, run) else { return false };
        self.runs.remove(&(birth, around.first()));
        let before = run.first().as_u64() - around.first().as_u64();
        if before > 0 {
            self.runs.insert((birth, around.first()), before);
        }
        if let Some(end) = PageId::from_u64(run.end()).filter(|_| run.end() < around.end()) {
            self.runs.insert((birth, end), around.end() - run.end());
        }
        true
    }

    /// Is all of a run there?
    pub fn contains(&self, birth: Stamp, run: PageRun) -> bool {
        self.around(birth, run).is_some()
    }

    /// Takes out what was born at `since` or later.
    pub fn split_off(&mut self, since: Stamp) -> Published {
        let first = PageId::from_u64(0).expect("there is a page 0");
        Published { runs: self.runs.split_off(&(since, first)) }
    }

    /// All of it.
    pub fn runs(&self) -> impl Iterator<Item = PageRun> + '_ {
        self.iter().map(|(_, run)| run)
    }

    /// All of it, with the births.
    pub fn iter(&self) -> impl Iterator<Item = (Stamp, PageRun)> + '_ {
        self.runs.iter().map(|((birth, first), count)| (*birth, run_of(*first, *count)))
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// What is kept as one and has all of `run` in it.
    fn around(&self, birth: Stamp, run: PageRun) -> Option<PageRun> {
        self.at_or_before(birth, run.first()).filter(|found| found.end() >= run.end())
    }

    /// The last run that begins at `page` or before it.
    fn at_or_before(&self, birth: Stamp, page: PageId) -> Option<PageRun> {
        let first = PageId::from_u64(0).expect("there is a page 0");
        let ((_, first), count) = self.runs.range((birth, first)..=(birth, page)).next_back()?;
        Some(run_of(*first, *count))
    }
}

fn run_of(first: PageId, count: u64) -> PageRun {
    PageRun::new(first, count).expect("it is made of runs")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIRTH: Stamp = Stamp::new(1, 5);

    fn run(first: u64, count: u64) -> PageRun {
        PageRun::new(PageId::from_u64(first).unwrap(), count).unwrap()
    }

    fn all(published: &Published) -> Vec<(u64, u64)> {
        published.runs().map(|run| (run.first().as_u64(), run.count())).collect()
    }

    #[test]
    fn neighbours_of_one_birth_are_one() {
        let mut published = Published::default();
        for page in [7, 9, 4, 8] {
            published.insert(BIRTH, run(page, 1));
        }
        published.insert(BIRTH.next(), run(5, 2));
        assert_eq!(all(&published), [(4, 1), (7, 3), (5, 2)]);
        published.insert(BIRTH, run(5, 2));
        assert_eq!(all(&published), [(4, 6), (5, 2)]);
        assert!(published.contains(BIRTH, run(4, 6)) && published.contains(BIRTH, run(6, 2)));
        assert!(!published.contains(BIRTH, run(3, 2)) && !published.contains(BIRTH, run(9, 2)));
        assert!(!published.contains(BIRTH.next(), run(7, 1)));
    }

    #[test]
    fn what_is_taken_out_leaves_what_is_around_it() {
        let mut published = Published::default();
        published.insert(BIRTH, run(10, 10));
        assert!(!published.remove(BIRTH, run(15, 6)));
        assert!(published.remove(BIRTH, run(15, 2)));
        assert!(!published.remove(BIRTH, run(15, 1)));
        assert!(published.remove(BIRTH, run(10, 1)) && published.remove(BIRTH, run(19, 1)));
        assert_eq!(all(&published), [(11, 4), (17, 2)]);
        assert!(published.remove(BIRTH, run(11, 4)) && published.remove(BIRTH, run(17, 2)));
        assert!(published.is_empty());
    }

    #[test]
    fn births_are_told_apart() {
        let mut published = Published::default();
        published.insert(BIRTH, run(1, 3));
        published.insert(BIRTH.next(), run(4, 1));
        assert_eq!(all(&published.split_off(BIRTH.next())), [(4, 1)]);
        assert_eq!(all(&published), [(1, 3)]);
    }
}
