//! What every back-end promises, asked of each.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use rstest::rstest;
use rstest_reuse::{apply, template};
use yieldb_core::{
    Buffer, BufferPool, Buffers, Completion, CompletionGroup, Create, Error, File, LockKind,
    OpenOptions, Operation, SharedBuffers,
};
use yieldb_io_backends::{Backend, MemoryDisk, RawHook, pread, uring};

const BLOCK: usize = 4096;

/// Which back-end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Uring,
    Pread,
    /// In memory, performed at once.
    Immediate,
    /// In memory, performed when turned.
    Yielding,
}

#[template]
#[rstest]
#[case::uring(Kind::Uring)]
#[case::pread(Kind::Pread)]
#[case::immediate(Kind::Immediate)]
#[case::yielding(Kind::Yielding)]
fn backends(#[case] kind: Kind) {}

/// A back-end and a place for its files.
struct Bench {
    backend: Backend,
    disk: MemoryDisk,
    directory: tempfile::TempDir,
    pool: Arc<BufferPool>,
}

/// Leaves results as they are.
struct Untouched;

impl RawHook for Untouched {
    fn raw(&self, _operation: Operation, _offset: u64, _len: usize, result: i32) -> i32 {
        result
    }
}

impl Bench {
    /// `None`, and a line that says so, where the kernel refuses io_uring.
    fn new(kind: Kind) -> Option<Bench> {
        Self::with_hook(kind, Arc::new(Untouched))
    }

    fn with_hook(kind: Kind, hook: Arc<dyn RawHook>) -> Option<Bench> {
        let disk = MemoryDisk::new();
        let backend = match kind {
            Kind::Pread => pread::with_hook("", Some(hook)).unwrap(),
            Kind::Immediate => disk.with_hook(None, hook),
            Kind::Yielding => disk.with_hook(Some(3), hook),
            Kind::Uring => match uring::with_hook("", Some(hook)) {
                Ok(backend) => backend,
                Err(error) => {
                    eprintln!("not tested: io_uring is refused: {error}");
                    return None;
                }
            },
        };
        // On the disk that the project is on: a file system in memory has other habits.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let pool = BufferPool::new(64, BLOCK).unwrap();
        Some(Bench { backend, disk, directory, pool })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn wait(&self, completion: &Completion) -> Result<usize, Error> {
        while !completion.finished() {
            self.backend.driver.wait(completion);
        }
        completion.result().unwrap()
    }

    fn open_with(&self, path: &Path, options: OpenOptions) -> Result<Arc<dyn File>, Error> {
        let completion = Completion::open();
        self.backend.io.open(path, options, completion.clone());
        self.wait(&completion)?;
        Ok(completion.take_file().expect("an open has a file"))
    }

    fn open(&self, name: &str) -> Arc<dyn File> {
        self.open_with(&self.path(name), options(Create::IfMissing)).unwrap()
    }

    /// Blocks that are filled with these bytes.
    fn blocks(&self, fills: &[u8]) -> SharedBuffers {
        let block = |fill: &u8| {
            let mut buffer = self.pool.take().unwrap();
            buffer.fill(*fill);
            buffer.share()
        };
        fills.iter().map(block).collect()
    }

    fn write(&self, file: &dyn File, offset: u64, fills: &[u8]) -> Result<usize, Error> {
        let completion = Completion::write(self.blocks(fills));
        file.write(offset, false, completion.clone());
        self.wait(&completion)
    }

    fn read_completion(&self, count: usize) -> Completion {
        Completion::read((0..count).map(|_| self.pool.take().unwrap()).collect())
    }

    /// Reads blocks and returns the bytes that arrived.
    fn read(&self, file: &dyn File, offset: u64, count: usize) -> Result<Vec<u8>, Error> {
        let completion = self.read_completion(count);
        file.read(offset, completion.clone());
        let len = self.wait(&completion)?;
        let mut bytes: Vec<u8> =
            completion.take_buffers().iter().flat_map(|buffer| buffer.to_vec()).collect();
        bytes.truncate(len);
        Ok(bytes)
    }

    fn size(&self, file: &dyn File) -> u64 {
        file.size().unwrap()
    }
}

fn options(create: Create) -> OpenOptions {
    OpenOptions { write: true, create, direct: true }
}

fn expected(fills: &[u8]) -> Vec<u8> {
    fills.iter().flat_map(|fill| [*fill; BLOCK]).collect()
}

fn errno_of<T>(result: Result<T, Error>) -> Option<i32> {
    result.err().and_then(|error| error.errno())
}

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
    let (rename, sync) = (Completion::directory(), Completion::directory());
    bench.backend.io.rename(&from, &to, rename.clone());
    bench.wait(&rename).unwrap();
    bench.backend.io.sync_directory(bench.directory.path(), sync.clone());
    bench.wait(&sync).unwrap();
    let file = bench.open_with(&to, options(Create::Never)).unwrap();
    assert_eq!(bench.read(&*file, 0, 1).unwrap(), expected(&[9]));
    let remove = Completion::directory();
    bench.backend.io.remove(&to, remove.clone());
    bench.wait(&remove).unwrap();
    assert_eq!(errno_of(bench.open_with(&to, options(Create::Never))), Some(libc::ENOENT));
}

#[apply(backends)]
fn more_requests_than_any_queue_holds(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    let pool = BufferPool::new(3000, BLOCK).unwrap();
    let mut group = CompletionGroup::silent();
    for index in 0..3000 {
        let mut buffer = pool.take().unwrap();
        buffer.fill((index % 251) as u8);
        let write = Completion::write(SharedBuffers::from_iter([buffer.share()]));
        group.add(&write);
        file.write(index * BLOCK as u64, false, write);
    }
    bench.wait(&group.build()).unwrap();
    assert_eq!(pool.free_count(), 3000);
    let reads: Vec<Completion> = (0..3000)
        .map(|index| {
            let read = Completion::read(Buffers::from_iter(pool.take()));
            file.read(index * BLOCK as u64, read.clone());
            read
        })
        .collect();
    for (index, read) in reads.iter().enumerate() {
        assert_eq!(bench.wait(read).unwrap(), BLOCK);
        assert_eq!(read.take_buffers()[0][..], [(index % 251) as u8; BLOCK]);
    }
    assert_eq!(bench.backend.driver.in_flight(), 0);
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

#[apply(backends)]
fn dropped_completions_give_their_buffers_back_when_the_io_is_over(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[1; 32]).unwrap();
    for round in 0..16 {
        file.read(round * BLOCK as u64, bench.read_completion(2));
        file.write(0, false, Completion::write(bench.blocks(&[2])));
    }
    bench.backend.driver.quiesce();
    assert_eq!(bench.backend.driver.in_flight(), 0);
    assert_eq!(bench.pool.free_count(), 64);
}

#[apply(backends)]
fn a_back_end_dropped_with_io_in_flight_ends_it(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[1; 32]).unwrap();
    let reads: Vec<Completion> = (0..8).map(|_| bench.read_completion(2)).collect();
    reads.iter().for_each(|read| file.read(0, read.clone()));
    let Bench { backend, pool, disk, .. } = bench;
    drop((backend, disk, file));
    for read in &reads {
        assert!(read.succeeded() || matches!(read.get_error(), Some(Error::Abandoned)), "{read:?}");
    }
    drop(reads);
    assert_eq!(pool.free_count(), 64);
}

#[apply(backends)]
fn a_submitter_that_exits_loses_nothing(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[3; 8]).unwrap();
    let submit = |index: u64| {
        let read = bench.read_completion(1);
        file.read(index * BLOCK as u64, read.clone());
        if index % 2 == 0 {
            bench.backend.driver.submit();
        }
        read
    };
    let reads: Vec<Completion> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|index| scope.spawn(move || submit(index))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for read in &reads {
        assert_eq!(bench.wait(read).unwrap(), BLOCK);
    }
}

#[apply(backends)]
fn a_submitter_that_sleeps_holds_nobody_up(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[3]).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let read = bench.read_completion(1);
    thread::scope(|scope| {
        let (read, file) = (read.clone(), file.clone());
        scope.spawn(move || {
            file.read(0, read);
            // Asleep until the main thread has its result.
            receiver.recv().unwrap();
        });
        // The immediate back-end never has anything in flight.
        while bench.backend.driver.in_flight() == 0 && kind != Kind::Immediate {
            thread::yield_now();
        }
        bench.backend.driver.poll();
        sender.send(()).unwrap();
    });
    assert_eq!(bench.wait(&read).unwrap(), BLOCK);
}

#[apply(backends)]
fn several_threads_wait_each_for_its_own(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    let fills: Vec<u8> = (0..32).collect();
    bench.write(&*file, 0, &fills).unwrap();
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (bench, file) = (&bench, &file);
            scope.spawn(move || {
                for round in 0..500 {
                    let block = (thread * 7 + round * 5) % 32;
                    let bytes = bench.read(&**file, block * BLOCK as u64, 1).unwrap();
                    assert_eq!(bytes, [block as u8; BLOCK]);
                }
            });
        }
    });
    assert_eq!(bench.pool.free_count(), 64);
}

#[apply(backends)]
fn several_threads_wait_for_the_same(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[1]).unwrap();
    for _ in 0..200 {
        let read = bench.read_completion(1);
        file.read(0, read.clone());
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert_eq!(bench.wait(&read).unwrap(), BLOCK));
            }
        });
    }
}

/// Submits another read when it is woken, until there were enough.
struct Chain {
    file: Arc<dyn File>,
    pool: Arc<BufferPool>,
    current: Mutex<Completion>,
    left: AtomicUsize,
}

impl Wake for Chain {
    fn wake(self: Arc<Self>) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.left.store(0, Ordering::SeqCst);
            return;
        }
        self.next();
    }
}

impl Chain {
    fn next(self: &Arc<Self>) {
        let buffer: Option<Buffer> = self.pool.take();
        let mut read = Completion::read(Buffers::from_iter(buffer));
        self.file.read(0, read.clone());
        *self.current.lock().unwrap() = read.clone();
        let waker = Waker::from(self.clone());
        if Pin::new(&mut read).poll(&mut Context::from_waker(&waker)).is_ready() {
            waker.wake();
        }
    }
}

#[apply(backends)]
fn wakers_may_submit(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[1]).unwrap();
    let chain = Arc::new(Chain {
        file,
        pool: bench.pool.clone(),
        current: Mutex::new(Completion::signal()),
        left: AtomicUsize::new(50),
    });
    chain.next();
    while chain.left.load(Ordering::SeqCst) > 0 {
        let current = chain.current.lock().unwrap().clone();
        if current.finished() {
            thread::yield_now();
        } else {
            bench.backend.driver.wait(&current);
        }
    }
    bench.backend.driver.quiesce();
}

#[apply(backends)]
fn locks_exclude_other_handles_until_they_are_dropped(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let (first, second) = (bench.open("file"), bench.open("file"));
    assert!(first.try_lock(LockKind::Exclusive).unwrap());
    assert!(!second.try_lock(LockKind::Exclusive).unwrap());
    assert!(!second.try_lock(LockKind::Shared).unwrap());
    drop(first);
    assert!(second.try_lock(LockKind::Shared).unwrap());
    let third = bench.open("file");
    assert!(third.try_lock(LockKind::Shared).unwrap());
    let fourth = bench.open("file");
    assert!(!fourth.try_lock(LockKind::Exclusive).unwrap());
}

#[apply(backends)]
fn a_cancelled_request_is_over_when_it_is_finished(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[1; 16]).unwrap();
    let reads: Vec<Completion> = (0..16).map(|_| bench.read_completion(1)).collect();
    for read in &reads {
        file.read(0, read.clone());
        read.cancel();
    }
    for read in &reads {
        match bench.wait(read) {
            Ok(len) => assert_eq!(len, BLOCK),
            Err(error) => assert!(matches!(error, Error::Cancelled), "{error}"),
        }
    }
    drop(reads);
    assert_eq!(bench.pool.free_count(), 64);
}

#[rstest]
#[case(Kind::Uring)]
#[case(Kind::Pread)]
fn the_event_is_readable_when_there_is_something_to_do(#[case] kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[1]).unwrap();
    let fd = bench.backend.driver.event_fd().unwrap();
    while is_readable(fd, Duration::ZERO) {
        bench.backend.driver.poll();
    }
    let read = bench.read_completion(1);
    file.read(0, read.clone());
    while !read.finished() {
        assert!(is_readable(fd, Duration::from_secs(20)), "nothing to reap and nothing to submit");
        bench.backend.driver.poll();
    }
}

fn is_readable(fd: std::os::fd::RawFd, timeout: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    // The back-end outlives the call, and with it the descriptor.
    #[allow(unsafe_code)]
    // SAFETY: the caller holds the back-end that owns the descriptor.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0
}

#[rstest]
#[case(Kind::Uring)]
#[case(Kind::Pread)]
fn an_interrupted_wait_returns(#[case] kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let never = Completion::signal();
    thread::scope(|scope| {
        let wait = || bench.backend.driver.wait(&never);
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(wait)).collect();
        while !waiting.iter().all(|thread| thread.is_finished()) {
            bench.backend.driver.interrupt();
            thread::yield_now();
        }
    });
}
