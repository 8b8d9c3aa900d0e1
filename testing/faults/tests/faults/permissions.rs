//! Media that cannot be written, permissions that are missing, files that may not be changed:
//! refused with the operating system's reason; reading works wherever it may.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use faults::place::{
    Child, Place, assert_whole, choices, create, fill, is_child, options, skip, told,
};
use yieldb::{Choice, Create, Error, ErrorKind};

const COUNT: u32 = 300;

/// A database for each back-end in a directory of its own.
fn databases(place: &Place) {
    for choice in choices() {
        fs::create_dir(place.path(&format!("{choice:?}"))).unwrap();
        drop(create(choice, &database_of(place.root(), choice), COUNT));
    }
}

fn database_of(root: &Path, choice: Choice) -> std::path::PathBuf {
    root.join(format!("{choice:?}/db"))
}

fn assert_refused(error: &Error, errno: i32) {
    assert_eq!((error.kind(), error.errno()), (ErrorKind::System, Some(errno)), "{error}");
}

/// It can be read and not written, and nothing changes.
fn assert_readable_only(choice: Choice, path: &Path, errno: i32) {
    let before = fs::read(path).unwrap();
    for create in [Create::Never, Create::IfMissing] {
        let error = options(choice).create(create).open(path).wait().unwrap_err();
        assert_refused(&error, errno);
    }
    assert_whole(&options(choice).read_only(true).open(path).wait().unwrap(), COUNT);
    assert!(fs::read(path).unwrap() == before);
}

#[test]
fn permissions_bite() {
    if is_child() {
        return without_privileges();
    }
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    databases(&place);
    let child = Child::new("permissions::permissions_bite").tell("PLACE", place.root());
    if rustix::process::geteuid().is_root() {
        // Who may do anything is refused nothing.
        let caps = "--bounding-set=-dac_override,-dac_read_search";
        child.under(&["setpriv", caps]).run_or_skip();
    } else {
        child.run().unwrap();
    }
}

fn without_privileges() {
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for choice in choices() {
        let path = database_of(&told("PLACE"), choice);
        let folder = path.parent().unwrap().to_path_buf();
        set(&path, 0o000);
        for read_only in [true, false] {
            let open = options(choice).read_only(read_only).open(&path);
            assert_refused(&open.wait().unwrap_err(), libc::EACCES);
        }
        set(&path, 0o444);
        assert_readable_only(choice, &path, libc::EACCES);
        set(&path, 0o644);
        set(&folder, 0o555);
        let new = options(choice).create(Create::IfMissing).open(folder.join("new"));
        assert_refused(&new.wait().unwrap_err(), libc::EACCES);
        // No name is made for an existing one.
        assert_whole(&options(choice).open(&path).wait().unwrap(), COUNT);
        set(&folder, 0o000);
        for read_only in [true, false] {
            let open = options(choice).read_only(read_only).open(&path);
            assert_refused(&open.wait().unwrap_err(), libc::EACCES);
        }
        // The name of the file cannot be made durable: nothing is promised.
        set(&folder, 0o311);
        assert_refused(&options(choice).open(&path).wait().unwrap_err(), libc::EACCES);
        assert_whole(&options(choice).read_only(true).open(&path).wait().unwrap(), COUNT);
        set(&folder, 0o755);
        assert_whole(&options(choice).open(&path).wait().unwrap(), COUNT);
    }
}

#[test]
fn a_medium_that_is_mounted_to_be_read() {
    if is_child() {
        for choice in choices() {
            let path = database_of(&told("PLACE"), choice);
            assert_readable_only(choice, &path, libc::EROFS);
            // Also where the slots differ: there is no cache that would have to be written.
            let unsettled = path.with_file_name("unsettled");
            assert_readable_only(choice, &unsettled, libc::EROFS);
            let new = options(choice).create(Create::IfMissing).open(path.with_file_name("new"));
            assert_refused(&new.wait().unwrap_err(), libc::EROFS);
        }
        return;
    }
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    databases(&place);
    for choice in choices() {
        let path = database_of(place.root(), choice);
        let mut image = fs::read(&path).unwrap();
        image[4096 + 60] ^= 1;
        fs::write(path.with_file_name("unsettled"), image).unwrap();
    }
    let root = place.root().display();
    let mount = format!("mount --bind '{root}' '{root}' && mount -o remount,bind,ro '{root}'");
    let child = Child::new("permissions::a_medium_that_is_mounted_to_be_read");
    let unshare = match rustix::process::geteuid().is_root() {
        true => ["unshare", "--mount"].as_slice(),
        false => ["unshare", "--map-root-user", "--mount"].as_slice(),
    };
    child.under(unshare).prepare(mount).tell("PLACE", place.root()).run_or_skip();
}

/// Sets or removes an attribute of a file, if this user may and the file system knows it.
fn chattr(change: &str, path: &Path) -> bool {
    let output = match Command::new("chattr").arg(change).arg(path).output() {
        Ok(output) => output,
        Err(error) => {
            skip(&format!("chattr: {error}"));
            return false;
        }
    };
    if !output.status.success() {
        skip(&format!("chattr {change}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    output.status.success()
}

/// Takes an attribute away, also when the test fails: such a file cannot be removed.
struct Attribute<'a>(&'static str, &'a Path);

impl Drop for Attribute<'_> {
    fn drop(&mut self) {
        chattr(self.0, self.1);
    }
}

#[test]
fn files_that_may_not_be_changed() {
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    databases(&place);
    for choice in choices() {
        let path = database_of(place.root(), choice);
        for (set, remove) in [("+i", "-i"), ("+a", "-a")] {
            if !chattr(set, &path) {
                return;
            }
            let _attribute = Attribute(remove, &path);
            assert_readable_only(choice, &path, libc::EPERM);
        }
        // While it is open: commits fail, and work again.
        let database = options(choice).open(&path).wait().unwrap();
        assert!(chattr("+i", &path));
        let attribute = Attribute("-i", &path);
        let error = fill(&database, COUNT..COUNT + 50).unwrap_err();
        assert_refused(&error, libc::EPERM);
        assert_whole(&database, COUNT);
        drop(attribute);
        fill(&database, COUNT..COUNT + 50).unwrap();
        assert_whole(&database, COUNT + 50);
    }
}
