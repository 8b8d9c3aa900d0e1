//! The file may not grow any more (`EFBIG`): a commit fails, the database goes on.

use faults::place::{
    Child, Place, assert_whole, choices, create, fill, is_child, key, options, told, value,
};
use yieldb::{ErrorKind, MAIN};

#[test]
fn a_file_that_may_not_grow_fails_commits_and_nothing_else() {
    if is_child() {
        return limited();
    }
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    // 1 MiB, in blocks of 512 bytes; the signal that comes with it would end the process.
    let child = Child::new("file_size::a_file_that_may_not_grow_fails_commits_and_nothing_else");
    let child = child.prepare("trap '' XFSZ && ulimit -f 2048").tell("PLACE", place.root());
    child.run().unwrap();
    for choice in choices() {
        let path = place.path(&format!("{choice:?}"));
        let count = std::fs::read_to_string(path.with_extension("count")).unwrap();
        assert_whole(&options(choice).open(&path).wait().unwrap(), count.parse().unwrap());
    }
}

fn limited() {
    for choice in choices() {
        let path = told("PLACE").join(format!("{choice:?}"));
        let database = create(choice, &path, 100);
        let mut count = 100;
        let error = loop {
            match fill(&database, count..count + 500) {
                Ok(()) => count += 500,
                Err(error) => break error,
            }
            assert!(count < 100_000, "the file grows beyond its limit");
        };
        assert_eq!((error.kind(), error.errno()), (ErrorKind::System, Some(libc::EFBIG)));
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        // Twice: the failure has taken nothing away.
        for _ in 0..2 {
            assert_whole(&database, count);
            let error = fill(&database, count..count + 8_000).unwrap_err();
            assert_eq!(error.errno(), Some(libc::EFBIG), "{error}");
        }
        // What fits into free pages is stored; what is deleted makes room.
        let mut transaction = database.begin().wait().unwrap();
        for number in count - 300..count {
            assert!(transaction.delete(MAIN, key(number)).wait().unwrap());
        }
        transaction.commit().wait().unwrap();
        count -= 300;
        let mut transaction = database.begin().wait().unwrap();
        transaction.put(MAIN, key(count), value(count)).wait().unwrap();
        transaction.commit().wait().unwrap();
        assert_whole(&database, count + 1);
        std::fs::write(path.with_extension("count"), (count + 1).to_string()).unwrap();
    }
}
