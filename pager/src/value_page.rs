//! The pages of a large value: a run of them, and in each a part of the value's bytes.
//!
//! ```text
//!   | header: 40 bytes | body: the next bytes of the value; behind its end zeros |
//! ```
//!
//! Kind 5, level 0, count 0; the kind's own 16 bytes of the header are zero. All pages of a run
//! have the same stamp, so the name of each follows from that of the first. How long the value is
//! is known to whoever refers to it.

use crate::page_format::{
    HEADER_LEN, VALUE, count_of, kind_of, level_of, own_is_zero, seal, set_kind,
};
use crate::{PageId, PageSize, Stamp};

/// How many bytes of a value a page holds.
pub const fn body_len(page_size: PageSize) -> usize {
    page_size.bytes() - HEADER_LEN
}

/// How many pages a value of `len` bytes needs.
pub const fn pages_for(len: u64, page_size: PageSize) -> u64 {
    len.div_ceil(body_len(page_size) as u64)
}

/// The part of the value in a page.
pub fn body(page: &[u8]) -> &[u8] {
    &page[HEADER_LEN..]
}

/// Makes a page of a run of what `fill` writes into its body, which has arbitrary contents before;
/// `fill` returns how many bytes it wrote.
///
/// # Panics
///
/// If `fill` says that it wrote more than there is room for.
pub fn encode(page: &mut [u8], id: PageId, stamp: Stamp, fill: impl FnOnce(&mut [u8]) -> usize) {
    set_kind(page, VALUE, 0, 0);
    let body = &mut page[HEADER_LEN..];
    let used_len = fill(body);
    body[used_len..].fill(0);
    seal(page, id, stamp);
}

/// Checks that a page is one of a value.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_page(page: &[u8]) -> Result<(), &'static str> {
    if !own_is_zero(page) {
        return Err("its header has bits that mean nothing yet");
    }
    match (kind_of(page), level_of(page), count_of(page)) {
        (VALUE, 0, 0) => Ok(()),
        _ => Err("its kind, level and count do not go together"),
    }
}

/// Checks that a page of which the value uses `used_len` bytes has only zeros behind them.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_end(page: &[u8], used_len: usize) -> Result<(), &'static str> {
    let rest = body(page).get(used_len..).unwrap_or_default();
    if rest.iter().any(|byte| *byte != 0) {
        return Err("it has something behind the end of its value");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PageRef;
    use crate::page_format::{LEAF, verify};

    #[test]
    fn a_value_takes_as_many_pages_as_its_bodies_need() {
        let body = body_len(PageSize::MIN) as u64;
        assert_eq!(body, 4056);
        let counts = [1, body, body + 1, 10 * body].map(|len| pages_for(len, PageSize::MIN));
        assert_eq!(counts, [1, 1, 2, 10]);
        assert_eq!(pages_for(u64::MAX, PageSize::MAX), u64::MAX.div_ceil(65_496));
    }

    #[test]
    fn a_page_of_a_value_is_sealed_and_ends_with_zeros() {
        let (id, stamp) = (PageId::from_u64(9).unwrap(), Stamp::new(1, 4));
        let mut page = vec![0xee; 4096];
        encode(&mut page, id, stamp, |body| {
            body[..5].copy_from_slice(b"value");
            5
        });
        assert_eq!(verify(&page, PageRef::new(id, stamp)), Ok(()));
        assert_eq!(check_page(&page), Ok(()));
        assert_eq!(&self::body(&page)[..6], b"value\0");
        assert_eq!(check_end(&page, 5), Ok(()));
        assert!(check_end(&page, 4).is_err());
        assert_eq!(check_end(&page, usize::MAX), Ok(()));
    }

    #[test]
    fn what_is_no_page_of_a_value_is_refused() {
        let (id, stamp) = (PageId::from_u64(9).unwrap(), Stamp::new(1, 4));
        let mut page = vec![0; 4096];
        encode(&mut page, id, stamp, |_| 0);
        for (kind, level, count) in [(LEAF, 0, 0), (VALUE, 1, 0), (VALUE, 0, 1)] {
            set_kind(&mut page, kind, level, count);
            assert!(check_page(&page).is_err(), "{kind} {level} {count}");
        }
        set_kind(&mut page, VALUE, 0, 0);
        for at in HEADER_LEN - 16..HEADER_LEN {
            page[at] = 1;
            assert!(check_page(&page).is_err(), "byte {at}");
            page[at] = 0;
        }
    }
}
