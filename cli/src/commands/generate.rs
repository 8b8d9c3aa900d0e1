//! `completions`, `man`: what is generated from the arguments themselves.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::output;
use crate::args::Cli;
use crate::error::{CliError, CliResult};

/// Prints the completions for a shell.
pub fn completions(shell: Shell) -> CliResult<()> {
    // Into memory first: the generator cannot be told that a pipe was closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "yieldb", &mut script);
    print(&script)
}

/// Prints the manual page of the program, or of one command.
pub fn man(command: Option<&str>) -> CliResult<()> {
    let mut program = Cli::command();
    program.build();
    let page = match command {
        None => program,
        Some(name) => {
            let found = program.find_subcommand(name);
            found.ok_or_else(|| CliError::usage(format!("no such command: {name}")))?.clone()
        }
    };
    // `yieldb get` has its page under `yieldb-get`.
    let name = page.get_bin_name().unwrap_or("yieldb").replace(' ', "-");
    let mut text = Vec::new();
    let source = concat!("yieldb ", env!("CARGO_PKG_VERSION"));
    let page = clap_mangen::Man::new(page).title(name).source(source).manual("yieldb");
    page.render(&mut text)?;
    print(&text)
}

fn print(bytes: &[u8]) -> CliResult<()> {
    let mut out = output();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}
