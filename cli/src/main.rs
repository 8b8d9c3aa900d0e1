//! The command line of yieldb.
//!
//! Results go to standard output, everything else to standard error. See the exit codes in
//! [`error`]. A signal needs no care: whatever a command was doing, the file and its log are as the
//! last commit left them. Only [`interrupt`] makes one file of them before the process ends.

mod args;
mod commands;
mod error;
mod escape;
mod format;
mod interrupt;
mod progress;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::Cli;
use error::tell;

fn is_help(error: &clap::Error) -> bool {
    let kind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    !error.use_stderr() || error.kind() == kind
}

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => commands::run(&cli),
        // Help that was asked for, or that says all there is to say.
        Err(error) if is_help(&error) => error.exit(),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.message.is_empty() {
                tell(&error.message);
            }
            ExitCode::from(error.code)
        }
    }
}
