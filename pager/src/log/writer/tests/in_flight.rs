//! Groups that are in flight beside each other.

use super::*;

/// Two commits in groups of their own, in flight together, of which a write fails: the versions
/// that are durable, in order.
fn fates(direct: bool) -> Vec<[bool; 2]> {
    let all = (0..8).flat_map(|seed| (0..4).map(move |count| (seed, count)));
    all.map(|(seed, count)| {
        let store = Store::open_as(MemoryDisk::new(), seed, ROOMY, direct).with_log();
        let tickets = [(); 2].map(|()| store.append_with(store.turn(), 100));
        store.fail_behind(count);
        store.finish();
        tickets.map(|ticket| ticket.result().unwrap().is_ok())
    })
    .collect()
}

fn count(fates: &[[bool; 2]], fate: [bool; 2]) -> usize {
    fates.iter().filter(|one| **one == fate).count()
}

/// The operating system may tell the error of one group's write to another one that is in flight on
/// the same file: then none of them is known to be durable.
#[test]
fn groups_that_go_through_a_cache_are_known_together() {
    let fates = fates(false);
    assert_eq!(count(&fates, [true, false]) + count(&fates, [false, true]), 0, "{fates:?}");
    assert!(count(&fates, [false, false]) > 8, "{fates:?}");
}

#[test]
fn groups_that_go_past_it_are_known_in_their_order() {
    let fates = fates(true);
    assert_eq!(count(&fates, [false, true]), 0, "{fates:?}");
    assert!(count(&fates, [false, false]) > 0 && count(&fates, [true, false]) > 0, "{fates:?}");
}
