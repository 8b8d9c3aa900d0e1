//! How a command ends when it does not end well.

use std::io::{self, Write};
use std::path::Path;

use yieldb::ErrorKind;

use crate::escape::defuse;

/// Why a command failed, and what the shell is told.
#[derive(Debug)]
pub struct CliError {
    /// The exit code.
    pub code: u8,
    /// One line for people; empty where there is nothing to say.
    pub message: String,
    /// Is the message about the database, and does not name it?
    pub lacks_file: bool,
    /// What the library says it is, if it comes from there.
    pub kind: Option<ErrorKind>,
}

/// A result of a command.
pub type CliResult<T> = Result<T, CliError>;

/// There is no such entry.
pub const NOT_FOUND: u8 = 1;
/// The command was used wrongly, or its input is wrong.
pub const USAGE: u8 = 2;
/// The file is damaged.
pub const DAMAGED: u8 = 3;
/// Another process has the file.
pub const LOCKED: u8 = 4;
/// The operating system refused.
pub const SYSTEM: u8 = 5;
/// The file is not ours, or of another format.
pub const FOREIGN: u8 = 6;

impl CliError {
    /// One line for people, and what the shell is told.
    pub fn new(code: u8, message: impl Into<String>) -> CliError {
        CliError { code, message: message.into(), lacks_file: false, kind: None }
    }

    /// Wrong usage or wrong input.
    pub fn usage(message: impl Into<String>) -> CliError {
        CliError::new(USAGE, message)
    }

    /// A failure to read from something else than a database.
    pub fn input(error: &io::Error) -> CliError {
        CliError::new(SYSTEM, error.to_string())
    }

    /// Nothing to say, but for the exit code.
    pub fn silent(code: u8) -> CliError {
        CliError::new(code, "")
    }

    /// Says which database it is about, where the message does not.
    pub fn on(mut self, file: &Path) -> CliError {
        if std::mem::take(&mut self.lacks_file) {
            self.message = format!("{}: {}", file.display(), self.message);
        }
        self
    }
}

/// Tells people something. Who does not listen misses it.
pub fn tell(message: &str) {
    let line = format!("yieldb: {}\n", defuse(message));
    let mut out = io::stderr().lock();
    let _told = out.write_all(line.as_bytes()).is_ok();
}

/// What is wrong with the arguments, in one line.
impl From<clap::Error> for CliError {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        let is_said =
            |part: &&str| !["Usage:", "For more information"].iter().any(|it| part.starts_with(it));
        let parts = text.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
        let parts = parts.filter(is_said).map(|part| {
            let words: Vec<&str> = part.split_whitespace().collect();
            words.join(" ")
        });
        let message = parts.collect::<Vec<String>>().join("; ");
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        CliError::usage(format!("{message}; see `yieldb help`"))
    }
}

impl From<yieldb::Error> for CliError {
    fn from(error: yieldb::Error) -> Self {
        let (code, advice) = match error.kind() {
            ErrorKind::Usage => (USAGE, ""),
            ErrorKind::Damaged => (DAMAGED, "; `yieldb check` lists all damage"),
            // What helps depends on what is in its place.
            ErrorKind::LogMissing => (DAMAGED, ""),
            ErrorKind::Locked => (LOCKED, "; wait for the other process, or stop it"),
            ErrorKind::Foreign => (FOREIGN, ""),
            ErrorKind::NeedsRecovery => (
                SYSTEM,
                "; any reading command does so without --read-only, or give a larger --cache",
            ),
            _ => (SYSTEM, ""),
        };
        let lacks_file = matches!(error, yieldb::Error::Operation(_));
        let (message, kind) = (format!("{error}{advice}"), Some(error.kind()));
        CliError { code, message, lacks_file, kind }
    }
}

/// A failure to write results.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // Whoever reads the output has seen enough.
            return CliError::silent(0);
        }
        CliError::new(SYSTEM, format!("standard output: {error}"))
    }
}
