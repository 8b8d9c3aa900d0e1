//! The writes of a transaction that are in flight.

use std::collections::VecDeque;

use yieldb_core::{Completion, CompletionGroup, Error as IoFailure};

/// Writes whose end nobody has looked at, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// Each with the number of its pages.
    queue: VecDeque<(Completion, usize)>,
}

impl Writes {
    /// Adds a write of `count` pages that was just submitted.
    pub fn push(&mut self, io: Completion, count: usize) {
        self.queue.push_back((io, count));
    }

    /// Takes out those that are finished.
    ///
    /// # Errors
    ///
    /// The failure of one of them.
    pub fn settle(&mut self) -> Result<(), IoFailure> {
        let mut result = Ok(());
        self.queue.retain(|(io, _)| {
            if !io.finished() {
                return true;
            }
            if let Some(error) = io.get_error() {
                result = Err(error);
            }
            false
        });
        result
    }

    /// The one that was submitted first.
    pub fn oldest(&self) -> Option<Completion> {
        self.queue.front().map(|(io, _)| io.clone())
    }

    /// How many pages are being written.
    pub fn page_count(&self) -> usize {
        self.queue.iter().map(|(_, count)| count).sum()
    }

    /// The end of all of them; `None` if all are finished.
    pub fn all(&self) -> Option<Completion> {
        if self.queue.iter().all(|(io, _)| io.finished()) {
            return None;
        }
        let mut group = CompletionGroup::silent();
        self.add_to(&mut group);
        Some(group.build())
    }

    /// Makes a group wait for all of them, and fail with those that failed.
    pub fn add_to(&self, group: &mut CompletionGroup) {
        for (io, _) in &self.queue {
            group.add(io);
        }
    }
}
