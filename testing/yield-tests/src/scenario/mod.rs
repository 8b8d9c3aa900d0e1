//! Work with operations. All of them together use every operation that there is.

mod loads;
mod logs;
mod ranges;
mod space;
mod values;

use std::path::Path;

use yieldb_btree::ops::open;
use yieldb_btree::{KeyRange, Snapshot, Transaction, Tree};
use yieldb_core::{IOCompletions, IOResult};

use crate::world::{Policy, Stop, World, settings};

/// Some work on a database.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The work. What it returns must not depend on how it is driven. An operation that is dropped
    /// ends it, unless `again` is set: then the work begins the same operation again.
    pub run: fn(&World, again: bool) -> Result<String, Stop>,
    /// Does it read what it can do without: pages that it may need later, the slots that a commit
    /// looks at before it overwrites one? A read of those that fails is then nothing to it.
    pub spares_reads: bool,
}

/// All scenarios.
pub const ALL: &[Scenario] = &[
    Scenario { name: "lookups", run: lookups, spares_reads: false },
    Scenario { name: "scans", run: scans, spares_reads: true },
    Scenario { name: "puts that split", run: puts, spares_reads: true },
    Scenario { name: "deletes that merge", run: deletes, spares_reads: true },
    Scenario { name: "a commit", run: commit, spares_reads: true },
    Scenario {
        name: "a transaction larger than its share of the cache",
        run: spill,
        spares_reads: true,
    },
    Scenario { name: "a queue of writers", run: queue, spares_reads: true },
    Scenario { name: "trees", run: trees, spares_reads: true },
    Scenario { name: "large values", run: values::large, spares_reads: true },
    Scenario { name: "values part by part", run: values::parts, spares_reads: true },
    Scenario { name: "many lookups", run: values::many, spares_reads: false },
    Scenario { name: "updates", run: values::updates, spares_reads: true },
    Scenario { name: "ranges", run: ranges::ranges, spares_reads: true },
    Scenario { name: "savepoints", run: ranges::savepoints, spares_reads: true },
    Scenario { name: "a batch", run: ranges::batch, spares_reads: true },
    Scenario { name: "a replay", run: ranges::replayed, spares_reads: true },
    Scenario { name: "a load in order", run: loads::in_order, spares_reads: true },
    Scenario { name: "a load that is sorted", run: loads::sorted, spares_reads: true },
    Scenario { name: "a load whose order breaks", run: loads::broken, spares_reads: true },
    Scenario { name: "a compaction", run: space::compaction, spares_reads: true },
    Scenario { name: "a check", run: check, spares_reads: false },
    Scenario { name: "statistics", run: stats, spares_reads: false },
    Scenario { name: "an open", run: reopen, spares_reads: false },
    Scenario { name: "a log", run: logs::log, spares_reads: true },
    Scenario { name: "batches side by side", run: logs::batches, spares_reads: true },
    Scenario { name: "relaxed commits", run: logs::relaxed, spares_reads: true },
    Scenario { name: "a log that is left", run: logs::left, spares_reads: true },
    Scenario { name: "the door", run: door, spares_reads: true },
];

/// A key long enough for a tree of three levels with few entries: within a group of eight keys a
/// separator is long, and in a node with several groups no prefix shortens it.
fn key(number: u32) -> Vec<u8> {
    let mut key = vec![(number / 8) as u8; 800];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// How many entries the database has before the work.
const COUNT: u32 = 120;

fn value(number: u32) -> Vec<u8> {
    vec![number as u8; 800]
}

/// The file that every scenario begins with.
pub fn image() -> Vec<u8> {
    let world = World::open(&[], Policy::default());
    let mut transaction = world.begin().unwrap();
    for number in 0..COUNT {
        world.drive(transaction.put(Tree::MAIN, key(number), value(number))).unwrap();
    }
    world.drive(transaction.commit()).unwrap();
    world.assert_whole();
    assert_eq!(world.snapshot().depth(Tree::MAIN).unwrap(), 3);
    world.image()
}

/// Does something that may be dropped once, and then again if asked to.
fn retry<T>(again: bool, mut work: impl FnMut() -> Result<T, Stop>) -> Result<T, Stop> {
    match work() {
        Err(Stop::Dropped) if again => work(),
        result => result,
    }
}

fn lookups(world: &World, again: bool) -> Result<String, Stop> {
    let snapshot = world.snapshot();
    let mut found = String::new();
    for number in [0, 17, 119, 120, 900] {
        let value = retry(again, || world.drive(snapshot.get(Tree::MAIN, key(number))))?;
        found.push_str(&format!("{:?};", value.as_deref().map(<[u8]>::to_vec)));
    }
    Ok(found)
}

fn scans(world: &World, again: bool) -> Result<String, Stop> {
    let snapshot = world.snapshot();
    let mut seen = String::new();
    let mut cursor = snapshot.cursor(Tree::MAIN, KeyRange::all().from([15]));
    for forwards in [true, true, true, true, true, true, false, false, true, false] {
        let entry = retry(again, || {
            let next = if forwards { cursor.next() } else { cursor.previous() };
            Ok(world.drive(next)?.map(|entry| entry.key()[..3].to_vec()))
        })?;
        seen.push_str(&format!("{entry:?};"));
    }
    let mut cursor = snapshot.cursor(Tree::MAIN, KeyRange::all());
    while let Some(len) =
        retry(again, || Ok(world.drive(cursor.previous())?.map(|entry| entry.value().len())))?
    {
        seen.push_str(&format!("{len} "));
    }
    Ok(seen)
}

fn puts(world: &World, again: bool) -> Result<String, Stop> {
    let mut transaction = retry(again, || world.begin())?;
    let mut existed = String::new();
    for number in 100..140 {
        let is_old = retry(again, || {
            world.drive(transaction.put(Tree::MAIN, key(number), [number as u8; 600]))
        })?;
        existed.push(if is_old { 'x' } else { '.' });
    }
    finish(world, transaction, again, existed)
}

fn deletes(world: &World, again: bool) -> Result<String, Stop> {
    let mut transaction = retry(again, || world.begin())?;
    let mut existed = String::new();
    for number in (0..130).rev().filter(|number| number % 17 != 3) {
        let was_there = retry(again, || world.drive(transaction.delete(Tree::MAIN, key(number))))?;
        existed.push(if was_there { 'x' } else { '.' });
    }
    finish(world, transaction, again, existed)
}

/// Reads a little in the transaction, and gives it up without a commit.
fn finish(
    world: &World,
    transaction: Transaction,
    again: bool,
    mut seen: String,
) -> Result<String, Stop> {
    seen.push_str(&format!(" {}", transaction.count(Tree::MAIN).unwrap()));
    let value = retry(again, || world.drive(transaction.get(Tree::MAIN, key(52))))?;
    seen.push_str(&format!(" {:?}", value.map(|value| value.len())));
    let mut cursor = transaction.cursor(Tree::MAIN, KeyRange::all());
    while let Some(len) =
        retry(again, || Ok(world.drive(cursor.next())?.map(|entry| entry.value().len())))?
    {
        seen.push_str(&format!(" {len}"));
    }
    Ok(seen)
}

fn commit(world: &World, again: bool) -> Result<String, Stop> {
    let mut transaction = retry(again, || world.begin())?;
    for number in [5, 121, 122] {
        retry(again, || world.drive(transaction.put(Tree::MAIN, key(number), [1; 40])))?;
        retry(again, || world.drive(transaction.delete(Tree::MAIN, key(number + 20))))?;
    }
    let version = world.drive(transaction.commit())?;
    Ok(format!("version {version}"))
}

fn spill(world: &World, again: bool) -> Result<String, Stop> {
    let mut transaction = retry(again, || world.begin())?;
    for number in 0..200 {
        let number = number * 37 % 200;
        retry(again, || world.drive(transaction.put(Tree::MAIN, key(number), [3; 800])))?;
    }
    for number in (0..200).step_by(3) {
        retry(again, || world.drive(transaction.delete(Tree::MAIN, key(number))))?;
    }
    let version = world.drive(transaction.commit())?;
    Ok(format!("version {version}"))
}

fn queue(world: &World, again: bool) -> Result<String, Stop> {
    let first = retry(again, || world.begin())?;
    let mut second = yieldb_btree::ops::begin::begin(world.pager.clone());
    let waits = matches!(second.step(&world.pager), Ok(IOResult::IO(IOCompletions::Single(_))));
    drop(first);
    drop(second);
    let third = retry(again, || world.begin())?;
    Ok(format!("{waits} {}", third.count(Tree::MAIN).unwrap()))
}

fn check(world: &World, _again: bool) -> Result<String, Stop> {
    let mut told = 0;
    let snapshot = world.snapshot();
    let report = world.drive(snapshot.check(|_| told += 1).unwrap())?;
    if let Some(damage) = report.damages.first() {
        return Err(Stop::Failed(damage.to_string()));
    }
    Ok(format!("{report:?} {told}"))
}

fn stats(world: &World, again: bool) -> Result<String, Stop> {
    let snapshot = world.snapshot();
    let stats = retry(again, || world.drive(snapshot.stats(Tree::MAIN, |_| {}).unwrap()))?;
    assert_eq!(stats.levels.len(), snapshot.depth(Tree::MAIN).unwrap());
    let mut told = 0;
    let again = world.drive(snapshot.stats(Tree::MAIN, |_| told += 1).unwrap())?;
    assert_eq!((&again, told), (&stats, stats.nodes()));
    Ok(format!("{stats:?}"))
}

/// Makes trees, fills, renames and drops them.
fn trees(world: &World, again: bool) -> Result<String, Stop> {
    let mut transaction = world.begin()?;
    let first = transaction.create_tree(b"first").unwrap();
    let second = transaction.create_tree(b"second").unwrap();
    for number in 0..30 {
        retry(again, || world.drive(transaction.put(first, key(number), [5; 700])))?;
    }
    retry(again, || world.drive(transaction.put(second, "one", "entry")))?;
    transaction.rename_tree(second, b"last").unwrap();
    retry(again, || {
        let dropping = transaction.drop_tree(first);
        // Begun again after it was dropped behind its last step, it finds nothing.
        dropping.map_or(Ok(()), |machine| world.drive(machine))
    })?;
    let names: Vec<String> =
        transaction.trees().map(|(_, name, count)| format!("{name:?} {count}")).collect();
    let names = names.join(", ");
    let version = world.drive(transaction.commit())?;
    let mut transaction = world.begin()?;
    let mut seen = format!("version {version} {names}");
    let last = transaction.tree(b"last").unwrap();
    retry(again, || {
        let dropping = transaction.drop_tree(last);
        dropping.map_or(Ok(()), |machine| world.drive(machine))
    })?;
    seen.push_str(&format!(" {:?}", transaction.tree(b"last")));
    Ok(seen)
}

/// Opens a copy of the file, beside the database.
fn reopen(world: &World, again: bool) -> Result<String, Stop> {
    let pager = retry(again, || {
        // The I/O of an open that was dropped keeps the file locked until it is done.
        world.quiesce();
        world.disk.set_image("copy", world.image());
        let io = world.backend.io.clone();
        let machine = open::open(io, Path::new("copy"), settings()).unwrap();
        world.drive_in(&(), machine)
    })?;
    let count = Snapshot::newest(&pager).count(Tree::MAIN).unwrap();
    world.disk.set_image("new", Vec::new());
    let new = retry(again, || {
        world.quiesce();
        let io = world.backend.io.clone();
        let machine = open::open(io, Path::new("new"), settings()).unwrap();
        world.drive_in(&(), machine)
    })?;
    Ok(format!("{count} {}", Snapshot::newest(&new).count(Tree::MAIN).unwrap()))
}

/// The operations that only the door has.
fn door(world: &World, again: bool) -> Result<String, Stop> {
    world.disk.set_image("door", world.image());
    let options = yieldb::Options::new()
        .cache_bytes(yieldb::Options::min_cache_bytes(4096))
        .backend(world.backend.clone());
    let open = || {
        retry(again, || {
            // The I/O of an open that was dropped keeps the file locked until it is done.
            world.quiesce();
            world.drive_op(options.clone().open("door"))
        })
    };
    let database = open()?;
    let mut transaction = retry(again, || world.drive_op(database.begin()))?;
    retry(again, || world.drive_op(transaction.put(Tree::MAIN, "door", "open")))?;
    let version = world.drive_op(transaction.commit())?;
    retry(again, || world.drive_op(database.checkpoint()))?;
    retry(again, || world.drive_op(database.clone().close()))?;
    drop(database);
    let database = open()?;
    let snapshot = database.snapshot();
    let value = retry(again, || world.drive_op(snapshot.value(Tree::MAIN, "door")))?;
    assert_eq!(value.map(|value| value.len()), Some(4));
    Ok(format!("version {version}"))
}
