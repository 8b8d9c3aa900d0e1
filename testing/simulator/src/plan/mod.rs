//! What a seed decides: how the database is set up, and what is done with it.
//!
//! A plan is plain data, made before anything runs: a failing run is shrunk by leaving parts of
//! its plan out.

mod draw;
mod scripts;
mod words;

use yieldb::{Durability, LogLimits};
use yieldb_core::injection::Schedule;

use crate::computer::FaultRates;
use crate::host::Patience;
use crate::model::Value;
use crate::profile::Profile;
use crate::random::Random;

/// A run, before it is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What everything was drawn from, and what everything else is drawn from as the run goes on.
    pub seed: u64,
    /// What kind of run it is.
    pub profile: Profile,
    /// How things are set up.
    pub shape: Shape,
    /// What is done, in this order.
    pub operations: Vec<Operation>,
}

/// How things are set up.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The length of a page in bytes.
    pub page_size: u32,
    /// How many pages are kept in memory.
    pub cache_pages: u64,
    /// How long the log is; `None` where every commit is a checkpoint.
    pub log: Option<LogLimits>,
    /// How many keys there are.
    pub keys: u16,
    /// Are most keys so long that few fit a page, and hard to tell apart?
    pub has_long_keys: bool,
    /// How many changes a transaction has at most.
    pub max_changes: u64,
    /// The longest value, in bytes.
    pub max_value_len: u32,
    /// Of ten changes, how many add something.
    pub growth: u64,
    /// Do requests finish in another order than they were submitted in?
    pub is_reordered: bool,
    /// One transition in so many yields first; 0 for none.
    pub yield_one_in: u64,
    /// How many moments a session has: the next one goes on behind so many transactions and
    /// savepoints.
    pub session_moments: u32,
    /// Are operations dropped half-way?
    pub drops: bool,
    /// At one I/O in so many a crash is tried, aside from those that the run goes on from.
    pub crash_one_in: u64,
    /// Are all crashes tried, at every I/O?
    pub is_exhaustive: bool,
    /// Which faults there are.
    pub faults: FaultRates,
}

/// One thing that is done.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Changes in a transaction.
    Transaction {
        /// One after the other.
        changes: Vec<Change>,
        /// And then?
        ending: Ending,
    },
    /// Changes that are made together.
    Batch {
        /// Only puts, deletes and deletes of ranges.
        changes: Vec<Change>,
        /// How they are committed.
        way: Way,
    },
    /// Makes all commits durable that are acknowledged.
    Sync(Patience),
    /// Makes a checkpoint of what is acknowledged.
    Checkpoint(Patience),
    /// Makes the file shorter.
    Compact(Patience),
    /// Takes a snapshot and keeps it.
    TakeSnapshot,
    /// Compares a snapshot, and lets go of it.
    ReleaseSnapshot(u8),
    /// Reads.
    Read {
        /// Which snapshot is read; `None` for the newest version.
        held: Option<u8>,
        /// What is read.
        read: Read,
        /// When the operation is dropped.
        patience: Patience,
    },
    /// Looks for damage and for lost pages.
    Check,
    /// Closes the database, or only drops it, and opens it again.
    Reopen {
        /// Is it closed?
        is_closed: bool,
    },
    /// Soon everything ends, and goes on with what a crash left.
    Crash {
        /// What crashes.
        kind: CrashKind,
        /// After so many more I/Os.
        ios: u16,
    },
    /// There is room on the medium again.
    MakeRoom,
}

/// What crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// The process: what it wrote stays visible, and may still vanish later.
    Kill,
    /// The machine: what was not synced vanishes, wholly or in part.
    PowerCut,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// It is committed.
    Commit(Way),
    /// It is dropped.
    GiveUp,
}

/// How something is committed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// When the operation is dropped: whoever is out of patience does not wait for the outcome.
    pub patience: Patience,
    /// How durable it is when it is acknowledged.
    pub durability: Durability,
}

/// One operation of a transaction.
#[derive(Clone, Debug)]
pub struct Change {
    /// On which tree.
    pub tree: u8,
    /// What it does.
    pub edit: Edit,
    /// When it is dropped.
    pub patience: Patience,
}

/// What is done to a tree.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Stores a value.
    Put(u16, Value),
    /// Stores a value part by part.
    PutParts(u16, Value),
    /// Stores a value if there is none.
    Insert(u16, Value),
    /// Replaces a short value, deletes a long one.
    Update(u16, Value),
    /// Stores a value if the one that is there is what it is believed to be.
    Swap(u16, Value),
    /// Deletes an entry.
    Delete(u16),
    /// Deletes the entries from one key on up to another.
    DeleteRange(u16, u16),
    /// Reads an entry.
    Get(u16),
    /// Reads everything.
    Scan,
    /// Notes what things are like.
    Savepoint,
    /// Goes back to the last savepoint.
    RollBack,
    /// Makes a tree.
    CreateTree,
    /// Drops the tree.
    DropTree,
    /// Gives the tree the name of another one.
    RenameTree(u8),
    /// Fills an empty tree with so many entries, in order or not.
    BulkLoad {
        /// How many.
        count: u16,
        /// Of which values; each has a tag of its own from this one on.
        first: Value,
        /// Are the keys in order?
        in_order: bool,
    },
}

/// What is read of a snapshot.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// One entry of a tree.
    Get(u8, u16),
    /// Many entries at once.
    MultiGet(u8, u16),
    /// Everything, forwards or backwards.
    Scan {
        /// From the last entry to the first?
        backwards: bool,
    },
    /// The entries from a key on up to another, counted.
    Count(u8, u16, u16),
}

impl Operation {
    /// How it commits, if it does.
    pub fn way(&self) -> Option<Way> {
        match self {
            Operation::Transaction { ending: Ending::Commit(way), .. }
            | Operation::Batch { way, .. } => Some(*way),
            _ => None,
        }
    }

    /// When what it does is dropped, for each part that can be.
    pub fn patiences(&mut self) -> Vec<&mut Patience> {
        match self {
            Operation::Transaction { changes, ending } => {
                let way = match ending {
                    Ending::Commit(way) => Some(&mut way.patience),
                    Ending::GiveUp => None,
                };
                changes.iter_mut().map(|change| &mut change.patience).chain(way).collect()
            }
            Operation::Batch { way, .. } => vec![&mut way.patience],
            Operation::Sync(patience)
            | Operation::Checkpoint(patience)
            | Operation::Compact(patience)
            | Operation::Read { patience, .. } => vec![patience],
            _ => Vec::new(),
        }
    }
}

impl CrashKind {
    /// One of the two.
    pub fn draw(random: &mut Random) -> CrashKind {
        if random.one_in(2) { CrashKind::Kill } else { CrashKind::PowerCut }
    }
}

impl Plan {
    /// Which transitions yield first.
    pub fn schedule(&self) -> Schedule {
        match self.shape.yield_one_in {
            0 => Schedule::Never,
            one_in => Schedule::Random { seed: self.seed, one_in },
        }
    }

    /// The key with a number: most are short, some so long that few fit a page. Long ones differ at
    /// their beginnings only from the next but seven, so that the nodes above them are full early.
    pub fn key(&self, number: u16) -> Vec<u8> {
        let number = number % self.shape.keys;
        let digits = format!("{number:05}");
        let page_len = self.shape.page_size as usize;
        match number % 13 {
            0..11 if self.shape.has_long_keys => {
                let mut key = vec![b'a' + (number % 8) as u8; page_len / 6];
                key.extend_from_slice(digits.as_bytes());
                key
            }
            3 => format!("{digits:.<60}").into_bytes(),
            7 => {
                let mut key = digits.into_bytes();
                key.resize(page_len / 8, b'.');
                key
            }
            _ => digits.into_bytes(),
        }
    }

    /// The name of a tree.
    pub fn tree_name(tree: u8) -> Vec<u8> {
        match tree {
            0 => crate::model::MAIN_NAME.to_vec(),
            _ => format!("tree-{tree}").into_bytes(),
        }
    }
}
