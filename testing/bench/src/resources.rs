//! What a process takes of the machine, and how much it may take.
#![allow(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::measure::{Measure, Unit};
use crate::{Failure, process};

/// Bytes that this process has had the device read and write; what is only in the kernel's cache
/// does not count, and what is there to be written does.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
}

impl Transfer {
    /// All of them up to now.
    pub fn now() -> Result<Transfer, Failure> {
        let counts = fs::read_to_string("/proc/self/io")?;
        Ok(Transfer {
            read: field(&counts, "read_bytes:")?,
            written: field(&counts, "write_bytes:")?,
        })
    }

    /// Those since `earlier`.
    pub fn since(earlier: Transfer) -> Result<Transfer, Failure> {
        let now = Transfer::now()?;
        Ok(Transfer { read: now.read - earlier.read, written: now.written - earlier.written })
    }
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Result<u64, Failure> {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    Ok(number.ok_or_else(|| format!("{name} is not in {text:?}"))?)
}

/// Memory from the allocator is one arena from now on: with one for each thread, which is the
/// usual, an engine takes much more than its cache.
///
/// # Errors
///
/// If the allocator knows nothing of it.
pub fn take_one_arena() -> Result<(), Failure> {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes numbers only.
    if unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) } != 1 {
        return Err("mallopt takes no M_ARENA_MAX".into());
    }
    Ok(())
}

/// From now on [`process::peak_memory`] is that of from now on.
pub fn forget_peak_memory() -> Result<(), Failure> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}

/// Sees to it that the kernel has nothing in memory of any file below a directory.
pub fn drop_cached(directory: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => drop_cached(&entry.path())?,
            kind if kind.is_file() => process::write_out(&entry.path())?,
            _ => {}
        }
    }
    Ok(())
}

/// A control group of this process, so that the kernel counts the memory that it takes, the cache
/// of the files that it uses included, and bounds it.
///
/// It outlives the process, which is in it: see [`remove_groups`].
#[derive(Debug)]
pub struct MemoryGroup {
    directory: PathBuf,
    /// The file that tells how much it was at most.
    peak: &'static str,
}

/// How the names of groups begin.
const GROUP: &str = "yieldb-bench-";

/// The two kinds of groups: where they are, the file with the limit, and that with the peak.
const KINDS: [[&str; 3]; 2] = [
    ["/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"],
    ["/sys/fs/cgroup", "memory.max", "memory.peak"],
];

impl MemoryGroup {
    /// Makes a group that may take so much memory, if there is a limit, and puts this process in
    /// it. What the process has already counts for the group that it was in.
    ///
    /// # Errors
    ///
    /// Where the kernel has no such groups, or this user may not make one.
    pub fn enter(limit: Option<u64>) -> Result<MemoryGroup, Failure> {
        let kind = KINDS.iter().find(|[root, limit, _]| has_groups(Path::new(root), limit));
        let [root, limit_file, peak] = kind.ok_or("no control groups that limit memory")?;
        let directory = Path::new(root).join(format!("{GROUP}{}", std::process::id()));
        fs::create_dir(&directory)?;
        if let Some(limit) = limit {
            fs::write(directory.join(limit_file), limit.to_string())?;
        }
        fs::write(directory.join("cgroup.procs"), std::process::id().to_string())?;
        Ok(MemoryGroup { directory, peak })
    }

    /// The most memory that the group has ever had.
    pub fn peak(&self) -> Result<u64, Failure> {
        Ok(fs::read_to_string(self.directory.join(self.peak))?.trim().parse()?)
    }
}

/// Does a new group below `root` have this file?
fn has_groups(root: &Path, file: &str) -> bool {
    let is_in_root = root.join(file).exists();
    let controllers = fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
    is_in_root || controllers.split_whitespace().any(|controller| controller == "memory")
}

/// Removes the groups of processes that have ended.
pub fn remove_groups() {
    let groups = KINDS.iter().filter_map(|[root, ..]| fs::read_dir(root).ok());
    for entry in groups.flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(GROUP) {
            // The others are in use, and refuse.
            fs::remove_dir(entry.path()).ok();
        }
    }
}

/// Limits the memory of this process, if that can be done; what was done is a measure, too.
pub fn limit_memory(limit: u64) -> Measure {
    match MemoryGroup::enter(Some(limit)) {
        Ok(_) => Measure::of("memory limit", limit as f64, Unit::Bytes),
        Err(failure) => {
            eprintln!("memory is not limited: {failure}");
            Measure::of("memory is not limited", 0.0, Unit::Bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_by_their_names() -> Result<(), Failure> {
        let counts = "read_bytes: 512\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n";
        assert_eq!(field(counts, "write_bytes:")?, 4096);
        assert_eq!(field(counts, "read_bytes:")?, 512);
        assert!(field(counts, "rchar:").is_err());
        // How much it is depends on the file system, and on what else this process does.
        Transfer::since(Transfer::now()?)?;
        Ok(())
    }

    #[test]
    fn what_is_dropped_from_memory_is_still_in_the_files() -> Result<(), Failure> {
        let place = tempfile::tempdir()?;
        fs::create_dir(place.path().join("below"))?;
        fs::write(place.path().join("below/file"), [7; 8192])?;
        drop_cached(place.path())?;
        assert_eq!(fs::read(place.path().join("below/file"))?, [7; 8192]);
        Ok(())
    }
}
