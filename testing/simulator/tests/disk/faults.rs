//! Each fault fires, and does what it says.

use std::collections::BTreeSet;
use std::time::Duration;

use simulator::computer::{Computer, ComputerSettings, FaultKind, FaultRates};
use simulator::disk::{Choice, Disk};
use yieldb_core::{Create, Error, File, Operation};

use crate::{BLOCK, Bench, errno_of, options, sectors_of};

/// A durable file of eight blocks with the fills 1 to 8.
fn prepared() -> Disk {
    let bytes: Vec<u8> = (1..=8).flat_map(|fill| [fill; BLOCK]).collect();
    let mut disk = Disk::new();
    disk.set_image("file", &bytes);
    disk
}

const FILLS: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// A computer on which, once its file is open, one kind of fault fires whenever it can.
fn bench(seed: u64, kind: FaultKind, budget: u32) -> (Bench, std::sync::Arc<dyn File>) {
    let bench = Bench::start(prepared(), ComputerSettings { seed, ..Default::default() });
    let file = bench.open("file");
    bench.computer.set_faults(FaultRates::none().with(kind, 1).budget(budget));
    (bench, file)
}

fn assert_fired(bench: &Bench, kind: FaultKind, count: u64) {
    assert_eq!(bench.computer.faults().of(kind), count);
    assert_eq!(bench.computer.faults().total(), count);
    assert_eq!(bench.computer.damage_fired(), kind.is_damage());
}

#[test]
fn short_counts_are_continued() {
    for seed in 0..20 {
        let (bench, file) = bench(seed, FaultKind::ShortRead, 3);
        assert_eq!(bench.read(&*file, 0, 8).unwrap(), FILLS);
        assert!(bench.computer.faults().of(FaultKind::ShortRead) >= 1);
        let (bench, file) = self::bench(seed, FaultKind::ShortWrite, 5);
        assert_eq!(bench.write(&*file, 6, &[11, 12, 13, 14]).unwrap(), 4 * BLOCK);
        assert_eq!(bench.visible("file")[6..], [11, 12, 13, 14]);
        assert!(bench.computer.faults().of(FaultKind::ShortWrite) >= 1);
    }
}

/// Between two attempts a part is there, and the rest is not.
#[test]
fn a_short_write_is_seen_in_part() {
    let mut parts = BTreeSet::new();
    for seed in 0..200 {
        let (bench, file) = bench(seed, FaultKind::ShortWrite, 1);
        let write = bench.submit_write(&*file, 0, &[9, 9], false);
        assert_eq!(bench.computer.poll(), 1);
        assert!(!write.finished());
        let sectors = sectors_of(&bench.computer.disk().image("file").unwrap());
        let there = sectors.iter().take_while(|fill| **fill == 9).count();
        assert!((1..16).contains(&there) && !sectors[there..].contains(&9));
        parts.insert(there);
        bench.wait(&write).unwrap();
        assert_eq!(bench.visible("file")[..3], [9, 9, 3]);
    }
    assert_eq!(parts.len(), 15, "{parts:?}");
}

#[test]
fn interruptions_are_invisible() {
    let (bench, file) = bench(1, FaultKind::Interrupted, 40);
    assert_eq!(bench.read(&*file, 0, 8).unwrap(), FILLS);
    bench.computer.set_faults(FaultRates::none().with(FaultKind::Interrupted, 2));
    bench.write(&*file, 0, &[9]).unwrap();
    bench.write_durably(&*file, 1, &[9]).unwrap();
    bench.sync(&*file).unwrap();
    bench.truncate(&*file, 7 * BLOCK as u64).unwrap();
    bench.allocate(&*file, 9 * BLOCK as u64).unwrap();
    bench.rename("file", "other").unwrap();
    bench.sync_directory(".").unwrap();
    assert_eq!(bench.read(&*file, 0, 8).unwrap(), [9, 9, 3, 4, 5, 6, 7, 0]);
    assert!(bench.computer.faults().of(FaultKind::Interrupted) > 45);
    assert!(!bench.computer.damage_fired());
}

#[test]
fn errors_of_reads_come_once_or_for_ever() {
    let (bench, file) = bench(1, FaultKind::ReadError, 1);
    assert_eq!(errno_of(bench.read(&*file, 0, 1)), Some(libc::EIO));
    assert_eq!(bench.read(&*file, 0, 1).unwrap(), [1]);
    assert_fired(&bench, FaultKind::ReadError, 1);
    let (bench, file) = self::bench(1, FaultKind::ReadErrorLasting, 1);
    for _ in 0..3 {
        assert_eq!(errno_of(bench.read(&*file, 0, 1)), Some(libc::EIO));
    }
    assert_fired(&bench, FaultKind::ReadErrorLasting, 1);
    bench.write(&*file, 0, &[9]).unwrap();
    assert_eq!(bench.pool.free_count(), 64, "buffers come back from reads that fail");
}

#[test]
fn errors_of_writes_come_once_or_for_ever_and_may_leave_a_part() {
    let mut left = BTreeSet::new();
    for seed in 0..50 {
        let (bench, file) = bench(seed, FaultKind::WriteError, 1);
        assert_eq!(errno_of(bench.write(&*file, 0, &[9])), Some(libc::EIO));
        assert_fired(&bench, FaultKind::WriteError, 1);
        let sectors = sectors_of(&bench.computer.disk().image("file").unwrap());
        assert!(sectors[..8].iter().all(|fill| matches!(fill, 1 | 9)));
        left.insert(sectors);
        bench.write(&*file, 0, &[9]).unwrap();
    }
    assert!(left.len() > 10 && left.iter().any(|sectors| sectors[..8] == [1; 8]));
    let (bench, file) = bench(1, FaultKind::WriteErrorLasting, 1);
    for _ in 0..3 {
        assert_eq!(errno_of(bench.write(&*file, 0, &[9])), Some(libc::EIO));
    }
    assert_fired(&bench, FaultKind::WriteErrorLasting, 1);
    bench.read(&*file, 1, 1).unwrap();
    let (bench, file) = self::bench(1, FaultKind::ZeroWrite, 1);
    assert_eq!(errno_of(bench.write(&*file, 0, &[9])), Some(libc::EIO));
    assert_fired(&bench, FaultKind::ZeroWrite, 1);
    assert_eq!(bench.visible("file"), FILLS);
}

#[test]
fn an_unreadable_sector_stays_so_on_the_next_computer() {
    let (bench, file) = bench(3, FaultKind::UnreadableSector, 1);
    assert_eq!(errno_of(bench.read(&*file, 2, 1)), Some(libc::EIO));
    assert_fired(&bench, FaultKind::UnreadableSector, 1);
    assert_eq!(errno_of(bench.read(&*file, 0, 8)), Some(libc::EIO));
    assert_eq!(bench.read(&*file, 0, 2).unwrap(), [1, 2]);
    assert_eq!(bench.read(&*file, 3, 5).unwrap(), [4, 5, 6, 7, 8]);
    let (disk, _) = bench.computer.crash_power(&mut Choice::Nothing);
    let next = Bench::start(disk, ComputerSettings::default());
    let file = next.open("file");
    assert_eq!(errno_of(next.read(&*file, 2, 1)), Some(libc::EIO));
    assert_eq!(next.read(&*file, 3, 1).unwrap(), [4]);
}

#[test]
fn without_room_nothing_grows() {
    let full = [Some(libc::ENOSPC), Some(libc::EDQUOT)];
    let (bench, file) = bench(1, FaultKind::NoSpace, 3);
    bench.write(&*file, 7, &[9]).unwrap();
    bench.truncate(&*file, 8 * BLOCK as u64).unwrap();
    assert_fired(&bench, FaultKind::NoSpace, 0);
    assert!(full.contains(&errno_of(bench.write(&*file, 8, &[9]))));
    assert!(full.contains(&errno_of(bench.truncate(&*file, 9 * BLOCK as u64))));
    assert!(full.contains(&errno_of(bench.sync(&*file))));
    assert_fired(&bench, FaultKind::NoSpace, 3);
    assert_eq!(bench.durable("file").unwrap(), FILLS, "nothing was synced");
    bench.sync(&*file).unwrap();
    assert_eq!(bench.durable("file").unwrap()[7..], [9]);

    let (bench, file) = self::bench(1, FaultKind::NoSpaceLasting, 1);
    for _ in 0..3 {
        assert!(full.contains(&errno_of(bench.allocate(&*file, 10 * BLOCK as u64))));
        let Err(Error::Io(error)) = bench.write(&*file, 7, &[9, 10]) else { panic!("no error") };
        assert!(full.contains(&Some(error.errno)));
        assert_eq!(error.done, BLOCK, "what lies before the end has its room");
    }
    assert_eq!(bench.visible("file")[6..], [7, 9]);
    bench.computer.make_room();
    bench.computer.set_faults(FaultRates::none());
    bench.write(&*file, 8, &[9]).unwrap();
    assert_fired(&bench, FaultKind::NoSpaceLasting, 1);
}

#[test]
fn a_sync_that_fails_keeps_what_is_pending_or_drops_it() {
    let (bench, file) = bench(1, FaultKind::SyncErrorKept, 1);
    bench.write(&*file, 0, &[9]).unwrap();
    assert_eq!(errno_of(bench.sync(&*file)), Some(libc::EIO));
    assert_fired(&bench, FaultKind::SyncErrorKept, 1);
    assert_eq!(bench.durable("file").unwrap(), FILLS);
    bench.sync(&*file).unwrap();
    assert_eq!(bench.durable("file").unwrap()[0], 9);

    let mut ends = BTreeSet::new();
    for seed in 0..50 {
        let (bench, file) = self::bench(seed, FaultKind::SyncErrorDropped, 1);
        bench.write(&*file, 0, &[9]).unwrap();
        bench.write(&*file, 1, &[9]).unwrap();
        assert_eq!(errno_of(bench.sync(&*file)), Some(libc::EIO));
        assert_fired(&bench, FaultKind::SyncErrorDropped, 1);
        assert_eq!(bench.visible("file")[..2], [9, 9], "all of it is still seen");
        bench.sync(&*file).unwrap();
        let (disk, _) = bench.computer.crash_power(&mut Choice::Everything);
        ends.insert(sectors_of(&disk.image("file").unwrap())[..16].to_vec());
    }
    let of_each = |old: u8, at: usize| {
        ends.iter().map(move |end| end[at..at + 8].iter().filter(|byte| **byte == old).count())
    };
    for (old, at) in [(1, 0), (2, 8)] {
        assert!(of_each(old, at).any(|count| count == 0), "wholly durable, at times: {ends:?}");
        assert!(of_each(old, at).any(|count| count == 8), "wholly lost: {ends:?}");
        assert!(of_each(old, at).any(|count| count % 8 > 0), "torn: {ends:?}");
    }
}

#[test]
fn a_durable_write_whose_sync_fails_is_seen_and_pending() {
    let (bench, file) = bench(1, FaultKind::SlotSyncError, 1);
    let Err(Error::Io(error)) = bench.write_durably(&*file, 0, &[9]) else { panic!("no error") };
    assert_eq!((error.operation, error.errno), (Operation::Sync, libc::EIO));
    assert_fired(&bench, FaultKind::SlotSyncError, 1);
    assert_eq!((bench.visible("file")[0], bench.durable("file").unwrap()[0]), (9, 1));
    bench.sync(&*file).unwrap();
    assert_eq!(bench.durable("file").unwrap()[0], 9);
}

#[test]
fn directories_openings_lengths_and_their_changes_fail_once() {
    let (bench, file) = bench(1, FaultKind::DirectorySyncError, 1);
    drop(bench.open("new"));
    assert_eq!(errno_of(bench.sync_directory(".")), Some(libc::EIO));
    assert_eq!(bench.durable("new"), None);
    bench.sync_directory(".").unwrap();
    assert_fired(&bench, FaultKind::DirectorySyncError, 1);
    assert!(bench.durable("new").is_some());
    drop(file);

    let (bench, _file) = self::bench(1, FaultKind::OpenError, 1);
    let refused = errno_of(bench.open_with("new", options(Create::New)));
    assert!(matches!(refused, Some(libc::EMFILE | libc::EIO)), "{refused:?}");
    assert_eq!(bench.computer.disk().paths().len(), 1);
    bench.open_with("new", options(Create::New)).unwrap();
    assert_fired(&bench, FaultKind::OpenError, 1);

    let (bench, file) = self::bench(1, FaultKind::TruncateError, 4);
    assert_eq!(errno_of(bench.truncate(&*file, 0)), Some(libc::EIO));
    assert_eq!(errno_of(bench.allocate(&*file, 1 << 20)), Some(libc::EIO));
    assert_eq!(errno_of(bench.remove("file")), Some(libc::EIO));
    assert_eq!(errno_of(bench.rename("file", "other")), Some(libc::EIO));
    assert_eq!(bench.visible("file"), FILLS);
    assert_fired(&bench, FaultKind::TruncateError, 4);

    let (bench, file) = self::bench(1, FaultKind::SizeError, 1);
    assert_eq!(errno_of(file.size()), Some(libc::EIO));
    assert_eq!(file.size().unwrap(), 8 * BLOCK as u64);
    assert_fired(&bench, FaultKind::SizeError, 1);
}

#[test]
fn a_disk_that_lies_once_lies_always() {
    let (bench, file) = bench(1, FaultKind::LyingSync, 1);
    bench.write(&*file, 0, &[9]).unwrap();
    bench.sync(&*file).unwrap();
    bench.write_durably(&*file, 1, &[9]).unwrap();
    bench.sync(&*file).unwrap();
    drop(bench.open("new"));
    bench.sync_directory(".").unwrap();
    assert_fired(&bench, FaultKind::LyingSync, 1);
    assert_eq!(bench.visible("file")[..2], [9, 9]);
    assert_eq!(bench.durable("file").unwrap(), FILLS);
    assert_eq!(bench.durable("new"), None);
}

#[test]
fn writes_are_lost_or_land_elsewhere() {
    let (bench, file) = bench(1, FaultKind::LostWrite, 1);
    assert_eq!(bench.write_durably(&*file, 0, &[9]).unwrap(), BLOCK);
    assert_fired(&bench, FaultKind::LostWrite, 1);
    assert_eq!(bench.visible("file"), FILLS);
    bench.write(&*file, 0, &[9]).unwrap();
    assert_eq!(bench.visible("file")[0], 9);

    let mut places = BTreeSet::new();
    for seed in 0..100 {
        let (bench, file) = self::bench(seed, FaultKind::MisdirectedWrite, 1);
        assert_eq!(bench.write_durably(&*file, 3, &[9]).unwrap(), BLOCK);
        assert_fired(&bench, FaultKind::MisdirectedWrite, 1);
        let fills = bench.visible("file");
        assert_eq!(fills.iter().filter(|fill| **fill == 9).count(), 1);
        places.insert(fills.iter().position(|fill| *fill == 9).unwrap());
        assert_eq!(bench.durable("file").unwrap(), fills);
    }
    assert_eq!(places.into_iter().collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 7]);
}

#[test]
fn reads_come_from_elsewhere() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let (bench, file) = bench(seed, FaultKind::MisdirectedRead, 1);
        let fills = bench.read(&*file, 0, 3).unwrap();
        let wrong: Vec<usize> = (0..3).filter(|index| fills[*index] != FILLS[*index]).collect();
        assert_eq!(wrong.len(), 1, "{fills:?}");
        assert_fired(&bench, FaultKind::MisdirectedRead, 1);
        seen.insert((wrong[0], fills[wrong[0]]));
        assert_eq!(bench.read(&*file, 0, 8).unwrap(), FILLS);
    }
    assert_eq!(seen.len(), 3 * 7);
}

#[test]
fn a_bit_rots_where_it_is_durable() {
    let mut blocks = BTreeSet::new();
    for seed in 0..100 {
        let (bench, file) = bench(seed, FaultKind::BitRot, 1);
        let read = bench.submit_read(&*file, 0, 1);
        bench.wait(&read).unwrap();
        assert_fired(&bench, FaultKind::BitRot, 1);
        let (cut, _) = bench.computer.crash_power(&mut Choice::Nothing);
        assert_eq!(cut.image("file"), bench.computer.disk().image("file"));
        let pairs = cut.image("file").unwrap().into_iter().zip(prepared().image("file").unwrap());
        let changed: Vec<(usize, u8)> = pairs
            .enumerate()
            .filter(|(_, (now, before))| now != before)
            .map(|(at, (now, before))| (at, now ^ before))
            .collect();
        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0].1.count_ones(), 1);
        blocks.insert(changed[0].0 / BLOCK);
    }
    assert_eq!(blocks.len(), 8);
}

#[test]
fn the_clock_jumps() {
    let (bench, file) = bench(1, FaultKind::ClockJump, 1);
    let in_flight = bench.submit_write(&*file, 0, &[9], false);
    assert!(bench.computer.now() < Duration::from_secs(1));
    assert_eq!(bench.read(&*file, 1, 1).unwrap(), [2]);
    assert!(bench.computer.now() >= Duration::from_secs(3600));
    let jumped = bench.computer.now();
    bench.wait(&in_flight).unwrap();
    assert!(bench.computer.now() >= jumped, "it never goes back");
    assert_fired(&bench, FaultKind::ClockJump, 1);
}

/// The same, chosen by hand.
#[test]
fn a_disk_can_be_damaged_by_hand() {
    let mut disk = prepared();
    disk.mark_unreadable("file", 4);
    assert!(disk.flip_bit("file", 8 * BLOCK as u64 * 2 + 3));
    assert!(!disk.flip_bit("file", 8 * BLOCK as u64 * 8));
    assert_eq!(disk.image("file").unwrap()[2 * BLOCK], 3 ^ 8);
    let bench = Bench::start(disk, ComputerSettings::default());
    let file = bench.open("file");
    assert_eq!(errno_of(bench.read(&*file, 4, 1)), Some(libc::EIO));
    bench.write(&*file, 0, &[1]).unwrap();
    assert!(!bench.computer.disk().flip_bit("file", 0), "the same bytes, but on their way");
    bench.sync(&*file).unwrap();
    assert!(bench.computer.disk().flip_bit("file", 0));
}

#[test]
fn the_log_tells_what_happened_and_why() {
    let computer = Computer::start(prepared(), ComputerSettings::default());
    computer.set_log(true);
    let (backend, pool) = (computer.backend(), yieldb_core::BufferPool::new(64, BLOCK).unwrap());
    let bench = Bench { computer, backend, pool };
    let file = bench.open("file");
    bench.computer.set_faults(FaultRates::none().with(FaultKind::ReadError, 1).budget(1));
    let before = bench.computer.trace_hash();
    assert!(bench.read(&*file, 2, 1).is_err());
    assert_ne!(bench.computer.trace_hash(), before);
    let log = bench.computer.take_log();
    assert_eq!(log[0], "#0 open of file submitted");
    assert_eq!(log[2], "#1 read 4096 bytes at page 2 of file submitted");
    assert!(log[3].ends_with("(read-error)"), "{}", log[3]);
    assert_eq!(bench.computer.take_log(), [""; 0]);
}
