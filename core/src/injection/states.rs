//! Which machines were stepped, and in which states: a table that costs next to nothing for what it
//! has already, since every transition of every operation comes by.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::fmt::{self, Debug, Write};
use std::hash::{BuildHasherDefault, Hash, Hasher};

thread_local! {
    /// The pairs that both tables have: the address of the machine's name, and the state's variant.
    static KNOWN: RefCell<HashSet<(usize, u64), BuildHasherDefault<Mix>>> =
        const { RefCell::new(HashSet::with_hasher(BuildHasherDefault::new())) };
    static MACHINES: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
    static STATES: RefCell<BTreeSet<(&'static str, String)>> =
        const { RefCell::new(BTreeSet::new()) };
}

/// The types of all machines that this thread has stepped since it was asked before.
pub fn take_seen() -> BTreeSet<&'static str> {
    KNOWN.with_borrow_mut(HashSet::clear);
    MACHINES.take()
}

/// The states that machines have left on this thread since it was asked before: each with the
/// machine's type, whatever that is generic over, by the name of its variant.
pub fn take_states() -> BTreeSet<(&'static str, String)> {
    KNOWN.with_borrow_mut(HashSet::clear);
    STATES.take()
}

/// Notes that a machine is about to leave a state.
pub(super) fn visit<S: Debug>(machine: &'static str, state: &S) {
    let mut variant = Mix::default();
    std::mem::discriminant(state).hash(&mut variant);
    let pair = (machine.as_ptr().addr(), variant.finish());
    if KNOWN.with_borrow_mut(|known| known.insert(pair)) {
        note(machine, state);
    }
}

#[cold]
fn note(machine: &'static str, state: &dyn Debug) {
    let mut name = VariantName(String::new());
    // It ends with an error where the name does.
    let _cut_short = write!(name, "{state:?}").is_err();
    MACHINES.with_borrow_mut(|machines| machines.insert(machine));
    let machine = machine.split('<').next().unwrap_or(machine);
    STATES.with_borrow_mut(|states| states.insert((machine, name.0)));
}

/// Takes the first word of what is written.
struct VariantName(String);

impl Write for VariantName {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = text.find([' ', '(', '{']);
        self.0.push_str(&text[..end.unwrap_or(text.len())]);
        if end.is_some() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// A hash of a few integers, quick and weak: nobody chooses them to collide.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        // The table looks at the lowest bits, and a product has its best ones above.
        self.0.rotate_left(26)
    }
}
