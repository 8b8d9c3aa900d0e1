//! Several changes of one leaf, made at once: it is built anew, so that many of them cost little
//! more than one.

use smallvec::SmallVec;
use yieldb_core::reached;

use super::leaves::right_bound;
use super::plan::Planner;
use super::{Behind, Change, OfEntry, Target};
use crate::Result;
use crate::balance::{Bias, divide_leaf};
use crate::node::{KeyRef, LargeValue, LeafEntry, LeafView, leaf_len};
use crate::pages::Walk;

/// The most changes that are made at once.
const MOST: usize = 64;

/// The most leaves that are made of one: as many as a single entry can make.
const MOST_LEAVES: usize = 3;

/// What some changes make of a leaf.
pub(super) struct Several<'e> {
    entries: Vec<LeafEntry<'e>>,
    /// How many changes there are.
    made: usize,
    /// How many entries they found, and how many they store.
    found: u64,
    stored: u64,
    dead_values: SmallVec<[LargeValue; 1]>,
    bias: Bias,
}

impl<'e> Several<'e> {
    /// What becomes of a leaf by a change, and those behind it that are in the order of their keys
    /// and of the same leaf. `None` if there are none, or they would make too many leaves of it:
    /// then the first one is better made alone.
    pub fn of<'p: 'e>(
        target: &Target<'p>,
        first: Change<'e>,
        behind: Behind<'_, 'e>,
    ) -> Option<Several<'e>> {
        let page_len = target.page.bytes.len();
        let changes = changes_of(target, first, behind, page_len / 2);
        let [first, .., last] = changes[..] else { return None };
        let bias = match target.bias(target.leaf.find(first.key)) {
            Bias::Even => target.bias(target.leaf.find(last.key)),
            Bias::Ascending => Bias::Ascending,
            // The others may be anywhere.
            Bias::Descending => Bias::Even,
        };
        let mut several = Several {
            entries: Vec::with_capacity(target.leaf.count() + changes.len()),
            made: changes.len(),
            found: 0,
            stored: 0,
            dead_values: SmallVec::new(),
            bias,
        };
        several.merge(&target.leaf, &changes);
        let is_one = leaf_len(&several.entries) <= page_len;
        let fits = is_one || divide_leaf(&several.entries, page_len, bias).len() <= MOST_LEAVES;
        fits.then_some(several)
    }

    /// Adds the entries of a leaf, changed.
    fn merge<'p: 'e>(&mut self, leaf: &LeafView<'p>, changes: &[OfEntry<'e>]) {
        let entry = |index| LeafEntry { key: leaf.key(index), value: leaf.value(index) };
        let mut from = 0;
        for change in changes {
            let (at, next) = match leaf.find(change.key) {
                Ok(index) => (index, index + 1),
                Err(index) => (index, index),
            };
            self.entries.extend((from..at).map(entry));
            self.dead_values.extend((at..next).filter_map(|index| leaf.value(index).large()));
            self.found += (next - at) as u64;
            if let Some(value) = change.value {
                self.entries.push(LeafEntry { key: KeyRef::from_slice(change.key), value });
                self.stored += 1;
            }
            from = next;
        }
        self.entries.extend((from..leaf.count()).map(entry));
    }
}

/// A change and those behind it that are of the same leaf, in order; what they store takes at most
/// so many bytes. None but the first if that one is not of an entry.
fn changes_of<'e>(
    target: &Target<'_>,
    first: Change<'e>,
    behind: Behind<'_, 'e>,
    most_stored: usize,
) -> SmallVec<[OfEntry<'e>; 16]> {
    let bound = right_bound(&target.path);
    let mut stored_len = 0;
    let mut changes = SmallVec::<[OfEntry<'e>; 16]>::new();
    let mut next = Some(first);
    while let Some(OfEntry { key, value }) = next.and_then(Change::of_entry)
        && changes.len() < MOST
    {
        stored_len += value.map_or(0, |value| key.len() + value.stored_len());
        let fits = |before: &OfEntry<'_>| {
            before.key < key
                && bound.is_none_or(|bound| bound.cmp_slice(key).is_gt())
                && stored_len <= most_stored
        };
        if !changes.last().is_none_or(fits) {
            break;
        }
        changes.push(OfEntry { key, value });
        next = behind(changes.len() - 1);
    }
    changes
}

impl<'p> Planner<'p> {
    /// A leaf that several changes make another one of.
    pub fn plan_several(&mut self, target: Target<'p>, several: Several<'_>) -> Result<Walk<()>> {
        reached!(LeafChangedAtOnce);
        let Several { entries, made, found, stored, dead_values, bias } = several;
        self.plan.made = made;
        self.plan.found = found;
        if found + stored == 0 {
            return Ok(Walk::Found(()));
        }
        let count = &mut self.plan.root.count;
        // A damaged file may say anything.
        *count = count.saturating_add(stored).saturating_sub(found);
        self.plan.dead_values.extend(dead_values);
        self.plan_rest(target.page, target.path, entries, bias)
    }
}
