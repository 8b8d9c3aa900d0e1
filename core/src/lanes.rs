//! What keeps threads from meeting at a cache line.
//!
//! A line that two processors write to in turns goes to and fro between them, and each time takes
//! as long as a miss in memory. [`Lanes`] have a value for each of a few groups of threads, on
//! lines of its own. A [`Tally`] is an `Arc` of an `Arc`: whoever clones and drops it counts on the
//! tally's line, and not on the one that all who have the value share.

use std::ops::{Deref, Index};

use crate::sync::{Arc, IS_CHECKED, thread_number};

/// How many lanes there are. Threads whose numbers differ by a multiple of it share one.
const LANES: usize = if IS_CHECKED { 2 } else { 16 };

/// Something on cache lines of its own: on two, since processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct OwnLine<T>(T);

/// A value for each lane, on cache lines of its own. Made once; what is to change is an atomic, or
/// behind a lock.
#[derive(Debug)]
pub struct Lanes<T>([OwnLine<T>; LANES]);

impl<T> Lanes<T> {
    /// Lanes of which each has what `make` makes.
    pub fn new(mut make: impl FnMut() -> T) -> Lanes<T> {
        Lanes(std::array::from_fn(|_| OwnLine(make())))
    }

    /// The lane of the thread that asks.
    #[inline]
    pub fn own_lane(&self) -> usize {
        thread_number() % LANES
    }

    /// What the lane of the thread that asks has.
    #[inline]
    pub fn own(&self) -> &T {
        &self[self.own_lane()]
    }
}

impl<T> Index<usize> for Lanes<T> {
    type Output = T;

    #[inline]
    fn index(&self, lane: usize) -> &T {
        &self.0[lane].0
    }
}

/// A count of its own on a value: clones count on the tally, which counts once on the value.
#[derive(Debug)]
pub struct Tally<T>(Arc<OwnLine<Arc<T>>>);

impl<T> Tally<T> {
    /// Counts once on `value`. Cost: an allocation of 256 bytes.
    pub fn new(value: Arc<T>) -> Tally<T> {
        Tally(Arc::new(OwnLine(value)))
    }

    /// Is there another clone of this one?
    pub fn is_shared(tally: &Tally<T>) -> bool {
        Arc::strong_count(&tally.0) > 1
    }

    /// Takes back a clone; the tally's count on the value, if it was the last one. Of several
    /// threads that give up theirs in this way, exactly one is told.
    #[inline]
    pub fn into_inner(tally: Tally<T>) -> Option<Arc<T>> {
        Arc::into_inner(tally.0).map(|line| line.0)
    }
}

impl<T> Clone for Tally<T> {
    #[inline]
    fn clone(&self) -> Tally<T> {
        Tally(self.0.clone())
    }
}

impl<T> Deref for Tally<T> {
    type Target = Arc<T>;

    #[inline]
    fn deref(&self) -> &Arc<T> {
        &self.0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_once_and_the_last_clone_is_told() {
        let value = Arc::new(7);
        let tally = Tally::new(value.clone());
        assert!(!Tally::is_shared(&tally));
        let clone = tally.clone();
        assert_eq!((Arc::strong_count(&value), Tally::is_shared(&tally)), (2, true));
        assert!(Tally::into_inner(tally).is_none());
        let count = Tally::into_inner(clone).expect("it is the last one");
        assert!(Arc::ptr_eq(&count, &value));
    }

    #[test]
    fn each_lane_has_lines_of_its_own() {
        let mut made = 0..;
        let lanes = Lanes::new(|| made.next().expect("they are few"));
        let places = [&lanes[0], &lanes[1]].map(|value| std::ptr::from_ref(value).addr());
        assert!(places[1] - places[0] >= 128, "{places:?}");
        assert_eq!(*lanes.own(), lanes.own_lane());
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(*lanes.own(), lanes.own_lane()));
        });
    }
}
