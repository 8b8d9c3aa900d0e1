//! Reading the leaves ahead of a scan before it comes to them.
//!
//! ```text
//!                the scan            asked for: `left` of them, up to `window`
//!   leaves   ........|#######################|. . . . . . . .
//!   parents  |   resident   |   resident     |  asked for    |
//! ```
//!
//! The window is filled again when a part of it is used up, so that what is in flight never runs
//! dry. It goes over from one parent to the next: the parent behind the last one whose leaves are
//! asked for is asked for itself, and is there when its leaves are due.

use smallvec::SmallVec;
use yieldb_pager::{PageRef, Pager};

use crate::cursor::Direction;
use crate::descend::{Route, go_beside_parent};
use crate::node::InteriorView;
use crate::pages::{Pages, Walk};

/// How much is read ahead at most, in bytes: as much as the device needs, and no more than there is
/// room for beside the processor. With 2 MiB a scan has fewer pages a second by a quarter.
const MAX_LEN: usize = 1 << 20;

/// Which part of the cache that may be at most.
const CACHE_SHARE: usize = 8;

/// Pages to be asked for.
pub(crate) type Names = SmallVec<[PageRef; 64]>;

/// How far ahead of a scan leaves are read: not at all on the first leaf, so that a short range
/// costs only what it needs; then twice as far each time the scan has used up a half of what was
/// asked for. As far as it goes, it is filled again when a sixteenth is used up: one read.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    /// How many leaves are to be ahead of the scan; 0 on the first leaf.
    window: usize,
    /// How many leaves were asked for that the scan has not entered.
    left: usize,
    /// Has the window its full length?
    is_long: bool,
    direction: Option<Direction>,
}

impl ReadAhead {
    /// The scan has entered the leaf at the end of `route`. Adds to `names` what is to be asked for
    /// when the pages are not looked at any more: until then no frame is free that had another
    /// page.
    pub fn entered(
        &mut self,
        pager: &Pager,
        pages: &Pages<'_>,
        route: &Route,
        direction: Direction,
        names: &mut Names,
    ) {
        if self.direction != Some(direction) {
            *self = ReadAhead { direction: Some(direction), ..ReadAhead::default() };
            return;
        }
        self.left = self.left.saturating_sub(1);
        let enough = if self.is_long { self.window - self.window / 16 } else { self.window / 2 };
        if self.left > enough {
            return;
        }
        let share = pager.cache().frame_count() / CACHE_SHARE;
        let most = (MAX_LEN / pager.page_size().bytes()).min(share).max(2);
        self.window = (self.window * 2).clamp(2, most);
        self.is_long = self.window == most;
        self.fill(pages, route, direction, names);
        names.retain(|page| !pages.is_resident(*page));
    }

    /// Is the scan a long one, whose leaves nobody is going to need again soon?
    pub fn is_long(&self) -> bool {
        self.is_long
    }

    /// Adds the leaves that the window lacks, and the next parent if it is missing.
    fn fill(&mut self, pages: &Pages<'_>, route: &Route, direction: Direction, names: &mut Names) {
        let mut along = Route::default();
        along.copy_from(route);
        let (mut skipped, mut is_first) = (self.left, true);
        while let Some((parent, index)) = along.parent() {
            let Ok(Some(bytes)) = pages.page(parent) else { return };
            // The one that the scan is on, or the first one below another parent.
            let next = if is_first { direction.beside(index) } else { index };
            let children = children(&InteriorView::new(bytes), next, direction);
            let count = children.len();
            let before = names.len();
            // The window may have become shorter, with the cache.
            let lacking = self.window.saturating_sub(self.left);
            names.extend(children.skip(skipped).take(lacking));
            self.left += names.len() - before;
            skipped = skipped.saturating_sub(count);
            // What is wrong with a page shows when it is used.
            match go_beside_parent(pages, &mut along, direction) {
                Ok(Walk::Missing(parent)) => {
                    names.push(parent);
                    return;
                }
                Ok(Walk::Found(true)) if self.left < self.window => is_first = false,
                Ok(Walk::Found(_)) | Err(_) => return,
            }
        }
    }
}

/// The children of a node from the one at `next` on, if there is one.
fn children<'p>(
    view: &InteriorView<'p>,
    next: usize,
    direction: Direction,
) -> impl ExactSizeIterator<Item = PageRef> + use<'p> {
    let view = *view;
    let count = match direction {
        Direction::Next => (view.count() + 1).saturating_sub(next),
        // In front of the first child there is an index that nothing has.
        Direction::Previous => next.wrapping_add(1),
    };
    (0..count).map(move |distance| {
        let child = match direction {
            Direction::Next => next + distance,
            Direction::Previous => next - distance,
        };
        PageRef::from_u64(view.child(child))
    })
}
