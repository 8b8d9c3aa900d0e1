//! Who drives, who waits, and what becomes of what nobody waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rstest::rstest;
use rstest_reuse::apply;
use yieldb_core::{
    Arena, Buffer, BufferPool, Buffers, Completion, CompletionGroup, Driver, Error, File, LockKind,
    Request, SharedBuffer, SharedBuffers, Sink, buffer::Home,
};

use crate::{BLOCK, Bench, Kind, backends};

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
        if index.is_multiple_of(2) {
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

/// Threads of the kernel's that work for one that exits are stopped in the middle of it.
#[apply(backends)]
fn what_a_submitter_that_exits_has_begun_to_write_gets_there(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[0; 32]).unwrap();
    for round in 1..=50_u8 {
        let submit = |first: u64| -> Vec<Completion> {
            let write = |index: u64| {
                let write = Completion::write(bench.blocks(&[round]));
                file.write(index * BLOCK as u64, false, write.clone());
                write
            };
            let writes = (first..first + 8).map(write).collect();
            bench.backend.driver.submit();
            writes
        };
        let writes: Vec<Completion> = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|index| scope.spawn(move || submit(8 * index))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for write in &writes {
            assert_eq!(bench.wait(write).unwrap(), BLOCK);
        }
        drop(writes);
        assert!(bench.read(&*file, 0, 32).unwrap().iter().all(|byte| *byte == round));
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

/// Submits another read when the first one is over.
struct Follow {
    file: Arc<dyn File>,
    next: Completion,
}

impl Sink for Follow {
    fn finished(
        &self,
        _token: u64,
        result: Result<usize, Error>,
        _buffers: Buffers,
    ) -> Result<usize, Error> {
        // Long enough for the other one to be where nothing is sent out.
        thread::sleep(Duration::from_millis(50));
        self.file.read(0, self.next.clone());
        result
    }
}

/// The one who finished the first read goes away; the other one was there before the second was
/// submitted.
#[apply(backends)]
fn what_a_sink_submits_is_sent_out(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[1]).unwrap();
    let next = bench.read_completion(1);
    let sink = Arc::new(Follow { file: file.clone(), next: next.clone() });
    let first = Completion::read_into(bench.pool.take().into_iter().collect(), sink, 0);
    let over = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = [first.clone(), next]
        .into_iter()
        .map(|io| {
            let (driver, over) = (bench.backend.driver.clone(), over.clone());
            let waiter = thread::spawn(move || {
                while !io.finished() {
                    driver.wait(&io);
                }
                over.fetch_add(1, Ordering::SeqCst);
            });
            // Each is in its place before the next thing happens.
            thread::sleep(Duration::from_millis(50));
            waiter
        })
        .collect();
    file.read(0, first);
    bench.backend.driver.submit();
    for _ in 0..500 {
        if over.load(Ordering::SeqCst) == 2 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(over.load(Ordering::SeqCst), 2, "nobody sends out what the sink submitted");
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
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
    // Also when there are many at a time.
    let reads: Vec<Completion> = (0..40).map(|_| bench.read_completion(1)).collect();
    reads.iter().for_each(|read| file.read(0, read.clone()));
    while !reads.iter().all(Completion::finished) {
        assert!(is_readable(fd, Duration::from_secs(20)), "nothing to reap, and some are left");
        thread::sleep(Duration::from_millis(5));
        bench.backend.driver.poll();
    }
}

/// Whoever sleeps until the event is readable may wait for what another thread finishes.
#[rstest]
#[case(Kind::Uring)]
#[case(Kind::Pread)]
fn the_event_is_readable_when_another_thread_has_done_something(#[case] kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let driver = &bench.backend.driver;
    let file = bench.open("file");
    bench.write(&*file, 0, &[1]).unwrap();
    let fd = driver.event_fd().unwrap();
    for by_waiting in [false, true] {
        let read = bench.read_completion(1);
        file.read(0, read.clone());
        driver.submit();
        thread::sleep(Duration::from_millis(20));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !read.finished() {
                    match by_waiting {
                        true => driver.wait(&read),
                        false => drop(driver.poll_beside()),
                    }
                }
            });
        });
        assert!(is_readable(fd, Duration::ZERO), "nobody is told, by waiting: {by_waiting}");
        while is_readable(fd, Duration::ZERO) {
            driver.poll();
        }
    }
}

/// A loop of one's own gives each of its operations a step between two looks.
#[test]
fn a_poll_takes_all_that_has_come() {
    let Some(bench) = Bench::new(Kind::Uring) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[1]).unwrap();
    // A slow device needs longer, and a loop that takes a part of them does not get there at all.
    let is_all_taken = (1..10).any(|attempt| {
        let reads: Vec<Completion> = (0..60).map(|_| bench.read_completion(1)).collect();
        reads.iter().for_each(|read| file.read(0, read.clone()));
        bench.backend.driver.submit();
        thread::sleep(Duration::from_millis(20 * attempt));
        let taken = bench.backend.driver.poll();
        bench.backend.driver.quiesce();
        taken == reads.len()
    });
    assert!(is_all_taken);
}

/// More results than the kernel has room for, and nobody who submits anything more or waits.
#[rstest]
fn results_that_the_queue_has_no_room_for_come_by_polling(
    #[values(513, 560, 700, 1_100, 2_000)] count: u32,
) {
    let Some(bench) = Bench::new(Kind::Uring) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[1]).unwrap();
    let pool = BufferPool::new(count, BLOCK).unwrap();
    let read = || Completion::read(std::iter::once(pool.take().unwrap()).collect());
    let reads: Vec<Completion> = (0..count).map(|_| read()).collect();
    reads.iter().for_each(|read| file.read(0, read.clone()));
    bench.backend.driver.submit();
    // So that the queue is full, and few are left behind it.
    thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    while !reads.iter().all(Completion::finished) {
        bench.backend.driver.poll();
        assert!(begun.elapsed() < Duration::from_secs(20), "some are left");
    }
    assert!(reads.iter().all(Completion::succeeded));
}

/// Memory that somebody waits for, as for a frame of a cache: he is told when it is given back.
struct Awaited(Arena, Completion);

impl Home for Awaited {
    fn give_back(&self, _token: u64) {
        self.1.succeed(0);
    }
}

/// Sends out what there is, as one who steps what was woken at once.
struct Eager(Arc<dyn Driver>, mpsc::Sender<()>);

impl Wake for Eager {
    fn wake(self: Arc<Self>) {
        self.0.submit();
        self.1.send(()).unwrap();
    }
}

#[apply(backends)]
fn who_waits_for_the_memory_of_a_write_may_submit_when_he_is_woken(kind: Kind) {
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    let (given_back, (sender, is_told)) = (Completion::signal(), mpsc::channel());
    let waker = Waker::from(Arc::new(Eager(bench.backend.driver.clone(), sender)));
    assert!(given_back.register(&waker));
    let home = Arc::new(Awaited(Arena::new(BLOCK, false).unwrap(), given_back));
    let start = home.0.start();
    #[allow(unsafe_code)]
    // SAFETY: the memory is as long, is its home's, and nobody else has it.
    let buffer = unsafe { SharedBuffer::from_raw(start, BLOCK, home, 0) };
    let write = Completion::write(SharedBuffers::from_iter([buffer]));
    file.write(0, false, write.clone());
    let driver = bench.backend.driver.clone();
    thread::spawn(move || {
        while !write.finished() {
            driver.wait(&write);
        }
    });
    is_told.recv_timeout(Duration::from_secs(60)).expect("it waits for itself");
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

/// Threads come, wait for one thing, and leave: those who are left are not left asleep.
#[apply(backends)]
fn who_leaves_leaves_nobody_asleep(kind: Kind) {
    const ROUNDS: usize = 500;
    let Some(bench) = Bench::new(kind) else { return };
    let file = bench.open("file");
    bench.write(&*file, 0, &[3; 8]).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let rounds = move || {
        for _ in 0..ROUNDS {
            let signal = Completion::signal();
            thread::scope(|scope| {
                scope.spawn(|| bench.wait(&signal).unwrap());
                let read = |index: u64| bench.read(&*file, index * BLOCK as u64, 1).unwrap();
                let readers: Vec<_> =
                    (0..4).map(|index| scope.spawn(move || read(index))).collect();
                for reader in readers {
                    assert_eq!(reader.join().unwrap(), [3; BLOCK]);
                }
                signal.succeed(0);
            });
            sender.send(()).unwrap();
        }
    };
    let rounds = thread::spawn(rounds);
    for round in 0..ROUNDS {
        let came = receiver.recv_timeout(Duration::from_secs(60));
        came.unwrap_or_else(|_| panic!("round {round}: somebody sleeps"));
    }
    rounds.join().unwrap();
}
