//! The rows of the table: resume, step again, fail, drop; and that every operation is in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use yield_tests::rows::{baseline, drop_once, fail_once, resume, same_cache, sample, step_again};
use yield_tests::scenario::{ALL, image};
use yield_tests::world::{Policy, World};
use yieldb_core::injection::{Schedule, force, take_seen};

#[test]
fn resumed_anywhere_it_ends_the_same() {
    let image = image();
    for scenario in ALL {
        let expected = baseline(scenario, &image);
        let gates = expected.gates;
        let mut schedules = vec![Schedule::Always];
        schedules.extend(sample(gates, 300).map(Schedule::At));
        let dense = gates.min(64);
        let pairs = (0..dense).flat_map(|one| (one + 1..dense).map(move |two| (one, two)));
        let every = if gates <= 64 { 1 } else { 16 };
        schedules.extend(pairs.step_by(every).map(|(one, two)| Schedule::Both(one, two)));
        schedules.extend((0..60).map(|seed| Schedule::Random { seed, one_in: 1 + seed % 7 }));
        for schedule in schedules {
            resume(scenario, &image, schedule, &expected);
        }
    }
}

#[test]
fn resumed_anywhere_it_leaves_the_same_pages_in_the_cache() {
    let image = image();
    for scenario in ALL {
        same_cache(scenario, &image, Schedule::Always);
        for seed in 0..20 {
            same_cache(scenario, &image, Schedule::Random { seed, one_in: 1 + seed % 7 });
        }
    }
}

#[test]
fn stepped_again_while_it_waits_it_does_nothing() {
    let image = image();
    for scenario in ALL {
        let expected = baseline(scenario, &image);
        step_again(scenario, &image, &expected);
    }
}

#[test]
fn when_an_io_fails_it_fails_and_the_rest_goes_on() {
    let image = image();
    for scenario in ALL {
        let expected = baseline(scenario, &image);
        for io in sample(expected.ios, 200) {
            for errno in [libc::EIO, libc::ENOSPC] {
                let policy = Policy { fail: Some((io, errno)), ..Policy::default() };
                fail_once(scenario, &image, policy, &expected);
            }
        }
    }
}

#[test]
fn dropped_anywhere_it_leaves_nothing_behind() {
    let image = image();
    for scenario in ALL {
        let expected = baseline(scenario, &image);
        for again in [false, true] {
            for gate in sample(expected.gates, 400) {
                let policy = Policy { drop_at_yield: true, ..Policy::default() };
                drop_once(scenario, &image, policy, Schedule::At(gate), again, &expected);
            }
            for wait in sample(expected.waits, 400) {
                let policy = Policy { drop_at_wait: Some(wait), ..Policy::default() };
                drop_once(scenario, &image, policy, Schedule::Never, again, &expected);
            }
        }
    }
}

#[test]
fn every_operation_is_in_the_table() {
    let image = image();
    let _before = take_seen();
    for scenario in ALL {
        let world = World::open(&image, Policy::default());
        force(Schedule::Never, || (scenario.run)(&world, false)).0.unwrap();
    }
    let seen: BTreeSet<String> = take_seen().into_iter().map(machine_of_type).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut written = BTreeSet::new();
    for crate_root in ["src", "pager/src", "btree/src"] {
        machines_below(&root.join(crate_root), crate_root, &mut written);
    }
    assert!(written.len() >= 10, "the sources were not found: {written:?}");
    let missing: Vec<&String> = written.difference(&seen).collect();
    assert!(missing.is_empty(), "no scenario steps {missing:?}; those that do: {seen:?}");
}

/// `crate::file::Machine` of a type's full name.
fn machine_of_type(name: &str) -> String {
    let path = name.split('<').next().unwrap_or(name);
    let parts: Vec<&str> = path.split("::").collect();
    let krate = match parts[0] {
        "yieldb_pager" => "pager/src",
        "yieldb_btree" => "btree/src",
        _ => "src",
    };
    format!("{krate}: {}::{}", parts[parts.len() - 2], parts[parts.len() - 1])
}

/// The machines that the sources below a folder define.
fn machines_below(folder: &PathBuf, krate: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            machines_below(&path, krate, found);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        for after in source.split("StateTransition for ").skip(1) {
            let name: String = after.chars().take_while(|c| c.is_alphanumeric()).collect();
            found.insert(format!("{krate}: {file}::{name}"));
        }
    }
}
