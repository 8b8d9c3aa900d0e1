//! Drawing a plan from a seed.

use yieldb::Durability;

use super::{Change, CrashKind, Edit, Ending, Operation, Plan, Read, Shape, Way};
use crate::host::Patience;
use crate::model::Value;
use crate::profile::Profile;
use crate::random::Random;

/// How many trees there are at most, the main one included.
const TREES: u64 = 4;

impl Plan {
    /// The plan of a seed.
    pub fn draw(seed: u64, profile: Profile) -> Plan {
        let mut random = Random::new(seed);
        let profile = profile.of_seed(&mut random);
        let shape = profile.shape(&mut random);
        let mut log = Random::new(seed ^ LOG_STREAM);
        let session_moments = session_moments(seed, profile);
        let shape = Shape { log: profile.log(&mut log), session_moments, ..shape };
        let mut relaxed = Random::new(seed ^ RELAXED_STREAM);
        let relaxed_one_in = match shape.log {
            Some(_) if relaxed.one_in(2) => 1 + relaxed.below(4),
            _ => 0,
        };
        let compaction = Random::new(seed ^ COMPACTION_STREAM);
        let mut draw = Draw { random, log, relaxed, relaxed_one_in, compaction, shape, tag: 0 };
        let mut operations = draw.operations(profile);
        draw.add_checkpoints(&mut operations, seed);
        draw.use_moments_up(&mut operations, seed);
        Plan { seed, profile, shape: draw.shape, operations }
    }
}

/// What concerns the log has a stream of its own: all else is the same with and without one.
const LOG_STREAM: u64 = 0x6c6f_6721;

/// So has which commits are relaxed.
const RELAXED_STREAM: u64 = 0x7265_6c61_7821;

/// So has when the file is made shorter.
const COMPACTION_STREAM: u64 = 0x636f_6d70_6163_7421;

/// So has when a checkpoint is asked for.
const CHECKPOINT_STREAM: u64 = 0x6368_6563_6b70_7421;

/// So has how long sessions are.
const SESSION_STREAM: u64 = 0x7365_7373_696f_6e21;

/// Short sessions in every third plan, of those in which checkpoints succeed: longer than what is
/// done beside two of them.
fn session_moments(seed: u64, profile: Profile) -> u32 {
    let mut random = Random::new(seed ^ SESSION_STREAM);
    match profile {
        Profile::Crashes | Profile::Damage | Profile::Lies if random.one_in(3) => {
            128 + random.below(128) as u32
        }
        _ => u32::MAX,
    }
}

struct Draw {
    random: Random,
    log: Random,
    relaxed: Random,
    /// One commit in so many is relaxed; 0 for none.
    relaxed_one_in: u64,
    compaction: Random,
    shape: Shape,
    tag: u32,
}

impl Draw {
    fn operations(&mut self, profile: Profile) -> Vec<Operation> {
        // Something to begin with, more often than not.
        let mut operations = Vec::new();
        if !self.random.one_in(4) {
            let count = 5 + self.random.below(u64::from(self.shape.keys));
            let changes = (0..count).map(|_| self.put(0)).collect();
            operations
                .push(Operation::Transaction { changes, ending: Ending::Commit(Way::default()) });
        }
        let count = 4 + self.random.below(profile.operations());
        for _ in 0..count {
            let operation = self.operation();
            let way = operation.way();
            operations.push(operation);
            if self.relaxed_one_in > 0 {
                operations.extend(way.and_then(|way| self.follow(way)));
            }
            if self.compaction.one_in(12) {
                let polls = self.compaction.below(60) as u8;
                let is_dropped = self.compaction.one_in(4) && self.shape.drops;
                operations.push(Operation::Compact(is_dropped.then_some(polls)));
            }
        }
        operations
    }

    /// Of plans with short sessions: transactions that come to nothing, many in a row.
    fn use_moments_up(&self, operations: &mut Vec<Operation>, seed: u64) {
        if self.shape.session_moments == u32::MAX {
            return;
        }
        let mut random = Random::new(!seed ^ SESSION_STREAM);
        for operation in std::mem::take(operations) {
            operations.push(operation);
            if random.one_in(2) {
                let nothing = Operation::Transaction { changes: vec![], ending: Ending::GiveUp };
                let count = 8 + random.below(9) as usize;
                operations.extend(std::iter::repeat_n(nothing, count));
                operations.push(Operation::Checkpoint(None));
            }
        }
    }

    /// Of every third plan: checkpoints are asked for behind some operations.
    fn add_checkpoints(&self, operations: &mut Vec<Operation>, seed: u64) {
        let mut random = Random::new(seed ^ CHECKPOINT_STREAM);
        if !random.one_in(3) {
            return;
        }
        let one_in = 2 + random.below(6);
        for operation in std::mem::take(operations) {
            operations.push(operation);
            if random.one_in(one_in) {
                let polls = random.below(10) as u8;
                let is_dropped = random.one_in(3) && self.shape.drops;
                operations.push(Operation::Checkpoint(is_dropped.then_some(polls)));
            }
        }
    }

    /// What comes behind a commit: one that nobody waits for gets company, and what is relaxed may
    /// be synced.
    fn follow(&mut self, way: Way) -> Option<Operation> {
        match way.durability {
            Durability::Sync if way.patience.is_some() => {
                self.tag += 1;
                let key = self.relaxed.below(u64::from(self.shape.keys)) as u16;
                let value = Value { tag: self.tag, len: self.relaxed.below(1_000) as u32 };
                let change = Change { tree: 0, edit: Edit::Put(key, value), patience: None };
                let way = Way { patience: None, durability: Durability::Relaxed };
                let (changes, ending) = (vec![change], Ending::Commit(way));
                Some(Operation::Transaction { changes, ending })
            }
            Durability::Relaxed if self.relaxed.one_in(3) => {
                let polls = self.relaxed.below(10) as u8;
                let is_dropped = self.relaxed.one_in(6) && self.shape.drops;
                Some(Operation::Sync(is_dropped.then_some(polls)))
            }
            Durability::Sync | Durability::Relaxed => None,
        }
    }

    fn operation(&mut self) -> Operation {
        match self.random.below(100) {
            0..44 => self.transaction(),
            44..52 => self.batch(),
            52..58 => Operation::TakeSnapshot,
            58..62 => Operation::ReleaseSnapshot(self.random.below(8) as u8),
            62..78 => self.read(),
            78..83 => Operation::Check,
            83..88 => Operation::Reopen { is_closed: !self.log.one_in(3) },
            88..98 => self.crash(),
            _ => Operation::MakeRoom,
        }
    }

    fn crash(&mut self) -> Operation {
        let kind = CrashKind::draw(&mut self.random);
        Operation::Crash { kind, ios: self.random.below(40) as u16 }
    }

    fn transaction(&mut self) -> Operation {
        let count = match self.random.below(8) {
            0 => 0,
            1..6 => 1 + self.random.below(8),
            _ => 1 + self.random.below(self.shape.max_changes),
        };
        let changes = (0..count).map(|_| self.change()).collect();
        let ending = match self.random.below(8) {
            0 => Ending::GiveUp,
            _ => Ending::Commit(self.way()),
        };
        Operation::Transaction { changes, ending }
    }

    fn batch(&mut self) -> Operation {
        let count = 1 + self.random.below(20);
        let mut changes = Vec::new();
        for _ in 0..count {
            let tree = self.tree();
            let edit = match self.random.below(10) {
                0 => self.delete_range(),
                1..4 => Edit::Delete(self.key()),
                _ => Edit::Put(self.key(), self.value()),
            };
            changes.push(Change { tree, edit, patience: None });
        }
        Operation::Batch { changes, way: self.way() }
    }

    fn read(&mut self) -> Operation {
        let held = if self.random.one_in(2) { Some(self.random.below(8) as u8) } else { None };
        let read = match self.random.below(8) {
            0..3 => Read::Get(self.tree(), self.key()),
            3..5 => Read::MultiGet(self.tree(), 1 + self.random.below(60) as u16),
            5..7 => Read::Scan { backwards: self.random.one_in(2) },
            _ => Read::Count(self.tree(), self.key(), self.key()),
        };
        Operation::Read { held, read, patience: self.patience(8) }
    }

    fn change(&mut self) -> Change {
        let tree = self.tree();
        if self.random.below(10) < self.shape.growth && self.random.one_in(2) {
            return self.put(tree);
        }
        let edit = match self.random.below(100) {
            0..12 => Edit::Put(self.key(), self.value()),
            12..17 => Edit::PutParts(self.key(), self.value()),
            17..25 => Edit::Insert(self.key(), self.value()),
            25..30 => Edit::Update(self.key(), self.value()),
            30..35 => Edit::Swap(self.key(), self.value()),
            35..58 => Edit::Delete(self.key()),
            58..64 => self.delete_range(),
            64..72 => Edit::Get(self.key()),
            72..76 => Edit::Scan,
            76..82 => Edit::Savepoint,
            82..86 => Edit::RollBack,
            86..92 => Edit::CreateTree,
            92..94 => Edit::DropTree,
            94..96 => Edit::RenameTree(self.tree()),
            _ => self.bulk_load(),
        };
        let patience = self.patience(16);
        Change { tree, edit, patience }
    }

    fn put(&mut self, tree: u8) -> Change {
        let edit = Edit::Put(self.key(), self.value());
        Change { tree, edit, patience: self.patience(24) }
    }

    fn delete_range(&mut self) -> Edit {
        let from = self.random.below(u64::from(self.shape.keys)) as u16;
        let len = 1 + self.random.below(u64::from(self.shape.keys) / 2 + 1) as u16;
        Edit::DeleteRange(from, from.saturating_add(len).min(self.shape.keys - 1))
    }

    fn bulk_load(&mut self) -> Edit {
        let count = 1 + self.random.below(4 * u64::from(self.shape.keys)) as u16;
        let mut first = self.value();
        first.len = first.len.min(1 << 10);
        self.tag += u32::from(count);
        Edit::BulkLoad { count, first, in_order: self.random.one_in(2) }
    }

    /// Most is done to the main tree.
    fn tree(&mut self) -> u8 {
        if self.random.one_in(3) { self.random.below(TREES) as u8 } else { 0 }
    }

    fn key(&mut self) -> u16 {
        self.random.below(u64::from(self.shape.keys)) as u16
    }

    /// A value whose length's logarithm is evenly distributed.
    fn value(&mut self) -> Value {
        self.tag += 1;
        let bits = 64 - u64::from(self.shape.max_value_len).leading_zeros();
        let power = self.random.below(u64::from(bits) + 1);
        let len = self.random.below(1 << power).min(u64::from(self.shape.max_value_len)) as u32;
        Value { tag: self.tag, len }
    }

    fn way(&mut self) -> Way {
        let is_relaxed = self.relaxed_one_in > 0 && self.relaxed.one_in(self.relaxed_one_in);
        let durability = if is_relaxed { Durability::Relaxed } else { Durability::Sync };
        Way { patience: self.commit_patience(), durability }
    }

    /// With a log, more commits are dropped early: the next one goes on beside them.
    fn commit_patience(&mut self) -> Patience {
        let patience = self.patience(6);
        let polls = 1 + self.log.below(3) as u8;
        match self.log.one_in(3) && self.shape.log.is_some() && self.shape.drops {
            true => Some(polls),
            false => patience,
        }
    }

    /// One operation in so many is dropped.
    fn patience(&mut self, one_in: u64) -> Patience {
        let polls = self.random.below(10) as u8;
        (self.random.one_in(one_in) && self.shape.drops).then_some(polls)
    }
}
