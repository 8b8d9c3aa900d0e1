//! What a kill and a power cut leave.

use std::collections::BTreeSet;
use std::path::Path;

use simulator::computer::{Computer, ComputerSettings};
use simulator::disk::{Choice, Disk};
use simulator::random::Random;
use yieldb_core::{Completion, Create};

use crate::{BLOCK, Bench, fills_of, options, random_order, sectors_of};

/// A disk with one file, durable, of blocks with these fills.
fn disk_with(fills: &[u8]) -> Disk {
    let bytes: Vec<u8> = fills.iter().flat_map(|fill| [*fill; BLOCK]).collect();
    let mut disk = Disk::new();
    disk.set_image("file", &bytes);
    disk
}

fn bench_with(fills: &[u8]) -> Bench {
    Bench::start(disk_with(fills), ComputerSettings::default())
}

fn image(disk: &Disk) -> Vec<u8> {
    fills_of(&disk.image("file").unwrap())
}

#[test]
fn a_sync_covers_what_had_finished_before_it_was_submitted() {
    let bench = bench_with(&[0; 3]);
    let file = bench.open("file");
    bench.write(&*file, 0, &[1]).unwrap();
    let second = bench.submit_write(&*file, 1, &[2], false);
    let sync = bench.submit_sync(&*file);
    bench.wait(&sync).unwrap();
    assert!(second.succeeded(), "it was finished before the sync was, which is not enough");
    assert_eq!(bench.visible("file"), [1, 2, 0]);
    assert_eq!(bench.durable("file").unwrap(), [1, 0, 0]);
    bench.sync(&*file).unwrap();
    assert_eq!(bench.durable("file").unwrap(), [1, 2, 0]);
}

#[test]
fn a_durable_write_covers_itself_and_no_other() {
    let bench = bench_with(&[0; 2]);
    let file = bench.open("file");
    bench.write(&*file, 0, &[1]).unwrap();
    bench.write(&*file, 1, &[2, 3]).unwrap();
    bench.write_durably(&*file, 3, &[4]).unwrap();
    assert_eq!(bench.visible("file"), [1, 2, 3, 4]);
    assert_eq!(bench.durable("file").unwrap(), [0, 0, 0, 4], "its length is durable as well");
    // What was pending where it wrote does not come back over it.
    bench.write(&*file, 3, &[5]).unwrap();
    bench.write_durably(&*file, 3, &[6]).unwrap();
    for seed in 0..100 {
        let (disk, _) = bench.computer.crash_power(&mut Choice::Random(Random::new(seed)));
        let sectors = sectors_of(&disk.image("file").unwrap());
        assert_eq!(sectors[3 * 8..], [6; 8]);
    }
    assert_eq!(image(&bench.computer.crash_power(&mut Choice::Everything).0), [1, 2, 3, 6]);
}

#[test]
fn a_durable_write_survives_a_cut_that_came_first() {
    let bench = bench_with(&[1; 10]);
    let file = bench.open("file");
    bench.truncate(&*file, 2 * BLOCK as u64).unwrap();
    bench.write_durably(&*file, 5, &[7]).unwrap();
    bench.truncate(&*file, 8 * BLOCK as u64).unwrap();
    for seed in 0..100 {
        let (disk, _) = bench.computer.crash_power(&mut Choice::Random(Random::new(seed)));
        assert_eq!(image(&disk)[..6], [1, 1, 0, 0, 0, 7]);
    }
}

#[test]
fn what_was_cut_off_does_not_come_back() {
    let bench = bench_with(&[1; 4]);
    let file = bench.open("file");
    bench.truncate(&*file, BLOCK as u64).unwrap();
    assert_eq!(bench.durable("file").unwrap(), [1; 4], "a length is pending like anything else");
    bench.truncate(&*file, 3 * BLOCK as u64).unwrap();
    assert_eq!(bench.visible("file"), [1, 0, 0]);
    bench.sync(&*file).unwrap();
    assert_eq!(bench.durable("file").unwrap(), [1, 0, 0]);
}

#[test]
fn a_torn_write_leaves_any_of_its_sectors() {
    let bench = bench_with(&[1, 1]);
    let file = bench.open("file");
    bench.write(&*file, 0, &[2, 2]).unwrap();
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    let mut patterns = BTreeSet::new();
    for seed in 0..2000 {
        let (disk, effects) = bench.computer.crash_power(&mut Choice::Random(Random::new(seed)));
        let sectors = sectors_of(&disk.image("file").unwrap());
        assert!(sectors.iter().all(|fill| matches!(fill, 1 | 2)), "{sectors:?}");
        let new = sectors.iter().filter(|fill| **fill == 2).count();
        let expected = (u64::from(new == 0), u64::from(new == 16), u64::from(0 < new && new < 16));
        assert_eq!((effects.lost_writes, effects.kept_writes, effects.torn_writes), expected);
        lost += expected.0;
        kept += expected.1;
        torn += expected.2;
        patterns.insert(sectors);
    }
    assert!(lost > 300 && kept > 300 && torn > 300, "{lost} lost, {kept} kept, {torn} torn");
    assert!(patterns.len() > 300, "{} patterns", patterns.len());
}

#[test]
fn length_and_bytes_are_lost_each_by_itself() {
    let bench = bench_with(&[1]);
    let file = bench.open("file");
    bench.write(&*file, 1, &[2]).unwrap();
    assert_eq!(bench.computer.pending_count(), 2);
    let cut = |mask: u64| {
        let (disk, effects) = bench.computer.crash_power(&mut Choice::Subset(mask));
        assert_eq!(disk.pending_count(), 0);
        (image(&disk), effects.lost_writes, effects.lost_lengths, effects.holes)
    };
    assert_eq!(cut(0b00), (vec![1], 1, 1, 0));
    assert_eq!(cut(0b01), (vec![1], 0, 1, 0), "bytes behind the end are not seen");
    assert_eq!(cut(0b10), (vec![1, 0], 1, 0, 1), "a hole");
    assert_eq!(cut(0b11), (vec![1, 2], 0, 0, 0));
    let (disk, _) = bench.computer.crash_power(&mut Choice::Subset(0b01));
    let next = Bench::start(disk, ComputerSettings::default());
    next.truncate(&*next.open("file"), 2 * BLOCK as u64).unwrap();
    assert_eq!(next.visible("file"), [1, 0], "nor when the file grows again");
    // The same of room that was asked for.
    bench.sync(&*file).unwrap();
    bench.allocate(&*file, 4 * BLOCK as u64).unwrap();
    assert_eq!(bench.visible("file"), [1, 2, 0, 0]);
    assert_eq!(bench.durable("file").unwrap(), [1, 2]);
}

#[test]
fn every_subset_can_be_asked_for() {
    let bench = bench_with(&[0; 6]);
    let file = bench.open("file");
    for block in 0..4 {
        bench.write(&*file, block, &[1]).unwrap();
    }
    // Those in flight count as well.
    let _in_flight = [4, 5].map(|block| bench.submit_write(&*file, block, &[1], false));
    assert_eq!(bench.computer.disk().pending_count(), 4);
    assert_eq!(bench.computer.pending_count(), 6);
    for mask in 0..64_u64 {
        let (disk, _) = bench.computer.crash_power(&mut Choice::Subset(mask));
        let expected: Vec<u8> = (0..6).map(|block| (mask >> block & 1) as u8).collect();
        assert_eq!(image(&disk), expected);
    }
}

#[test]
fn an_entry_that_was_not_synced_vanishes_with_its_file() {
    let bench = Bench::new();
    let file = bench.open("file");
    bench.write(&*file, 0, &[1]).unwrap();
    bench.sync(&*file).unwrap();
    let (disk, effects) = bench.computer.crash_power(&mut Choice::Nothing);
    assert_eq!(disk.image("file"), None);
    assert_eq!((effects.lost_entries, effects.lost_files, effects.lost_writes), (1, 1, 0));
    let late = Completion::open();
    bench.backend.io.open(Path::new("late"), options(Create::New), late.clone());
    let sync = Completion::directory();
    bench.backend.io.sync_directory(Path::new("."), sync.clone());
    bench.wait(&sync).unwrap();
    assert!(late.succeeded(), "it was finished before the sync was, which is not enough");
    assert_eq!(bench.durable("file").unwrap(), [1]);
    assert_eq!(bench.durable("late"), None, "it was in flight when the sync was submitted");
    bench.sync_directory("elsewhere").unwrap();
    assert_eq!(bench.durable("late"), None, "another directory");
    bench.sync_directory(".").unwrap();
    assert_eq!(bench.durable("late").unwrap(), []);
}

#[test]
fn a_name_that_was_changed_or_taken_away_may_come_back() {
    let bench = bench_with(&[1]);
    bench.rename("file", "other").unwrap();
    bench.rename("other", "third").unwrap();
    let names = |mask: u64| {
        let (disk, _) = bench.computer.crash_power(&mut Choice::Subset(mask));
        assert!(disk.paths().iter().all(|path| disk.image(path).unwrap() == [1; BLOCK]));
        disk.paths().iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!([names(0b00), names(0b01), names(0b11)], [["file"], ["other"], ["third"]]);
    bench.sync_directory(".").unwrap();
    bench.remove("third").unwrap();
    assert_eq!(bench.computer.disk().paths().len(), 0);
    assert_eq!((names(0b0).len(), names(0b1).len()), (1, 0));
}

#[test]
fn a_power_cut_after_a_kill_takes_what_was_pending_before_it() {
    let bench = bench_with(&[1, 1]);
    let file = bench.open("file");
    bench.write(&*file, 0, &[2]).unwrap();
    let killed = bench.computer.crash_kill(&mut Random::new(1));
    assert_eq!(image(&killed), [2, 1], "what had finished is seen");
    let next = Bench::start(killed, ComputerSettings::default());
    let file = next.open("file");
    next.write_durably(&*file, 1, &[3]).unwrap();
    assert_eq!(next.durable("file").unwrap(), [1, 3], "and may be lost all the same");
    next.sync(&*file).unwrap();
    assert_eq!(next.durable("file").unwrap(), [2, 3]);
}

#[test]
fn a_write_in_flight_at_a_kill_happens_or_not_or_in_part() {
    let bench = bench_with(&[1]);
    let file = bench.open("file");
    bench.write(&*file, 0, &[2]).unwrap();
    let _inside = bench.submit_write(&*file, 0, &[3], false);
    let _behind = bench.submit_write(&*file, 1, &[4, 4], true);
    assert_eq!(bench.visible("file"), [2], "nothing moves before its time");
    let (mut inside, mut behind, mut durable) = (BTreeSet::new(), BTreeSet::new(), 0);
    for seed in 0..300 {
        let disk = bench.computer.crash_kill(&mut Random::new(seed));
        let sectors = sectors_of(&disk.image("file").unwrap());
        let (first, second) = sectors.split_at(8);
        assert!(first.iter().all(|fill| matches!(fill, 2 | 3)), "{first:?}");
        assert!(second.iter().all(|fill| matches!(fill, 0 | 4)), "{second:?}");
        inside.insert(first.to_vec());
        behind.insert(second.to_vec());
        let (cut, _) = disk.power_cut(&mut Choice::Nothing);
        match &image(&cut)[..] {
            [1] => {}
            [1, 4, 4] => durable += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(inside.contains(&vec![2; 8]) && inside.contains(&vec![3; 8]) && inside.len() > 50);
    // The second of them is the length alone.
    let ends = [vec![], vec![0; 16], vec![4; 16]];
    assert!(ends.iter().all(|end| behind.contains(end)) && behind.len() > 50);
    assert!((15..100).contains(&durable), "{durable} of 300 were durable already");
}

/// Two names change places through each other; what comes of it tells which was first.
#[test]
fn what_is_in_flight_at_a_kill_happens_in_any_order() {
    let mut disk = Disk::new();
    disk.set_image("a", &[1]);
    disk.set_image("b", &[2]);
    let bench = Bench::start(disk, ComputerSettings::default());
    for (from, to) in [("a", "b"), ("b", "a")] {
        bench.backend.io.rename(Path::new(from), Path::new(to), Completion::directory());
    }
    let ends: BTreeSet<_> = (0..100)
        .map(|seed| {
            let killed = bench.computer.crash_kill(&mut Random::new(seed));
            ["a", "b"].map(|name| killed.image(name).map(|bytes| bytes[0]))
        })
        .collect();
    let none_or_one = [[Some(1), Some(2)], [None, Some(1)], [Some(2), None]];
    let both = [[Some(1), None], [None, Some(2)]];
    assert_eq!(ends, none_or_one.into_iter().chain(both).collect());
}

#[test]
fn whatever_else_is_in_flight_at_a_kill_happens_or_not() {
    let bench = bench_with(&[1, 1]);
    let file = bench.open("file");
    bench.write(&*file, 0, &[2]).unwrap();
    let (truncate, directory) = (Completion::truncate(), Completion::directory);
    bench.submit_sync(&*file);
    file.truncate(BLOCK as u64, truncate);
    bench.backend.io.open(Path::new("new"), options(Create::New), Completion::open());
    bench.backend.io.rename(Path::new("file"), Path::new("other"), directory());
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let killed = bench.computer.crash_kill(&mut Random::new(seed));
        let name = if killed.image("file").is_some() { "file" } else { "other" };
        let visible = fills_of(&killed.image(name).unwrap());
        assert_eq!(visible[0], 2);
        let (cut, _) = killed.power_cut(&mut Choice::Nothing);
        let was_synced = fills_of(&cut.image("file").unwrap())[0] == 2;
        seen.insert((name, visible.len(), killed.image("new").is_some(), was_synced));
    }
    assert_eq!(seen.len(), 16, "{seen:?}");
}

#[test]
fn a_crash_leaves_the_computer_as_it_is() {
    let bench = bench_with(&[1]);
    let file = bench.open("file");
    bench.write(&*file, 0, &[2]).unwrap();
    let write = bench.submit_write(&*file, 0, &[3], true);
    let before = (bench.computer.trace_hash(), bench.computer.disk().image("file"));
    for seed in 0..10 {
        let mut random = Random::new(seed);
        let killed = bench.computer.crash_kill(&mut random);
        bench.computer.crash_power(&mut Choice::Random(random));
        let other = Computer::start(killed, ComputerSettings::default());
        other.halt();
    }
    assert_eq!(before, (bench.computer.trace_hash(), bench.computer.disk().image("file")));
    bench.wait(&write).unwrap();
    assert_eq!(bench.durable("file").unwrap(), [3]);
}

#[test]
fn requests_in_flight_finish_in_any_order() {
    let mut orders = BTreeSet::new();
    for seed in 0..100 {
        let bench = Bench::start(disk_with(&[0]), random_order(seed));
        let file = bench.open("file");
        let writes = [1, 2, 3].map(|fill| bench.submit_write(&*file, 0, &[fill], false));
        let mut order = Vec::new();
        while order.len() < 3 {
            assert_eq!(bench.computer.poll(), 1);
            let new = (0..3).find(|index| writes[*index].finished() && !order.contains(index));
            order.push(new.unwrap());
        }
        assert_eq!(bench.visible("file"), [order[2] as u8 + 1], "the last one counts");
        orders.insert(order);
    }
    assert_eq!(orders.len(), 6);
}
