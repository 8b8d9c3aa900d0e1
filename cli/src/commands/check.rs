//! `check`: every page, and the log.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use yieldb::inspect::{LeftLog, LogSummary, RawFile};
use yieldb::{Damage, Database, ErrorKind, Report};

use super::{advised, left_log, open, open_as_it_is, options, output, patiently, print_json};
use crate::args::Global;
use crate::error::{CliError, CliResult, DAMAGED};
use crate::progress::{Unit, bar};

/// What was found.
struct Findings {
    /// In the file as its checkpoint left it, and then in what it and the log come to.
    report: Report,
    /// In the log.
    log: Option<LogSummary>,
    /// Why the log cannot be read, or its changes be made: damage.
    replay: Option<String>,
    /// Why it is not known what the file and its log come to, although it may be well.
    unchecked: Option<&'static str>,
    /// Damaged slots of the superblock: one that is good is enough, unless the log names a
    /// checkpoint that it does not have.
    slots: Vec<(u64, String)>,
    /// What has the log's name, and is not in use.
    left: Option<LeftLog>,
}

/// Reads every page and lists all damage.
pub fn run(global: &Global, file: &Path) -> CliResult<()> {
    let raw = patiently(|| RawFile::open(file, None))?;
    let log = if raw.has_log() { raw.log() } else { Ok(None) };
    let (log, replay) = match log {
        Ok(log) => (log, None),
        Err(error) => match CliError::from(error) {
            error if error.code == DAMAGED => (None, Some(advised(error, file).message)),
            error => return Err(error),
        },
    };
    let database = open(global, options(global).checkpoint_only(true), file)?;
    let mut findings = Findings {
        report: check(global, &database)?,
        log: log.map(|log| log.summary()).transpose()?,
        replay,
        unchecked: None,
        slots: raw.damaged_slots()?,
        left: raw.left_log()?,
    };
    drop(database);
    findings.add_what_both_come_to(global, file)?;
    let printed = match global.json {
        true => print_json(&findings.as_json()),
        false => findings.print(global),
    };
    // Whoever reads the output may have seen enough; what was found stays so.
    if let Err(error) = printed
        && error.code != 0
    {
        return Err(error);
    }
    match findings.damage_count() {
        0 => Ok(()),
        1 => Err(CliError::new(DAMAGED, damaged(file, "1 damage"))),
        count => Err(CliError::new(DAMAGED, damaged(file, &format!("{count} damages")))),
    }
}

fn check(global: &Global, database: &Database) -> CliResult<Report> {
    let progress = bar(Unit::Pages, Some(database.info().space.pages), global.quiet);
    let report = database.snapshot().check(|done| progress.set_position(done.pages))?.wait()?;
    progress.finish_and_clear();
    Ok(report)
}

impl Findings {
    /// Makes the changes of the log in memory, and checks that version, too.
    fn add_what_both_come_to(&mut self, global: &Global, file: &Path) -> CliResult<()> {
        match &self.log {
            Some(log) if log.damages.is_empty() => {}
            Some(_) => {
                self.unchecked = Some("the log is damaged");
                return Ok(());
            }
            None => return Ok(()),
        }
        let database = match open_as_it_is(global, file) {
            Ok(database) => database,
            Err(error) if error.kind == Some(ErrorKind::NeedsRecovery) => {
                self.unchecked = Some("it does not fit the cache; --cache makes that larger");
                return Ok(());
            }
            Err(error) if error.code == DAMAGED => {
                self.replay = Some(error.message);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let newest = check(global, &database)?;
        let known = self.report.damages.iter().map(|damage| (damage.page, damage.what.clone()));
        let known: BTreeSet<(u64, String)> = known.collect();
        let is_new = |damage: &Damage| !known.contains(&(damage.page, damage.what.clone()));
        self.report.damages.extend(newest.damages.into_iter().filter(is_new));
        self.report.entries = newest.entries;
        Ok(())
    }

    fn damage_count(&self) -> u64 {
        let report = &self.report;
        let of_log = self.log.as_ref().map_or(0, |log| log.damages.len() as u64 + log.unlisted);
        let of_replay = u64::from(self.replay.is_some());
        report.damages.len() as u64 + report.unlisted + of_log + of_replay
    }

    fn as_json(&self) -> Value {
        let of_pages = self.report.damages.iter();
        let of_pages = of_pages.map(|damage| json!({"page": damage.page, "what": damage.what}));
        let of_log = self.log.iter().flat_map(|log| &log.damages);
        let of_log = of_log.map(|damage| json!({"position": damage.position, "what": damage.what}));
        let of_replay = self.replay.iter().map(|what| json!({"what": what}));
        let damages: Vec<Value> = of_pages.chain(of_log).chain(of_replay).collect();
        let notes = self.slots.iter().map(|(page, what)| json!({"page": page, "what": what}));
        let unchecked = self.unchecked.iter().map(|what| json!({"what": unchecked(what)}));
        let left = self.left.map(|left| json!({"what": left_log(left)}));
        let notes: Vec<Value> = notes.chain(unchecked).chain(left).collect();
        let log = self.log.as_ref().map(|log| {
            json!({
                "groups": log.groups, "commits": log.commits, "new_commits": log.new_commits,
            })
        });
        let unlisted = self.report.unlisted + self.log.as_ref().map_or(0, |log| log.unlisted);
        json!({
            "pages": self.report.pages, "entries": self.report.entries, "damages": damages,
            "unlisted": unlisted, "notes": notes, "log": log,
        })
    }

    fn print(&self, global: &Global) -> CliResult<()> {
        let mut out = output();
        let report = &self.report;
        for damage in &report.damages {
            writeln!(out, "{damage}")?;
        }
        for damage in self.log.iter().flat_map(|log| &log.damages) {
            writeln!(out, "log position {}: {}", damage.position, damage.what)?;
        }
        if let Some(what) = &self.replay {
            writeln!(out, "{what}")?;
        }
        let unlisted = report.unlisted + self.log.as_ref().map_or(0, |log| log.unlisted);
        if unlisted > 0 {
            writeln!(out, "and {unlisted} more")?;
        }
        for (page, what) in &self.slots {
            writeln!(out, "page {page}: {what}; the other slot does, and nothing is lost")?;
        }
        if let Some(left) = self.left {
            writeln!(out, "{}", left_log(left))?;
        }
        if let Some(why) = self.unchecked {
            writeln!(out, "{}", unchecked(why))?;
        }
        if let Some(log) = &self.log
            && !global.quiet
        {
            let (groups, commits, new) = (log.groups, log.commits, log.new_commits);
            writeln!(out, "log: {groups} groups, {commits} commits, {new} to be made again")?;
        }
        if self.damage_count() == 0 && !global.quiet {
            writeln!(out, "{} pages, {} entries, no damage", report.pages, report.entries)?;
        }
        Ok(out.flush()?)
    }
}

fn unchecked(why: &str) -> String {
    format!("what the file and its log come to was not checked: {why}")
}

fn damaged(file: &Path, what: &str) -> String {
    format!("{}: {what}", file.display())
}
