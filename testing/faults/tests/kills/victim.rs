//! The process that is killed: what it does, and what it says meanwhile.
//!
//! | line | means |
//! |---|---|
//! | `opening`, `open` | it is about to open the file; it has |
//! | `begun N` | it is about to commit the transaction with this number |
//! | `done N` | that commit has returned |
//! | `closing`, `closed` | it is about to close the file; it has |

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::{process, thread};

use faults::place::{options, told};
use yieldb::ops::Commit;
use yieldb::{
    Choice, Database, Error, ErrorKind, IOResult, LogLimits, Op, Options, Snapshot,
    WriteTransaction,
};

use crate::plan::{Random, make, next_number, number_of};

/// What such a process is for.
#[derive(Clone, Copy, Debug)]
pub enum Task {
    /// It commits, closes and opens again, without end.
    Work,
    /// It opens the file, which takes a recovery, and then does nothing.
    Recover,
}

/// Does what the process was told, until it is killed.
pub fn run(choice: Choice) -> ! {
    let number = |name: &str| told(name).to_str().unwrap().parse::<u64>().unwrap();
    let (path, round) = (told("PLACE").join("db"), number("ROUND"));
    let mut random = Random(number("SEED"));
    if told("TASK").as_os_str() == "Recover" {
        let _database = open(&usual(choice), &path);
        loop {
            thread::park();
        }
    }
    loop {
        let database = open(&small(choice, &mut random), &path);
        sit(&database, round, &mut random);
        if random.one_in(2) {
            say("closing");
            database.close().wait().unwrap_or_else(|error| end(&error));
            say("closed");
        }
    }
}

/// Options with room for whatever a log has.
pub fn usual(choice: Choice) -> Options {
    options(choice).cache_bytes(64 << 20)
}

/// Options with a log and a cache that are often full.
fn small(choice: Choice, random: &mut Random) -> Options {
    let log = [(28, 28), (28, 256), (64, 1024), (128, 512), (512, 4096)];
    let (first, max) = random.one_of(&log);
    let limits = LogLimits { first_len: first << 10, max_len: max << 10 };
    let log = if random.one_in(12) { None } else { Some(limits) };
    let cache = random.one_of(&[256 << 10, 1 << 20, 16 << 20]);
    options(choice).cache_bytes(cache).log(log)
}

/// Says a line, in one piece.
fn say(what: &str) {
    let line = format!("\n{what}\n");
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: the test has failed.
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        process::exit(1);
    }
}

/// Opens the file, also while the kernel ends the I/O of a process that was killed.
fn open(options: &Options, path: &Path) -> Database {
    loop {
        say("opening");
        match options.clone().open(path).wait() {
            Ok(database) => {
                say("open");
                return database;
            }
            Err(error) if error.kind() == ErrorKind::Locked => thread::yield_now(),
            Err(error) => end(&error),
        }
    }
}

fn end(error: &Error) -> ! {
    eprintln!("the process that is to be killed failed: {error}");
    process::exit(1);
}

/// Some threads commit, each with several commits under way.
fn sit(database: &Database, round: u64, random: &mut Random) {
    let most = random.one_of(&[4, 40, 400]);
    let transactions = 1 + random.below(most);
    thread::scope(|scope| {
        for _ in 0..1 + random.below(4) {
            let (depth, seed) = (random.below(9) as usize, random.next());
            let task = Committer {
                database,
                round,
                random: Random(seed),
                depth,
                under_way: VecDeque::new(),
                held: None,
            };
            scope.spawn(move || task.run(transactions).unwrap_or_else(|error| end(&error)));
        }
    });
}

/// One thread's work.
struct Committer<'a> {
    database: &'a Database,
    round: u64,
    random: Random,
    /// How many of its commits may be under way at a time.
    depth: usize,
    under_way: VecDeque<(u64, Op<'static, Commit>)>,
    /// Keeps old pages.
    held: Option<Snapshot>,
}

impl Committer<'_> {
    fn run(mut self, transactions: u64) -> Result<(), Error> {
        for _ in 0..transactions {
            let mut transaction = self.begin()?;
            let number = next_number(&transaction)?;
            make(&mut transaction, self.round, number)?;
            if self.random.one_in(20) {
                continue;
            }
            say(&format!("begun {number}"));
            let mut commit = transaction.commit();
            match commit.step()? {
                IOResult::Done(version) => acknowledge(number, version),
                IOResult::IO(_) => self.under_way.push_back((number, commit)),
            }
            while self.under_way.len() > self.depth {
                self.finish_oldest()?;
            }
            if self.random.one_in(50) {
                self.finish_all()?;
                self.database.checkpoint().wait()?;
            }
            if self.random.one_in(30) {
                self.held = Some(self.database.snapshot()).filter(|_| self.random.one_in(2));
            }
            if self.random.one_in(10) {
                let _number = number_of(&self.database.snapshot());
            }
        }
        // Otherwise what became of them is nobody's business.
        if self.random.one_in(2) { self.finish_all() } else { Ok(()) }
    }

    /// Waits for the writer's turn, which a commit of this very thread may have.
    fn begin(&mut self) -> Result<WriteTransaction, Error> {
        let mut begin = self.database.begin();
        while !self.under_way.is_empty() {
            if let IOResult::Done(transaction) = begin.step()? {
                return Ok(transaction);
            }
            self.finish_oldest()?;
        }
        begin.wait()
    }

    fn finish_oldest(&mut self) -> Result<(), Error> {
        if let Some((number, commit)) = self.under_way.pop_front() {
            acknowledge(number, commit.wait()?);
        }
        Ok(())
    }

    fn finish_all(&mut self) -> Result<(), Error> {
        while !self.under_way.is_empty() {
            self.finish_oldest()?;
        }
        Ok(())
    }
}

fn acknowledge(number: u64, version: u64) {
    say(&format!("done {number}"));
    assert_eq!(version, number, "each transaction is one version");
}
