//! Further processes for what a worker must not do itself: they are this program, with the same
//! arguments, and so find the same engine and the same workload.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use crate::Failure;
use crate::engine::{DEVICE, Engine, Session, Settings};
use crate::entries::{Key, key, number};
use crate::workload::Place;

/// What is set for a process that does a part of a worker's round.
const PART: &str = "YIELDB_BENCH_PART";

fn this_program() -> Result<Command, Failure> {
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1));
    Ok(command)
}

/// The number of the round that this process does a part of, if it was [started](start_part) for
/// one.
pub fn part() -> Option<u64> {
    env::var(PART).ok()?.parse().ok()
}

/// Starts a process for a part of a round. It does that when it is to prepare the workload, and
/// what it prints can be read.
pub fn start_part(round: u64) -> Result<Child, Failure> {
    let mut command = this_program()?;
    Ok(command.env(PART, round.to_string()).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
}

/// A directory with a database of the first `count` entries, which were loaded sorted.
///
/// The process that loads them begins anew when they are there, so that nothing of what that took
/// is left in its memory. With `is_kept` they are there the next time the program runs, and all
/// ways to drive an engine have the same.
pub fn loaded<E: Engine, V: AsRef<[u8]>>(
    place: &Place,
    settings: &Settings,
    is_kept: bool,
    count: u64,
    value: impl Fn(u64) -> V,
) -> Result<PathBuf, Failure> {
    let home = if is_kept { kept(place)? } else { place.directory.clone() };
    let (database, complete) = (home.join("loaded"), home.join("complete"));
    let what = format!("{count} entries with values of {} bytes\n", settings.value_len);
    if fs::read_to_string(&complete).is_ok_and(|found| found == what) {
        return Ok(database);
    }
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::create_dir_all(&database)?;
    let mut keys: Vec<Key> = (0..count).map(key).collect();
    keys.sort_unstable();
    let engine = E::open(&database, settings)?;
    let entries = keys.into_iter().map(|key| (key, value(number(&key))));
    engine.session()?.load(true, entries)?;
    engine.close()?;
    fs::write(complete, what)?;
    Err(this_program()?.exec().into())
}

/// Where the database of an engine outlives the worker: beside its directory, which is called
/// `WORKLOAD-ENGINE`, or `WORKLOAD-ENGINE-WAY`. The device has yieldb's.
pub fn kept(place: &Place) -> Result<PathBuf, Failure> {
    let directory = &place.directory;
    let name = directory.file_name().and_then(|name| name.to_str()).ok_or("no name")?;
    let mut words = name.split('-').map(|word| if word == DEVICE { "yieldb" } else { word });
    let (workload, engine) = words.next().zip(words.next()).ok_or("no engine")?;
    Ok(directory.with_file_name("kept").join(format!("{workload}-{engine}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_share_what_is_kept() -> Result<(), Failure> {
        let kept = |name: &str| kept(&Place { directory: name.into(), quick: false });
        assert_eq!(kept("/data/cold-yieldb-step")?, kept("/data/cold-yieldb")?);
        assert_eq!(kept("/data/cold-device")?, kept("/data/cold-yieldb")?);
        assert_eq!(kept("/data/cold-redb")?, PathBuf::from("/data/kept/cold-redb"));
        Ok(())
    }
}
