//! Making a failing run small: leaving out what it fails without.
//!
//! What is left out is told in words that fit a command line, so that what is left can be replayed
//! from the seed.

use std::fmt;
use std::str::FromStr;

use yieldb_core::injection::Mistake;
use yieldb_core::named;

use crate::attempt::{Runner, attempt};
use crate::computer::FaultRates;
use crate::plan::{Operation, Plan};

/// How many plans are tried.
const MAX_ATTEMPTS: usize = 600;

/// What is left of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reduction {
    /// The operations that are kept; `None` for all.
    pub keep: Option<Vec<Kept>>,
    /// What there is none of.
    pub without: Vec<Feature>,
}

/// An operation that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its place among the operations of the plan.
    pub operation: usize,
    /// Of a transaction or a batch the changes that are kept, by their place; `None` for all.
    pub changes: Option<Vec<usize>>,
}

named! {
    /// Something that runs can do without.
    pub enum Feature {
        /// Requests that finish in another order.
        Reordering = "reordering",
        /// Forced yields.
        Yields = "yields",
        /// Operations that are dropped.
        Drops = "drops",
        /// Commits that are relaxed.
        Relaxed = "relaxed commits",
        /// I/O that fails.
        Faults = "faults",
    }
}

impl Reduction {
    /// What is left of `plan`.
    pub fn of(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        if let Some(keep) = &self.keep {
            let kept = keep.iter().filter_map(|kept| {
                let operation = plan.operations.get(kept.operation)?.clone();
                Some(kept_changes(operation, kept.changes.as_deref()))
            });
            plan.operations = kept.collect();
        }
        for feature in &self.without {
            match feature {
                Feature::Reordering => plan.shape.is_reordered = false,
                Feature::Yields => plan.shape.yield_one_in = 0,
                Feature::Drops => plan.operations.iter_mut().for_each(without_drops),
                Feature::Relaxed => plan.operations.iter_mut().for_each(without_relaxed),
                Feature::Faults => plan.shape.faults = FaultRates::none(),
            }
        }
        plan
    }
}

fn kept_changes(mut operation: Operation, keep: Option<&[usize]>) -> Operation {
    if let (Some(keep), Some(changes)) = (keep, changes_of(&mut operation)) {
        *changes = keep.iter().filter_map(|index| changes.get(*index).cloned()).collect();
    }
    operation
}

fn changes_of(operation: &mut Operation) -> Option<&mut Vec<crate::plan::Change>> {
    match operation {
        Operation::Transaction { changes, .. } | Operation::Batch { changes, .. } => Some(changes),
        _ => None,
    }
}

fn without_relaxed(operation: &mut Operation) {
    use crate::plan::Ending;
    match operation {
        Operation::Transaction { ending: Ending::Commit(way), .. }
        | Operation::Batch { way, .. } => way.durability = yieldb::Durability::Sync,
        _ => {}
    }
}

fn without_drops(operation: &mut Operation) {
    for patience in operation.patiences() {
        *patience = None;
    }
}

/// The smallest part of a failing plan that was found to fail as well.
pub fn shrink(run: Runner, plan: &Plan, mistake: Option<Mistake>) -> Reduction {
    let fails =
        |reduction: &Reduction| attempt(run, &reduction.of(plan), mistake).failure().is_some();
    let mut search = Search { fails: &fails, attempts: 0, best: Reduction::default() };
    for feature in Feature::ALL {
        let mut candidate = search.best.clone();
        candidate.without.push(*feature);
        search.take(candidate);
    }
    search.operations(plan.operations.len());
    search.changes(plan);
    search.operations(plan.operations.len());
    search.best
}

struct Search<'f> {
    fails: &'f dyn Fn(&Reduction) -> bool,
    attempts: usize,
    best: Reduction,
}

impl Search<'_> {
    /// Takes a candidate if it fails.
    fn take(&mut self, candidate: Reduction) -> bool {
        if self.attempts >= MAX_ATTEMPTS {
            return false;
        }
        self.attempts += 1;
        let fails = (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }

    /// Leaves out operations.
    fn operations(&mut self, count: usize) {
        let all = || (0..count).map(|operation| Kept { operation, changes: None }).collect();
        let keep: Vec<Kept> = self.best.keep.clone().unwrap_or_else(all);
        self.fewer(keep, |candidate, fewer| candidate.keep = Some(fewer));
    }

    /// Leaves out changes of each transaction.
    fn changes(&mut self, plan: &Plan) {
        let Some(keep) = self.best.keep.clone() else { return };
        for (place, kept) in keep.iter().enumerate() {
            let mut operation = plan.operations[kept.operation].clone();
            if let Some(count) = changes_of(&mut operation).map(|changes| changes.len()) {
                self.fewer((0..count).collect(), |candidate, fewer| {
                    let keep = candidate.keep.as_mut().expect("operations were left out before");
                    keep[place].changes = Some(fewer);
                });
            }
        }
    }

    /// Leaves out of `kept` what can be, many at first and then one by one. `set` says in a
    /// candidate what is kept.
    fn fewer<T: Clone>(&mut self, mut kept: Vec<T>, set: impl Fn(&mut Reduction, Vec<T>)) {
        let mut len = kept.len().div_ceil(2);
        while len > 0 {
            let mut at = 0;
            while at < kept.len() {
                let mut fewer = kept.clone();
                fewer.drain(at..(at + len).min(fewer.len()));
                let mut candidate = self.best.clone();
                set(&mut candidate, fewer.clone());
                if self.take(candidate) {
                    kept = fewer;
                } else {
                    at += len;
                }
            }
            len /= 2;
        }
    }
}

impl FromStr for Feature {
    type Err = String;

    fn from_str(name: &str) -> Result<Feature, String> {
        Feature::from_name(name).ok_or_else(|| format!("nothing is called '{name}'"))
    }
}

/// As arguments: `--keep 0,3:1.4,7 --without yields,drops`.
impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(keep) = &self.keep {
            let part = |kept: &Kept| match &kept.changes {
                None => kept.operation.to_string(),
                Some(changes) => {
                    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                    format!("{}:{}", kept.operation, changes.join("."))
                }
            };
            let parts: Vec<String> = keep.iter().map(part).collect();
            write!(f, " --keep '{}'", parts.join(","))?;
        }
        if !self.without.is_empty() {
            let names: Vec<&str> = self.without.iter().map(|feature| feature.name()).collect();
            write!(f, " --without {}", names.join(","))?;
        }
        Ok(())
    }
}

/// Parses what `--keep` says.
///
/// # Errors
///
/// If it is no list of numbers.
pub fn parse_keep(text: &str) -> Result<Vec<Kept>, String> {
    let number = |text: &str| text.parse().map_err(|_| format!("'{text}' is no number"));
    let part = |text: &str| match text.split_once(':') {
        None => Ok(Kept { operation: number(text)?, changes: None }),
        Some((index, changes)) => {
            let changes = changes.split('.').filter(|text| !text.is_empty());
            let changes = changes.map(number).collect::<Result<_, _>>()?;
            Ok(Kept { operation: number(index)?, changes: Some(changes) })
        }
    };
    text.split(',').filter(|text| !text.is_empty()).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn what_is_printed_is_parsed() {
        let keep = vec![
            Kept { operation: 3, changes: None },
            Kept { operation: 7, changes: Some(vec![0, 12]) },
            Kept { operation: 8, changes: Some(Vec::new()) },
        ];
        let reduction = Reduction { keep: Some(keep.clone()), without: vec![Feature::Drops] };
        assert_eq!(reduction.to_string(), " --keep '3,7:0.12,8:' --without drops");
        assert_eq!(parse_keep("3,7:0.12,8:"), Ok(keep));
        assert_eq!("drops".parse(), Ok(Feature::Drops));
        assert!(parse_keep("3,x").is_err());
        assert!("nothing".parse::<Feature>().is_err());
    }

    #[test]
    fn what_is_left_out_is_gone() {
        let plan = Plan::draw(5, Profile::Crashes);
        let keep = Some(vec![Kept { operation: 0, changes: Some(vec![1]) }]);
        let reduced = Reduction { keep, without: vec![Feature::Yields] }.of(&plan);
        assert_eq!(reduced.operations.len(), 1);
        assert_eq!(
            changes_of(&mut reduced.operations[0].clone()).map(|changes| changes.len()),
            Some(1)
        );
        assert_eq!(reduced.shape.yield_one_in, 0);
    }
}
