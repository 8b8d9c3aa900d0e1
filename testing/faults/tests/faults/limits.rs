//! Keys and values at every limit, one below and one above, in every page size; keys and values
//! that are empty, or of bytes that mean something elsewhere.

use faults::drive::drive;
use yieldb::{Database, ErrorKind, KeyRange, MAIN, MemoryDisk, Options};

const PAGE_SIZES: [u32; 5] = [4096, 8192, 16_384, 32_768, 65_536];

fn open(disk: &MemoryDisk, page_size: u32) -> Database {
    let cache = Options::min_cache_bytes(page_size);
    let options = Options::new().backend(disk.immediate()).page_size(page_size).cache_bytes(cache);
    drive(options.open("db")).unwrap()
}

/// Stores entries, opens the file again, and finds them and nothing else, one by one and in order.
fn assert_kept(page_size: u32, entries: &[(Vec<u8>, Vec<u8>)]) {
    let disk = MemoryDisk::new();
    let database = open(&disk, page_size);
    let mut transaction = drive(database.begin()).unwrap();
    for (key, value) in entries {
        assert!(!drive(transaction.put(MAIN, key, value)).unwrap(), "{} twice", key.escape_ascii());
    }
    drive(transaction.commit()).unwrap();
    drop(database);
    let database = open(&disk, page_size);
    let snapshot = database.snapshot();
    assert_eq!(drive(snapshot.check(|_| {}).unwrap()).unwrap().damages, []);
    let mut sorted = entries.to_vec();
    sorted.sort();
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    for (key, value) in &sorted {
        let found = drive(cursor.next()).unwrap().expect("one more entry");
        assert_eq!((found.key(), found.value()), (&key[..], &value[..]));
        let found = drive(snapshot.get(MAIN, key)).unwrap();
        assert_eq!(found.as_deref(), Some(&value[..]));
    }
    assert!(drive(cursor.next()).unwrap().is_none());
    let mut transaction = drive(database.begin()).unwrap();
    for (key, _) in entries {
        assert!(drive(transaction.delete(MAIN, key)).unwrap());
    }
    drive(transaction.commit()).unwrap();
    let report = drive(database.snapshot().check(|_| {}).unwrap()).unwrap();
    assert_eq!((report.damages, report.entries), (vec![], 0));
}

#[test]
fn the_longest_key_is_stored_and_one_byte_more_is_refused() {
    for page_size in PAGE_SIZES {
        let max = page_size as usize / 4;
        let keys = [max - 1, max]
            .into_iter()
            .flat_map(|len| [0x00, 0x01, b'k', 0xff].map(|byte| (vec![byte; len], vec![byte; 3])));
        assert_kept(page_size, &keys.collect::<Vec<_>>());

        let database = open(&MemoryDisk::new(), page_size);
        let mut transaction = drive(database.begin()).unwrap();
        for len in [max + 1, max + 2, 65_535, 65_536, 1 << 20].into_iter().filter(|len| *len > max)
        {
            let error = drive(transaction.put(MAIN, vec![b'k'; len], b"")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            let text = format!("a key of {len} bytes is too long, {max} is the most");
            assert!(error.to_string().starts_with(&text), "{error}");
            // Nothing can be stored under it, so nothing is there.
            assert!(!drive(transaction.delete(MAIN, vec![b'k'; len])).unwrap_or(false));
            let found = drive(transaction.get(MAIN, vec![b'k'; len]));
            assert!(found.map_or(true, |found| found.is_none()));
        }
        // The transaction is none the worse for it.
        drive(transaction.put(MAIN, b"k", b"v")).unwrap();
        drive(transaction.commit()).unwrap();
        assert_eq!(database.snapshot().count(MAIN).unwrap(), 1);
    }
}

#[test]
fn values_around_every_length_where_their_place_changes() {
    for page_size in PAGE_SIZES {
        let page = page_size as usize;
        let inline = |key_len: usize| (page - 40) / 2 - 10 - key_len;
        let mut entries = Vec::new();
        for key_len in [0, 1, 2, 17, page / 4] {
            for len in [0, 1, inline(key_len) - 1, inline(key_len)] {
                let mut key = vec![b'a' + (len % 23) as u8; key_len];
                if let Some(last) = key.last_mut() {
                    *last = entries.len() as u8;
                }
                if entries.iter().all(|(other, _)| *other != key) {
                    entries.push((key, vec![len as u8 ^ 0x5a; len]));
                }
            }
        }
        assert!(entries.len() > 12);
        assert_kept(page_size, &entries);
    }
}

#[test]
fn empty_keys_zeros_and_ones_are_keys_like_others() {
    let mut keys: Vec<Vec<u8>> = vec![Vec::new()];
    for len in [1, 2, 3, 4, 5, 8, 9] {
        for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            keys.push(vec![byte; len]);
            let mut other = vec![byte; len];
            other[len - 1] = !byte;
            keys.push(other);
        }
    }
    keys.extend([&b"\n"[..], b"\r\n", b"\t", b"\x1b[2J", b"../../etc/passwd"].map(<[u8]>::to_vec));
    keys.sort();
    keys.dedup();
    let entries: Vec<_> = keys.iter().map(|key| (key.clone(), key.clone())).collect();
    for page_size in PAGE_SIZES {
        assert_kept(page_size, &entries);
    }
}

#[test]
fn names_of_trees_have_limits_as_well() {
    for page_size in PAGE_SIZES {
        let max = page_size as usize / 4;
        let disk = MemoryDisk::new();
        let database = open(&disk, page_size);
        let mut transaction = drive(database.begin()).unwrap();
        for len in [0, max + 1, 1 << 20] {
            let error = transaction.create_tree(vec![b't'; len]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().contains(&format!("{len} bytes is impossible")), "{error}");
        }
        let names = [vec![0], vec![0xff], vec![0; max], vec![0xff; max], vec![b't'; max - 1]];
        for name in &names {
            let tree = transaction.create_tree(name).unwrap();
            drive(transaction.put(tree, b"name", name.get(..9).unwrap_or(name))).unwrap();
        }
        drive(transaction.commit()).unwrap();
        drop(database);
        let database = open(&disk, page_size);
        let snapshot = database.snapshot();
        assert_eq!(drive(snapshot.check(|_| {}).unwrap()).unwrap().damages, []);
        for name in &names {
            let found = drive(snapshot.get(snapshot.tree(name).unwrap(), b"name")).unwrap();
            assert_eq!(found.as_deref(), Some(name.get(..9).unwrap_or(name)));
        }
    }
}
