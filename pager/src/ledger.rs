//! Which page numbers are used, and by which versions: the space map, the pins, and the newest
//! durable checkpoint, changed together under one lock.

use std::sync::Arc;

use yieldb_core::{Buffer, BufferPool, Completion, is_planted, reached};

use crate::cache::Cache;
use crate::reuse::Reuse;
use crate::space::Space;
use crate::space::map::{MapShape, encode_page};
use crate::superblock::{Superblock, reserved_page_count};
use crate::trees::Trees;
use crate::version::RootSet;
use crate::write_set::WriteSet;
use crate::{Error, PageId, PageRef, PageRun, Result, Stamp, page_format};

/// Which page numbers are used, and by which versions.
#[derive(Debug)]
pub(crate) struct Ledger {
    space: Space,
    reuse: Reuse,
    /// The newest stamp that was given out.
    stamp: Stamp,
    newest: Arc<RootSet>,
    /// The durable checkpoint. Its moment is pinned.
    durable: Superblock,
    /// The slot that was written first when the durable checkpoint was made; the next one begins
    /// with the other.
    slot: usize,
    /// The pages of the durable checkpoint's space map, with their births.
    map: Vec<(PageId, Stamp)>,
    /// Numbers that are free when an I/O on them is finished.
    busy: Vec<(Completion, Vec<PageRun>)>,
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
    /// How many pins there are, that of the durable checkpoint included.
    pub pins: usize,
    /// The oldest moment that is pinned: the newest version's, if nobody holds an older one.
    pub oldest_pin: Stamp,
}

impl Ledger {
    /// The ledger of a file whose durable checkpoint is `durable`.
    pub fn new(durable: Superblock, slot: usize, space: Space, map: &[PageRef]) -> Ledger {
        let mut reuse = Reuse::default();
        reuse.pin(durable.moment);
        let newest = RootSet {
            version: durable.version,
            moment: durable.moment,
            catalogue: durable.catalogue,
            trees: Trees::new(durable.next_tree),
        };
        Ledger {
            space,
            reuse,
            stamp: Stamp::new(durable.session, 0),
            newest: Arc::new(newest),
            // Born before this session: any moment before the durable one will do.
            map: map.iter().map(|page| (page.page(), Stamp::default())).collect(),
            durable,
            slot,
            busy: Vec::new(),
        }
    }

    pub fn newest(&self) -> &Arc<RootSet> {
        &self.newest
    }

    pub fn durable(&self) -> &Superblock {
        &self.durable
    }

    /// Notes what the catalogue of the newest version says.
    pub fn learn_trees(&mut self, trees: Trees) {
        self.newest = Arc::new(RootSet { trees, ..(*self.newest).clone() });
    }

    pub fn pin(&mut self, moment: Stamp) {
        self.reuse.pin(moment);
    }

    pub fn unpin(&mut self, moment: Stamp, cache: &Cache) {
        let mut freed = Vec::new();
        self.reuse.unpin(moment, |run| freed.push(run));
        for run in freed {
            self.free(run, cache);
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
    pub fn next_stamp(&mut self) -> Stamp {
        self.stamp = self.stamp.next();
        self.stamp
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
    /// reads of them that somebody gave up on are finished. Cost: a look into the cache for each.
    pub fn free(&mut self, pages: impl Into<PageRun>, cache: &Cache) {
        let run = pages.into();
        match run.pages().find_map(|page| cache.forget(page)) {
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

    /// Plans a checkpoint of a transaction: gives the version its number and its moment, and the
    /// new space map its pages.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the transaction replaced a page that the file's space map does not
    /// have, or the same one twice: then tree and map contradict each other.
    pub fn plan(&mut self, set: &WriteSet, roots: &RootSet) -> Result<(Plan, Space)> {
        let page_size = self.durable.page_size;
        // What the new version does not reach: it is free in the file, whoever still needs it here.
        let busy = self.busy.iter().flat_map(|(_, runs)| runs).copied();
        let unused = self.reuse.held().chain(busy).chain(set.unused());
        // What the transaction made cannot be what it replaced.
        let mut image = self.space.without(unused.chain(set.made()));
        let old_map = self.map.iter().map(|(page, _)| PageRun::from(*page));
        for run in set.dead().iter().map(|(run, _)| *run).chain(old_map) {
            if !image.is_used(run) {
                let what = "it is replaced, but free in the space map, or replaced twice";
                return Err(Error::Corrupt { page: run.first().as_u64(), what });
            }
            image.free(run);
        }
        for run in set.made() {
            image.mark(run);
        }
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
        let superblock = Superblock {
            checkpoint: self.durable.checkpoint + u64::from(!is_planted!(CheckpointNumberRepeated)),
            version: roots.version + 1,
            moment: set.stamp(),
            catalogue: roots.catalogue,
            next_tree: roots.trees.next_number(),
            space: map.last().map(|root| PageRef::new(*root, set.stamp())),
            space_level: MapShape::of(page_size, image.page_count()).root_level(),
            page_count: image.page_count(),
            ..self.durable.clone()
        };
        Ok((Plan { superblock, first_slot: 1 - self.slot, map }, image))
    }

    /// Undoes a plan of which nothing became durable.
    pub fn abandon(&mut self, plan: Plan, cache: &Cache) {
        for page in plan.map {
            self.free(page, cache);
        }
    }

    /// Makes a plan that is durable the newest version.
    pub fn conclude(
        &mut self,
        plan: Plan,
        roots: RootSet,
        dead: &[(PageRun, Stamp)],
        cache: &Cache,
    ) {
        let death = plan.superblock.moment;
        let before = self.durable.moment;
        let map = plan.map.into_iter().map(|page| (page, death)).collect();
        let old_map = std::mem::replace(&mut self.map, map);
        self.reuse.pin(death);
        let old_map = old_map.into_iter().map(|(page, birth)| (page.into(), birth));
        for (run, birth) in dead.iter().copied().chain(old_map) {
            if self.reuse.retire(run, birth, death) {
                self.free(run, cache);
            }
        }
        self.newest =
            Arc::new(RootSet { version: plan.superblock.version, moment: death, ..roots });
        self.durable = plan.superblock;
        self.slot = plan.first_slot;
        self.unpin(before, cache);
        if self.reuse.held_count() > 0 {
            reached!(HeldForSnapshot);
        }
    }

    /// What is known of the pages in use.
    pub fn space_use(&self) -> SpaceUse {
        let (pages, used) = (self.space.page_count(), self.space.used_count());
        SpaceUse {
            pages,
            used,
            free: pages - used,
            held: self.reuse.held_count(),
            pins: self.reuse.pin_count(),
            oldest_pin: self.reuse.oldest().unwrap_or(self.durable.moment),
        }
    }
}

impl Plan {
    /// Writes the sealed pages of the new space map, `image`, into buffers.
    ///
    /// # Errors
    ///
    /// [`yieldb_core::Error::OutOfMemory`].
    pub fn encode_map(&self, image: &Space) -> Result<Vec<(PageId, Buffer)>> {
        let page_size = self.superblock.page_size;
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
