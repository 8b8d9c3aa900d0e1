//! Searches the scenarios, plants the mistakes, and prints what comes of it.
//!
//! ```text
//! protocol-model                     every scenario, and every mistake
//! protocol-model NAME                one scenario
//! protocol-model --larger [NAME]     the larger bounds: minutes to hours, gigabytes
//! protocol-model --mistake NAME      the shortest way to where a mistake shows
//! ```

use std::process::ExitCode;

use protocol_model::{Mistake, Model, SCENARIOS, Scenario, explore, script};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => {
            let mut is_right = true;
            for scenario in SCENARIOS {
                is_right &= search(scenario, false);
            }
            println!("\n{:42} {:>6} {:>10}  broken", "mistake", "steps", "states");
            for mistake in Mistake::ALL {
                is_right &= plant(*mistake);
            }
            ExitCode::from(u8::from(!is_right))
        }
        ["--larger"] => {
            let mut is_right = true;
            for scenario in SCENARIOS {
                is_right &= search(scenario, true);
            }
            ExitCode::from(u8::from(!is_right))
        }
        ["--larger", name] => match SCENARIOS.iter().find(|scenario| scenario.name == name) {
            Some(scenario) => ExitCode::from(u8::from(!search(scenario, true))),
            None => refuse(name),
        },
        ["--mistake", name] => match Mistake::named(name) {
            Some(mistake) => {
                print!("{}", mistake.script().unwrap_or_else(|| "nothing is broken\n".into()));
                ExitCode::SUCCESS
            }
            None => refuse(name),
        },
        [name] => match SCENARIOS.iter().find(|scenario| scenario.name == name) {
            Some(scenario) => ExitCode::from(u8::from(!search(scenario, false))),
            None => refuse(name),
        },
        _ => refuse(&arguments.join(" ")),
    }
}

fn refuse(what: &str) -> ExitCode {
    eprintln!("what is {what}? protocol-model [[--larger] [SCENARIO] | --mistake NAME]");
    ExitCode::from(2)
}

/// Searches a scenario; `true` if nothing is broken.
fn search(scenario: &Scenario, is_larger: bool) -> bool {
    let bounds = if is_larger { scenario.larger } else { scenario.bounds };
    println!("{}: {}\n  {bounds}", scenario.name, scenario.about);
    let found = explore(&Model::new(bounds, None));
    println!(
        "  {} states, {} ends behind a last power cut, {} steps deep, {:.1} s",
        found.states,
        found.ends,
        found.depth,
        found.elapsed.as_secs_f64()
    );
    if let Some(counterexample) = &found.counterexample {
        println!("{}", script(counterexample));
    }
    found.counterexample.is_none()
}

/// Plants a mistake; `true` if it is noticed.
fn plant(mistake: Mistake) -> bool {
    let found = mistake.explore();
    let Some(counterexample) = &found.counterexample else {
        println!("{:42} NOT NOTICED in {} states", mistake.name(), found.states);
        return false;
    };
    let (name, steps, broken) = (mistake.name(), counterexample.len(), counterexample.broken());
    println!("{name:42} {steps:6} {:10}  {broken}", found.states);
    true
}
