//! What the machine is, and what day.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What figures depend on, besides the engines.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's model.
    pub processor: String,
    /// How many threads it runs at a time.
    pub cores: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// The kernel and its release.
    pub kernel: String,
    /// The file system of the databases, and the device it is on.
    pub file_system: String,
}

impl Machine {
    /// This one, with the databases in `directory`.
    pub fn here(directory: &Path) -> Machine {
        let information = read("/proc/cpuinfo");
        let kib: u64 = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|value| value.split_whitespace().next()?.parse().ok())
            .unwrap_or_default();
        Machine {
            processor: field(&information, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            memory: kib << 10,
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            file_system: file_system(&read("/proc/self/mounts"), directory),
        }
    }

    /// A short name: the family of the processor, and its cores.
    pub fn name(&self) -> String {
        let is_maker = |word: &&str| ["amd", "intel", "arm"].contains(word);
        let model = self.processor.to_lowercase().replace("(r)", "").replace("(tm)", "");
        let family = model.split_whitespace().find(|word| !is_maker(word)).unwrap_or("unknown");
        format!("{family}-{}core", self.cores)
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The first value of a field in lines of `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// The file system that a directory is in, of those that are mounted.
fn file_system(mounts: &str, directory: &Path) -> String {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, words.next()?, words.next()?))
    });
    mounted
        .filter(|(_, place, _)| directory.starts_with(place))
        .max_by_key(|(_, place, _)| place.len())
        .map_or_else(|| "unknown".to_owned(), |(device, _, kind)| format!("{kind} on {device}"))
}

/// What commit of this project is measured.
pub fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    match git.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

/// The version of a package that this program was built with.
pub fn version(package: &str) -> Option<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let (_, behind) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    behind.split('"').next()
}

/// Now: `2026-11-26T13:15:00Z`, so that the first ten letters are the day.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = date(since / 86_400);
    let (hour, minute, second) = (since / 3600 % 24, since / 60 % 60, since % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day, so many days after 1 January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| match year {
        _ if year.is_multiple_of(100) => year.is_multiple_of(400),
        _ => year.is_multiple_of(4),
    };
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < len {
            break;
        }
        left -= len;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_783), (2026, 11, 26));
        assert_eq!(date(20_818), (2026, 12, 31));
    }

    #[test]
    fn a_machine_has_a_short_name() {
        let mut machine = Machine::here(Path::new("/"));
        machine.cores = 2;
        for (processor, name) in
            [("AMD EPYC 7B13", "epyc-2core"), ("Intel(R) Xeon(R) CPU @ 2 GHz", "xeon-2core")]
        {
            machine.processor = processor.to_owned();
            assert_eq!(machine.name(), name);
        }
    }

    #[test]
    fn the_innermost_file_system_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp")), "tmpfs on tmpfs");
        assert_eq!(file_system(mounts, Path::new("/usr")), "ext4 on /dev/a");
    }

    #[test]
    fn the_engine_has_a_version() {
        assert_eq!(version("yieldb"), Some("0.1.0"));
        assert_eq!(version("yiel"), None);
    }
}
