//! Which errors may be: those that the faults of a computer explain.

use yieldb::{Error, ErrorKind};

use crate::computer::{Computer, FaultKind};

/// What became of an operation that was in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It failed, and something else can be done.
    Failed,
    /// The database is poisoned: only opening it again helps.
    Poisoned,
    /// The transaction has to be given up.
    Doomed,
}

/// Judges errors by the faults that there were.
#[derive(Clone)]
pub struct Tolerance {
    computer: Computer,
    /// Was there damage before this computer was started?
    was_damaged: bool,
}

/// What makes a database poisoned.
const POISON: &[FaultKind] = &[
    FaultKind::SyncErrorKept,
    FaultKind::SyncErrorDropped,
    FaultKind::SlotSyncError,
    FaultKind::SlotSyncErrorDropped,
    FaultKind::WriteError,
    FaultKind::WriteErrorLasting,
    FaultKind::ZeroWrite,
    FaultKind::NoSpace,
    FaultKind::NoSpaceLasting,
];

/// What takes the room.
const FULL: &[FaultKind] = &[FaultKind::NoSpace, FaultKind::NoSpaceLasting];

/// What makes a read fail that may succeed later.
const READ_ERRORS: &[FaultKind] = &[FaultKind::ReadError, FaultKind::ReadErrorLasting];

impl Tolerance {
    /// For what happens on this computer.
    pub fn new(computer: &Computer, was_damaged: bool) -> Tolerance {
        Tolerance { computer: computer.clone(), was_damaged }
    }

    /// The output of an operation, or what became of it.
    ///
    /// # Errors
    ///
    /// What became of it.
    ///
    /// # Panics
    ///
    /// If nothing explains the error.
    pub fn ok<T>(&self, result: Result<T, Error>) -> Result<T, Trouble> {
        result.map_err(|error| self.trouble(&error))
    }

    /// What an error means.
    ///
    /// # Panics
    ///
    /// If nothing explains it.
    pub fn trouble(&self, error: &Error) -> Trouble {
        let faults = self.computer.faults();
        let is_explained = match error.kind() {
            // A block that cannot be read stays one.
            ErrorKind::NoSpace => FULL.iter().any(|kind| faults.of(*kind) > 0),
            ErrorKind::System => faults.total() > 0 || self.was_damaged,
            ErrorKind::Poisoned => POISON.iter().any(|kind| faults.of(*kind) > 0),
            ErrorKind::Damaged | ErrorKind::Foreign | ErrorKind::LogMissing => self.is_damaged(),
            _ => false,
        };
        let fired: Vec<_> = faults.iter().filter(|(_, count)| *count > 0).collect();
        assert!(is_explained, "an error without a reason: {error} (faults: {fired:?})");
        match error.kind() {
            ErrorKind::Poisoned => Trouble::Poisoned,
            _ => Trouble::Failed,
        }
    }

    /// Damage was found: the operation failed.
    ///
    /// # Panics
    ///
    /// If there was no damage.
    pub fn damage(&self, what: &str) -> Trouble {
        // What cannot be read is damage in the eyes of a check.
        let is_explained = self.is_damaged()
            || what.contains("read of")
                && READ_ERRORS.iter().any(|kind| self.computer.faults().of(*kind) > 0);
        assert!(is_explained, "damage without a reason: {what}");
        Trouble::Failed
    }

    /// Has the disk done anything wrong that it said nothing of?
    pub fn is_damaged(&self) -> bool {
        self.was_damaged || self.computer.damage_fired()
    }

    /// Has anything gone wrong at all?
    pub fn is_disturbed(&self) -> bool {
        self.was_damaged || self.computer.faults().total() > 0
    }
}
