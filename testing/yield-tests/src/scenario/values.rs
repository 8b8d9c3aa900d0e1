//! Large values, values part by part, and changes that depend on what is there.

use yieldb_btree::{Decision, KeyRange, Tree};

use super::{key, retry};
use crate::world::{Stop, World};

/// Bytes that tell where they are.
fn long(seed: u32, len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(seed | 1) >> 8) as u8).collect()
}

/// Stores large values, reads, replaces and removes them.
pub fn large(world: &World, again: bool) -> Result<String, Stop> {
    let mut transaction = retry(again, || world.begin())?;
    for (number, len) in [(3, 9_000), (200, 30_000), (201, 2_100), (202, 140_000)] {
        let value = long(number, len);
        retry(again, || world.drive(transaction.put(Tree::MAIN, key(number), &value)))?;
    }
    // One that is not so long as before, one that fits a leaf, one that goes.
    let value = long(5, 5_000);
    retry(again, || world.drive(transaction.put(Tree::MAIN, key(200), &value)))?;
    retry(again, || world.drive(transaction.put(Tree::MAIN, key(201), "short")))?;
    retry(again, || world.drive(transaction.delete(Tree::MAIN, key(3))))?;
    let value = retry(again, || world.drive(transaction.get(Tree::MAIN, key(202))))?;
    assert_eq!(value.as_deref(), Some(&long(202, 140_000)[..]));
    drop(value);
    let version = world.drive(transaction.commit())?;
    let snapshot = world.snapshot();
    let mut seen = format!("version {version}");
    let mut cursor = snapshot.cursor(Tree::MAIN, KeyRange::all().from(key(118)));
    while let Some(len) =
        retry(again, || Ok(world.drive(cursor.next())?.map(|entry| entry.value().len())))?
    {
        seen.push_str(&format!(" {len}"));
    }
    while let Some(len) = retry(again, || Ok(world.drive(cursor.previous_key())?.map(<[u8]>::len)))?
    {
        seen.push_str(&format!(" {len}"));
    }
    let last = retry(again, || world.drive(snapshot.last(Tree::MAIN, KeyRange::all())))?;
    assert_eq!(last.map(|(_, value)| value), Some(long(202, 140_000)));
    Ok(seen)
}

/// Stores and reads values part by part.
pub fn parts(world: &World, again: bool) -> Result<String, Stop> {
    let mut transaction = retry(again, || world.begin())?;
    let value = long(77, 300_000);
    for (number, len) in [(300, 300_000), (301, 50)] {
        let mut writer = transaction.put_value(Tree::MAIN, key(number), len as u64).unwrap();
        while writer.position() < len as u64 {
            let from = writer.position() as usize;
            let to = (from + 70_000).min(len);
            retry(again, || {
                let from = writer.position() as usize;
                world.drive(writer.write(&value[from.min(to)..to]).unwrap())
            })?;
        }
        world.drive(writer.finish().unwrap())?;
    }
    let reader = retry(again, || world.drive(transaction.value(Tree::MAIN, key(300))))?;
    let reader = reader.expect("it was stored");
    for (offset, len) in [(0, 10), (4_050, 20), (100_000, 150_000), (299_999, 1), (300_000, 0)] {
        let read = || world.drive(reader.read(&world.pager, offset, vec![0; len]).unwrap());
        assert_eq!(retry(again, read)?, &value[offset as usize..offset as usize + len]);
    }
    drop(reader);
    let reader = retry(again, || world.drive(transaction.value(Tree::MAIN, key(301))))?;
    let reader = reader.expect("it was stored");
    let part = world.drive(reader.read(&world.pager, 20, vec![0; 30]).unwrap())?;
    assert_eq!(part, &value[20..50]);
    drop(reader);
    let version = world.drive(transaction.commit())?;
    Ok(format!("version {version}"))
}

/// Changes entries depending on what they are.
pub fn updates(world: &World, again: bool) -> Result<String, Stop> {
    let mut transaction = retry(again, || world.begin())?;
    let mut seen = String::new();
    for number in [7, 130, 131] {
        let insert = || world.drive(transaction.insert(Tree::MAIN, key(number), [4; 6_000]));
        let inserted = retry(again, insert)?;
        seen.push(if inserted { 'x' } else { '.' });
    }
    for number in [7, 130, 140, 141] {
        let changed = retry(again, || {
            let decide = |value: Option<&[u8]>| match value {
                Some(value) if value.len() > 5_000 => Decision::Delete,
                Some(value) => Decision::Put([value, value].concat()),
                None if number == 140 => Decision::Put(vec![1; 100]),
                None => Decision::Keep,
            };
            world.drive(transaction.update(Tree::MAIN, key(number), decide))
        })?;
        let value = retry(again, || world.drive(transaction.get(Tree::MAIN, key(number))))?;
        seen.push_str(&format!(" {changed} {:?}", value.map(|value| value.len())));
    }
    Ok(seen)
}

/// Looks up many keys at once, some with large values, some that are not there.
pub fn many(world: &World, again: bool) -> Result<String, Stop> {
    let mut transaction = retry(again, || world.begin())?;
    for (number, len) in [(41, 9_000), (300, 5_000), (301, 10)] {
        let value = long(number, len);
        retry(again, || world.drive(transaction.put(Tree::MAIN, key(number), &value)))?;
    }
    let mut found = std::collections::BTreeMap::new();
    let keys: Vec<Vec<u8>> = (0..130).step_by(2).chain([41, 41, 300, 301]).map(key).collect();
    for depth in [1, 7, 100] {
        let mut lookups = transaction.multi_get(Tree::MAIN, &keys, depth);
        while let Some(lookup) = retry(again, || world.drive(lookups.next()))? {
            let value = lookup.value.map_err(|error| Stop::Failed(error.to_string()))?;
            let value = value.map(|value| (value.len(), value.last().copied()));
            assert_eq!(lookup.key, &keys[lookup.index as usize]);
            let before = found.insert((depth, lookup.index), value);
            assert!(before.is_none(), "given out twice");
        }
    }
    assert_eq!(found.len(), 3 * keys.len());
    Ok(format!("{found:?}"))
}
