//! Processes that are killed under load, again and again, on one file: what was acknowledged is
//! there, and of the rest each commit whole or not at all, none before one that is missing.
//!
//! `ROUNDS` of the environment is how often for each back-end, `KILLS_SEED` decides what is
//! committed and when the kills come, as far as two processes can agree on that.

mod plan;
mod process;
mod victim;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use faults::PAGE;
use faults::place::{Place, choices, create, is_child};
use plan::{Model, Random};
use process::{Process, Said};
use victim::{Task, usual};
use yieldb::inspect::RawFile;
use yieldb::{Choice, Database, Error, ErrorKind};
use yieldb_pager::PageSize;
use yieldb_pager::superblock::reserved_page_count;

/// How long the kernel may take to end the last I/O of a process that was killed.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn nothing_acknowledged_is_lost_with_pread() {
    run("nothing_acknowledged_is_lost_with_pread", Choice::Pread);
}

#[test]
fn nothing_acknowledged_is_lost_with_uring() {
    run("nothing_acknowledged_is_lost_with_uring", Choice::Uring);
}

/// A number of the environment.
fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn run(test: &'static str, choice: Choice) {
    if is_child() {
        victim::run(choice);
    }
    if !choices().contains(&choice) {
        return;
    }
    let (rounds, seed) = (variable("ROUNDS", 30), variable("KILLS_SEED", 1));
    println!("seed {seed}");
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    drop(create(choice, &place.path("db"), 0));
    let mut killer = Killer {
        test,
        choice,
        random: Random(seed),
        model: Model::new(),
        figures: Figures::default(),
        path: place.path("db"),
        place,
    };
    for round in 1..=rounds {
        killer.round(round);
    }
    killer.end(rounds);
}

/// What happened in all rounds.
#[derive(Debug, Default)]
struct Figures {
    /// Processes that were killed.
    kills: u64,
    /// A log was in use then.
    logs: u64,
    /// It had commits that no checkpoint had.
    behind: u64,
    /// The file of a log was there that no superblock spoke of.
    left_over: u64,
    /// A process was killed while it opened a file whose log was in use.
    recoveries: u64,
    /// While it closed one.
    closings: u64,
    /// Commits that were acknowledged.
    commits: u64,
    /// Those that were not, and were there.
    unheard: u64,
    /// Those that were not, and were not there.
    lost: u64,
    /// Files that were opened for reading before they were opened for writing.
    readings: u64,
    /// How often a process opened the file again.
    reopenings: u64,
}

/// Whoever starts the processes, kills them, and looks at what they leave.
struct Killer {
    test: &'static str,
    choice: Choice,
    random: Random,
    /// What the file had when it was looked at last.
    model: Model,
    figures: Figures,
    path: PathBuf,
    place: Place,
}

impl Killer {
    /// One process works and is killed; then perhaps some that recover; then all is looked at.
    fn round(&mut self, round: u64) {
        let said = self.kill(Task::Work, round);
        for _ in 0..self.random.one_of(&[0, 0, 1, 3]) {
            if self.has_log() {
                let started = Instant::now();
                drop(self.open(true));
                self.kill_recovery(round, started.elapsed());
            }
        }
        let reads_first = self.random.one_in(2);
        if reads_first {
            let reader = self.open(true);
            self.learn(&reader, round, &said);
            self.figures.readings += 1;
            if self.random.one_in(3) {
                // The next process recovers.
                return;
            }
        }
        let database = self.open(false);
        if reads_first {
            let _pages = self.model.assert_is(&database);
        } else {
            self.learn(&database, round, &said);
        }
        if self.random.one_in(2) {
            database.checkpoint().wait().unwrap();
            assert_no_page_is_lost(&database, self.model.assert_is(&database));
        }
        if self.random.one_in(3) {
            database.close().wait().unwrap();
            assert!(!log_path(&self.path).exists(), "a database that is closed is one file");
        }
    }

    /// Starts a process, and kills it at some moment.
    fn kill(&mut self, task: Task, round: u64) -> Said {
        let had_log = self.has_log();
        let process = self.start(task, round);
        // Most of them in the middle of commits, the others while they are opening.
        if self.random.one_in(5) {
            process.wait_until(|said| said.openings > 0);
            thread::sleep(Duration::from_micros(self.random.below(6_000)));
        } else {
            process.wait_until(|said| said.opens > 0);
            thread::sleep(Duration::from_micros(self.random.below(250_000)));
        }
        let said = process.kill();
        self.count(&said, had_log && said.openings == 1 && said.opens == 0);
        said
    }

    /// Starts a process that only recovers, and kills it, most likely before it is done: it takes
    /// about so long.
    fn kill_recovery(&mut self, round: u64, usual: Duration) {
        let process = self.start(Task::Recover, round);
        process.wait_until(|said| said.openings > 0);
        thread::sleep(usual.mul_f64(self.random.below(1_000) as f64 / 900.0));
        let said = process.kill();
        self.count(&said, said.opens == 0);
    }

    fn start(&mut self, task: Task, round: u64) -> Process {
        Process::start(self.test, &self.place, task, self.salt(round), self.random.next())
    }

    /// What a round's changes have that no other's have.
    fn salt(&self, round: u64) -> u64 {
        Random(round).next()
    }

    fn count(&mut self, said: &Said, recovered: bool) {
        let raw = at_last(|| RawFile::open(&self.path, None));
        let figures = &mut self.figures;
        figures.kills += 1;
        figures.commits += said.done.len() as u64;
        figures.recoveries += u64::from(recovered);
        figures.closings += u64::from(said.closings > said.closes && said.opens == said.openings);
        figures.reopenings += said.opens.saturating_sub(1);
        match raw.log().unwrap() {
            Some(log) => {
                let summary = log.summary().unwrap();
                assert_eq!(summary.damages, []);
                figures.logs += 1;
                figures.behind += u64::from(summary.new_commits > 0);
            }
            None => figures.left_over += u64::from(log_path(&self.path).exists()),
        }
    }

    fn has_log(&self) -> bool {
        at_last(|| RawFile::open(&self.path, None)).has_log()
    }

    fn open(&self, read_only: bool) -> Database {
        at_last(|| usual(self.choice).read_only(read_only).open(&self.path).wait())
    }

    /// Finds out how many of the round's commits are there, and compares everything.
    fn learn(&mut self, database: &Database, round: u64, said: &Said) {
        let (before, number) = (self.model.number, plan::number_of(&database.snapshot()));
        let done = said.done.iter().copied().max().unwrap_or_default().max(before);
        let begun = said.begun.max(before);
        assert!(number >= done, "commit {done} was acknowledged, and the file ends with {number}");
        assert!(number <= begun, "commit {number} was never made");
        self.figures.unheard += number - done;
        self.figures.lost += begun - number;
        self.model.advance(self.salt(round), number);
        self.model.assert_is(database);
    }

    /// Looks at the file, and at whether what was to happen has happened often enough.
    fn end(&self, rounds: u64) {
        let database = self.open(false);
        self.model.assert_is(&database);
        database.close().wait().unwrap();
        self.model.assert_is(&self.open(true));
        let figures = &self.figures;
        println!("{:?}, {} rounds: {figures:?}", self.choice, rounds);
        assert!(figures.kills >= rounds && figures.commits > 10 * rounds, "{figures:?}");
        assert!(figures.logs > rounds / 3 && figures.behind > rounds / 4, "{figures:?}");
        assert!(figures.recoveries > rounds / 10, "{figures:?}");
    }
}

impl Drop for Killer {
    /// What cannot be repeated exactly is kept if it has failed.
    fn drop(&mut self) {
        if thread::panicking() {
            println!("the file is left in {}", self.place.keep().display());
        }
    }
}

/// Does something as soon as nobody has the file any more.
fn at_last<T>(attempt: impl Fn() -> Result<T, Error>) -> T {
    let started = Instant::now();
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Locked, "{error}"),
        }
        assert!(
            started.elapsed() < PATIENCE,
            "the lock of a process that was killed is still there"
        );
        thread::sleep(Duration::from_micros(200));
    }
}

/// Asserts that exactly the pages are used that something reaches. Nothing may be under way.
fn assert_no_page_is_lost(database: &Database, trees: u64) {
    // What waited for I/O is noticed to be free when the next transaction begins.
    drop(database.begin().wait().unwrap());
    let space = database.info().space;
    let reserved = reserved_page_count(PageSize::new(PAGE as u32).unwrap());
    assert_eq!(space.used, reserved + trees + space.map + space.held, "pages are lost: {space:?}");
}

fn log_path(path: &Path) -> PathBuf {
    path.with_file_name("db-log")
}
