//! Which page numbers are used, and by which versions: the space map, the pins, and the newest
//! durable checkpoint, changed together under one lock.
//!
//! ```text
//!    durable checkpoint      acknowledged              applied
//!   ------ base ------------- version - version - version ----> time
//!           readers of today get this one ^          ^ the writer goes on from this one
//! ```
//!
//! All of them are pinned, and so is a version that a checkpoint is being made of.

mod compaction;
mod held_map;

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;
use yieldb_core::{Buffer, BufferPool, Completion, is_planted, reached, session_moments};

pub use self::held_map::HeldMap;
use crate::cache::Cache;
use crate::dirty::Dirty;
use crate::newest::Newest;
use crate::ops::checkpoint::Ticket;
use crate::reuse::{Fate, Holder, Reuse};
use crate::space::Space;
use crate::space::map::{MapShape, encode_page};
use crate::superblock::{LogUse, Superblock, reserved_page_count};
use crate::trees::Trees;
use crate::version::{RootSet, let_go};
use crate::write_set::WriteSet;
use crate::writer_queue::WriterTurn;
use crate::{Error, PageId, PageRef, PageRun, Result, Stamp, page_format};

/// How much only checkpoints may have in any case, in bytes: a checkpoint costs a few syncs,
/// however little there is.
const LEAST_OLD_LEN: u64 = 16 << 20;

/// How many pages a file should have beside the `live` ones of its newest version. They are for
/// those that only checkpoints have; and the more of them are free, the more neighbours are written
/// together.
fn spare(live: u64) -> u64 {
    live * 2 / 3
}

/// Which page numbers are used, and by which versions.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The numbers that are used, by whatever.
    space: Space,
    /// Those that the newest applied version uses: what a checkpoint of it has.
    image: Space,
    reuse: Reuse,
    /// The newest stamp that was given out.
    stamp: Stamp,
    /// The last session that stamps may be of: what either slot says, so that no later process
    /// takes it for its own.
    claimed: u32,
    /// The newest acknowledged version, and behind it those that are applied and not acknowledged.
    /// Each has a pin, until nobody holds it any more.
    versions: VecDeque<Arc<RootSet>>,
    /// The first of them again, for those who begin to read.
    newest: Arc<Newest>,
    /// The durable checkpoint. Its moment is pinned.
    durable: Superblock,
    /// The moment of the version that a checkpoint is being made of. It is pinned.
    planned: Option<Stamp>,
    /// The slot that was written first when the durable checkpoint was made; the next one begins
    /// with the other.
    slot: usize,
    /// The pages of the durable checkpoint's space map. Nothing else refers to them.
    map: Vec<PageId>,
    /// Each is finished when somebody who looks at that map lets it go.
    map_holders: Vec<Completion>,
    /// Numbers that are free when an I/O on them is finished.
    busy: Vec<(Completion, Vec<PageRun>)>,
    /// The published pages that only memory has.
    dirty: Dirty,
    /// The versions that are acknowledged as soon as those before them are, the oldest first.
    relaxed: VecDeque<u64>,
    /// Who waits until a version is acknowledged, and not until it is durable: with a relaxed
    /// commit, or with none of his own.
    awaiting: Vec<(u64, Arc<Ticket>)>,
    /// The newest applied version's pages, until the cache has them.
    settling: Option<Settling>,
    /// How many pages the file may have that are behind the last one in use, with those in front:
    /// cutting it failed.
    uncut: u64,
    /// Finished when he is done who makes the file shorter, if anybody does.
    compaction: Option<Completion>,
    /// Behind how many pages he wants new ones, as far in front as can be.
    floor: u64,
}

/// A transaction that was applied, and whose pages the cache does not have yet: its turn is not
/// over.
#[derive(Debug)]
pub(crate) struct Settling {
    pub set: WriteSet,
    /// The pages that wait to be written.
    pub pages: Vec<PageId>,
    pub turn: WriterTurn,
}

/// What a checkpoint is going to write.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What both slots will say.
    pub superblock: Superblock,
    /// The slot that is written first: the one that is not the newer one now.
    pub first_slot: usize,
    /// The pages of the new space map.
    pub map: Vec<PageId>,
    /// What it says.
    image: Space,
}

/// What is known of the pages in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceUse {
    /// How many pages the file has, used or not.
    pub pages: u64,
    /// How many are used: by the newest version, by older ones that are pinned, or by the
    /// transaction under way.
    pub used: u64,
    /// How many are not used.
    pub free: u64,
    /// How many of the used ones only pinned older versions use: what their end would free.
    pub held: u64,
    /// How many of the used ones hold the newest checkpoint's space map.
    pub map: u64,
    /// How many versions are held: those that there are snapshots of, and the durable checkpoint.
    pub pins: usize,
    /// The oldest moment that is pinned: the newest version's, if nobody holds an older one.
    pub oldest_pin: Stamp,
}

impl Ledger {
    /// The ledger of a file whose durable checkpoint is `durable`, for a session that nothing in
    /// the file is of.
    pub fn new(
        durable: Superblock,
        session: u32,
        slot: usize,
        space: Space,
        map: &[PageRef],
    ) -> Ledger {
        let mut reuse = Reuse::default();
        // Once as the durable checkpoint, once as the newest version.
        reuse.pin(durable.moment, Holder::Checkpoint);
        reuse.pin(durable.moment, Holder::Readers);
        let map: Vec<PageId> = map.iter().map(|page| page.page()).collect();
        let image = space.without(map.iter().map(|page| PageRun::from(*page)));
        let newest = Arc::new(RootSet {
            version: durable.version,
            moment: durable.moment,
            catalogue: durable.catalogue,
            trees: Trees::new(durable.next_tree),
        });
        Ledger {
            space,
            image,
            reuse,
            stamp: Stamp::new(session, 0),
            claimed: session,
            newest: Arc::new(Newest::new(newest.clone())),
            versions: VecDeque::from([newest]),
            map,
            map_holders: Vec::new(),
            durable,
            planned: None,
            slot,
            busy: Vec::new(),
            dirty: Dirty::default(),
            relaxed: VecDeque::new(),
            awaiting: Vec::new(),
            settling: None,
            uncut: 0,
            compaction: None,
            floor: 0,
        }
    }

    /// The newest acknowledged version: what readers get.
    pub fn newest(&self) -> &Arc<RootSet> {
        self.versions.front().expect("there is a version")
    }

    /// Where readers find it.
    pub fn newest_for_readers(&self) -> &Arc<Newest> {
        &self.newest
    }

    /// The newest version that was applied: what the writer goes on from.
    pub fn applied(&self) -> &Arc<RootSet> {
        self.versions.back().expect("there is a version")
    }

    pub fn durable(&self) -> &Superblock {
        &self.durable
    }

    /// The published pages that only memory has.
    pub fn dirty(&mut self) -> &mut Dirty {
        &mut self.dirty
    }

    /// Notes what the catalogue of the only version says.
    pub fn learn_trees(&mut self, trees: Trees) {
        assert_eq!(self.versions.len(), 1, "trees are learned before anything is committed");
        let learned = Arc::new(RootSet { trees, ..(**self.newest()).clone() });
        // The pin is the new one's from now on.
        self.newest.replace(learned.clone());
        self.versions = VecDeque::from([learned]);
    }

    /// Ends the pin of a version that nobody holds any more.
    pub fn unpin(&mut self, moment: Stamp, cache: &Cache) {
        self.unpin_for(moment, Holder::Readers, cache);
    }

    fn unpin_for(&mut self, moment: Stamp, holder: Holder, cache: &Cache) {
        let mut changed = SmallVec::<[(PageRun, Fate); 8]>::new();
        self.reuse.unpin(moment, holder, |run, fate| changed.push((run, fate)));
        for (run, fate) in changed {
            self.meet(run, fate, cache);
        }
    }

    /// Does what the fate of a dead run asks for.
    fn meet(&mut self, run: PageRun, fate: Fate, cache: &Cache) {
        match fate {
            Fate::Held => {}
            Fate::Unread => run.pages().for_each(|page| cache.drop_clean(page)),
            Fate::Free => self.free(run, cache),
        }
    }

    /// A stamp that no page has, for a transaction that begins.
    pub fn first_stamp(&mut self) -> Stamp {
        if is_planted!(StampRepeated) && self.durable.moment.session() == self.stamp.session() {
            self.stamp = self.durable.moment;
        }
        self.next_stamp()
    }

    /// A stamp that no page has.
    ///
    /// # Panics
    ///
    /// If a single transaction, or thousands of millions of them that all come to nothing, use up
    /// what is left of a session before a checkpoint has claimed the next one.
    pub fn next_stamp(&mut self) -> Stamp {
        let next = self.stamp.next();
        assert!(next.session() <= self.claimed, "the next session is not claimed yet");
        if next.session() > self.stamp.session() {
            reached!(SessionContinued);
        }
        self.stamp = next;
        next
    }

    /// How many moments of the last session that is claimed are over; and how many that may be
    /// before commits wait for checkpoints. When it is half of that, checkpoints claim another one.
    pub fn spent_and_most(&self) -> (u64, u64) {
        let is_last = self.stamp.session() == self.claimed;
        let spent = if is_last { self.stamp.counter() } else { 0 };
        (spent.into(), u64::from(session_moments!()) / 2)
    }

    /// Is it time to claim another session?
    pub fn is_session_short(&self) -> bool {
        let (spent, most) = self.spent_and_most();
        spent >= most / 2
    }

    pub fn allocate(&mut self) -> PageId {
        let end = self.space.page_count();
        let page = self.space.allocate();
        if page.as_u64() < end {
            reached!(NumberReused);
        }
        page
    }

    /// Numbers for a run, the lowest that are free.
    pub fn allocate_run(&mut self, count: u64) -> PageRun {
        let end = self.space.page_count();
        let run = self.space.allocate_run(count);
        reached!(RunTaken);
        if run.first().as_u64() < end {
            reached!(RunReused);
        }
        run
    }

    /// Frees the number of a page, or those of a run, that nothing refers to: at once, or when the
    /// reads of them that somebody gave up on, or a checkpoint's writes, are finished. Cost: a look
    /// into the cache for each.
    pub fn free(&mut self, pages: impl Into<PageRun>, cache: &Cache) {
        let run = pages.into();
        let forget = |page| self.dirty.forget(page).or_else(|| cache.forget(page));
        match run.pages().find_map(forget) {
            None => self.space.free(run),
            Some(read) => self.free_after(read, vec![run]),
        }
    }

    /// Frees numbers that nothing refers to once `io`, which works on them, is finished.
    pub fn free_after(&mut self, io: Completion, runs: Vec<PageRun>) {
        reached!(NumberAwaitedIo);
        self.busy.push((io, runs));
    }

    /// Frees the numbers whose I/O is finished by now.
    pub fn settle(&mut self, cache: &Cache) {
        let over = self.busy.extract_if(.., |(io, _)| is_over(io));
        let over: Vec<(Completion, Vec<PageRun>)> = over.collect();
        for run in over.into_iter().flat_map(|(_, runs)| runs) {
            self.free(run, cache);
        }
    }

    /// Plans a checkpoint of a transaction that is not applied: gives the version its number and
    /// its moment, and the new space map its pages.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the transaction replaced a page that the file's space map does not
    /// have, or the same one twice: then tree and map contradict each other.
    pub fn plan(&mut self, set: &WriteSet, roots: &RootSet, log: Option<LogUse>) -> Result<Plan> {
        let mut image = self.image.clone();
        change_image(&mut image, set)?;
        Ok(self.plan_version(roots.successor(set.stamp()), image, log))
    }

    /// Plans a checkpoint of the newest version that was applied. Its moment is pinned from now on.
    pub fn plan_applied(&mut self, log: Option<LogUse>) -> Plan {
        let version = (**self.applied()).clone();
        self.reuse.pin(version.moment, Holder::Checkpoint);
        self.planned = Some(version.moment);
        let image = self.image.clone();
        self.plan_version(version, image, log)
    }

    /// Plans a checkpoint of a version whose pages are those of `image`.
    fn plan_version(&mut self, version: RootSet, mut image: Space, log: Option<LogUse>) -> Plan {
        let page_size = self.durable.page_size;
        self.begin_stretch();
        image.trim();
        let mut map = Vec::new();
        // A page of the map may be the one that makes the map longer.
        while (map.len() as u64) < MapShape::of(page_size, image.page_count()).page_count() {
            let page = self.space.allocate();
            image.mark(page);
            map.push(page);
        }
        if map.len() > 1 {
            reached!(MapOfSeveralPages);
        }
        if image.page_count() < self.durable.page_count {
            reached!(FileShrank);
        }
        let moment = version.moment;
        // One after the other: only the first slot may say it as yet.
        let is_claiming = self.is_session_short() && self.durable.session == self.claimed;
        let superblock = Superblock {
            checkpoint: self.durable.checkpoint + u64::from(!is_planted!(CheckpointNumberRepeated)),
            version: version.version,
            moment,
            session: self.durable.session + u32::from(is_claiming),
            catalogue: version.catalogue,
            next_tree: version.trees.next_number(),
            space: map.last().map(|root| PageRef::new(*root, moment)),
            space_level: MapShape::of(page_size, image.page_count()).root_level(),
            page_count: image.page_count(),
            log,
            ..self.durable.clone()
        };
        Plan { superblock, first_slot: 1 - self.slot, map, image }
    }

    /// Undoes a plan of which nothing became durable. The numbers of its map are free when what was
    /// begun to be written is over.
    pub fn abandon(&mut self, plan: Plan, writes: Option<Completion>, cache: &Cache) {
        let writes = writes.filter(|_| !is_planted!(AbandonedMapNotAwaited));
        self.free_map(plan.map, writes, cache);
        if let Some(moment) = self.planned.take() {
            self.unpin_for(moment, Holder::Checkpoint, cache);
        }
    }

    /// Makes a plan the durable checkpoint.
    pub fn conclude(&mut self, plan: Plan, cache: &Cache) {
        let before = self.durable.moment;
        if self.planned.take().is_none() {
            self.reuse.pin(plan.superblock.moment, Holder::Checkpoint);
        }
        self.replace_map(plan.map, cache);
        if plan.first_slot != self.slot {
            // The other slot says what was durable before. Else that one was damaged, and what the
            // other says is older.
            self.claimed = self.durable.session;
        }
        self.durable = plan.superblock;
        self.slot = plan.first_slot;
        self.unpin_for(before, Holder::Checkpoint, cache);
        if self.reuse.held_count() > 0 {
            reached!(HeldForSnapshot);
        }
    }

    /// Makes a version of a transaction's trees, which the writer goes on from. What it has
    /// replaced is free when nobody can see it any more.
    ///
    /// # Errors
    ///
    /// As [`Ledger::plan`]; then nothing has changed.
    pub fn apply(&mut self, set: &WriteSet, roots: RootSet, cache: &Cache) -> Result<()> {
        change_image(&mut self.image, set)?;
        let death = set.stamp();
        self.reuse.pin(death, Holder::Readers);
        for (run, birth) in set.dead().iter().copied() {
            // With the mistake: where nobody but applied versions has it pinned.
            let is_free = is_planted!(ReusedWhenApplied)
                && birth > self.durable.moment
                && self.reuse.pin_count() == self.versions.len() + 2;
            let fate = if is_free { Fate::Free } else { self.reuse.retire(run, birth, death) };
            self.meet(run, fate, cache);
        }
        self.versions.push_back(Arc::new(roots.successor(death)));
        Ok(())
    }

    /// Notes that the cache does not have the pages of the newest applied version yet.
    pub fn begin_settling(&mut self, settling: Settling) {
        let before = self.settling.replace(settling);
        assert!(before.is_none(), "the next writer's turn comes behind it");
    }

    pub fn take_settling(&mut self) -> Option<Settling> {
        self.settling.take()
    }

    /// Does the cache not have the pages of the newest applied version yet?
    pub fn is_settling(&self) -> bool {
        self.settling.is_some()
    }

    /// A ticket that ends when `version`, which was applied, is acknowledged; `None` if it is.
    pub fn await_version(&mut self, version: u64) -> Option<Arc<Ticket>> {
        if version <= self.newest().version {
            return None;
        }
        let ticket = Arc::new(Ticket::default());
        self.awaiting.push((version, ticket.clone()));
        Some(ticket)
    }

    /// Takes the tickets that end: those of acknowledged versions, or all of them.
    pub fn take_awaiting(&mut self, all: bool) -> Vec<(u64, Arc<Ticket>)> {
        let newest = self.newest().version;
        self.awaiting.extract_if(.., |(version, _)| all || *version <= newest).collect()
    }

    /// Acknowledges a version that was applied as soon as those before it are, which may be now;
    /// the ticket ends then.
    pub fn acknowledge_in_turn(&mut self, version: u64, ticket: Arc<Ticket>, cache: &Cache) {
        self.relaxed.push_back(version);
        self.awaiting.push((version, ticket));
        self.acknowledge(self.newest().version, cache);
        if self.newest().version < version {
            reached!(RelaxedWaited);
        }
    }

    /// Makes an applied version the one that readers get, or one behind it that waited for that.
    pub fn acknowledge(&mut self, version: u64, cache: &Cache) {
        let mut version = version.max(self.newest().version);
        while let Some(next) = self.relaxed.pop_front_if(|next| *next <= version + 1) {
            version = version.max(next);
        }
        let mut before = SmallVec::<[Arc<RootSet>; 2]>::new();
        while self.newest().version < version && self.versions.len() > 1 {
            before.extend(self.versions.pop_front());
        }
        if before.is_empty() {
            return;
        }
        self.newest.replace(self.newest().clone());
        for roots in before.into_iter().filter_map(let_go) {
            self.unpin(roots.moment, cache);
        }
    }

    /// How many pages only the durable checkpoint has, and the one under way; and how many that may
    /// be before commits wait for a checkpoint, as far as the file's length goes.
    pub fn old_and_most(&self) -> (u64, u64) {
        let checkpoints = [Some(self.durable.moment), self.planned];
        let old = checkpoints.iter().flatten().map(|moment| self.reuse.held_by(*moment)).sum();
        (old, spare(self.live()).max(LEAST_OLD_LEN / self.durable.page_size.bytes() as u64))
    }

    /// How many pages the newest version has.
    fn live(&self) -> u64 {
        self.space.used_count().saturating_sub(self.reuse.held_count())
    }

    /// What is known of the pages in use.
    pub fn space_use(&self) -> SpaceUse {
        let (pages, used) = (self.space.page_count(), self.space.used_count());
        SpaceUse {
            pages,
            used,
            free: pages - used,
            held: self.reuse.held_count(),
            map: self.map.len() as u64,
            pins: self.reuse.pin_count() - self.versions.len() + usize::from(self.newest.is_read()),
            oldest_pin: self.reuse.oldest().unwrap_or(self.durable.moment),
        }
    }
}

impl Plan {
    /// Writes the sealed pages of the new space map into buffers.
    ///
    /// # Errors
    ///
    /// [`yieldb_core::Error::OutOfMemory`].
    pub fn encode_map(&self) -> Result<Vec<(PageId, Buffer)>> {
        let (page_size, image) = (self.superblock.page_size, &self.image);
        let stamp = self.superblock.moment;
        let shape = MapShape::of(page_size, image.page_count());
        let names: Vec<PageRef> = self.map.iter().map(|page| PageRef::new(*page, stamp)).collect();
        let pool = BufferPool::new(self.map.len() as u32, page_size.bytes())?;
        let pages = self.map.iter().enumerate().map(|(at, id)| {
            let mut buffer = pool.take().expect("the pool has a buffer for each page");
            encode_page(image, shape, &names, at, &mut buffer);
            page_format::seal(&mut buffer, *id, stamp);
            (*id, buffer)
        });
        Ok(pages.collect())
    }
}

/// Takes what a transaction has replaced out of the image of the version that it began on, and puts
/// what it has made into it.
///
/// # Errors
///
/// [`Error::Corrupt`], see [`Ledger::plan`]; then the image is as it was.
fn change_image(image: &mut Space, set: &WriteSet) -> Result<()> {
    let dead = || set.dead().iter().map(|(run, _)| *run);
    for (index, run) in dead().enumerate() {
        if !image.is_used(run) {
            for freed in dead().take(index) {
                image.mark(freed);
            }
            let what = "it is replaced, but free in the space map, or replaced twice";
            return Err(Error::Corrupt { page: run.first().as_u64(), what });
        }
        image.free(run);
    }
    for run in set.made() {
        image.mark(run);
    }
    Ok(())
}

/// Does an I/O work on its pages no longer? An explicit yield stands for a read that is finished
/// but for its last lines: it is time to look again.
fn is_over(io: &Completion) -> bool {
    io.finished() || io.is_explicit_yield()
}

/// The space map of a file that has nothing but its superblock.
pub(crate) fn empty_space(superblock: &Superblock) -> Space {
    Space::new(reserved_page_count(superblock.page_size))
}

#[cfg(test)]
mod tests {
    use yieldb_core::Request;

    use super::*;

    #[test]
    fn numbers_wait_for_an_io_and_not_for_what_never_ends() {
        let io = Completion::signal();
        assert!(!is_over(&io));
        io.succeed(0);
        assert!(is_over(&io));
        assert!(is_over(&Completion::new_yield()));
    }
}
