//! What every back-end promises, asked of this one.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use simulator::computer::{Computer, ComputerSettings};
use simulator::disk::Disk;
use simulator::random::Random;
use yieldb_core::{
    BufferPool, Buffers, Completion, CompletionGroup, Create, Error, File, LockKind, OpenOptions,
    Operation, Request, Sink,
};

use crate::{BLOCK, Bench, errno_of, fills_of, options, random_order};

#[test]
fn what_is_written_is_read() {
    let bench = Bench::new();
    let file = bench.open("file");
    assert_eq!(bench.write(&*file, 0, &[1, 2, 3]).unwrap(), 3 * BLOCK);
    assert_eq!(bench.write(&*file, 4, &[5]).unwrap(), BLOCK);
    assert_eq!(file.size().unwrap(), 5 * BLOCK as u64);
    assert_eq!(bench.read(&*file, 0, 5).unwrap(), [1, 2, 3, 0, 5]);
    assert_eq!(bench.read(&*file, 1, 1).unwrap(), [2]);
    assert_eq!(bench.pool.free_count(), 64, "every buffer came back");
}

#[test]
fn a_file_that_ends_inside_a_page_is_read_to_its_end_and_the_rest_is_junk() {
    let bench = Bench::new();
    let file = bench.open("file");
    bench.write(&*file, 0, &[1, 2, 3]).unwrap();
    bench.truncate(&*file, BLOCK as u64 + 904).unwrap();
    let read = bench.submit_read(&*file, 0, 3);
    assert_eq!(bench.wait(&read).unwrap(), BLOCK + 904);
    let buffers = read.take_buffers();
    assert_eq!((&buffers[0][..], &buffers[1][..904]), (&[1; BLOCK][..], &[2; 904][..]));
    // What was not read is neither what was there before nor zeros.
    assert!(buffers[1][904..].iter().chain(&*buffers[2]).all(|byte| *byte == 0xdb));
    drop(buffers);
    assert_eq!(bench.read(&*file, 16, 1).unwrap(), []);
    bench.allocate(&*file, 8 * BLOCK as u64).unwrap();
    assert_eq!(bench.read(&*file, 7, 1).unwrap(), [0]);
}

/// Files that do not go past the cache take bytes anywhere.
#[test]
fn bytes_at_any_place_are_written_and_read() {
    let bench = Bench::new();
    let how = OpenOptions { write: true, create: Create::New, direct: false };
    let file = bench.open_with("file", how).unwrap();
    assert!(!file.is_direct());
    let (mut expected, mut random) = (Vec::new(), Random::new(1));
    for round in 0..100_u8 {
        let lens = [1 + random.index(3000), 1 + random.index(3000)];
        let at = random.index(20_000);
        let buffers = lens.map(|len| {
            let mut buffer = BufferPool::new(1, len).unwrap().take().unwrap();
            buffer.fill(round);
            buffer.share()
        });
        let (write, len) = (Completion::write(buffers.into_iter().collect()), lens[0] + lens[1]);
        file.write(at as u64, round % 2 == 0, write.clone());
        assert_eq!(bench.wait(&write).unwrap(), len);
        expected.resize(expected.len().max(at + len), 0);
        expected[at..at + len].fill(round);
    }
    assert_eq!(bench.computer.disk().image("file").unwrap(), expected);
    let read = Completion::read(BufferPool::new(1, 5000).unwrap().take().into_iter().collect());
    file.read(1234, read.clone());
    assert_eq!(bench.wait(&read).unwrap(), 5000);
    assert_eq!(read.take_buffers()[0][..], expected[1234..6234]);
}

#[test]
fn what_is_not_there_or_not_allowed_is_an_error() {
    let bench = Bench::new();
    let missing = bench.open_with("missing", options(Create::Never));
    assert_eq!(errno_of(missing), Some(libc::ENOENT));
    drop(bench.open("file"));
    let again = bench.open_with("file", options(Create::New));
    assert_eq!(errno_of(again), Some(libc::EEXIST));
    let read_only = OpenOptions { write: false, create: Create::Never, direct: false };
    let file = bench.open_with("file", read_only).unwrap();
    let Err(Error::Io(error)) = bench.write(&*file, 2, &[1, 2]) else { panic!("no error") };
    assert_eq!((error.operation, error.errno), (Operation::Write, libc::EBADF));
    assert_eq!((error.offset, error.len, error.done), (2 * BLOCK as u64, 2 * BLOCK, 0));
    assert_eq!(&*error.file, Path::new("file"));
    assert_eq!(errno_of(bench.truncate(&*file, 1)), Some(libc::EBADF));
    assert_eq!(errno_of(bench.remove("missing")), Some(libc::ENOENT));
    assert_eq!(errno_of(bench.rename("missing", "file")), Some(libc::ENOENT));
    let file = bench.open("file");
    assert_eq!(errno_of(bench.truncate(&*file, u64::MAX)), Some(libc::EFBIG));
    assert_eq!(errno_of(bench.write(&*file, 1 << 50, &[1])), Some(libc::EFBIG));
}

#[test]
fn names_change_and_go_and_open_files_stay() {
    let bench = Bench::new();
    let file = bench.open("from");
    bench.write(&*file, 0, &[9]).unwrap();
    bench.write(&*bench.open("to"), 0, &[8]).unwrap();
    assert!(file.is_at(Path::new("from")) && !file.is_at(Path::new("to")));
    bench.rename("from", "to").unwrap();
    assert!(!file.is_at(Path::new("from")) && file.is_at(Path::new("to")));
    let renamed = bench.open_with("to", options(Create::Never)).unwrap();
    assert_eq!(bench.read(&*renamed, 0, 1).unwrap(), [9]);
    bench.remove("to").unwrap();
    assert_eq!(errno_of(bench.open_with("to", options(Create::Never))), Some(libc::ENOENT));
    let other = bench.open("to");
    bench.write(&*other, 0, &[7]).unwrap();
    assert_eq!(bench.read(&*file, 0, 1).unwrap(), [9], "an open file is not another one");
    assert!(other.is_at(Path::new("to")) && !file.is_at(Path::new("to")));
}

#[test]
fn more_requests_than_any_queue_holds() {
    let bench = Bench::start(Disk::new(), random_order(1));
    let file = bench.open("file");
    let pool = BufferPool::new(1000, BLOCK).unwrap();
    let mut group = CompletionGroup::silent();
    for index in 0..1000_u64 {
        let mut buffer = pool.take().unwrap();
        buffer.fill((index % 251) as u8);
        let write = Completion::write([buffer.share()].into_iter().collect());
        group.add(&write);
        file.write(index * BLOCK as u64, false, write);
    }
    bench.wait(&group.build()).unwrap();
    assert_eq!(pool.free_count(), 1000);
    let fills: Vec<u8> = (0..1000).map(|index| (index % 251) as u8).collect();
    assert_eq!(bench.visible("file"), fills);
    assert_eq!(bench.backend.driver.in_flight(), 0);
}

#[test]
fn dropped_completions_give_their_buffers_back_when_the_io_is_over() {
    let bench = Bench::new();
    let file = bench.open("file");
    for round in 0..16 {
        drop(bench.submit_read(&*file, round, 2));
        drop(bench.submit_write(&*file, 0, &[2], false));
    }
    bench.backend.driver.quiesce();
    assert_eq!(bench.backend.driver.in_flight(), 0);
    assert_eq!(bench.pool.free_count(), 64);
    assert_eq!(bench.visible("file"), [2]);
}

#[test]
fn a_computer_dropped_or_halted_ends_what_is_in_flight() {
    for is_halted in [false, true] {
        let bench = Bench::new();
        let file = bench.open("file");
        let reads: Vec<Completion> = (0..8).map(|_| bench.submit_read(&*file, 0, 2)).collect();
        let write = bench.submit_write(&*file, 0, &[1], false);
        let pool = bench.pool.clone();
        if is_halted {
            bench.computer.halt();
            assert!(matches!(bench.write(&*file, 0, &[1]), Err(Error::Abandoned)));
            assert!(bench.computer.disk().image("file").unwrap().is_empty());
        }
        drop((bench, file));
        for completion in reads.iter().chain([&write]) {
            assert!(matches!(completion.get_error(), Some(Error::Abandoned)), "{completion:?}");
        }
        drop((reads, write));
        assert_eq!(pool.free_count(), 64);
    }
}

/// Submits another read when one is over, as a sink and as a waker.
struct Chain {
    file: Arc<dyn File>,
    pool: Arc<BufferPool>,
    left: Mutex<u32>,
}

impl Chain {
    fn next(self: &Arc<Self>) {
        {
            let mut left = self.left.lock().unwrap();
            if *left == 0 {
                return;
            }
            *left -= 1;
        }
        let buffers = self.pool.take().into_iter().collect();
        let read = Completion::read_into(buffers, self.clone(), 0);
        assert!(read.register(&Waker::from(self.clone())));
        self.file.read(0, read);
    }
}

impl Sink for Chain {
    fn finished(
        &self,
        _token: u64,
        result: Result<usize, Error>,
        _buffers: Buffers,
    ) -> Result<usize, Error> {
        // Whatever is locked now is locked for ever.
        assert_eq!(self.file.size().unwrap(), BLOCK as u64);
        result
    }
}

impl Wake for Chain {
    fn wake(self: Arc<Self>) {
        self.next();
    }
}

#[test]
fn sinks_and_wakers_may_submit() {
    let bench = Bench::new();
    let file = bench.open("file");
    bench.write(&*file, 0, &[1]).unwrap();
    let chain = Arc::new(Chain { file, pool: bench.pool.clone(), left: Mutex::new(50) });
    chain.next();
    let before = bench.computer.finished();
    bench.backend.driver.quiesce();
    assert_eq!(bench.computer.finished() - before, 50);
}

#[test]
fn locks_exclude_other_handles_until_they_are_dropped() {
    let bench = Bench::new();
    let (first, second) = (bench.open("file"), bench.open("file"));
    assert!(first.try_lock(LockKind::Exclusive).unwrap());
    assert!(!second.try_lock(LockKind::Exclusive).unwrap());
    assert!(!second.try_lock(LockKind::Shared).unwrap());
    assert!(bench.open("other").try_lock(LockKind::Exclusive).unwrap());
    let read = bench.submit_read(&*first, 0, 1);
    drop(first);
    assert!(!second.try_lock(LockKind::Shared).unwrap(), "a request keeps its file");
    bench.wait(&read).unwrap();
    assert!(second.try_lock(LockKind::Shared).unwrap());
    let third = bench.open("file");
    assert!(third.try_lock(LockKind::Shared).unwrap());
    assert!(!bench.open("file").try_lock(LockKind::Exclusive).unwrap());
    drop((second, third));
    assert!(bench.open("file").try_lock(LockKind::Exclusive).unwrap());
    let held = bench.open("file");
    assert!(held.try_lock(LockKind::Exclusive).unwrap());
    // It ends with the computer.
    let next = Bench::start(bench.computer.crash_kill(&mut Random::new(1)), Default::default());
    assert!(next.open("file").try_lock(LockKind::Exclusive).unwrap());
}

#[test]
#[should_panic(expected = "a direct request at byte 512")]
fn a_direct_request_at_an_odd_place_is_a_mistake() {
    let bench = Bench::new();
    let file = bench.open("file");
    file.read(512, Completion::read(bench.pool.take().into_iter().collect()));
}

#[test]
#[should_panic(expected = "which nobody will finish")]
fn a_wait_for_nothing_is_a_hang() {
    let bench = Bench::new();
    bench.wait(&Completion::signal()).unwrap();
}

#[test]
fn random_bytes_and_traces_follow_the_seed() {
    let run = |seed: u64, note: u64| {
        let bench = Bench::start(Disk::new(), ComputerSettings { seed, ..Default::default() });
        let mut bytes = [0; 21];
        bench.backend.io.random(&mut bytes);
        let file = bench.open("file");
        bench.write(&*file, 0, &[bytes[0], bytes[20]]).unwrap();
        bench.computer.note(note);
        (bytes, bench.computer.trace_hash())
    };
    assert_eq!(run(1, 1), run(1, 1));
    assert_ne!(run(1, 1).1, run(1, 2).1);
    let seeds: BTreeSet<_> = (0..100).map(|seed| run(seed, 0)).collect();
    assert_eq!(seeds.iter().map(|(bytes, _)| bytes).collect::<BTreeSet<_>>().len(), 100);
    assert_eq!(seeds.iter().map(|(_, hash)| hash).collect::<BTreeSet<_>>().len(), 100);
}

#[test]
fn the_trace_knows_what_was_read() {
    let run = |fill: u8| {
        let mut disk = Disk::new();
        disk.set_image("file", &[fill; BLOCK]);
        let bench = Bench::start(disk, ComputerSettings::default());
        let read = bench.submit_read(&*bench.open("file"), 0, 1);
        let before = bench.computer.trace_hash();
        bench.wait(&read).unwrap();
        (before, bench.computer.trace_hash())
    };
    let (one, other) = (run(1), run(2));
    assert_eq!(one.0, other.0);
    assert_ne!(one.1, other.1);
}

#[test]
fn a_disk_is_plain_data() {
    let mut disk = Disk::new();
    disk.set_image("b", &[1; 5000]);
    disk.set_image("a", &[]);
    let copy = disk.clone();
    disk.set_image("b", &[2; BLOCK]);
    assert_eq!(copy.image("b").unwrap(), [1; 5000]);
    assert_eq!(fills_of(&disk.image("b").unwrap()), [2]);
    assert_eq!(disk.image("c"), None);
    let paths: Vec<String> = disk.paths().iter().map(|path| path.display().to_string()).collect();
    assert_eq!(paths, ["a", "b"]);
    let computer = Computer::start(disk, ComputerSettings::default());
    assert_eq!(computer.disk().image("a").unwrap(), []);
}
