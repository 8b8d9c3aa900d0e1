//! No file descriptors are left: each open fails with the operating system's reason, and works once
//! there are some.

use faults::place::{Child, Place, assert_whole, choices, create, fill, is_child, options, told};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use yieldb::{Choice, Create, ErrorKind};

#[test]
fn each_open_without_descriptors_is_an_error() {
    if is_child() {
        return limited();
    }
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    let child = Child::new("descriptors::each_open_without_descriptors_is_an_error");
    child.tell("PLACE", place.root()).run().unwrap();
}

/// Runs `work` with room for only `count` more descriptors than are open.
fn with_room<R>(count: usize, work: impl FnOnce() -> R) -> R {
    let usual = getrlimit(Resource::Nofile);
    let open = |number: &u64| std::fs::exists(format!("/proc/self/fd/{number}")).unwrap();
    // The limit is on the numbers, and those that are free are used first.
    let limit = (0..).filter(|number| !open(number)).nth(count).expect("numbers do not end");
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), ..usual }).unwrap();
    let result = work();
    setrlimit(Resource::Nofile, usual).unwrap();
    result
}

fn limited() {
    let mut choices = choices();
    choices.push(Choice::Auto);
    for choice in choices {
        let existing = told("PLACE").join(format!("{choice:?}"));
        drop(create(choice, &existing, 100));
        for (name, create) in [("existing", Create::Never), ("new", Create::IfMissing)] {
            let mut failures = 0;
            for room in 0..20 {
                let path = match create {
                    Create::Never => existing.clone(),
                    _ => existing.with_extension(format!("{name}{room}")),
                };
                let open = || options(choice).create(create).open(&path).wait();
                match with_room(room, open) {
                    Ok(database) => {
                        fill(&database, 0..50).unwrap();
                        break;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::System, "{error}");
                        assert_eq!(error.errno(), Some(libc::EMFILE), "{error}");
                        failures += 1;
                    }
                }
                // What was begun is finished by the next one.
                let database = options(choice).create(create).open(&path).wait().unwrap();
                assert_whole(&database, if create == Create::Never { 100 } else { 0 });
            }
            assert!((2..19).contains(&failures), "{choice:?}: {failures} opens failed");
        }
        // An open database needs no more of them.
        let database = options(choice).open(&existing).wait().unwrap();
        with_room(0, || {
            fill(&database, 0..200).unwrap();
            assert_whole(&database, 200);
        });
    }
}
