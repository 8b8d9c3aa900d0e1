//! Work that makes the file shorter.

use std::path::Path;

use yieldb_btree::ops::compact::compact;
use yieldb_btree::ops::{begin, open};
use yieldb_btree::{KeyRange, Snapshot, Tree};

use super::{COUNT, key, retry};
use crate::world::{Stop, World, settings};

/// Compacts a file that is mostly empty, with large values at its end, beside the world's.
pub fn compaction(world: &World, again: bool) -> Result<String, Stop> {
    world.disk.set_image("space", world.image());
    let pager = retry(again, || {
        // The I/O of an open that was dropped keeps the file locked until it is done.
        world.quiesce();
        let io = world.backend.io.clone();
        world.drive_in(&(), open::open(io, Path::new("space"), settings()).unwrap())
    })?;
    let mut transaction = retry(again, || world.drive_on(&pager, begin::begin(pager.clone())))?;
    for number in (0..COUNT).filter(|number| number % 7 != 0) {
        retry(again, || world.drive_on(&pager, transaction.delete(Tree::MAIN, key(number))))?;
    }
    for name in ["large", "larger"] {
        let value = vec![6; 20_000];
        retry(again, || world.drive_on(&pager, transaction.put(Tree::MAIN, name, &value)))?;
    }
    world.drive_on(&pager, transaction.commit())?;
    let before = pager.space_use().pages;
    retry(again, || world.drive_on(&pager, compact(pager.clone())))?;
    let pages = pager.space_use().pages;
    if 3 * pages > 2 * before {
        return Err(Stop::Failed(format!("{before} pages before, {pages} now")));
    }
    let len = world.disk.image("space").map_or(0, |image| image.len() as u64);
    assert_eq!(len, pages * 4096, "the file is cut");
    let snapshot = Snapshot::newest(&pager);
    let mut cursor = snapshot.cursor(Tree::MAIN, KeyRange::all());
    let mut seen = String::new();
    while let Some(len) = retry(again, || {
        Ok(world.drive_on(&pager, cursor.next())?.map(|entry| entry.value().len()))
    })? {
        seen.push_str(&format!("{len} "));
    }
    Ok(seen)
}
