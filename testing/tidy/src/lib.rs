//! Style as a test: the limits that the code keeps.
//!
//! Each rule looks at the text of one file and returns what breaks it. The sources are formatted,
//! so that lines and their indentation say enough; nothing here parses Rust.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest line, in columns.
pub const MAX_COLUMNS: usize = 100;
/// The longest function, in lines.
pub const MAX_FUNCTION_LINES: usize = 70;
/// The longest file, in lines.
pub const MAX_FILE_LINES: usize = 600;
/// The largest share of lines that are nested deep, in percent of all lines.
pub const MAX_DEEP_PERCENT: usize = 2;
/// What nested deep means, in levels of four columns.
pub const DEEP: usize = 6;

/// A file of the project.
#[derive(Debug)]
pub struct Source {
    /// Where it is, from the project's root.
    pub path: PathBuf,
    /// What stands in it.
    pub text: String,
}

/// What breaks a rule.
#[derive(Debug)]
pub struct Finding {
    path: PathBuf,
    /// Counted from 1; 0 for the file as a whole.
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

impl Source {
    /// A file with this text.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    fn is_markdown(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "md")
    }

    /// Is it a test, a benchmark or an example, and not part of what is shipped?
    fn is_test(&self) -> bool {
        self.path.starts_with("testing")
            || self.path.starts_with("examples")
            || self.path.components().any(|part| part.as_os_str() == "tests")
            || self.path.file_name().is_some_and(|name| name == "tests.rs")
    }

    fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into() }
    }

    /// The lines, counted from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// The project's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this package is two folders below the root").to_path_buf()
}

/// All files of the project that are text: what git knows, or, where there is no git, what is not
/// hidden and not built.
pub fn sources() -> Vec<Source> {
    let root = root();
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output();
    let paths: Vec<PathBuf> = match listed {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()
        }
        Ok(_) | Err(_) => {
            let mut found = Vec::new();
            walk(&root, Path::new(""), &mut found);
            found
        }
    };
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(root.join(&path)).ok()?;
        Some(Source { path, text })
    };
    paths.into_iter().filter_map(read).collect()
}

fn walk(root: &Path, below: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root.join(below)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') || name == "target" {
            continue;
        }
        let path = below.join(&name);
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(root, &path, found),
            Ok(_) | Err(_) => found.push(path),
        }
    }
}

/// Lines of at most [`MAX_COLUMNS`], in sources.
pub fn columns(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let long = source.lines().filter(|(_, line)| line.chars().count() > MAX_COLUMNS);
    long.map(|(number, line)| source.finding(number, format!("{} columns", line.chars().count())))
        .collect()
}

/// ASCII, in sources.
pub fn ascii(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let foreign = source.lines().filter(|(_, line)| !line.is_ascii());
    foreign.map(|(number, _)| source.finding(number, "not ASCII")).collect()
}

/// Files of at most [`MAX_FILE_LINES`], in sources.
pub fn file_lines(source: &Source) -> Vec<Finding> {
    let count = source.text.lines().count();
    if source.is_rust() && count > MAX_FILE_LINES {
        return vec![source.finding(0, format!("{count} lines"))];
    }
    Vec::new()
}

/// Functions of at most [`MAX_FUNCTION_LINES`].
pub fn function_lines(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut open: Vec<(usize, usize)> = Vec::new();
    for (number, line) in source.lines() {
        let indent = line.len() - line.trim_start().len();
        if begins_function(line.trim_start()) {
            open.push((number, indent));
        }
        let Some((start, own)) = open.last().copied() else { continue };
        let ends = line.trim_end();
        let closes = ends.trim_start() == "}" || (number == start && ends.ends_with('}'));
        // A declaration without a body ends with a semicolon.
        let declares = ends.ends_with(';') && indent == own;
        if indent == own && (closes || declares) {
            open.pop();
            let count = number - start + 1;
            if count > MAX_FUNCTION_LINES {
                findings.push(source.finding(start, format!("a function of {count} lines")));
            }
        }
    }
    findings
}

fn begins_function(line: &str) -> bool {
    let mut rest = line;
    loop {
        let Some((word, after)) = rest.split_once(' ') else { return false };
        match word {
            "fn" => return true,
            "const" | "unsafe" | "async" | "extern" | "\"C\"" => rest = after,
            _ if word == "pub" || word.starts_with("pub(") => rest = after,
            _ => return false,
        }
    }
}

/// At most [`MAX_DEEP_PERCENT`] of the lines of all sources together are nested [`DEEP`].
pub fn depth(sources: &[Source]) -> Vec<Finding> {
    let (mut all, mut deep) = (0, 0);
    for source in sources.iter().filter(|source| source.is_rust()) {
        for (_, line) in source.lines().filter(|(_, line)| !line.trim().is_empty()) {
            all += 1;
            deep += usize::from(line.len() - line.trim_start().len() >= DEEP * 4);
        }
    }
    if deep * 100 > all * MAX_DEEP_PERCENT {
        let what = format!("{deep} of {all} lines are nested {DEEP} deep");
        return vec![Source::new(".", "").finding(0, what)];
    }
    Vec::new()
}

/// `IOResult` only where operations are: in `core`, in folders `ops`, and at the door.
pub fn io_result(source: &Source) -> Vec<Finding> {
    let path = &source.path;
    let allowed = path.starts_with("core")
        || path.components().any(|part| part.as_os_str() == "ops")
        || ["src/open.rs", "src/op.rs", "src/lib.rs"].iter().any(|door| path == Path::new(door));
    if !source.is_rust() || source.is_test() || allowed {
        return Vec::new();
    }
    let named = source.lines().filter(|(_, line)| line.contains("IOResult"));
    named.map(|(number, _)| source.finding(number, "IOResult outside an operation")).collect()
}

/// `pager` and `btree` name no driver.
pub fn drivers(source: &Source) -> Vec<Finding> {
    let above = ["pager/src", "btree/src"].iter().any(|krate| source.path.starts_with(krate));
    if !source.is_rust() || !above || source.is_test() {
        return Vec::new();
    }
    let names = ["io_uring", "uring", "pread", "io_backends", "yieldb_io_backends", "MemoryDisk"];
    let is_named = |line: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
        words.any(|word| names.iter().any(|name| word == *name || word.starts_with("std::fs")))
    };
    let named = source.lines().filter(|(_, line)| is_named(line));
    named.map(|(number, _)| source.finding(number, "a driver is named")).collect()
}

/// The engine has locks, atomics and threads from `yieldb_core::sync`, where a checker may put its
/// own in their place.
pub fn checked_threads(source: &Source) -> Vec<Finding> {
    let crates = ["core/src", "io-backends/src", "pager/src", "btree/src", "src"];
    let is_engine = crates.iter().any(|krate| source.path.starts_with(krate));
    let is_exempt = source.path.starts_with("core/src/sync") || source.is_test();
    if !source.is_rust() || !is_engine || is_exempt {
        return Vec::new();
    }
    let shipped = source.text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let is_own = |line: &str| {
        let names = ["Mutex", "RwLock", "Condvar", "Barrier", "atomic", "mpsc"];
        let of_sync = line.contains("std::sync") && names.iter().any(|name| line.contains(name));
        of_sync || line.contains("std::thread")
    };
    let own = shipped.lines().enumerate().filter(|(_, line)| is_own(line));
    own.map(|(index, _)| source.finding(index + 1, "not from yieldb_core::sync")).collect()
}

/// A machine of three states and more has a diagram: a text block above its states.
pub fn diagrams(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || source.is_test() || !source.text.contains("StateTransition for ") {
        return Vec::new();
    }
    let text = &source.text;
    let mut findings = Vec::new();
    for (at, _) in text.match_indices("\nenum ").chain(text.match_indices("\npub enum ")) {
        let body = &text[at + 1..];
        let after = body.split_once("enum ").map_or("", |(_, after)| after);
        let name: String = after.chars().take_while(|c| c.is_alphanumeric()).collect();
        if !name.ends_with("State") {
            continue;
        }
        let end = body.find("\n}").unwrap_or(body.len());
        let variants = body[..end].lines().filter(|line| {
            let own = line.strip_prefix("    ");
            own.is_some_and(|own| own.starts_with(|first: char| first.is_ascii_uppercase()))
        });
        let count = variants.count();
        if count >= 3 && !text.contains("```text") {
            let line = text[..at + 1].lines().count() + 1;
            findings.push(source.finding(line, format!("{name} has {count} states, no diagram")));
        }
    }
    findings
}

/// One title for each document.
pub fn titles(source: &Source) -> Vec<Finding> {
    if !source.is_markdown() {
        return Vec::new();
    }
    let count = prose(source).filter(|(_, line)| line.starts_with("# ")).count();
    if count == 1 { Vec::new() } else { vec![source.finding(0, format!("{count} titles"))] }
}

/// The links of a document lead to files and headings that are there.
pub fn links(source: &Source) -> Vec<Finding> {
    if !source.is_markdown() {
        return Vec::new();
    }
    let folder = source.path.parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (number, line) in prose(source) {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let text = match file {
                "" => Ok(source.text.clone()),
                _ => read_linked(&root().join(folder).join(file)),
            };
            let Ok(text) = text else {
                findings.push(source.finding(number, format!("{target} is not there")));
                continue;
            };
            if !heading.is_empty() && !text.lines().any(|line| anchor_of(line) == heading) {
                findings.push(source.finding(number, format!("{target}: no such heading")));
            }
        }
    }
    findings
}

fn read_linked(path: &Path) -> std::io::Result<String> {
    if path.is_dir() { Ok(String::new()) } else { std::fs::read_to_string(path) }
}

/// The name of a heading in a link, as GitHub makes it.
fn anchor_of(line: &str) -> String {
    let Some(title) = line.strip_prefix('#') else { return String::new() };
    let title = title.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The lines of a document that are no code.
fn prose(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    source.lines().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}
