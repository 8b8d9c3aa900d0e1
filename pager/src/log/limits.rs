//! How long the log is.

use super::BLOCK_LEN;

/// How long the log is at first, and at most, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// The length that a log begins with. It has whole blocks of 4,096 bytes, and at least 28 KiB.
    pub first_len: u64,
    /// The length that it never grows beyond.
    pub max_len: u64,
}

/// The length that a log grows to, in bytes, beside however small a data file.
const USUAL_LEN: u64 = 16 << 20;

/// The least that a log has: a header, and a ring with room for commits, names and a wrap.
const LEAST_LEN: u64 = 28 << 10;

impl Default for LogLimits {
    /// 1 MiB at first, 64 MiB at most.
    fn default() -> Self {
        LogLimits { first_len: 1 << 20, max_len: 64 << 20 }
    }
}

impl LogLimits {
    /// The length that a log begins with.
    pub(crate) fn begin_len(self) -> u64 {
        let block_len = BLOCK_LEN as u64;
        self.first_len.max(LEAST_LEN).next_multiple_of(block_len)
    }

    /// The length that a log of `len` bytes is to have next, beside a data file of `data_len`. It
    /// grows to a quarter of that, or to the usual length if that is more, in steps that double it.
    /// Not more than `len` if it is long enough.
    pub(crate) fn next_len(self, len: u64, data_len: u64) -> u64 {
        let most = self.max_len.max(self.begin_len());
        let least = USUAL_LEN.clamp(self.begin_len(), most);
        let goal = (data_len / 4).clamp(least, most);
        let block_len = BLOCK_LEN as u64;
        goal.min(len.saturating_mul(2)) / block_len * block_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    /// The lengths that a log has, one after the other.
    fn lengths(first_len: u64, max_len: u64, data_len: u64) -> Vec<u64> {
        let limits = LogLimits { first_len, max_len };
        let longer = |len: &u64| {
            let next = limits.next_len(*len, data_len);
            (next > *len).then_some(next)
        };
        std::iter::successors(Some(first_len), longer).collect()
    }

    #[test]
    fn it_doubles_up_to_a_quarter_of_the_data_or_the_usual_length() {
        for data_len in [0, 64 * MIB] {
            assert_eq!(lengths(5 * MIB, 1024 * MIB, data_len), [5, 10, 16].map(|len| len * MIB));
        }
        assert_eq!(lengths(60 * MIB, 1024 * MIB, 400 * MIB), [60 * MIB, 100 * MIB]);
        assert_eq!(lengths(600 * MIB, 1024 * MIB, u64::MAX), [600 * MIB, 1024 * MIB]);
    }

    #[test]
    fn it_keeps_its_limits() {
        assert_eq!(lengths(64 * KIB, 160 * KIB, u64::MAX), [64, 128, 160].map(|len| len * KIB));
        assert_eq!(lengths(64 * KIB, 70_000, 0), [64 * KIB, 17 * 4096]);
        let shortest = LogLimits { first_len: 5_000, max_len: 0 };
        assert_eq!(shortest.begin_len(), 28 * KIB);
        // The first length is one of them, and begins as what it is.
        assert_eq!(lengths(MIB, 0, u64::MAX), [MIB]);
        assert_eq!(lengths(128 * MIB, 1024 * MIB, 0), [128 * MIB]);
        // One that an earlier open has made longer stays as it is.
        let limits = LogLimits { first_len: MIB, max_len: 2 * MIB };
        assert!(limits.next_len(8 * MIB, 0) <= 8 * MIB);
    }
}
