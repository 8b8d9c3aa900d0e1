//! Counterexamples as scripts in words.

use std::fmt::Write as _;

use crate::disk::{Content, Disk, Place, Write};
use crate::format::{Block, Group, Page, Ref, Slot, Version, commit_name, group_in};
use crate::search::Counterexample;
use crate::state::{Found, Memory, Process, State};
use crate::{Rot, Step};

/// A counterexample in words: one numbered line for each step, and below it what the engine does
/// because of it. It is the same for each search.
pub fn script(counterexample: &Counterexample) -> String {
    let mut text = String::from("A database with nothing in it is open, in session 1.\n");
    let mut before = &counterexample.first;
    for (index, (step, after)) in counterexample.steps.iter().enumerate() {
        let line = words(*step, before, after);
        writeln!(text, "{:2}. {line}", index + 1).expect("a string takes it");
        for consequence in consequences(*step, before, after) {
            writeln!(text, "      {consequence}").expect("a string takes it");
        }
        before = after;
    }
    writeln!(text, "BROKEN: {}", counterexample.broken).expect("a string takes it");
    text
}

fn words(step: Step, before: &State, after: &State) -> String {
    let commit = || commit_name(after.promise.next_commit - 1);
    match step {
        Step::Put(page) => format!("commit {} is made, with its root in page {page}", commit()),
        Step::PutSlowly(page) => {
            format!("commit {} is applied, with its root in page {page}, not queued", commit())
        }
        Step::BeginLargeValue(page) => {
            format!("commit {} begins, with a large value in page {page}", commit())
        }
        Step::CommitLargeValue(page) => {
            format!(
                "the value is durable: commit {} is made, with its root in page {page}",
                commit()
            )
        }
        Step::CommitLarge(page) => {
            format!("large transaction {} is committed, with its root in page {page}", commit())
        }
        Step::CommitAndBeginLog(page) => {
            let commit = commit();
            format!("{commit} is committed, with its root in page {page}, and the log begins")
        }
        Step::Begin(page) => {
            format!("transaction {} begins, and changes its root in page {page}", commit())
        }
        Step::Edit(None) => "it makes a further change in the same page".into(),
        Step::Edit(Some(page)) => format!("it makes a further change in a copy, page {page}"),
        Step::Savepoint => "it sets a savepoint".into(),
        Step::RollBack => "it goes back to the savepoint".into(),
        Step::Spill => "its page is written before the commit".into(),
        Step::Commit => format!("commit {} is made", commit()),
        Step::Abort => "it is given up".into(),
        Step::Snapshot => "a reader takes a snapshot".into(),
        Step::DropSnapshot => "the reader gives its snapshot back".into(),
        Step::Queue => "the commit is queued".into(),
        Step::Checkpoint => {
            let version = running(before).map(|memory| memory.applied().history);
            format!("a checkpoint begins: {} is applied", version.expect("a process runs"))
        }
        Step::EmptyCheckpoint => "a checkpoint of nothing new begins: the log is full".into(),
        Step::CreateLog => "a commit needs a log: it is made".into(),
        Step::Close => "the database is closed".into(),
        Step::Finish(index) => format!("finished: {}", write_words(before.disk.in_flight[index])),
        Step::FinishWithoutError(index) => {
            let write = write_words(before.disk.in_flight[index]);
            format!("FAILED, and the error goes to the log's sync: {write}")
        }
        Step::FinishLogSync => "finished: sync of the log".into(),
        Step::FinishSync => format!("finished: {}", sync_words(before)),
        Step::Kill => "KILL".into(),
        Step::SyncFailure => "SYNC FAILURE: what is not durable is taken for clean".into(),
        Step::PowerCut => "POWER CUT".into(),
        Step::Rot(Rot::Slot(slot)) => format!("ROT: slot {slot}"),
        Step::Rot(Rot::Group(block)) => {
            format!("ROT: block {block} of the log, its sectors can be told")
        }
        Step::Rot(Rot::Block(block)) => format!("ROT: block {block} of the log, nothing is left"),
        Step::Peek => "the file is opened for reading only, read, and left".into(),
        Step::Open => "the file is opened".into(),
        Step::Publish(None) => "the database is open, with nothing to replay".into(),
        Step::Publish(Some(page)) => {
            format!("the log is replayed into page {page}, and the result shown")
        }
    }
}

/// What the engine does because of a step, and what a crash makes of the disk.
fn consequences(step: Step, before: &State, after: &State) -> Vec<String> {
    if matches!(step, Step::Kill | Step::SyncFailure | Step::PowerCut) {
        return remains(&before.disk, &after.disk);
    }
    let mut lines = Vec::new();
    if let (Step::Open, Process::Opening(opening)) = (step, &after.process) {
        lines.push(found_words(&opening.found));
    }
    let mut old = before.disk.in_flight.clone();
    if let Step::Finish(index) | Step::FinishWithoutError(index) = step {
        old.remove(index);
    }
    for write in &after.disk.in_flight {
        match old.iter().position(|other| other == write) {
            Some(at) => drop(old.remove(at)),
            None => lines.push(format!("submitted: {}", write_words(*write))),
        }
    }
    let was_syncing = before.disk.is_syncing && step != Step::FinishSync;
    if after.disk.is_syncing && !was_syncing {
        lines.push(format!("submitted: {}", sync_words(after)));
    }
    if after.disk.is_log_syncing && !before.disk.is_log_syncing {
        lines.push("submitted: sync of the log".into());
    }
    if after.promise.kept != before.promise.kept {
        lines.push(format!("acknowledged or shown: {}", after.promise.kept));
    }
    if let (Some(old), Some(new)) = (running(before), running(after))
        && old.base != new.base
    {
        let (Version { history, .. }, tail) = (new.base, new.tail.position);
        lines.push(format!("the durable checkpoint is {history}; the log's tail is at {tail}"));
    }
    if let (Some(old), Some(new)) = (running(before), running(after))
        && old.ring_blocks != new.ring_blocks
    {
        lines.push(format!("the log's ring has {} blocks", new.ring_blocks));
    }
    lines
}

/// Opening syncs both files, whatever is done later the data file alone: the log's groups are
/// written durably.
fn sync_words(state: &State) -> &'static str {
    match &state.process {
        Process::Opening(_) => "sync of both files",
        Process::Down | Process::Running(_) => "sync of the data file",
    }
}

fn running(state: &State) -> Option<&Memory> {
    match &state.process {
        Process::Running(memory) => Some(memory),
        Process::Down | Process::Opening(_) => None,
    }
}

fn found_words(found: &Found) -> String {
    let Found { superblock, slot, groups, .. } = found;
    let mut line = format!(
        "found: slot {slot} with checkpoint {}, number {}, session {}; the log from position {}:",
        superblock.version.history,
        superblock.number,
        superblock.session,
        superblock.start.position
    );
    for (_, group) in groups {
        write!(line, " {}", group_words(group)).expect("a string takes it");
    }
    if groups.is_empty() {
        line.push_str(" nothing");
    }
    line
}

/// What a crash leaves in those places that were not settled.
fn remains(before: &Disk, after: &Disk) -> Vec<String> {
    let mut lines = Vec::new();
    let is_written = |of: &dyn Fn(Write) -> bool| before.in_flight.iter().any(|write| of(*write));
    for (index, place) in before.pages.iter().enumerate() {
        if before.is_writing_page(index as u8) || !place.newer.is_empty() {
            let words = place_words(&after.pages[index], page_words);
            lines.push(format!("page {index}: {words}"));
        }
    }
    for (index, place) in before.slots.iter().enumerate() {
        let is_here = |write| matches!(write, Write::Slot(slot, _) if usize::from(slot) == index);
        if is_written(&is_here) || !place.newer.is_empty() {
            let words = place_words(&after.slots[index], slot_words);
            lines.push(format!("slot {index}: {words}"));
        }
    }
    for (index, place) in before.blocks.iter().enumerate() {
        let is_here = |write| match write {
            Write::Group(offset, _) => usize::from(offset) == index,
            Write::Page(..)
            | Write::Slot(..)
            | Write::Growth(_)
            | Write::LogEnd(_)
            | Write::Log(_) => false,
        };
        if is_written(&is_here) || !place.newer.is_empty() {
            let words = place_words(&after.blocks[index], block_words);
            lines.push(format!("block {index} of the log: {words}"));
        }
    }
    let is_growing = is_written(&|write| matches!(write, Write::Growth(_) | Write::LogEnd(_)));
    if is_growing || !before.log_len.newer.is_empty() {
        let words = |len: u8| format!("{len} blocks");
        lines.push(format!("the log's length: {}", place_words(&after.log_len, words)));
    }
    if is_written(&|write| matches!(write, Write::Log(_))) || !before.log.newer.is_empty() {
        let words = |id: Option<u8>| id.map_or("there is none".into(), |id| format!("id {id}"));
        lines.push(format!("the log's file: {}", place_words(&after.log, words)));
    }
    lines
}

fn place_words<C: Content>(place: &Place<C>, words: fn(C) -> String) -> String {
    if place.newer.is_empty() {
        return words(place.durable);
    }
    format!("{} (durable: {})", words(place.visible()), words(place.durable))
}

fn write_words(write: Write) -> String {
    match write {
        Write::Page(page, Page::Zero) => format!("the cut of page {page}"),
        Write::Page(page, content) => format!("write of page {page}: {}", page_words(content)),
        Write::Slot(slot, content) => {
            format!("durable write of slot {slot}: {}", slot_words(content))
        }
        Write::Log(Some(id)) => format!("the log's file, with id {id}, and its entry"),
        Write::Log(None) => "the removal of the log's file and entry".into(),
        Write::LogEnd(len) => format!("durable write of the last of the log's {len} blocks"),
        Write::Growth(len) => format!("zeros behind the log's end, up to {len} blocks"),
        Write::Group(offset, group) => {
            format!("durable write of the log's block {offset}: {}", block_words([Some(group); 2]))
        }
    }
}

fn page_words(page: Page) -> String {
    match page {
        Page::Zero => "nothing that is referred to".into(),
        Page::Torn => "torn".into(),
        Page::Root { stamp, history, edits, run } => {
            let edits = if edits > 1 { format!(", {edits} changes") } else { String::new() };
            let run = run.map_or(String::new(), |Ref { page, stamp }| {
                format!(", with the value {stamp} in page {page}")
            });
            format!("root {stamp} of {history}{edits}{run}")
        }
        Page::Run { stamp } => format!("value {stamp}"),
    }
}

fn slot_words(slot: Slot) -> String {
    match slot {
        Slot::Bad => "bad".into(),
        Slot::Good(superblock) => {
            let version = superblock.version;
            let log = superblock.log.map_or("no log".into(), |id| format!("log {id}"));
            format!(
                "checkpoint {} in page {}, number {}, session {}, {log}",
                version.history, version.root.page, superblock.number, superblock.session
            )
        }
    }
}

fn group_words(group: &Group) -> String {
    match group {
        Group { is_wrap: true, .. } => "a wrap".into(),
        Group { commits, .. } if commits.count() == 0 => "a name".into(),
        Group { commits, .. } => commits.to_string(),
    }
}

fn block_words(block: Block) -> String {
    if let Some(group) = group_in(&block) {
        let words = group_words(&group);
        let value = group.run.map_or(String::new(), |Ref { page, stamp }| {
            format!(", with the value {stamp} in page {page}")
        });
        return format!(
            "{words}{value}, position {}, session {}, names checkpoint {}, durable before {}",
            group.position, group.session, group.names, group.known
        );
    }
    if block == [None; 2] {
        return "nothing".into();
    }
    let parts =
        block.map(|part| part.map_or("nothing".into(), |group| block_words([Some(group); 2])));
    format!("torn: [{}] and [{}]", parts[0], parts[1])
}
