//! Processes that are killed: the last acknowledged commit is there, and the file is whole.

mod support;

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use support::{Place, Shell, has_python, kill, parse, read, wait_for};

fn info(place: &Place) -> Value {
    parse(&place.ok("info some.db --json"))
}

/// Loads entries without end, from number `first` on, and kills the command after `pause`.
fn load_and_kill(place: &Place, options: &str, first: u64, pause: impl FnOnce()) {
    let mut child = place
        .command(&format!("load some.db --quiet {options}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        // Until nobody reads any more.
        for number in first.. {
            if input.write_all(format!("{number:09}\tvalue {number}\n").as_bytes()).is_err() {
                return;
            }
        }
    });
    pause();
    kill(child);
    writer.join().unwrap();
}

#[test]
fn a_killed_load_leaves_whole_commits() {
    let has_python = has_python();
    for io in ["auto", "pread"] {
        let place = Place::new();
        let batch = 50;
        place.ok("create some.db");
        let (mut next, mut logs) = (0_u64, 0);
        for round in 0..12 {
            let after = Duration::from_millis(20 + 17 * round);
            let options = format!("--batch {batch} --io {io}");
            load_and_kill(&place, &options, next, || std::thread::sleep(after));
            logs += u32::from(!info(&place)["log"].is_null());
            place.ok("check some.db");
            let dump = place.ok("dump some.db --hex --read-only");
            if has_python {
                let found = read(&place.path("some.db"));
                assert_eq!(found.code, 0, "{}", found.err);
                assert!(found.out == format!("# 6d61696e\n{dump}"), "round {round}: they differ");
            }
            let count: u64 = place.ok("count some.db").trim().parse().unwrap();
            assert_eq!(dump.lines().count() as u64, count);
            assert!(info(&place)["log"].is_null(), "it was not recovered");
            place.ok("check some.db");
            assert!(count >= next, "a commit is lost");
            assert!(count.is_multiple_of(batch), "{count} entries: half a commit");
            if count > 0 {
                let last = place.ok("scan some.db --reverse --limit 1");
                assert_eq!(last, format!("{:09}\tvalue {}\n", count - 1, count - 1));
            }
            next = count;
        }
        assert!(next > 0, "nothing was committed");
        assert!(logs > 3, "{io}: only {logs} of 12 kills left a log");
    }
}

/// Whoever recovers may be killed as well, again and again.
#[test]
fn a_recovery_that_is_killed_loses_nothing() {
    for io in ["auto", "pread"] {
        let place = Place::new();
        place.ok("create some.db");
        load_and_kill(&place, &format!("--batch 50 --io {io}"), 0, || {
            wait_for("there is no log", || place.path("some.db-log").exists());
            std::thread::sleep(Duration::from_millis(150));
        });
        let expected = place.ok("dump some.db --read-only");
        for round in 0..30 {
            let line = format!("count some.db --io {io}");
            let mut command = place.command(&line);
            let child = command.stdout(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(1_000 + 400 * round));
            kill(child);
            place.ok("check some.db");
            assert!(place.ok("dump some.db --read-only") == expected, "{io}, round {round}");
        }
        assert!(place.ok("dump some.db") == expected);
        assert!(!place.path("some.db-log").exists());
    }
}

#[test]
fn a_load_in_one_commit_that_is_killed_leaves_nothing() {
    let place = Place::new();
    let before = place.ok_with("load some.db", b"a\tb\n");
    assert!(before.starts_with("1 entries"));
    for io in ["auto", "pread"] {
        // A cache so small that the transaction writes most of its pages before the commit.
        let options = format!("--batch 1000000000 --cache 512K --io {io}");
        let file_len = || std::fs::metadata(place.path("some.db")).unwrap().len();
        let wait = || wait_for("nothing is written", || file_len() > 1 << 20);
        load_and_kill(&place, &options, 0, wait);
        assert_eq!(place.ok("scan some.db"), "a\tb\n");
        place.ok("check some.db");
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let place = Place::new();
    for round in 0..10_u64 {
        let mut shell = Shell::new(&place, "");
        let acknowledged = 5 + round * 3;
        for number in 0..acknowledged {
            assert_eq!(shell.ask(&format!("put {round}-{number} {number}")), "ok\n");
        }
        // One more is under way.
        shell.tell(&format!("put {round}-last x"));
        shell.kill();
        for number in 0..acknowledged {
            assert_eq!(place.ok(&format!("get some.db {round}-{number}")), format!("{number}\n"));
        }
        assert!(info(&place)["version"].as_u64().unwrap() >= acknowledged);
        place.ok("check some.db");
    }
}
