//! Bulk loads.

use yieldb_btree::Tree;

use super::{key, retry};
use crate::world::{Stop, World};

/// Loads entries into a tree of their own, and commits.
fn load(
    world: &World,
    again: bool,
    entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
) -> Result<String, Stop> {
    let mut transaction = retry(again, || world.begin())?;
    retry(again, || world.drive(transaction.put(Tree::MAIN, key(7), "before")))?;
    let tree = transaction.create_tree(b"loaded").unwrap();
    let mut load = transaction.bulk_load(tree).unwrap();
    for (key, value) in entries {
        if !load.try_push(&key, &value).unwrap() {
            retry(again, || world.drive(load.push(&key, &value)))?;
        }
    }
    let count = world.drive(load.finish())?;
    assert_eq!(world.disk.image("db-sort"), None, "the sort file has a name");
    let version = world.drive(transaction.commit())?;
    Ok(format!("version {version} {count}"))
}

/// Entries in order, some with large values, one replaced.
pub fn in_order(world: &World, again: bool) -> Result<String, Stop> {
    let len = |number| if number % 40 == 5 { 20_000 } else { 700 };
    let numbers = (0..120_u32).flat_map(|number| [number, number / 90 * 90]).filter({
        let mut last = 0;
        move |number| {
            let is_in_order = *number >= last;
            last = last.max(*number);
            is_in_order
        }
    });
    load(world, again, numbers.map(|number| (key(number), vec![number as u8; len(number)])))
}

/// More entries than are sorted in memory, in no order; some with large values, some replaced.
pub fn sorted(world: &World, again: bool) -> Result<String, Stop> {
    let len = |number| if number == 11 { 9_000 } else { 500 };
    let numbers = (0..150_u32).map(|number| number * 37 % 131);
    load(world, again, numbers.map(|number| (key(number), vec![number as u8; len(number)])))
}

/// Entries in order, of which leaves are made, and then others between them.
pub fn broken(world: &World, again: bool) -> Result<String, Stop> {
    let numbers = (0..50_u32).map(|number| 2 * number).chain((0..20).rev().map(|n| 5 * n));
    load(world, again, numbers.map(|number| (key(number), vec![number as u8; 600])))
}
