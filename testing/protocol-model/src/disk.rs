//! The disk: what is durable, what is only visible, what is in flight, and what crashes make of it.

use crate::format::{Block, Group, Page, Slot};

/// What one place of a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place<C> {
    pub durable: C,
    /// What was written since, and is not known to be durable; the last of it is visible.
    pub newer: Vec<Cached<C>>,
}

/// A write that finished, and is in the operating system's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cached<C> {
    pub content: C,
    fate: Fate,
}

/// What the next sync does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fate {
    /// One that is submitted from now on makes it durable.
    Dirty,
    /// The one in flight makes it durable: it had finished before that was submitted.
    Covered,
    /// A sync of it has failed: the system takes it for clean, and no sync makes it durable.
    GivenUp,
}

/// What can be torn.
pub(crate) trait Content: Copy + Eq {
    /// Mixtures of some contents that are none of them.
    fn mixtures(of: &[Self]) -> Vec<Self>;
}

impl Content for Page {
    fn mixtures(of: &[Page]) -> Vec<Page> {
        if of.len() > 1 { vec![Page::Torn] } else { Vec::new() }
    }
}

impl Content for Slot {
    fn mixtures(of: &[Slot]) -> Vec<Slot> {
        if of.len() > 1 { vec![Slot::Bad] } else { Vec::new() }
    }
}

/// The directory's entry of the log: the id of the file that it leads to.
impl Content for Option<u8> {
    fn mixtures(_: &[Option<u8>]) -> Vec<Option<u8>> {
        Vec::new()
    }
}

/// How many blocks the log has: what makes a file longer may have come so far, or less.
impl Content for u8 {
    fn mixtures(of: &[u8]) -> Vec<u8> {
        let (Some(least), Some(most)) = (of.iter().min(), of.iter().max()) else {
            return Vec::new();
        };
        (*least..*most).filter(|between| !of.contains(between)).collect()
    }
}

impl Content for Block {
    fn mixtures(of: &[Block]) -> Vec<Block> {
        let pairs = of.iter().flat_map(|one| of.iter().map(move |other| [one[0], other[1]]));
        let mut mixtures: Vec<Block> = pairs.filter(|mixture| !of.contains(mixture)).collect();
        mixtures.sort_unstable();
        mixtures.dedup();
        mixtures
    }
}

impl<C: Content> Place<C> {
    pub fn new(durable: C) -> Place<C> {
        Place { durable, newer: Vec::new() }
    }

    pub fn visible(&self) -> C {
        self.newer.last().map_or(self.durable, |cached| cached.content)
    }

    /// Everything that may be there after a power cut, mixtures aside.
    pub fn contents(&self) -> impl Iterator<Item = C> {
        [self.durable].into_iter().chain(self.newer.iter().map(|cached| cached.content))
    }

    fn write(&mut self, content: C, fate: Fate) {
        let written = Cached { content, fate };
        let is_there = match self.newer.last() {
            Some(last) => *last == written,
            None => self.durable == content,
        };
        if !is_there {
            self.newer.push(written);
        }
    }

    fn write_durably(&mut self, content: C) {
        *self = Place::new(content);
    }

    fn submit_sync(&mut self) {
        for cached in self.newer.iter_mut().filter(|cached| cached.fate == Fate::Dirty) {
            cached.fate = Fate::Covered;
        }
    }

    fn finish_sync(&mut self) {
        if let Some(last) = self.newer.iter().rposition(|cached| cached.fate == Fate::Covered) {
            self.durable = self.newer[last].content;
            self.newer.drain(..=last);
        }
    }

    /// The process is gone; of its writes in flight each may have happened, also in part.
    fn after_kill(&self, in_flight: &[C], fate: Fate) -> Vec<Place<C>> {
        let mut base = self.clone();
        for cached in &mut base.newer {
            cached.fate = if cached.fate == Fate::GivenUp { Fate::GivenUp } else { fate };
        }
        let mut places = vec![base];
        for content in in_flight {
            for index in 0..places.len() {
                let before = places[index].visible();
                if before == *content {
                    continue;
                }
                for result in [*content].into_iter().chain(C::mixtures(&[before, *content])) {
                    let mut place = places[index].clone();
                    place.write(result, fate);
                    places.push(place);
                }
            }
        }
        places
    }

    /// The power was cut: any of what was not durable may be there, also in part.
    fn after_power_cut(&self, in_flight: &[C]) -> Vec<Place<C>> {
        let mut contents: Vec<C> = Vec::new();
        for content in self.contents().chain(in_flight.iter().copied()) {
            if !contents.contains(&content) {
                contents.push(content);
            }
        }
        let mixtures = C::mixtures(&contents);
        contents.into_iter().chain(mixtures).map(Place::new).collect()
    }

    fn after(&self, in_flight: &[C], crash: Crash) -> Vec<Place<C>> {
        match crash {
            Crash::Kill => self.after_kill(in_flight, Fate::Dirty),
            Crash::SyncFailure => self.after_kill(in_flight, Fate::GivenUp),
            Crash::PowerCut => self.after_power_cut(in_flight),
        }
    }
}

/// A write in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Write {
    /// Of a page. It is not durable when it finishes.
    Page(u8, Page),
    /// Of a slot, durably.
    Slot(u8, Slot),
    /// Of a group of the log into a block, durably: "one composite append-and-sync operation".
    Group(u8, Group),
    /// Of zeros behind the log's end, up to so many blocks. They are not durable when it finishes.
    Growth(u8),
    /// Of the log's last block as it is, durably: the file has so many.
    LogEnd(u8),
    /// The log's file is made, filled with zeros, or removed; that, and its entry, are durable when
    /// it finishes.
    Log(Option<u8>),
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Crash {
    /// What was written stays visible, and is not durable.
    Kill,
    /// As with a kill, and what was not durable never will be unless it is written again: a sync
    /// has failed and the database is poisoned.
    SyncFailure,
    PowerCut,
}

/// The data file, with its pages and slots, and the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    pub pages: Vec<Place<Page>>,
    pub slots: [Place<Slot>; 2],
    /// The log's ring, as far as it may ever go.
    pub blocks: Vec<Place<Block>>,
    /// How many blocks the log's file has.
    pub log_len: Place<u8>,
    /// How many it has when it is made.
    pub first_len: u8,
    /// Which file is the log.
    pub log: Place<Option<u8>>,
    /// Writes in flight, which finish in any order. Sorted: the order of submission is nothing.
    pub in_flight: Vec<Write>,
    /// Is a sync in flight, of the data file, or of both?
    pub is_syncing: bool,
    /// Is one of the log alone?
    pub is_log_syncing: bool,
    /// Is it going to fail, with the error of a group's write?
    pub has_stolen_error: bool,
}

impl Disk {
    /// The blocks of the log, as far as its file goes.
    pub fn ring(&self) -> &[Place<Block>] {
        &self.blocks[..usize::from(self.log_len.visible())]
    }

    pub fn submit(&mut self, write: Write) {
        let at = self.in_flight.partition_point(|other| *other < write);
        self.in_flight.insert(at, write);
    }

    /// Data moves when a write finishes.
    pub fn finish(&mut self, write: Write) {
        let at = self.in_flight.iter().position(|other| *other == write);
        self.in_flight.remove(at.expect("what finishes is in flight"));
        match write {
            Write::Page(page, content) => {
                self.pages[usize::from(page)].write(content, Fate::Dirty);
            }
            Write::Slot(slot, content) => self.slots[usize::from(slot)].write_durably(content),
            Write::Group(offset, group) => {
                self.blocks[usize::from(offset)].write_durably([Some(group); 2]);
                // That the file reaches so far is durable as well.
                self.log_len.durable = self.log_len.durable.max(offset + 1);
            }
            Write::Growth(len) => self.log_len.write(len, Fate::Dirty),
            Write::LogEnd(len) => self.log_len.write_durably(len),
            Write::Log(id) => {
                self.log.write_durably(id);
                self.log_len.write_durably(self.first_len);
                self.blocks.fill(Place::new([None; 2]));
            }
        }
    }

    /// A write of a group finishes, and is not durable: of the two syncs that are in flight, the
    /// operating system tells the error to the other one.
    pub fn finish_without_error(&mut self, offset: u8, group: Group) {
        let write = Write::Group(offset, group);
        let at = self.in_flight.iter().position(|other| *other == write);
        self.in_flight.remove(at.expect("what finishes is in flight"));
        self.blocks[usize::from(offset)].write([Some(group); 2], Fate::GivenUp);
        self.has_stolen_error = true;
    }

    pub fn is_writing_page(&self, page: u8) -> bool {
        self.in_flight.iter().any(|write| matches!(write, Write::Page(own, _) if *own == page))
    }

    /// "A sync makes durable only what had finished before it was submitted."
    pub fn submit_sync(&mut self) {
        assert!(!self.is_syncing, "one sync of the data file at a time");
        self.is_syncing = true;
        self.pages.iter_mut().for_each(Place::submit_sync);
        self.slots.iter_mut().for_each(Place::submit_sync);
    }

    pub fn finish_sync(&mut self) {
        self.is_syncing = false;
        self.pages.iter_mut().for_each(Place::finish_sync);
        self.slots.iter_mut().for_each(Place::finish_sync);
        self.finish_log_sync();
    }

    /// As [`Disk::submit_sync`], of both files.
    pub fn submit_sync_of_both(&mut self) {
        self.submit_sync();
        self.submit_log_sync();
        self.is_log_syncing = false;
    }

    /// As [`Disk::submit_sync`], of the log.
    pub fn submit_log_sync(&mut self) {
        self.is_log_syncing = true;
        self.blocks.iter_mut().for_each(Place::submit_sync);
        self.log_len.submit_sync();
    }

    pub fn finish_log_sync(&mut self) {
        self.is_log_syncing = false;
        self.blocks.iter_mut().for_each(Place::finish_sync);
        self.log_len.finish_sync();
    }

    /// Every disk that a crash may leave.
    pub fn after(&self, crash: Crash) -> Vec<Disk> {
        let settled = Disk {
            in_flight: Vec::new(),
            is_syncing: false,
            is_log_syncing: false,
            has_stolen_error: false,
            ..self.clone()
        };
        let mut disks = vec![settled];
        let lengths = self.writes(|write| match write {
            Write::Growth(len) | Write::LogEnd(len) => Some(len),
            _ => None,
        });
        let results = self.log_len.after(&lengths, crash);
        disks = spread(disks, &results, |disk, place| disk.log_len = place);
        let entries = self.writes(|write| match write {
            Write::Log(id) => Some(id),
            _ => None,
        });
        let results = self.log.after(&entries, crash);
        disks = spread(disks, &results, |disk, place| disk.log = place);
        for index in 0..self.pages.len() {
            let writes = self.writes(|write| match write {
                Write::Page(page, content) if usize::from(page) == index => Some(content),
                _ => None,
            });
            let results = self.pages[index].after(&writes, crash);
            disks = spread(disks, &results, |disk, place| disk.pages[index] = place);
        }
        for index in 0..self.slots.len() {
            let writes = self.writes(|write| match write {
                Write::Slot(slot, content) if usize::from(slot) == index => Some(content),
                _ => None,
            });
            let results = self.slots[index].after(&writes, crash);
            disks = spread(disks, &results, |disk, place| disk.slots[index] = place);
        }
        for index in 0..self.blocks.len() {
            let writes = self.writes(|write| match write {
                Write::Group(offset, group) if usize::from(offset) == index => {
                    Some([Some(group); 2])
                }
                _ => None,
            });
            let results = self.blocks[index].after(&writes, crash);
            disks = spread(disks, &results, |disk, place| disk.blocks[index] = place);
        }
        disks.iter_mut().for_each(Disk::cut_log);
        disks
    }

    /// What was written behind the end that the log's file has is not there.
    fn cut_log(&mut self) {
        let len = usize::from(self.log_len.visible());
        self.blocks[len..].fill(Place::new([None; 2]));
    }

    fn writes<C>(&self, content: impl Fn(Write) -> Option<C>) -> Vec<C> {
        self.in_flight.iter().filter_map(|write| content(*write)).collect()
    }

    /// Forgets what is in pages that nothing on the disk refers to.
    ///
    /// After a crash, no process remembers them, so nobody reads them before they are written anew:
    /// disks that differ in them alone are alike.
    pub fn forget_garbage(&mut self) {
        let mut is_used = vec![false; self.pages.len()];
        let mut mark = |page: u8| is_used[usize::from(page)] = true;
        for slot in self.slots.iter().flat_map(Place::contents) {
            if let Slot::Good(superblock) = slot {
                superblock.version.pages().for_each(|(page, _)| mark(page));
            }
        }
        for group in self.blocks.iter().flat_map(Place::contents).flatten().flatten() {
            if let Some(run) = group.run {
                mark(run.page);
            }
        }
        for (page, is_used) in self.pages.iter_mut().zip(is_used) {
            if !is_used {
                *page = Place::new(Page::Zero);
            }
        }
    }
}

/// Each disk with each result at one place.
fn spread<C: Content>(
    disks: Vec<Disk>,
    results: &[Place<C>],
    put: impl Fn(&mut Disk, Place<C>),
) -> Vec<Disk> {
    let mut spread = Vec::with_capacity(disks.len() * results.len());
    for disk in disks {
        for result in results {
            let mut disk = disk.clone();
            put(&mut disk, result.clone());
            spread.push(disk);
        }
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Bounds;
    use crate::format::{History, Stamp, group_in};
    use crate::state::State;

    fn value(counter: u8) -> Page {
        Page::Run { stamp: Stamp { session: 9, counter } }
    }

    fn disk() -> Disk {
        State::first(Bounds { pages: 2, blocks: 2, ..Bounds::default() }).disk
    }

    /// What page 1 may hold after a crash, and what of that is durable.
    fn pages(disk: &Disk, crash: Crash) -> Vec<(Page, Page)> {
        let after = disk.after(crash);
        after.iter().map(|disk| (disk.pages[1].visible(), disk.pages[1].durable)).collect()
    }

    #[test]
    fn a_sync_covers_what_had_finished_before_it() {
        let mut disk = disk();
        for counter in [1, 2] {
            disk.submit(Write::Page(1, value(counter)));
        }
        disk.finish(Write::Page(1, value(1)));
        disk.submit_sync();
        disk.finish(Write::Page(1, value(2)));
        assert_eq!(disk.pages[1].durable, Page::Zero);
        disk.finish_sync();
        assert_eq!((disk.pages[1].durable, disk.pages[1].visible()), (value(1), value(2)));
    }

    #[test]
    fn a_crash_leaves_a_write_whole_in_part_or_not_at_all() {
        let mut disk = disk();
        disk.submit(Write::Page(1, value(1)));
        let (none, whole, torn) = (Page::Zero, value(1), Page::Torn);
        let killed = [(none, none), (whole, none), (torn, none)];
        assert_eq!(pages(&disk, Crash::Kill), killed);
        assert_eq!(pages(&disk, Crash::PowerCut), [(none, none), (whole, whole), (torn, torn)]);
        disk.finish(Write::Page(1, value(1)));
        assert_eq!(pages(&disk, Crash::Kill), [(whole, none)]);
        assert_eq!(pages(&disk, Crash::PowerCut).len(), 3, "it is not durable");
        disk.submit_sync();
        disk.finish_sync();
        assert_eq!(pages(&disk, Crash::PowerCut), [(whole, whole)]);
    }

    #[test]
    fn no_sync_makes_durable_what_one_has_failed_for() {
        let mut disk = disk();
        disk.submit(Write::Page(1, value(1)));
        disk.finish(Write::Page(1, value(1)));
        for (crash, durable) in [(Crash::Kill, value(1)), (Crash::SyncFailure, Page::Zero)] {
            let mut after = disk.after(crash).remove(0);
            after.submit_sync();
            after.finish_sync();
            assert_eq!((after.pages[1].visible(), after.pages[1].durable), (value(1), durable));
        }
    }

    #[test]
    fn groups_are_torn_between_their_sectors() {
        let mut disk = disk();
        let group = Group {
            position: 1,
            session: 1,
            commits: History::default(),
            first_version: 1,
            edits: 0,
            run: None,
            names: 1,
            known: 0,
            is_wrap: false,
            rotten: false,
        };
        disk.submit(Write::Group(1, group));
        let after = disk.after(Crash::PowerCut);
        assert_eq!(after.len(), 4);
        let whole = after.iter().filter(|disk| group_in(&disk.blocks[1].durable) == Some(group));
        assert_eq!(whole.count(), 1);
    }
}
