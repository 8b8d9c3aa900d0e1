//! The kernel refuses io_uring: the fallback works, and says why it is used.

use faults::place::{Child, Place, assert_whole, fill, is_child, told};
use yieldb::{Choice, Create, ErrorKind, Options};

/// A system call that a back-end begins with, and how it may be refused.
const REFUSALS: [(&str, &str, i32); 6] = [
    ("io_uring_setup", "EPERM", libc::EPERM),
    ("io_uring_setup", "EACCES", libc::EACCES),
    ("io_uring_setup", "ENOSYS", libc::ENOSYS),
    ("io_uring_setup", "ENOMEM", libc::ENOMEM),
    ("io_uring_setup", "EMFILE", libc::EMFILE),
    ("io_uring_register", "EINVAL", libc::EINVAL),
];

#[test]
fn the_fallback_is_used_and_the_reason_is_told() {
    if is_child() {
        return refused();
    }
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    for (call, name, errno) in REFUSALS {
        let inject = format!("inject={call}:error={name}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
        let child = Child::new("ring_refused::the_fallback_is_used_and_the_reason_is_told");
        let child = child.under(&strace).tell("PLACE", place.root());
        child.tell("ERRNO", errno.to_string()).run_or_skip();
    }
}

fn refused() {
    let errno: i32 = told("ERRNO").to_string_lossy().parse().unwrap();
    let path = told("PLACE").join(errno.to_string());
    let options = Options::new().cache_bytes(1 << 20);
    let error = options.clone().io(Choice::Uring).open(&path).wait().unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::System, Some(errno)), "{error}");
    assert!(error.to_string().starts_with("no driver for the I/O: "), "{error}");
    assert!(!path.exists(), "a file was made without a driver");
    let database = options.create(Create::New).open(&path).wait().unwrap();
    let info = database.info();
    assert_eq!(info.driver, "pread");
    let reason = std::io::Error::from_raw_os_error(errno).to_string();
    assert_eq!(info.driver_reason, format!("io_uring is refused: {reason}"));
    fill(&database, 0..1_000).unwrap();
    assert_whole(&database, 1_000);
}
