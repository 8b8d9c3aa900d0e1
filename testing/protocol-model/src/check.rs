//! What must hold at every moment while a process has the database open.

use crate::disk::{Disk, Write};
use crate::format::{Page, Version};
use crate::model::Model;
use crate::state::{Memory, Process, State};
use crate::{Broken, Mistake};

impl Model {
    /// Checks a moment.
    pub(crate) fn check(&self, state: &State) -> Result<(), Broken> {
        let Process::Running(memory) = &state.process else { return Ok(()) };
        for (page, content) in memory.base.pages() {
            if !is_durable(&state.disk, page, content) {
                return Err(Broken::CheckpointDamaged { page });
            }
        }
        if self.is_stuck(state, memory) {
            return Err(Broken::Stuck);
        }
        let newest = match self.mistake {
            Some(Mistake::ReadersSeeApplied) => memory.applied(),
            _ => memory.acknowledged(),
        };
        // A reader may come at any moment, so each moment is looked at as one.
        for version in [Some(newest), memory.snapshot.as_ref()].into_iter().flatten() {
            check_reader(&state.disk, memory, version)?;
        }
        Ok(())
    }
}

/// "Pages of the durable checkpoint are never overwritten."
fn is_durable(disk: &Disk, page: u8, content: Page) -> bool {
    let place = &disk.pages[usize::from(page)];
    let is_overwritten = disk
        .in_flight
        .iter()
        .any(|write| matches!(write, Write::Page(own, other) if *own == page && *other != content));
    place.contents().all(|own| own == content) && !is_overwritten
}

/// "A published page never changes."
fn check_reader(disk: &Disk, memory: &Memory, version: &Version) -> Result<(), Broken> {
    for (page, content) in version.pages() {
        let frame = memory.frames[usize::from(page)].map(|frame| frame.content);
        if frame.unwrap_or(disk.pages[usize::from(page)].visible()) != content {
            return Err(Broken::ReaderMisled { page });
        }
    }
    Ok(())
}
