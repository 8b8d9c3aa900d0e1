//! yieldb beside its peers and the bare device.
//!
//! ```sh
//! cargo run --release -- run            # everything; run again, it goes on where it was
//! cargo run --release -- run --quick    # a subset that takes two minutes
//! cargo run --release -- report record/2026-11-26-xeon-2core
//! ```
//!
//! in `testing/bench`; RocksDB takes `--features rocksdb`.
//!
//! Every pair of an engine and a workload is a process of its own (`worker`), so that neither
//! memory nor threads of engines mix. The workers of a workload take turns, round by round: one of
//! them works, and the others are stopped. What they measure is written to the record as it comes,
//! one line of JSON for each measure; a report makes a table and plots of it. What is compared are
//! medians over rounds.
//!
//! Every value that is read is verified. What an engine does for *durable* and for *relaxed*
//! commits is in its file, and in the report.
//!
//! A further workload is a file in `workload/` and a line in `workload/mod.rs`; an engine, the same
//! in `engine/`.

mod anew;
mod arguments;
mod blocks;
mod engine;
mod machine;
mod measure;
mod record;
mod report;
mod resources;
mod run;
mod targets;
mod worker;
mod workload;

use std::process::ExitCode;

use arguments::{Command, USAGE};
use bench::{Failure, device, entries, process};

fn main() -> ExitCode {
    let done = match arguments::parse(std::env::args().skip(1)) {
        Ok(Command::Run(wanted)) => run::run(&wanted),
        Ok(Command::Report(record)) => report::report(&record),
        Ok(Command::Worker(task)) => worker::work(&task),
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
