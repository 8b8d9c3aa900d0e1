//! Random work against a model that knows nothing of blocks, pieces or sequence numbers.

use std::collections::BTreeSet;

use simulator::disk::{Choice, Disk};
use simulator::random::Random;
use yieldb_core::{Completion, File};

use crate::{BLOCK, Bench, random_order, sectors_of};

const BLOCKS: u64 = 6;

/// A version of a block: when it was finished, and its fill.
type Version = (u64, u8);

/// What a block may hold after a power cut.
struct Model {
    /// For each block the versions that may be there, in the order in which they were finished.
    blocks: Vec<Vec<Version>>,
    /// How many requests have finished.
    now: u64,
}

enum Asked {
    Write {
        at: u64,
        fill: u8,
        durable: bool,
    },
    /// A sync, and what had finished when it was submitted.
    Sync {
        before: u64,
    },
}

impl Model {
    fn finish(&mut self, asked: &Asked) {
        self.now += 1;
        match asked {
            Asked::Write { at, fill, durable } => {
                let versions = &mut self.blocks[*at as usize];
                if *durable {
                    versions.clear();
                }
                versions.push((self.now, *fill));
            }
            Asked::Sync { before } => {
                for versions in &mut self.blocks {
                    let durable = versions.iter().rposition(|(when, _)| when <= before);
                    versions.drain(..durable.unwrap_or(0));
                }
            }
        }
    }
}

fn submit(
    bench: &Bench,
    file: &dyn File,
    model: &Model,
    random: &mut Random,
) -> (Asked, Completion) {
    if random.one_in(5) {
        return (Asked::Sync { before: model.now }, bench.submit_sync(file));
    }
    let (at, fill) = (random.below(BLOCKS), random.below(200) as u8);
    let durable = random.one_in(4);
    (Asked::Write { at, fill, durable }, bench.submit_write(file, at, &[fill], durable))
}

/// Crashes, and returns how many sectors held the oldest of several versions, and the newest.
fn crash(bench: &Bench, model: &Model, in_flight: &[(Asked, Completion)], seed: u64) -> (u32, u32) {
    let (disk, _) = bench.computer.crash_power(&mut Choice::Random(Random::new(seed)));
    let sectors = sectors_of(&disk.image("file").unwrap());
    let (mut oldest, mut newest) = (0, 0);
    for (at, found) in sectors.iter().enumerate().map(|(index, fill)| (index / 8, fill)) {
        let versions = &model.blocks[at];
        let mut allowed: BTreeSet<u8> = versions.iter().map(|(_, fill)| *fill).collect();
        for (asked, _) in in_flight {
            match asked {
                Asked::Write { at: own, fill, .. } if *own == at as u64 => {
                    allowed.insert(*fill);
                }
                Asked::Write { .. } | Asked::Sync { .. } => {}
            }
        }
        assert!(allowed.contains(found), "{found} in block {at}: {versions:?}");
        if versions.len() > 1 {
            oldest += u32::from(*found == versions[0].1);
            newest += u32::from(*found == versions[versions.len() - 1].1);
        }
    }
    (oldest, newest)
}

#[test]
fn after_a_power_cut_each_sector_is_as_old_as_it_may_be_and_no_older() {
    let (mut oldest, mut newest) = (0, 0);
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut disk = Disk::new();
        disk.set_image("file", &[0; BLOCKS as usize * BLOCK]);
        let bench = Bench::start(disk, random_order(seed));
        let file = bench.open("file");
        let mut model = Model { blocks: vec![vec![(0, 0)]; BLOCKS as usize], now: 0 };
        let mut in_flight: Vec<(Asked, Completion)> = Vec::new();
        for _ in 0..60 {
            if in_flight.is_empty() || in_flight.len() < 6 && random.one_in(2) {
                in_flight.push(submit(&bench, &*file, &model, &mut random));
            } else {
                assert_eq!(bench.computer.poll(), 1);
                let over = in_flight.iter().position(|(_, io)| io.finished()).unwrap();
                let (asked, io) = in_flight.swap_remove(over);
                assert!(io.succeeded());
                model.finish(&asked);
            }
            let (old, new) = crash(&bench, &model, &in_flight, random.next());
            oldest += old;
            newest += new;
        }
        let newest: Vec<u8> = model.blocks.iter().map(|block| block[block.len() - 1].1).collect();
        assert_eq!(bench.visible("file"), newest);
    }
    assert!(oldest > 10_000 && newest > 10_000, "{oldest} sectors as old as they may be, {newest}");
}
