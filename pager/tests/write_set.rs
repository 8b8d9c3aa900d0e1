//! Random transactions beside a model of what is alive: what each version and each savepoint has
//! stays as it is, and a number is used exactly as long as somebody can reach it.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::{Rng, Store, content};
use yieldb_pager::page_format::HEADER_LEN;
use yieldb_pager::value_page::body_len;
use yieldb_pager::write_set::Mark;
use yieldb_pager::{MIN_FRAMES, PageId, PageRef, PageRun, PageSize, Stamp, VersionPin, WriteSet};

const BODY: usize = body_len(PageSize::MIN);

/// What is reachable: each page and each run with its birth, and the seed of its bytes.
#[derive(Clone, Debug, Default, PartialEq)]
struct Alive {
    pages: BTreeMap<PageId, (Stamp, u64)>,
    runs: BTreeMap<PageRun, (Stamp, u64)>,
}

impl Alive {
    fn numbers(&self) -> impl Iterator<Item = PageId> + '_ {
        self.pages.keys().copied().chain(self.runs.keys().flat_map(|run| run.pages()))
    }

    fn has(&self, run: PageRun) -> bool {
        let mut numbers = self.numbers();
        numbers.any(|page| (run.first().as_u64()..run.end()).contains(&page.as_u64()))
    }

    fn pick_page(&self, rng: &mut Rng) -> Option<PageId> {
        let count = self.pages.len() as u64;
        (count > 0).then(|| *self.pages.keys().nth(rng.below(count) as usize).unwrap())
    }

    fn pick_run(&self, rng: &mut Rng) -> Option<PageRun> {
        let count = self.runs.len() as u64;
        (count > 0).then(|| *self.runs.keys().nth(rng.below(count) as usize).unwrap())
    }

    /// Asserts that one of the pages, and one of the runs, or all of them have their bytes.
    fn assert_reads(&self, store: &Store, set: Option<&WriteSet>, sample: Option<&mut Rng>) {
        let (page, run) = match sample {
            None => (None, None),
            Some(rng) => (Some(self.pick_page(rng)), Some(self.pick_run(rng))),
        };
        for (id, (birth, seed)) in &self.pages {
            if page.is_none_or(|page| page == Some(*id)) {
                let bytes = store.read(set, PageRef::new(*id, *birth));
                assert!(bytes == content(*seed, bytes.len()), "{id:?} of {birth:?}");
            }
        }
        for (whole, (birth, seed)) in &self.runs {
            if run.is_none_or(|run| run == Some(*whole)) {
                let first = PageRef::new(whole.first(), *birth);
                let pages = (0..whole.count()).map(|at| first.behind(at).unwrap());
                let bytes: Vec<u8> = pages.flat_map(|page| store.read(set, page)).collect();
                assert!(bytes == content(*seed, bytes.len()), "{whole:?} of {birth:?}");
            }
        }
    }
}

/// A version that somebody holds.
struct Pinned {
    pin: VersionPin,
    alive: Alive,
}

struct Model {
    rng: Rng,
    store: Store,
    newest: Alive,
    pinned: Vec<Pinned>,
    seeds: u64,
    /// The names of all pages of runs that there ever were.
    written: BTreeSet<(PageId, Stamp)>,
}

/// A transaction and what it sees.
struct Work {
    set: WriteSet,
    now: Alive,
    savepoints: Vec<(Mark, Alive)>,
}

impl Model {
    fn new(seed: u64) -> Model {
        let store = Store::new(MIN_FRAMES, seed, None);
        let (newest, pinned) = (Alive::default(), Vec::new());
        let written = BTreeSet::new();
        Model { rng: Rng::new(seed), store, newest, pinned, seeds: 0, written }
    }

    fn next_seed(&mut self) -> u64 {
        self.seeds += 1;
        self.seeds
    }

    /// Asserts that new numbers are nobody's, and were never written with this stamp.
    fn assert_new(&self, work: &Work, run: PageRun, birth: Stamp) {
        let mut names = run.pages().map(|page| (page, birth));
        assert!(
            names.all(|name| !self.written.contains(&name)),
            "{run:?} of {birth:?} comes again"
        );
        let others = self.pinned.iter().map(|pinned| &pinned.alive);
        let saved = work.savepoints.iter().map(|(_, alive)| alive);
        for alive in others.chain(saved).chain([&self.newest, &work.now]) {
            assert!(!alive.has(run), "{run:?} is used twice");
        }
    }

    /// Sees to a page in reserve; now and then the operation is dropped while it waits.
    fn prepare(&mut self, work: &mut Work) -> bool {
        while let Some(io) = work.set.prepare(&self.store.pager, 1).unwrap() {
            if self.rng.one_in(4) {
                return false;
            }
            self.store.wait(&io);
        }
        true
    }

    fn create(&mut self, work: &mut Work) {
        if self.prepare(work) {
            let seed = self.next_seed();
            let birth = work.set.stamp();
            let id = self.store.create(&mut work.set, seed);
            self.assert_new(work, id.into(), birth);
            work.now.pages.insert(id, (birth, seed));
        }
    }

    fn change(&mut self, work: &mut Work) {
        if !self.prepare(work) {
            return;
        }
        let Some(id) = work.now.pick_page(&mut self.rng) else { return };
        let (birth, _) = work.now.pages[&id];
        let name = PageRef::new(id, birth);
        if !work.set.is_private(name) {
            work.now.pages.remove(&id);
            self.create(work);
            work.set.kill(id, birth);
            return;
        }
        let seed = self.next_seed();
        let body = &mut work.set.page_mut(name)[HEADER_LEN..];
        body.copy_from_slice(&content(seed, body.len()));
        work.now.pages.insert(id, (birth, seed));
    }

    fn kill(&mut self, work: &mut Work) {
        if self.rng.one_in(3)
            && let Some(run) = work.now.pick_run(&mut self.rng)
        {
            let (birth, _) = work.now.runs.remove(&run).unwrap();
            work.set.kill_run(run, birth);
        } else if let Some(id) = work.now.pick_page(&mut self.rng) {
            let (birth, _) = work.now.pages.remove(&id).unwrap();
            work.set.kill(id, birth);
        }
    }

    /// Writes a run, or a part of one that is then left to itself.
    fn write_run(&mut self, work: &mut Work) {
        let longest = [2, 12, 100][self.rng.below(3) as usize];
        let count = 1 + self.rng.below(longest);
        work.set.begin_run(&self.store.pager, count).unwrap();
        let birth = work.set.stamp();
        let seed = self.next_seed();
        let end = if self.rng.one_in(4) { self.rng.below(count) + 1 } else { 0 };
        self.store.write_run(&mut work.set, seed, count as usize * BODY, end).unwrap();
        if end == 0 {
            let (run, born) = work.set.finish_run();
            assert_eq!(born, birth);
            self.assert_new(work, run, birth);
            self.written.extend(run.pages().map(|page| (page, birth)));
            work.now.runs.insert(run, (birth, seed));
        }
    }

    fn use_savepoints(&mut self, work: &mut Work) {
        let count = work.savepoints.len() as u64;
        if count == 0 || self.rng.one_in(3) {
            let mark = work.set.savepoint(&self.store.pager);
            work.savepoints.push((mark, work.now.clone()));
            return;
        }
        let index = self.rng.below(count) as usize;
        let mark = work.savepoints[index].0;
        if self.rng.one_in(2) {
            work.set.release(&self.store.pager, mark);
            work.savepoints.truncate(index);
        } else {
            work.set.roll_back_to(&self.store.pager, mark);
            work.savepoints.truncate(index + 1);
            work.now = work.savepoints[index].1.clone();
            work.now.assert_reads(&self.store, Some(&work.set), None);
        }
    }

    /// A transaction, committed or given up.
    fn transact(&mut self) {
        let set = self.store.pager.begin_write_set();
        let mut work = Work { set, now: self.newest.clone(), savepoints: Vec::new() };
        for _ in 0..self.rng.below(120) {
            let is_crowded = work.now.numbers().count() > 250;
            match self.rng.below(20) {
                0..8 if is_crowded => self.kill(&mut work),
                0..6 => self.create(&mut work),
                6..11 => self.change(&mut work),
                11..15 => self.kill(&mut work),
                15..17 => self.write_run(&mut work),
                17..19 => self.use_savepoints(&mut work),
                _ => {
                    self.store.backend.driver.poll();
                }
            }
            work.now.assert_reads(&self.store, Some(&work.set), Some(&mut self.rng));
        }
        if self.rng.one_in(4) {
            work.set.give_up(&self.store.pager);
            return;
        }
        if work.now == self.newest {
            // All of it was undone, or never done.
            work.set.give_up(&self.store.pager);
            return;
        }
        self.store.commit(work.set).unwrap();
        self.newest = work.now;
    }

    fn pin(&mut self) {
        let pin = self.store.pager.newest();
        self.pinned.push(Pinned { pin, alive: self.newest.clone() });
    }

    /// Asserts that exactly those numbers are used that somebody can reach.
    fn assert_space(&self) {
        self.store.settle();
        self.store.pager.cache().assert_idle();
        let mut numbers: BTreeSet<PageId> = self.newest.numbers().collect();
        assert_eq!(numbers.len(), self.newest.numbers().count());
        let own_count = numbers.len() as u64;
        // A space map is the durable checkpoint's, and nobody else's.
        self.pinned.iter().for_each(|pinned| numbers.extend(pinned.alive.numbers()));
        let held = numbers.len() as u64 - own_count;
        let space = self.store.pager.space_use();
        assert_eq!(space.used, 2 + own_count + self.store.map_count() + held, "{space:?}");
        assert_eq!(space.held, held, "{space:?}");
        assert_eq!(space.free, space.pages - space.used, "{space:?}");
        let moments = self.pinned.iter().map(|pinned| pinned.pin.roots().moment);
        let moments: BTreeSet<Stamp> = moments.collect();
        assert_eq!(space.pins, 1 + moments.len(), "{space:?}");
        let oldest = moments.first().copied();
        let oldest = oldest.unwrap_or(self.store.pager.superblock().moment);
        assert_eq!(space.oldest_pin, oldest, "{space:?}");
    }
}

#[test]
fn a_number_is_used_exactly_as_long_as_somebody_can_reach_it() {
    for seed in 0..4 {
        let mut model = Model::new(seed);
        for round in 0..50 {
            model.transact();
            model.assert_space();
            if model.rng.one_in(4) {
                model.pin();
            }
            if model.rng.one_in(4) && !model.pinned.is_empty() {
                let index = model.rng.below(model.pinned.len() as u64) as usize;
                let pinned = model.pinned.swap_remove(index);
                pinned.alive.assert_reads(&model.store, None, None);
                drop(pinned);
                model.assert_space();
            }
            if round % 10 == 9 {
                model.pinned.clear();
                model.store = model.store.reopen(seed + round);
                model.assert_space();
            }
            model.newest.assert_reads(&model.store, None, None);
        }
    }
}

#[test]
fn savepoints_nest_and_end_with_the_one_that_is_released_or_gone_back_to() {
    let store = Store::new(MIN_FRAMES, 1, None);
    let mut set = store.pager.begin_write_set();
    store.prepare(&mut set, 3).unwrap();
    let outer = set.savepoint(&store.pager);
    let stamp = set.stamp();
    let inner = set.savepoint(&store.pager);
    assert_eq!(set.stamp(), stamp, "nothing was made between the two");
    let page = store.create(&mut set, 1);
    let name = set.page_ref(page);
    assert!(set.is_private(name));
    let innermost = set.savepoint(&store.pager);
    assert!(!set.is_private(name), "it is sealed");
    assert!(set.page(name).is_some(), "and still in memory");
    set.kill(page, stamp);
    set.release(&store.pager, inner);
    assert!(set.page(name).is_none(), "nothing keeps it any more");
    for over in [inner, innermost] {
        let mut use_it = || set.roll_back_to(&store.pager, over);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut use_it)).is_err());
    }
    set.roll_back_to(&store.pager, outer);
    set.roll_back_to(&store.pager, outer);
    assert!(set.is_empty());
    set.give_up(&store.pager);
    assert_eq!(store.pager.space_use().used, 2);
}

#[test]
fn a_private_page_is_not_one_that_has_only_its_number() {
    let store = Store::new(MIN_FRAMES, 1, None);
    let mut set = store.pager.begin_write_set();
    store.prepare(&mut set, 1).unwrap();
    let birth = set.stamp();
    let page = store.create(&mut set, 1);
    let older = Stamp::from_u64(birth.as_u64() - 1);
    let stranger = PageRef::new(page, older);
    assert!(set.page(stranger).is_none() && !set.is_private(stranger));
    // The tree that refers to it contradicts the space map, which the checkpoint finds out.
    set.kill(page, older);
    assert!(set.page(PageRef::new(page, birth)).is_some());
    let result = store.commit(set);
    assert!(matches!(result, Err(yieldb_pager::Error::Corrupt { .. })), "{result:?}");
    store.settle();
    assert_eq!(store.pager.space_use().used, 2);
}
