//! Named trees: chosen by `--tree`, listed, dropped, renamed, and in the shell.

mod support;

use serde_json::{Value, json};
use support::{Place, dialogue, listing, parse, sorted};

#[test]
fn every_command_works_on_the_tree_that_is_chosen() {
    let place = Place::new();
    place.ok("put some.db k main --create");
    place.ok("put some.db k other --tree other");
    assert_eq!(place.ok("get some.db k"), "main\n");
    assert_eq!(place.ok("get some.db k --tree main"), "main\n");
    assert_eq!(place.ok("get some.db k --tree other"), "other\n");
    let input = listing(3_000);
    place.ok_with("load some.db --tree files --batch 700", &input);
    assert_eq!(place.ok("dump some.db --tree files"), sorted(&input));
    assert_eq!(place.ok("count some.db --tree files"), "3000\n");
    assert_eq!(place.ok("count some.db --tree files --prefix /usr/share/item-096"), "30\n");
    assert_eq!(place.ok("scan some.db --tree other"), "k\tother\n");
    assert_eq!(place.ok("trees some.db"), "files\t3000\nmain\t1\nother\t1\n");
    assert_eq!(place.ok("delete some.db k --tree other"), "1\n");
    assert_eq!(place.ok("trees some.db"), "files\t3000\nmain\t1\nother\t0\n");
    assert_eq!(place.ok("get some.db k"), "main\n");
    assert!(place.ok("check some.db").ends_with("3001 entries, no damage\n"));
    let dumped = place.ok("dump some.db --tree files --format csv");
    place.ok_with("load copy.db --tree files --format csv", dumped.as_bytes());
    assert_eq!(place.ok("dump copy.db --tree files"), sorted(&input));
    assert_eq!(place.ok("count copy.db"), "0\n");
}

#[test]
fn a_dump_tells_of_the_trees_that_it_does_not_have() {
    let place = Place::new();
    let told = |line: &str| {
        let ended = place.run(line);
        assert_eq!((ended.code, ended.out.as_str()), (0, "k\tv\n"), "{line}: {ended:?}");
        ended.err
    };
    let expected = |others: &str| {
        let advice = "`yieldb trees` lists all, and --tree NAME chooses one";
        format!("yieldb: some.db: {others} not dumped; {advice}\n")
    };
    place.ok("put some.db k v --tree one --create");
    // The main tree is there always, and empty.
    assert_eq!(told("dump some.db --tree one"), "");
    place.ok("put some.db k v");
    assert_eq!(told("dump some.db --tree one"), expected("1 other tree is"));
    place.ok_with("load some.db --tree two", b"");
    assert_eq!(told("dump some.db"), expected("2 other trees are"));
    assert_eq!(told("dump some.db --quiet"), "");
    assert_eq!(told("scan some.db"), "");
}

#[test]
fn a_missing_tree_is_1_and_only_what_stores_creates_one() {
    let place = Place::new();
    place.ok("create some.db");
    for line in ["get some.db k", "scan some.db", "count some.db", "dump some.db"] {
        let error = place.fails(&format!("{line} --tree other"), 1);
        assert!(error.starts_with("yieldb: some.db: there is no tree named \"other\""), "{error}");
    }
    place.fails("delete some.db k --tree other", 1);
    place.fails("drop-tree some.db other", 1);
    place.fails("rename-tree some.db other another", 1);
    assert_eq!(place.ok("trees some.db"), "main\t0\n");
    place.ok_with("load some.db --tree other", b"");
    assert_eq!(place.ok("trees some.db"), "main\t0\nother\t0\n");
    let read_only = place.fails("put some.db k v --tree third --read-only", 2);
    assert!(read_only.contains("reading only"), "{read_only}");
    for line in ["create new.db", "info some.db", "check some.db", "trees some.db"] {
        place.fails(&format!("{line} --tree main"), 2);
    }
    assert!(!place.path("new.db").exists());
}

#[test]
fn trees_are_dropped_and_renamed() {
    let place = Place::new();
    place.ok_with("load some.db --tree one", &listing(2_000));
    place.ok("put some.db k v --tree two");
    place.ok("rename-tree some.db one three");
    assert_eq!(place.ok("trees some.db"), "main\t0\nthree\t2000\ntwo\t1\n");
    place.fails("rename-tree some.db three two", 2);
    place.fails("rename-tree some.db main two", 2);
    place.fails("rename-tree some.db two main", 2);
    place.fails("drop-tree some.db main", 2);
    assert_eq!(place.ok("drop-tree some.db three"), "2000\n");
    assert_eq!(place.ok("trees some.db"), "main\t0\ntwo\t1\n");
    let dropped = parse(&place.ok("drop-tree some.db two --json"));
    assert_eq!(dropped["dropped"], json!(1));
    let trees = parse(&place.ok("trees some.db --json"));
    assert_eq!(trees, json!({"trees": [{"name": "main", "entries": 0}]}));
    place.ok("check some.db");
}

#[test]
fn names_are_bytes_written_as_keys_are() {
    let place = Place::new();
    place.ok("put some.db k v --create --tree \\xff\\tx");
    assert_eq!(place.ok("trees some.db"), "main\t0\n\\xff\\tx\t1\n");
    // The name of the tree that nobody names is not hexadecimal.
    assert_eq!(place.ok("count some.db --hex"), "0\n");
    assert_eq!(place.ok("get some.db 6b --hex --tree ff0978"), "76\n");
    let trees = parse(&place.ok("trees some.db --json"));
    assert_eq!(trees["trees"][1], json!({"name_hex": "ff0978", "entries": 1}));
    place.fails("put new.db k v --create --tree \\q", 2);
    place.fails("put new.db k v --create --tree=", 2);
    assert!(!place.path("new.db").exists());
    place.fails(&format!("put some.db k v --tree {}", "n".repeat(1_025)), 2);
    place.ok("rename-tree some.db \\xff\\tx plain");
    assert_eq!(place.ok("scan some.db --tree plain"), "k\tv\n");
}

#[test]
fn the_shell_goes_from_tree_to_tree() {
    let ok = || json!({"ok": true});
    let missing = || json!({"ok": false, "code": 1});
    let trees = |names: &[(&str, u64)]| {
        let trees: Vec<Value> =
            names.iter().map(|(name, count)| json!({"name": name, "entries": count})).collect();
        json!({"ok": true, "trees": trees})
    };
    let place = Place::new();
    dialogue(
        &place,
        &[
            ("put k main", ok()),
            ("tree one", ok()),
            ("version", json!({"ok": true, "version": 2})),
            ("get k", json!({"ok": true, "value": null})),
            ("put k one", ok()),
            ("scan", json!({"ok": true, "entries": [["k", "one"]]})),
            ("trees", trees(&[("main", 1), ("one", 1)])),
            ("begin", ok()),
            ("tree two", ok()),
            ("put a 1", ok()),
            ("trees", trees(&[("main", 1), ("one", 1), ("two", 1)])),
            ("rollback", ok()),
            // The tree went with the transaction that made it, and no other takes its place.
            ("count", missing()),
            ("get a", missing()),
            ("delete a", missing()),
            ("put a 2", ok()),
            ("count", json!({"ok": true, "count": 1})),
            ("tree main", ok()),
            ("get k", json!({"ok": true, "value": "main"})),
            ("rename-tree two three", ok()),
            ("drop-tree one", json!({"ok": true, "dropped": 1})),
            ("drop-tree one", missing()),
            ("drop-tree main", json!({"ok": false, "code": 2})),
            ("tree \"\"", json!({"ok": false, "code": 2})),
            ("trees", trees(&[("main", 1), ("three", 1)])),
        ],
    );
    assert_eq!(place.ok_with("shell some.db --tree three", b"get a\n"), "2\n");
    assert_eq!(place.ok_with("shell some.db --tree three --read-only", b"get a\n"), "2\n");
    place.fails("shell some.db --tree four --read-only", 2);
}
