//! Looking at a log without recovering it, and at a checkpoint without its log.

use std::path::Path;

use yieldb::inspect::RawFile;
use yieldb::{Batch, Choice, Database, ErrorKind, MAIN, Options};

fn options() -> Options {
    Options::new().io(Choice::Pread)
}

/// A database that was not closed after so many commits, each of one entry.
fn make(path: &Path, commits: u64) {
    let database = options().open(path).wait().unwrap();
    for number in 0..commits {
        let mut batch = Batch::new();
        batch.put(MAIN, number.to_be_bytes(), b"value");
        database.write(&batch).wait().unwrap();
    }
}

fn count(database: &Database) -> u64 {
    database.snapshot().count(MAIN).unwrap()
}

#[test]
fn a_checkpoint_is_read_without_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("some.db");
    make(&path, 9);
    let newest = options().read_only(true).open(&path).wait().unwrap();
    assert_eq!(count(&newest), 9);
    let raw = RawFile::open(&path, None).unwrap();
    assert!(raw.has_log());
    let log = raw.log().unwrap().unwrap();
    let summary = log.summary().unwrap();
    assert_eq!((summary.version, summary.damages.len()), (9, 0));
    let (in_log, log_path) = (summary.new_commits, log.path().to_path_buf());
    assert!(in_log > 0);
    drop((newest, raw));
    // Also where the log is lost.
    for _ in 0..2 {
        let older = options().checkpoint_only(true).open(&path).wait().unwrap();
        assert!(older.is_read_only());
        assert_eq!(count(&older), 9 - in_log);
        assert_eq!(older.begin().wait().unwrap_err().kind(), ErrorKind::Usage);
        assert!(older.snapshot().check(|_| {}).unwrap().wait().unwrap().damages.is_empty());
        if log_path.exists() {
            std::fs::remove_file(&log_path).unwrap();
        }
    }
    let error = options().open(&path).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LogMissing, "{error}");
    assert_eq!(
        RawFile::open(&path, None).unwrap().log().unwrap_err().kind(),
        ErrorKind::LogMissing
    );
}

#[test]
fn a_database_that_was_closed_has_no_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("some.db");
    make(&path, 9);
    options().open(&path).wait().unwrap().close().wait().unwrap();
    let raw = RawFile::open(&path, None).unwrap();
    assert!(!raw.has_log() && raw.log().unwrap().is_none() && !raw.log_path().exists());
    drop(raw);
    // Through a link, the log is where the file is.
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink("some.db", &link).unwrap();
    make(&link, 5);
    let raw = RawFile::open(&link, None).unwrap();
    assert_eq!(raw.log_path(), std::fs::canonicalize(&path).unwrap().with_file_name("some.db-log"));
    assert!(raw.log().unwrap().unwrap().summary().unwrap().new_commits > 0);
}
