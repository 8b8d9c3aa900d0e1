//! `shell`: a prompt, or one command a line from standard input.

mod words;

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use rustyline::error::ReadlineError;
use serde_json::{Map, Value, json};
use yieldb::{
    Create, Database, Durability, KeyRange, Savepoint, Snapshot, SyncMethod, Tree, WriteTransaction,
};

use self::words::split;
use super::{close, open, options, trees};
use crate::args::Global;
use crate::error::{CliError, CliResult, SYSTEM, USAGE, tell};
use crate::escape::{Text, defuse, write_json};
use crate::format::insert_bytes;

/// The longest line, in bytes.
const MAX_LINE_LEN: u64 = 1 << 20;

const HELP: &str = "\
put KEY VALUE    get KEY    delete KEY    scan [FROM [TO [LIMIT]]]    count
tree NAME    trees    drop-tree NAME    rename-tree OLD NEW
begin    commit    rollback    savepoint NAME    rollback-to NAME
sync    checkpoint    stats    check    version    exit
Quotes \"...\" hold white space together; escapes are \\xNN \\t \\n \\\\ and, in quotes, \\\".";

/// Answers commands until the input ends. A script ends as its first command that failed.
pub fn run(global: &Global, file: &Path) -> CliResult<()> {
    let create = if global.read_only { Create::Never } else { Create::IfMissing };
    let database = open(global, options(global).create(create), file)?;
    let mut shell = Shell {
        database,
        transaction: None,
        savepoints: Vec::new(),
        tree: trees::MAIN_NAME.to_vec(),
        text: global.text(),
        json: global.json,
        durability: global.durability.into(),
        failure: None,
    };
    let result = shell.answer_all(&trees::chosen(global)?);
    let outcome = if result.is_ok() { shell.outcome() } else { Ok(()) };
    let Shell { database, transaction, .. } = shell;
    drop(transaction);
    close(database, result)?;
    outcome
}

struct Shell {
    database: Database,
    transaction: Option<WriteTransaction>,
    /// Those of the transaction, by name; of several with a name the last one counts.
    savepoints: Vec<(Vec<u8>, Savepoint)>,
    /// The name of the tree that commands work on. It need not exist: a rollback may have taken it
    /// back.
    tree: Vec<u8>,
    text: Text,
    json: bool,
    durability: Durability,
    /// The exit code of the first command that failed.
    failure: Option<u8>,
}

/// What a command is answered with: what JSON says besides `ok`, and what people see.
struct Answer {
    fields: Map<String, Value>,
    shown: Vec<u8>,
}

impl Answer {
    fn new(fields: Value, shown: impl Into<Vec<u8>>) -> Answer {
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        Answer { fields, shown: shown.into() }
    }

    fn done() -> Answer {
        Answer::new(json!({}), "ok")
    }
}

impl Shell {
    /// Goes to a tree, and answers commands until the input ends.
    fn answer_all(&mut self, tree: &[u8]) -> CliResult<()> {
        self.switch(tree)?;
        if io::stdin().is_terminal() { self.prompt() } else { self.serve(io::stdin().lock()) }
    }

    /// Reads from a terminal, with a history.
    fn prompt(&mut self) -> CliResult<()> {
        let mut editor = rustyline::DefaultEditor::new()
            .map_err(|error| CliError::new(SYSTEM, error.to_string()))?;
        loop {
            match editor.readline(&self.prompt_text()) {
                Ok(line) => {
                    let _known = editor.add_history_entry(line.as_str()).is_ok();
                    if !self.answer(line.as_bytes())? {
                        return Ok(());
                    }
                }
                Err(ReadlineError::Interrupted) => {}
                Err(_end) => return Ok(()),
            }
        }
    }

    /// What the prompt says: the tree, if it is not the usual one, and whether a transaction is
    /// under way.
    fn prompt_text(&self) -> String {
        let tree = match self.tree.as_slice() {
            trees::MAIN_NAME => String::new(),
            name => format!(" {}", Text::Escaped.show(name)),
        };
        let mark = if self.transaction.is_some() { "*" } else { "" };
        format!("yieldb{tree}{mark}> ")
    }

    /// Answers line by line.
    fn serve(&mut self, mut input: impl BufRead) -> CliResult<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut input).take(MAX_LINE_LEN).read_until(b'\n', &mut line);
            if read.map_err(unreadable)? == 0 {
                return Ok(());
            }
            if line.len() as u64 == MAX_LINE_LEN && line.last() != Some(&b'\n') {
                self.print(Err(CliError::usage(format!(
                    "a line of more than {MAX_LINE_LEN} bytes"
                ))))?;
                skip_line(&mut input)?;
                continue;
            }
            if !self.answer(&line)? {
                return Ok(());
            }
        }
    }

    /// Answers one line. `false` if it was the last one.
    fn answer(&mut self, line: &[u8]) -> CliResult<bool> {
        let words = match split(line.trim_ascii()) {
            Ok(words) if words.is_empty() => return Ok(true),
            Ok(words) => words,
            Err(what) => {
                self.print(Err(CliError::usage(what)))?;
                return Ok(true);
            }
        };
        if matches!(words[0].as_slice(), b"exit" | b"quit") {
            return Ok(false);
        }
        let answer = self.execute(&words);
        self.print(answer)?;
        Ok(true)
    }

    /// How a script went. People, and programs that read JSON, were told with each answer.
    fn outcome(&self) -> CliResult<()> {
        if self.json || io::stdin().is_terminal() {
            return Ok(());
        }
        let mut failure = self.failure;
        if self.transaction.is_some() {
            tell("rolled back: the input ended inside a transaction");
            failure = failure.or(Some(USAGE));
        }
        failure.map_or(Ok(()), |code| Err(CliError::silent(code)))
    }

    fn print(&mut self, answer: CliResult<Answer>) -> CliResult<()> {
        if let Err(error) = &answer {
            self.failure = self.failure.or(Some(error.code));
        }
        let mut out = io::stdout().lock();
        match answer {
            Ok(answer) if self.json => {
                let mut object = Map::new();
                object.insert("ok".to_owned(), Value::Bool(true));
                object.extend(answer.fields);
                write_json(&mut out, &object.into())?;
            }
            Err(error) if self.json => {
                let object = json!({"ok": false, "error": error.message, "code": error.code});
                write_json(&mut out, &object)?;
            }
            Ok(mut answer) => {
                answer.shown.push(b'\n');
                out.write_all(&answer.shown)?;
            }
            Err(error) => {
                writeln!(out, "error: {}", defuse(&error.message))?;
            }
        }
        Ok(out.flush()?)
    }

    fn execute(&mut self, words: &[Vec<u8>]) -> CliResult<Answer> {
        let arguments = self.arguments(words)?;
        match (words[0].as_slice(), arguments.as_slice()) {
            (b"put", [key, value]) => self.put(key, value),
            (b"get", [key]) => self.get(key),
            (b"delete", [key]) => self.delete(key),
            (b"scan", [] | [_] | [_, _] | [_, _, _]) => self.scan(&arguments),
            (b"count", []) => self.count(),
            (b"begin", []) => self.begin(),
            (b"commit", []) => {
                let version = self.take_transaction()?.commit_with(self.durability).wait()?;
                Ok(Answer::new(json!({"version": version}), format!("version {version}")))
            }
            (b"rollback", []) => {
                drop(self.take_transaction()?);
                Ok(Answer::done())
            }
            (b"savepoint", [name]) => self.savepoint(name),
            (b"rollback-to", [name]) => self.roll_back_to(name),
            (b"tree", [name]) => self.switch(name),
            (b"trees", []) => Ok(self.trees()),
            (b"drop-tree", [name]) => self.drop_tree(name),
            (b"rename-tree", [old, new]) => self.rename_tree(old, new),
            (b"sync", []) => {
                let version = self.database.sync().wait()?;
                Ok(Answer::new(json!({"version": version}), format!("version {version}")))
            }
            (b"checkpoint", []) => {
                self.database.checkpoint().wait()?;
                Ok(Answer::done())
            }
            (b"stats", []) => Ok(self.stats()),
            (b"check", []) => self.check(),
            (b"version", []) => {
                let version = self.database.snapshot().version();
                Ok(Answer::new(json!({"version": version}), version.to_string()))
            }
            (b"help", []) => Ok(Answer::new(json!({"help": HELP}), HELP)),
            (name, _) => {
                let name = name.escape_ascii();
                Err(CliError::usage(format!("no such command, or not so: {name}; try help")))
            }
        }
    }

    /// The words behind the first one: keys, values and names, but for the limit of a scan.
    fn arguments(&self, words: &[Vec<u8>]) -> CliResult<Vec<Vec<u8>>> {
        let limit = words.get(3).filter(|_| words[0] == b"scan");
        let decode = |word: &Vec<u8>| match self.text {
            Text::Hex if limit.is_none_or(|limit| !std::ptr::eq(limit, word)) => {
                Text::Hex.decode(word).map_err(CliError::usage)
            }
            Text::Hex | Text::Escaped | Text::Raw => Ok(word.clone()),
        };
        words[1..].iter().map(decode).collect()
    }

    fn begin(&mut self) -> CliResult<Answer> {
        if self.transaction.is_some() {
            return Err(CliError::usage("a transaction is under way already"));
        }
        self.transaction = Some(self.database.begin().wait()?);
        Ok(Answer::done())
    }

    fn take_transaction(&mut self) -> CliResult<WriteTransaction> {
        self.savepoints.clear();
        self.transaction.take().ok_or_else(no_transaction)
    }

    fn savepoint(&mut self, name: &[u8]) -> CliResult<Answer> {
        let transaction = self.transaction.as_mut().ok_or_else(no_transaction)?;
        self.savepoints.push((name.to_vec(), transaction.savepoint()));
        Ok(Answer::done())
    }

    /// Goes back to a savepoint, which stays.
    fn roll_back_to(&mut self, name: &[u8]) -> CliResult<Answer> {
        let transaction = self.transaction.as_mut().ok_or_else(no_transaction)?;
        let index = self.savepoints.iter().rposition(|(other, _)| other == name);
        let index = index.ok_or_else(|| CliError::usage("there is no such savepoint"))?;
        transaction.roll_back_to(self.savepoints[index].1)?;
        self.savepoints.truncate(index + 1);
        Ok(Answer::done())
    }

    // Trees.

    /// The tree that is read.
    fn tree(&self) -> CliResult<Tree> {
        self.find(&self.tree)
    }

    /// The tree with a name.
    fn find(&self, name: &[u8]) -> CliResult<Tree> {
        let tree = match &self.transaction {
            Some(transaction) => transaction.tree(name),
            None => self.database.snapshot().tree(name),
        };
        tree.ok_or_else(|| trees::missing(name))
    }

    /// Goes to a tree; a missing one is created.
    fn switch(&mut self, name: &[u8]) -> CliResult<Answer> {
        if self.find(name).is_err() {
            self.change(|transaction| Ok(transaction.create_tree(name)?))?;
        }
        self.tree = name.to_vec();
        Ok(Answer::done())
    }

    fn trees(&self) -> Answer {
        let (trees, mut lines) = match &self.transaction {
            Some(transaction) => trees::show(self.text, transaction.trees()),
            None => trees::show(self.text, self.database.snapshot().trees()),
        };
        lines.pop();
        Answer::new(json!({"trees": trees}), lines)
    }

    fn drop_tree(&mut self, name: &[u8]) -> CliResult<Answer> {
        let tree = self.find(name)?;
        let dropped = self.change(|transaction| {
            let count = transaction.count(tree)?;
            transaction.drop_tree(tree)?.wait()?;
            Ok(count)
        })?;
        Ok(Answer::new(json!({"dropped": dropped}), dropped.to_string()))
    }

    fn rename_tree(&mut self, old: &[u8], new: &[u8]) -> CliResult<Answer> {
        let tree = self.find(old)?;
        self.change(|transaction| Ok(transaction.rename_tree(tree, new)?))?;
        Ok(Answer::done())
    }

    // Entries.

    /// Makes a change, in the transaction under way or in one of its own: the whole of it, or none.
    fn change<T>(
        &mut self,
        change: impl FnOnce(&mut WriteTransaction) -> CliResult<T>,
    ) -> CliResult<T> {
        if let Some(transaction) = &mut self.transaction {
            let before = transaction.savepoint();
            let result = change(transaction);
            if result.is_err() {
                transaction.roll_back_to(before)?;
            }
            transaction.release(before)?;
            return result;
        }
        let mut transaction = self.database.begin().wait()?;
        let result = change(&mut transaction)?;
        transaction.commit_with(self.durability).wait()?;
        Ok(result)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> CliResult<Answer> {
        let name = self.tree.clone();
        self.change(|transaction| {
            let tree = transaction.open_tree(name)?;
            Ok(transaction.put(tree, key, value).wait()?)
        })?;
        Ok(Answer::done())
    }

    fn delete(&mut self, key: &[u8]) -> CliResult<Answer> {
        let tree = self.tree()?;
        let deleted = self.change(|transaction| Ok(transaction.delete(tree, key).wait()?))?;
        let deleted = u64::from(deleted);
        Ok(Answer::new(json!({"deleted": deleted}), deleted.to_string()))
    }

    fn count(&self) -> CliResult<Answer> {
        let tree = self.tree()?;
        let count = match &self.transaction {
            Some(transaction) => transaction.count(tree)?,
            None => self.database.snapshot().count(tree)?,
        };
        Ok(Answer::new(json!({"count": count}), count.to_string()))
    }

    fn get(&self, key: &[u8]) -> CliResult<Answer> {
        let tree = self.tree()?;
        let snapshot: Snapshot;
        let value = match &self.transaction {
            Some(transaction) => transaction.get(tree, key).wait()?,
            None => {
                snapshot = self.database.snapshot();
                snapshot.get(tree, key).wait()?
            }
        };
        Ok(match value {
            Some(value) => {
                let mut fields = Map::new();
                insert_bytes(&mut fields, self.text, "value", &value);
                Answer::new(fields.into(), self.text.encode(&value))
            }
            None => Answer::new(json!({"value": null}), "(no such key)"),
        })
    }

    fn scan(&self, arguments: &[Vec<u8>]) -> CliResult<Answer> {
        let mut range = KeyRange::all();
        if let Some(from) = arguments.first() {
            range = range.from(from);
        }
        if let Some(to) = arguments.get(1) {
            range = range.to(to);
        }
        let limit = match arguments.get(2) {
            None => u64::MAX,
            Some(limit) => std::str::from_utf8(limit)
                .ok()
                .and_then(|limit| limit.parse().ok())
                .ok_or_else(|| CliError::usage("the limit is not a number"))?,
        };
        let tree = self.tree()?;
        let snapshot = self.database.snapshot();
        let mut cursor = match &self.transaction {
            Some(transaction) => transaction.cursor(tree, range),
            None => snapshot.cursor(tree, range),
        };
        let (mut entries, mut shown) = (Vec::new(), Vec::new());
        for _ in 0..limit {
            let Some(entry) = cursor.next().wait()? else { break };
            if self.json {
                entries.push(self.pair(entry.key(), entry.value()));
            } else {
                self.text.write(&mut shown, entry.key())?;
                shown.push(b'\t');
                self.text.write(&mut shown, entry.value())?;
                shown.push(b'\n');
            }
        }
        shown.pop();
        Ok(Answer::new(json!({"entries": entries}), shown))
    }

    fn stats(&self) -> Answer {
        let info = self.database.info();
        let cache = self.database.cache_stats();
        let log = self.database.metrics().log;
        let log_fields = log.map(|log| {
            json!({
                "bytes": log.len, "used_bytes": log.used, "groups_written": log.groups,
                "commits_written": log.commits, "bytes_written": log.bytes_written,
            })
        });
        let writes = log.and_then(|log| log.durable_writes);
        let method = writes.map(|writes| (method_name(writes.method), writes.medians));
        let fields = json!({
            "entries": info.entries, "trees": info.trees, "pages": info.space.pages,
            "used_pages": info.space.used, "cache_pages": cache.frames,
            "resident_pages": cache.resident, "reads": cache.reads,
            "log": log_fields,
            "sync_method": method.map(|(name, _)| name),
        });
        let log = log.map_or("no log".to_owned(), |log| {
            let (used, len) = (log.used, log.len);
            let (groups, commits) = (log.groups, log.commits);
            format!(
                "log: {used} of {len} bytes used, {groups} groups with {commits} commits written"
            )
        });
        let shown = format!(
            "{} entries in {} trees; {} pages, {} used; {} of {} cached, {} reads; {log}{}",
            info.entries,
            info.trees,
            info.space.pages,
            info.space.used,
            cache.resident,
            cache.frames,
            cache.reads,
            method.map_or_else(String::new, said_of_method),
        );
        Answer::new(fields, shown)
    }

    fn check(&self) -> CliResult<Answer> {
        let report = self.database.snapshot().check(|_| {})?.wait()?;
        let damages: Vec<String> = report.damages.iter().map(ToString::to_string).collect();
        let shown = if damages.is_empty() {
            format!("{} pages, {} entries, no damage", report.pages, report.entries)
        } else {
            damages.join("\n")
        };
        Ok(Answer::new(json!({"pages": report.pages, "damages": damages}), shown))
    }

    /// An entry in JSON: a pair of strings, or, where these are not all of it, an object.
    fn pair(&self, key: &[u8], value: &[u8]) -> Value {
        match (std::str::from_utf8(key), std::str::from_utf8(value)) {
            (Ok(key), Ok(value)) if self.text != Text::Hex => json!([key, value]),
            _ => {
                let mut object = Map::new();
                insert_bytes(&mut object, self.text, "key", key);
                insert_bytes(&mut object, self.text, "value", value);
                object.into()
            }
        }
    }
}

fn unreadable(error: io::Error) -> CliError {
    CliError::new(SYSTEM, format!("standard input: {error}"))
}

/// How commits are made durable, in a word.
fn method_name(method: SyncMethod) -> &'static str {
    match method {
        SyncMethod::DurableWrite => "dsync",
        SyncMethod::WriteAndSync => "fdatasync",
    }
}

fn said_of_method((name, medians): (&str, Option<(Duration, Duration)>)) -> String {
    match medians {
        None => format!("; log synced by {name}"),
        Some((write, sync)) => {
            let (write, sync) = (write.as_micros(), sync.as_micros());
            format!("; log synced by {name}: dsync takes {write} us, fdatasync {sync} us")
        }
    }
}

fn no_transaction() -> CliError {
    CliError::usage("no transaction is under way")
}

/// Reads to the end of the line, and keeps nothing of it.
fn skip_line(input: &mut impl BufRead) -> CliResult<()> {
    loop {
        let buffer = input.fill_buf().map_err(unreadable)?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let len = end.map_or(buffer.len(), |at| at + 1);
        let is_last = end.is_some() || buffer.is_empty();
        input.consume(len);
        if is_last {
            return Ok(());
        }
    }
}
