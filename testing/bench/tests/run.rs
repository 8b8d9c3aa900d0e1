//! A run from the command line to the report: with few entries, and yieldb alone.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn bench(arguments: &[&str], place: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(arguments).arg("--directory").arg(place.join("data"));
    command.arg("--record").arg(place.join("record")).output().expect("it can be started")
}

#[test]
fn a_run_goes_on_where_it_was() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let read = |name: &str| fs::read_to_string(place.path().join("record").join(name)).unwrap();
    let run = ["run", "--quick", "--only", "commits", "--engines", "yieldb"];
    let output = bench(&run, place.path());
    assert!(output.status.success(), "{output:?}");
    let lines = read("runs.jsonl");
    // Four numbers of threads and the memory, in two rounds.
    assert_eq!(lines.lines().count(), 10, "{lines}");

    // Without the second round, that one is measured, and the first one is not.
    let kept: Vec<&str> = lines.lines().filter(|line| line.contains("\"round\":1")).collect();
    fs::write(place.path().join("record/runs.jsonl"), kept.join("\n") + "\n").unwrap();
    let output = bench(&run, place.path());
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("round 2") && !told.contains("round 1"), "{told}");
    assert_eq!(read("runs.jsonl").lines().count(), 10);

    let table = read("table.md");
    assert!(table.contains("| threads: 64, per second |"), "{table}");
    assert!(read("commits.svg").contains("threads: 64"));
    let left = fs::read_dir(place.path().join("data")).unwrap().count();
    assert_eq!(left, 0, "nothing is left of the databases");
}

#[test]
fn who_asks_for_nonsense_is_told() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let output = bench(&["run", "--only", "flying"], place.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("flying is none of: table, commits"));
    let output = bench(&["report", "nowhere"], place.path());
    assert!(!output.status.success());
}
