//! What completions, groups and cancellation promise.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::{future::Future, pin::Pin, thread};

use yieldb_core::{
    AnyCompletion, BufferPool, Buffers, Canceller, Completion, CompletionGroup, CompletionKind,
    Error, IoError, Operation, Request, Result, Sink,
};

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn io_error(errno: i32) -> Error {
    let file = std::path::Path::new("file").into();
    IoError { operation: Operation::Read, file, offset: 8, len: 4, done: 1, errno }.into()
}

fn errno_of(completion: &Completion) -> Option<i32> {
    completion.get_error().and_then(|error| error.errno())
}

#[test]
fn it_is_over_once_and_all_handles_see_the_same_end() {
    let completion = Completion::signal();
    let other = completion.clone();
    assert!(!completion.finished() && completion.result().is_none());
    assert!(completion.succeed(7));
    assert!(!completion.fail(io_error(5)), "the second end counts for nothing");
    assert!(other.succeeded() && !other.failed() && other.get_error().is_none());
    assert_eq!(other.result().unwrap().unwrap(), 7);
}

#[test]
fn an_error_says_what_was_asked_and_how_far_it_got() {
    let completion = Completion::sync();
    completion.fail(io_error(libc::EIO));
    assert!(completion.failed() && completion.finished());
    assert_eq!(errno_of(&completion), Some(libc::EIO));
    let text = completion.get_error().unwrap().to_string();
    assert!(text.starts_with("read of file at offset 8, 1 of 4 bytes: Input/output"), "{text}");
}

#[test]
fn an_explicit_yield_is_never_taken_for_finished_io() {
    let completion = Completion::new_yield();
    assert!(completion.is_explicit_yield());
    assert!(!completion.finished() && !completion.succeeded() && !completion.failed());
    assert_eq!(completion.kind(), CompletionKind::Yield);
    completion.cancel();
    assert!(!completion.finished());
}

#[test]
fn the_future_of_a_yield_is_pending_once() {
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut completion = Completion::new_yield();
    let mut context = Context::from_waker(&waker);
    assert!(Pin::new(&mut completion).poll(&mut context).is_pending());
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "it asks to be polled again");
    assert!(Pin::new(&mut completion).poll(&mut context).is_ready());
}

#[test]
fn every_waiter_is_woken_and_one_that_polls_twice_once() {
    let counts: Vec<Arc<Count>> = (0..5).map(|_| Arc::default()).collect();
    let completion = Completion::signal();
    for count in &counts {
        let waker = Waker::from(count.clone());
        let mut future = completion.clone();
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut future).poll(&mut context).is_pending());
        assert!(Pin::new(&mut future).poll(&mut context).is_pending());
    }
    completion.succeed(3);
    assert!(counts.iter().all(|count| count.0.load(Ordering::SeqCst) == 1));
    let mut late = completion.clone();
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(Pin::new(&mut late).poll(&mut context), Poll::Ready(Ok(3))));
}

#[test]
fn a_waker_may_finish_and_submit_others() {
    /// Finishes another completion, and makes a new one, when it is woken.
    struct Chain(Completion, Mutex<Option<Completion>>);
    impl Wake for Chain {
        fn wake(self: Arc<Self>) {
            self.0.succeed(1);
            *self.1.lock().unwrap() = Some(Completion::signal());
        }
    }
    let (first, second) = (Completion::signal(), Completion::signal());
    let chain = Arc::new(Chain(second.clone(), Mutex::default()));
    assert!(first.register(&Waker::from(chain.clone())));
    first.succeed(0);
    assert!(second.succeeded());
    assert!(chain.1.lock().unwrap().is_some());
}

#[test]
fn the_last_handle_dropped_unfinished_tells_whoever_depends_on_it() {
    let child = Completion::signal();
    let mut group = CompletionGroup::silent();
    group.add(&child);
    let group = group.build();
    assert!(!group.finished());
    drop(child);
    assert!(matches!(group.get_error(), Some(Error::Abandoned)));
}

#[test]
fn a_finished_completion_gives_its_place_back() {
    let completion = Completion::signal();
    let weak = completion.downgrade();
    assert_eq!(weak.upgrade().unwrap().id(), completion.id());
    completion.succeed(0);
    drop(completion);
    assert!(weak.upgrade().is_none());
    // Somebody else may have the place now; the old name must not reach it.
    let others: Vec<Completion> = (0..64).map(|_| Completion::signal()).collect();
    assert!(weak.upgrade().is_none());
    drop(others);
}

// Groups.

#[test]
fn a_group_is_over_when_every_child_is_and_its_error_is_the_first() {
    let children: Vec<Completion> = (0..3).map(|_| Completion::signal()).collect();
    let mut group = CompletionGroup::silent();
    children.iter().for_each(|child| group.add(child));
    let group = group.build();
    children[1].fail(io_error(28));
    children[0].fail(io_error(5));
    assert!(!group.finished(), "the error does not end it early");
    children[2].succeed(0);
    assert_eq!(errno_of(&group), Some(28));
}

#[test]
fn an_empty_group_is_done_at_once() {
    assert!(CompletionGroup::silent().build().succeeded());
    assert!(AnyCompletion::default().build().succeeded());
}

#[test]
fn a_child_that_is_over_counts_with_its_result() {
    let failed = Completion::signal();
    failed.fail(io_error(5));
    let pending = Completion::signal();
    let mut group = CompletionGroup::silent();
    group.add(&failed);
    group.add(&pending);
    let group = group.build();
    assert!(!group.finished());
    pending.succeed(0);
    assert_eq!(errno_of(&group), Some(5));
}

#[test]
fn a_group_does_not_finish_between_two_additions() {
    let (first, second) = (Completion::signal(), Completion::signal());
    let mut group = CompletionGroup::silent();
    group.add(&first);
    first.succeed(0);
    group.add(&second);
    let group = group.build();
    assert!(!group.finished(), "the builder's own count was lost");
    second.succeed(0);
    assert!(group.succeeded());
}

#[test]
fn a_callback_runs_exactly_once_also_when_nobody_holds_the_group() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let child = Completion::signal();
    let mut group = CompletionGroup::new(move |result| {
        assert!(result.is_err());
        count.fetch_add(1, Ordering::SeqCst);
    });
    group.add(&child);
    drop(group.build());
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    child.fail(io_error(5));
    child.fail(io_error(6));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn groups_nest() {
    let leaves: Vec<Completion> = (0..4).map(|_| Completion::signal()).collect();
    let mut outer = CompletionGroup::silent();
    for pair in leaves.chunks(2) {
        let mut inner = CompletionGroup::silent();
        pair.iter().for_each(|leaf| inner.add(leaf));
        outer.add(&inner.build());
    }
    let outer = outer.build();
    for (index, leaf) in leaves.iter().enumerate() {
        assert!(!outer.finished(), "before leaf {index}");
        leaf.succeed(0);
    }
    assert!(outer.succeeded());
}

#[test]
fn groups_and_children_are_no_cycle() {
    let child = Completion::signal();
    let mut group = CompletionGroup::silent();
    group.add(&child);
    let group = group.build();
    let (weak_child, weak_group) = (child.downgrade(), group.downgrade());
    child.succeed(0);
    drop((child, group));
    assert!(weak_child.upgrade().is_none() && weak_group.upgrade().is_none());
}

#[test]
#[should_panic(expected = "cannot be a member of a group")]
fn a_yield_in_a_group_is_a_mistake() {
    CompletionGroup::silent().add(&Completion::new_yield());
}

#[test]
fn any_is_over_with_the_first_and_the_rest_goes_on() {
    let (slow, quick) = (Completion::signal(), Completion::signal());
    let mut any = AnyCompletion::default();
    any.add(&slow);
    any.add(&quick);
    let any = any.build();
    quick.fail(io_error(5));
    assert_eq!(errno_of(&any), Some(5));
    assert!(!slow.finished());
    slow.succeed(0);
    assert_eq!(errno_of(&any), Some(5), "later children have nothing left to say");
}

#[test]
fn children_that_finish_on_other_threads_while_it_is_built_are_not_lost() {
    for round in 0..2_000 {
        let children: Vec<Completion> = (0..8).map(|_| Completion::signal()).collect();
        let calls = Arc::new(AtomicUsize::new(0));
        let group = thread::scope(|scope| {
            for half in children.chunks(4) {
                scope.spawn(move || half.iter().for_each(|child| assert!(child.succeed(0))));
            }
            let count = calls.clone();
            let mut group = CompletionGroup::new(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            });
            children.iter().for_each(|child| group.add(child));
            group.build()
        });
        assert!(group.succeeded(), "round {round}: a child was lost");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "round {round}");
    }
}

#[test]
fn two_threads_that_finish_it_make_one_end() {
    for _ in 0..2_000 {
        let completion = Completion::signal();
        let count = Arc::new(Count::default());
        completion.register(&Waker::from(count.clone()));
        let wins: usize = thread::scope(|scope| {
            let tries: Vec<_> = (0..2)
                .map(|len| {
                    let completion = completion.clone();
                    scope.spawn(move || usize::from(completion.succeed(len)))
                })
                .collect();
            tries.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((wins, count.0.load(Ordering::SeqCst)), (1, 1));
    }
}

// Cancellation.

/// Notes which completion it was asked to end.
#[derive(Default)]
struct Asked(AtomicU64);

impl Canceller for Asked {
    fn cancel(&self, completion: &Completion) {
        self.0.store(completion.id(), Ordering::SeqCst);
    }
}

#[test]
fn cancelling_only_asks() {
    let asked = Arc::new(Asked::default());
    let canceller: Arc<dyn Canceller> = asked.clone();
    let completion = Completion::sync();
    assert!(completion.accept(Arc::downgrade(&canceller)));
    completion.cancel();
    assert_eq!(asked.0.load(Ordering::SeqCst), completion.id());
    assert!(!completion.finished(), "only whoever performs it ends it");
    completion.succeed(0);
    assert!(completion.succeeded(), "and it may succeed");
}

#[test]
fn cancelled_before_it_is_accepted_it_is_known_then() {
    let canceller: Arc<dyn Canceller> = Arc::new(Asked::default());
    let completion = Completion::sync();
    completion.cancel();
    assert!(!completion.accept(Arc::downgrade(&canceller)));
    completion.fail(Error::Cancelled);
}

#[test]
fn a_group_passes_the_request_on_and_waits_for_every_child() {
    let signals: Vec<Completion> = (0..2).map(|_| Completion::signal()).collect();
    let io = Completion::sync();
    let mut group = CompletionGroup::silent();
    signals.iter().for_each(|signal| group.add(signal));
    group.add(&io);
    let group = group.cancel();
    assert!(signals.iter().all(|signal| matches!(signal.get_error(), Some(Error::Cancelled))));
    assert!(!group.finished(), "the I/O is still in flight");
    io.succeed(0);
    assert!(matches!(group.get_error(), Some(Error::Cancelled)));
}

// Sinks.

/// Refuses what is odd, and notes the token and how many buffers it was given.
#[derive(Default)]
struct Odd(Mutex<Vec<(u64, usize)>>);

impl Sink for Odd {
    fn finished(&self, token: u64, result: Result<usize>, buffers: Buffers) -> Result<usize> {
        self.0.lock().unwrap().push((token, buffers.len()));
        match result? {
            len if len % 2 == 1 => Err(Error::Rejected { number: token, what: "odd" }),
            len => Ok(len * 10),
        }
    }
}

#[test]
fn a_sink_sees_the_result_once_before_anybody_who_waits() {
    let sink = Arc::new(Odd::default());
    let pool = BufferPool::new(2, 4096).unwrap();
    for (len, token) in [(4, 1), (5, 2)] {
        let buffers = Buffers::from_iter(pool.take());
        let read = Completion::read_into(buffers, sink.clone(), token);
        let buffers = read.take_buffers();
        read.succeed_read(len, buffers);
        match read.result().unwrap() {
            Ok(len) => assert_eq!((len, token), (40, 1)),
            Err(error) => assert!(error.to_string().contains("number 2"), "{error}"),
        }
    }
    assert_eq!(*sink.0.lock().unwrap(), [(1, 1), (2, 1)]);
    assert_eq!(pool.free_count(), 2);
}

#[test]
fn a_sink_is_told_also_when_nobody_waits_any_more() {
    let sink = Arc::new(Odd::default());
    let pool = BufferPool::new(1, 4096).unwrap();
    let read = Completion::read_into(Buffers::from_iter(pool.take()), sink.clone(), 9);
    drop(read);
    assert_eq!(*sink.0.lock().unwrap(), [(9, 1)]);
    assert_eq!(pool.free_count(), 1, "the buffer came back");
}
