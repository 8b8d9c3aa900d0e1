//! Runs seeds: many tasks on one database, interleaved by the seed.

use std::process::ExitCode;

use simulator::campaign::Campaign;

fn main() -> ExitCode {
    Campaign { package: "concurrent-simulator", run: concurrent_simulator::run }.main()
}
