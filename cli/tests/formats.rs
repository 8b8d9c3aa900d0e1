//! What is dumped can be loaded, whatever the bytes are.

mod support;

use support::Place;

/// Keys and values of every kind of byte, as hexadecimal lines.
fn awkward() -> Vec<u8> {
    let mut text = String::new();
    for byte in 0..=255_u32 {
        text.push_str(&format!("{byte:02x}\t{:02x}00{byte:02x}\n", 255 - byte));
        text.push_str(&format!("6b65793a{byte:02x}{byte:02x}\t\n"));
    }
    text.push_str("\tc3a9c3a8\n");
    // Characters that move the cursor, or turn the direction of writing.
    text.push_str("e280ae1b5b324a\t22222c220a22\n");
    text.into_bytes()
}

#[test]
fn every_format_and_every_writing_comes_back() {
    let place = Place::new();
    place.ok_with("load first.db --hex", &awkward());
    let expected = place.ok("dump first.db --hex");
    assert_eq!(expected.lines().count(), 2 * 256 + 2);
    let ways = [
        "--format tsv",
        "--format csv",
        "--format ndjson",
        "--format csv --hex",
        "--format ndjson --hex",
    ];
    for (index, way) in ways.iter().enumerate() {
        let dumped = place.ok(&format!("dump first.db {way}"));
        let is_shown = |shown: char| matches!(shown, '\n' | '\t') || !shown.is_control();
        assert!(dumped.chars().all(|shown| is_shown(shown) && shown != '\u{202e}'), "{way}");
        place.ok_with(&format!("load copy{index}.db {way}"), dumped.as_bytes());
        assert_eq!(place.ok(&format!("dump copy{index}.db --hex")), expected, "{way}");
    }
}

#[test]
fn raw_bytes_are_written_as_they_are() {
    let place = Place::new();
    place.ok_with("load some.db --raw", b"a\\x00b\tv\\\n");
    assert_eq!(place.ok("dump some.db --raw"), "a\\x00b\tv\\\n");
    assert_eq!(place.ok("dump some.db"), "a\\\\x00b\tv\\\\\n");
    assert_eq!(place.ok("dump some.db --hex"), "615c78303062\t765c\n");
}

#[test]
fn raw_lines_that_would_be_read_as_something_else_are_not_dumped() {
    for (key, value) in [("b\\tb", "v"), ("b\\nb", "v"), ("b", "v\\nv")] {
        let place = Place::new();
        place.ok_with("load some.db", format!("a\t\\tv\n{key}\t{value}\nc\tv\n").as_bytes());
        let (ended, shown) = (place.run("dump some.db --raw"), key);
        assert_eq!((ended.code, ended.out.as_str()), (2, "a\t\tv\n"), "{ended:?}");
        assert!(ended.err.starts_with(&format!("yieldb: some.db: key {shown}: ")), "{ended:?}");
        assert!(ended.err.ends_with("; use --format csv or --hex\n"), "{ended:?}");
        for way in ["--raw --format csv", "--raw --format ndjson", "--hex"] {
            let dumped = place.ok(&format!("dump some.db {way}"));
            place.ok_with(&format!("load copy.db {way}"), dumped.as_bytes());
            assert_eq!(place.ok("dump copy.db"), place.ok("dump some.db"), "{way}");
            std::fs::remove_file(place.path("copy.db")).unwrap();
        }
    }
}

#[test]
fn json_is_no_other_format_and_a_hyphen_is_standard_input() {
    let place = Place::new();
    place.ok_with("load some.db -", b"k\tv\n");
    place.ok_with("load some.db - --tree other --format csv", b"k,v\n");
    assert!(!place.path("-").exists());
    for options in ["--json", "--format ndjson", "--json --format ndjson"] {
        assert_eq!(
            place.ok(&format!("dump some.db {options}")),
            "{\"key\":\"k\",\"value\":\"v\"}\n"
        );
    }
    for format in ["csv", "tsv"] {
        let ended = place.run(&format!("dump some.db --json --format {format}"));
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{ended:?}");
        assert!(ended.err.contains("--json: the format is ndjson"), "{ended:?}");
    }
}

#[test]
fn json_has_hexadecimal_where_it_is_asked_for_or_needed() {
    let place = Place::new();
    place.ok("put some.db key \\xff --create");
    assert_eq!(place.ok("scan some.db --json"), "{\"key\":\"key\",\"value_hex\":\"ff\"}\n");
    assert_eq!(
        place.ok("scan some.db --json --hex"),
        "{\"key_hex\":\"6b6579\",\"value_hex\":\"ff\"}\n"
    );
    assert_eq!(place.ok("get some.db 6b6579 --json --hex"), "{\"value_hex\":\"ff\"}\n");
}

#[test]
fn csv_of_others_is_read() {
    let place = Place::new();
    place.ok_with(
        "load some.db --format csv",
        b"a,1\r\n\"b,c\",\"say \"\"hi\"\"\"\nd,\"two\nlines\"\n",
    );
    assert_eq!(place.ok("scan some.db"), "a\t1\nb,c\tsay \"hi\"\nd\ttwo\\nlines\n");
}

#[test]
fn backslashes_of_other_programs_are_read_raw_as_the_help_says() {
    let place = Place::new();
    let input = b"C:\\new,\"C:\\q\"\n";
    assert!(place.run_with("load some.db --format csv", input).err.contains("no escape"));
    place.ok_with("load some.db --format csv --raw", input);
    assert_eq!(place.ok("dump some.db"), "C:\\\\new\tC:\\\\q\n");
    assert_eq!(place.ok("dump some.db --format csv"), "\"C:\\\\new\",\"C:\\\\q\"\n");
    assert_eq!(place.ok("dump some.db --format csv --raw"), "\"C:\\new\",\"C:\\q\"\n");
    for command in ["load", "dump"] {
        let help = place.ok(&format!("help {command}"));
        let says = ["In tsv and in csv a backslash", "programs", "--raw"];
        assert!(says.iter().all(|what| help.contains(what)), "{help}");
        assert!(help.contains("in quotes, with backslash escapes as well"), "{help}");
    }
}

/// A quote is one only at the beginning of a field, and nothing that was not read is passed over.
#[test]
fn csv_with_stray_quotes_is_read_as_a_whole() {
    let place = Place::new();
    let input = b"5\" pipe,1\nx,2\n6\" pipe,3\n\"a \"\"b\"\"\n\",c\r\n";
    place.ok_with("load some.db --format csv", input);
    let scanned = place.ok("scan some.db");
    assert_eq!(scanned, "5\" pipe\t1\n6\" pipe\t3\na \"b\"\\n\tc\nx\t2\n");
}

/// A byte-order mark is none but at the very beginning.
#[test]
fn csv_may_begin_with_a_byte_order_mark_and_keys_may_too() {
    let mark = "\u{feff}";
    let first = [format!("{mark}a,1\n"), format!("{mark}\"a\",1\r\n")];
    let second = [format!("{mark}a,2\n"), format!("\"{mark}a\",2")];
    for (first, second) in first.iter().flat_map(|first| second.each_ref().map(|it| (first, it))) {
        let place = Place::new();
        place.ok_with("load some.db --format csv", format!("{first}{second}").as_bytes());
        assert_eq!(place.ok("dump some.db --hex"), "61\t31\nefbbbf61\t32\n", "{first}{second}");
        let dumped = place.ok("dump some.db --format csv");
        place.ok_with("load copy.db --format csv", dumped.as_bytes());
        assert_eq!(place.ok("dump copy.db"), place.ok("dump some.db"));
    }
    // Of several marks the first one counts, and keys of several lines are as others.
    let place = Place::new();
    let input = format!("{mark}\"a\nb\",1\n\"{mark}a\nb\",2\n");
    place.ok_with("load lines.db --format csv", input.as_bytes());
    assert_eq!(place.ok("dump lines.db --hex"), "610a62\t31\nefbbbf610a62\t32\n");
    place.ok_with("load twice.db --format csv", format!("{mark}{mark}a,1\n").as_bytes());
    assert_eq!(place.ok("dump twice.db --hex"), "efbbbf61\t31\n");
    let ended = place.run_with("load wrong.db --format csv", format!("{mark}a,1\nb\n").as_bytes());
    assert!(ended.err.contains("line 2: 1 fields"), "{ended:?}");
    // In the other formats it is what it is everywhere else.
    place.ok_with("load tsv.db", format!("{mark}a\t1\n").as_bytes());
    assert_eq!(place.ok("dump tsv.db --hex"), "efbbbf61\t31\n");
}

#[test]
fn of_several_with_the_same_key_the_last_one_stays() {
    let place = Place::new();
    place.ok_with("load some.db", b"k\t1\nj\t2\nk\t3\n");
    assert_eq!(place.ok("scan some.db"), "j\t2\nk\t3\n");
}

#[test]
fn a_bad_line_is_named_and_loads_nothing() {
    let place = Place::new();
    let too_long = [b"a\tb\n".as_slice(), &[b'k'; 2_000], b"\tv\n"].concat();
    let cases: [(&str, &[u8], &str); 10] = [
        ("", &too_long, "line 2: a key of 2000 bytes"),
        ("--batch 7", &too_long, "line 2: a key of 2000 bytes"),
        ("--format csv", b"a,1\rb,2\n", "line 1: a carriage return"),
        ("", b"a\tb\nno tab\n", "line 2: no tab"),
        ("--json", b"{\"key\":\"a\"}\n", "line 1: no tab between key and value; --format ndjson"),
        ("", b"a\tb\nc\t\\q\n", "line 2: \\q is no escape; \\\\ is a backslash"),
        ("--hex", b"61\t6\n", "line 1: an odd number"),
        ("--format csv", b"a,b,c\n", "line 1: 3 fields"),
        ("--format ndjson", b"{\"key\":\"a\"}\n", "line 1: neither \"value\" nor"),
        ("--format ndjson", b"{\"key\":\"a\",\n", "line 1: "),
    ];
    for (options, input, expected) in cases {
        let ended = place.run_with(&format!("load some.db {options}"), input);
        assert_eq!(ended.code, 2, "{ended:?}");
        let expected = format!("yieldb: standard input: {expected}");
        assert!(ended.err.starts_with(&expected), "{ended:?}");
        assert_eq!(place.ok("count some.db"), "0\n");
    }
}

#[test]
fn a_load_that_fails_behind_commits_says_what_is_stored() {
    let ways = ["--batch 3", "--batch 3 --durability relaxed"];
    for (options, wrong) in ways.iter().flat_map(|way| [(way, "no tab"), (way, "c\t\\q")]) {
        let place = Place::new();
        let input = format!("a\t1\nb\t2\nb\t3\nc\t4\n{wrong}\nd\t5\n");
        let ended = place.run_with(&format!("load some.db {options}"), input.as_bytes());
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.err.starts_with("yieldb: standard input: line 5: "), "{ended:?}");
        assert!(ended.err.ends_with("; 3 entries are stored, up to line 3\n"), "{ended:?}");
        assert_eq!(place.ok("dump some.db"), "a\t1\nb\t3\n");
    }
    // Lines are counted, and not records; and what the file refuses is a failure as others.
    let place = Place::new();
    let long = "k".repeat(2_000);
    let input = format!("\"a\nb\",1\nc,\"2\n\"\n{long},3\n");
    let ended = place.run_with("load some.db --format csv --batch 2", input.as_bytes());
    assert!(ended.err.ends_with("; 2 entries are stored, up to line 4\n"), "{ended:?}");
    assert_eq!((ended.code, place.ok("count some.db").as_str()), (2, "2\n"), "{ended:?}");
}

#[test]
fn a_huge_line_is_refused_and_takes_no_memory() {
    let place = Place::new();
    let ended = place.run_with("load some.db --max-line 0", b"a\tb\n");
    assert_eq!(ended.code, 2, "{ended:?}");
    let ended = place.run_with("load some.db --max-line 1M", &vec![b'x'; 5 << 20]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("line 1: longer than"), "{ended:?}");
}
