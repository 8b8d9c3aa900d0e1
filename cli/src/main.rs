//! The command line of yieldb.
//!
//! Results go to standard output, everything else to standard error. See the exit codes in
//! [`error`]. A signal needs no care: whatever a command was doing, the file is as its last commit
//! left it.

mod args;
mod commands;
mod error;
mod escape;
mod format;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use escape::Text;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.message.is_empty() {
                let line = Text::Escaped.encode(error.message.as_bytes());
                eprintln!("yieldb: {}", String::from_utf8_lossy(&line));
            }
            ExitCode::from(error.code)
        }
    }
}
