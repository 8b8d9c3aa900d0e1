//! The durable checkpoint's space map, as long as somebody looks at it.

use yieldb_core::{Completion, CompletionGroup, Request};

use super::Ledger;
use crate::cache::Cache;
use crate::superblock::Superblock;
use crate::{PageId, PageRun};

/// Holds on to the space map of a durable checkpoint: none of its pages' numbers is used again as
/// long as this exists.
///
/// A version does not have the map: the next checkpoint, even one of the same version, writes
/// another one.
#[derive(Debug)]
pub struct HeldMap {
    superblock: Superblock,
    let_go: Completion,
}

impl HeldMap {
    /// What says where the map is: the checkpoint's superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }
}

impl Drop for HeldMap {
    fn drop(&mut self) {
        self.let_go.succeed(0);
    }
}

impl Ledger {
    /// Holds on to the durable checkpoint's space map.
    pub fn hold_map(&mut self) -> HeldMap {
        let let_go = Completion::signal();
        self.map_holders.retain(|holder| !holder.finished());
        self.map_holders.push(let_go.clone());
        HeldMap { superblock: self.durable.clone(), let_go }
    }

    /// Makes `map` the durable checkpoint's. The numbers of the one before are free when nobody
    /// holds on to it.
    pub(super) fn replace_map(&mut self, map: Vec<PageId>, cache: &Cache) {
        let mut holders = CompletionGroup::silent();
        self.map_holders.drain(..).for_each(|holder| holders.add(&holder));
        let before = std::mem::replace(&mut self.map, map);
        self.free_map(before, Some(holders.build()), cache);
    }

    /// Frees the numbers of a map, which an I/O may work on.
    pub(super) fn free_map(&mut self, map: Vec<PageId>, io: Option<Completion>, cache: &Cache) {
        let runs = map.into_iter().map(PageRun::from);
        match io.filter(|io| !io.finished()) {
            Some(io) => self.free_after(io, runs.collect()),
            None => runs.for_each(|run| self.free(run, cache)),
        }
    }
}
