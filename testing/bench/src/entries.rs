//! Keys and values: made from a number, so that what is read can be verified.

/// Bytes of a key.
pub const KEY_LEN: usize = 24;

/// A key.
pub type Key = [u8; KEY_LEN];

/// Bytes of a word of a value.
const WORD: usize = 8;
/// What the words of a value grow by: odd, and without a pattern.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Numbers that look random (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// The next one.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STRIDE);
        mix(self.0)
    }

    /// The next one, below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    /// The next one, from 0 up to 1.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A number that looks random, another one for each.
pub fn mix(number: u64) -> u64 {
    let mut bits = number;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The key with this number: 24 bytes that look random.
pub fn key(number: u64) -> Key {
    let mut random = Random(number);
    let mut key = [0; KEY_LEN];
    for bytes in key.chunks_exact_mut(WORD) {
        bytes.copy_from_slice(&random.bits().to_be_bytes());
    }
    key
}

/// The number of a key.
///
/// # Panics
///
/// If it is nobody's.
pub fn number(found: &[u8]) -> u64 {
    let first = found.first_chunk::<WORD>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let number = unmix(first).wrapping_sub(STRIDE);
    assert_eq!(found, key(number), "not a key");
    number
}

/// What [`mix`] made the number from: its steps the other way round.
fn unmix(number: u64) -> u64 {
    let mut bits = number;
    bits = bits ^ (bits >> 31) ^ (bits >> 62);
    bits = bits.wrapping_mul(0x3196_42b2_d24d_8ec3);
    bits = bits ^ (bits >> 27) ^ (bits >> 54);
    bits = bits.wrapping_mul(0x96de_1b17_3f11_9089);
    bits ^ (bits >> 30) ^ (bits >> 60)
}

/// A value of entry `number`, which may have had others: `edition` tells them apart.
///
/// The first word is the edition, so that whoever reads needs to know the number only; the others
/// depend on both.
pub fn value<const LEN: usize>(number: u64, edition: u64) -> [u8; LEN] {
    let mut value = [0; LEN];
    let (first, rest) = value.split_at_mut(WORD);
    first.copy_from_slice(&edition.to_le_bytes());
    let seed = seed(number, edition);
    let word = |index: usize| seed.wrapping_add((index as u64).wrapping_mul(STRIDE)).to_le_bytes();
    // Whole words apart from the last bytes: that is done many at a time.
    let (words, last) = rest.as_chunks_mut::<WORD>();
    words.iter_mut().enumerate().for_each(|(index, bytes)| *bytes = word(index));
    last.copy_from_slice(&word(words.len())[..last.len()]);
    value
}

fn seed(number: u64, edition: u64) -> u64 {
    mix(number ^ edition.wrapping_mul(STRIDE))
}

/// Asserts that `found` is a whole value of entry `number`, and returns its edition.
///
/// # Panics
///
/// If it is anything else.
#[inline]
pub fn verify<const LEN: usize>(number: u64, found: &[u8]) -> u64 {
    let edition = found.first_chunk::<WORD>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    assert!(found == value::<LEN>(number, edition), "entry {number} has a wrong value: {found:x?}");
    edition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_verified_to_the_last_byte() {
        let right = value::<150>(7, 3);
        assert_eq!(verify::<150>(7, &right), 3);
        for index in 0..right.len() {
            let mut wrong = right;
            wrong[index] ^= 1;
            assert!(std::panic::catch_unwind(|| verify::<150>(7, &wrong)).is_err(), "{index}");
        }
        for wrong in [&right[..149], &value::<150>(8, 3)[..], &[]] {
            assert!(std::panic::catch_unwind(|| verify::<150>(7, wrong)).is_err());
        }
    }

    #[test]
    fn a_key_has_its_number() {
        for expected in (0..10_000).chain([u64::MAX]) {
            assert_eq!(number(&key(expected)), expected);
        }
        assert!(std::panic::catch_unwind(|| number(&[7; KEY_LEN])).is_err());
    }

    #[test]
    fn keys_differ() {
        let keys: std::collections::HashSet<Key> = (0..10_000).map(key).collect();
        assert_eq!(keys.len(), 10_000);
    }
}
