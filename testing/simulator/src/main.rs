//! Runs the engine on simulated computers that crash, one seed after the other.

use std::process::ExitCode;

use simulator::campaign::Campaign;

fn main() -> ExitCode {
    Campaign { package: "simulator", run: simulator::run::run }.main()
}
