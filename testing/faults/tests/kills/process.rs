//! A victim, from outside.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use faults::place::Place;

use crate::victim::Task;

/// How long a process may take to say what it is to say.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process has said so far.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub openings: u64,
    pub opens: u64,
    /// The highest number of a transaction that it began to commit.
    pub begun: u64,
    /// The numbers of those that it knew to be durable.
    pub done: HashSet<u64>,
    pub closings: u64,
    pub closes: u64,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (word, number) = (words.next(), words.next());
        let number = || number.unwrap().parse::<u64>().unwrap();
        match word {
            Some("opening") => self.openings += 1,
            Some("open") => self.opens += 1,
            Some("closing") => self.closings += 1,
            Some("closed") => self.closes += 1,
            Some("begun") => {
                let number = number();
                assert!(!self.done.contains(&number), "commit {number} is lost without a kill");
                self.begun = self.begun.max(number);
            }
            Some("done") => {
                self.done.insert(number());
            }
            // What the frame of the test says.
            Some(_) | None => {}
        }
    }
}

/// A process that is to be killed.
pub struct Process {
    child: Child,
    said: Arc<(Mutex<Said>, Condvar)>,
    listener: JoinHandle<()>,
}

impl Process {
    /// Starts a test of this program in a process of its own.
    pub fn start(test: &str, place: &Place, task: Task, round: u64, seed: u64) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        command.env("FAULTS_CHILD", "1").env("PLACE", place.root());
        command.env("TASK", format!("{task:?}"));
        command.env("ROUND", round.to_string()).env("SEED", seed.to_string());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let said = Arc::new((Mutex::new(Said::default()), Condvar::new()));
        let heard = said.clone();
        let listener = thread::spawn(move || listen(output, &heard));
        Process { child, said, listener }
    }

    /// Waits until it has said enough.
    pub fn wait_until(&self, is_enough: impl Fn(&Said) -> bool) {
        let (said, changed) = &*self.said;
        let said = said.lock().unwrap();
        let waited = changed.wait_timeout_while(said, PATIENCE, |said| !is_enough(said));
        let (said, waited) = waited.unwrap();
        assert!(!waited.timed_out(), "it said no more than {:?}", *said);
    }

    /// Kills it. Returns all that it said: a line that it had begun only is none.
    pub fn kill(mut self) -> Said {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it ended by itself: {status}");
        self.listener.join().unwrap();
        let (said, _) = &*self.said;
        std::mem::take(&mut *said.lock().unwrap())
    }
}

fn listen(output: ChildStdout, heard: &(Mutex<Said>, Condvar)) {
    let (said, changed) = heard;
    let mut output = BufReader::new(output);
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        if line.ends_with('\n') {
            said.lock().unwrap().hear(&line);
            changed.notify_all();
        }
        line.clear();
    }
}
