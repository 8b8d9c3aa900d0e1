//! Real files: a directory of a test's own, the back-ends of this machine, and children that run a
//! scenario under limits of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use yieldb::{Choice, Create, Database, Error, MAIN, Options};

use crate::PAGE;

/// A directory that goes away with the test.
pub struct Place {
    directory: TempDir,
}

impl Place {
    /// An empty directory in `parent`: tests give their `CARGO_TARGET_TMPDIR`.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn new(parent: &str) -> Place {
        Place { directory: tempfile::tempdir_in(parent).expect("a directory can be made") }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// A name in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }
}

/// The back-ends that open real files, as far as this machine has them.
pub fn choices() -> Vec<Choice> {
    match yieldb_io_backends::open(Choice::Uring) {
        Ok(_) => vec![Choice::Pread, Choice::Uring],
        Err(error) => {
            skip(&format!("io_uring: {error}"));
            vec![Choice::Pread]
        }
    }
}

/// Options with a small cache that open nothing new.
pub fn options(choice: Choice) -> Options {
    let cache = 4 * Options::min_cache_bytes(PAGE as u32);
    Options::new().io(choice).cache_bytes(cache).create(Create::Never)
}

/// Says loudly what this machine cannot do, so that nothing passes in silence.
pub fn skip(what: &str) {
    eprintln!("SKIPPED: {what}");
}

/// Makes a database with `count` entries.
///
/// # Panics
///
/// If that fails.
pub fn create(choice: Choice, path: &Path, count: u32) -> Database {
    let database = options(choice).create(Create::New).open(path).wait().expect("it is new");
    fill(&database, 0..count).expect("there is room");
    database
}

/// Stores entries in one commit.
///
/// # Errors
///
/// The put's or the commit's.
pub fn fill(database: &Database, numbers: std::ops::Range<u32>) -> Result<(), Error> {
    let mut transaction = database.begin().wait()?;
    for number in numbers {
        transaction.put(MAIN, key(number), value(number)).wait()?;
    }
    transaction.commit().wait().map(drop)
}

/// The key of an entry.
pub fn key(number: u32) -> Vec<u8> {
    format!("key {number:08}").into_bytes()
}

/// The value of an entry.
pub fn value(number: u32) -> Vec<u8> {
    vec![number as u8; 100]
}

/// Asserts that a database has the entries below `count` and no others, and is whole.
///
/// # Panics
///
/// If not.
pub fn assert_whole(database: &Database, count: u32) {
    let snapshot = database.snapshot();
    let report = snapshot.check(|_| {}).and_then(|check| check.wait()).expect("it can be checked");
    assert_eq!(report.damages, []);
    assert_eq!(report.entries, u64::from(count));
    for number in 0..count {
        let found = snapshot.get(MAIN, key(number)).wait().expect("it can be read");
        assert_eq!(found.as_deref(), Some(&value(number)[..]), "entry {number}");
    }
}

/// Runs one test of this program again, in a process of its own, behind a line of shell that
/// prepares the process: `ulimit`, `trap`. The test finds `FAULTS_CHILD` set.
///
/// # Panics
///
/// If it cannot be run, or fails.
pub fn in_child(test: &str, prepare: &str) -> Output {
    let program = std::env::current_exe().expect("a test has a path");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{prepare}; exec \"$0\" \"$@\"")]).arg(program);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    let output = command.env("FAULTS_CHILD", "1").output().expect("a child can be started");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{prepare}; {test}: {}\n{text}", output.status);
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{test} is no test");
    for line in text.lines().filter(|line| line.starts_with("SKIPPED")) {
        eprintln!("{line}");
    }
    output
}

/// Is this process one that [`in_child`] started?
pub fn is_child() -> bool {
    std::env::var_os("FAULTS_CHILD").is_some()
}
