//! What the database at the door must do: every version is what its writer made of the one before,
//! and every reader sees one version.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A change of one key.
pub type Change = (u8, Option<Vec<u8>>);

/// The entries of a version.
pub type State = BTreeMap<u8, Vec<u8>>;

/// What a reader found: of which version, under which key.
type Seen = (u64, u8, Option<Vec<u8>>);

/// What was done and seen. Its own locks are nothing that the checker schedules.
#[derive(Debug)]
pub struct Model {
    /// The version that was there at first, and its entries.
    first: (u64, State),
    /// The changes that were acknowledged, by version.
    committed: Mutex<BTreeMap<u64, Vec<Change>>>,
    /// Those of a commit that nobody waited for.
    unknown: Mutex<Option<Vec<Change>>>,
    /// What was found.
    seen: Mutex<Vec<Seen>>,
    /// The newest version that was acknowledged.
    acknowledged: AtomicU64,
}

impl Model {
    /// Of a database whose newest version is `version` and has these entries.
    pub fn new(version: u64, entries: State) -> Model {
        Model {
            first: (version, entries),
            committed: Mutex::default(),
            unknown: Mutex::default(),
            seen: Mutex::default(),
            acknowledged: AtomicU64::new(version),
        }
    }

    /// The least version that a snapshot taken from now on may be of.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Notes that a version is there to stay.
    pub fn acknowledge(&self, version: u64) {
        self.acknowledged.fetch_max(version, Ordering::SeqCst);
    }

    /// Notes what was acknowledged as a version.
    pub fn commit(&self, version: u64, changes: Vec<Change>) {
        self.acknowledge(version);
        let before = self.committed.lock().expect("nobody panics here").insert(version, changes);
        assert!(before.is_none(), "version {version} was acknowledged twice");
    }

    /// Notes a commit that nobody waits for. There is one at most.
    pub fn leave(&self, changes: Vec<Change>) {
        let before = self.unknown.lock().expect("nobody panics here").replace(changes);
        assert!(before.is_none(), "one end is unknown");
    }

    /// Notes what a reader of `version` found.
    pub fn see(&self, version: u64, key: u8, found: Option<&[u8]>) {
        let mut seen = self.seen.lock().expect("nobody panics here");
        seen.push((version, key, found.map(<[u8]>::to_vec)));
    }

    /// Asserts that what was acknowledged and seen makes sense, when the newest version is
    /// `newest`. Returns its entries.
    pub fn assert_consistent(&self, newest: u64) -> State {
        let mut committed = self.committed.lock().expect("nobody panics here").clone();
        let mut unknown = self.unknown.lock().expect("nobody panics here").take();
        let (first, entries) = self.first.clone();
        let mut states = BTreeMap::from([(first, entries)]);
        for version in first + 1..=newest {
            // A version that nobody made must be that of the commit that was left to itself.
            let changes = committed.remove(&version).or_else(|| unknown.take());
            let mut state = states[&(version - 1)].clone();
            for (key, value) in changes.unwrap_or_else(|| panic!("nobody made {version}")) {
                match value {
                    Some(value) => state.insert(key, value),
                    None => state.remove(&key),
                };
            }
            states.insert(version, state);
        }
        assert!(committed.is_empty(), "acknowledged, and not there: {:?}", committed.keys());
        for (version, key, found) in self.seen.lock().expect("nobody panics here").iter() {
            let state = states.get(version).expect("the version exists");
            assert!(state.get(key) == found.as_ref(), "key {key} of version {version}");
        }
        states.remove(&newest).expect("it was just made")
    }
}
