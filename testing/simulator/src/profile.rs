//! Kinds of runs: which faults there are, and how large things are.

use std::str::FromStr;

use yieldb::LogLimits;
use yieldb_core::named;

use crate::computer::{FaultKind, FaultRates};
use crate::plan::Shape;
use crate::random::Random;

named! {
    /// What kind of run a seed makes.
    pub enum Profile {
        /// One of the others but `small`; the seed says which.
        All = "all",
        /// Kills and power cuts, and nothing else that goes wrong.
        Crashes = "crashes",
        /// I/O that fails, or is done in part, besides.
        Errors = "errors",
        /// One piece of damage that the disk says nothing of.
        Damage = "damage",
        /// A disk that says that it has synced, and has not.
        Lies = "lies",
        /// Large pages and values, bulk loads, caches that are too small.
        Large = "large",
        /// A few small transactions, for sweeps.
        Small = "small",
    }
}

/// The shortest log, in blocks.
const LEAST_LOG: u64 = 7;

impl Profile {
    /// Those that a seed chooses from, and how often of a hundred times each.
    const SHARES: [(Profile, u64); 5] = [
        (Profile::Crashes, 60),
        (Profile::Errors, 22),
        (Profile::Damage, 8),
        (Profile::Lies, 4),
        (Profile::Large, 6),
    ];

    /// The profile itself, or the one that is drawn.
    pub fn of_seed(self, random: &mut Random) -> Profile {
        let mut at = random.below(100);
        if self != Profile::All {
            return self;
        }
        for (profile, share) in Profile::SHARES {
            if at < share {
                return profile;
            }
            at -= share;
        }
        unreachable!("the shares are a hundred")
    }

    /// The faults that must have fired in enough runs of it.
    pub fn faults(self) -> Vec<FaultKind> {
        match self {
            Profile::All => {
                Profile::SHARES.iter().flat_map(|(profile, _)| profile.faults()).collect()
            }
            Profile::Crashes | Profile::Large | Profile::Small => Vec::new(),
            Profile::Errors => ERRORS.iter().map(|(kind, _)| *kind).collect(),
            Profile::Damage => DAMAGE.to_vec(),
            Profile::Lies => vec![FaultKind::LyingSync],
        }
    }

    /// How many operations a run has at most, less four.
    pub fn operations(self) -> u64 {
        match self {
            Profile::Large => 14,
            Profile::Small => 3,
            _ => 24,
        }
    }

    /// How things are set up.
    pub fn shape(self, random: &mut Random) -> Shape {
        let is_small = self == Profile::Small;
        let is_large = match self {
            Profile::Large => true,
            Profile::Errors | Profile::Damage => random.one_in(5),
            _ => false,
        };
        let page_size = match random.below(if is_large { 3 } else { 8 }) {
            0 => 4096 << random.below(5),
            _ => 4096,
        };
        let max_value_len = match (is_large, random.below(6)) {
            _ if is_small => 1_300,
            (true, 0) => 300_000,
            (true, 1..3) => 40_000,
            (false, 0..2) => 9_000,
            _ => 1_300,
        };
        let keys = match (is_large, is_small) {
            (true, _) => 100 + random.below(300),
            (_, true) => 4 + random.below(8),
            _ => 8 + random.below(90),
        };
        let cache_pages = if random.one_in(2) { 64 } else { 64 << random.below(3) };
        let is_reordered = !random.one_in(8);
        Shape {
            page_size,
            cache_pages,
            log: None,
            keys: keys as u16,
            has_long_keys: random.one_in(3),
            max_changes: if is_large { 400 } else { 60 },
            max_value_len,
            growth: 3 + random.below(6),
            is_reordered,
            yield_one_in: if random.one_in(2) { 0 } else { 1 + random.below(30) },
            drops: !random.one_in(3),
            session_moments: u32::MAX,
            crash_one_in: if is_large { 40 } else { 3 },
            is_exhaustive: false,
            faults: self.rates(random),
        }
    }

    /// How long the log is: none, or from the least that works up to what is seldom full.
    pub fn log(self, random: &mut Random) -> Option<LogLimits> {
        let blocks = match random.below(8) {
            0 => return None,
            1..4 => LEAST_LOG,
            4..7 => LEAST_LOG + random.below(12),
            _ => LEAST_LOG + random.below(40),
        };
        let first_len = blocks * 4096;
        Some(LogLimits { first_len, max_len: first_len << random.below(3) })
    }

    fn rates(self, random: &mut Random) -> FaultRates {
        let rates = FaultRates::none();
        match self {
            Profile::All | Profile::Crashes | Profile::Large | Profile::Small => rates,
            Profile::Lies => rates.with(FaultKind::LyingSync, 1).after(random.below(60)),
            Profile::Damage => {
                let kind = DAMAGE[random.index(DAMAGE.len())];
                rates.with(kind, 1 + random.below(60)).after(random.below(100)).budget(1)
            }
            Profile::Errors => errors(rates, random),
        }
    }
}

/// Several kinds of errors, each as rare as a run of a few hundred I/Os needs it.
fn errors(mut rates: FaultRates, random: &mut Random) -> FaultRates {
    for (kind, one_in) in ERRORS {
        if random.one_in(4) {
            rates = rates.with(*kind, one_in + random.below(3 * one_in));
        }
    }
    rates.after(random.below(80)).budget(1 + random.below(40) as u32)
}

/// What can go wrong without damage, and how rare it is where it is.
const ERRORS: &[(FaultKind, u64)] = &[
    (FaultKind::ShortRead, 4),
    (FaultKind::ShortWrite, 4),
    (FaultKind::ZeroWrite, 40),
    (FaultKind::Interrupted, 3),
    (FaultKind::ReadError, 20),
    (FaultKind::ReadErrorLasting, 100),
    (FaultKind::WriteError, 40),
    (FaultKind::WriteErrorLasting, 100),
    (FaultKind::UnreadableSector, 40),
    (FaultKind::NoSpace, 8),
    (FaultKind::NoSpaceLasting, 4),
    (FaultKind::SyncErrorKept, 20),
    (FaultKind::SyncErrorDropped, 20),
    (FaultKind::SlotSyncError, 20),
    (FaultKind::SlotSyncErrorDropped, 20),
    (FaultKind::DirectorySyncError, 4),
    (FaultKind::OpenError, 4),
    (FaultKind::TruncateError, 4),
    (FaultKind::ClockJump, 10),
];

/// What a disk does wrong, and says nothing of.
const DAMAGE: &[FaultKind] = &[
    FaultKind::LostWrite,
    FaultKind::MisdirectedWrite,
    FaultKind::MisdirectedRead,
    FaultKind::BitRot,
];

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Profile, String> {
        Profile::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = Profile::ALL.iter().map(|profile| profile.name()).collect();
            format!("no profile '{name}': {}", names.join(", "))
        })
    }
}
