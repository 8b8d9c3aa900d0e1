//! Looking up many keys at once.

use std::fmt;

use yieldb_btree as btree;
use yieldb_btree::ops::multi_get::Next;
use yieldb_pager::Pager;

use crate::driving::Driving;
use crate::op::{Held, Op};

/// Looks up many keys, with many reads in flight, and gives out what it finds as it comes: see
/// [`crate::Snapshot::multi_get`].
pub struct MultiGet<'a, I: Iterator> {
    lookups: btree::MultiGet<'a, I>,
    pager: &'a Pager,
    driving: &'a Driving,
}

impl<'a, I: Iterator<Item: AsRef<[u8]>>> MultiGet<'a, I> {
    pub(crate) fn new(
        lookups: btree::MultiGet<'a, I>,
        pager: &'a Pager,
        driving: &'a Driving,
    ) -> MultiGet<'a, I> {
        MultiGet { lookups, pager, driving }
    }

    /// Waits for the next lookup that is done, in no particular order; the output is `None` when
    /// all are. Dropping the operation loses nothing.
    ///
    /// # Errors
    ///
    /// When driven: the version does not have the tree. What is wrong with a single lookup is in
    /// its [value](crate::Lookup::value).
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Op<'_, Next<'_, 'a, I>> {
        if self.lookups.take_begun_reads() {
            self.driving.send();
        }
        let (pager, driving) = (Held::Borrowed(self.pager), Held::Borrowed(self.driving));
        Op::new(self.lookups.next(), pager, driving)
    }

    /// How many lookups are waiting for a page now.
    pub fn in_flight(&self) -> usize {
        self.lookups.in_flight()
    }
}

impl<I: Iterator> fmt::Debug for MultiGet<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lookups.fmt(f)
    }
}
