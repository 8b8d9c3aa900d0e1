//! Running the command, and looking at what it did.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A directory with databases, in which commands run.
pub struct Place {
    pub directory: TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place { directory: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command with these arguments, split at white space.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yieldb"));
        command.args(line.split_whitespace()).current_dir(self.directory.path());
        command
    }

    /// Runs it without input.
    pub fn run(&self, line: &str) -> Ended {
        self.run_with(line, b"")
    }

    /// Runs it with this input.
    pub fn run_with(&self, line: &str, input: &[u8]) -> Ended {
        run(self.command(line), input)
    }

    /// Runs it and expects it to end well; returns what it printed.
    pub fn ok(&self, line: &str) -> String {
        self.ok_with(line, b"")
    }

    pub fn ok_with(&self, line: &str, input: &[u8]) -> String {
        let ended = self.run_with(line, input);
        assert_eq!(ended.code, 0, "{line}: {ended:?}");
        ended.out
    }

    /// Runs it and expects this exit code, and one line of error; returns that.
    pub fn fails(&self, line: &str, code: i32) -> String {
        let ended = self.run(line);
        assert_eq!(ended.code, code, "{line}: {ended:?}");
        assert!(ended.err.lines().count() == 1, "{line}: {ended:?}");
        ended.err
    }
}

pub fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Runs a command with this input.
pub fn run(mut command: Command, input: &[u8]) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A command that has seen enough closes its input.
        scope.spawn(move || drop(stdin.write_all(input)));
        ended(child.wait_with_output().unwrap())
    })
}

/// A shell under way.
pub struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    /// Starts one on `some.db`.
    pub fn new(place: &Place, options: &str) -> Shell {
        let mut command = place.command(&format!("shell some.db {options}"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Shell { child, input, output }
    }

    /// Has it read a line, whatever it answers.
    pub fn tell(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Has it read a line, and waits for an answer of one line.
    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer
    }

    /// Ends its input, and expects it to end well.
    pub fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().unwrap().success());
    }

    pub fn kill(self) {
        kill(self.child);
    }
}

pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until something is there; not for ever.
pub fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_there() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Is there a Python to run the second reader? If not, says so.
pub fn has_python() -> bool {
    let found =
        Command::new("python3").arg("--version").output().is_ok_and(|out| out.status.success());
    if !found {
        eprintln!("SKIPPED: there is no python3, so the second reader of the format is NOT TESTED");
    }
    found
}

/// Runs the second reader.
pub fn read(path: &Path) -> Ended {
    let script = root().join("testing/reader/reader.py");
    ended(Command::new("python3").arg("-I").arg(script).arg(path).output().unwrap())
}

/// A listing with tabs, of `count` entries in no order.
pub fn listing(count: u64) -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0..count {
        let shuffled = number * 7_919 % count;
        writeln!(text, "/usr/share/item-{:03}/file-{shuffled}\t{number}", shuffled % 97).unwrap();
    }
    text
}

/// The lines of a text, sorted by their bytes, as one text.
pub fn sorted(text: &[u8]) -> String {
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    String::from_utf8(lines.concat()).unwrap()
}

/// Flips a bit of a file.
pub fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[offset] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Has the shell answer commands, in JSON, and compares the answers.
pub fn dialogue(place: &Place, lines: &[(&str, Value)]) {
    let input: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    let answers = place.ok_with("shell some.db --json", input.as_bytes());
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), lines.len(), "{answers:?}");
    for ((line, expected), answer) in lines.iter().zip(answers) {
        let answer = parse(answer);
        if expected["ok"] == json!(false) {
            assert_eq!(answer["ok"], json!(false), "{line}: {answer}");
            assert_eq!(answer["code"], expected["code"], "{line}: {answer}");
            assert!(answer["error"].is_string(), "{line}: {answer}");
        } else {
            assert_eq!(&answer, expected, "{line}");
        }
    }
}
