//! The commands one by one: what they print, and what they exit with.

mod support;

use std::process::Stdio;

use serde_json::json;
use support::{Place, Shell, flip, listing, parse, sorted};

#[test]
fn entries_are_stored_and_found() {
    let place = Place::new();
    assert_eq!(place.ok("create some.db"), "");
    assert_eq!(place.ok("put some.db apple red"), "");
    assert_eq!(place.ok("put some.db plum blue"), "");
    assert_eq!(place.ok("get some.db apple"), "red\n");
    assert_eq!(place.ok("count some.db"), "2\n");
    assert_eq!(place.ok("scan some.db"), "apple\tred\nplum\tblue\n");
    assert_eq!(place.ok("scan some.db --reverse --keys"), "plum\napple\n");
    assert_eq!(place.ok("delete some.db apple pear"), "1\n");
    let absent = place.run("get some.db apple");
    assert_eq!((absent.code, absent.out.as_str(), absent.err.as_str()), (1, "", ""));
    let none = place.run("delete some.db apple pear");
    assert_eq!((none.code, none.out.as_str()), (1, "0\n"));
}

#[test]
fn large_values_go_through_every_command() {
    let place = Place::new();
    let value = "value ".repeat(600_000);
    let lines = format!("a\tsmall\nb\t{value}\nc\tlast\n");
    place.ok_with("load some.db", lines.as_bytes());
    assert!(place.ok("dump some.db") == lines);
    assert!(place.ok("get some.db b") == format!("{value}\n"));
    assert!(place.ok("scan some.db --reverse --limit 2") == format!("c\tlast\nb\t{value}\n"));
    assert_eq!(place.ok("scan some.db --keys"), "a\nb\nc\n");
    assert_eq!(place.ok("scan some.db --keys --reverse --from b"), "c\nb\n");
    assert_eq!(place.ok("count some.db --from b"), "2\n");
    place.ok("check some.db");
    assert_eq!(place.ok("delete some.db b"), "1\n");
    assert_eq!(place.ok("dump some.db"), "a\tsmall\nc\tlast\n");
}

#[test]
fn ranges_include_the_first_and_not_the_last() {
    let place = Place::new();
    place.ok_with("load some.db", b"a\t1\nab\t2\nabc\t3\nb\t4\nc\t5\n");
    assert_eq!(place.ok("scan some.db --from ab --to b --keys"), "ab\nabc\n");
    assert_eq!(place.ok("scan some.db --prefix ab --keys"), "ab\nabc\n");
    assert_eq!(place.ok("scan some.db --prefix ab --reverse --limit 1"), "abc\t3\n");
    assert_eq!(place.ok("count some.db --from ab"), "4\n");
    assert_eq!(place.ok("count some.db --prefix x"), "0\n");
    assert_eq!(place.ok("scan some.db --limit 0"), "");
}

#[test]
fn json_is_one_document_or_one_a_line() {
    let place = Place::new();
    place.ok("create some.db --page-size 8192");
    assert_eq!(
        parse(&place.ok("put some.db k v --json")),
        json!({"replaced": false, "version": 1})
    );
    assert_eq!(parse(&place.ok("get some.db k --json")), json!({"value": "v"}));
    let absent = place.run("get some.db x --json");
    assert_eq!((absent.code, parse(&absent.out)), (1, json!({"value": null})));
    assert_eq!(parse(&place.ok("count some.db --json")), json!({"count": 1}));
    assert_eq!(place.ok("scan some.db --json"), "{\"key\":\"k\",\"value\":\"v\"}\n");
    let info = parse(&place.ok("info some.db --json"));
    assert_eq!((&info["page_size"], &info["entries"]), (&json!(8192), &json!(1)));
    let check = parse(&place.ok("check some.db --json"));
    assert_eq!((&check["entries"], &check["damages"]), (&json!(1), &json!([])));
    let loaded = parse(&place.ok_with("load some.db --json", b"a\tb\n"));
    assert_eq!((&loaded["entries"], &loaded["bytes"]), (&json!(1), &json!(2)));
    let deleted = parse(&place.ok("delete some.db a k --json"));
    assert_eq!(deleted, json!({"deleted": 2, "version": 3}));
}

#[test]
fn a_listing_comes_back_sorted_by_bytes_through_every_driver() {
    let place = Place::new();
    let input = listing(20_000);
    for io in ["auto", "pread"] {
        let id = "00112233445566778899aabbccddeeff";
        let loaded = place.ok_with(&format!("load {io}.db --io {io} --database-id {id}"), &input);
        assert!(loaded.starts_with("20000 entries, "), "{loaded}");
        assert_eq!(place.ok(&format!("scan {io}.db --io {io}")), sorted(&input));
        assert_eq!(place.ok(&format!("dump {io}.db --io {io}")), sorted(&input));
    }
    let read = |name| std::fs::read(place.path(name)).unwrap();
    assert!(read("auto.db") == read("pread.db"), "the files differ");
    assert!(place.ok("check auto.db").ends_with("20000 entries, no damage\n"));
    let verbose = place.run("count pread.db --io pread -v");
    assert!(verbose.err.contains("driver pread (asked for)"), "{verbose:?}");
}

#[test]
fn a_load_can_be_cut_into_commits() {
    let place = Place::new();
    place.ok_with("load some.db --batch 7", &listing(100));
    let info = parse(&place.ok("info some.db --json"));
    assert_eq!((&info["version"], &info["entries"]), (&json!(15), &json!(100)));
}

#[test]
fn wrong_usage_is_2_and_changes_nothing() {
    let place = Place::new();
    place.ok("create some.db");
    let before = std::fs::read(place.path("some.db")).unwrap();
    assert_eq!(place.run("").code, 2);
    for line in ["frobnicate", "get some.db", "get some.db a b", "scan some.db --limit x"] {
        place.fails(line, 2);
    }
    assert_eq!(
        place.fails("scam some.db", 2),
        "yieldb: unrecognized subcommand 'scam'; tip: a similar subcommand exists: 'scan'; \
         see `yieldb help`\n"
    );
    let evil = place.fails("count some.db --\u{202e}x\u{1b}[2J", 2);
    assert!(evil.contains("--\\xe2\\x80\\xaex"), "{evil:?}");
    assert!(!evil.contains(['\u{202e}', '\u{1b}']), "{evil:?}");
    let error = place.fails("put some.db a\\q\u{1b}[2J x", 2);
    assert_eq!(error, "yieldb: a\\q\\x1b[2J: \\q is no escape; \\\\ is a backslash\n");
    place.fails("get some.db abc --hex", 2);
    place.fails("create new.db --page-size 5000", 2);
    place.fails("count some.db --cache 4K", 2);
    place.fails("create new.db --cache 4K", 2);
    assert!(!place.path("new.db").exists(), "it was made in spite of that");
    let error = place.fails("delete some.db key --read-only", 2);
    assert!(error.starts_with("yieldb: some.db: "), "{error}");
    place.fails("count some.db --durability none", 2);
    place.fails(&format!("put some.db {} v", "k".repeat(5_000)), 2);
    place.fails("put some.db k v --read-only", 2);
    assert!(!place.path("new.db").exists());
    let image = std::fs::read(place.path("some.db")).unwrap();
    assert_eq!(image.len(), before.len());
    assert_eq!(place.ok("count some.db"), "0\n");
}

#[test]
fn keys_and_values_may_begin_with_a_hyphen() {
    let place = Place::new();
    place.ok("put some.db --create -5 -7");
    place.ok("put some.db a --weird");
    place.ok("put some.db -key -value --tree -tree");
    assert_eq!(place.ok("get some.db -5"), "-7\n");
    assert_eq!(place.ok("scan some.db"), "-5\t-7\na\t--weird\n");
    assert_eq!(place.ok("scan some.db --from -4 --keys"), "-5\na\n");
    assert_eq!(place.ok("scan some.db --prefix -5 --limit 9 --keys"), "-5\n");
    assert_eq!(place.ok("get some.db -key --tree -tree"), "-value\n");
    place.ok("rename-tree some.db -tree -other");
    assert_eq!(place.ok("drop-tree some.db -other"), "1\n");
    // An option is an option wherever it stands; behind -- nothing is.
    assert_eq!(parse(&place.ok("get some.db -5 --json")), json!({"value": "-7"}));
    assert_eq!(parse(&place.ok("delete some.db -5 -6 --json"))["deleted"], json!(1));
    place.fails("delete some.db -key", 2);
    place.ok("put some.db -- --json -key");
    assert_eq!(place.ok("delete some.db -- --json a -key"), "2\n");
}

#[test]
fn a_damaged_spare_slot_is_noted_and_loses_nothing() {
    let place = Place::new();
    place.ok_with("load some.db", &listing(100));
    flip(&place.path("some.db"), 4096 + 60);
    let check = place.run("check some.db");
    assert_eq!((check.code, check.err.as_str()), (0, ""));
    assert!(
        check.out.starts_with("page 1: slot 1 does not count: the superblock's checksum"),
        "{check:?}"
    );
    assert!(check.out.ends_with("nothing is lost\n3 pages, 100 entries, no damage\n"), "{check:?}");
    let json = parse(&place.ok("check some.db --json"));
    assert_eq!((&json["damages"], &json["notes"][0]["page"]), (&json!([]), &json!(1)));
    assert_eq!(place.ok("count some.db"), "100\n");
    // What writes makes it whole.
    place.ok("put some.db key value");
    let json = parse(&place.ok("check some.db --json"));
    assert_eq!(json["notes"], json!([]));
}

#[test]
fn an_error_that_nobody_reads_is_no_panic() {
    let place = Place::new();
    place.ok("create some.db");
    for line in ["get missing.db k", "get some.db k -v", "frobnicate"] {
        let expected = place.run(line).code;
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = place.command(line).stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(expected), "{line}");
    }
}

#[test]
fn damage_is_3_and_names_the_page() {
    let place = Place::new();
    place.ok_with("load some.db", &listing(5_000));
    flip(&place.path("some.db"), 20 * 4096 + 3000);
    let check = place.run("check some.db");
    assert_eq!(check.code, 3);
    assert!(check.out.contains("page 20"), "{check:?}");
    let scan = place.run("scan some.db");
    assert_eq!(scan.code, 3);
    assert!(scan.err.contains("page 20 is damaged"), "{scan:?}");
    assert!(scan.err.contains("`yieldb check`"), "{scan:?}");
    let json = place.run("check some.db --json");
    assert_eq!((json.code, &parse(&json.out)["damages"][0]["page"]), (3, &json!(20)));
    // A file that is cut.
    let bytes = std::fs::read(place.path("some.db")).unwrap();
    std::fs::write(place.path("cut.db"), &bytes[..bytes.len() / 2]).unwrap();
    assert!(place.fails("count cut.db", 3).contains("the file is cut"));
}

#[test]
fn one_writes_or_many_read_and_the_others_get_4() {
    let place = Place::new();
    place.ok_with("load some.db", b"a\tb\n");
    let shell = |options: &str| {
        let mut shell = Shell::new(&place, options);
        assert_eq!(shell.ask("count"), "1\n");
        shell
    };
    let writer = shell("");
    assert!(place.fails("count some.db", 4).contains("in use"));
    place.fails("put some.db c d", 4);
    writer.kill();
    let reader = shell("--read-only");
    assert_eq!(place.ok("get some.db a"), "b\n");
    place.fails("put some.db c d", 4);
    reader.kill();
    place.ok("put some.db c d");
}

#[test]
fn what_the_system_refuses_is_5() {
    let place = Place::new();
    let missing = place.fails("get missing.db a", 5);
    assert!(missing.contains("missing.db") && missing.contains("No such file"), "{missing}");
    place.fails("put missing.db a b", 5);
    assert!(!place.path("missing.db").exists());
    place.ok("put missing.db a b --create");
    place.fails("create missing.db", 5);
    assert_eq!(place.ok("get missing.db a"), "b\n");
    assert!(place.fails("load some.db no-such-input", 5).starts_with("yieldb: no-such-input: "));
    assert!(place.fails("load some.db .", 5).starts_with("yieldb: .: Is a directory"));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = place.command("get missing.db a").stdout(full).stderr(Stdio::piped()).spawn();
    let ended = support::ended(ended.unwrap().wait_with_output().unwrap());
    assert!(ended.code == 5 && ended.err.contains("standard output: No space"), "{ended:?}");
    place.fails("count .", 5);
}

#[test]
fn foreign_and_future_files_are_6() {
    let place = Place::new();
    std::fs::write(place.path("notes.txt"), "just some notes\n".repeat(1_000)).unwrap();
    assert!(place.fails("get notes.txt a", 6).contains("not a yieldb file"));
    place.fails("load notes.txt", 6);
    let notes = std::fs::read_to_string(place.path("notes.txt")).unwrap();
    assert_eq!(notes, "just some notes\n".repeat(1_000));
    place.ok("create some.db");
    let mut bytes = std::fs::read(place.path("some.db")).unwrap();
    for slot in [0, 4096] {
        bytes[slot + 16] = 7;
        let checksum = crc32fast::hash(&bytes[slot..slot + 4092]);
        bytes[slot + 4092..slot + 4096].copy_from_slice(&checksum.to_le_bytes());
    }
    std::fs::write(place.path("some.db"), bytes).unwrap();
    assert!(place.fails("count some.db", 6).contains("format version 7"));
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let place = Place::new();
    place.ok_with("load some.db", &listing(50_000));
    let mut child = place
        .command("scan some.db")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = support::ended(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
}

#[test]
fn reading_changes_nothing() {
    let place = Place::new();
    place.ok_with("load some.db", &listing(1_000));
    let before = std::fs::read(place.path("some.db")).unwrap();
    for line in ["info some.db", "check some.db", "count some.db", "scan some.db", "dump some.db"] {
        place.ok(line);
    }
    assert!(before == std::fs::read(place.path("some.db")).unwrap());
}

#[test]
fn a_file_is_compacted() {
    let place = Place::new();
    let line = |number: u32| format!("{number:05}\t{}\n", "value ".repeat(number as usize % 40));
    let all: String = (0..20_000).map(line).collect();
    place.ok_with("load some.db --batch 1000", all.as_bytes());
    let deleted = (0..20_000).filter(|number| number % 10 != 3);
    let deletes: String = deleted.map(|number| format!("delete {number:05}\n")).collect();
    place.ok_with("shell some.db", format!("begin\n{deletes}commit\n").as_bytes());
    let (before, dump) =
        (place.path("some.db").metadata().unwrap().len(), place.ok("dump some.db"));
    let told = parse(&place.ok("compact some.db --json"));
    let now = place.path("some.db").metadata().unwrap().len();
    assert!(now < before / 2, "{before} {now}");
    assert_eq!(told["bytes"], json!(now));
    assert_eq!(place.ok("dump some.db"), dump);
    place.ok("check some.db");
    let told = place.ok("compact some.db");
    assert!(told.starts_with(&format!("{now} bytes before, {now} now")), "{told}");
    assert_eq!(place.ok("compact some.db --quiet"), "");
    place.fails("compact some.db --read-only", 2);
    place.fails("compact other.db", 5);
}
