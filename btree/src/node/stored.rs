//! Values as leaves store them.

use yieldb_pager::{PageId, PageRef, PageRun, PageSize, Stamp, value_page};

/// The longest value, in bytes: 4 GiB.
pub const MAX_VALUE_LEN: u64 = 1 << 32;

/// A value as a leaf stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    /// In the leaf itself.
    Here(&'a [u8]),
    /// In pages of its own.
    Large(LargeValue),
}

/// Where a large value is, and how long it is.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 8 | the number of the first page of its run |
/// | 8 | 8 | the value's length in bytes, 1 to 2^32 |
/// | 16 | 8 | the stamp of all pages of the run |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeValue {
    /// The pages that the value is in.
    pub run: PageRun,
    /// The value's length in bytes.
    pub len: u64,
    /// When the pages were made.
    pub birth: Stamp,
}

impl<'a> Stored<'a> {
    /// How many bytes the leaf has of it.
    pub fn stored_len(&self) -> usize {
        match self {
            Stored::Here(bytes) => bytes.len(),
            Stored::Large(_) => LargeValue::STORED_LEN,
        }
    }

    /// Where it is, if it is large.
    pub fn large(&self) -> Option<LargeValue> {
        match self {
            Stored::Here(_) => None,
            Stored::Large(value) => Some(*value),
        }
    }

    /// Its length in bytes.
    pub fn value_len(&self) -> u64 {
        match self {
            Stored::Here(bytes) => bytes.len() as u64,
            Stored::Large(value) => value.len,
        }
    }

    /// Writes what the leaf has of it.
    pub(crate) fn write(&self, out: &mut [u8]) {
        match self {
            Stored::Here(bytes) => out.copy_from_slice(bytes),
            Stored::Large(value) => {
                let words = [value.run.first().as_u64(), value.len, value.birth.as_u64()];
                for (bytes, word) in out.chunks_exact_mut(8).zip(words) {
                    bytes.copy_from_slice(&word.to_le_bytes());
                }
            }
        }
    }
}

impl LargeValue {
    /// How many bytes a leaf has of a large value.
    pub const STORED_LEN: usize = 24;

    /// The name of the page at `index` of the run.
    pub fn page(&self, index: u64) -> Option<PageRef> {
        self.run.page(index).map(|page| PageRef::new(page, self.birth))
    }

    /// What a leaf that was checked has of a large value.
    pub(super) fn read(bytes: &[u8], page_len: usize) -> LargeValue {
        Self::parse(bytes, page_len).expect("the leaf was checked")
    }

    /// Checks what a leaf has of a large value.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn check(bytes: &[u8], page_len: usize) -> Result<(), &'static str> {
        Self::parse(bytes, page_len).map(|_| ())
    }

    /// What a leaf has of a large value, if it makes sense.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse(bytes: &[u8], page_len: usize) -> Result<LargeValue, &'static str> {
        let bytes: &[u8; Self::STORED_LEN] =
            bytes.try_into().map_err(|_| "a large value is not named as one")?;
        let word = |at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice has eight bytes"))
        };
        let (first, len, birth) = (word(0), word(8), Stamp::from_u64(word(16)));
        if len == 0 || len > MAX_VALUE_LEN {
            return Err("a large value has an impossible length");
        }
        let page_size = PageSize::new(page_len as u32).ok_or("its page size is impossible")?;
        let count = value_page::pages_for(len, page_size);
        let run = PageId::from_u64(first).and_then(|first| PageRun::new(first, count));
        let run = run.ok_or("a large value has impossible page numbers")?;
        Ok(LargeValue { run, len, birth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(first: u64, len: u64) -> [u8; LargeValue::STORED_LEN] {
        let mut bytes = [0; LargeValue::STORED_LEN];
        bytes[..8].copy_from_slice(&first.to_le_bytes());
        bytes[8..16].copy_from_slice(&len.to_le_bytes());
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let run = PageRun::new(PageId::from_u64(9).unwrap(), 3).unwrap();
        let large = LargeValue { run, len: 10_000, birth: Stamp::new(4, 5) };
        let mut bytes = [0; LargeValue::STORED_LEN];
        Stored::Large(large).write(&mut bytes);
        assert_eq!(LargeValue::read(&bytes, 4096), large);
        assert_eq!(large.page(2).map(|page| page.page().as_u64()), Some(11));
        assert_eq!(large.page(3), None);
    }

    #[test]
    fn impossible_values_are_refused() {
        assert!(LargeValue::check(&value(9, 1), 4096).is_ok());
        assert!(LargeValue::check(&value(9, MAX_VALUE_LEN), 4096).is_ok());
        assert!(LargeValue::check(&value(9, 0), 4096).is_err());
        assert!(LargeValue::check(&value(9, MAX_VALUE_LEN + 1), 4096).is_err());
        assert!(LargeValue::check(&value(PageId::COUNT, 1), 4096).is_err());
        assert!(LargeValue::check(&value(PageId::COUNT - 1, 4057), 4096).is_err());
        assert!(LargeValue::check(&value(9, 1)[1..], 4096).is_err());
    }
}
