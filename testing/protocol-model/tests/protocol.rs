//! The protocol keeps its promises in every run within the bounds, and no mistake goes unnoticed.
//!
//! `WRITE_COUNTEREXAMPLES=1` writes the scripts in `counterexamples/` anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use protocol_model::{Mistake, Model, SCENARIOS, explore, script};

/// Does `work` for each item, on as many threads as there are processors.
fn for_each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = Mutex::new(items.iter());
    let take = || next.lock().expect("no thread panics here").next();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = take() {
                    work(item);
                }
            });
        }
    });
}

#[test]
fn every_run_keeps_the_promises() {
    for_each(SCENARIOS, |scenario| {
        let found = explore(&Model::new(scenario.bounds, None));
        let broken = found.counterexample.as_ref().map(script);
        assert_eq!(broken, None, "{}: {}", scenario.name, broken.as_deref().unwrap_or_default());
        // Bounds that allow nothing would show nothing.
        assert!(found.states > 500 && found.ends > 500, "{} is too small", scenario.name);
    });
}

fn counterexamples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counterexamples")
}

#[test]
fn every_mistake_has_its_counterexample() {
    let is_to_be_written = std::env::var_os("WRITE_COUNTEREXAMPLES").is_some();
    for_each(Mistake::ALL, |mistake| {
        let name = mistake.name();
        let script = mistake.script().unwrap_or_else(|| panic!("{name} is not noticed"));
        let path = counterexamples().join(format!("{name}.txt"));
        if is_to_be_written {
            std::fs::write(&path, &script).expect("the sources can be written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(kept, script, "{name}: WRITE_COUNTEREXAMPLES=1 writes it anew");
    });
    let files = std::fs::read_dir(counterexamples()).expect("the folder is there");
    let files = files.map(|file| file.expect("it can be read").file_name());
    let files: BTreeSet<String> =
        files.map(|name| name.into_string().expect("names are ASCII")).collect();
    let expected: BTreeSet<String> =
        Mistake::ALL.iter().map(|mistake| format!("{}.txt", mistake.name())).collect();
    assert_eq!(files, expected, "each counterexample has its mistake");
    assert_eq!(expected.len(), Mistake::ALL.len(), "two mistakes have one name");
}
