//! Plans that were written by hand, for what seeds seldom come to.

use super::{Change, Edit, Ending, Operation, Plan, Read, Shape, Way};
use crate::computer::FaultRates;
use crate::model::Value;
use crate::profile::Profile;

impl Plan {
    /// A transaction that is too large for its share of the cache, and given up when pages of it
    /// are written; another one in its place; and everything read from the disk again.
    pub fn given_up_and_done_again() -> Plan {
        let transaction = |first: u32, count: u32, ending| {
            let changes = (0..count).map(|index| put(index as u16, first + index)).collect();
            Operation::Transaction { changes, ending }
        };
        let read =
            Operation::Read { held: None, read: Read::Scan { backwards: false }, patience: None };
        Plan {
            seed: 1,
            profile: Profile::Damage,
            shape: Shape {
                page_size: 4096,
                cache_pages: 64,
                log: None,
                keys: 200,
                has_long_keys: false,
                max_changes: 150,
                max_value_len: 1_000,
                growth: 10,
                is_reordered: false,
                yield_one_in: 0,
                drops: false,
                session_moments: u32::MAX,
                crash_one_in: 1_000,
                is_exhaustive: false,
                faults: FaultRates::none(),
            },
            operations: vec![
                transaction(0, 20, Ending::Commit(Way::default())),
                transaction(1_000, 150, Ending::GiveUp),
                transaction(2_000, 150, Ending::Commit(Way::default())),
                Operation::Reopen { is_closed: true },
                read,
            ],
        }
    }
}

fn put(key: u16, tag: u32) -> Change {
    Change { tree: 0, edit: Edit::Put(key, Value { tag, len: 1_000 }), patience: None }
}
