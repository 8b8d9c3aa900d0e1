//! Files whose newest commits are in a log: made one file by the commands that may, left as they
//! are by those that may not.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Place, Shell, flip, listing, parse, wait_for};
use yieldb::{Batch, Choice, Database, KeyRange, LogLimits, MAIN, Options};

/// How the library opens files here.
fn options() -> Options {
    Options::new().io(Choice::Pread)
}

fn put(database: &Database, key: &str, value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(MAIN, key, value);
    database.write(&batch).wait().unwrap();
}

/// Makes `some.db` with entries `key 0`, `key 1` and so on, a commit each; all but the first two
/// are in the log.
fn make(place: &Place, count: u64) {
    let database = options().open(place.path("some.db")).wait().unwrap();
    for number in 0..count {
        put(&database, &format!("key {number}"), b"value");
    }
}

/// All files, and their bytes.
fn files(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(place.directory.path()).unwrap();
    let entries = entries.map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read(entry.path()).unwrap())
    });
    entries.collect()
}

fn names(place: &Place) -> Vec<String> {
    files(place).into_keys().collect()
}

/// Copies a file and its log.
fn copy(place: &Place, to: &str) {
    for end in ["", "-log"] {
        let from = place.path(&format!("some.db{end}"));
        std::fs::copy(from, place.path(&format!("{to}{end}"))).unwrap();
    }
}

#[test]
fn a_command_that_changes_or_reads_leaves_one_file() {
    for (line, code) in [
        ("put some.db a b", 0),
        ("delete some.db key%0", 0),
        ("delete some.db nothing", 1),
        ("delete some.db a --tree nothing", 1),
        ("drop-tree some.db nothing", 1),
        ("drop-tree some.db main", 2),
        ("rename-tree some.db main other", 2),
        ("load some.db", 0),
        ("load some.db --format ndjson", 2),
        ("shell some.db", 2),
        ("get some.db key%1", 0),
        ("get some.db nothing", 1),
        ("count some.db", 0),
        ("scan some.db", 0),
        ("dump some.db", 0),
        ("trees some.db", 0),
        ("stats some.db", 0),
        ("count some.db --tree nothing", 1),
    ] {
        let place = Place::new();
        make(&place, 4);
        assert_eq!(names(&place), ["some.db", "some.db-log"]);
        let mut command = place.command("");
        command.args(line.split(' ').map(|word| word.replace('%', " ")));
        let ended = support::run(command, b"put\t1\nput\t2\n");
        assert_eq!(ended.code, code, "{line}: {ended:?}");
        assert_eq!(names(&place), ["some.db"], "{line}");
        place.ok("check some.db --read-only");
        let count: u64 = place.ok("count some.db").trim().parse().unwrap();
        assert!(count >= 3, "{line}: {count} entries are left of four");
    }
}

#[test]
fn commits_of_one_command_leave_one_file() {
    let place = Place::new();
    for io in ["auto", "pread"] {
        let input = listing(1_000);
        place.ok_with(&format!("load some.db --batch 9 --io {io}"), &input);
        assert_eq!(names(&place), ["some.db"]);
        // A line that cannot be read comes behind some commits.
        let bad = [&input[..], b"no tab\n"].concat();
        let ended = place.run_with(&format!("load some.db --batch 9 --io {io}"), &bad);
        assert!(ended.code == 2 && ended.err.contains("line 1001: no tab"), "{ended:?}");
        assert_eq!(names(&place), ["some.db"]);
        place.ok("check some.db");
    }
}

#[test]
fn looking_changes_no_byte_of_both_files() {
    let place = Place::new();
    make(&place, 50);
    let before = files(&place);
    for line in [
        "info some.db",
        "info some.db --json",
        "check some.db",
        "check some.db --json",
        "page some.db 0",
        "page some.db 3",
        "log some.db",
        "log some.db --records",
        "log some.db --records --json",
        "get some.db a --read-only",
        "count some.db --read-only",
        "dump some.db --read-only",
        "stats some.db --read-only",
        "info some.db --io pread --cache 256K",
    ] {
        let ended = place.run(line);
        assert!(matches!(ended.code, 0 | 1), "{line}: {ended:?}");
        assert!(files(&place) == before, "{line}");
    }
    assert_eq!(place.ok("count some.db --read-only"), "50\n");
    // So does who may not change anything because others read.
    let reader = options().read_only(true).open(place.path("some.db")).wait().unwrap();
    assert_eq!(place.ok("count some.db"), "50\n");
    let verbose = place.run("count some.db -v");
    assert!(verbose.err.contains("not recovered, but read with its log"), "{verbose:?}");
    assert!(files(&place) == before);
    drop(reader);
    let verbose = place.run("count some.db -v");
    assert!(verbose.err.contains("recovered from its log"), "{verbose:?}");
    assert_eq!((verbose.out.as_str(), names(&place)), ("50\n", vec!["some.db".to_owned()]));
}

#[test]
fn a_log_is_shown_group_by_group() {
    let place = Place::new();
    place.ok("create some.db");
    assert_eq!(place.ok("log some.db"), "no log\n");
    assert_eq!(place.ok("log some.db --json"), "");
    assert_eq!(parse(&place.ok("info some.db --json"))["log"], Value::Null);
    assert!(place.ok("info some.db").contains("log             none\n"));
    let database = options().open(place.path("some.db")).wait().unwrap();
    put(&database, "aa", b"");
    put(&database, "first", b"");
    put(&database, "gr\u{fc}n\x1b[2J", b"value");
    let mut transaction = database.begin().wait().unwrap();
    let tree = transaction.create_tree("other").unwrap();
    transaction.put(tree, [0xff], "v").wait().unwrap();
    transaction.rename_tree(tree, "third").unwrap();
    transaction.delete(MAIN, "first").wait().unwrap();
    let range = KeyRange::all().from(b"a").to(b"b");
    transaction.delete_range(MAIN, range).wait().unwrap();
    transaction.drop_tree(tree).unwrap().wait().unwrap();
    transaction.commit().wait().unwrap();
    drop(database);
    let log = place.ok("log some.db --records --json");
    let groups: Vec<Value> = log.lines().map(parse).collect();
    assert_eq!(groups.len(), 2, "{log}");
    let fields = ["position", "offset", "bytes", "first_version", "transactions"];
    let shown = fields.map(|field| groups[1][field].as_u64().unwrap());
    assert_eq!(shown, [1, 1, 4096, 4, 1]);
    let put = json!({"kind": "put", "tree": 0, "key": "gr\u{fc}n\x1b[2J", "value_bytes": 5});
    assert_eq!(groups[0]["records"], json!([{"version": 3, "changes": [put]}]));
    let changes = groups[1]["records"][0]["changes"].as_array().unwrap();
    let kinds: Vec<&str> = changes.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    let expected = ["create-tree", "put", "rename-tree", "delete", "delete-range", "drop-tree"];
    assert_eq!(kinds, expected);
    assert_eq!(changes[1]["key_hex"], json!("ff"));
    assert_eq!((&changes[4]["from"], &changes[4]["up_to"]), (&json!("a"), &json!("b")));
    let shown = place.ok("log some.db --records");
    assert!(shown.contains("version 3\tput\ttree 0\tgr\u{fc}n\\x1b[2J\t5 bytes\n"), "{shown}");
    assert!(shown.contains("version 4\tdelete-range\ttree 0\tfrom a\tup to b\n"), "{shown}");
    assert!(!shown.contains('\x1b'), "{shown}");
    assert!(!place.ok("log some.db").contains("put"), "records were not asked for");
    let log = &parse(&place.ok("info some.db --json"))["log"];
    let numbers = ["groups", "commits", "new_commits"].map(|name| log[name].as_u64().unwrap());
    assert_eq!((numbers, &log["end"]["position"]), ([2, 2, 2], &json!(2)));
    assert!(place.ok("info some.db").contains("2 groups with 2 commits"));
    assert_eq!(parse(&place.ok("check some.db --json"))["log"]["new_commits"], json!(2));
}

#[test]
fn a_log_that_is_missing_is_3_and_named() {
    let place = Place::new();
    make(&place, 5);
    let log = std::fs::read(place.path("some.db-log")).unwrap();
    std::fs::remove_file(place.path("some.db-log")).unwrap();
    let before = files(&place);
    for line in ["count some.db", "put some.db a b", "info some.db", "log some.db"] {
        let error = place.fails(line, 3);
        let says = |what: &str| assert!(error.contains(what), "{line}: {error}");
        says("some.db-log is missing: there is no such file");
        says("the newest commits cannot be had");
        says("put it back");
        says("--checkpoint-only");
        assert!(files(&place) == before, "{line}");
    }
    // What the file itself has is checked all the same.
    let check = place.run("check some.db --json");
    let damages = &parse(&check.out)["damages"];
    assert_eq!((check.code, damages.as_array().unwrap().len()), (3, 1), "{check:?}");
    assert!(damages[0]["what"].as_str().unwrap().contains("is missing"), "{damages}");
    // One of another database.
    let other = Place::new();
    make(&other, 5);
    std::fs::copy(other.path("some.db-log"), place.path("some.db-log")).unwrap();
    let error = place.fails("count some.db", 3);
    assert!(error.contains("the log of another database"), "{error}");
    let is_right = error.contains("; what is in its place is another file, or damaged");
    assert!(is_right && !error.contains("put it back"), "{error}");
    std::fs::write(place.path("some.db-log"), &log[..100]).unwrap();
    assert!(place.fails("log some.db", 3).contains("it is too short"));
    std::fs::remove_file(place.path("some.db-log")).unwrap();
    std::fs::create_dir(place.path("some.db-log")).unwrap();
    assert!(place.fails("log some.db", 3).contains("not a file"));
    std::fs::remove_dir(place.path("some.db-log")).unwrap();
    std::fs::write(place.path("some.db-log"), &log).unwrap();
    assert_eq!(place.ok("count some.db"), "5\n");
}

#[test]
fn changes_that_do_not_fit_the_cache_are_5_for_who_may_not_write() {
    let place = Place::new();
    // So long that there is no checkpoint before its end.
    let limits = LogLimits { first_len: 8 << 20, max_len: 8 << 20 };
    let database = options().log(Some(limits)).open(place.path("some.db")).wait().unwrap();
    for number in 0..400 {
        put(&database, &format!("key {number}"), &[7; 1_900]);
    }
    drop(database);
    let before = files(&place);
    let few = "--cache 256K --io pread";
    let error = place.fails(&format!("count some.db --read-only {few}"), 5);
    assert!(error.contains("has to be recovered") && error.contains("--cache"), "{error}");
    let info = parse(&place.ok(&format!("info some.db --json {few}")));
    assert_eq!((&info["log"]["replayed"], &info["log"]["version"]), (&json!(false), &json!(400)));
    assert!(info["version"].as_u64().unwrap() < 400, "{info}");
    let check = parse(&place.ok(&format!("check some.db --json {few}")));
    assert!(check["notes"][0]["what"].as_str().unwrap().contains("not checked"), "{check}");
    assert!(files(&place) == before);
    let reader = options().read_only(true).open(place.path("some.db")).wait().unwrap();
    let error = place.fails(&format!("count some.db {few}"), 5);
    assert!(error.contains("to recover it failed"), "{error}");
    assert!(files(&place) == before);
    drop(reader);
    assert_eq!(place.ok(&format!("count some.db {few}")), "400\n");
    assert_eq!(names(&place), ["some.db"]);
}

#[test]
fn damage_in_the_middle_of_a_log_is_found_and_nothing_is_changed() {
    let place = Place::new();
    make(&place, 10);
    // In the payload of the third group; those behind it know that it was durable.
    flip(&place.path("some.db-log"), 3 * 4096 + 70);
    let before = files(&place);
    let log = place.run("log some.db");
    assert_eq!((log.code, log.err.lines().count()), (3, 1), "{log:?}");
    assert!(log.err.contains("the log's group at position 2 is damaged"), "{log:?}");
    for line in ["count some.db", "put some.db a b", "info some.db"] {
        let error = place.fails(line, 3);
        assert!(error.contains("position 2 is damaged"), "{error}");
        assert!(
            error.ends_with("--checkpoint-only read what the file has without it\n"),
            "{error}"
        );
    }
    let check = place.run("check some.db --json");
    assert_eq!(check.code, 3);
    let damages = &parse(&check.out)["damages"];
    assert_eq!((&damages[0]["position"], &damages[1]), (&json!(2), &Value::Null));
    assert!(place.run("check some.db").out.contains("log position 2: "));
    assert!(files(&place) == before);
}

#[test]
fn what_the_file_has_is_read_without_a_log_that_is_lost_or_damaged() {
    let damages: [fn(&Path); 3] = [
        |log| std::fs::remove_file(log).unwrap(),
        |log| flip(log, 0),
        |log| flip(log, 3 * 4096 + 70),
    ];
    for damage in damages {
        let place = Place::new();
        place.ok("put some.db old value --create");
        make(&place, 10);
        damage(&place.path("some.db-log"));
        let before = files(&place);
        for line in ["get some.db old", "scan some.db", "dump some.db", "trees some.db"] {
            assert!(place.fails(line, 3).contains("--checkpoint-only"), "{line}");
        }
        let read = |line: &str| place.ok(&format!("{line} --checkpoint-only"));
        assert_eq!(read("get some.db old"), "value\n");
        let dumped = read("dump some.db");
        let count = dumped.lines().count();
        // The first commits of a session are checkpoints.
        assert!(dumped.contains("old\tvalue\n") && count < 11, "{dumped}");
        assert_eq!(read("scan some.db"), dumped);
        assert_eq!(read("count some.db"), format!("{count}\n"));
        assert_eq!(read("trees some.db"), format!("main\t{count}\n"));
        assert!(files(&place) == before);
    }
    assert_eq!(Place::new().run("put some.db k v --create --checkpoint-only").code, 2);
}

/// A file whose log has any damage is read or refused: never a panic, never a hang.
#[test]
fn any_damage_to_both_files_ends_well() {
    let place = Place::new();
    let limits = LogLimits { first_len: 1 << 16, max_len: 1 << 16 };
    let database = options().log(Some(limits)).open(place.path("some.db")).wait().unwrap();
    for number in 0..40 {
        put(&database, &format!("key {number}"), &[7; 300]);
    }
    drop(database);
    let whole = files(&place);
    let mut random: u64 = 4711;
    let mut below = |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % bound
    };
    let mut codes = BTreeMap::new();
    for round in 0..150 {
        let mut log = whole["some.db-log"].clone();
        let mut data = whole["some.db"].clone();
        match round % 5 {
            0 => log.truncate(below(1 << 16)),
            1 => log[below(16) * 4096..][..512].fill(0),
            2 => {
                // The superblock's words about the log.
                let (at, value) = (76 + below(36), below(256) as u8);
                for slot in [0, 4096] {
                    data[slot + at] = value;
                    let checksum = crc32fast::hash(&data[slot..slot + 4092]);
                    data[slot + 4092..slot + 4096].copy_from_slice(&checksum.to_le_bytes());
                }
            }
            _ => {
                let block = below(16) * 4096;
                for _ in 0..=below(3) {
                    let at = if round % 2 == 0 { below(64) } else { below(4096) };
                    log[block + at] = below(256) as u8;
                }
                let content = log[block..block + 60].to_vec();
                let checksum = crc32fast::hash(&content);
                log[block + 60..block + 64].copy_from_slice(&checksum.to_le_bytes());
            }
        }
        std::fs::write(place.path("some.db"), data).unwrap();
        std::fs::write(place.path("some.db-log"), log).unwrap();
        for line in ["info", "check --json", "log --records", "log --json", "count"] {
            let (name, options) = line.split_once(' ').unwrap_or((line, ""));
            let ended = place.run(&format!("{name} some.db --io pread {options}"));
            assert!(matches!(ended.code, 0 | 3), "round {round}, {line}: {ended:?}");
            *codes.entry((name, ended.code)).or_insert(0) += 1;
        }
    }
    assert!(codes.values().all(|count| *count > 5), "{codes:?}");
}

/// Has a shell under way do what `lines` say, and copies the files before it goes on.
fn shell_and_copy(place: &Place, lines: &str, to: &str) {
    let mut shell = Shell::new(place, "");
    for line in lines.lines() {
        assert_eq!(shell.ask(line), "ok\n", "{line}");
    }
    copy(place, to);
    if lines.contains("begin") {
        shell.tell("rollback");
    }
    shell.end();
}

#[test]
fn the_shell_makes_a_checkpoint_when_it_is_told_to_and_at_its_end() {
    let place = Place::new();
    place.ok("create some.db");
    let new_commits = |name: &str| {
        let info = parse(&place.ok(&format!("info {name} --json")));
        info["log"]["new_commits"].as_u64().unwrap()
    };
    let puts = "put a 1\nput b 2\nput c 3\n";
    shell_and_copy(&place, puts, "before.db");
    shell_and_copy(&place, &format!("{puts}checkpoint"), "after.db");
    shell_and_copy(&place, &format!("{puts}begin\nput d 4\ncheckpoint"), "within.db");
    let found = ["before.db", "after.db", "within.db"].map(new_commits);
    assert_eq!(found, [1, 0, 0]);
    for name in ["before.db", "after.db", "within.db", "some.db"] {
        assert_eq!(place.ok(&format!("count {name}")), "3\n", "{name}");
    }
    assert_eq!(names(&place), ["after.db", "before.db", "some.db", "within.db"]);
}

fn interrupt(pid: u32) {
    assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn an_interrupted_load_leaves_one_file_with_whole_commits() {
    for (io, waits_for_input) in [("auto", false), ("pread", true)] {
        let place = Place::new();
        let mut child = place
            .command(&format!("load some.db --batch 10 --io {io}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            let last = if waits_for_input { 1_005 } else { u64::MAX };
            for number in 0..last {
                if input.write_all(format!("{number:09}\tx\n").as_bytes()).is_err() {
                    return None;
                }
            }
            Some(input)
        });
        let waits = waits_for_input.then(|| writer.join().unwrap()).flatten();
        assert_eq!(waits.is_some(), waits_for_input);
        wait_for("no log", || place.path("some.db-log").exists());
        std::thread::sleep(Duration::from_millis(300));
        interrupt(child.id());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(2), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(names(&place), ["some.db"]);
        let count: u64 = place.ok("count some.db").trim().parse().unwrap();
        assert!(count > 0 && count.is_multiple_of(10), "{count} entries: half a commit");
        let stored = format!("{count} entries are stored, up to line {count}");
        assert_eq!(error, format!("yieldb: some.db: interrupted, {stored}\n"));
        place.ok("check some.db");
        drop(waits);
    }
}

/// Runs a shell command, without the right to do anything to any file if that is wanted; `None`,
/// and says so, where that cannot be had.
fn under(place: &Place, wrapper: &[&str], line: &str) -> Option<support::Ended> {
    let mut command = Command::new(wrapper[0]);
    let yieldb = env!("CARGO_BIN_EXE_yieldb");
    command
        .args(&wrapper[1..])
        .args(["sh", "-c", line, yieldb])
        .current_dir(place.directory.path());
    let ended = command.output().ok().map(support::ended);
    match ended {
        Some(ended) if ended.out.starts_with("ready\n") => Some(ended),
        other => {
            eprintln!("SKIPPED: {wrapper:?} does not work here, NOT TESTED: {other:?}");
            None
        }
    }
}

#[test]
fn a_log_that_may_not_be_written_is_read_in_memory() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    let set = |path: &std::path::Path, mode| {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    let place = Place::new();
    make(&place, 30);
    let before = files(&place);
    let unprivileged = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    for io in ["auto", "pread"] {
        set(&place.path("some.db"), 0o444);
        let line = format!("echo ready; exec \"$0\" count some.db -v --io {io}");
        if let Some(ended) = under(&place, &unprivileged, &line) {
            assert_eq!((ended.code, &*ended.out), (0, "ready\n30\n"), "{ended:?}");
            assert!(ended.err.contains("Permission denied"), "{ended:?}");
            assert!(files(&place) == before);
        }
        set(&place.path("some.db"), 0o644);
        set(&place.path("some.db-log"), 0o000);
        if let Some(ended) = under(&place, &unprivileged, &line) {
            assert_eq!((ended.code, &*ended.out), (5, "ready\n"), "{ended:?}");
            let last = ended.err.lines().last().unwrap();
            assert!(last.contains("some.db-log") && last.contains("denied"), "{ended:?}");
        }
        set(&place.path("some.db-log"), 0o644);
        let mount = "mount --bind . . && mount -o remount,bind,ro . && cd \"$PWD\"";
        let line = format!("{mount} && {line}");
        if let Some(ended) = under(&place, &["unshare", "--mount"], &line) {
            assert_eq!((ended.code, &*ended.out), (0, "ready\n30\n"), "{ended:?}");
            assert!(ended.err.contains("Read-only file system"), "{ended:?}");
            assert!(files(&place) == before);
        }
    }
}

#[test]
fn a_log_that_is_left_is_told_of_and_removed() {
    let place = Place::new();
    make(&place, 5);
    let log = std::fs::read(place.path("some.db-log")).unwrap();
    assert_eq!(place.ok("count some.db"), "5\n");
    assert_eq!(names(&place), ["some.db"]);
    assert!(place.ok("info some.db").contains("log             none\n"));
    let torn = [&log[..512], &[0; 8192]].concat();
    for left in [log, torn, vec![0; 3 << 20], Vec::new()] {
        std::fs::write(place.path("some.db-log"), &left).unwrap();
        let before = files(&place);
        let info = place.ok("info some.db");
        let says = format!("none; a log of {} bytes is left that is not in use", left.len());
        assert!(info.contains(&says), "{info}");
        let info = parse(&place.ok("info some.db --json"));
        assert_eq!(info["left_log"], serde_json::json!({"bytes": left.len(), "ours": true}));
        assert!(place.ok("check some.db").contains("the next command that writes removes it\n"));
        let check = parse(&place.ok("check some.db --json"));
        assert!(check["notes"][0]["what"].as_str().unwrap().contains("is left"), "{check}");
        assert_eq!(place.ok("count some.db"), "5\n");
        assert!(files(&place) == before, "a command that reads has changed something");
        place.ok("put some.db another value");
        assert_eq!(names(&place), ["some.db"]);
        place.ok("delete some.db another");
    }
}

#[test]
fn a_file_of_somebody_else_in_the_place_of_a_log_stays() {
    let place = Place::new();
    let other = Place::new();
    make(&other, 5);
    let log = std::fs::read(other.path("some.db-log")).unwrap();
    place.ok("create some.db");
    for foreign in [log, b"notes".to_vec(), [&[0; 1 << 20], &b"x"[..]].concat()] {
        std::fs::write(place.path("some.db-log"), &foreign).unwrap();
        // Each of them is durable without a log.
        let database = options().open(place.path("some.db")).wait().unwrap();
        for number in 0..5 {
            put(&database, &format!("key {number}"), b"value");
        }
        assert!(database.metrics().log.is_none());
        drop(database);
        assert_eq!(std::fs::read(place.path("some.db-log")).unwrap(), foreign);
        assert_eq!(place.ok("count some.db"), "5\n");
        place.ok("put some.db a b");
        place.ok("delete some.db a");
        let info = place.ok("info some.db");
        assert!(info.contains("that is not ours is in the place of a log"), "{info}");
        let check = place.ok("check some.db");
        assert!(check.contains("not ours") && check.ends_with("no damage\n"), "{check}");
        assert_eq!(std::fs::read(place.path("some.db-log")).unwrap(), foreign);
    }
    std::fs::remove_file(place.path("some.db-log")).unwrap();
    std::fs::create_dir(place.path("some.db-log")).unwrap();
    place.ok("put some.db a b");
    assert!(place.ok("info some.db").contains("not ours"));
    assert!(place.path("some.db-log").is_dir());
}

#[test]
fn statistics_tell_what_the_log_has() {
    let place = Place::new();
    make(&place, 6);
    let log = parse(&place.ok("stats some.db --read-only --json"))["log"].clone();
    // The first two commits are checkpoints.
    let counts = ["groups", "commits", "new_commits"].map(|name| log[name].as_u64().unwrap());
    assert_eq!(counts, [4, 4, 4], "{log}");
    assert_eq!(log["used_bytes"], 4 * 4096, "{log}");
    let len = std::fs::metadata(place.path("some.db-log")).unwrap().len();
    assert_eq!(log["bytes"], len - 4096, "{log}");
    let shown = place.ok("stats some.db --read-only");
    assert!(shown.contains(&format!("  length   {} bytes, 16384 of them used\n", len - 4096)));
    assert!(shown.ends_with("  groups   4\n  commits  4, 4 of them not in the file yet\n"));
    // Who may write has it put into the file first.
    assert!(place.ok("stats some.db").ends_with("log\n  none\n"));
    assert!(parse(&place.ok("stats some.db --json"))["log"].is_null());

    let input = "stats\nput a b\nput c d\nput e f\nstats\n";
    let answers = place.ok_with("shell some.db --json", input.as_bytes());
    let stats: Vec<Value> =
        answers.lines().map(parse).filter(|line| line.get("pages").is_some()).collect();
    assert!(stats[0]["log"].is_null(), "{answers}");
    let log = &stats[1]["log"];
    let counts = ["used_bytes", "groups_written", "commits_written", "bytes_written"];
    assert_eq!(counts.map(|name| log[name].as_u64().unwrap()), [4096, 1, 1, 4096], "{log}");
    assert!(place.ok_with("shell some.db", input.as_bytes()).contains("1 groups with 1 commits"));
}
