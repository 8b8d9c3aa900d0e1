//! Batches of many changes.

use std::collections::BTreeMap;

use yieldb::{Batch, Database, ErrorKind, KeyRange, MAIN, MemoryDisk, Options};

/// A key in no order.
fn key(number: u32) -> [u8; 8] {
    u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

fn open() -> Database {
    Options::new().backend(MemoryDisk::new().immediate()).open("db").wait().unwrap()
}

/// A batch that is too long for a log as it begins is committed by a checkpoint, and so are a few
/// more; then the log is long enough.
#[test]
fn batches_make_the_log_as_long_as_they_need_it() {
    let database = open();
    let mut batch = Batch::new();
    for round in 0..8 {
        batch.clear();
        // Nearly all of them are in leaves of their own.
        for number in 0..2_000 {
            batch.put(MAIN, key(round * 2_000 + number), [round as u8; 100]);
        }
        database.write(&batch).wait().unwrap();
    }
    let log = database.metrics().log.expect("there is a log");
    assert!(log.commits >= 4, "{log:?}");
    database.close().wait().unwrap();
}

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// Keys of many lengths, of which neighbours begin alike.
fn uneven_key(number: u64) -> Vec<u8> {
    let beginning = vec![b'a' + (number % 3) as u8; (number / 500 % 4 * 100) as usize];
    [&beginning[..], number.to_string().as_bytes()].concat()
}

/// Many changes of a leaf are made at once: also where it becomes several, or none, where a key is
/// changed twice, and where a value is too large for it.
#[test]
fn a_batch_comes_to_what_its_changes_come_to_one_by_one() {
    let database = open();
    let (mut random, mut model) = (Random(1), BTreeMap::<Vec<u8>, Vec<u8>>::new());
    let mut batch = Batch::new();
    for round in 0..400_u64 {
        batch.clear();
        let (first, span) = (random.below(4_000), 1 + random.below(600));
        // Rounds that mostly store, and rounds that mostly remove.
        let removals = if round / 20 % 2 == 0 { 2 } else { 9 };
        for change in 0..1 + random.below(300) {
            let key = uneven_key(first + random.below(span));
            if random.below(10) < removals {
                batch.delete(MAIN, &key);
                model.remove(&key);
            } else {
                let len = [0, 8, 90, 700, 1_900, 3_000][random.below(6) as usize];
                let value = vec![change as u8; len];
                batch.put(MAIN, &key, &value);
                model.insert(key, value);
            }
        }
        database.write(&batch).wait().unwrap();
        if round % 40 == 39 {
            let report = database.snapshot().check(|_| ()).unwrap().wait().unwrap();
            assert!(report.damages.is_empty(), "{round}: {report:?}");
        }
    }
    let snapshot = database.snapshot();
    assert_eq!(snapshot.count(MAIN).unwrap(), model.len() as u64);
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    for (key, value) in &model {
        let found = cursor.next().wait().unwrap().expect("there is an entry");
        assert_eq!((found.key(), found.value()), (&key[..], &value[..]));
    }
    assert!(cursor.next().wait().unwrap().is_none());
}

/// One that fails, and that nobody drives, costs the others one attempt: they are made together.
#[test]
fn a_batch_that_fails_does_not_keep_others_from_going_together() {
    let database = Options::new().backend(MemoryDisk::new().yielding(5)).open("db").wait().unwrap();
    let put = |number: u32| {
        let mut batch = Batch::new();
        batch.put(MAIN, key(number), [1; 50]);
        batch
    };
    // Until there is a log.
    for number in 0..4 {
        database.write(&put(number)).wait().unwrap();
    }
    let mut bad = Batch::new();
    bad.put(MAIN, vec![b'k'; 3_000], "too long a key");
    for round in 1..6 {
        let turn = database.begin().wait().unwrap();
        let mut failing = database.write(&bad);
        assert!(!failing.step().unwrap().is_done());
        let batches: Vec<Batch> = (0..32).map(|index| put(round * 100 + index)).collect();
        let mut writes: Vec<_> = batches.iter().map(|batch| database.write(batch)).collect();
        for write in &mut writes {
            assert!(!write.step().unwrap().is_done());
        }
        let before = database.snapshot().version();
        drop(turn);
        while !writes.is_empty() {
            writes.retain_mut(|write| !write.step().unwrap().is_done());
            database.turn();
        }
        let made = database.snapshot().version() - before;
        assert!(made < 12, "32 batches made {made} versions");
        let error = failing.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }
}
