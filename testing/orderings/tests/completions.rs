//! Completions under all executions of a few threads.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use loom::model::Builder;
use loom::thread;
use yieldb_core::injection::{Mistake, plant};
use yieldb_core::{Completion, CompletionGroup, CompletionKind, Error, Request};

/// Runs a program in every way there is; with `changes`, in every way with at most so many changes
/// of thread in the middle of something.
fn check(changes: Option<usize>, program: impl Fn() + Send + Sync + 'static) {
    let mut model = Builder::new();
    model.preemption_bound = changes;
    model.check(program);
}

/// Counts how often it is woken. Its own count is nothing that is checked.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Who sees that it is over sees how it ended.
#[test]
fn an_end_comes_with_its_result() {
    check(None, || {
        let io = Completion::sync();
        let other = io.clone();
        let ender = thread::spawn(move || assert!(other.succeed(7)));
        if io.finished() {
            assert_eq!(io.result().map(|result| result.ok()), Some(Some(7)));
        }
        ender.join().unwrap();
        assert_eq!(io.result().map(|result| result.ok()), Some(Some(7)));
    });
}

/// It ends once, whoever is the first, and each waker that was taken is woken.
#[test]
fn who_is_registered_is_woken() {
    check(None, || {
        let io = Completion::sync();
        let enders: Vec<_> = (0..2)
            .map(|at| {
                let io = io.clone();
                thread::spawn(
                    move || if at == 0 { io.succeed(1) } else { io.fail(Error::Cancelled) },
                )
            })
            .collect();
        let bell = Arc::new(Bell::default());
        let is_registered = io.register(&Waker::from(bell.clone()));
        let first = enders.into_iter().filter_map(|ender| ender.join().ok());
        assert_eq!(first.filter(|is_first| *is_first).count(), 1);
        assert!(io.finished());
        assert_eq!(bell.0.load(Ordering::SeqCst), usize::from(is_registered));
    });
}

/// A name that is worn out is nobody's, though its slot is taken, and abandoned, by others.
fn wear_out_a_name() {
    check(None, || {
        let io = Completion::sync();
        let (weak, id) = (io.downgrade(), io.id());
        let reuse = thread::spawn(move || {
            io.succeed(0);
            drop(io);
            // In the same slot; its last handle goes while it is pending.
            drop(Completion::truncate());
        });
        for _ in 0..2 {
            if let Some(io) = weak.upgrade() {
                assert_eq!((io.id(), io.kind()), (id, CompletionKind::Sync));
            }
        }
        reuse.join().unwrap();
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn a_worn_out_name_is_nobodys() {
    wear_out_a_name();
}

/// With one ordering less, the checker finds the execution in which it matters.
#[test]
fn a_planted_mistake_is_noticed() {
    let noticed = catch_unwind(|| plant(Mistake::NameNotOrdered, wear_out_a_name));
    assert!(noticed.is_err(), "not noticed");
}

/// The slot is given back once, behind the last use of it.
#[test]
fn the_last_handle_gives_the_slot_back() {
    check(None, || {
        let io = Completion::sync();
        io.succeed(3);
        let handles: Vec<_> = (0..2)
            .map(|_| {
                let io = io.clone();
                thread::spawn(move || {
                    assert_eq!(io.result().map(|result| result.ok()), Some(Some(3)));
                    drop(io);
                })
            })
            .collect();
        let weak = io.downgrade();
        drop(io);
        for handle in handles {
            handle.join().unwrap();
        }
        assert!(weak.upgrade().is_none());
        let (first, second) = (Completion::truncate(), Completion::truncate());
        assert_ne!(first.id(), second.id(), "one slot for two");
        first.succeed(0);
        second.succeed(0);
    });
}

/// A group whose children end while it is built ends once, behind both.
#[test]
fn a_group_ends_behind_its_children() {
    check(Some(3), || {
        let children = [Completion::signal(), Completion::signal()];
        let enders: Vec<_> = children
            .iter()
            .map(|child| {
                let child = child.clone();
                thread::spawn(move || assert!(child.succeed(0)))
            })
            .collect();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let mut group = CompletionGroup::new(move |result| {
            assert!(result.is_ok());
            counted.fetch_add(1, Ordering::SeqCst);
        });
        children.iter().for_each(|child| group.add(child));
        let both = group.build();
        if both.finished() {
            assert!(children.iter().all(Completion::finished));
        }
        for ender in enders {
            ender.join().unwrap();
        }
        assert!(both.succeeded());
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    });
}
