//! Files of all kinds that are not ours: refused at once, and left alone.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use faults::place::{Place, assert_whole, choices, create, options};
use yieldb::{Choice, Create, ErrorKind};

/// A name, and the bytes.
fn kinds(ours: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let half = ours.len() / 2;
    let mut late = vec![0; 512];
    late.extend_from_slice(ours);
    vec![
        ("one byte", b"y".to_vec()),
        ("the first bytes of ours", ours[..16].to_vec()),
        ("PNG", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &[7; 9000]].concat()),
        ("SQLite", [b"SQLite format 3\0\x10\0\x01\x01".as_slice(), &[0; 8172]].concat()),
        ("text", b"to whom it may concern\n".repeat(1000)),
        ("gzip", [b"\x1f\x8b\x08\0\0\0\0\0".as_slice(), &[0x9c; 5000]].concat()),
        ("ELF", fs::read(std::env::current_exe().unwrap()).unwrap()[..100_000].to_vec()),
        ("zeros", vec![0; 64 * 1024 + 1]),
        ("ones", vec![0xff; 20_000]),
        ("ours with its halves swapped", [&ours[half..], &ours[..half]].concat()),
        ("ours behind a sector of zeros", late),
        ("ours as text", String::from_utf8_lossy(ours).into_owned().into_bytes()),
        ("LMDB", [[0; 16].as_slice(), &0xbeef_c0de_u32.to_le_bytes(), &[1; 8172]].concat()),
    ]
}

fn assert_refused(choice: Choice, path: &Path, name: &str) {
    let started = Instant::now();
    let before = fs::metadata(path).unwrap();
    for options in [
        options(choice).read_only(true),
        options(choice),
        options(choice).create(Create::IfMissing),
    ] {
        let error = options.open(path).wait().unwrap_err();
        let kind = match name {
            // It begins as one.
            "the first bytes of ours" => ErrorKind::Damaged,
            _ => ErrorKind::Foreign,
        };
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().starts_with(&*path.to_string_lossy()), "{name}: {error}");
    }
    let after = fs::metadata(path).unwrap();
    assert_eq!((before.len(), before.modified().ok()), (after.len(), after.modified().ok()));
    assert!(started.elapsed() < Duration::from_secs(2), "{name}: {:?}", started.elapsed());
}

#[test]
fn files_of_other_programs_are_refused_and_left_alone() {
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    drop(create(Choice::Pread, &place.path("ours"), 500));
    let ours = fs::read(place.path("ours")).unwrap();
    for (name, bytes) in kinds(&ours) {
        let path = place.path(name);
        fs::write(&path, &bytes).unwrap();
        for choice in choices() {
            assert_refused(choice, &path, name);
        }
        assert!(fs::read(&path).unwrap() == bytes, "{name} was changed");
    }
}

#[test]
fn a_gigabyte_of_zeros_is_refused_at_once() {
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    let path = place.path("zeros");
    File::create(&path).unwrap().set_len(1 << 30).unwrap();
    for choice in choices() {
        assert_refused(choice, &path, "a gigabyte of zeros");
    }
}

#[test]
fn an_empty_file_is_a_database_only_where_one_may_be_made() {
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    for choice in choices() {
        let path = place.path("empty");
        File::create(&path).unwrap();
        for options in [options(choice).read_only(true), options(choice)] {
            let error = options.open(&path).wait().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Foreign);
            assert!(error.to_string().ends_with("not a yieldb file: it is empty"), "{error}");
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        let database = options(choice).create(Create::IfMissing).open(&path).wait().unwrap();
        assert_whole(&database, 0);
    }
}
