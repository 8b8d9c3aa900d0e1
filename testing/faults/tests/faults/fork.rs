//! A fork with an open handle: what needs the file is an error in the child, and the parent does
//! not notice.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use faults::place::{
    Child, Place, assert_whole, choices, create, fill, is_child, key, options, told, value,
};
use rustix::process::{Pid, WaitOptions, waitpid};
use yieldb::{Choice, Database, Error, ErrorKind, MAIN};

const COUNT: u32 = 8_000;

#[test]
fn a_fork_cannot_use_the_handle_and_the_parent_can() {
    if is_child() {
        choices().into_iter().for_each(forked);
        return;
    }
    // In a process with nothing else in it.
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    let child = Child::new("fork::a_fork_cannot_use_the_handle_and_the_parent_can");
    child.tell("PLACE", place.root()).run().unwrap();
}

/// Runs `work` in a fork of this process, and waits for its end.
fn in_fork(work: impl FnOnce()) {
    #[allow(unsafe_code)]
    // SAFETY: no other thread of this process holds a lock that the child would need: the test
    // harness waits, and the database was given no thread.
    let number = unsafe { libc::fork() };
    if number == 0 {
        let code = i32::from(catch_unwind(AssertUnwindSafe(work)).is_err());
        #[allow(unsafe_code)]
        // SAFETY: the child ends without running what belongs to the parent.
        unsafe {
            libc::_exit(code)
        }
    }
    let status = waitpid(Pid::from_raw(number), WaitOptions::empty()).unwrap();
    let (_, status) = status.expect("a child that has ended");
    assert_eq!(status.exit_status(), Some(0), "the child failed");
}

fn forked(choice: Choice) {
    let path = told("PLACE").join(format!("{choice:?}"));
    drop(create(choice, &path, COUNT));
    let database = options(choice).open(&path).wait().unwrap();
    assert!(database.info().space.used > 200);
    let snapshot = database.snapshot();
    let cached = snapshot.get(MAIN, key(5)).wait().unwrap().expect("an entry");
    // A read in flight, which is the parent's.
    let mut under_way = snapshot.get(MAIN, key(COUNT - 5));
    assert!(!under_way.step().unwrap().is_done());
    let mut under_way = Some(under_way);
    in_fork(|| {
        assert_eq!(&*cached, value(5));
        assert_eq!(database.turn(), 0);
        assert_forked(under_way.take().unwrap().wait());
        refused(choice, &path, &database);
    });
    let found = under_way.take().unwrap().wait().unwrap();
    assert_eq!(found.as_deref(), Some(&value(COUNT - 5)[..]));
    drop((found, cached));
    fill(&database, COUNT..COUNT + 20).unwrap();
    assert_whole(&database, COUNT + 20);
    drop(snapshot);
    // The child's last handle goes, and the lock is still the parent's.
    let mut database = Some(database);
    in_fork(|| drop(database.take()));
    let error = options(choice).open(&path).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    let database = database.unwrap();
    fill(&database, COUNT + 20..COUNT + 40).unwrap();
    assert_whole(&database, COUNT + 40);
}

/// Everything that the child is refused.
fn refused(choice: Choice, path: &Path, database: &Database) {
    let snapshot = database.snapshot();
    assert_forked(snapshot.get(MAIN, key(COUNT - 5)).wait());
    assert_forked(snapshot.get(MAIN, key(COUNT / 2)).wait());
    let mut step = snapshot.get(MAIN, key(COUNT / 3));
    assert_forked((0..1_000).find_map(|_| step.step().err()).map_or(Ok(()), Err));
    let get = pin!(snapshot.get(MAIN, key(COUNT / 4)));
    match get.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => assert_forked(result),
        Poll::Pending => panic!("it waits for somebody who is not there"),
    }
    assert_forked(fill(database, 0..3));
    let error = options(choice).open(path).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
}

fn assert_forked<T>(result: Result<T, Error>) {
    let error = result.err().expect("the fork used the parent's handle");
    assert!([ErrorKind::Usage, ErrorKind::Poisoned].contains(&error.kind()), "{error:?}");
    assert!(error.to_string().contains("a fork of the one that opened the database"), "{error}");
}
