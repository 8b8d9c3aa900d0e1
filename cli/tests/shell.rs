//! The shell without a terminal: one command a line, one answer each.

mod support;

use serde_json::{Value, json};
use support::{Place, Shell, dialogue, parse};

#[test]
fn answers_are_as_promised() {
    let ok = || json!({"ok": true});
    let wrong = || json!({"ok": false, "code": 2});
    dialogue(
        &Place::new(),
        &[
            ("put apple red", ok()),
            ("put \"a key\" \"a \\\"value\\\"\"", ok()),
            ("get apple", json!({"ok": true, "value": "red"})),
            ("get pear", json!({"ok": true, "value": null})),
            ("get \"a key\"", json!({"ok": true, "value": "a \"value\""})),
            ("count", json!({"ok": true, "count": 2})),
            ("scan", json!({"ok": true, "entries": [["a key", "a \"value\""], ["apple", "red"]]})),
            ("scan a b 1", json!({"ok": true, "entries": [["a key", "a \"value\""]]})),
            ("delete apple", json!({"ok": true, "deleted": 1})),
            ("delete apple", json!({"ok": true, "deleted": 0})),
            ("version", json!({"ok": true, "version": 3})),
            ("checkpoint", ok()),
            ("frobnicate", wrong()),
            ("get", wrong()),
            ("get \"open", wrong()),
            ("commit", wrong()),
            ("count", json!({"ok": true, "count": 1})),
        ],
    );
}

#[test]
fn bytes_that_are_no_text_are_told_from_text_that_looks_like_them() {
    let ok = || json!({"ok": true});
    let place = Place::new();
    dialogue(
        &place,
        &[
            ("put text \\\\xff", ok()),
            ("put bytes \\xff", ok()),
            ("put \\xfe key", ok()),
            ("get text", json!({"ok": true, "value": "\\xff"})),
            ("get bytes", json!({"ok": true, "value_hex": "ff"})),
            (
                "scan",
                json!({"ok": true, "entries": [
                    {"key": "bytes", "value_hex": "ff"},
                    ["text", "\\xff"],
                    {"key_hex": "fe", "value": "key"},
                ]}),
            ),
        ],
    );
    let input = b"put 00ff 01\nget 00ff\nget \"00ff\"\nget xy\nscan 00 01 1\ntree 74\n";
    let answers = place.ok_with("shell some.db --hex --json", input);
    let answers: Vec<Value> = answers.lines().map(parse).collect();
    let found = json!({"ok": true, "value_hex": "01"});
    assert_eq!((&answers[0], &answers[1], &answers[2]), (&ok(), &found, &found));
    assert_eq!(answers[3]["code"], json!(2));
    assert_eq!(answers[4]["entries"], json!([{"key_hex": "00ff", "value_hex": "01"}]));
    assert_eq!(place.ok_with("shell some.db --hex", b"get 00ff\n"), "01\n");
    assert_eq!(place.ok("trees some.db"), "main\t4\nt\t0\n");
}

#[test]
fn transactions_are_seen_inside_and_not_outside_before_their_commit() {
    let ok = || json!({"ok": true});
    let place = Place::new();
    dialogue(
        &place,
        &[
            ("begin", ok()),
            ("put a 1", ok()),
            ("put b 2", ok()),
            ("get a", json!({"ok": true, "value": "1"})),
            ("begin", json!({"ok": false, "code": 2})),
            ("rollback", ok()),
            ("get a", json!({"ok": true, "value": null})),
            ("begin", ok()),
            ("put c 3", ok()),
            ("delete c", json!({"ok": true, "deleted": 1})),
            ("put d 4", ok()),
            ("commit", json!({"ok": true, "version": 1})),
            ("begin", ok()),
            ("put lost 1", ok()),
        ],
    );
    assert_eq!(place.ok("scan some.db"), "d\t4\n");
}

#[test]
fn a_transaction_goes_back_to_its_savepoints() {
    let ok = || json!({"ok": true});
    let wrong = || json!({"ok": false, "code": 2});
    let entries = |entries: Value| json!({"ok": true, "entries": entries});
    dialogue(
        &Place::new(),
        &[
            ("savepoint a", wrong()),
            ("rollback-to a", wrong()),
            ("begin", ok()),
            ("put k 1", ok()),
            ("savepoint a", ok()),
            ("put k 2", ok()),
            ("tree other", ok()),
            ("savepoint b", ok()),
            ("put k 3", ok()),
            ("rollback-to b", ok()),
            ("scan", entries(json!([]))),
            ("tree main", ok()),
            ("scan", entries(json!([["k", "2"]]))),
            ("rollback-to a", ok()),
            ("scan", entries(json!([["k", "1"]]))),
            // What was made behind it is over; it stays.
            ("rollback-to b", wrong()),
            ("put j 4", ok()),
            ("rollback-to a", ok()),
            ("commit", json!({"ok": true, "version": 1})),
            ("scan", entries(json!([["k", "1"]]))),
            ("trees", json!({"ok": true, "trees": [{"name": "main", "entries": 1}]})),
            ("begin", ok()),
            ("rollback-to a", wrong()),
        ],
    );
}

#[test]
fn what_fails_in_a_transaction_leaves_nothing_in_it() {
    let ok = || json!({"ok": true});
    let refused = format!("put {} v", "k".repeat(2_000));
    let main = json!({"name": "main", "entries": 1});
    dialogue(
        &Place::new(),
        &[
            ("begin", ok()),
            ("tree other", ok()),
            // The tree is gone, and the next entry would make it again.
            ("rollback", ok()),
            ("begin", ok()),
            (&refused, json!({"ok": false, "code": 2})),
            ("trees", json!({"ok": true, "trees": [{"name": "main", "entries": 0}]})),
            ("tree main", ok()),
            ("savepoint a", ok()),
            ("put k 1", ok()),
            (&refused, json!({"ok": false, "code": 2})),
            ("get k", json!({"ok": true, "value": "1"})),
            ("rollback-to a", ok()),
            ("put k 2", ok()),
            ("commit", json!({"ok": true, "version": 1})),
            ("get k", json!({"ok": true, "value": "2"})),
            ("trees", json!({"ok": true, "trees": [main]})),
        ],
    );
}

#[test]
fn an_answer_is_flushed_before_the_next_command_is_read() {
    let place = Place::new();
    let mut shell = Shell::new(&place, "");
    for (command, expected) in [("put k v", "ok\n"), ("get k", "v\n"), ("get x", "(no such key)\n")]
    {
        assert_eq!(shell.ask(command), expected);
    }
    shell.end();
}

#[test]
fn a_huge_line_is_an_error_and_the_next_one_is_answered() {
    let place = Place::new();
    let mut input = vec![b'x'; 3 << 20];
    input.extend_from_slice(b"\ncount\n");
    let answers = place.ok_with("shell some.db --json", &input);
    let answers: Vec<Value> = answers.lines().map(parse).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!((&answers[0]["code"], &answers[1]["count"]), (&json!(2), &json!(0)));
}

#[test]
fn relaxed_commits_are_lost_by_a_kill_and_kept_by_a_sync_and_by_the_end() {
    let place = Place::new();
    let mut shell = Shell::new(&place, "--durability relaxed");
    // The first two are checkpoints. Nobody drives behind the last one, so it is in memory however
    // long it takes to kill the shell.
    for (command, expected) in [
        ("put a 1", "ok\n"),
        ("put b 2", "ok\n"),
        ("put c 3", "ok\n"),
        ("sync", "version 3\n"),
        ("sync", "version 3\n"),
        ("put d 4", "ok\n"),
    ] {
        assert_eq!(shell.ask(command), expected);
    }
    shell.kill();
    assert_eq!(place.ok("scan some.db --keys"), "a\nb\nc\n");

    let mut shell = Shell::new(&place, "--durability relaxed");
    shell.tell("put d 4\nput e 5\nput f 6\nquit");
    shell.end();
    place.ok_with(
        "load some.db --durability relaxed --batch 2",
        b"g\t7\nh\t8\ni\t9\nj\t10\nk\t11\n",
    );
    place.ok("put some.db l 12 --durability relaxed");
    assert_eq!(place.ok("count some.db"), "12\n");
    assert!(!place.path("some.db-log").exists());
}

#[test]
fn a_script_ends_as_its_first_command_that_failed() {
    let place = Place::new();
    let script = |options: &str, lines: &str| {
        let ended = place.run_with(&format!("shell some.db {options}"), lines.as_bytes());
        (ended.code, ended.out, ended.err)
    };
    let (code, out, err) = script("", "put a 1\ndrop-tree x\nfrobnicate\nput b 2\n");
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(out.ends_with("help\nok\n") && out.contains("error: "), "{out}");
    assert_eq!(place.ok("count some.db"), "2\n");
    assert_eq!(script("", "get \"open\nexit\n").0, 2);
    let (code, out, _) = script("", "get a\\q\n");
    assert_eq!((code, out.as_str()), (2, "error: \\q is no escape; \\\\ is a backslash\n"));
    // What is not there is an answer, and no failure.
    assert_eq!(script("", "get x\ndelete x\n").0, 0);
    assert_eq!(script("--json", "frobnicate\nbegin\n").0, 0);
}

#[test]
fn a_script_that_ends_inside_a_transaction_says_that_it_is_rolled_back() {
    let place = Place::new();
    for (lines, expected) in [
        ("begin\nput a 1\n", 2),
        ("begin\nput a 1\nexit\n", 2),
        ("drop-tree x\nbegin\nput a 1\n", 1),
    ] {
        let ended = place.run_with("shell some.db", lines.as_bytes());
        assert_eq!(ended.code, expected, "{lines}: {ended:?}");
        assert_eq!(ended.err, "yieldb: rolled back: the input ended inside a transaction\n");
        assert_eq!(place.ok("count some.db"), "0\n");
    }
    let ended = place.run_with("shell some.db", b"begin\nput a 1\ncommit\n");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
}
