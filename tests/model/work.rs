//! Random operations in one transaction, each beside what it should come to.

use yieldb::{Database, Decision, ErrorKind, IOResult, Op, Savepoint, Tree, WriteTransaction};
use yieldb_core::StateTransition;

use crate::reference::{KEYS, Range, Reference, Rng, Value, key};

/// How many trees there are at most.
pub const TREES: usize = 32;

/// A transaction, and what should be in it.
pub struct Work {
    pub database: Database,
    pub transaction: WriteTransaction,
    pub reference: Reference,
    pub saved: Vec<(Savepoint, Reference)>,
    /// Savepoints and trees that are over.
    pub over: Vec<Savepoint>,
    pub gone: Vec<Tree>,
    pub page_len: u32,
    /// Of ten changes, how many add something.
    pub growth: u64,
}

type Operation = fn(&mut Work, &mut Rng);

/// How often each operation is done, relative to the others.
const OPERATIONS: &[(u64, Operation)] = &[
    (300, Work::put),
    (30, Work::put_value),
    (60, Work::insert),
    (60, Work::compare_and_swap),
    (40, Work::update),
    (110, Work::delete),
    (6, Work::delete_range),
    (120, Work::get),
    (30, Work::read_parts),
    (60, Work::walk),
    (30, Work::edges),
    (20, Work::count_range),
    (20, Work::scan_prefix),
    (15, Work::multi_get),
    (12, Work::create_tree),
    (4, Work::rename_tree),
    (1, Work::drop_tree),
    (4, Work::list_trees),
    (12, Work::savepoint),
    (2, Work::roll_back),
    (12, Work::release),
    (10, Work::misuse),
];

/// How many steps an operation is given before it is dropped; `None`: it is driven to its end.
fn patience(rng: &mut Rng) -> Option<u64> {
    rng.once_in(16).then(|| rng.below(10))
}

/// Drives an operation to its end, or drops it when its steps are used up.
pub fn drive<M: StateTransition<Error: Into<yieldb::Error>>>(
    database: &Database,
    mut op: Op<'_, M>,
    patience: Option<u64>,
) -> Option<M::Output> {
    let Some(steps) = patience else { return Some(op.wait().unwrap()) };
    for _ in 0..steps {
        if let IOResult::Done(output) = op.step().unwrap() {
            return Some(output);
        }
        database.turn();
    }
    None
}

impl Work {
    /// Does one operation of some kind.
    pub fn step(&mut self, rng: &mut Rng) {
        let total = OPERATIONS.iter().map(|(weight, _)| weight).sum();
        let mut at = rng.below(total);
        for (weight, operation) in OPERATIONS {
            if at < *weight {
                return operation(self, rng);
            }
            at -= weight;
        }
        unreachable!("the weights end")
    }

    /// One of the trees.
    pub fn tree(&self, rng: &mut Rng) -> (Vec<u8>, Tree) {
        let at = rng.below(self.reference.trees.len() as u64) as usize;
        let (name, (tree, _)) = self.reference.trees.iter().nth(at).expect("one of them");
        (name.clone(), *tree)
    }

    pub fn key(&self, rng: &mut Rng) -> Vec<u8> {
        key(rng.below(KEYS), self.page_len)
    }

    /// Is what is stored under `key` one of these?
    fn resolve(&mut self, (name, tree): &(Vec<u8>, Tree), key: &[u8], new: Option<Value>) {
        let old = self.reference.entries(name).get(key).copied();
        let found = self.transaction.get(*tree, key).wait().unwrap();
        let is = |value: Option<Value>| match (value, found.as_deref()) {
            (None, None) => true,
            (Some(value), Some(bytes)) => value.is(bytes),
            _ => false,
        };
        if is(new) {
            drop(found);
            self.set(name, key, new);
        } else {
            assert!(is(old), "an operation that was dropped is half done");
        }
    }

    fn set(&mut self, name: &[u8], key: &[u8], value: Option<Value>) -> bool {
        let entries = self.reference.entries_mut(name);
        match value {
            Some(value) => entries.insert(key.to_vec(), value).is_some(),
            None => entries.remove(key).is_some(),
        }
    }

    fn put(&mut self, rng: &mut Rng) {
        if rng.below(10) >= self.growth {
            return self.delete(rng);
        }
        let (at, key, value) = (self.tree(rng), self.key(rng), Value::random(rng));
        let op = self.transaction.put(at.1, &key, value.bytes());
        match drive(&self.database, op, patience(rng)) {
            Some(existed) => assert_eq!(existed, self.set(&at.0, &key, Some(value))),
            None => self.resolve(&at, &key, Some(value)),
        }
        assert_eq!(
            self.transaction.count(at.1).unwrap(),
            self.reference.entries(&at.0).len() as u64
        );
    }

    /// Stores a value piece by piece; now and then ends it early.
    fn put_value(&mut self, rng: &mut Rng) {
        let (at, key, value) = (self.tree(rng), self.key(rng), Value::random(rng));
        let bytes = value.bytes();
        let mut writer = self.transaction.put_value(at.1, &key, value.len()).unwrap();
        let give_up_at = rng.once_in(8).then(|| rng.below(value.len() + 1));
        let piece = 1 + rng.below(40_000);
        while writer.position() < value.len() && give_up_at.is_none_or(|at| writer.position() < at)
        {
            let from = writer.position() as usize;
            let to = bytes.len().min(from + rng.below(piece + 1) as usize);
            let op = writer.write(&bytes[from..to]).unwrap();
            drive(&self.database, op, patience(rng));
        }
        assert!(writer.write([0; 100_001]).is_err());
        if writer.position() < value.len() {
            match rng.once_in(2) {
                true => drop(writer),
                false => assert!(writer.finish().is_err()),
            }
            return;
        }
        match drive(&self.database, writer.finish().unwrap(), patience(rng)) {
            Some(existed) => assert_eq!(existed, self.set(&at.0, &key, Some(value))),
            None => self.resolve(&at, &key, Some(value)),
        }
    }

    fn insert(&mut self, rng: &mut Rng) {
        let (at, key, value) = (self.tree(rng), self.key(rng), Value::random(rng));
        let is_absent = !self.reference.entries(&at.0).contains_key(&key);
        let op = self.transaction.insert(at.1, &key, value.bytes());
        match drive(&self.database, op, patience(rng)) {
            Some(inserted) => {
                assert_eq!(inserted, is_absent);
                if inserted {
                    self.set(&at.0, &key, Some(value));
                }
            }
            None if is_absent => self.resolve(&at, &key, Some(value)),
            None => {}
        }
    }

    fn compare_and_swap(&mut self, rng: &mut Rng) {
        let (at, key) = (self.tree(rng), self.key(rng));
        let old = self.reference.entries(&at.0).get(&key).copied();
        let expected = match rng.below(4) {
            0 => None,
            1 => Some(Value::random(rng)),
            _ => old,
        };
        let new = (rng.below(3) > 0).then(|| Value::random(rng));
        let bytes = new.map(Value::bytes);
        let op = self.transaction.compare_and_swap(at.1, &key, expected.map(Value::bytes), bytes);
        let is_equal = expected.map(Value::bytes) == old.map(Value::bytes);
        match drive(&self.database, op, patience(rng)) {
            Some(changed) => {
                assert_eq!(changed, is_equal && (old.is_some() || new.is_some()));
                if changed {
                    self.set(&at.0, &key, new);
                }
            }
            None if is_equal => self.resolve(&at, &key, new),
            None => {}
        }
    }

    /// Drops long values, doubles short ones, keeps the rest.
    fn update(&mut self, rng: &mut Rng) {
        let (at, key, new) = (self.tree(rng), self.key(rng), Value::random(rng));
        let old = self.reference.entries(&at.0).get(&key).copied();
        let bytes = new.bytes();
        let op = self.transaction.update(at.1, &key, |value: Option<&[u8]>| {
            assert_eq!(value.is_some(), old.is_some());
            assert!(old.is_none_or(|old| old.is(value.unwrap())), "another value");
            match value.map(<[u8]>::len) {
                Some(10_000..) => Decision::Delete,
                Some(100..10_000) | None => Decision::Put(&bytes),
                Some(_) => Decision::Keep,
            }
        });
        let then = match old.map(Value::len) {
            Some(10_000..) => None,
            Some(100..10_000) | None => Some(new),
            Some(_) => old,
        };
        match drive(&self.database, op, patience(rng)) {
            Some(changed) => {
                assert_eq!(changed, old.is_none_or(|old| old.len() >= 100));
                if changed {
                    self.set(&at.0, &key, then);
                }
            }
            None => self.resolve(&at, &key, then),
        }
    }

    fn delete(&mut self, rng: &mut Rng) {
        let (at, key) = (self.tree(rng), self.key(rng));
        let op = self.transaction.delete(at.1, &key);
        match drive(&self.database, op, patience(rng)) {
            Some(existed) => assert_eq!(existed, self.set(&at.0, &key, None)),
            None => self.resolve(&at, &key, None),
        }
    }

    fn delete_range(&mut self, rng: &mut Rng) {
        let at = self.tree(rng);
        let range = self.short_range(&at.0, rng);
        let inside = range.of(self.reference.entries(&at.0)).len() as u64;
        let op = self.transaction.delete_range(at.1, range.range.clone());
        if let Some(deleted) = drive(&self.database, op, patience(rng)) {
            assert_eq!(deleted, inside);
            self.reference.entries_mut(&at.0).retain(|key, _| !range.contains(key));
        }
        assert_eq!(
            self.transaction.count(at.1).unwrap(),
            self.reference.entries(&at.0).len() as u64
        );
    }

    fn create_tree(&mut self, rng: &mut Rng) {
        let name = match rng.below(9) {
            0 => key(3 + 6 * rng.below(50), self.page_len),
            _ => format!("tree {}", rng.below(60)).into_bytes(),
        };
        let is_new = !self.reference.trees.contains_key(&name);
        if self.reference.trees.len() >= TREES && is_new {
            return;
        }
        match self.transaction.create_tree(&name) {
            Ok(tree) => {
                assert!(is_new);
                self.reference.trees.insert(name, (tree, Default::default()));
            }
            Err(error) => {
                assert!(!is_new, "{error}");
                assert_eq!(error.kind(), ErrorKind::Usage);
            }
        }
    }

    fn rename_tree(&mut self, rng: &mut Rng) {
        let (old, tree) = self.tree(rng);
        let name = format!("renamed {}", rng.below(40)).into_bytes();
        let is_free = old == name || !self.reference.trees.contains_key(&name);
        let renamed = self.transaction.rename_tree(tree, &name);
        assert_eq!(renamed.is_ok(), is_free && old != b"main", "{renamed:?}");
        if renamed.is_ok() {
            let entry = self.reference.trees.remove(&old).expect("it was found");
            self.reference.trees.insert(name, entry);
        }
    }

    fn drop_tree(&mut self, rng: &mut Rng) {
        if !rng.once_in(3) {
            return self.list_trees(rng);
        }
        let (name, tree) = self.tree(rng);
        let op = match self.transaction.drop_tree(tree) {
            Ok(op) => op,
            Err(error) => {
                return assert_eq!((&*name, error.kind()), (&b"main"[..], ErrorKind::Usage));
            }
        };
        let dropped = drive(&self.database, op, patience(rng)).is_some();
        assert_eq!(dropped, self.transaction.tree(&name).is_none());
        if dropped {
            self.reference.trees.remove(&name);
            self.gone.push(tree);
        }
    }

    fn list_trees(&mut self, _rng: &mut Rng) {
        let listed = self.transaction.trees();
        let listed = listed.map(|(tree, name, count)| (name.to_vec(), tree, count));
        let expected = self.reference.trees.iter();
        let expected =
            expected.map(|(name, (tree, entries))| (name.clone(), *tree, entries.len() as u64));
        assert!(listed.eq(expected));
    }

    fn savepoint(&mut self, _rng: &mut Rng) {
        if self.saved.len() < 5 {
            self.saved.push((self.transaction.savepoint(), self.reference.clone()));
        }
    }

    fn roll_back(&mut self, rng: &mut Rng) {
        if self.saved.is_empty() {
            return;
        }
        let index = rng.below(self.saved.len() as u64) as usize;
        self.over.extend(self.saved.drain(index + 1..).map(|(savepoint, _)| savepoint));
        let (savepoint, reference) = &self.saved[index];
        self.transaction.roll_back_to(*savepoint).unwrap();
        self.reference = reference.clone();
        self.gone.clear();
        self.list_trees(rng);
    }

    fn release(&mut self, rng: &mut Rng) {
        if self.saved.is_empty() {
            return;
        }
        let index = rng.below(self.saved.len() as u64) as usize;
        self.transaction.release(self.saved[index].0).unwrap();
        self.over.extend(self.saved.drain(index..).map(|(savepoint, _)| savepoint));
        self.list_trees(rng);
    }

    /// What cannot be done is refused, and changes nothing.
    fn misuse(&mut self, rng: &mut Rng) {
        let at = self.tree(rng);
        let long = vec![7; self.page_len as usize];
        let refused = [
            self.transaction.put(at.1, &long, "").wait().err(),
            self.transaction.insert(at.1, &long, "").wait().err(),
            self.transaction.put_value(at.1, &long, 70_000).err(),
            self.transaction.put_value(at.1, "k", u64::MAX).err(),
            self.transaction.create_tree("").err(),
            self.transaction.create_tree(&long).err(),
        ];
        for error in refused {
            assert_eq!(error.expect("it is refused").kind(), ErrorKind::Usage);
        }
        for savepoint in self.over.drain(..) {
            assert!(self.transaction.roll_back_to(savepoint).is_err());
            assert!(self.transaction.release(savepoint).is_err());
        }
        let Some(gone) = self.gone.last().copied() else { return };
        let refused = [
            self.transaction.put(gone, "k", [1; 50_000]).wait().err(),
            self.transaction.put(gone, "k", "v").wait().err(),
            self.transaction.delete(gone, "k").wait().err(),
            self.transaction.insert(gone, "k", "v").wait().err(),
            self.transaction.delete_range(gone, Range::all().range).wait().err(),
            self.transaction.get(gone, "k").wait().err(),
            self.transaction.first(gone, Range::all().range).wait().err(),
            self.transaction.count(gone).err(),
            self.transaction.rename_tree(gone, "back").err(),
            self.transaction.drop_tree(gone).err(),
            self.transaction.put_value(gone, "k", 70_000).err(),
        ];
        for error in refused {
            assert_eq!(error.expect("the tree is gone").kind(), ErrorKind::Usage);
        }
    }
}
