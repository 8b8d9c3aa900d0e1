//! Damage to a log, exhaustively: an error that names the group, or all that was committed; without
//! the newest group only where a crash may have left that in pieces. Never wrong data.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use faults::logged::{LogExaminer, Logged, LoggedGroup, Outcome};
use faults::spread::spread;
use yieldb_pager::log::{BLOCK_LEN, SECTOR_LEN};

/// Slow builds look at some of what fast ones look at.
const STRIDE: usize = if cfg!(debug_assertions) { 61 } else { 1 };

/// A log whose groups know of each other, and one that ends with groups that do not.
fn both() -> [&'static Logged; 2] {
    static ONE_BY_ONE: OnceLock<Logged> = OnceLock::new();
    static TOGETHER: OnceLock<Logged> = OnceLock::new();
    [ONE_BY_ONE.get_or_init(Logged::one_by_one), TOGETHER.get_or_init(Logged::together)]
}

/// Examines what `spoil` makes of a log with each of `count` numbers. Returns how often each
/// outcome was met.
fn each(
    logged: &Logged,
    count: usize,
    spoil: impl Fn(&mut Vec<u8>, usize) + Sync,
) -> HashMap<Outcome, usize> {
    let outcomes = Mutex::new(HashMap::new());
    let begin = || LogExaminer::new(logged);
    spread(count.div_ceil(STRIDE), begin, |examiner, number| {
        let mut log = logged.log.clone();
        spoil(&mut log, number * STRIDE % count);
        let outcome = examiner.examine(&log, count < 10_000 || number % 7 == 0);
        *outcomes.lock().unwrap().entry(outcome).or_default() += 1;
    });
    outcomes.into_inner().unwrap()
}

fn blocks(logged: &Logged) -> usize {
    logged.log.len() / BLOCK_LEN
}

/// Puts bytes into the place of a block.
fn put(log: &mut [u8], block: usize, bytes: &[u8]) {
    log[block * BLOCK_LEN..(block + 1) * BLOCK_LEN].copy_from_slice(bytes);
}

fn block(log: &[u8], number: usize) -> &[u8] {
    &log[number * BLOCK_LEN..(number + 1) * BLOCK_LEN]
}

/// The ordered pair of different blocks with this number.
fn pair(logged: &Logged, number: usize) -> (usize, usize) {
    let others = blocks(logged) - 1;
    let (first, second) = (number / others, number % others);
    (first, second + usize::from(second >= first))
}

fn pairs(logged: &Logged) -> usize {
    blocks(logged) * (blocks(logged) - 1)
}

#[test]
fn the_logs_themselves_are_whole() {
    for logged in both() {
        assert_eq!(LogExaminer::new(logged).examine(&logged.log, true), Outcome::Whole);
    }
}

#[test]
fn every_byte_flipped() {
    for logged in both() {
        let needed = logged.needed();
        let outcomes = each(logged, needed.len(), |log, number| {
            log[needed[number]] ^= 1 << (number % 8);
        });
        // Of the groups that nobody knows to be durable, a tag may be that of an older lap.
        let is_open = |group: &&LoggedGroup| {
            let known = logged.groups.iter().map(|group| group.header.known).max();
            Some(group.header.position) >= known
        };
        let open = logged.groups.iter().filter(is_open).map(|group| group.range.len());
        let tags = open.sum::<usize>() / SECTOR_LEN * 8;
        let shorter = outcomes.get(&Outcome::Shorter).copied().unwrap_or_default();
        assert!(shorter <= tags.div_ceil(STRIDE), "{outcomes:?}, and {tags} bytes of tags");
        assert!(STRIDE > 1 || shorter > tags / 2, "{outcomes:?}, and {tags} bytes of tags");
        assert_eq!(outcomes.get(&Outcome::Whole), None, "{outcomes:?}");
    }
}

#[test]
fn bytes_flipped_that_nobody_needs() {
    for logged in both() {
        let needed = logged.needed();
        // All tags, which are looked at, and some of the rest.
        let is_tag = |at: usize| at % SECTOR_LEN >= SECTOR_LEN - 8;
        let others: Vec<usize> = (0..logged.log.len())
            .filter(|at| (is_tag(*at) || at % 97 == 0) && !needed.contains(at))
            .collect();
        let outcomes = each(logged, others.len(), |log, number| {
            log[others[number]] ^= 1 << (number % 8);
        });
        assert_eq!(outcomes.get(&Outcome::Shorter), None, "{outcomes:?}");
    }
}

#[test]
fn every_sector_zeroed_or_filled() {
    let fillings = [0x00, 0xff, 0xa5];
    for logged in both() {
        each(logged, logged.log.len() / SECTOR_LEN * fillings.len(), |log, number| {
            let (sector, filling) = (number / fillings.len(), fillings[number % fillings.len()]);
            log[sector * SECTOR_LEN..][..SECTOR_LEN].fill(filling);
        });
    }
}

#[test]
fn every_stretch_of_blocks_zeroed() {
    for logged in both() {
        each(logged, blocks(logged) * blocks(logged), |log, number| {
            let (from, to) = (number / blocks(logged), number % blocks(logged));
            if from <= to {
                log[from * BLOCK_LEN..(to + 1) * BLOCK_LEN].fill(0);
            }
        });
    }
}

#[test]
fn every_pair_of_blocks_swapped() {
    for logged in both() {
        each(logged, pairs(logged), |log, number| {
            let (first, second) = pair(logged, number);
            if first < second {
                put(log, first, block(&logged.log, second));
                put(log, second, block(&logged.log, first));
            }
        });
    }
}

#[test]
fn every_pair_of_groups_swapped() {
    for logged in both() {
        let count = logged.groups.len();
        each(logged, count * count, |log, number| {
            let first = logged.groups[number / count].range.clone();
            let second = logged.groups[number % count].range.clone();
            if first.len() == second.len() {
                log[first.clone()].copy_from_slice(&logged.log[second.clone()]);
                log[second].copy_from_slice(&logged.log[first]);
            }
        });
    }
}

#[test]
fn every_block_in_the_place_of_every_other() {
    for logged in both() {
        each(logged, pairs(logged), |log, number| {
            let (from, to) = pair(logged, number);
            put(log, to, block(&logged.log, from));
        });
    }
}

#[test]
fn every_write_misdirected_to_every_other_block() {
    for logged in both() {
        let before: Vec<&[u8]> = (0..blocks(logged)).map(|number| before(logged, number)).collect();
        each(logged, pairs(logged), |log, number| {
            let (meant, hit) = pair(logged, number);
            put(log, hit, block(&logged.log, meant));
            put(log, meant, before[meant]);
        });
    }
}

/// A block as it was before it was last written.
fn before(logged: &Logged, number: usize) -> &[u8] {
    let now = block(&logged.log, number);
    let older = logged.older.iter().rev().filter(|log| log.len() == logged.log.len());
    older.map(|log| block(log, number)).find(|block| *block != now).unwrap_or(&[0; BLOCK_LEN])
}

#[test]
fn every_block_and_group_as_it_was_at_every_commit_before() {
    for logged in both() {
        let mut lost_writes = Vec::new();
        for older in logged.older.iter().filter(|older| older.len() == logged.log.len()) {
            let blocks = (0..blocks(logged)).map(|at| at * BLOCK_LEN..(at + 1) * BLOCK_LEN);
            let groups = logged.groups.iter().map(|group| group.range.clone());
            let differs =
                |range: &std::ops::Range<usize>| older[range.clone()] != logged.log[range.clone()];
            lost_writes.extend(blocks.chain(groups).filter(differs).map(|range| (older, range)));
        }
        let outcomes = each(logged, lost_writes.len(), |log, number| {
            let (older, range) = lost_writes[number].clone();
            log[range.clone()].copy_from_slice(&older[range]);
        });
        let has = |outcome| STRIDE > 1 || outcomes.get(&outcome).is_some_and(|count| *count > 50);
        assert!(has(Outcome::Refused) && has(Outcome::Shorter), "{outcomes:?}");
    }
}

#[test]
fn the_log_cut_at_every_sector() {
    for logged in both() {
        let outcomes = each(logged, logged.log.len() / SECTOR_LEN, |log, number| {
            log.truncate(number * SECTOR_LEN);
        });
        assert!(outcomes.contains_key(&Outcome::Refused), "{outcomes:?}");
    }
}

#[test]
fn garbage_behind_the_end_of_the_log() {
    let lens = [1, 511, 512, BLOCK_LEN - 1, BLOCK_LEN, BLOCK_LEN + 1, 10 * BLOCK_LEN];
    for logged in both() {
        each(logged, lens.len() * 3, |log, number| {
            let (len, kind) = (log.len() + lens[number / 3], number % 3);
            match kind {
                0 => log.resize(len, 0),
                1 => log.resize(len, 0x5a),
                // Groups that were good once.
                _ => log.extend_from_within(BLOCK_LEN..BLOCK_LEN + lens[number / 3]),
            }
        });
    }
}
