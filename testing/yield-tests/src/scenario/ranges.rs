//! Ranges, batches, going back, and doing it all again.

use yieldb_btree::ops::{replay, write};
use yieldb_btree::{Batch, KeyRange, Tree};

use super::{finish, key, retry};
use crate::world::{Stop, World};

/// Counts, seeks, and removes ranges, of entries with large values as well.
pub fn ranges(world: &World, again: bool) -> Result<String, Stop> {
    let mut transaction = retry(again, || world.begin())?;
    for number in [40, 130, 135] {
        let value = vec![9; 9_000];
        retry(again, || world.drive(transaction.put(Tree::MAIN, key(number), &value)))?;
    }
    let mut seen = String::new();
    let range = KeyRange::all().from(key(20)).to(key(90));
    let count = || world.drive(transaction.count_range(Tree::MAIN, range.clone()));
    seen.push_str(&format!("{}", retry(again, count)?));
    for number in [50, 0, 200] {
        let mut cursor = transaction.cursor(Tree::MAIN, range.clone());
        for forwards in [true, false] {
            cursor.seek(&key(number));
            let entry = retry(again, || {
                let next = if forwards { cursor.next_key() } else { cursor.previous_key() };
                Ok(world.drive(next)?.map(|key| key[key.len() - 4..].to_vec()))
            })?;
            seen.push_str(&format!(" {entry:?}"));
        }
    }
    for range in [range, KeyRange::all().from(key(131)), KeyRange::prefix(b"none")] {
        let delete = || world.drive(transaction.delete_range(Tree::MAIN, range.clone()));
        seen.push_str(&format!(" {}", retry(again, delete)?));
    }
    let first = retry(again, || world.drive(transaction.first(Tree::MAIN, KeyRange::all())))?;
    seen.push_str(&format!(" {:?}", first.map(|(key, value)| (key.len(), value.len()))));
    finish(world, transaction, again, seen)
}

/// Goes back to savepoints.
pub fn savepoints(world: &World, again: bool) -> Result<String, Stop> {
    let mut transaction = retry(again, || world.begin())?;
    retry(again, || world.drive(transaction.put(Tree::MAIN, key(1), "before")))?;
    let first = transaction.savepoint();
    let tree = transaction.create_tree(b"gone").unwrap();
    for number in 0..40 {
        retry(again, || world.drive(transaction.put(Tree::MAIN, key(number), [2; 700])))?;
        retry(again, || world.drive(transaction.put(tree, key(number), [2; 5_000])))?;
    }
    let second = transaction.savepoint();
    let delete = || world.drive(transaction.delete_range(Tree::MAIN, KeyRange::all()));
    retry(again, delete)?;
    transaction.roll_back_to(second).unwrap();
    let mut seen = format!("{}", transaction.count(tree).unwrap());
    transaction.roll_back_to(first).unwrap();
    assert!(transaction.roll_back_to(second).is_err() && transaction.count(tree).is_err());
    let value = retry(again, || world.drive(transaction.get(Tree::MAIN, key(1))))?;
    assert_eq!(value.as_deref(), Some(&b"before"[..]));
    drop(value);
    retry(again, || world.drive(transaction.put(Tree::MAIN, key(2), "after")))?;
    transaction.release(first).unwrap();
    seen.push_str(&format!(" {}", transaction.count(Tree::MAIN).unwrap()));
    let version = world.drive(transaction.commit())?;
    Ok(format!("version {version} {seen}"))
}

/// Writes a batch.
pub fn batch(world: &World, _again: bool) -> Result<String, Stop> {
    let mut batch = Batch::new();
    for number in (0..200).step_by(3) {
        batch.put(Tree::MAIN, key(number), vec![number as u8; 500]);
    }
    batch.put(Tree::MAIN, key(77), vec![1; 20_000]);
    batch.delete(Tree::MAIN, key(78));
    batch.delete_range(Tree::MAIN, KeyRange::all().from(key(100)).to(key(150)));
    batch.put(Tree::MAIN, key(120), "stays");
    let sync = yieldb_pager::Durability::Sync;
    let version = world.drive(write::write(&batch, sync, world.pager.clone()))?;
    Ok(format!("version {version}"))
}

/// Records what a transaction does, gives it up, and makes it again from the record.
pub fn replayed(world: &World, again: bool) -> Result<String, Stop> {
    let mut transaction = retry(again, || world.begin())?;
    transaction.record_into(Vec::new(), 1 << 20);
    let tree = transaction.create_tree(b"recorded").unwrap();
    for number in (0..130).step_by(7) {
        let len = if number == 21 { 9_000 } else { 500 };
        retry(again, || world.drive(transaction.put(Tree::MAIN, key(number), vec![3; len])))?;
        retry(again, || world.drive(transaction.put(tree, key(number), "a few")))?;
    }
    let range = KeyRange::all().from(key(60)).to(key(90));
    retry(again, || world.drive(transaction.delete_range(Tree::MAIN, range.clone())))?;
    retry(again, || world.drive(transaction.delete(Tree::MAIN, key(3))))?;
    let savepoint = transaction.savepoint();
    let other = transaction.create_tree(b"other").unwrap();
    retry(again, || world.drive(transaction.put(other, key(1), "not recorded")))?;
    transaction.roll_back_to(savepoint).unwrap();
    retry(again, || {
        let dropping = transaction.drop_tree(tree);
        // Begun again after it was dropped behind its last step, it finds nothing.
        dropping.map_or(Ok(()), |machine| world.drive(machine))
    })?;
    let record = transaction.take_record().expect("it is short");
    drop(transaction);
    let replayed = retry(again, || {
        let transaction = world.begin()?;
        world.drive(replay::replay(transaction, &record))
    })?;
    let seen = format!("{} bytes, {}", record.len(), replayed.count(Tree::MAIN).unwrap());
    let version = world.drive(replayed.commit())?;
    Ok(format!("version {version} {seen}"))
}
