//! Files of other formats, kept for ever: refused with both versions named, and left alone; and a
//! file of this format, which has to stay readable.
//!
//! `cargo run --release -p faults --example fixtures` makes them.

use faults::drive::drive;
use faults::specimen::options;
use yieldb::{Create, ErrorKind, MAIN, MemoryDisk};

const FORMAT_1: &[u8] = include_bytes!("../../fixtures/format-1.db");

fn disk_with(image: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.set_image("db", image.to_vec());
    disk
}

/// Each is refused in the same words whoever asks, and not changed.
fn assert_refused(image: &[u8], what: &str) {
    let disk = disk_with(image);
    let options = options(&disk);
    for options in [
        options.clone().read_only(true),
        options.clone().create(Create::Never),
        options.clone().create(Create::IfMissing),
    ] {
        let error = drive(options.open("db")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Foreign, "{error}");
        assert_eq!(error.to_string(), format!("db: {what}"));
    }
    assert!(disk.image("db").unwrap() == image, "it was changed");
}

#[test]
fn a_format_of_the_future_is_refused_with_both_versions() {
    let what = "the file has format version 2, this program reads versions up to 1";
    assert_refused(include_bytes!("../../fixtures/format-2.db"), what);
    // Only one of its slots was written in the new format so far: it is one all the same.
    assert_refused(include_bytes!("../../fixtures/format-2-first-slot.db"), what);
    assert_refused(include_bytes!("../../fixtures/format-2-second-slot.db"), what);
    let what = "the file has format version 4294967295, this program reads versions up to 1";
    assert_refused(include_bytes!("../../fixtures/format-last.db"), what);
}

#[test]
fn features_that_are_not_known_are_refused_and_named() {
    let what = "the file needs features that this program does not have: bits 0x8000000000000001";
    assert_refused(include_bytes!("../../fixtures/features.db"), what);
}

#[test]
fn a_file_of_this_format_stays_readable() {
    let disk = disk_with(FORMAT_1);
    for read_only in [true, false] {
        let database = drive(options(&disk).read_only(read_only).open("db")).unwrap();
        let snapshot = database.snapshot();
        assert_eq!(drive(snapshot.check(|_| {}).unwrap()).unwrap().damages, []);
        let fruit = snapshot.tree("fruit").unwrap();
        assert_eq!(snapshot.count(MAIN).unwrap(), 300);
        for number in 0..300_u32 {
            let found = drive(snapshot.get(MAIN, format!("entry {number:04}"))).unwrap();
            assert_eq!(found.as_deref(), Some(number.to_string().repeat(9).as_bytes()));
        }
        let found = drive(snapshot.get(fruit, "apple")).unwrap();
        assert_eq!(found.as_deref(), Some(&b"red"[..]));
    }
}
