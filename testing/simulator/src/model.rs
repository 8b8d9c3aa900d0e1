//! What a database should have in it: ordered maps, one for each version.

use std::collections::BTreeMap;
use std::sync::Arc;

use yieldb::Durability;

use crate::computer::Mark;

/// The entries of a tree.
pub type Entries = BTreeMap<Vec<u8>, Value>;

/// A value, told by its tag and its length. Each write has a tag of its own, so that an old value
/// is not taken for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    /// What tells it from all others.
    pub tag: u32,
    /// The length in bytes.
    pub len: u32,
}

impl Value {
    /// The value as it is stored.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len as usize + 8);
        for index in 0..u64::from(self.len).div_ceil(8) {
            bytes.extend_from_slice(&self.word(index).to_le_bytes());
        }
        bytes.truncate(self.len as usize);
        bytes
    }

    /// Are these its bytes?
    pub fn is(self, bytes: &[u8]) -> bool {
        let is_word = |(index, chunk): (usize, &[u8])| {
            chunk == &self.word(index as u64).to_le_bytes()[..chunk.len()]
        };
        bytes.len() == self.len as usize && bytes.chunks(8).enumerate().all(is_word)
    }

    fn word(self, index: u64) -> u64 {
        (u64::from(self.tag) << 32 ^ index).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
    }
}

/// The name of the tree that is always there.
pub const MAIN_NAME: &[u8] = b"main";

/// All trees of one version. A clone shares what is not changed afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    trees: BTreeMap<Vec<u8>, Arc<Entries>>,
}

impl Default for State {
    fn default() -> Self {
        State { trees: BTreeMap::from([(MAIN_NAME.to_vec(), Arc::default())]) }
    }
}

impl State {
    /// The trees in the order of their names.
    pub fn trees(&self) -> impl Iterator<Item = (&[u8], &Entries)> {
        self.trees.iter().map(|(name, entries)| (&name[..], &**entries))
    }

    /// The entries of a tree.
    pub fn entries(&self, name: &[u8]) -> Option<&Entries> {
        self.trees.get(name).map(|entries| &**entries)
    }

    /// The entries of a tree that is there, to be changed.
    ///
    /// # Panics
    ///
    /// If it is not there.
    pub fn entries_mut(&mut self, name: &[u8]) -> &mut Entries {
        Arc::make_mut(self.trees.get_mut(name).expect("the tree is there"))
    }

    /// Adds an empty tree.
    pub fn create(&mut self, name: &[u8]) {
        self.trees.insert(name.to_vec(), Arc::default());
    }

    /// Removes a tree.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<Entries>> {
        self.trees.remove(name)
    }

    /// Gives a tree another name.
    pub fn rename(&mut self, name: &[u8], new: &[u8]) {
        if let Some(entries) = self.trees.remove(name) {
            self.trees.insert(new.to_vec(), entries);
        }
    }

    /// How many entries there are in all trees.
    pub fn count(&self) -> u64 {
        self.trees.values().map(|entries| entries.len() as u64).sum()
    }
}

/// The versions of a database, from the first one on.
#[derive(Clone, Debug)]
pub struct History {
    /// What each version has, from version 0 on. Those behind the last one that somebody was told
    /// of are commits under way.
    versions: Vec<Version>,
    /// The last version that somebody was told of.
    acknowledged: usize,
    /// The last version that no crash may take.
    durable: usize,
}

/// What a version has, and how durable it is when somebody is told of it.
#[derive(Clone, Debug, Default)]
pub struct Version {
    /// What it has.
    pub state: Arc<State>,
    /// A relaxed one may be lost until something behind it may not.
    pub durability: Durability,
}

impl Version {
    /// The last of the first versions that is not relaxed, given `versions` from version 0 on:
    /// whoever is told of them is told of nothing before it that a crash may take.
    pub fn last_strict(versions: &[Version]) -> usize {
        let strict = versions.iter().rposition(|version| version.durability == Durability::Sync);
        strict.unwrap_or_default()
    }
}

impl Default for History {
    fn default() -> Self {
        History { versions: vec![Version::default()], acknowledged: 0, durable: 0 }
    }
}

impl History {
    /// The newest version that anybody was told of.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged as u64
    }

    /// The last version of which a commit was begun.
    pub fn last(&self) -> u64 {
        self.versions.len() as u64 - 1
    }

    /// Somebody sees version `number`: what is in it.
    ///
    /// # Panics
    ///
    /// If it is older than one that was seen before, or there is none.
    pub fn see(&mut self, number: u64) -> Arc<State> {
        let (first, last) = (self.acknowledged(), self.last());
        assert!(
            (first..=last).contains(&number),
            "version {number} is seen, {first} to {last} may be"
        );
        self.acknowledged = number as usize;
        let strict = Version::last_strict(&self.versions[..=self.acknowledged]);
        self.durable = self.durable.max(strict);
        self.versions[number as usize].state.clone()
    }

    /// Somebody is told that version `number` is durable.
    pub fn make_durable(&mut self, number: u64) {
        self.durable = self.durable.max(number as usize);
    }

    /// The next commit goes on from version `number`, which need not be durable: what is in it.
    /// Those behind it never came to be.
    ///
    /// # Panics
    ///
    /// If it is older than one that was seen before, or there is none.
    pub fn go_on_from(&mut self, number: u64) -> Arc<State> {
        let (first, last) = (self.acknowledged(), self.last());
        assert!(
            (first..=last).contains(&number),
            "a transaction goes on from version {number}, {first} to {last} may be"
        );
        self.versions.truncate(number as usize + 1);
        self.versions[number as usize].state.clone()
    }

    /// A commit of `state` is under way, behind all others.
    pub fn submit(&mut self, state: State, durability: Durability) {
        self.versions.push(Version { state: Arc::new(state), durability });
    }

    /// Version `number` is what a new process finds: the others never came to be.
    pub fn settle(&mut self, number: u64) {
        self.versions.truncate(number as usize + 1);
        assert_eq!(self.last(), number, "version {number} does not exist");
        self.acknowledged = number as usize;
        self.durable = number as usize;
    }

    /// How far it is.
    pub fn mark(&self) -> Mark {
        Mark { durable: self.durable as u64, submitted: self.last() }
    }

    /// What a crash may leave.
    pub fn promise(&self) -> Promise {
        self.promise_from(self.durable)
    }

    /// What a crash may leave when a disk has lost a write to the log, at `mark`, and said nothing
    /// of it. As long as nothing that was submitted later is durable, nothing knows of that.
    pub fn promise_behind(&self, mark: Mark) -> Promise {
        let is_known = self.durable as u64 > mark.submitted;
        self.promise_from(if is_known { self.durable } else { mark.durable as usize })
    }

    fn promise_from(&self, first: usize) -> Promise {
        let states = self.versions[first..].iter().map(|version| version.state.clone());
        Promise::new(first as u64, states.collect())
    }

    /// What a disk may leave that loses what it said was durable: any version.
    pub fn weak_promise(&self) -> Promise {
        self.promise_from(0)
    }
}

/// The versions that may be found after a crash.
#[derive(Clone, Debug)]
pub struct Promise {
    /// The number of the first one: the last that no crash may take.
    first: u64,
    states: Vec<Arc<State>>,
}

impl Promise {
    /// The versions from `first` on, which is the last that no crash may take.
    pub fn new(first: u64, states: Vec<Arc<State>>) -> Promise {
        Promise { first, states }
    }

    /// What there is to be in version `number`, if that may be found at all.
    ///
    /// # Panics
    ///
    /// With what was found and what may be.
    pub fn state(&self, number: u64) -> &Arc<State> {
        let last = self.first + self.states.len() as u64 - 1;
        let index = number.checked_sub(self.first);
        let state = index.and_then(|index| self.states.get(index as usize));
        state.unwrap_or_else(|| {
            panic!("version {number} is found, versions {} to {last} may be", self.first)
        })
    }

    /// Which of them is version `number`, in words.
    pub fn which(&self, number: u64) -> &'static str {
        match (number == self.first, self.states.len()) {
            (true, 1) => "recovered to the only version that may be",
            (true, _) => "recovered to the durable version",
            (false, _) => "recovered to a version behind the durable one",
        }
    }

    /// The same when version `number` was seen: those before it cannot be found any more.
    pub fn seen(&self, number: u64) -> Promise {
        let index = (number - self.first) as usize;
        Promise::new(number, self.states[index..].to_vec())
    }

    /// The same when version `number` was seen, which is not lost any more, and a commit of `state`
    /// behind it is under way. With `is_weak` it may be lost all the same.
    pub fn behind(&self, number: u64, state: State, is_weak: bool) -> Promise {
        let last = (number - self.first) as usize;
        let first = if is_weak { 0 } else { last };
        let mut states = self.states[first..=last].to_vec();
        states.push(Arc::new(state));
        Promise::new(self.first + first as u64, states)
    }
}
