//! When a page was made.

/// A moment in a file's life: the session above, a counter below. Never given out twice, not even
/// after a transaction was given up or the process was killed.
///
/// Stamps grow with time, so they are also the time line on which pages are born and die.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// The moment `counter` of a session.
    pub const fn new(session: u32, counter: u32) -> Stamp {
        Stamp((session as u64) << 32 | counter as u64)
    }

    /// The session: one more with each time the file is opened for writing.
    pub const fn session(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The moment within the session.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next moment.
    ///
    /// # Panics
    ///
    /// At the end of a session's four thousand million moments: the number would be another
    /// session's.
    #[must_use]
    pub const fn next(self) -> Stamp {
        assert!(self.counter() < u32::MAX, "a session has 2^32 moments; open the database again");
        Stamp(self.0 + 1)
    }

    /// As files store it.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// From a file.
    pub const fn from_u64(bits: u64) -> Stamp {
        Stamp(bits)
    }
}
