//! The operations of a transaction.

use yieldb::{Decision, Error, KeyRange, Savepoint, Tree, WriteTransaction};

use crate::host::{Doing, Host, Patience, drive};
use crate::model::{Entries, State, Value};
use crate::plan::{Change, Edit, Plan};
use crate::tolerance::{Tolerance, Trouble};

/// A transaction, and what should be in it.
pub struct Work<'r> {
    plan: &'r Plan,
    host: &'r Host,
    tolerance: &'r Tolerance,
    /// The transaction.
    pub transaction: WriteTransaction,
    /// What should be in it.
    pub state: State,
    saved: Vec<(Savepoint, State)>,
}

/// Where a change is made.
struct Place {
    name: Vec<u8>,
    tree: Tree,
    patience: Patience,
}

impl<'r> Work<'r> {
    /// A transaction that begins with what is in `state`.
    pub fn new(
        plan: &'r Plan,
        host: &'r Host,
        tolerance: &'r Tolerance,
        transaction: WriteTransaction,
        state: State,
    ) -> Work<'r> {
        Work { plan, host, tolerance, transaction, state, saved: Vec::new() }
    }

    /// Makes a change. One that fails, or is dropped, has changed nothing, or is complete.
    ///
    /// # Errors
    ///
    /// When the transaction cannot go on.
    pub async fn change(&mut self, change: &Change) -> Result<(), Trouble> {
        let done = self.try_change(change).await;
        match done {
            Err(Trouble::Failed) => Ok(()),
            other => other,
        }
    }

    async fn try_change(&mut self, change: &Change) -> Result<(), Trouble> {
        let name = Plan::tree_name(change.tree);
        match &change.edit {
            Edit::Savepoint => {
                self.saved.push((self.transaction.savepoint(), self.state.clone()));
                return Ok(());
            }
            Edit::RollBack => return self.roll_back(),
            Edit::CreateTree => return self.create_tree(&name),
            _ => {}
        }
        let is_load = matches!(change.edit, Edit::BulkLoad { .. });
        if is_load && self.state.entries(&name).is_none() {
            self.create_tree(&name)?;
        }
        let tree = self.transaction.tree(&name);
        assert_eq!(tree.is_some(), self.state.entries(&name).is_some(), "which trees there are");
        let Some(tree) = tree else { return Ok(()) };
        let place = Place { name, tree, patience: change.patience };
        let key = |number: &u16| self.plan.key(*number);
        match &change.edit {
            Edit::Put(number, value) => self.put(place, key(number), *value).await,
            Edit::PutParts(number, value) => self.put_parts(place, key(number), *value).await,
            Edit::Insert(number, value) => self.insert(place, key(number), *value).await,
            Edit::Update(number, value) => self.update(place, key(number), *value).await,
            Edit::Swap(number, value) => self.swap(place, key(number), *value).await,
            Edit::Delete(number) => self.delete(place, key(number)).await,
            Edit::DeleteRange(from, to) => self.delete_range(place, key(from), key(to)).await,
            Edit::Get(number) => self.get(place, key(number)).await,
            Edit::Scan => self.scan(place).await,
            Edit::DropTree => self.drop_tree(place).await,
            Edit::RenameTree(to) => self.rename_tree(&place, &Plan::tree_name(*to)),
            Edit::BulkLoad { count, first, in_order } => {
                self.host.doing.set(Doing::Loading);
                let loaded = self.bulk_load(place, *count, *first, *in_order).await;
                self.host.doing.set(Doing::Working);
                loaded
            }
            Edit::Savepoint | Edit::RollBack | Edit::CreateTree => unreachable!("done above"),
        }
    }

    fn entries(&self, place: &Place) -> &Entries {
        self.state.entries(&place.name).expect("the tree is there")
    }

    fn set(&mut self, place: &Place, key: Vec<u8>, value: Option<Value>) -> bool {
        let entries = self.state.entries_mut(&place.name);
        match value {
            Some(value) => entries.insert(key, value).is_some(),
            None => entries.remove(&key).is_some(),
        }
    }

    /// Takes the result of an operation that was to store `new`, and returns its output.
    async fn resolve<T>(
        &mut self,
        place: &Place,
        key: Vec<u8>,
        new: Option<Value>,
        result: Option<Result<T, Error>>,
    ) -> Result<Option<T>, Trouble> {
        let failed = match result {
            Some(Ok(output)) => {
                self.set(place, key, new);
                return Ok(Some(output));
            }
            Some(Err(error)) => Some(self.tolerance.trouble(&error)),
            None => None,
        };
        let old = self.entries(place).get(&key).copied();
        let found = self.transaction.get(place.tree, &key).await;
        // What is there cannot be known: only the whole can be given up.
        let found = self.tolerance.ok(found).map_err(|_| Trouble::Doomed)?;
        let is = |value: Option<Value>| match (value, found.as_deref()) {
            (None, None) => true,
            (Some(value), Some(bytes)) => value.is(bytes),
            _ => false,
        };
        let is_old = is(old);
        assert!(is_old || is(new) && failed.is_none(), "half a change");
        drop(found);
        if !is_old {
            self.set(place, key, new);
        }
        failed.map_or(Ok(None), Err)
    }

    fn assert_count(&self, place: &Place) {
        let count = self.transaction.count(place.tree).expect("the tree is there");
        assert_eq!(count, self.entries(place).len() as u64, "the entries of a tree");
    }

    async fn put(&mut self, place: Place, key: Vec<u8>, value: Value) -> Result<(), Trouble> {
        let was_there = self.entries(&place).contains_key(&key);
        let op = self.transaction.put(place.tree, &key, value.bytes());
        let result = drive(op, place.patience).await;
        let existed = self.resolve(&place, key, Some(value), result).await?;
        assert!(existed.is_none_or(|existed| existed == was_there), "was there a value?");
        self.assert_count(&place);
        Ok(())
    }

    async fn put_parts(&mut self, place: Place, key: Vec<u8>, value: Value) -> Result<(), Trouble> {
        let bytes = value.bytes();
        let writer = self.transaction.put_value(place.tree, &key, u64::from(value.len));
        let mut writer = self.tolerance.ok(writer)?;
        for part in bytes.chunks(5_000) {
            let written = drive(self.tolerance.ok(writer.write(part))?, place.patience).await;
            match written {
                Some(written) => self.tolerance.ok(written)?,
                None => return Ok(()),
            }
        }
        let result = drive(self.tolerance.ok(writer.finish())?, place.patience).await;
        self.resolve(&place, key, Some(value), result).await?;
        Ok(())
    }

    async fn insert(&mut self, place: Place, key: Vec<u8>, value: Value) -> Result<(), Trouble> {
        let old = self.entries(&place).get(&key).copied();
        let op = self.transaction.insert(place.tree, &key, value.bytes());
        let result = drive(op, place.patience).await;
        let inserted = self.resolve(&place, key, Some(old.unwrap_or(value)), result).await?;
        assert!(inserted.is_none_or(|inserted| inserted == old.is_none()), "was it inserted?");
        Ok(())
    }

    async fn update(&mut self, place: Place, key: Vec<u8>, value: Value) -> Result<(), Trouble> {
        let old = self.entries(&place).get(&key).copied();
        let new = if old.is_some_and(|old| old.len > 700) { None } else { Some(value) };
        let bytes = value.bytes();
        let op = self.transaction.update(place.tree, &key, |found: Option<&[u8]>| {
            assert_eq!(found.map(<[u8]>::len), old.map(|old| old.len as usize), "what is updated");
            if new.is_some() { Decision::Put(&bytes) } else { Decision::Delete }
        });
        let result = drive(op, place.patience).await;
        self.resolve(&place, key, new, result).await?;
        Ok(())
    }

    /// Every fifth time the belief is wrong.
    async fn swap(&mut self, place: Place, key: Vec<u8>, value: Value) -> Result<(), Trouble> {
        let old = self.entries(&place).get(&key).copied();
        let is_told = !value.tag.is_multiple_of(5);
        let expected = if is_told { old.map(Value::bytes) } else { Some(value.bytes()) };
        let is_right = expected == old.map(Value::bytes);
        let op = self.transaction.compare_and_swap(place.tree, &key, expected, Some(value.bytes()));
        let result = drive(op, place.patience).await;
        let new = if is_right { Some(value) } else { old };
        let changed = self.resolve(&place, key, new, result).await?;
        assert!(changed.is_none_or(|changed| changed == is_right), "was it swapped?");
        Ok(())
    }

    async fn delete(&mut self, place: Place, key: Vec<u8>) -> Result<(), Trouble> {
        let was_there = self.entries(&place).contains_key(&key);
        let result = drive(self.transaction.delete(place.tree, &key), place.patience).await;
        let existed = self.resolve(&place, key, None, result).await?;
        assert!(existed.is_none_or(|existed| existed == was_there), "was there an entry?");
        self.assert_count(&place);
        Ok(())
    }

    /// Removes the entries from `from` on up to `to`, all or none of them.
    async fn delete_range(
        &mut self,
        place: Place,
        from: Vec<u8>,
        to: Vec<u8>,
    ) -> Result<(), Trouble> {
        let range = KeyRange::all().from(&from).to(&to);
        let op = self.transaction.delete_range(place.tree, range);
        let result = drive(op, place.patience).await.transpose();
        let deleted = self.tolerance.ok(result);
        if let Ok(Some(deleted)) = deleted {
            let before = self.entries(&place).len() as u64;
            let entries = self.state.entries_mut(&place.name);
            entries.retain(|key, _| *key < from || *key >= to);
            assert_eq!(before - entries.len() as u64, deleted, "how many there were");
        }
        self.assert_count(&place);
        deleted.map(|_| ())
    }

    async fn get(&mut self, place: Place, key: Vec<u8>) -> Result<(), Trouble> {
        let Some(found) = drive(self.transaction.get(place.tree, &key), place.patience).await
        else {
            return Ok(());
        };
        let found = self.tolerance.ok(found)?;
        super::reads::assert_value(found.as_deref(), self.entries(&place).get(&key));
        Ok(())
    }

    async fn scan(&mut self, place: Place) -> Result<(), Trouble> {
        let mut cursor = self.transaction.cursor(place.tree, KeyRange::all());
        let mut expected = self.entries(&place).iter();
        while let Some(entry) = drive(cursor.next(), place.patience).await {
            let entry = self.tolerance.ok(entry)?;
            let expected = expected.next();
            assert_eq!(
                entry.as_ref().map(|entry| entry.key()),
                expected.map(|(key, _)| &key[..]),
                "a scan of the transaction's own"
            );
            let Some(entry) = entry else { break };
            super::reads::assert_value(Some(entry.value()), expected.map(|(_, value)| value));
        }
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), Trouble> {
        if let Some((savepoint, state)) = self.saved.pop() {
            self.tolerance.ok(self.transaction.roll_back_to(savepoint))?;
            self.state = state;
        }
        Ok(())
    }

    fn create_tree(&mut self, name: &[u8]) -> Result<(), Trouble> {
        let is_new = self.state.entries(name).is_none();
        let created = self.transaction.create_tree(name);
        assert_eq!(created.is_ok(), is_new, "a new tree: {created:?}");
        if is_new {
            self.state.create(name);
        }
        Ok(())
    }

    async fn drop_tree(&mut self, place: Place) -> Result<(), Trouble> {
        let op = match self.transaction.drop_tree(place.tree) {
            Ok(op) => op,
            Err(error) => {
                assert_eq!(place.name, crate::model::MAIN_NAME, "{error}");
                return Ok(());
            }
        };
        let dropped = self.tolerance.ok(drive(op, place.patience).await.transpose());
        let is_there = self.transaction.tree(&place.name).is_some();
        match dropped {
            Ok(Some(_)) => assert!(!is_there, "a tree that was dropped is there"),
            Ok(None) => {}
            Err(_) => assert!(is_there, "a tree is gone that could not be dropped"),
        }
        if !is_there {
            drop(self.state.remove(&place.name));
        }
        dropped.map(|_| ())
    }

    fn rename_tree(&mut self, place: &Place, to: &[u8]) -> Result<(), Trouble> {
        let is_main = [&place.name[..], to].contains(&crate::model::MAIN_NAME);
        let is_free = self.state.entries(to).is_none() || place.name == to;
        let may_be = is_free && !is_main;
        let renamed = self.transaction.rename_tree(place.tree, to);
        assert_eq!(renamed.is_ok(), may_be, "a tree's new name: {renamed:?}");
        if may_be {
            self.state.rename(&place.name, to);
        }
        Ok(())
    }

    async fn bulk_load(
        &mut self,
        place: Place,
        count: u16,
        first: Value,
        in_order: bool,
    ) -> Result<(), Trouble> {
        if !self.entries(&place).is_empty() {
            return Ok(());
        }
        let mut loaded = Entries::new();
        let mut entries = Vec::new();
        for index in 0..count {
            // 7 and the number of keys may have a factor in common: later ones replace earlier.
            let number = if in_order { index } else { index.wrapping_mul(7) };
            let value = Value { tag: first.tag + u32::from(index), len: first.len };
            let key = self.plan.key(number);
            loaded.insert(key.clone(), value);
            entries.push((key, value));
        }
        if in_order {
            entries = loaded.iter().map(|(key, value)| (key.clone(), *value)).collect();
        }
        let mut load = self.tolerance.ok(self.transaction.bulk_load(place.tree))?;
        for (key, value) in entries {
            let pushed = drive(load.push(key, value.bytes()), place.patience).await;
            match pushed {
                Some(pushed) => self.tolerance.ok(pushed)?,
                None => return Ok(()),
            };
        }
        let finished = drive(load.finish(), place.patience).await.transpose();
        let finished = self.tolerance.ok(finished);
        if let Ok(Some(_)) = finished {
            *self.state.entries_mut(&place.name) = loaded;
        }
        self.assert_count(&place);
        finished.map(|_| ())
    }
}
