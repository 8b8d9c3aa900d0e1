//! Running seeds, from the command line: what failed, and what was reached.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use yieldb_core::injection::Mistake;

use crate::attempt::{Runner, attempt, attempt_told};
use crate::plan::Plan;
use crate::profile::Profile;
use crate::report::{Failure, Report};
use crate::shrink::{Feature, Kept, Reduction, parse_keep, shrink};
use crate::sweep::sweep;

/// Runs the engine on simulated computers that crash, one seed after the other.
#[derive(Parser)]
struct Arguments {
    /// How many seeds are run at most.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed; by default one that the clock gives.
    #[arg(long)]
    first_seed: Option<u64>,
    /// Ends after so long: 90, 90s, 15m, 2h. Without it and without a number of seeds: 60s.
    #[arg(long, value_parser = duration)]
    time: Option<Duration>,
    /// Ends after so many crash-recoveries.
    #[arg(long)]
    crash_recoveries: Option<u64>,
    /// What kind of runs.
    #[arg(long, default_value = "all")]
    profile: Profile,
    /// Runs one seed, twice, and tells what happens.
    #[arg(long)]
    replay: Option<u64>,
    /// Of a replay, the operations that are done.
    #[arg(long, value_parser = keep)]
    keep: Option<Keep>,
    /// Of a replay, what is left out: reordering, yields, drops, faults.
    #[arg(long, value_delimiter = ',')]
    without: Vec<Feature>,
    /// Sweeps the plan of each seed: every crash at every I/O, every operation dropped at every
    /// wait, every error at every I/O. For the profile `small`.
    #[arg(long)]
    sweep: bool,
    /// Runs each seed twice, and compares the traces.
    #[arg(long)]
    twice: bool,
    /// Makes a mistake on purpose, and ends when it is noticed.
    #[arg(long, value_parser = mistake)]
    plant: Option<Mistake>,
    /// How many threads work; by default as many as there are cores.
    #[arg(long)]
    threads: Option<usize>,
    /// Prints one line of JSON at the end.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// What is left of the plan that is replayed.
    fn reduction(&self) -> Reduction {
        Reduction { keep: self.keep.clone().map(|keep| keep.0), without: self.without.clone() }
    }
}

#[derive(Clone)]
struct Keep(Vec<Kept>);

fn keep(text: &str) -> Result<Keep, String> {
    parse_keep(text).map(Keep)
}

fn mistake(name: &str) -> Result<Mistake, String> {
    Mistake::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Mistake::ALL.iter().map(|mistake| mistake.name()).collect();
        format!("no mistake '{name}': {}", names.join(", "))
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|letter: char| !letter.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("'{text}' is no duration")),
    };
    let number: u64 = number.parse().map_err(|_| format!("'{text}' is no duration"))?;
    Ok(Duration::from_secs(number * factor))
}

/// A program that runs seeds.
#[derive(Clone, Copy)]
pub struct Campaign {
    /// The package's name.
    pub package: &'static str,
    /// What runs a plan.
    pub run: Runner,
}

impl Campaign {
    /// Does what the program's arguments ask for.
    pub fn main(self) -> ExitCode {
        let arguments = Arguments::parse();
        let report = match arguments.replay {
            Some(seed) => self.replay(&arguments, seed),
            None => self.run_seeds(&arguments),
        };
        conclude(&arguments, &report)
    }

    /// Runs one seed twice, and shrinks it if it fails.
    fn replay(self, arguments: &Arguments, seed: u64) -> Report {
        let plan = Plan::draw(seed, arguments.profile);
        let reduction = arguments.reduction();
        let reduced = reduction.of(&plan);
        let (first, second) = (
            attempt(self.run, &reduced, arguments.plant),
            attempt(self.run, &reduced, arguments.plant),
        );
        println!("seed {seed}, profile {}: trace {:016x}", plan.profile, first.trace);
        assert_eq!(first.trace, second.trace, "the same seed, another run");
        for failure in &first.report.failures {
            self.tell(arguments, failure);
        }
        first.report
    }

    /// Says what failed, and how to see it again.
    fn tell(self, arguments: &Arguments, failure: &Failure) {
        let plan = Plan::draw(failure.seed, arguments.profile);
        let reduction = match arguments.keep {
            Some(_) => arguments.reduction(),
            None => shrink(self.run, &plan, arguments.plant),
        };
        let reduced = reduction.of(&plan);
        let again = attempt_told(self.run, &reduced, arguments.plant, true);
        let failure = again.failure().unwrap_or(failure);
        println!("\nFAILED: {}", failure.what);
        println!("seed {}, {}", failure.seed, shape(&reduced));
        for (index, operation) in reduced.operations.iter().enumerate() {
            println!("  {index}. {operation}");
        }
        let hidden = failure.story.len().saturating_sub(STORY);
        if hidden > 0 {
            println!("  - {hidden} I/Os before");
        }
        for event in failure.story.iter().skip(hidden) {
            println!("  - {event}");
        }
        let planted = arguments
            .plant
            .map_or_else(String::new, |mistake| format!(" --plant {}", mistake.name()));
        println!(
            "cargo run --release -p {} -- --replay {} --profile {}{reduction}{planted}\n",
            self.package, failure.seed, arguments.profile
        );
    }

    fn run_seeds(self, arguments: &Arguments) -> Report {
        let first_seed = arguments.first_seed.unwrap_or_else(clock_seed);
        let is_endless = arguments.seeds.is_none() && arguments.crash_recoveries.is_none();
        let time = arguments.time.or(is_endless.then_some(Duration::from_secs(60)));
        let work = Work {
            campaign: self,
            arguments,
            first_seed,
            time,
            started: Instant::now(),
            next: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            report: Mutex::default(),
        };
        eprintln!("seeds from {first_seed} on, profile {}", arguments.profile);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..arguments.threads.unwrap_or(cores) {
                scope.spawn(|| work.run());
            }
        });
        let mut report = work.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.failures.sort_by_key(|failure| failure.seed);
        for failure in report.failures.iter().take(TOLD) {
            self.tell(arguments, failure);
        }
        for failure in report.failures.iter().skip(TOLD) {
            println!("seed {} failed, too: {}", failure.seed, failure.what);
        }
        report
    }
}

/// Prints what there is to say at the end.
fn conclude(arguments: &Arguments, report: &Report) -> ExitCode {
    let missing = match arguments.replay.is_some() || arguments.plant.is_some() {
        true => Vec::new(),
        false => missing(arguments.profile, report),
    };
    if !missing.is_empty() {
        eprintln!("faults that never fired: {}", missing.join(", "));
    }
    if arguments.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    let is_good = report.failures.is_empty() && missing.is_empty();
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The faults of the profile that never fired.
fn missing(profile: Profile, report: &Report) -> Vec<&'static str> {
    let names = profile.faults().into_iter().map(|kind| kind.name());
    names.filter(|name| !report.faults.contains_key(name)).collect()
}

fn shape(plan: &Plan) -> String {
    let shape = &plan.shape;
    format!(
        "profile {}, pages of {} bytes, {} in memory, {} keys",
        plan.profile, shape.page_size, shape.cache_pages, shape.keys
    )
}

/// How many lines are told of what happened.
const STORY: usize = 60;

/// How many failures are told in full.
const TOLD: usize = 3;

fn clock_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() * 1_000_000
}

/// What all threads share.
struct Work<'a> {
    campaign: Campaign,
    arguments: &'a Arguments,
    first_seed: u64,
    time: Option<Duration>,
    started: Instant,
    next: AtomicU64,
    is_over: AtomicBool,
    report: Mutex<Report>,
}

impl Work<'_> {
    fn run(&self) {
        let mut own = Report::default();
        let mut told = Instant::now();
        loop {
            let index = self.next.fetch_add(1, Ordering::SeqCst);
            let is_late = self.time.is_some_and(|time| self.started.elapsed() > time);
            let is_done = self.arguments.seeds.is_some_and(|seeds| index >= seeds);
            if is_late || is_done || self.is_over.load(Ordering::SeqCst) {
                break;
            }
            let plan = Plan::draw(self.first_seed + index, self.arguments.profile);
            own.add(self.report(&plan));
            let stops = self.arguments.plant.is_some() && !own.failures.is_empty();
            if stops || own.failures.len() > 20 {
                self.is_over.store(true, Ordering::SeqCst);
            }
            if told.elapsed() > Duration::from_secs(1) {
                self.hand_in(&mut own);
                told = Instant::now();
            }
        }
        self.hand_in(&mut own);
    }

    /// What came of a plan.
    fn report(&self, plan: &Plan) -> Report {
        let (run, mistake) = (self.campaign.run, self.arguments.plant);
        if self.arguments.sweep {
            return sweep(run, plan, mistake);
        }
        let first = attempt(run, plan, mistake);
        if self.arguments.twice {
            let second = attempt(run, plan, mistake);
            assert_eq!(first.trace, second.trace, "seed {} is two runs", plan.seed);
        }
        first.report
    }

    /// Adds what this thread has reached, and says how far everything is.
    fn hand_in(&self, own: &mut Report) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.add(std::mem::take(own));
        let seconds = self.started.elapsed().as_secs_f64();
        let count = report.crash_recoveries;
        eprint!(
            "\r{:.0} s: {} runs, {count} crash-recoveries, {:.0} a second, {} failures ",
            seconds,
            report.runs,
            count as f64 / seconds,
            report.failures.len()
        );
        if self.arguments.crash_recoveries.is_some_and(|limit| count >= limit) {
            self.is_over.store(true, Ordering::SeqCst);
        }
    }
}
