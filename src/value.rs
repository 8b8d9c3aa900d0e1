//! Values that are read and stored part by part.

use std::fmt;
use std::sync::Arc;

use yieldb_btree as btree;
use yieldb_btree::ops::read_value::ReadValue;
use yieldb_btree::ops::write_value::{FinishValue, WriteValue};
use yieldb_pager::Pager;

use crate::Result;
use crate::driving::Driving;
use crate::op::{Held, Op};

/// A value that is read part by part.
///
/// ```
/// # fn main() -> yieldb::Result<()> {
/// # let database = yieldb::Options::new().backend(yieldb::MemoryDisk::new().immediate())
/// #     .open("a").wait()?;
/// use yieldb::MAIN;
///
/// let mut transaction = database.begin().wait()?;
/// let mut writer = transaction.put_value(MAIN, "film", 1_000_000)?;
/// for _ in 0..10 {
///     writer.write([7; 100_000])?.wait()?;
/// }
/// writer.finish()?.wait()?;
/// transaction.commit().wait()?;
///
/// let snapshot = database.snapshot();
/// let value = snapshot.value(MAIN, "film").wait()?.expect("it was stored");
/// assert_eq!(value.len(), 1_000_000);
/// let mut part = [0; 500];
/// value.read(999_500, &mut part)?.wait()?;
/// assert_eq!(part, [7; 500]);
/// # Ok(()) }
/// ```
pub struct ValueReader<'a> {
    value: btree::ValueReader<'a>,
    pager: &'a Pager,
    driving: &'a Driving,
}

impl<'a> ValueReader<'a> {
    pub(crate) fn new(
        value: btree::ValueReader<'a>,
        pager: &'a Pager,
        driving: &'a Driving,
    ) -> ValueReader<'a> {
        ValueReader { value, pager, driving }
    }

    /// The value's length in bytes.
    pub fn len(&self) -> u64 {
        self.value.len()
    }

    /// Is the value empty?
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }

    /// Fills `out` with the bytes from `offset` on; the output is the buffer. Cost: the pages that
    /// have these bytes, read together.
    ///
    /// # Errors
    ///
    /// The value ends before `out` does. When driven: damage, a failed read.
    pub fn read<B: AsMut<[u8]>>(&self, offset: u64, out: B) -> Result<Op<'_, ReadValue<B>>> {
        let machine = self.value.read(self.pager, offset, out)?;
        Ok(Op::new(machine, Held::Borrowed(self.pager), Held::Borrowed(self.driving)))
    }
}

impl fmt::Debug for ValueReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "value of {} bytes", self.len())
    }
}

/// A value that is stored piece by piece: see [`crate::WriteTransaction::put_value`]. Nothing of it
/// is seen before it is [finished](ValueWriter::finish); dropping this forgets it.
pub struct ValueWriter<'t, K> {
    writer: btree::ValueWriter<'t, K>,
    pager: Arc<Pager>,
    driving: &'t Driving,
}

impl<'t, K: AsRef<[u8]>> ValueWriter<'t, K> {
    pub(crate) fn new(
        writer: btree::ValueWriter<'t, K>,
        pager: Arc<Pager>,
        driving: &'t Driving,
    ) -> ValueWriter<'t, K> {
        ValueWriter { writer, pager, driving }
    }

    /// How many bytes of the value were taken so far. After a write that was dropped, the next one
    /// goes on from here.
    pub fn position(&self) -> u64 {
        self.writer.position()
    }

    /// Takes the next bytes of the value. At most 256 KiB are kept in memory; the rest is on its
    /// way to the file.
    ///
    /// # Errors
    ///
    /// The value would be longer than was said. When driven: a failed write of its earlier parts,
    /// which dooms the transaction.
    pub fn write<B: AsRef<[u8]>>(&mut self, bytes: B) -> Result<Op<'_, WriteValue<'_, 't, K, B>>> {
        let machine = self.writer.write(bytes)?;
        Ok(Op::new(machine, Held::Borrowed(&self.pager), Held::Borrowed(self.driving)))
    }

    /// Makes the value that of its key; the output is whether there was an entry with it before.
    ///
    /// # Errors
    ///
    /// Bytes of the value are missing. When driven: as [`crate::WriteTransaction::put`].
    pub fn finish(self) -> Result<Op<'t, FinishValue<'t, K>>> {
        let machine = self.writer.finish()?;
        Ok(Op::new(machine, Held::Owned(self.pager), Held::Borrowed(self.driving)))
    }
}

impl<K> fmt::Debug for ValueWriter<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.writer.fmt(f)
    }
}
