//! A position in a range of entries.

use yieldb_btree as btree;
use yieldb_btree::ops::next::{Next, NextKey};
use yieldb_pager::Pager;

use crate::driving::Driving;
use crate::op::{Held, Op};

/// A position in a range of entries, in key order. A new one is on both ends at once.
///
/// It keeps one page in memory. From the second leaf on, leaves ahead are read together, more of
/// them the longer the scan goes on, up to 1 MiB or an eighth of the cache.
#[derive(Debug)]
pub struct Cursor<'a> {
    cursor: btree::Cursor<'a>,
    pager: &'a Pager,
    driving: &'a Driving,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(
        cursor: btree::Cursor<'a>,
        pager: &'a Pager,
        driving: &'a Driving,
    ) -> Cursor<'a> {
        Cursor { cursor, pager, driving }
    }

    /// Moves to the next entry, from a new cursor to the first one; the output is the entry, or
    /// `None` behind the last one. Cost: nothing is read but at the end of a leaf, and ahead of
    /// that; a large value is.
    ///
    /// # Errors
    ///
    /// When driven: the version does not have the tree; damage; a failed read.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Op<'_, Next<'_, 'a>> {
        self.send_reads();
        let (pager, driving) = (Held::Borrowed(self.pager), Held::Borrowed(self.driving));
        Op::new(self.cursor.next(), pager, driving)
    }

    /// Moves to the entry before, from a new cursor to the last one; the output is the entry, or
    /// `None` in front of the first one.
    ///
    /// # Errors
    ///
    /// As [`Cursor::next`].
    pub fn previous(&mut self) -> Op<'_, Next<'_, 'a>> {
        self.send_reads();
        let (pager, driving) = (Held::Borrowed(self.pager), Held::Borrowed(self.driving));
        Op::new(self.cursor.previous(), pager, driving)
    }

    /// Moves like [`Cursor::next`] without reading a large value; the output is the entry's key.
    ///
    /// # Errors
    ///
    /// As [`Cursor::next`].
    pub fn next_key(&mut self) -> Op<'_, NextKey<'_, 'a>> {
        self.send_reads();
        let (pager, driving) = (Held::Borrowed(self.pager), Held::Borrowed(self.driving));
        Op::new(self.cursor.next_key(), pager, driving)
    }

    /// Moves like [`Cursor::previous`] without reading a large value; the output is the entry's
    /// key.
    ///
    /// # Errors
    ///
    /// As [`Cursor::next`].
    pub fn previous_key(&mut self) -> Op<'_, NextKey<'_, 'a>> {
        self.send_reads();
        let (pager, driving) = (Held::Borrowed(self.pager), Held::Borrowed(self.driving));
        Op::new(self.cursor.previous_key(), pager, driving)
    }

    /// Sends out reads ahead that the last move has begun.
    #[inline]
    fn send_reads(&mut self) {
        if self.cursor.take_begun_reads() {
            self.driving.send();
        }
    }

    /// Goes to the place in front of the first entry whose key is `key` or greater, within the
    /// range: [`Cursor::next`] moves to it, [`Cursor::previous`] to the one before it. Reads
    /// nothing by itself; the next move costs one page for each level of the tree.
    ///
    /// ```
    /// # fn main() -> yieldb::Result<()> {
    /// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
    /// #     .open("a").wait()?;
    /// use yieldb::{KeyRange, MAIN};
    ///
    /// let mut transaction = database.begin().wait()?;
    /// for key in ["a", "c", "e"] {
    ///     transaction.put(MAIN, key, "").wait()?;
    /// }
    /// transaction.commit().wait()?;
    /// let snapshot = database.snapshot();
    /// let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    /// cursor.seek("b");
    /// assert_eq!(cursor.next().wait()?.map(|entry| entry.key()), Some(&b"c"[..]));
    /// cursor.seek("c");
    /// assert_eq!(cursor.previous().wait()?.map(|entry| entry.key()), Some(&b"a"[..]));
    /// # Ok(()) }
    /// ```
    pub fn seek(&mut self, key: impl AsRef<[u8]>) {
        self.cursor.seek(key.as_ref());
    }

    /// The key of the entry that the cursor is on.
    pub fn key(&self) -> Option<&[u8]> {
        self.cursor.key()
    }

    /// The length of the value of the entry that the cursor is on, in bytes.
    pub fn value_len(&self) -> Option<u64> {
        self.cursor.value_len()
    }

    /// The entry that the cursor is on; `None` if it is on none, or if the value is large and was
    /// not read.
    pub fn entry(&self) -> Option<crate::Entry<'_>> {
        self.cursor.entry()
    }
}
