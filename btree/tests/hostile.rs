//! Pages that somebody made up: their checksums are right, and what they say is not. Nothing that
//! is read from a file may make the engine panic, or turn for ever.

mod support;

use std::sync::Arc;

use support::{Rng, Store};
use yieldb_btree::node::{KeyRef, LeafEntry, LeafView, Stored, build_leaf};
use yieldb_btree::ops::compact::compact;
use yieldb_btree::ops::{begin, write};
use yieldb_btree::{Batch, Decision, KeyRange, Snapshot, Transaction, Tree};
use yieldb_core::{Create, IOResult, StateMachine, StateTransition};
use yieldb_io_backends::{Backend, MemoryDisk};
use yieldb_pager::page_format::{self, LEAF, SPACE_BITS, VALUE};
use yieldb_pager::{CacheMemory, Durability, MIN_FRAMES, PageId, PageSize, Pager, Settings, Stamp};

const PAGE: usize = 4096;

fn key(number: u64) -> Vec<u8> {
    format!("{}/{number:05}", "shared".repeat((number % 40) as usize)).into_bytes()
}

/// How long the value of a number's entry is: now and then it needs pages of its own.
fn value_len(number: u64) -> usize {
    match number % 160 {
        7 => 3_000,
        80 => 9_000,
        _ => 90,
    }
}

/// A file whose tree has three levels, and which has two other trees.
fn image() -> Vec<u8> {
    let store = Store::new(PAGE as u32, 256, None);
    let mut transaction = store.begin();
    let trees = ["large", "small"].map(|name| transaction.create_tree(name.as_bytes()).unwrap());
    for number in 0..4_000 {
        let value = vec![number as u8; value_len(number)];
        store.drive(transaction.put(Tree::MAIN, key(number), value)).unwrap();
    }
    for number in 0..40 {
        store.drive(transaction.put(trees[0], key(number), vec![1; 6_000])).unwrap();
        store.drive(transaction.put(trees[1], key(number), vec![2; 700])).unwrap();
    }
    store.drive(transaction.commit()).unwrap();
    assert_eq!(store.snapshot().depth(Tree::MAIN).unwrap(), 3);
    store.disk.image("db").unwrap()
}

/// Changes a few bytes of one page, and makes its checksum right again.
fn spoil(image: &mut [u8], rng: &mut Rng) {
    let pages = (image.len() / PAGE) as u64;
    let is_map = |number: &usize| page_format::kind_of(&image[number * PAGE..]) == SPACE_BITS;
    let map = (2..pages as usize).find(is_map).filter(|_| rng.below(12) == 0);
    let number = map.unwrap_or(rng.below(pages) as usize);
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
        log: None,
        checkpoint_only: false,
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
    let user = User { backend, pager };
    user.read();
    user.compact();
    user.change();
    user.write_batch();
}

/// Somebody who uses a file as if nothing were wrong with it.
struct User {
    backend: Backend,
    pager: Arc<Pager>,
}

impl User {
    /// Drives an operation; `None` if it fails, which is no surprise.
    fn drive<M: StateTransition<Context = Pager>>(
        &self,
        machine: StateMachine<M>,
    ) -> Option<M::Output> {
        support::drive(&self.backend, Some(&self.pager), &*self.pager, machine).ok()
    }

    fn compact(&self) {
        let _compacted = self.drive(compact(self.pager.clone()));
    }

    fn begin(&self) -> Option<Transaction> {
        self.drive(begin::begin(self.pager.clone()))
    }

    fn read(&self) {
        let snapshot = Snapshot::newest(&self.pager);
        if let Ok(check) = snapshot.check(|_| {}) {
            let _report = self.drive(check);
        }
        let trees: Vec<Tree> = snapshot.trees().map(|(tree, _, _)| tree).collect();
        for tree in trees {
            for forwards in [true, false] {
                let mut cursor = snapshot.cursor(tree, KeyRange::all());
                let mut left = 20_000;
                let next = |cursor: &mut yieldb_btree::Cursor<'_>, is_whole: bool| {
                    let moved = match (forwards, is_whole) {
                        (true, true) => self.drive(cursor.next())?.is_some(),
                        (false, true) => self.drive(cursor.previous())?.is_some(),
                        (true, false) => self.drive(cursor.next_key())?.is_some(),
                        (false, false) => self.drive(cursor.previous_key())?.is_some(),
                    };
                    moved.then_some(())
                };
                // A value that cannot be read is passed by.
                while next(&mut cursor, true).or_else(|| next(&mut cursor, false)).is_some() {
                    left -= 1;
                    assert!(left > 0, "a scan does not end");
                }
            }
            let _stats = snapshot.stats(tree, |_| {}).ok().and_then(|stats| self.drive(stats));
            let _count = self.drive(snapshot.count_range(tree, KeyRange::all()));
            let _first = self.drive(snapshot.first(tree, KeyRange::all().from(key(17))));
            let _last = self.drive(snapshot.last(tree, KeyRange::all().to(key(17))));
        }
        for number in (0..4_000).step_by(37).chain([7, 80, 167, 240]) {
            let _found = self.drive(snapshot.get(Tree::MAIN, key(number)));
            if let Some(Some(reader)) = self.drive(snapshot.value(Tree::MAIN, key(number))) {
                let end = reader.len().saturating_sub(50);
                let part = reader.read(&self.pager, end, [0; 50]);
                let _part = part.ok().and_then(|read| self.drive(read));
            }
        }
    }

    /// Changes of every kind, undone and made, in a transaction that is committed.
    fn change(&self) {
        let Some(mut transaction) = self.begin() else { return };
        let first = transaction.savepoint();
        self.change_entries(&mut transaction, 11);
        let second = transaction.savepoint();
        self.change_ranges(&mut transaction);
        transaction.roll_back_to(second).unwrap();
        self.change_entries(&mut transaction, 29);
        self.change_ranges(&mut transaction);
        transaction.release(second).unwrap();
        transaction.roll_back_to(first).unwrap();
        self.change_entries(&mut transaction, 7);
        transaction.release(first).unwrap();
        self.change_ranges(&mut transaction);
        let _committed = self.drive(transaction.commit());
    }

    fn change_entries(&self, transaction: &mut Transaction, step: usize) {
        for number in (0..4_200).step_by(step) {
            let _stored = self.drive(transaction.put(Tree::MAIN, key(number), [1; 200]));
            let _deleted = self.drive(transaction.delete(Tree::MAIN, key(number + 3)));
            let decide = |value: Option<&[u8]>| match value {
                Some(value) if value.len() < 1_000 => Decision::Put(vec![3; value.len() + 9]),
                Some(_) => Decision::Delete,
                None => Decision::Keep,
            };
            let _updated = self.drive(transaction.update(Tree::MAIN, key(number + 4), decide));
        }
        for number in [7, 80, 167, 1_000] {
            let _stored = self.drive(transaction.put(Tree::MAIN, key(number), [4; 12_000]));
            let Ok(mut writer) = transaction.put_value(Tree::MAIN, key(number + 1), 5_000) else {
                continue;
            };
            let _written = writer.write([5; 5_000]).ok().and_then(|write| self.drive(write));
            let _finished = writer.finish().ok().and_then(|finish| self.drive(finish));
        }
    }

    fn change_ranges(&self, transaction: &mut Transaction) {
        let range = KeyRange::all().from(key(38)).to(key(2_038));
        let _deleted = self.drive(transaction.delete_range(Tree::MAIN, range));
        for name in ["large", "small"] {
            let Some(tree) = transaction.tree(name.as_bytes()) else { continue };
            let _stored = self.drive(transaction.put(tree, key(5), [6; 7_000]));
            let dropped = transaction.drop_tree(tree).ok();
            let _dropped = dropped.and_then(|dropped| self.drive(dropped));
        }
        let _made = transaction.create_tree(b"new").is_ok();
    }

    fn write_batch(&self) {
        let mut batch = Batch::new();
        for number in (0..4_000).step_by(61) {
            batch.put(Tree::MAIN, key(number), [7; 300]);
            batch.delete(Tree::MAIN, key(number + 1));
        }
        batch.put(Tree::MAIN, key(9), [8; 9_000]);
        batch.delete_range(Tree::MAIN, KeyRange::all().from(key(39)));
        let _written = self.drive(write::write(&batch, Durability::Sync, self.pager.clone()));
        let Some(mut transaction) = self.begin() else { return };
        let _deleted = self.drive(transaction.delete_range(Tree::MAIN, KeyRange::all()));
        let _committed = self.drive(transaction.commit());
    }
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
        // The catalogue, which begins with this name, is needed to open the file.
        page_format::kind_of(page) == LEAF && LeafView::new(page).key(0).to_vec() != b"large"
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

/// Makes a page a leaf with these keys.
fn rewrite_leaf(page: &mut [u8], keys: &[Vec<u8>]) {
    let (number, stamp) = (page_format::number_of(page), page_format::stamp_of(page));
    let entry = |key| LeafEntry { key: KeyRef::from_slice(key), value: Stored::Here(&[1; 90]) };
    build_leaf(page, &keys.iter().map(|key| entry(key)).collect::<Vec<_>>());
    page_format::seal(page, PageId::from_u64(number).unwrap(), stamp);
}

#[test]
fn a_leaf_with_keys_of_others_leaves_the_others_readable() {
    let name = |number: u64| format!("{number:05}").into_bytes();
    let store = Store::new(PAGE as u32, 256, None);
    let mut transaction = store.begin();
    for number in 0..1_000 {
        store.drive(transaction.put(Tree::MAIN, name(number), [1; 90])).unwrap();
    }
    store.drive(transaction.commit()).unwrap();
    let mut image = store.disk.image("db").unwrap();
    let first_of = |page: &[u8]| -> Option<u64> {
        let is_leaf = page_format::kind_of(page) == LEAF;
        let key = is_leaf.then(|| LeafView::new(page).key(0).to_vec())?;
        String::from_utf8(key).ok()?.parse().ok()
    };
    let pages = image.chunks_mut(PAGE).skip(2);
    let mut leaves: Vec<_> = pages.filter_map(|page| Some((first_of(page)?, page))).collect();
    leaves.sort();
    let (left_first, right_first, end) = (leaves[9].0, leaves[10].0, leaves[11].0);
    // The left one's keys are too low; it has room, and the right one for some of them, too.
    let keys: Vec<_> = (left_first..right_first - 3).map(|number| name(number - 100)).collect();
    rewrite_leaf(leaves[9].1, &keys);
    let keys: Vec<_> = (right_first..end).step_by(3).map(name).collect();
    rewrite_leaf(leaves[10].1, &keys);

    let store = Store::of_image(image, PAGE as u32);
    let mut transaction = store.begin();
    store.drive(transaction.put(Tree::MAIN, name(right_first), [2; 90])).unwrap();
    let mut put = |number| {
        let key = [name(left_first), vec![number]].concat();
        store.drive(transaction.put(Tree::MAIN, key, [2; 90])).map(drop)
    };
    let error = (0..40).find_map(|number| put(number).err()).expect("damage");
    assert!(error.to_string().contains("out of order"), "{error}");
    store.drive(transaction.commit()).unwrap();
    let snapshot = store.snapshot();
    for number in (0..left_first).chain(end..1_000) {
        let value = store.drive(snapshot.get(Tree::MAIN, name(number))).unwrap();
        assert_eq!(value.as_deref(), Some(&[1; 90][..]), "{number}");
    }
}
