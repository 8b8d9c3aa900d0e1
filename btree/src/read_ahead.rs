//! Reading the leaves ahead of a scan before it comes to them.

use smallvec::SmallVec;
use yieldb_core::reached;
use yieldb_pager::{PageRef, Pager};

use crate::cursor::Direction;
use crate::descend::Path;
use crate::node::InteriorView;
use crate::pages::Pages;

/// How much is read ahead at most, in bytes.
const MAX_LEN: usize = 1 << 20;

/// How far ahead of a scan leaves are read: not at all on the first leaf, so that a short range
/// costs only what it needs; then twice as far each time the scan comes near the end of what was
/// asked for.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    /// How many leaves are asked for at a time; 0 on the first leaf.
    window: usize,
    /// How many leaves were asked for that the scan has not entered.
    left: usize,
    direction: Option<Direction>,
}

impl ReadAhead {
    /// The scan has entered the leaf at the end of `path`.
    ///
    /// Asks for leaves below the same parent. When those end, the next parent is asked for with
    /// them, and its leaves follow when the scan gets there.
    pub fn entered(
        &mut self,
        pager: &Pager,
        pages: &Pages<'_>,
        path: &Path<'_>,
        direction: Direction,
    ) {
        if self.direction != Some(direction) {
            *self = ReadAhead { direction: Some(direction), ..ReadAhead::default() };
            return;
        }
        self.left = self.left.saturating_sub(1);
        if self.left > self.window / 2 {
            return;
        }
        let most = (MAX_LEN / pager.page_size().bytes()).max(1);
        self.window = (self.window * 2).clamp(2, most);
        let mut names: SmallVec<[PageRef; 64]> = SmallVec::new();
        let mut above = path.iter().rev();
        if let Some((parent, index)) = above.next() {
            let beside = beside(&InteriorView::new(parent.bytes), *index, direction);
            names.extend(beside.skip(self.left).take(self.window - self.left));
        }
        self.left += names.len();
        if self.left < self.window
            && let Some((grandparent, index)) = above.next()
        {
            names.extend(beside(&InteriorView::new(grandparent.bytes), *index, direction).next());
        }
        names.retain(|page| !pages.is_resident(*page));
        if !names.is_empty() {
            reached!(ReadAhead);
            pager.prefetch(&names);
        }
    }
}

/// The children of a node behind the one at `index`, nearest first.
fn beside<'p>(
    view: &InteriorView<'p>,
    index: usize,
    direction: Direction,
) -> impl Iterator<Item = PageRef> + use<'p> {
    let view = *view;
    let count = match direction {
        Direction::Next => view.count() - index,
        Direction::Previous => index,
    };
    (1..=count).map(move |distance| {
        let child = match direction {
            Direction::Next => index + distance,
            Direction::Previous => index - distance,
        };
        PageRef::from_u64(view.child(child))
    })
}
