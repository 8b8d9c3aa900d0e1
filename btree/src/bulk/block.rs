//! Frames full of entries: how they are collected, and what the sort file consists of.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | checksum: CRC-32 (IEEE) of everything behind it |
//! | 4 | 4 | where the last record ends; zeros behind it |
//! | 8 | 8 | the frame's place in the sort file, in frames |
//! | 16 | | records |
//!
//! A record: key length (2 bytes), value length (2; the top bit says that the value is large), the
//! key, the value or what names it in a leaf. All integers are little-endian. The file does not
//! outlive the load, so its format is nobody else's business.

use crate::node::{LargeValue, Stored, max_key_len};

/// The length of what is in front of the records.
pub(super) const HEADER_LEN: usize = 16;
/// What a record has in front of its key.
const RECORD_HEADER_LEN: usize = 4;
/// The bit of a value's length that says that the value is large.
const LARGE: u16 = 1 << 15;

/// An entry in a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'f> {
    pub key: &'f [u8],
    /// What a leaf stores of the value.
    stored: &'f [u8],
    is_large: bool,
}

impl<'f> Record<'f> {
    /// The record at `at` of a frame that was checked, or that was made here.
    #[inline]
    pub fn at(frame: &'f [u8], at: usize) -> Record<'f> {
        let word = |at: usize| u16::from_le_bytes([frame[at], frame[at + 1]]);
        let (key_len, value_len) = (usize::from(word(at)), word(at + 2));
        let (key, rest) = frame[at + RECORD_HEADER_LEN..].split_at(key_len);
        let stored = &rest[..usize::from(value_len & !LARGE)];
        Record { key, stored, is_large: value_len & LARGE != 0 }
    }

    /// The value, or where it is.
    #[inline]
    pub fn value(&self, page_len: usize) -> Stored<'f> {
        if self.is_large {
            let large = LargeValue::parse(self.stored, page_len);
            Stored::Large(large.expect("the frame was checked"))
        } else {
            Stored::Here(self.stored)
        }
    }

    /// The length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        RECORD_HEADER_LEN + self.key.len() + self.stored.len()
    }
}

/// The length of the record of an entry.
pub(super) fn record_len(key: &[u8], value: Stored<'_>) -> usize {
    RECORD_HEADER_LEN + key.len() + value.stored_len()
}

/// Writes a record, which there is room for.
#[inline]
pub(super) fn write_record(frame: &mut [u8], at: usize, key: &[u8], value: Stored<'_>) {
    let large = if value.large().is_some() { LARGE } else { 0 };
    let value_len = value.stored_len() as u16 | large;
    let record = &mut frame[at..at + record_len(key, value)];
    record[..2].copy_from_slice(&(key.len() as u16).to_le_bytes());
    record[2..4].copy_from_slice(&value_len.to_le_bytes());
    let (own, stored) = record[RECORD_HEADER_LEN..].split_at_mut(key.len());
    own.copy_from_slice(key);
    value.write(stored);
}

/// Where the last record of a frame ends.
pub(super) fn end_of(frame: &[u8]) -> usize {
    u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]) as usize
}

/// Notes where the last record of a frame ends.
pub(super) fn set_end(frame: &mut [u8], end: usize) {
    frame[4..8].copy_from_slice(&(end as u32).to_le_bytes());
}

/// Makes a frame ready to be written as the one at `place`; its records end at `end`.
pub(super) fn seal(frame: &mut [u8], end: usize, place: u64) {
    set_end(frame, end);
    frame[8..HEADER_LEN].copy_from_slice(&place.to_le_bytes());
    frame[end..].fill(0);
    let checksum = crc32fast::hash(&frame[4..]);
    frame[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// Checks what was read as the frame at `place`: that it is what was written there, and that its
/// records can be read without surprise.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn check(frame: &[u8], place: u64) -> Result<(), &'static str> {
    let stored = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]);
    if stored != crc32fast::hash(&frame[4..]) {
        return Err("its checksum does not match its contents");
    }
    if frame[8..HEADER_LEN] != place.to_le_bytes() {
        return Err("it is another part of the file");
    }
    let end = end_of(frame);
    if !(HEADER_LEN..=frame.len()).contains(&end) {
        return Err("its end is impossible");
    }
    let mut rest = &frame[HEADER_LEN..end];
    while !rest.is_empty() {
        rest = behind_record(rest, frame.len())?;
    }
    Ok(())
}

/// What is behind the record that `bytes` begin with.
fn behind_record(bytes: &[u8], page_len: usize) -> Result<&[u8], &'static str> {
    let header = bytes.first_chunk::<RECORD_HEADER_LEN>().ok_or("a record is cut off")?;
    let key_len = usize::from(u16::from_le_bytes([header[0], header[1]]));
    let value_len = u16::from_le_bytes([header[2], header[3]]);
    let len = RECORD_HEADER_LEN + key_len + usize::from(value_len & !LARGE);
    if key_len > max_key_len(page_len) || len > bytes.len() {
        return Err("a record is too long");
    }
    if value_len & LARGE != 0 {
        LargeValue::parse(&bytes[RECORD_HEADER_LEN + key_len..len], page_len)?;
    }
    Ok(&bytes[len..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_other_place_is_found_out() {
        let mut frame = vec![0xaa; 4096];
        write_record(&mut frame, HEADER_LEN, b"key", Stored::Here(b"value"));
        let end = HEADER_LEN + record_len(b"key", Stored::Here(b"value"));
        seal(&mut frame, end, 7);
        assert_eq!(check(&frame, 7), Ok(()));
        assert!(check(&frame, 8).is_err());
        let record = Record::at(&frame, HEADER_LEN);
        assert_eq!((record.key, record.value(4096)), (&b"key"[..], Stored::Here(b"value")));
        for bit in 0..frame.len() * 8 {
            frame[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&frame, 7).is_err(), "bit {bit}");
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn records_that_do_not_fit_are_refused_whatever_the_checksum() {
        for (at, byte) in [(4, 3), (5, 200), (16, 255), (17, 255), (18, 6), (19, 0x80)] {
            let mut frame = vec![0; 4096];
            write_record(&mut frame, HEADER_LEN, b"key", Stored::Here(b"value"));
            let end = HEADER_LEN + record_len(b"key", Stored::Here(b"value"));
            seal(&mut frame, end, 7);
            frame[at] = byte;
            let checksum = crc32fast::hash(&frame[4..]);
            frame[..4].copy_from_slice(&checksum.to_le_bytes());
            assert!(check(&frame, 7).is_err(), "{at}");
        }
    }
}
