//! When a page was made.

use yieldb_core::session_moments;

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

    /// The session: one more with each time the file is opened for writing, and when the moments of
    /// one are over.
    pub const fn session(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The moment within the session.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next moment. Behind the last one of a session comes the first one of the next: that has
    /// to be claimed before, see the ledger.
    #[must_use]
    pub fn next(self) -> Stamp {
        match self.counter().checked_add(1) {
            Some(counter) if counter < session_moments!() => Stamp::new(self.session(), counter),
            _ => Stamp::new(self.session() + 1, 0),
        }
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
