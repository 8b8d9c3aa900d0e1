//! What requests do to files, and what they say when they fail.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use rstest::rstest;
use rstest_reuse::apply;
use smallvec::smallvec;
use yieldb_core::{
    BufferPool, Buffers, Completion, Create, Error, OpenOptions, Operation, Request, SyncMethod,
};
use yieldb_io_backends::RawHook;

use crate::{BLOCK, Bench, Kind, backends, errno_of, expected, options};

#[apply(backends)]
fn what_is_written_is_read(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    assert_eq!(bench.write(&*file, 0, &[1, 2, 3]).unwrap(), 3 * BLOCK);
    assert_eq!(bench.write(&*file, 4 * BLOCK as u64, &[5]).unwrap(), BLOCK);
    assert_eq!(bench.size(&*file), 5 * BLOCK as u64);
    assert_eq!(bench.read(&*file, 0, 5).unwrap(), expected(&[1, 2, 3, 0, 5]));
    assert_eq!(bench.read(&*file, BLOCK as u64, 1).unwrap(), expected(&[2]));
    assert_eq!(bench.pool.free_count(), 64, "every buffer came back");
}

#[apply(backends)]
fn durable_writes_and_syncs_succeed(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    let write = Completion::write(bench.blocks(&[7, 8]));
    file.write(0, true, write.clone());
    assert_eq!(bench.wait(&write).unwrap(), 2 * BLOCK);
    let sync = Completion::sync();
    file.sync_data(sync.clone());
    bench.wait(&sync).unwrap();
    assert_eq!(bench.read(&*file, 0, 2).unwrap(), expected(&[7, 8]));
}

#[apply(backends)]
fn a_file_that_ends_inside_a_page_is_read_to_its_end(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[1, 2, 3]).unwrap();
    let truncate = Completion::truncate();
    file.truncate(BLOCK as u64 + 904, truncate.clone());
    bench.wait(&truncate).unwrap();
    assert_eq!(bench.size(&*file), BLOCK as u64 + 904);
    assert_eq!(bench.read(&*file, 0, 3).unwrap(), expected(&[1, 2])[..BLOCK + 904]);
    assert_eq!(bench.read(&*file, BLOCK as u64, 1).unwrap(), [2; 904]);
    assert_eq!(bench.read(&*file, 16 * BLOCK as u64, 1).unwrap(), []);
}

#[apply(backends)]
fn allocated_room_reads_as_zeros(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    let allocate = Completion::truncate();
    file.allocate(0, 8 * BLOCK as u64, allocate.clone());
    bench.wait(&allocate).unwrap();
    assert_eq!(bench.size(&*file), 8 * BLOCK as u64);
    assert_eq!(bench.read(&*file, 7 * BLOCK as u64, 1).unwrap(), [0; BLOCK]);
}

/// Tells only a part of what was moved: half of it, in whole blocks, or one block.
struct Short;

impl RawHook for Short {
    fn raw(&self, operation: Operation, _offset: u64, _len: usize, result: i32) -> i32 {
        match operation {
            Operation::Read | Operation::Write if result > BLOCK as i32 => {
                (result as u32 / 2).next_multiple_of(BLOCK as u32) as i32
            }
            _ => result,
        }
    }
}

#[apply(backends)]
fn short_counts_are_continued(kind: Kind) {
    let Some(bench) = Bench::with_hook(kind, Arc::new(Short)) else { return };
    let fills: Vec<u8> = (1..=20).collect();
    let file = bench.open("file");
    assert_eq!(bench.write(&*file, 0, &fills).unwrap(), 20 * BLOCK);
    assert_eq!(bench.read(&*file, 0, 20).unwrap(), expected(&fills));
    // One buffer of many blocks is cut as well.
    let wide = BufferPool::new(1, 16 * BLOCK).unwrap();
    let read = Completion::read(Buffers::from_iter(wide.take()));
    file.read(0, read.clone());
    assert_eq!(bench.wait(&read).unwrap(), 16 * BLOCK);
    assert_eq!(read.take_buffers()[0][..], expected(&fills[..16]));
}

/// Interrupts every request a few times, each in another way.
#[derive(Default)]
struct Interruptions(AtomicUsize);

impl RawHook for Interruptions {
    fn raw(&self, operation: Operation, _offset: u64, _len: usize, result: i32) -> i32 {
        // What was opened is not asked for twice: its descriptor would be lost.
        if matches!(operation, Operation::Open | Operation::SyncDirectory) {
            return result;
        }
        match self.0.fetch_add(1, Ordering::SeqCst) % 4 {
            0 => -libc::EINTR,
            1 => -libc::EAGAIN,
            2 => -libc::ECANCELED,
            _ => result,
        }
    }
}

#[apply(backends)]
fn interruptions_nobody_asked_for_are_no_end(kind: Kind) {
    let Some(bench) = Bench::with_hook(kind, Arc::new(Interruptions::default())) else { return };
    let file = bench.open("file");
    assert_eq!(bench.write(&*file, 0, &[4, 5]).unwrap(), 2 * BLOCK);
    assert_eq!(bench.read(&*file, 0, 2).unwrap(), expected(&[4, 5]));
    let (sync, allocate) = (Completion::sync(), Completion::truncate());
    file.sync_data(sync.clone());
    file.allocate(0, 8192, allocate.clone());
    bench.wait(&sync).unwrap();
    bench.wait(&allocate).unwrap();
}

/// Lets no truncation get anywhere.
struct NeverYet;

impl RawHook for NeverYet {
    fn raw(&self, operation: Operation, _offset: u64, _len: usize, result: i32) -> i32 {
        if operation == Operation::Truncate { -libc::EAGAIN } else { result }
    }
}

#[apply(backends)]
fn what_is_put_off_for_ever_fails_at_last(kind: Kind) {
    let Some(bench) = Bench::with_hook(kind, Arc::new(NeverYet)) else { return };
    let file = bench.open("file");
    let truncate = Completion::truncate();
    file.truncate(BLOCK as u64, truncate.clone());
    assert_eq!(errno_of(bench.wait(&truncate)), Some(libc::EAGAIN));
}

/// Fails writes.
struct NoSpace;

impl RawHook for NoSpace {
    fn raw(&self, operation: Operation, offset: u64, _len: usize, result: i32) -> i32 {
        match operation {
            Operation::Write if offset >= 2 * BLOCK as u64 => -libc::ENOSPC,
            Operation::Write => BLOCK as i32,
            _ => result,
        }
    }
}

#[apply(backends)]
fn an_error_says_what_was_asked_and_how_far_it_got(kind: Kind) {
    let Some(bench) = Bench::with_hook(kind, Arc::new(NoSpace)) else { return };
    let file = bench.open("file");
    let error = bench.write(&*file, BLOCK as u64, &[1, 2, 3]).unwrap_err();
    let Error::Io(error) = error else { panic!("{error}") };
    assert_eq!((error.operation, error.errno), (Operation::Write, libc::ENOSPC));
    assert_eq!((error.offset, error.len, error.done), (BLOCK as u64, 3 * BLOCK, BLOCK));
    assert!(error.file.ends_with("file"));
    assert_eq!(bench.pool.free_count(), 64);
}

#[apply(backends)]
fn what_is_not_there_or_not_allowed_is_an_error(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let missing = bench.open_with(&bench.path("missing"), options(Create::Never));
    assert_eq!(errno_of(missing), Some(libc::ENOENT));
    drop(bench.open("file"));
    let again = bench.open_with(&bench.path("file"), options(Create::New));
    assert_eq!(errno_of(again), Some(libc::EEXIST));
    let read_only = OpenOptions { write: false, create: Create::Never, direct: false };
    let file = bench.open_with(&bench.path("file"), read_only).unwrap();
    assert_eq!(errno_of(bench.write(&*file, 0, &[1])), Some(libc::EBADF));
    let remove = Completion::directory();
    bench.backend.io.remove(&bench.path("missing"), remove.clone());
    assert_eq!(errno_of(bench.wait(&remove)), Some(libc::ENOENT));
}

#[rstest]
#[case(Kind::Uring)]
#[case(Kind::Pread)]
fn names_that_no_file_can_have_are_an_error(#[case] kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let directory = bench.open_with(bench.directory.path(), options(Create::Never));
    assert_eq!(errno_of(directory), Some(libc::EISDIR));
    let nul = bench.open_with(Path::new("a\0b"), options(Create::IfMissing));
    assert_eq!(errno_of(nul), Some(libc::EINVAL));
}

#[apply(backends)]
fn names_change_and_go(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let (from, to) = (bench.path("from"), bench.path("to"));
    let file = bench.open("from");
    bench.write(&*file, 0, &[9]).unwrap();
    assert!(file.is_at(&from) && !file.is_at(&to));
    let (rename, sync) = (Completion::directory(), Completion::directory());
    bench.backend.io.rename(&from, &to, rename.clone());
    bench.wait(&rename).unwrap();
    assert!(!file.is_at(&from) && file.is_at(&to));
    let other = bench.open("from");
    assert!(other.is_at(&from) && !file.is_at(&from));
    bench.backend.io.sync_directory(bench.directory.path(), sync.clone());
    bench.wait(&sync).unwrap();
    let file = bench.open_with(&to, options(Create::Never)).unwrap();
    assert_eq!(bench.read(&*file, 0, 1).unwrap(), expected(&[9]));
    let remove = Completion::directory();
    bench.backend.io.remove(&to, remove.clone());
    bench.wait(&remove).unwrap();
    assert!(!file.is_at(&to));
    assert_eq!(errno_of(bench.open_with(&to, options(Create::Never))), Some(libc::ENOENT));
}

#[rstest]
#[case(Kind::Uring)]
#[case(Kind::Pread)]
fn where_the_cache_cannot_be_passed_by_it_is_used(#[case] kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    // The process file system refuses O_DIRECT.
    let how = OpenOptions { write: false, create: Create::Never, direct: true };
    let file = bench.open_with(Path::new("/proc/version"), how).unwrap();
    assert!(!file.is_direct());
    assert!(bench.read(&*file, 0, 1).unwrap().starts_with(b"Linux"));
}

/// Counts syncs, and fails them when it is told to.
#[derive(Default)]
struct Syncs {
    count: AtomicU32,
    fail: AtomicBool,
}

impl RawHook for Syncs {
    fn raw(&self, operation: Operation, _offset: u64, _len: usize, result: i32) -> i32 {
        if operation != Operation::Sync {
            return result;
        }
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.fail.load(Ordering::SeqCst) { -libc::EIO } else { result }
    }
}

#[rstest]
#[case(Kind::Uring)]
#[case(Kind::Pread)]
fn durable_writes_are_made_in_both_ways_until_the_quicker_one_is_known(#[case] kind: Kind) {
    let syncs = Arc::new(Syncs::default());
    let Some(bench) = Bench::with_hook(kind, syncs.clone()) else { return };
    let file = bench.open("file");
    let write = |number: u8| {
        let completion = Completion::write(bench.blocks(&[number, number + 1]));
        file.write(u64::from(number) * BLOCK as u64, true, completion.clone());
        bench.wait(&completion)
    };
    let usual = file.durable_writes().expect("there are two ways");
    assert_eq!(usual.medians, None);
    let mut number = 0;
    let known = loop {
        assert_eq!(write(number).unwrap(), 2 * BLOCK);
        number += 1;
        match file.durable_writes().unwrap() {
            writes if writes.medians.is_some() => break writes,
            writes => assert_eq!((writes, number < 100), (usual, true)),
        }
    };
    let expected: Vec<u8> = (0..number).chain([number]).collect();
    let found = bench.read(&*file, 0, expected.len()).unwrap();
    assert_eq!(found, self::expected(&expected));
    // Both ways were tried as often.
    let count = syncs.count.load(Ordering::SeqCst);
    let others = if usual.method == SyncMethod::WriteAndSync { number - 16 } else { 16 };
    assert_eq!(count, u32::from(others), "of {number}");
    // A sync that fails fails the write.
    syncs.fail.store(true, Ordering::SeqCst);
    let result = write(0);
    match known.method {
        SyncMethod::DurableWrite => assert!(result.is_ok()),
        SyncMethod::WriteAndSync => {
            let Err(Error::Io(error)) = result else { panic!("{result:?}") };
            assert_eq!((error.operation, error.errno), (Operation::Sync, libc::EIO));
        }
    }
    assert_eq!(bench.pool.free_count(), 64);
}

/// How much memory this process has, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[apply(backends)]
fn prepared_memory_is_given_back_and_may_be_read_into(kind: Kind) {
    const LEN: usize = 64 << 20;
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[7]).unwrap();
    let pool = BufferPool::new(1, LEN).unwrap();
    let (before, prepare) = (resident(), Completion::read(smallvec![pool.take().unwrap()]));
    file.prepare(prepare.clone());
    bench.wait(&prepare).unwrap();
    // Other tests run beside this one.
    assert!(kind != Kind::Uring || resident() > before + LEN as u64 / 2, "it has no memory");
    let read = Completion::read(prepare.take_buffers());
    file.read(0, read.clone());
    assert_eq!(bench.wait(&read).unwrap(), BLOCK);
    let buffers = read.take_buffers();
    assert_eq!((buffers.len(), buffers[0].len()), (1, LEN));
    assert_eq!(buffers[0][..BLOCK], [7; BLOCK]);
}
