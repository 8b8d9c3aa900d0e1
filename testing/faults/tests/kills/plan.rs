//! What each transaction does, which its number and the round decide; and what the file has then.

use std::collections::BTreeMap;

use yieldb::{Database, Error, KeyRange, MAIN, Snapshot, Tree, WriteTransaction};

/// How many keys a tree may have.
const KEYS: u64 = 3_000;
/// How many of them may have a long value.
const LONG_KEYS: u64 = 12;
/// The trees by name; the first one is always there.
const TREES: [&str; 3] = ["main", "alpha", "omega"];
/// The key, in `main`, whose value is the number of the last commit.
const NUMBER: &str = "number";

/// Numbers that look random: splitmix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// A value, as what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    seed: u64,
    len: usize,
}

impl Value {
    fn bytes(self) -> Vec<u8> {
        let mut random = Random(self.seed);
        let words = (0..self.len.div_ceil(8)).flat_map(|_| random.next().to_le_bytes());
        words.take(self.len).collect()
    }
}

/// One change of a transaction.
#[derive(Clone, Debug)]
pub enum Change {
    Put {
        tree: usize,
        key: u64,
        value: Value,
    },
    Delete {
        tree: usize,
        key: u64,
    },
    DeleteRange {
        tree: usize,
        from: u64,
        to: u64,
    },
    DropTree {
        tree: usize,
    },
    /// Changes that are made, and rolled back to a savepoint.
    Undone(Vec<Change>),
}

/// The changes of the transaction with this number, in a round.
pub fn changes(round: u64, number: u64) -> Vec<Change> {
    let mut random = Random(round ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
    let small = |random: &mut Random| {
        let count = 1 + random.below(5);
        (0..count).map(|_| small_change(random)).collect::<Vec<Change>>()
    };
    match random.below(100) {
        0 | 1 => {
            let (tree, first) = (random.below(3) as usize, random.below(KEYS));
            let put = |index: u64| Change::Put {
                tree,
                key: (first + index) % KEYS,
                value: Value { seed: random.next(), len: 100 },
            };
            (0..400 + number % 1_000).map(put).collect()
        }
        2..=4 => {
            let (tree, key) = (random.below(3) as usize, random.below(LONG_KEYS));
            let value = Value { seed: random.next(), len: 2_000 + random.below(80_000) as usize };
            vec![Change::Put { tree, key, value }]
        }
        5 => {
            let (tree, from) = (random.below(3) as usize, random.below(KEYS));
            vec![Change::DeleteRange { tree, from, to: from + 1 + random.below(300) }]
        }
        6 => vec![Change::DropTree { tree: 1 + random.below(2) as usize }],
        7 => {
            let mut all = small(&mut random);
            all.push(Change::Undone(small(&mut random)));
            all.extend(small(&mut random));
            all
        }
        _ => small(&mut random),
    }
}

fn small_change(random: &mut Random) -> Change {
    let (tree, key) = (random.below(3) as usize, random.below(KEYS));
    if random.one_in(5) {
        return Change::Delete { tree, key };
    }
    let longest = if random.one_in(8) { 1_200 } else { 200 };
    Change::Put {
        tree,
        key,
        value: Value { seed: random.next(), len: random.below(longest) as usize },
    }
}

fn key_bytes(key: u64) -> Vec<u8> {
    format!("{:02}/the key {key:05}", key % 17).into_bytes()
}

/// The number that the next commit of a transaction has.
pub fn next_number(transaction: &WriteTransaction) -> Result<u64, Error> {
    Ok(transaction.get(MAIN, NUMBER).wait()?.map_or(0, |value| parse(&value)) + 1)
}

fn parse(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().unwrap())
}

/// The number of the last commit that a version has, which is the version's own.
pub fn number_of(snapshot: &Snapshot) -> u64 {
    let number = snapshot.get(MAIN, NUMBER).wait().unwrap().map_or(0, |value| parse(&value));
    assert_eq!(number, snapshot.version(), "half a commit, or one twice");
    number
}

/// Makes all changes of the transaction with this number.
pub fn make(transaction: &mut WriteTransaction, round: u64, number: u64) -> Result<(), Error> {
    transaction.put(MAIN, NUMBER, number.to_le_bytes()).wait()?;
    changes(round, number).iter().try_for_each(|change| make_one(transaction, change))
}

fn make_one(transaction: &mut WriteTransaction, change: &Change) -> Result<(), Error> {
    let found = |transaction: &WriteTransaction, tree: usize| transaction.tree(TREES[tree]);
    match change {
        Change::Put { tree, key, value } => {
            let tree = transaction.open_tree(TREES[*tree])?;
            transaction.put(tree, key_bytes(*key), value.bytes()).wait()?;
        }
        Change::Delete { tree, key } => {
            if let Some(tree) = found(transaction, *tree) {
                transaction.delete(tree, key_bytes(*key)).wait()?;
            }
        }
        Change::DeleteRange { tree, from, to } => {
            if let Some(tree) = found(transaction, *tree) {
                let (from, to) = (key_bytes(*from), key_bytes(*to));
                transaction.delete_range(tree, KeyRange::all().from(from).to(to)).wait()?;
            }
        }
        Change::DropTree { tree } => {
            if let Some(tree) = found(transaction, *tree) {
                transaction.drop_tree(tree)?.wait()?;
            }
        }
        Change::Undone(changes) => {
            let savepoint = transaction.savepoint();
            changes.iter().try_for_each(|change| make_one(transaction, change))?;
            transaction.roll_back_to(savepoint)?;
        }
    }
    Ok(())
}

/// What a file is to have.
#[derive(Clone, Debug)]
pub struct Model {
    /// The number of the last commit.
    pub number: u64,
    trees: BTreeMap<usize, BTreeMap<Vec<u8>, Value>>,
}

impl Model {
    /// An empty file.
    pub fn new() -> Model {
        Model { number: 0, trees: BTreeMap::from([(0, BTreeMap::new())]) }
    }

    /// Makes the changes of a round's commits up to `number`.
    pub fn advance(&mut self, round: u64, number: u64) {
        for number in self.number + 1..=number {
            changes(round, number).iter().for_each(|change| self.make_one(change));
        }
        self.number = number;
    }

    fn make_one(&mut self, change: &Change) {
        match change {
            Change::Put { tree, key, value } => {
                self.trees.entry(*tree).or_default().insert(key_bytes(*key), *value);
            }
            Change::Delete { tree, key } => {
                self.trees.get_mut(tree).map(|entries| entries.remove(&key_bytes(*key)));
            }
            Change::DeleteRange { tree, from, to } => {
                let (from, to) = (key_bytes(*from), key_bytes(*to));
                if let Some(entries) = self.trees.get_mut(tree) {
                    entries.retain(|key, _| *key < from || *key >= to);
                }
            }
            Change::DropTree { tree } => {
                self.trees.remove(tree);
            }
            Change::Undone(_) => {}
        }
    }

    /// Asserts that a database has this and nothing else, and is whole. Returns how many pages its
    /// trees have.
    ///
    /// # Panics
    ///
    /// If not.
    pub fn assert_is(&self, database: &Database) -> u64 {
        let snapshot = database.snapshot();
        assert_eq!(number_of(&snapshot), self.number);
        assert_eq!(snapshot.trees().count(), self.trees.len(), "other trees");
        for (index, entries) in &self.trees {
            let tree = snapshot.tree(TREES[*index]).expect("the tree is there");
            assert_entries(&snapshot, tree, *index, entries);
        }
        let report = snapshot.check(|_| {}).and_then(|check| check.wait()).unwrap();
        assert_eq!(report.damages, []);
        let count = self.trees.values().map(BTreeMap::len).sum::<usize>() as u64;
        assert_eq!(report.entries, count + u64::from(self.number > 0));
        report.pages - report.map_pages
    }
}

fn assert_entries(
    snapshot: &Snapshot,
    tree: Tree,
    index: usize,
    entries: &BTreeMap<Vec<u8>, Value>,
) {
    let mut cursor = snapshot.cursor(tree, KeyRange::all());
    let mut expected = entries.iter();
    while let Some(entry) = cursor.next().wait().unwrap() {
        if index == 0 && entry.key() == NUMBER.as_bytes() {
            continue;
        }
        let (key, value) = expected.next().expect("there is an entry too much");
        assert_eq!(entry.key(), key, "in {}", TREES[index]);
        assert!(entry.value() == value.bytes(), "another value in {}", TREES[index]);
    }
    assert_eq!(expected.next(), None, "an entry is missing in {}", TREES[index]);
}
