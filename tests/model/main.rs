//! Random operations of every kind against ordered maps: trees, large values, savepoints, ranges,
//! batches, operations that are dropped half-way, snapshots that are held all the while.
//!
//! A million operations in all, in a release build.

mod reads;
mod reference;
mod session;
mod work;

use rstest::rstest;
use session::Run;
use yieldb::{Choice, MemoryDisk, Options};

/// How many operations all runs have together, in thousands: `MODEL_OPERATIONS` of the environment.
fn thousands() -> u64 {
    let usual = if cfg!(debug_assertions) { 40 } else { 1_000 };
    std::env::var("MODEL_OPERATIONS").map_or(usual, |text| text.parse::<u64>().unwrap() / 1_000)
}

/// `MODEL_SEED` of the environment, and what tells the runs from each other.
fn seed(of_run: u64) -> u64 {
    let first = std::env::var("MODEL_SEED").map_or(0, |text| text.parse::<u64>().unwrap());
    let seed = first.wrapping_mul(1_000_003).wrapping_add(of_run);
    println!("seed {first}, that of the run is {seed}");
    seed
}

fn memory(seed: u64, yielding: bool) -> Options {
    let disk = MemoryDisk::new();
    Options::new().backend(if yielding { disk.yielding(seed) } else { disk.immediate() })
}

/// Each page size with the smallest cache and with an ample one: eight tenths of all operations.
#[rstest]
fn long_transactions_agree_with_maps(
    #[values(4096, 8192, 16_384, 32_768, 65_536)] page_len: u32,
    #[values(64, 4096)] frames: u64,
) {
    let seed = seed(u64::from(page_len) + frames);
    let yielding = (page_len.ilog2() + frames.ilog2()).is_multiple_of(2);
    let run_len = 80 * thousands();
    let run = Run {
        seed,
        page_len,
        frames,
        operations: run_len,
        commit_every: 1_000,
        snapshots: 0,
        grows: false,
        options: memory(seed, yielding),
        path: "model".into(),
    };
    let session = run.run();
    let most = session.most;
    println!("at most {most} entries");
    assert!(most > 5_000 || run_len < 80_000, "at most {most} entries");
}

/// Thousands of commits, beside snapshots that see none of them: one tenth of all operations.
#[rstest]
fn snapshots_stay_what_they_were(#[values(false, true)] yielding: bool) {
    let seed = seed(u64::from(yielding));
    let run = Run {
        seed,
        page_len: 4096,
        frames: if yielding { 64 } else { 1_000 },
        operations: 50 * thousands(),
        commit_every: 16,
        snapshots: 5,
        grows: false,
        options: memory(seed, yielding),
        path: "model".into(),
    };
    run.run();
}

/// Files, and the back-ends for them: four hundredths of all operations.
#[rstest]
fn files_agree_with_maps(#[values(Choice::Auto, Choice::Pread)] choice: Choice) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let run = Run {
        seed: seed(100 + u64::from(choice == Choice::Auto)),
        page_len: 4096,
        frames: 256,
        operations: 20 * thousands(),
        commit_every: 500,
        snapshots: 2,
        grows: false,
        options: Options::new().io(choice),
        path: directory.path().join("model"),
    };
    run.run();
}

/// Behind a long run the file is not much larger than what is in it: six hundredths of all
/// operations.
#[test]
fn the_file_stays_small() {
    let seed = seed(7);
    let run = Run {
        seed,
        page_len: 4096,
        frames: 8192,
        operations: (60 * thousands()).max(60_000),
        commit_every: 1_000,
        snapshots: 0,
        grows: true,
        options: memory(seed, false),
        path: "model".into(),
    };
    let session = run.run();
    let (live, file) = session.sizes();
    println!("{live} bytes of keys and values in a file of {file}");
    assert!(live > 50_000_000, "only {live} bytes");
    assert!(file * 10 < live * 16, "{live} bytes of keys and values in a file of {file}");
}
