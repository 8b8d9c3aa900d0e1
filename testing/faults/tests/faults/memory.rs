//! No memory, where a length comes from a file or a user: an error, and the process lives.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use faults::PAGE;
use faults::place::{Child, Place, assert_whole, choices, create, is_child, options, skip, told};
use yieldb::{Choice, Create, Error, ErrorKind, KeyRange, MAIN};
use yieldb_pager::superblock::{SLOT_OFFSETS, Superblock};
use yieldb_pager::{PageId, PageRef, PageSize, Root, Stamp, page_format};

/// The memory that the children may have, in KiB.
const LIMIT_KIB: u64 = 512 << 10;

/// Runs a test again with little memory.
fn run_limited(test: &str) {
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    let child = Child::new(test).prepare(format!("ulimit -v {LIMIT_KIB}"));
    child.tell("PLACE", place.root()).run().unwrap();
}

fn is_out_of_memory(error: &Error) -> bool {
    error.kind() == ErrorKind::System && error.to_string().contains("no memory for")
}

#[test]
fn a_cache_that_does_not_fit_into_memory_is_refused() {
    if !is_child() {
        return run_limited("memory::a_cache_that_does_not_fit_into_memory_is_refused");
    }
    for choice in choices() {
        let path = told("PLACE").join(format!("{choice:?}"));
        drop(create(choice, &path, 100));
        let open = |bytes| options(choice).cache_bytes(bytes).open(&path).wait();
        for bytes in (29..64).map(|bits| 1 << bits).chain([u64::MAX, i64::MAX as u64]) {
            assert!(is_out_of_memory(&open(bytes).unwrap_err()), "{bytes}");
        }
        // Around the limit, where the pages' memory can be had, and not what is known of them.
        let mut refused = 0;
        for bytes in (LIMIT_KIB << 9..LIMIT_KIB << 10).step_by(500 << 10) {
            match open(bytes) {
                Ok(database) => assert_eq!(database.snapshot().count(MAIN).unwrap(), 100),
                Err(error) => {
                    assert!(is_out_of_memory(&error), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 10, "{refused} caches were refused");
        assert_whole(&options(choice).open(&path).wait().unwrap(), 100);
        // Also for a file that is to be new; what was begun can be finished.
        let new = path.with_extension("new");
        let begun = options(choice).create(Create::New).cache_bytes(u64::MAX).open(&new).wait();
        assert!(is_out_of_memory(&begun.unwrap_err()));
        assert_whole(&options(choice).create(Create::IfMissing).open(&new).wait().unwrap(), 0);
    }
}

/// A file that is as long as the file system allows, with a superblock that says so and the one
/// page that it names at its very end. Returns the length in pages.
fn endless(path: &Path, is_map: bool) -> Option<u64> {
    let file = File::create(path).unwrap();
    let bits = (36..44).rev().find(|bits| file.set_len(1 << bits).is_ok())?;
    let page_count = (1_u64 << bits) / PAGE as u64;
    let stamp = Stamp::new(1, 5);
    let name = |number| PageRef::new(PageId::from_u64(number).unwrap(), stamp);
    let (root, other) = (name(page_count - 1), name(2));
    let superblock = Superblock {
        page_size: PageSize::MIN,
        database_id: [3; 16],
        checkpoint: 9,
        version: 3,
        moment: stamp,
        session: 1,
        catalogue: Root {
            page: Some(if is_map { other } else { root }),
            level: 0,
            count: u64::MAX,
        },
        space: Some(if is_map { root } else { other }),
        space_level: 2,
        page_count,
        next_tree: u32::MAX,
        log: None,
    };
    let mut slot = vec![0; PAGE];
    superblock.encode(&mut slot);
    for offset in SLOT_OFFSETS {
        file.write_all_at(&slot, offset).unwrap();
    }
    let mut page = vec![0; PAGE];
    page_format::set_kind(&mut page, page_format::SPACE_INDEX, 2, 500);
    for (index, bytes) in page[40..].chunks_exact_mut(8).take(500).enumerate() {
        bytes.copy_from_slice(&name(index as u64 + 3).as_u64().to_le_bytes());
    }
    page_format::seal(&mut page, root.page(), stamp);
    file.write_all_at(&page, root.page().as_u64() * PAGE as u64).unwrap();
    Some(page_count)
}

#[test]
fn a_file_of_terabytes_that_says_so_takes_no_memory() {
    if !is_child() {
        return run_limited("memory::a_file_of_terabytes_that_says_so_takes_no_memory");
    }
    for choice in choices() {
        let path = told("PLACE").join(format!("{choice:?}"));
        for is_map in [true, false] {
            let Some(page_count) = endless(&path, is_map) else {
                return skip("a file of 64 GiB: the file system does not have it");
            };
            for read_only in [true, false] {
                let error = options(choice).read_only(read_only).open(&path).wait().unwrap_err();
                let is_damage = error.kind() == ErrorKind::Damaged;
                assert!(is_damage || is_out_of_memory(&error), "{page_count} pages: {error}");
            }
        }
    }
}

#[test]
fn a_range_or_a_key_of_any_length_is_only_compared() {
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    let database = create(Choice::Pread, &place.path("db"), 100);
    let long = vec![b'k'; 64 << 20];
    let snapshot = database.snapshot();
    assert!(snapshot.get(MAIN, &long).wait().map_or(true, |found| found.is_none()));
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all().from(&long));
    assert!(cursor.next().wait().unwrap().is_none());
    let mut transaction = database.begin().wait().unwrap();
    assert_eq!(transaction.put(MAIN, &long, b"").wait().unwrap_err().kind(), ErrorKind::Usage);
}
