//! What goes wrong: which faults there are, which of them fire, and how many of each did.

use yieldb_core::named;

use crate::random::Random;

/// How many kinds of faults there are.
pub const KINDS: usize = FaultKind::ALL.len();

named! {
    /// Something that can go wrong with a request.
    pub enum FaultKind {
        /// A read brings fewer bytes than there are.
        ShortRead = "short-read",
        /// A write takes fewer bytes than it was given.
        ShortWrite = "short-write",
        /// A write takes none and says so, which is the end of it: `EIO`.
        ZeroWrite = "zero-write",
        /// A request comes to nothing and is to be made again: `EINTR`, `EAGAIN`, `ECANCELED`.
        Interrupted = "interrupted",
        /// A read fails, once.
        ReadError = "read-error",
        /// A write fails, once. Some sectors of it may have changed.
        WriteError = "write-error",
        /// From now on every read fails.
        ReadErrorLasting = "read-error-lasting",
        /// From now on every write fails. Some sectors may change all the same.
        WriteErrorLasting = "write-error-lasting",
        /// From now on a block of the file cannot be read: one that is being read.
        UnreadableSector = "unreadable-sector",
        /// There is no room for a write or a truncation that grows, an allocation, or what a sync
        /// covers, once: `ENOSPC` or `EDQUOT`.
        NoSpace = "no-space",
        /// From now on nothing can grow, until there is room.
        NoSpaceLasting = "no-space-lasting",
        /// A sync fails. What was pending is still pending.
        SyncErrorKept = "sync-error-kept",
        /// A sync fails, and the kernel forgets that anything was pending. All of it is still seen;
        /// what of it is durable is a matter of chance, and no later sync changes that.
        SyncErrorDropped = "sync-error-dropped",
        /// A durable write is made, and is not durable: its sync fails.
        SlotSyncError = "slot-sync-error",
        /// The same, and the kernel forgets that the bytes were pending: they are seen, any part of
        /// them is durable, and no later sync changes that.
        SlotSyncErrorDropped = "slot-sync-error-dropped",
        /// The sync of a directory fails. What was pending is still pending.
        DirectorySyncError = "directory-sync-error",
        /// A file cannot be opened: `EMFILE` or `EIO`.
        OpenError = "open-error",
        /// A truncation, an allocation, a removal or a rename fails.
        TruncateError = "truncate-error",
        /// The length of a file cannot be told.
        SizeError = "size-error",
        /// From now on syncs and durable writes make nothing durable, and say that they did.
        LyingSync = "lying-sync",
        /// A write says that it was made, and was not.
        LostWrite = "lost-write",
        /// A write lands at other blocks of its file.
        MisdirectedWrite = "misdirected-write",
        /// A read brings another block of its file in the place of one.
        MisdirectedRead = "misdirected-read",
        /// A bit of what is durable turns over.
        BitRot = "bit-rot",
        /// The clock jumps far ahead.
        ClockJump = "clock-jump",
    }
}

impl FaultKind {
    /// Does it leave the engine with other bytes, now or after a crash, than it was promised, and
    /// without an error? The engine may then tell of damage, or answer right; never wrong.
    pub fn is_damage(self) -> bool {
        use FaultKind::*;
        matches!(
            self,
            UnreadableSector | LyingSync | LostWrite | MisdirectedWrite | MisdirectedRead | BitRot
        )
    }

    /// Is nothing of it to be seen above the drivers?
    pub fn is_invisible(self) -> bool {
        use FaultKind::*;
        matches!(self, ShortRead | ShortWrite | Interrupted | ClockJump)
    }
}

/// How many faults of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; KINDS]);

impl Counts {
    /// How many of one kind.
    pub fn of(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }

    /// How many of all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Counts) {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own += other);
    }

    /// The kinds, and how many of each.
    pub fn iter(&self) -> impl Iterator<Item = (FaultKind, u64)> + '_ {
        FaultKind::ALL.iter().map(|kind| (*kind, self.of(*kind)))
    }

    fn count(&mut self, kind: FaultKind) {
        self.0[kind as usize] += 1;
    }
}

/// How often which fault fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRates {
    one_in: [u64; KINDS],
    budget: u32,
    after: u64,
}

impl Default for FaultRates {
    fn default() -> Self {
        FaultRates::none()
    }
}

impl FaultRates {
    /// Nothing goes wrong.
    pub fn none() -> FaultRates {
        FaultRates { one_in: [0; KINDS], budget: u32::MAX, after: 0 }
    }

    /// This kind fires once in `one_in` requests that it can happen to; never for 0.
    pub fn with(mut self, kind: FaultKind, one_in: u64) -> FaultRates {
        self.one_in[kind as usize] = one_in;
        self
    }

    /// At most so many fire in all; any number for `u32::MAX`.
    pub fn budget(mut self, budget: u32) -> FaultRates {
        self.budget = budget;
        self
    }

    /// None fires before so many requests are over.
    pub fn after(mut self, finished: u64) -> FaultRates {
        self.after = finished;
        self
    }

    /// How rare this kind is; 0 for never.
    pub fn one_in(&self, kind: FaultKind) -> u64 {
        self.one_in[kind as usize]
    }

    /// Can anything fire?
    pub fn is_none(&self) -> bool {
        self.budget == 0 || self.one_in == [0; KINDS]
    }
}

/// What goes wrong with one computer.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    rates: FaultRates,
    is_any: bool,
    random: Random,
    pub counts: Counts,
    /// Requests that are over.
    pub finished: u64,
    /// The last that fired at this request, for the log.
    pub last: Option<FaultKind>,
    /// Does every read fail?
    pub reads_fail: bool,
    /// Does every write fail?
    pub writes_fail: bool,
    /// Is there no room?
    pub is_full: bool,
    /// Does a sync make nothing durable?
    pub syncs_lie: bool,
}

impl Faults {
    pub fn new(rates: FaultRates, random: Random) -> Faults {
        Faults {
            rates,
            is_any: !rates.is_none(),
            random,
            counts: Counts::default(),
            finished: 0,
            last: None,
            reads_fail: false,
            writes_fail: false,
            is_full: false,
            syncs_lie: false,
        }
    }

    /// Other rates from now on; what lasts, lasts.
    pub fn set_rates(&mut self, rates: FaultRates) {
        self.rates = rates;
        self.is_any = !rates.is_none();
    }

    /// The stream that decides about faults.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// May this fault fire at all?
    pub fn can_fire(&self, kind: FaultKind) -> bool {
        self.is_any && self.rates.one_in(kind) > 0
    }

    /// Does this fault fire, at a request that it can happen to?
    pub fn fires(&mut self, kind: FaultKind) -> bool {
        if !self.is_any {
            return false;
        }
        let one_in = self.rates.one_in(kind);
        if one_in == 0 || self.finished < self.rates.after || !self.random.one_in(one_in) {
            return false;
        }
        self.rates.budget = match self.rates.budget {
            u32::MAX => u32::MAX,
            budget => budget - 1,
        };
        self.is_any = self.rates.budget > 0;
        self.counts.count(kind);
        self.last = Some(kind);
        true
    }

    /// Has anything happened that may be told as damage?
    pub fn damage_fired(&self) -> bool {
        self.counts.iter().any(|(kind, count)| count > 0 && kind.is_damage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_budgets_and_beginnings_are_kept() {
        let rates = FaultRates::none().with(FaultKind::BitRot, 2).budget(3).after(10);
        let mut faults = Faults::new(rates, Random::new(1));
        assert!(!(0..100).any(|_| faults.fires(FaultKind::BitRot)), "too early");
        faults.finished = 10;
        let fired = (0..100).filter(|_| faults.fires(FaultKind::BitRot)).count();
        assert_eq!(fired, 3);
        assert!(!faults.fires(FaultKind::ReadError));
        assert_eq!((faults.counts.of(FaultKind::BitRot), faults.counts.total()), (3, 3));
        assert!(faults.damage_fired());
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let mut names: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS);
        assert!(FaultKind::ALL.iter().all(|kind| !(kind.is_damage() && kind.is_invisible())));
    }
}
