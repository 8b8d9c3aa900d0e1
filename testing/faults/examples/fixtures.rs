//! Makes the files in `fixtures`: one of this format, and what is refused, derived from it.
//!
//! `cargo run --release -p faults --example fixtures`. They are made once for each format and kept:
//! a change that makes a test of them fail is a change of the format.

use std::path::Path;

use faults::drive::drive;
use faults::specimen::options;
use yieldb::{MAIN, MemoryDisk};

const SLOT: usize = 4096;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let image = format_1();
    let write = |name: &str, image: &[u8]| std::fs::write(folder.join(name), image).unwrap();
    write("format-1.db", &image);
    // What lies behind the superblock does not matter for a refusal.
    let head = &image[..2 * SLOT];
    let version = |slots: &[usize], version: u32| with(head, slots, 16, &version.to_le_bytes());
    write("format-2.db", &version(&[0, 1], 2));
    write("format-2-first-slot.db", &version(&[0], 2));
    write("format-2-second-slot.db", &version(&[1], 2));
    write("format-last.db", &version(&[0, 1], u32::MAX));
    let bits: u64 = 1 << 63 | 1;
    write("features.db", &with(head, &[0, 1], 24, &bits.to_le_bytes()));
}

/// A file with two trees.
fn format_1() -> Vec<u8> {
    let disk = MemoryDisk::new();
    let database = drive(options(&disk).open("db")).unwrap();
    let mut transaction = drive(database.begin()).unwrap();
    for number in 0..300 {
        let (key, value) = (format!("entry {number:04}"), number.to_string().repeat(9));
        drive(transaction.put(MAIN, key, value)).unwrap();
    }
    let fruit = transaction.create_tree("fruit").unwrap();
    drive(transaction.put(fruit, "apple", "red")).unwrap();
    drive(transaction.commit()).unwrap();
    drop(database);
    disk.image("db").unwrap()
}

/// The image with a field of some slots changed, and their checksums right.
fn with(image: &[u8], slots: &[usize], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    for slot in slots {
        let slot = &mut image[slot * SLOT..(slot + 1) * SLOT];
        slot[offset..offset + bytes.len()].copy_from_slice(bytes);
        let checksum = crc32fast::hash(&slot[..SLOT - 4]);
        slot[SLOT - 4..].copy_from_slice(&checksum.to_le_bytes());
    }
    image
}
