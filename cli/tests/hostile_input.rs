//! Input for `load` that somebody made up: loaded, or refused with one line that says which line is
//! wrong; never a panic, never more memory than a line takes, never a character on the terminal
//! that does something.

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Place, ended};

/// Pieces that parsers trip over.
const PIECES: [&[u8]; 40] = [
    b"key",
    b"value",
    b"\t",
    b",",
    b"\"",
    b"\"\"",
    b"\\",
    b"\\x",
    b"\\x4",
    b"\\xzz",
    b"\\n",
    b"\\t",
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xf0\x9f\x98",
    b"\xed\xa0\x80",
    b"\x1b[2J",
    b"\x1b]0;title\x07",
    b"\x9b31m",
    "\u{202e}".as_bytes(),
    "\u{feff}".as_bytes(),
    b"{\"key\":",
    b"{\"key\":\"k\",\"value\":\"v\"}",
    b"\"key_hex\":\"0\"",
    b"}",
    b"{",
    b"[",
    b"]",
    b":",
    b"null",
    b"1e999",
    b"\\u0000",
    b"\\ud800",
    b"--",
    b"=cmd|' /C calc'!A0",
    b"                ",
];

struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// An input of some lines, most of them wrong somewhere.
fn input(rng: &mut Rng, format: &str) -> Vec<u8> {
    let good: &[u8] = match format {
        "tsv" => b"key\tvalue",
        "csv" => b"\"key\",\"value\"",
        _ => b"{\"key\":\"k\",\"value\":\"v\"}",
    };
    let mut text = Vec::new();
    for _ in 0..rng.below(4) {
        text.extend_from_slice(good);
        text.push(b'\n');
    }
    match rng.below(4) {
        // A good line with something put into it, or taken out.
        0 => {
            let mut line = good.to_vec();
            for _ in 0..=rng.below(3) {
                let at = rng.below(line.len());
                let len = rng.below(line.len() - at + 1);
                line.splice(at..at + len, PIECES[rng.below(PIECES.len())].iter().copied());
                line.push(b'x');
            }
            text.extend_from_slice(&line);
        }
        1 => (0..rng.below(300)).for_each(|_| text.push(rng.below(256) as u8)),
        _ => (0..rng.below(40)).for_each(|_| text.extend(PIECES[rng.below(PIECES.len())])),
    }
    text
}

/// Is there no character that does something to a terminal, but for the tabs and the ends of lines?
fn is_harmless(text: &str) -> bool {
    let mut shown = text.chars().filter(|character| !matches!(character, '\t' | '\n'));
    !shown.any(|character| character.is_control() || character == '\u{202e}')
}

#[test]
fn whatever_is_loaded_ends_well_or_with_the_number_of_a_line() {
    let place = Place::new();
    let count: u64 = std::env::var("HOSTILE_ROUNDS").map_or(600, |count| count.parse().unwrap());
    let (mut loaded, mut refused) = (0, 0);
    for seed in 0..count {
        let mut rng = Rng(seed);
        let format = ["tsv", "csv", "ndjson"][seed as usize % 3];
        let text = input(&mut rng, format);
        let _removed = std::fs::remove_file(place.path("db")).is_ok();
        let ended = place.run_with(&format!("load --io pread db --format {format}"), &text);
        let shown = text.escape_ascii();
        match ended.code {
            0 => {
                loaded += 1;
                // What was understood comes out in a way that is understood.
                let dump = place.ok(&format!("dump db --format {format}"));
                assert!(dump.lines().all(is_harmless), "{seed}: {shown}: {dump:?}");
                let _removed = std::fs::remove_file(place.path("copy")).is_ok();
                place.ok_with(&format!("load --io pread copy --format {format}"), dump.as_bytes());
                assert_eq!(place.ok(&format!("dump copy --format {format}")), dump, "{seed}");
            }
            2 => {
                refused += 1;
                let line = ended.err.lines().last().unwrap_or_default();
                assert!(line.contains("line "), "{seed}: {shown}: {ended:?}");
                // All or nothing.
                assert_eq!(place.ok("count db"), "0\n", "{seed}: {shown}");
            }
            _ => panic!("{seed}: {shown}: {ended:?}"),
        }
        assert_eq!(ended.err.lines().count(), usize::from(ended.code == 2), "{seed}: {ended:?}");
        assert!(is_harmless(&ended.err), "{seed}: {shown}: {ended:?}");
    }
    assert!(loaded > count / 20 && refused > count / 3, "{loaded} loaded, {refused} refused");
}

/// Runs `load` with little memory on an input that never seems to end.
fn load_endless(format: &str, beginning: &[u8], piece: &[u8]) {
    let place = Place::new();
    let line =
        format!("ulimit -v 400000; exec \"$0\" load --cache 1M --io pread db --format {format}");
    let mut command = Command::new("sh");
    command.args(["-c", &line, env!("CARGO_BIN_EXE_yieldb")]).current_dir(place.directory.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let block = piece.repeat((1 << 16) / piece.len());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Until it has seen enough, or 2 GiB.
            let _refused = stdin.write_all(beginning).is_ok()
                && (0..1 << 15).all(|_| stdin.write_all(&block).is_ok());
        });
        let ended = ended(child.wait_with_output().unwrap());
        assert_eq!(ended.code, 2, "{format}: {ended:?}");
        assert!(ended.err.contains("line ") && ended.err.lines().count() == 1, "{ended:?}");
        assert!(ended.err.len() < 1_000 && is_harmless(&ended.err), "{ended:?}");
    });
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn lines_and_fields_and_objects_without_an_end_are_refused_in_bounded_memory() {
    for format in ["tsv", "csv", "ndjson"] {
        load_endless(format, b"", b"xxxxxxxx");
        load_endless(format, b"", b"\0");
        load_endless(format, b"", b"\x1b[2J");
    }
    load_endless("csv", b"\"", b"many lines\n");
    load_endless("csv", b"\"", b"\"\"");
    load_endless("ndjson", b"", b"[");
    load_endless("ndjson", b"", b"{\"a\":");
    load_endless("ndjson", b"{\"key\":", b"[{\"a\":");
}

#[test]
fn deep_json_is_refused_and_no_end_of_the_stack() {
    let place = Place::new();
    for depth in [100, 127, 128, 129, 1_000, 100_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let line = format!("{{\"key\":\"k\",\"value\":{deep}}}\n");
            let ended = place.run_with("load db --io pread --format ndjson", line.as_bytes());
            assert_eq!(ended.code, 2, "{depth}: {ended:?}");
            assert!(ended.err.contains("line 1: "), "{depth}: {ended:?}");
        }
    }
}
