//! Completions: their slab, wakers, groups, and who is told of what.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use shuttle::thread;
use yieldb_core::{
    Arrivals, Buffers, Completion, CompletionGroup, CompletionKind, Error, Request, Result, Sink,
};

use crate::world::{sleep_until, thread, together};

/// Counts how often it is asked.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Sink for Counting {
    fn finished(&self, token: u64, result: Result<usize>, _buffers: Buffers) -> Result<usize> {
        assert_eq!(token, 7);
        self.0.fetch_add(1, Ordering::SeqCst);
        result.map(|len| len + 1)
    }
}

/// One read, two who sleep until its end, two who end it in different ways: one of them does, the
/// sink is asked once, and everybody sees the same end. One of those who wait changes his mind.
pub fn wakers() {
    let sink = Arc::new(Counting::default());
    let io = Completion::read_into(Buffers::new(), sink.clone(), 7);
    let ended = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sleepers = (0..2).map(|at| {
        let (io, seen) = (io.clone(), seen.clone());
        thread(move || {
            if at == 1 {
                let arrivals = Arrivals::new();
                if arrivals.watch(&io) {
                    arrivals.unwatch(&io);
                }
            }
            sleep_until(&io);
            let result = io.result().expect("a read that is finished has a result");
            assert_eq!(io.succeeded(), result.is_ok());
            seen.lock().expect("no thread panics").push(result);
        })
    });
    let enders = (0..2).map(|at| {
        let (io, ended) = (io.clone(), ended.clone());
        thread(move || {
            let is_first = if at == 0 { io.succeed(4) } else { io.fail(Error::Cancelled) };
            ended.fetch_add(usize::from(is_first), Ordering::SeqCst);
        })
    });
    together(sleepers.chain(enders).collect::<Vec<_>>());
    assert_eq!(ended.load(Ordering::SeqCst), 1, "it ends once");
    assert_eq!(sink.0.load(Ordering::SeqCst), 1, "the sink is asked once");
    let seen = seen.lock().expect("no thread panics");
    assert_eq!(seen.len(), 2);
    for result in seen.iter() {
        assert!(matches!(result, Ok(5) | Err(Error::Cancelled)), "{result:?}");
        assert_eq!(result.is_ok(), seen[0].is_ok(), "two ends of one read");
    }
}

/// Children of a group, and of a group in it, end, fail, are cancelled and dropped while it is
/// built: it ends once, and not before the last one.
pub fn groups() {
    let calls = Arc::new(AtomicUsize::new(0));
    let children: Vec<Completion> = (0..3).map(|_| Completion::signal()).collect();
    let weak: Vec<_> = children.iter().map(Completion::downgrade).collect();
    let counted = calls.clone();
    let fate = thread_rng().gen_range(0..4);
    let builder = {
        let children = children.clone();
        thread(move || {
            let mut inner = CompletionGroup::silent();
            inner.add(&children[0]);
            inner.add(&children[1]);
            let mut outer = CompletionGroup::new(move |result| {
                assert_eq!(result.is_ok(), fate == 0, "{result:?}");
                counted.fetch_add(1, Ordering::SeqCst);
            });
            outer.add(&children[2]);
            outer.add(&inner.build());
            drop(children);
            let whole = if fate == 1 { outer.cancel() } else { outer.build() };
            sleep_until(&whole);
            for child in &weak {
                assert!(child.upgrade().is_none_or(|child| child.finished()), "it ended early");
            }
            assert_eq!(whole.succeeded(), fate == 0, "{whole:?}");
        })
    };
    let enders = children.into_iter().enumerate().map(|(at, child)| {
        thread(move || match (fate, at) {
            // The builder may have cancelled it: somebody is the first.
            (1, _) => child.cancel(),
            (2, 1) => assert!(child.fail(Error::Cancelled)),
            // The last handle goes, with nobody left to end it.
            (3, 2) => drop(child),
            _ => assert!(child.succeed(0)),
        })
    });
    together(enders.chain([builder]).collect::<Vec<_>>());
    assert_eq!(calls.load(Ordering::SeqCst), 1, "the callback runs once");
}

/// A weak handle is upgraded while its completion goes and its slot is used again.
pub fn weak_handles() {
    let io = Completion::sync();
    let (weak, id) = (io.downgrade(), io.id());
    let upgrade = move || {
        for _ in 0..2 {
            if let Some(io) = weak.upgrade() {
                assert_eq!((io.id(), io.kind()), (id, CompletionKind::Sync), "another's handle");
            }
        }
    };
    let reuse = move || {
        io.succeed(0);
        drop(io);
        for _ in 0..2 {
            let other = Completion::truncate();
            assert_eq!(other.kind(), CompletionKind::Truncate);
            assert!(!other.finished());
            other.succeed(1);
            assert_eq!(other.result().expect("it is finished").ok(), Some(1));
        }
    };
    let beside = || {
        let own = Completion::directory();
        assert_eq!(own.kind(), CompletionKind::Directory);
        drop(own);
    };
    together([thread(upgrade), thread(reuse), thread(beside)]);
}

/// An operation with several reads in flight goes on with whichever is next: none is forgotten.
pub fn arrivals() {
    let reads: Vec<Completion> = (0..3).map(|_| Completion::signal()).collect();
    let finish = |reads: Vec<Completion>| {
        move || {
            for read in reads {
                assert!(read.succeed(0));
            }
        }
    };
    let (first, second) = (reads[..2].to_vec(), reads[2..].to_vec());
    let wait = move || {
        let arrivals = Arrivals::new();
        let mut left = reads;
        left.retain(|read| arrivals.watch(read));
        loop {
            left.retain(|read| !read.finished());
            if left.is_empty() {
                break;
            }
            sleep_until(&arrivals.next_signal());
        }
        thread::yield_now();
    };
    together([thread(wait), thread(finish(first)), thread(finish(second))]);
}
