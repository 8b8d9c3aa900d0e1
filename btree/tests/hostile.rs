//! Pages that somebody made up: their checksums are right, and what they say is not. Nothing that
//! is read from a file may make the engine panic, or turn for ever.

mod support;

use support::{Rng, Store};
use yieldb_btree::{KeyRange, Tree};
use yieldb_core::{Create, IOResult};
use yieldb_io_backends::MemoryDisk;
use yieldb_pager::ops::open::{CacheMemory, Settings};
use yieldb_pager::page_format::{self, LEAF, SPACE_BITS, VALUE};
use yieldb_pager::{MIN_FRAMES, PageId, PageSize, Stamp};

const PAGE: usize = 4096;

fn key(number: u64) -> Vec<u8> {
    format!("{}/{number:05}", "shared".repeat((number % 40) as usize)).into_bytes()
}

/// A file whose tree has three levels.
fn image() -> Vec<u8> {
    let store = Store::new(PAGE as u32, 256, None);
    let mut transaction = store.begin();
    for number in 0..4_000 {
        store.drive(transaction.put(Tree::MAIN, key(number), vec![number as u8; 90])).unwrap();
    }
    store.drive(transaction.commit()).unwrap();
    assert_eq!(store.snapshot().depth(Tree::MAIN).unwrap(), 3);
    store.disk.image("db").unwrap()
}

/// Changes a few bytes of one page, and makes its checksum right again.
fn spoil(image: &mut [u8], rng: &mut Rng) {
    let pages = (image.len() / PAGE) as u64;
    let number = rng.below(pages) as usize;
    let page = &mut image[number * PAGE..(number + 1) * PAGE];
    for _ in 0..=rng.below(4) {
        // Mostly in the header and the slots, where bytes have a meaning.
        let limit = [64, 400, PAGE as u64][rng.below(3) as usize];
        let at = rng.below(limit) as usize;
        match rng.below(3) {
            0 => page[at] = rng.below(256) as u8,
            1 => page[at] ^= 1 << rng.below(8),
            _ => page[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5) as usize],
        }
    }
    if number < 2 {
        let checksum = crc32fast::hash(&page[..PAGE - 4]);
        page[PAGE - 4..].copy_from_slice(&checksum.to_le_bytes());
        let slot = page.to_vec();
        // Both slots say it, so it counts.
        image[..PAGE].copy_from_slice(&slot);
        image[PAGE..2 * PAGE].copy_from_slice(&slot);
        return;
    }
    let stamp = match rng.below(4) {
        0 => rng.below(u64::MAX),
        _ => u64::from_le_bytes(page[16..24].try_into().unwrap()),
    };
    let id = PageId::from_u64(number as u64).expect("a page of the file");
    yieldb_pager::page_format::seal(page, id, Stamp::from_u64(stamp));
}

/// Everything that can be done with a file; what it comes to does not matter, only that it ends.
fn use_it(image: Vec<u8>) {
    let disk = MemoryDisk::new();
    disk.set_image("db", image);
    let settings = Settings {
        page_size: PageSize::MIN,
        cache: CacheMemory::Own((MIN_FRAMES * PAGE) as u64),
        read_only: false,
        create: Create::Never,
        database_id: None,
        direct: true,
        check: yieldb_btree::node::check_node,
    };
    let backend = disk.immediate();
    let path = std::path::Path::new("db");
    let Ok(mut open) = yieldb_btree::ops::open::open(backend.io.clone(), path, settings) else {
        return;
    };
    let pager = loop {
        match open.step(&()) {
            Ok(IOResult::Done(pager)) => break pager,
            Ok(IOResult::IO(_)) => {
                backend.driver.poll();
            }
            Err(_) => return,
        }
    };
    let drive = |machine| support::drive(&backend, Some(&pager), &*pager, machine);
    let snapshot = yieldb_btree::Snapshot::newest(&pager);
    if let Ok(check) = snapshot.check(|_| {}) {
        let _report = support::drive(&backend, Some(&pager), &*pager, check).is_ok();
    }
    if let Ok(stats) = snapshot.stats(Tree::MAIN, |_| {}) {
        let _stats = support::drive(&backend, Some(&pager), &*pager, stats).is_ok();
    }
    for forwards in [true, false] {
        let mut cursor = snapshot.cursor(Tree::MAIN, KeyRange::all());
        let mut left = 20_000;
        loop {
            let next = if forwards { cursor.next() } else { cursor.previous() };
            match support::drive(&backend, Some(&pager), &*pager, next) {
                Ok(Some(_)) => left -= 1,
                Ok(None) | Err(_) => break,
            }
            assert!(left > 0, "a scan does not end");
        }
    }
    for number in (0..4_000).step_by(37) {
        let _found = drive(snapshot.get(Tree::MAIN, key(number))).is_ok();
    }
    let begun = yieldb_btree::ops::begin::begin(pager.clone());
    let Ok(mut transaction) = support::drive(&backend, Some(&pager), &*pager, begun) else {
        return;
    };
    for number in (0..4_200).step_by(7) {
        let put = transaction.put(Tree::MAIN, key(number), [1; 200]);
        let _stored = support::drive(&backend, Some(&pager), &*pager, put).is_ok();
        let delete = transaction.delete(Tree::MAIN, key(number + 3));
        let _deleted = support::drive(&backend, Some(&pager), &*pager, delete).is_ok();
    }
    let commit = transaction.commit();
    let _committed = support::drive(&backend, Some(&pager), &*pager, commit).is_ok();
}

#[test]
fn made_up_pages_are_errors_and_no_panic() {
    let image = image();
    let rounds = std::env::var("HOSTILE_ROUNDS").map_or(500, |rounds| rounds.parse().unwrap());
    let first: u64 = std::env::var("HOSTILE_SEED").map_or(0, |seed| seed.parse().unwrap());
    // Seeds that once made it panic.
    let known = [5_281, 18_589];
    for seed in known.into_iter().chain(first..first + rounds) {
        let mut rng = Rng::new(seed);
        let mut spoiled = image.clone();
        for _ in 0..=rng.below(3) {
            spoil(&mut spoiled, &mut rng);
        }
        let result = std::panic::catch_unwind(|| use_it(spoiled));
        assert!(result.is_ok(), "seed {seed}");
    }
}

#[test]
fn a_page_of_another_kind_in_a_node_s_place_is_an_error() {
    let image = image();
    let is_leaf = |number: &usize| {
        let page = &image[number * PAGE..(number + 1) * PAGE];
        // The catalogue has a single entry, and is needed to open the file.
        page_format::kind_of(page) == LEAF && page_format::count_of(page) > 1
    };
    let leaves: Vec<usize> = (2..image.len() / PAGE).filter(is_leaf).collect();
    for kind in [SPACE_BITS, VALUE] {
        let mut spoiled = image.clone();
        for number in &leaves {
            let page = &mut spoiled[number * PAGE..(number + 1) * PAGE];
            let id = PageId::from_u64(*number as u64).unwrap();
            let stamp = page_format::stamp_of(page);
            page.fill(0);
            page_format::set_kind(page, kind, 0, 0);
            page_format::seal(page, id, stamp);
        }
        let store = Store::of_image(spoiled.clone(), PAGE as u32);
        let error = store.drive(store.snapshot().get(Tree::MAIN, key(7))).unwrap_err();
        assert!(error.to_string().contains("it is not a node of a tree"), "{error}");
        use_it(spoiled);
    }
}
