//! Which part of a list of entries goes to which page.

use crate::node::{InteriorList, KeyRef, LeafEntry, interior_len, leaf_len};

/// Which part of a node may stay free that is made of many entries at once: room for the first ones
/// that come later, as much as PostgreSQL's usual fill factor leaves. Each of 100,000 random puts
/// behind a load of a million entries of 180 bytes takes 36,000 instructions; 49,000 with a
/// sixteenth, 25,000 with an eighth.
pub(crate) const FREE_PART: usize = 10;

/// How the entries are divided that do not fit one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bias {
    /// In halves: the next key may come anywhere.
    Even,
    /// The left page is filled up: keys arrive in ascending order.
    Ascending,
    /// The right page is filled up: keys arrive in descending order.
    Descending,
}

/// Divides the entries of a leaf: the lengths of the parts, in order. Each fits a page.
pub(crate) fn divide_leaf(entries: &[LeafEntry<'_>], page_len: usize, bias: Bias) -> Vec<usize> {
    let fits = |from: usize, to: usize| leaf_len(&entries[from..to]) <= page_len;
    let weight = |index: usize| entries[index].key.len() + entries[index].value.stored_len();
    divide(entries.len(), 1, 0, &fits, &weight, bias)
}

/// Where to cut the entries of two leaves so that both are about equally full; `None` if they do
/// not fit two pages that way.
pub(crate) fn halve_leaf(entries: &[LeafEntry<'_>], page_len: usize) -> Option<usize> {
    let weight = |index: usize| entries[index].key.len() + entries[index].value.stored_len();
    let cut = even_cut(0, entries.len(), &weight).clamp(1, entries.len().max(2) - 1);
    let fits = |entries: &[LeafEntry<'_>]| leaf_len(entries) <= page_len;
    (entries.len() > 1 && fits(&entries[..cut]) && fits(&entries[cut..])).then_some(cut)
}

/// Divides the entries of neighbouring leaves so that they need few pages, each of them as full as
/// a bulk load leaves it, but for the last one: the lengths of the parts, in order.
pub(crate) fn pack_leaves(entries: &[LeafEntry<'_>], page_len: usize) -> Vec<usize> {
    let most = page_len - page_len / FREE_PART;
    let fits = |from: usize, to: usize| leaf_len(&entries[from..to]) <= most;
    let mut parts = Vec::new();
    let mut from = 0;
    while from < entries.len() {
        let to = last_true(from + 1, entries.len(), &|to| fits(from, to));
        parts.push(to - from);
        from = to;
    }
    parts
}

/// Makes the last two parts of some entries about equally full, if there are two.
pub(crate) fn even_out_last(parts: &mut [usize], entries: &[LeafEntry<'_>], page_len: usize) {
    if let [.., left, right] = parts {
        let both = *left + *right;
        if let Some(cut) = halve_leaf(&entries[entries.len() - both..], page_len) {
            (*left, *right) = (cut, both - cut);
        }
    }
}

/// Divides the separators of an interior node: the lengths of the parts, in order. Between two
/// parts one separator is left out; it moves up.
pub(crate) fn divide_interior(list: &InteriorList<'_>, page_len: usize, bias: Bias) -> Vec<usize> {
    let separators: &[KeyRef<'_>] = &list.separators;
    let fits = |from: usize, to: usize| interior_len(&separators[from..to]) <= page_len;
    let weight = |index: usize| separators[index].len();
    divide(separators.len(), 1, 1, &fits, &weight, bias)
}

/// Divides `count` things into parts of at least `least`, with `between` things left out between
/// two parts.
///
/// Filling up from one side always ends, since any `least` things fit a page; the cut between the
/// last two parts is then free to move as long as both fit.
fn divide(
    count: usize,
    least: usize,
    between: usize,
    fits: &dyn Fn(usize, usize) -> bool,
    weight: &dyn Fn(usize) -> usize,
    bias: Bias,
) -> Vec<usize> {
    let mut parts = Vec::new();
    let mut from = 0;
    while !fits(from, count) {
        if bias == Bias::Even {
            // Nearly always both halves fit.
            let cut = even_cut(from, count, weight).clamp(from + least, count - between - least);
            if fits(from, cut) && fits(cut + between, count) {
                parts.extend([cut - from, count - cut - between]);
                return parts;
            }
        }
        // The cut: `least..=greatest` for the part on the left to fit, and `lowest` for the right.
        let greatest = last_true(from + least, count - between - least, &|to| fits(from, to));
        let lowest = first_true(from + least, greatest, &|to| fits(to + between, count));
        let cut = match lowest {
            None => greatest,
            Some(lowest) => match bias {
                Bias::Ascending => greatest,
                Bias::Descending => lowest,
                Bias::Even => even_cut(from, count, weight).clamp(lowest, greatest),
            },
        };
        parts.push(cut - from);
        from = cut + between;
    }
    parts.push(count - from);
    parts
}

/// Where both sides weigh about the same.
fn even_cut(from: usize, count: usize, weight: &dyn Fn(usize) -> usize) -> usize {
    let total: usize = (from..count).map(weight).sum();
    let mut left = 0;
    (from..count)
        .find(|index| {
            left += weight(*index);
            2 * left >= total
        })
        .map_or(count, |index| index + 1)
}

/// The greatest of `low..=high` with `holds`, which holds up to some point; `low` at least.
fn last_true(mut low: usize, mut high: usize, holds: &dyn Fn(usize) -> bool) -> usize {
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

/// The least of `low..=high` with `holds`, which holds from some point on.
fn first_true(mut low: usize, mut high: usize, holds: &dyn Fn(usize) -> bool) -> Option<usize> {
    if !holds(high) {
        return None;
    }
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(low)
}
