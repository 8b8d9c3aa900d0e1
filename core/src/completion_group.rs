//! One completion for many.

use crate::completion::Callback;
use crate::{Completion, CompletionKind, Error, Request, Result, is_planted};

/// Builds a completion that is finished when *every* child is: the first error of a child is its
/// own. A group without children is finished at once. Groups nest.
///
/// The callback runs exactly once, when the group is finished, also when nobody holds the group
/// any more. Dropping a builder instead of building it cancels nothing: the children go on.
///
/// ```
/// use yieldb_core::{Completion, CompletionGroup, Request};
///
/// let (a, b) = (Completion::signal(), Completion::signal());
/// let mut group = CompletionGroup::new(|result| assert!(result.is_ok()));
/// group.add(&a);
/// group.add(&b);
/// let both = group.build();
/// a.succeed(0);
/// assert!(!both.finished());
/// b.succeed(0);
/// assert!(both.succeeded());
/// ```
#[must_use = "a group that is not built waits for nothing"]
#[derive(Debug)]
pub struct CompletionGroup {
    group: Completion,
}

impl CompletionGroup {
    /// A group that calls `callback` with its result.
    pub fn new(callback: impl FnOnce(&Result<()>) + Send + 'static) -> CompletionGroup {
        Self::with(CompletionKind::Group, Some(Box::new(callback)))
    }

    /// A group without a callback.
    pub fn silent() -> CompletionGroup {
        Self::with(CompletionKind::Group, None)
    }

    fn with(kind: CompletionKind, callback: Option<Callback>) -> CompletionGroup {
        CompletionGroup { group: Completion::group(kind, callback) }
    }

    /// Adds a child. One that is over already counts with its result.
    ///
    /// # Panics
    ///
    /// If `child` is an explicit yield: that is not an I/O, and waiting for it would lose it.
    pub fn add(&mut self, child: &Completion) {
        assert!(!child.is_explicit_yield(), "an explicit yield cannot be a member of a group");
        let mut record = self.group.slot().record();
        if record.group.unfinished > 1 && is_planted!(GroupForgetsChildren) {
            return;
        }
        record.group.unfinished += 1;
        record.group.children.push(child.downgrade());
        drop(record);
        if let Err(error) = child.attach(&self.group) {
            self.group.child_finished(error);
        }
    }

    /// The completion of all children. The builder's own count, given up here, is what keeps a
    /// group from finishing between two additions.
    pub fn build(self) -> Completion {
        self.group.child_finished(None);
        self.group
    }

    /// Asks for an early end of every child added so far, and builds.
    pub fn cancel(self) -> Completion {
        self.group.cancel();
        self.build()
    }
}

/// Builds a completion that is finished when the *first* child is, with that child's result. The
/// others go on.
#[must_use = "it waits for nothing until it is built"]
#[derive(Debug)]
pub struct AnyCompletion {
    any: Completion,
    empty: bool,
}

impl Default for AnyCompletion {
    fn default() -> Self {
        AnyCompletion { any: Completion::group(CompletionKind::Any, None), empty: true }
    }
}

impl AnyCompletion {
    /// Adds a child.
    ///
    /// # Panics
    ///
    /// If `child` is an explicit yield.
    pub fn add(&mut self, child: &Completion) {
        assert!(!child.is_explicit_yield(), "an explicit yield is nothing to wait for");
        self.empty = false;
        self.any.slot().record().group.children.push(child.downgrade());
        if let Err(error) = child.attach(&self.any) {
            self.any.child_finished(error);
        }
    }

    /// The completion of the first child; of none, it is finished at once.
    pub fn build(self) -> Completion {
        if self.empty {
            self.any.child_finished(None::<Error>);
        }
        self.any
    }
}
