//! The file is taken away from under an open database: deleted, replaced, cut, grown, overwritten.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use faults::PAGE;
use faults::place::{Place, assert_whole, choices, create, fill, key, options, value};
use yieldb::{Database, ErrorKind, MAIN};
use yieldb_pager::log::path::LogPath;

const COUNT: u32 = 4_000;

/// A database with more pages than its cache has, so that reads go to the file.
fn each(work: impl Fn(&Place, &Path, Database)) {
    for choice in choices() {
        let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
        let path = place.path("db");
        let database = create(choice, &path, COUNT);
        let (pages, frames) = (database.info().space.used, database.info().cache_pages as u64);
        drop(database);
        // Opened again, nothing is cached.
        let database = options(choice).open(&path).wait().unwrap();
        assert!(pages > 80 && frames > 80, "{pages} pages, {frames} frames");
        work(&place, &path, database);
    }
}

fn log_of(path: &Path) -> PathBuf {
    LogPath::new(path.to_path_buf()).to_path_buf()
}

#[test]
fn deleted_while_open_it_goes_on_until_it_is_closed() {
    each(|_, path, database| {
        fs::remove_file(path).unwrap();
        fill(&database, COUNT..COUNT + 100).unwrap();
        assert_whole(&database, COUNT + 100);
        assert!(!path.exists());
    });
}

#[test]
fn replaced_while_open_it_goes_on_with_the_old_file_and_leaves_the_new_one_alone() {
    each(|place, path, database| {
        let other = place.path("other");
        fs::write(&other, b"something else").unwrap();
        fs::rename(&other, path).unwrap();
        fill(&database, COUNT..COUNT + 100).unwrap();
        assert_whole(&database, COUNT + 100);
        drop(database);
        assert_eq!(fs::read(path).unwrap(), b"something else");
    });
}

/// A copy has the same database id, so its log looks like the open database's own.
#[test]
fn renamed_while_open_it_leaves_the_log_of_a_copy_in_its_place_alone() {
    for (choice, has_log) in choices().into_iter().flat_map(|one| [(one, false), (one, true)]) {
        let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
        let [path, copy, old] = ["db", "copy", "old"].map(|name| place.path(name));
        let mut database = create(choice, &path, COUNT);
        for number in COUNT..COUNT + 4 {
            fill(&database, number..number + 1).unwrap();
        }
        // As a kill would leave them.
        fs::copy(&path, &copy).unwrap();
        fs::copy(log_of(&path), log_of(&copy)).unwrap();
        if !has_log {
            database.close().wait().unwrap();
            database = options(choice).open(&path).wait().unwrap();
        }
        assert_eq!(log_of(&path).exists(), has_log);
        fs::rename(&path, &old).unwrap();
        if has_log {
            fs::rename(log_of(&path), log_of(&old)).unwrap();
        }
        fs::rename(&copy, &path).unwrap();
        fs::rename(log_of(&copy), log_of(&path)).unwrap();
        let log = fs::read(log_of(&path)).unwrap();
        for number in COUNT + 4..COUNT + 8 {
            fill(&database, number..number + 1).unwrap();
        }
        // A log that is in use goes on, wherever it is; none is begun.
        assert_eq!(database.metrics().log.is_some(), has_log);
        database.close().wait().unwrap();
        assert!(fs::read(log_of(&path)).unwrap() == log, "it has another log's bytes");
        for (path, count) in [(path, COUNT + 4), (old, COUNT + 8)] {
            assert_whole(&options(choice).open(&path).wait().unwrap(), count);
        }
    }
}

#[test]
fn cut_while_open_what_is_gone_is_an_error_and_what_is_left_can_be_read() {
    each(|_, path, database| {
        let len = fs::metadata(path).unwrap().len();
        // In the middle of a page.
        let left = len / 2 / PAGE as u64 * PAGE as u64 + 1000;
        OpenOptions::new().write(true).open(path).unwrap().set_len(left).unwrap();
        let snapshot = database.snapshot();
        let (mut readable, mut lost) = (0, 0);
        for number in 0..COUNT {
            match snapshot.get(MAIN, key(number)).wait() {
                Ok(found) => {
                    assert_eq!(found.as_deref(), Some(&value(number)[..]));
                    readable += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
                    assert!(error.damaged_page().unwrap() >= left / PAGE as u64, "{error}");
                    lost += 1;
                }
            }
        }
        assert!(readable > 100 && lost > 100, "{readable} and {lost}");
        let report = snapshot.check(|_| {}).unwrap().wait().unwrap();
        assert!(report.damages.iter().all(|damage| damage.page >= left / PAGE as u64));
        assert!(report.damages.len() > 10);
    });
}

#[test]
fn emptied_while_open_every_read_is_an_error_and_a_commit_makes_no_second_database() {
    each(|_, path, database| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
        let snapshot = database.snapshot();
        for number in (0..COUNT).step_by(101) {
            let error = snapshot.get(MAIN, key(number)).wait().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        }
        let mut transaction = database.begin().wait().unwrap();
        let error = transaction.put(MAIN, b"key", b"value").wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    });
}

#[test]
fn overwritten_while_open_it_is_damage() {
    each(|_, path, database| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let len = fs::metadata(path).unwrap().len() as usize;
        file.write_all_at(&vec![0x5a; len - 2 * PAGE], 2 * PAGE as u64).unwrap();
        let error = database.snapshot().get(MAIN, key(7)).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        drop(database);
    });
}

#[test]
fn grown_while_open_nothing_changes() {
    each(|_, path, database| {
        let len = fs::metadata(path).unwrap().len();
        OpenOptions::new().write(true).open(path).unwrap().set_len(len * 3 + 7).unwrap();
        fill(&database, COUNT..COUNT + 100).unwrap();
        assert_whole(&database, COUNT + 100);
    });
}
