//! A plan in words, for whoever reads what a failing run did.

use std::fmt;

use yieldb::Durability;

use super::{Change, CrashKind, Edit, Ending, Operation, Plan, Read, Way};
use crate::host::Patience;
use crate::model::Value;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "value {} of {} bytes", self.tag, self.len)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Transaction { changes, ending } => {
                write!(f, "a transaction: ")?;
                list(f, changes)?;
                match ending {
                    Ending::Commit(way) => write!(f, "; commit{way}"),
                    Ending::GiveUp => write!(f, "; given up"),
                }
            }
            Operation::Batch { changes, way } => {
                write!(f, "a batch{way}: ")?;
                list(f, changes)
            }
            Operation::Sync(patience) => write!(f, "sync{}", dropped(*patience)),
            Operation::Checkpoint(patience) => write!(f, "checkpoint{}", dropped(*patience)),
            Operation::Compact(patience) => write!(f, "compact{}", dropped(*patience)),
            Operation::TakeSnapshot => write!(f, "take a snapshot"),
            Operation::ReleaseSnapshot(index) => write!(f, "release snapshot {index}"),
            Operation::Read { held, read, patience } => {
                write!(f, "{read}{}", dropped(*patience))?;
                match held {
                    Some(index) => write!(f, " in snapshot {index}"),
                    None => write!(f, " in the newest version"),
                }
            }
            Operation::Check => write!(f, "check"),
            Operation::Reopen { is_closed: true } => write!(f, "close and open again"),
            Operation::Reopen { is_closed: false } => write!(f, "drop and open again"),
            Operation::Crash { kind: CrashKind::Kill, ios } => {
                write!(f, "the process will be killed after {ios} I/Os")
            }
            Operation::Crash { kind: CrashKind::PowerCut, ios } => {
                write!(f, "the power will be cut after {ios} I/Os")
            }
            Operation::MakeRoom => write!(f, "there is room on the medium again"),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.durability {
            Durability::Sync => {}
            Durability::Relaxed => write!(f, " relaxed")?,
        }
        write!(f, "{}", dropped(self.patience))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tree = String::from_utf8_lossy(&Plan::tree_name(self.tree)).into_owned();
        match &self.edit {
            Edit::Put(key, value) => write!(f, "put {value} under {key}"),
            Edit::PutParts(key, value) => write!(f, "put {value} in parts under {key}"),
            Edit::Insert(key, value) => write!(f, "insert {value} under {key}"),
            Edit::Update(key, value) => write!(f, "update {key} to {value}"),
            Edit::Swap(key, value) => write!(f, "swap {key} for {value}"),
            Edit::Delete(key) => write!(f, "delete {key}"),
            Edit::DeleteRange(from, to) => write!(f, "delete {from}..{to}"),
            Edit::Get(key) => write!(f, "get {key}"),
            Edit::Scan => write!(f, "scan"),
            Edit::Savepoint => return write!(f, "savepoint"),
            Edit::RollBack => return write!(f, "roll back"),
            Edit::CreateTree => write!(f, "create"),
            Edit::DropTree => write!(f, "drop"),
            Edit::RenameTree(to) => write!(f, "rename to tree-{to}"),
            Edit::BulkLoad { count, first, in_order: true } => {
                write!(f, "load {count} in order from {first}")
            }
            Edit::BulkLoad { count, first, in_order: false } => {
                write!(f, "load {count} from {first}")
            }
        }?;
        if self.tree != 0 {
            write!(f, " in {tree}")?;
        }
        write!(f, "{}", dropped(self.patience))
    }
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Read::Get(tree, key) => write!(f, "get {key} of tree {tree}"),
            Read::MultiGet(tree, count) => write!(f, "get {count} keys at once of tree {tree}"),
            Read::Scan { backwards: false } => write!(f, "scan"),
            Read::Scan { backwards: true } => write!(f, "scan backwards"),
            Read::Count(tree, from, to) => write!(f, "count {from}..{to} of tree {tree}"),
        }
    }
}

fn dropped(patience: Patience) -> String {
    patience.map_or_else(String::new, |polls| format!(" (dropped after {polls} polls)"))
}

/// How many changes are listed.
const LISTED: usize = 12;

fn list(f: &mut fmt::Formatter<'_>, changes: &[Change]) -> fmt::Result {
    for (index, change) in changes.iter().take(LISTED).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{change}")?;
    }
    match changes.len().checked_sub(LISTED) {
        Some(more @ 1..) => write!(f, " and {more} more"),
        _ => Ok(()),
    }
}
