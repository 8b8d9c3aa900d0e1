//! Real files: a directory of a test's own, the back-ends of this machine, and children that run a
//! scenario under limits of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

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

    /// Leaves the directory where it is when the test is over, and returns its path.
    pub fn keep(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.root()
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

/// One test of this program, run again in a process of its own, under other conditions. The test
/// finds out with [`is_child`].
pub struct Child {
    test: String,
    wrapper: Vec<String>,
    prepare: String,
    variables: Vec<(String, String)>,
}

impl Child {
    /// The test with this name, module and all.
    pub fn new(test: &str) -> Child {
        let (test, prepare) = (test.to_owned(), "true".to_owned());
        Child { test, prepare, wrapper: Vec::new(), variables: Vec::new() }
    }

    /// Runs it under a program, `strace` or `unshare`, given with its arguments.
    pub fn under(mut self, wrapper: &[&str]) -> Child {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// Runs a line of shell in the process first: `ulimit`, `trap`, `mount`.
    pub fn prepare(mut self, line: impl Into<String>) -> Child {
        self.prepare = line.into();
        self
    }

    /// Tells it something.
    pub fn tell(mut self, name: &str, value: impl AsRef<Path>) -> Child {
        self.variables.push((name.to_owned(), value.as_ref().to_string_lossy().into_owned()));
        self
    }

    /// Runs it; `Err` with the reason if the conditions cannot be had on this machine.
    ///
    /// # Panics
    ///
    /// If the test fails.
    pub fn run(&self) -> Result<(), String> {
        let program = std::env::current_exe().expect("a test has a path");
        let line = format!("{{ {}; }} >&2 || exit 99; exec \"$0\" \"$@\"", self.prepare);
        let shell = ["sh".to_owned(), "-c".to_owned(), line];
        let mut words = self.wrapper.iter().chain(&shell);
        let mut command = Command::new(words.next().expect("there is a shell"));
        command.args(words).arg(program);
        command.args([&*self.test, "--exact", "--nocapture", "--test-threads=1"]);
        command.env("FAULTS_CHILD", "1").envs(self.variables.iter().cloned());
        let output = command.output().map_err(|error| format!("{:?}: {error}", self.wrapper))?;
        let (told, said) = (text(&output.stdout), text(&output.stderr));
        if !told.contains("running 1 test") {
            return Err(format!("{:?}, {}: {said}", self.wrapper, self.prepare));
        }
        assert!(output.status.success(), "{}: {}\n{said}{told}", self.test, output.status);
        assert!(told.contains("1 passed"), "{} is no test", self.test);
        Ok(())
    }

    /// Runs it, or says loudly why not.
    ///
    /// # Panics
    ///
    /// If the test fails.
    pub fn run_or_skip(&self) {
        if let Err(why) = self.run() {
            skip(&format!("{}: {why}", self.test));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Is this process one that [`Child::run`] started?
pub fn is_child() -> bool {
    std::env::var_os("FAULTS_CHILD").is_some()
}

/// What [`Child::tell`] told this process.
///
/// # Panics
///
/// If it was told nothing.
pub fn told(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} was not told")).into()
}
