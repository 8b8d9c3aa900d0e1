//! Random operations against a `BTreeMap`, over the memory back-end.

mod support;

use std::collections::BTreeMap;

use rstest::rstest;
use support::{Rng, Store};
use yieldb_btree::{KeyRange, Tree};
use yieldb_pager::superblock::reserved_page_count;

/// What one run is like.
struct Run {
    seed: u64,
    page_len: u32,
    frames: usize,
    operations: usize,
    keys: u64,
    commit_every: usize,
    yielding: bool,
}

impl Run {
    fn key(&self, rng: &mut Rng) -> Vec<u8> {
        let number = rng.below(self.keys);
        match number % 4 {
            0 => format!("{number}").into_bytes(),
            1 => format!("a/rather/long/path/shared/by/many/keys/{number:08}").into_bytes(),
            2 => number.to_be_bytes().to_vec(),
            _ => {
                let len = (number % 97) as usize * self.page_len as usize / 4 / 97;
                let mut key = vec![(number % 251) as u8; len];
                key.extend_from_slice(&number.to_be_bytes()[4..]);
                key
            }
        }
    }

    fn value(&self, rng: &mut Rng) -> Vec<u8> {
        let most = if rng.below(20) == 0 { self.page_len as u64 / 5 } else { 120 };
        let len = rng.below(most + 1) as usize;
        vec![rng.below(256) as u8; len]
    }

    /// Returns how many live entries there were at most.
    fn run(&self) -> usize {
        let mut most = 0;
        let mut store = Store::new(self.page_len, self.frames, self.yielding.then_some(self.seed));
        let mut rng = Rng::new(self.seed);
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut done = 0;
        while done < self.operations {
            let before = model.clone();
            let mut transaction = store.begin();
            let abandon = rng.below(8) == 0;
            // Now growing, now shrinking.
            let puts = if (done / self.commit_every / 30).is_multiple_of(2) { 8 } else { 3 };
            for _ in 0..self.commit_every {
                let key = self.key(&mut rng);
                if rng.below(10) < puts {
                    let value = self.value(&mut rng);
                    let existed = store.drive(transaction.put(Tree::MAIN, &key, &value)).unwrap();
                    assert_eq!(existed, model.insert(key, value).is_some());
                } else if rng.below(4) == 0 {
                    let found = store.drive(transaction.get(Tree::MAIN, &key)).unwrap();
                    assert_eq!(found.as_deref(), model.get(&key).map(Vec::as_slice));
                } else {
                    let existed = store.drive(transaction.delete(Tree::MAIN, &key)).unwrap();
                    assert_eq!(existed, model.remove(&key).is_some());
                }
                assert_eq!(transaction.count(Tree::MAIN).unwrap(), model.len() as u64);
            }
            done += self.commit_every;
            most = most.max(model.len());
            if abandon {
                drop(transaction);
                model = before;
            } else {
                store.drive(transaction.commit()).unwrap();
            }
            self.compare(&store, &model, &mut rng);
            if rng.below(10) == 0 {
                store = store.reopen();
                self.compare(&store, &model, &mut rng);
            }
        }
        most
    }

    fn compare(&self, store: &Store, model: &BTreeMap<Vec<u8>, Vec<u8>>, rng: &mut Rng) {
        let snapshot = store.snapshot();
        assert_eq!(snapshot.count(Tree::MAIN).unwrap(), model.len() as u64);
        let mut cursor = snapshot.cursor(Tree::MAIN, KeyRange::all());
        for (key, value) in model {
            let entry = store.drive(cursor.next()).unwrap().expect("an entry that the model has");
            assert_eq!((entry.key(), entry.value()), (key.as_slice(), value.as_slice()));
        }
        assert!(store.drive(cursor.next()).unwrap().is_none());
        let (from, to) = (self.key(rng), self.key(rng));
        let range = KeyRange::all().from(&from).to(&to);
        let mut cursor = snapshot.cursor(Tree::MAIN, range.clone());
        for (key, value) in model.iter().rev().filter(|(key, _)| range.contains(key)) {
            let entry = store.drive(cursor.previous()).unwrap().expect("an entry of the model");
            assert_eq!((entry.key(), entry.value()), (key.as_slice(), value.as_slice()));
        }
        assert!(store.drive(cursor.previous()).unwrap().is_none());
        drop(cursor);
        let report = store.drive(snapshot.check(|_| {}).unwrap()).unwrap();
        assert_eq!(report.damages, []);
        assert_eq!(report.entries, model.len() as u64);
        drop(snapshot);
        store.assert_idle();
        let used = store.pager.space_use().used;
        assert_eq!(
            used,
            report.pages + reserved_page_count(store.pager.page_size()),
            "page numbers are lost"
        );
    }
}

/// A million operations in all: each page size with the smallest cache and with an ample one.
#[rstest]
fn random_operations_agree_with_a_map(
    #[values(4096, 8192, 16_384, 32_768, 65_536)] page_len: u32,
    #[values(64, 4096)] frames: usize,
) {
    let seed = u64::from(page_len) + frames as u64;
    let yielding = (page_len.ilog2() + frames.ilog2()).is_multiple_of(2);
    let (operations, keys, commit_every) = (100_000, 20_000, 1_000);
    let most = Run { seed, page_len, frames, operations, keys, commit_every, yielding }.run();
    assert!(most > 10_000, "at most {most} live entries");
}

/// Many small transactions, on few keys.
#[rstest]
fn small_transactions_agree_with_a_map(#[values(false, true)] yielding: bool) {
    let (operations, keys, commit_every) = (20_000, 300, 20);
    Run { seed: 9, page_len: 4096, frames: 64, operations, keys, commit_every, yielding }.run();
}
