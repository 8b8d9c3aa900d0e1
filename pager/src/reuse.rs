//! When the number of a dead page may be used again.
//!
//! A page lives in `[birth, death)` on the time line of stamps. A version is a moment on it, and a
//! pinned version may reach every page that lives at its moment. So the number is free when no
//! pinned moment lies in the interval: what counts is not the oldest reader, but those who can see
//! the page.
//!
//! A dead page hangs on *one* pin, the newest one in its interval. When that pin goes, the page
//! hangs on the next older one in its interval, or is free. Cost: a page moves once for each pin in
//! its interval. A run of pages that live and die together counts as one page.

use std::collections::BTreeMap;

use yieldb_core::{is_planted, reached};

use crate::{PageRun, Stamp};

/// The pinned moments, and the dead pages that they hold.
#[derive(Debug, Default)]
pub struct Reuse {
    pins: BTreeMap<Stamp, Pin>,
    /// How many pages that are.
    held_count: u64,
    /// The newest moment at which a page died.
    last_death: Stamp,
}

#[derive(Debug, Default)]
struct Pin {
    count: usize,
    /// Runs that live at this moment, and at no newer pinned one, with their births.
    held: Vec<(PageRun, Stamp)>,
}

impl Reuse {
    /// Counts one more pin on `moment`.
    ///
    /// # Panics
    ///
    /// If it is a moment of the past that nobody has pinned: pages that lived then may be gone.
    pub fn pin(&mut self, moment: Stamp) {
        let pin = self.pins.entry(moment).or_default();
        let is_newest = moment >= self.last_death;
        assert!(pin.count > 0 || is_newest, "{moment:?} is pinned behind {:?}", self.last_death);
        pin.count += 1;
    }

    /// Counts one pin on `moment` less. With the last one go the runs that only it held: `free` is
    /// called with each.
    ///
    /// # Panics
    ///
    /// If the moment is not pinned.
    pub fn unpin(&mut self, moment: Stamp, mut free: impl FnMut(PageRun)) {
        let pin = self.pins.get_mut(&moment).expect("a moment is unpinned once for each pin");
        pin.count -= 1;
        if pin.count > 0 {
            return;
        }
        let held = std::mem::take(&mut pin.held);
        self.pins.remove(&moment);
        for (run, birth) in held {
            self.held_count -= run.count();
            if is_planted!(OlderSnapshotForgotten) || !self.hold(run, birth, moment) {
                free(run);
            } else {
                reached!(HeldForOlderSnapshot);
            }
        }
    }

    /// Takes a run that died at `death`. `true` if its numbers are free at once.
    pub fn retire(&mut self, run: PageRun, birth: Stamp, death: Stamp) -> bool {
        self.last_death = self.last_death.max(death);
        !self.hold(run, birth, death)
    }

    /// Hangs a run on the newest pin in `[birth, end)`; `false` if there is none.
    fn hold(&mut self, run: PageRun, birth: Stamp, end: Stamp) -> bool {
        if birth >= end {
            return false;
        }
        if is_planted!(MiddleSnapshotForgotten) && self.pins.range(..birth).next().is_some() {
            return false;
        }
        let Some((_, pin)) = self.pins.range_mut(birth..end).next_back() else { return false };
        pin.held.push((run, birth));
        self.held_count += run.count();
        true
    }

    /// The dead runs whose numbers are not free.
    pub fn held(&self) -> impl Iterator<Item = PageRun> + '_ {
        self.pins.values().flat_map(|pin| pin.held.iter().map(|(run, _)| *run))
    }

    /// How many pages they have.
    pub fn held_count(&self) -> u64 {
        self.held_count
    }

    /// The oldest pinned moment.
    pub fn oldest(&self) -> Option<Stamp> {
        self.pins.keys().next().copied()
    }

    /// How many pins there are.
    pub fn pin_count(&self) -> usize {
        self.pins.values().map(|pin| pin.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PageId;

    struct Model {
        pins: Vec<Stamp>,
        dead: Vec<(PageRun, Stamp, Stamp)>,
    }

    impl Model {
        /// Removes and returns the runs that no pin can see.
        fn free(&mut self) -> Vec<PageRun> {
            let (held, free): (Vec<_>, Vec<_>) = self.dead.iter().partition(|(_, birth, death)| {
                self.pins.iter().any(|pin| birth <= pin && pin < death)
            });
            self.dead = held;
            free.into_iter().map(|(run, _, _)| run).collect()
        }
    }

    #[test]
    fn a_number_is_free_exactly_when_no_pin_can_see_its_page() {
        let mut random: u64 = 88_172_645_463_325_252;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut reuse = Reuse::default();
        let mut model = Model { pins: Vec::new(), dead: Vec::new() };
        let mut now = 10;
        for number in 0..20_000 {
            now += next(3);
            let mut freed = Vec::new();
            match next(4) {
                0 => {
                    // The newest version, or one more pin on another one.
                    let moment = match next(model.pins.len() as u64 + 1) as usize {
                        0 => Stamp::from_u64(now),
                        pinned => model.pins[pinned - 1],
                    };
                    reuse.pin(moment);
                    model.pins.push(moment);
                }
                1 if !model.pins.is_empty() => {
                    let moment = model.pins.swap_remove(next(model.pins.len() as u64) as usize);
                    reuse.unpin(moment, |run| freed.push(run));
                }
                _ => {
                    let first = PageId::from_u64(number * 1_000).unwrap();
                    let run = PageRun::new(first, 1 + next(1_000)).unwrap();
                    let birth = Stamp::from_u64(now - next(now.min(200)));
                    let death = Stamp::from_u64(now);
                    model.dead.push((run, birth, death));
                    if reuse.retire(run, birth, death) {
                        freed.push(run);
                    }
                }
            }
            let mut expected = model.free();
            expected.sort_unstable();
            freed.sort_unstable();
            assert_eq!(freed, expected);
            let held: u64 = model.dead.iter().map(|(run, _, _)| run.count()).sum();
            assert_eq!(reuse.held_count(), held);
            assert_eq!(reuse.pin_count(), model.pins.len());
        }
        assert!(reuse.held().count() == model.dead.len());
    }
}
