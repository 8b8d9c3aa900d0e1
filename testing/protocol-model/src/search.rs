//! Breadth-first search: every state within the bounds, the nearest mistake first.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::model::Next;
use crate::state::State;
use crate::{Broken, Model, Step};

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Disks that a last crash leaves, and that were recovered and compared.
    pub ends: usize,
    /// Steps to the state that is farthest.
    pub depth: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// A shortest run that breaks a promise, if there is one.
    pub counterexample: Option<Counterexample>,
}

/// A shortest run that breaks a promise.
#[derive(Clone, Debug)]
pub struct Counterexample {
    pub(crate) first: State,
    pub(crate) steps: Vec<(Step, State)>,
    pub(crate) broken: Broken,
}

impl Counterexample {
    /// The number of its steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// There is always a step.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Which promise is broken.
    pub fn broken(&self) -> Broken {
        self.broken
    }
}

/// Goes through every run, nearest first, until a promise is broken or there is nothing more.
///
/// A state is known by 64 bits of its hash; that two of ten million share them has a probability
/// of one in three hundred thousand, and then a state is left out, not a mistake invented.
pub fn explore(model: &Model) -> Explored {
    let begun = Instant::now();
    let mut search = Search::default();
    let first = State::first(model.bounds);
    search.visit(hash_of(&first), 0);
    let mut level = vec![(0, first.clone())];
    let mut depth = 0;
    let mut failure = None;
    while !level.is_empty() && failure.is_none() {
        let mut following = Vec::new();
        for (index, state) in level {
            let mut next = model.steps(&state);
            next.extend(search.crashes(model, &state));
            if let Some(broken) = next.iter().find_map(|next| next.result.err()) {
                failure = Some((index, broken));
                break;
            }
            for Next { state, .. } in next {
                if let Some(found) = search.visit(hash_of(&state), index) {
                    following.push((found, state));
                }
            }
        }
        level = following;
        depth += 1;
    }
    let counterexample = failure.map(|(index, broken)| {
        let steps = search.path(model, &first, index);
        Counterexample { first, steps, broken }
    });
    Explored {
        states: search.hashes.len(),
        ends: search.ends,
        depth: depth - 1,
        elapsed: begun.elapsed(),
        counterexample,
    }
}

/// What is known of the states that were seen.
#[derive(Default)]
struct Search {
    seen: HashMap<u64, u32>,
    hashes: Vec<u64>,
    /// From where each was reached first.
    parents: Vec<u32>,
    crashed: HashSet<u64>,
    ends: usize,
}

impl Search {
    /// The number of a state, if it is new.
    fn visit(&mut self, hash: u64, parent: u32) -> Option<u32> {
        let number = u32::try_from(self.hashes.len()).expect("there is no memory for more");
        if self.seen.contains_key(&hash) {
            return None;
        }
        self.seen.insert(hash, number);
        self.hashes.push(hash);
        self.parents.push(parent);
        Some(number)
    }

    /// What crashes lead to, unless the same was seen: nothing of a process survives it, so that
    /// states which differ in their processes alone have the same crashes.
    fn crashes(&mut self, model: &Model, state: &State) -> Vec<Next> {
        let Some(key) = model.crash_key(state) else { return Vec::new() };
        if !self.crashed.insert(hash_of(&key)) {
            return Vec::new();
        }
        model.crashes(state, &mut self.ends)
    }

    /// The steps to a state, and the one that breaks a promise there.
    fn path(&self, model: &Model, first: &State, last: u32) -> Vec<(Step, State)> {
        let mut numbers = vec![last];
        while let Some(number) = numbers.last().filter(|number| **number != 0) {
            numbers.push(self.parents[*number as usize]);
        }
        let mut state = first.clone();
        let mut steps = Vec::new();
        let all = |state: &State| {
            let mut next = model.steps(state);
            next.extend(model.crashes(state, &mut 0));
            next
        };
        for number in numbers.iter().rev().skip(1) {
            let hash = self.hashes[*number as usize];
            let next = all(&state).into_iter().find(|next| hash_of(&next.state) == hash);
            let next = next.expect("the state was reached in this way");
            state = next.state.clone();
            steps.push((next.step, next.state));
        }
        let next = all(&state).into_iter().find(|next| next.result.is_err());
        let next = next.expect("the promise was broken here");
        steps.push((next.step, next.state));
        steps
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
