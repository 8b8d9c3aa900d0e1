//! Recoveries that take long: a terminal is told how far they are.

mod support;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::Place;
use yieldb::{Batch, LogLimits, MAIN, Options};

const COUNT: u64 = 30_000;

/// A key that looks random.
fn key(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

/// A database whose log has so many changes, all over a tree.
fn make(path: &Path, changes: u64) {
    let limits = LogLimits { first_len: 64 << 20, max_len: 64 << 20 };
    let database = Options::new().log(Some(limits)).open(path).wait().unwrap();
    let write = |numbers: std::ops::Range<u64>, value: &[u8]| {
        let mut batch = Batch::new();
        numbers.for_each(|number| {
            batch.put(MAIN, key(number % COUNT), value);
        });
        database.write(&batch).wait().unwrap();
    };
    write(0..COUNT, &[1; 200]);
    write(0..1, b"the log begins");
    for first in (0..changes).step_by(500) {
        write(first..first + 500, &[2; 100]);
    }
}

/// A terminal: our end of it, and the one for a process.
fn terminal() -> (File, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (File::from(ours), theirs.into())
}

/// Runs a command whose standard error is a terminal. Returns what it printed, what the terminal
/// got, and how long it took.
fn run(place: &Place, line: &str) -> (String, String, Duration) {
    let (mut ours, theirs) = terminal();
    let started = Instant::now();
    let mut command = place.command(line);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(theirs);
    let child = command.spawn().unwrap();
    // Our copy of the process's end, or reading never ends.
    drop(command);
    let mut seen = Vec::new();
    let mut bytes = [0; 4096];
    // The end of a terminal that nobody has any more is an error.
    while let Ok(len @ 1..) = ours.read(&mut bytes) {
        seen.extend_from_slice(&bytes[..len]);
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&seen));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(seen), started.elapsed())
}

#[test]
fn a_terminal_is_told_how_far_a_long_recovery_is() {
    // Each change takes a read and a write with so small a cache.
    let mut changes = 5_000;
    loop {
        let place = Place::new();
        make(&place.path("some.db"), changes);
        let (out, seen, took) = run(&place, "count some.db --cache 256K");
        assert_eq!(out, format!("{COUNT}\n"));
        if took > Duration::from_secs(3) {
            assert!(seen.contains("of the log made again"), "{seen:?}");
            assert!(seen.contains("iB/"), "{seen:?}");
            break;
        }
        println!("{changes} changes took {took:?}: {seen:?}");
        changes *= 2;
    }
    let place = Place::new();
    make(&place.path("some.db"), changes);
    let (out, seen, _) = run(&place, "count some.db --cache 256K --quiet");
    assert_eq!((out, seen.as_str()), (format!("{COUNT}\n"), ""));
}

#[test]
fn a_terminal_is_told_nothing_of_a_short_recovery() {
    let place = Place::new();
    make(&place.path("some.db"), 500);
    let (out, seen, _) = run(&place, "count some.db");
    assert_eq!((out, seen.as_str()), (format!("{COUNT}\n"), ""));
}
