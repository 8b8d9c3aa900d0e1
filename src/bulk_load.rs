//! A tree that is filled in bulk.

use std::fmt;
use std::sync::Arc;

use yieldb_btree as btree;
use yieldb_btree::ops::bulk_load::{Finish, Push};
use yieldb_pager::Pager;

use crate::Result;
use crate::driving::Driving;
use crate::op::{Held, Op};

/// An empty tree that is filled from entries in any order: see
/// [`crate::WriteTransaction::bulk_load`]. Nothing of it is seen before it is
/// [finished](BulkLoad::finish); dropping this forgets it, and gives back whatever it has taken.
///
/// ```
/// # fn main() -> yieldb::Result<()> {
/// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
/// #     .open("a").wait()?;
/// use yieldb::MAIN;
///
/// let mut transaction = database.begin().wait()?;
/// let mut load = transaction.bulk_load(MAIN)?;
/// for number in (0..10_000_u32).rev() {
///     let (key, value) = (number.to_be_bytes(), [7; 100]);
///     // Most entries are taken at once. What one has to wait for is in `push`.
///     if !load.try_push(&key, &value)? {
///         load.push(&key, &value).wait()?;
///     }
/// }
/// assert_eq!(load.finish().wait()?, 10_000);
/// transaction.commit().wait()?;
/// # Ok(()) }
/// ```
///
/// Entries that come in ascending order are written to the file as they come. Others are sorted:
/// in a part of the cache if they fit, otherwise in a file beside the database's, `NAME-sort`,
/// which is gone when the process ends, however it ends. Besides the cache a load takes less than
/// 32 MiB of memory.
pub struct BulkLoad<'t> {
    load: btree::BulkLoad<'t>,
    pager: Arc<Pager>,
    driving: &'t Driving,
}

impl<'t> BulkLoad<'t> {
    pub(crate) fn new(
        load: btree::BulkLoad<'t>,
        pager: Arc<Pager>,
        driving: &'t Driving,
    ) -> BulkLoad<'t> {
        BulkLoad { load, pager, driving }
    }

    /// Takes an entry if that needs no waiting, as it is with most of them. `false`, and nothing
    /// has changed, if it does: then [`BulkLoad::push`] it. Of equal keys the last one stays.
    ///
    /// # Errors
    ///
    /// The key is too long.
    #[inline]
    pub fn try_push(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.load.try_push(key.as_ref(), value.as_ref())?)
    }

    /// Takes an entry. Of equal keys the last one stays. Dropping the operation leaves the entry
    /// out.
    ///
    /// # Errors
    ///
    /// When driven: a key or a value that is too long, and the load can go on; a failed read or
    /// write, and it can only be dropped.
    pub fn push<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        key: K,
        value: V,
    ) -> Op<'_, Push<'_, 't, K, V>> {
        let machine = self.load.push(key, value);
        Op::new(machine, Held::Borrowed(&self.pager), Held::Borrowed(self.driving))
    }

    /// Makes a tree of all entries; the output is how many it has. Dropping the operation leaves
    /// the tree empty.
    ///
    /// # Errors
    ///
    /// When driven: a failed read or write; the tree stays empty.
    pub fn finish(self) -> Op<'t, Finish<'t>> {
        let machine = self.load.finish();
        Op::new(machine, Held::Owned(self.pager), Held::Borrowed(self.driving))
    }
}

impl fmt::Debug for BulkLoad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load.fmt(f)
    }
}
