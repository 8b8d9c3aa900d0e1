//! What a database's name may lead to: symbolic links and hard links are followed, everything that
//! is no regular file is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use faults::place::{Place, assert_whole, choices, create, fill, options, skip};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use yieldb::{Create, ErrorKind, Options};
use yieldb_core::{Clock, Completion, IO, OpenOptions};

#[test]
fn symbolic_links_are_followed_and_lead_to_the_same_lock() {
    for choice in choices() {
        let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir(place.path("data")).unwrap();
        let (file, link) = (place.path("data/file"), place.path("link"));
        symlink("data/file", &link).unwrap();
        symlink("link", place.path("link of a link")).unwrap();
        let database = create(choice, &file, 100);
        let error = options(choice).open(place.path("link of a link")).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        drop(database);
        let database = options(choice).open(&link).wait().unwrap();
        fill(&database, 100..200).unwrap();
        drop(database);
        assert_whole(&options(choice).open(&file).wait().unwrap(), 200);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}

#[test]
fn symbolic_links_that_lead_nowhere_or_in_a_circle() {
    for choice in choices() {
        let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
        let (link, circle) = (place.path("link"), place.path("circle"));
        symlink(place.path("missing/file"), &link).unwrap();
        symlink(&circle, &circle).unwrap();
        for (path, errno) in [(&link, libc::ENOENT), (&circle, libc::ELOOP)] {
            let error = options(choice).create(Create::IfMissing).open(path).wait().unwrap_err();
            assert_eq!((error.kind(), error.errno()), (ErrorKind::System, Some(errno)), "{error}");
        }
        // Not through a link: nobody can say what is to be new, the link or the file.
        symlink("file", place.path("dangling")).unwrap();
        let open = options(choice).create(Create::New).open(place.path("dangling"));
        assert_eq!(open.wait().unwrap_err().errno(), Some(libc::EEXIST));
    }
}

/// Notes which directories are synced.
struct Noting {
    io: Arc<dyn IO>,
    synced: Arc<Mutex<Vec<PathBuf>>>,
}

impl Clock for Noting {
    fn now(&self) -> Duration {
        self.io.now()
    }
}

impl IO for Noting {
    fn open(&self, path: &Path, options: OpenOptions, completion: Completion) {
        self.io.open(path, options, completion);
    }

    fn remove(&self, path: &Path, completion: Completion) {
        self.io.remove(path, completion);
    }

    fn rename(&self, from: &Path, to: &Path, completion: Completion) {
        self.io.rename(from, to, completion);
    }

    fn sync_directory(&self, directory: &Path, completion: Completion) {
        self.synced.lock().unwrap().push(directory.to_path_buf());
        self.io.sync_directory(directory, completion);
    }

    fn random(&self, bytes: &mut [u8]) {
        self.io.random(bytes);
    }
}

#[test]
fn a_database_created_through_a_link_has_a_durable_name_where_the_link_leads() {
    for choice in choices() {
        let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
        let data = place.path("data");
        fs::create_dir(&data).unwrap();
        symlink("data/file", place.path("link")).unwrap();
        symlink("data", place.path("folder")).unwrap();
        for (name, file) in [("link", "file"), ("folder/other", "other")] {
            let mut backend = yieldb_io_backends::open(choice).unwrap();
            let synced = Arc::new(Mutex::new(Vec::new()));
            backend.io = Arc::new(Noting { io: backend.io, synced: synced.clone() });
            let options = Options::new().backend(backend).create(Create::IfMissing);
            drop(options.cache_bytes(1 << 20).open(place.path(name)).wait().unwrap());
            assert!(data.join(file).exists());
            assert_eq!(*synced.lock().unwrap(), [fs::canonicalize(&data).unwrap()]);
        }
    }
}

#[test]
fn hard_links_are_the_same_database() {
    for choice in choices() {
        let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
        let (first, second) = (place.path("first"), place.path("second"));
        let database = create(choice, &first, 100);
        fs::hard_link(&first, &second).unwrap();
        let error = options(choice).open(&second).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        drop(database);
        fill(&options(choice).open(&second).wait().unwrap(), 100..200).unwrap();
        fs::remove_file(&second).unwrap();
        assert_whole(&options(choice).open(&first).wait().unwrap(), 200);
    }
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    let (pipe, socket) = (place.path("pipe"), place.path("socket"));
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    let mut paths = vec![place.root().to_path_buf(), pipe, socket];
    paths.extend(["/dev/null", "/dev/zero", "/proc/self/fd"].map(PathBuf::from));
    let device = ["/dev/loop0", "/dev/vda", "/dev/sda"].map(PathBuf::from);
    match device.into_iter().find(|path| fs::File::open(path).is_ok()) {
        // To be read only: a test that fails is to leave the machine whole.
        Some(device) => {
            for choice in choices() {
                let error = options(choice).read_only(true).open(&device).wait().unwrap_err();
                assert_eq!(error.errno(), Some(libc::ENOTSUP), "{error}");
            }
        }
        None => skip("a block device: there is none that this user may read"),
    }
    for choice in choices() {
        for path in &paths {
            for read_only in [true, false] {
                let open = options(choice).create(Create::IfMissing).read_only(read_only);
                let error = open.open(path).wait().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::System, "{error}");
                let refusals = [libc::EISDIR, libc::ENOTSUP, libc::ENXIO, libc::EACCES];
                assert!(refusals.contains(&error.errno().unwrap()), "{error}");
                assert!(error.to_string().starts_with(&*path.to_string_lossy()), "{error}");
            }
        }
    }
}

#[test]
fn a_path_through_a_file_or_with_impossible_names_is_an_error() {
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    fs::write(place.path("file"), "text").unwrap();
    let long = "x".repeat(300);
    for choice in choices() {
        for (name, errno) in [
            ("file/database", libc::ENOTDIR),
            ("missing/database", libc::ENOENT),
            (&long, libc::ENAMETOOLONG),
            ("a\0b", libc::EINVAL),
        ] {
            let open = options(choice).create(Create::IfMissing).open(place.path(name));
            assert_eq!(open.wait().unwrap_err().errno(), Some(errno), "{name:?}");
        }
        let error = options(choice).create(Create::IfMissing).open("").wait().unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOENT));
    }
}
