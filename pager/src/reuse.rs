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
//!
//! A checkpoint pins a moment for its numbers alone: what it has is in the file, or dirty. So a
//! dead page that no pin of readers can see is *unread*: nobody will ask for its bytes again, and
//! its frame is better used for another page.

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

/// On whose behalf a moment is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Of those who read the version, or may begin to.
    Readers,
    /// Of the file, which may be opened at it.
    Checkpoint,
}

/// What becomes of a dead run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Readers may ask for its pages.
    Held,
    /// Its numbers are held, but nobody will ask for its pages again. Not always noticed: not when
    /// the last who could was a reader of a version older than a checkpoint.
    Unread,
    /// Its numbers are free.
    Free,
}

#[derive(Debug, Default)]
struct Pin {
    count: usize,
    /// How many of them are those of readers.
    readers: usize,
    /// Runs that live at this moment, and at no newer pinned one, with their births.
    held: Vec<(PageRun, Stamp)>,
    /// How many pages that are.
    held_count: u64,
}

impl Reuse {
    /// Counts one more pin on `moment`.
    ///
    /// # Panics
    ///
    /// If it is a moment of the past that nobody has pinned: pages that lived then may be gone.
    pub fn pin(&mut self, moment: Stamp, holder: Holder) {
        let pin = self.pins.entry(moment).or_default();
        let is_newest = moment >= self.last_death;
        assert!(pin.count > 0 || is_newest, "{moment:?} is pinned behind {:?}", self.last_death);
        pin.count += 1;
        pin.readers += usize::from(holder == Holder::Readers);
    }

    /// Counts one pin on `moment` less. With the last one go the runs that only it held, and with
    /// the last one of readers those that only it could read: `change` is called with each whose
    /// fate that changes.
    ///
    /// # Panics
    ///
    /// If the moment is not pinned.
    pub fn unpin(&mut self, moment: Stamp, holder: Holder, mut change: impl FnMut(PageRun, Fate)) {
        let pin = self.pins.get_mut(&moment).expect("a moment is unpinned once for each pin");
        pin.count -= 1;
        pin.readers -= usize::from(holder == Holder::Readers);
        let (is_pinned, is_read) = (pin.count > 0, pin.readers > 0);
        if is_read || (is_pinned && holder == Holder::Checkpoint) {
            return;
        }
        let held = std::mem::take(&mut pin.held);
        pin.held_count = 0;
        if !is_pinned {
            self.pins.remove(&moment);
        }
        let end = if is_pinned { moment.next() } else { moment };
        for (run, birth) in held {
            self.held_count -= run.count();
            if is_planted!(OlderSnapshotForgotten) && !is_pinned {
                change(run, Fate::Free);
                continue;
            }
            match self.hold(run, birth, end) {
                Fate::Held => reached!(HeldForOlderSnapshot),
                fate @ (Fate::Unread | Fate::Free) => change(run, fate),
            }
        }
    }

    /// Takes a run that died at `death`.
    pub fn retire(&mut self, run: PageRun, birth: Stamp, death: Stamp) -> Fate {
        self.last_death = self.last_death.max(death);
        self.hold(run, birth, death)
    }

    /// Hangs a run on the newest pin in `[birth, end)`, if there is one.
    fn hold(&mut self, run: PageRun, birth: Stamp, end: Stamp) -> Fate {
        if birth >= end {
            return Fate::Free;
        }
        if is_planted!(MiddleSnapshotForgotten) && self.pins.range(..birth).next().is_some() {
            return Fate::Free;
        }
        let mut pins = self.pins.range_mut(birth..end).rev();
        let Some((_, newest)) = pins.next() else { return Fate::Free };
        newest.held.push((run, birth));
        newest.held_count += run.count();
        self.held_count += run.count();
        let is_read = newest.readers > 0 || pins.any(|(_, pin)| pin.readers > 0);
        if is_read { Fate::Held } else { Fate::Unread }
    }

    /// The dead runs whose numbers are not free.
    pub fn held(&self) -> impl Iterator<Item = PageRun> + '_ {
        self.pins.values().flat_map(|pin| pin.held.iter().map(|(run, _)| *run))
    }

    /// How many pages they have.
    pub fn held_count(&self) -> u64 {
        self.held_count
    }

    /// How many pages of dead runs live at `moment`, and at no newer pinned one.
    pub fn held_by(&self, moment: Stamp) -> u64 {
        self.pins.get(&moment).map_or(0, |pin| pin.held_count)
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
    use std::collections::BTreeSet;

    use super::*;
    use crate::PageId;

    struct Model {
        pins: Vec<(Stamp, Holder)>,
        dead: Vec<(PageRun, Stamp, Stamp)>,
    }

    impl Model {
        /// Removes and returns the runs that no pin can see.
        fn free(&mut self) -> Vec<PageRun> {
            let (held, free): (Vec<_>, Vec<_>) = self.dead.iter().partition(|(_, birth, death)| {
                self.pins.iter().any(|(pin, _)| birth <= pin && pin < death)
            });
            self.dead = held;
            free.into_iter().map(|(run, _, _)| run).collect()
        }

        /// The runs that only pins of checkpoints can see.
        fn unread(&self) -> BTreeSet<PageRun> {
            let unread = self.dead.iter().filter(|(_, birth, death)| {
                let mut pins = self.pins.iter().filter(|(_, holder)| *holder == Holder::Readers);
                !pins.any(|(pin, _)| birth <= pin && pin < death)
            });
            unread.map(|(run, _, _)| *run).collect()
        }
    }

    #[test]
    fn a_number_is_free_exactly_when_no_pin_can_see_its_page_and_unread_when_no_reader_can() {
        let mut random: u64 = 88_172_645_463_325_252;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut reuse = Reuse::default();
        let mut model = Model { pins: Vec::new(), dead: Vec::new() };
        let (mut unread, mut unread_count) = (BTreeSet::new(), 0);
        let mut now = 10;
        for number in 0..20_000 {
            now += next(3);
            let mut freed = Vec::new();
            let mut change = |run: PageRun, fate| match fate {
                Fate::Held => {}
                Fate::Unread => drop(unread.insert(run)),
                Fate::Free => {
                    unread.remove(&run);
                    freed.push(run);
                }
            };
            match next(4) {
                0 => {
                    // The newest version, or one more pin on another one.
                    // Readers come to a moment that readers have pinned.
                    let (moment, holder) = match next(model.pins.len() as u64 + 1) as usize {
                        0 if next(2) == 0 => (Stamp::from_u64(now), Holder::Checkpoint),
                        0 => (Stamp::from_u64(now), Holder::Readers),
                        pinned => model.pins[pinned - 1],
                    };
                    reuse.pin(moment, holder);
                    model.pins.push((moment, holder));
                }
                1 if !model.pins.is_empty() => {
                    let index = next(model.pins.len() as u64) as usize;
                    let (moment, holder) = model.pins.swap_remove(index);
                    reuse.unpin(moment, holder, change);
                }
                _ => {
                    let first = PageId::from_u64(number * 1_000).unwrap();
                    let run = PageRun::new(first, 1 + next(1_000)).unwrap();
                    let birth = Stamp::from_u64(now - next(now.min(200)));
                    let death = Stamp::from_u64(now);
                    model.dead.push((run, birth, death));
                    change(run, reuse.retire(run, birth, death));
                }
            }
            let mut expected = model.free();
            expected.sort_unstable();
            freed.sort_unstable();
            assert_eq!(freed, expected);
            // Not all of them: a reader older than the pin that a run hangs on is not looked at.
            assert!(unread.is_subset(&model.unread()));
            unread_count = unread_count.max(unread.len());
            let held: u64 = model.dead.iter().map(|(run, _, _)| run.count()).sum();
            assert_eq!(reuse.held_count(), held);
            let by_pin = reuse.pins.keys().map(|moment| reuse.held_by(*moment)).sum::<u64>();
            assert_eq!(by_pin, held);
            assert_eq!(reuse.pin_count(), model.pins.len());
        }
        assert!(reuse.held().count() == model.dead.len());
        assert!(unread_count > 10, "{unread_count} are known to be unread");
    }
}
