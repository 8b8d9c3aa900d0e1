//! Work with a log.

use std::path::Path;
use std::sync::Arc;

use yieldb::{Durability, Options};
use yieldb_btree::ops::{begin, open, write};
use yieldb_btree::{Batch, Snapshot, Tree};
use yieldb_pager::Pager;
use yieldb_pager::Settings;
use yieldb_pager::log::BLOCK_LEN;
use yieldb_pager::log::header::FileHeader;
use yieldb_pager::log::writer::LogLimits;

use super::{key, retry};
use crate::world::{Stop, World, roomy_settings};

const FIRST_LEN: u64 = 64 << 10;

/// Opens a database of this name, beside the world's, whose log begins with so many bytes.
fn open(world: &World, again: bool, name: &str, first_len: u64) -> Result<Arc<Pager>, Stop> {
    retry(again, || {
        // The I/O of an open that was dropped keeps the file locked until it is done.
        world.quiesce();
        let limits = LogLimits { first_len, max_len: 2 * first_len };
        let settings = Settings { log: Some(limits), ..roomy_settings() };
        let machine = open::open(world.backend.io.clone(), Path::new(name), settings).unwrap();
        world.drive_in(&(), machine)
    })
}

/// Commits one entry.
fn commit(world: &World, pager: &Arc<Pager>, again: bool, number: u32) -> Result<u64, Stop> {
    commit_long(world, pager, again, (number, 30))
}

/// The same, with a value of so many bytes.
fn commit_long(
    world: &World,
    pager: &Arc<Pager>,
    again: bool,
    (number, len): (u32, usize),
) -> Result<u64, Stop> {
    let mut transaction = retry(again, || world.drive_on(pager, begin::begin(pager.clone())))?;
    let value = vec![9; len];
    retry(again, || world.drive_on(pager, transaction.put(Tree::MAIN, key(number), &value)))?;
    world.drive_on(pager, transaction.commit())
}

/// Writes batches side by side: so many that some of them wait for others' groups, and are made
/// together. One is too long for that.
pub fn batches(world: &World, again: bool) -> Result<String, Stop> {
    world.disk.set_image("log", world.image());
    // So long that no checkpoint comes in between: what fails there is nothing to a commit.
    let pager = open(world, again, "log", 8 * FIRST_LEN)?;
    for number in [200, 201] {
        commit(world, &pager, again, number)?;
    }
    if pager.record_limit().is_none() {
        return Err(Stop::Failed("a file that is no log".into()));
    }
    let batches: Vec<Batch> = (0..12).map(|number| batch(300 + 2 * number)).collect();
    retry(again, || {
        let machines =
            batches.iter().map(|batch| write::write(batch, Durability::Sync, pager.clone()));
        world.drive_together_on(&pager, machines)
    })?;
    let snapshot = Snapshot::newest(&pager);
    let mut found = 0;
    for number in 300..324 {
        let value = retry(again, || world.drive_on(&pager, snapshot.get(Tree::MAIN, key(number))))?;
        found += u32::from(value.is_some());
    }
    drop(snapshot);
    let turn = pager.writers().expect("it can be written").try_take().expect("nobody writes");
    let end = pager.end_log(turn).expect("there is a log");
    world.wait_on(&pager, end)?;
    Ok(format!("{found} entries"))
}

/// Two entries; now and then a long one.
fn batch(number: u32) -> Batch {
    let mut batch = Batch::new();
    let len = if number % 8 == 4 { 20_000 } else { 30 };
    batch.put(Tree::MAIN, key(number), vec![7; len]);
    batch.put(Tree::MAIN, key(number + 1), [8; 30]);
    batch
}

/// Fails if the log has not this length: what fails there is nothing to the commit or checkpoint
/// that came with it.
fn assert_len(world: &World, len: u64) -> Result<(), Stop> {
    let found = world.disk.image("log-log").map_or(0, |image| image.len() as u64);
    if found == len { Ok(()) } else { Err(Stop::Failed(format!("a log of {found} bytes"))) }
}

/// Opens a database that a log was left of, and begins another log over what is left then.
pub fn left(world: &World, again: bool) -> Result<String, Stop> {
    world.disk.set_image("left", world.image());
    let mut log = vec![0xaa; FIRST_LEN as usize];
    FileHeader { database_id: [7; 16], log_id: [1; 16] }.encode(&mut log[..BLOCK_LEN]);
    world.disk.set_image("left-log", log);
    let pager = open(world, again, "left", FIRST_LEN)?;
    if world.disk.image("left-log").is_some() {
        return Err(Stop::Failed("a log that stays".into()));
    }
    // As a process leaves it that is killed while it makes one.
    world.disk.set_image("left-log", vec![0; 2 << 20]);
    for number in [200, 201] {
        commit(world, &pager, again, number)?;
    }
    let len = world.disk.image("left-log").map(|image| image.len());
    if pager.record_limit().is_none() || len != Some(FIRST_LEN as usize) {
        return Err(Stop::Failed("no log".into()));
    }
    Ok(format!("version {}", Snapshot::newest(&pager).version()))
}

/// Commits into a log that is made, grows, is found again by an open, and ends.
pub fn log(world: &World, again: bool) -> Result<String, Stop> {
    world.disk.set_image("log", world.image());
    let pager = open(world, again, "log", FIRST_LEN)?;
    // The second commit begins a log.
    for number in [200, 201] {
        commit(world, &pager, again, number)?;
    }
    assert_len(world, FIRST_LEN)?;
    let Some(limit) = pager.record_limit() else {
        return Err(Stop::Failed("a file that is no log".into()));
    };
    // For this one it is too short, so it is made longer.
    commit_long(world, &pager, again, (202, limit))?;
    assert_len(world, 2 * FIRST_LEN)?;
    commit(world, &pager, again, 202)?;
    let checkpoint = pager.checkpoint().map_err(|error| Stop::Failed(error.to_string()))?;
    world.wait_on(&pager, checkpoint)?;
    if pager.record_limit() == Some(limit) {
        return Err(Stop::Failed("a log that is no longer than before".into()));
    }
    for number in [203, 204] {
        commit(world, &pager, again, number)?;
    }
    // What a kill leaves at this moment.
    for (name, copy) in [("log", "copy"), ("log-log", "copy-log")] {
        world.disk.set_image(copy, world.disk.image(name).expect("it is in use"));
    }
    let copy = open(world, again, "copy", FIRST_LEN)?;
    let mut found = String::new();
    for number in [199, 200, 202, 203, 204, 205] {
        let snapshot = Snapshot::newest(&copy);
        let value = retry(again, || world.drive_on(&copy, snapshot.get(Tree::MAIN, key(number))))?;
        found.push_str(&format!("{:?};", value.map(|value| value.len())));
    }
    let turn = pager.writers().expect("it can be written").try_take().expect("nobody writes");
    let end = pager.end_log(turn).expect("there is a log");
    world.wait_on(&pager, end)?;
    assert_len(world, 0)?;
    Ok(found)
}

/// Commits that are relaxed, and makes them durable.
pub fn relaxed(world: &World, again: bool) -> Result<String, Stop> {
    world.disk.set_image("relaxed", world.image());
    let options = Options::new()
        .cache_bytes(Options::min_cache_bytes(4096))
        .log(Some(LogLimits { first_len: FIRST_LEN, max_len: FIRST_LEN }))
        .backend(world.backend.clone());
    let database = retry(again, || {
        // The I/O of an open that was dropped keeps the file locked until it is done.
        world.quiesce();
        world.drive_op(options.clone().open("relaxed"))
    })?;
    let commit = |durability, count| {
        let mut transaction = retry(again, || world.drive_op(database.begin()))?;
        for number in 0..count {
            retry(again, || world.drive_op(transaction.put(Tree::MAIN, key(number), [7; 30])))?;
        }
        world.drive_op(transaction.commit_with(durability))
    };
    // The second commit begins a log.
    let mut versions = vec![commit(Durability::Sync, 1)?, commit(Durability::Relaxed, 1)?];
    if database.metrics().log.is_none() {
        return Err(Stop::Failed("a log that could not be made".into()));
    }
    versions.extend([commit(Durability::Relaxed, 2)?, commit(Durability::Relaxed, 0)?]);
    versions.push(retry(again, || world.drive_op(database.sync()))?);
    versions.push(retry(again, || world.drive_op(database.sync()))?);
    // One that changes nothing waits for what it began on.
    versions.extend([commit(Durability::Relaxed, 1)?, commit(Durability::Sync, 0)?]);
    Ok(format!("{versions:?}"))
}
