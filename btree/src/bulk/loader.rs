//! A load under way: what it has collected, sorted and built, and what it does next.

use std::mem;
use std::ops::Range;

use yieldb_core::{Buffer, is_planted, reached};
use yieldb_pager::{PageRun, Pager, Root, Stamp, WriteSet};

use super::Limits;
use super::builder::{Builder, Pushed};
use super::collected::{Collected, Sorted};
use super::merge::{Merge, Merged};
use super::run_writer::RunWriter;
use super::sort_file::SortFile;
use super::source::{Files, Source};
use crate::node::Stored;
use crate::work::Step;
use crate::{Error, Result};

/// A load under way.
///
/// What it does is a sequence of works, each of which goes on where it stopped:
///
/// ```text
///            .----------------------------- done ------------------------------.
///            v                                                                 |
///          Idle -- enough is collected, in order -> Build -------------------->|
///            |---- order breaks behind leaves -> Seal -> Settle -------------->|
///            |---- a piece is full -> Sort ----------------------------------->|
///            |---- memory is full, or runs are many -> Open -> Spill --------->|
///            '---- everything is taken -> Build: the root is made -------------'
///   an error in any of them -> Failed
/// ```
///
/// It begins with Settle if the transaction has made pages before: they would take frames.
///
/// Whoever steps it may stop at any time, and another one go on. An error ends it.
#[derive(Debug)]
pub(crate) struct Loader {
    limits: Limits,
    collected: Collected,
    builder: Builder,
    /// The pages of the tree that was built before the order broke.
    before: Vec<(PageRun, Stamp)>,
    /// What is sorted in memory, in the order in which it came.
    pieces: Vec<Sorted>,
    /// What is sorted in the file, in the order in which it came.
    runs: Vec<Run>,
    file: Option<SortFile>,
    /// Is everything on its way to the builder?
    is_merged: bool,
    work: Work,
}

/// A part of the sort file.
#[derive(Clone, Debug)]
struct Run {
    frames: Range<u64>,
    /// How often its entries were merged.
    level: u32,
}

#[derive(Debug)]
enum Work {
    /// Nothing is under way.
    Idle,
    /// Frames are had for the order of what was collected, and it is sorted.
    Sort(Vec<Buffer>),
    /// The sort file is made, for what is to be written to it.
    Open(Vec<Source>, u32),
    /// Sorted entries are merged to a run of the file.
    Spill(Merge, RunWriter, u32),
    /// Sorted entries are merged to the builder.
    Build(Merge),
    /// The leaves so far become pages.
    Seal,
    /// What the transaction has made is on its way to the file.
    Settle,
    /// It is over, badly.
    Failed(Error),
}

/// What a work goes on with.
type Next = Step<Work, ()>;

impl Loader {
    /// A load in a transaction that has made what is in `set`.
    pub fn new(set: &WriteSet, pager: &Pager) -> Loader {
        let limits = Limits::of(pager);
        // Frames that the transaction's own pages are in could be missing in the end.
        let work = if set.is_empty() { Work::Idle } else { Work::Settle };
        Loader {
            limits,
            collected: Collected::new(),
            builder: Builder::new(limits.page_len),
            before: Vec::new(),
            pieces: Vec::new(),
            runs: Vec::new(),
            file: None,
            is_merged: false,
            work,
        }
    }

    /// Takes an entry, if there is room for it at once.
    #[inline]
    pub fn try_push(&mut self, pager: &Pager, key: &[u8], value: Stored<'_>) -> bool {
        if self.collected.push(key, value) {
            return true;
        }
        if !matches!(self.work, Work::Idle) || !self.has_room() {
            return false;
        }
        let Ok(frame) = pager.cache().take_frame() else { return false };
        self.collected.add_frame(frame);
        self.collected.push(key, value)
    }

    /// Goes a step further in making room for an entry.
    ///
    /// # Errors
    ///
    /// Whatever ends the load: it fails with the same from now on.
    pub fn make_room(&mut self, set: &mut WriteSet, pager: &Pager) -> Result<Step<(), ()>> {
        self.step(set, pager, |loader| {
            if loader.has_room() {
                return match pager.cache().take_frame() {
                    Ok(frame) => {
                        loader.collected.add_frame(frame);
                        Step::Done(())
                    }
                    Err(signal) => Step::Wait(Work::Idle, signal),
                };
            }
            Step::Next(loader.next_work())
        })
    }

    /// Goes a step further in making a tree of everything.
    ///
    /// # Errors
    ///
    /// As [`Loader::make_room`].
    pub fn finish(&mut self, set: &mut WriteSet, pager: &Pager) -> Result<Step<(), Root>> {
        let step = self.step(set, pager, |loader| match loader.last_work() {
            Some(work) => Step::Next(work),
            None => Step::Done(()),
        });
        Ok(match step? {
            Step::Done(()) => match set.prepare_stream(pager, self.builder.pages_to_finish())? {
                Some(io) => Step::Wait((), io),
                None => {
                    let root = self.builder.finish(set);
                    set.end_stream(pager);
                    Step::Done(root)
                }
            },
            Step::Next(()) => Step::Next(()),
            Step::Wait((), io) => Step::Wait((), io),
            Step::Missing(page) => Step::Missing(page),
        })
    }

    /// Goes a step further in the work under way; `idle` says what is done if there is none.
    fn step(
        &mut self,
        set: &mut WriteSet,
        pager: &Pager,
        idle: impl FnOnce(&mut Loader) -> Next,
    ) -> Result<Step<(), ()>> {
        let next = if matches!(self.work, Work::Idle) {
            Ok(idle(self))
        } else {
            let work = mem::replace(&mut self.work, Work::Idle);
            self.work_on(work, set, pager)
        };
        let next = next.inspect_err(|error| self.work = Work::Failed(error.clone()))?;
        Ok(match next {
            Step::Next(work) => {
                self.work = work;
                Step::Next(())
            }
            Step::Wait(work, io) => {
                self.work = work;
                Step::Wait((), io)
            }
            Step::Done(()) => Step::Done(()),
            Step::Missing(page) => Step::Missing(page),
        })
    }

    /// May another frame be filled?
    fn has_room(&self) -> bool {
        let Limits { page_len, frames, block, in_order, .. } = self.limits;
        if self.collected.is_in_order() {
            return self.collected.has_room() && self.collected.used_count() < in_order;
        }
        let sorted: usize = self.pieces.iter().map(Sorted::frame_count).sum();
        // Those of what is written are beside them, and one for the order of what is added.
        let used = sorted + self.collected.frame_count(page_len) + 2 * block + 1;
        self.collected.has_room() && used < frames
    }

    /// What comes next when there is no room.
    fn next_work(&mut self) -> Work {
        if self.collected.is_in_order() {
            return self.build(Vec::new());
        }
        if !self.builder.is_empty() {
            return Work::Seal;
        }
        if !self.collected.is_empty() {
            return Work::Sort(Vec::new());
        }
        self.spill_pieces()
    }

    /// What comes next when everything is taken; `None` if the builder has all of it.
    fn last_work(&mut self) -> Option<Work> {
        if self.is_merged {
            return None;
        }
        if self.collected.is_in_order() {
            self.is_merged = true;
            return Some(self.build(Vec::new()));
        }
        if !self.builder.is_empty() {
            return Some(Work::Seal);
        }
        if !self.collected.is_empty() {
            return Some(Work::Sort(Vec::new()));
        }
        if !self.runs.is_empty() && !self.pieces.is_empty() {
            return Some(self.spill_pieces());
        }
        // The leaves that were built before may be one more.
        let too_many = (self.runs.len() + 1).saturating_sub(self.limits.fan_in);
        if too_many > 0 {
            return Some(self.merge_last((too_many + 1).min(self.limits.fan_in)));
        }
        self.is_merged = true;
        if self.runs.is_empty() {
            reached!(LoadSortedInMemory);
        } else {
            reached!(LoadSortedInFile);
        }
        let mut sources = Vec::new();
        if !self.before.is_empty() {
            sources.push(Source::tree(self.before.clone()));
        }
        sources.extend(self.runs.drain(..).map(|run| Source::run(run.frames)));
        sources.extend(self.pieces.drain(..).map(Source::sorted));
        Some(self.build(sources))
    }

    /// Builds from sources, or from what was collected in order.
    fn build(&mut self, mut sources: Vec<Source>) -> Work {
        if sources.is_empty() {
            sources.push(Source::in_order(self.collected.take_frames()));
        }
        Work::Build(Merge::new(sources))
    }

    fn spill_pieces(&mut self) -> Work {
        Work::Open(self.pieces.drain(..).map(Source::sorted).collect(), 0)
    }

    /// Merges the last `count` runs.
    fn merge_last(&mut self, count: usize) -> Work {
        reached!(LoadRunsMerged);
        let runs = self.runs.split_off(self.runs.len() - count);
        let level = runs.iter().map(|run| run.level).max().unwrap_or(0);
        Work::Open(runs.into_iter().map(|run| Source::run(run.frames)).collect(), level + 1)
    }

    /// Merges the last runs if as many are on the same level as can be merged at a time.
    fn merge_alike(&mut self) -> Option<Work> {
        let level = self.runs.last()?.level;
        let alike = self.runs.iter().rev().take_while(|run| run.level == level).count();
        (alike >= self.limits.fan_in).then(|| self.merge_last(alike))
    }

    fn work_on(&mut self, work: Work, set: &mut WriteSet, pager: &Pager) -> Result<Next> {
        match work {
            Work::Idle => Ok(Step::Done(())),
            Work::Failed(error) => Err(error),
            Work::Sort(order) => Ok(self.sort(order, pager)),
            Work::Open(sources, level) => self.open(sources, level, pager),
            Work::Spill(merge, writer, level) => self.spill(merge, writer, level, pager),
            Work::Build(merge) => self.merge_to_builder(merge, set, pager),
            Work::Seal => match set.prepare_stream(pager, self.builder.pages_needed())? {
                Some(io) => Ok(Step::Wait(Work::Seal, io)),
                None => {
                    reached!(LoadOrderBroke);
                    self.before = self.builder.take_pages(set);
                    if is_planted!(LeavesFreedBeforeMerge) {
                        self.before.iter().for_each(|(run, birth)| set.kill_run(*run, *birth));
                    }
                    Ok(Step::Next(Work::Settle))
                }
            },
            Work::Settle => {
                let wait = match set.write_stream(pager)? {
                    Some(io) => Some(io),
                    None => set.settle_stream()?,
                };
                Ok(match wait {
                    Some(io) => Step::Wait(Work::Settle, io),
                    None => Step::Next(Work::Idle),
                })
            }
        }
    }

    fn sort(&mut self, mut order: Vec<Buffer>, pager: &Pager) -> Next {
        let page_len = self.limits.page_len;
        while order.len() < self.collected.order_len(page_len) {
            match pager.cache().take_frame() {
                Ok(frame) => order.push(frame),
                Err(signal) => return Step::Wait(Work::Sort(order), signal),
            }
        }
        let piece = self.collected.sort(order, page_len);
        self.pieces.push(piece);
        Step::Next(Work::Idle)
    }

    fn open(&mut self, sources: Vec<Source>, level: u32, pager: &Pager) -> Result<Next> {
        let file = self.file.get_or_insert_with(|| SortFile::begin(pager));
        Ok(match file.prepare()? {
            Some(io) => Step::Wait(Work::Open(sources, level), io),
            None => {
                let writer = RunWriter::new(file, self.limits);
                Step::Next(Work::Spill(Merge::new(sources), writer, level))
            }
        })
    }

    fn spill(
        &mut self,
        mut merge: Merge,
        mut writer: RunWriter,
        level: u32,
        pager: &Pager,
    ) -> Result<Next> {
        let from = Files { pager, file: self.file.as_ref(), limits: self.limits };
        let merged = merge.go_on(&from, |key, value| Ok(writer.push(key, value)))?;
        let file = self.file.as_mut().expect("the file is open");
        Ok(match merged {
            Merged::Some => Step::Next(Work::Spill(merge, writer, level)),
            Merged::Wait(io) => Step::Wait(Work::Spill(merge, writer, level), io),
            Merged::NoRoom => match writer.prepare(file, pager)? {
                Some(io) => Step::Wait(Work::Spill(merge, writer, level), io),
                None => Step::Next(Work::Spill(merge, writer, level)),
            },
            Merged::All => match writer.finish(file)? {
                Err(io) => Step::Wait(Work::Spill(merge, writer, level), io),
                Ok(frames) => {
                    self.runs.push(Run { frames, level });
                    Step::Next(self.merge_alike().unwrap_or(Work::Idle))
                }
            },
        })
    }

    fn merge_to_builder(
        &mut self,
        mut merge: Merge,
        set: &mut WriteSet,
        pager: &Pager,
    ) -> Result<Next> {
        let from = Files { pager, file: self.file.as_ref(), limits: self.limits };
        let builder = &mut self.builder;
        let take =
            |key: &[u8], value: Stored<'_>| Ok(builder.push(set, key, value) == Pushed::Taken);
        Ok(match merge.go_on(&from, take)? {
            Merged::Some => Step::Next(Work::Build(merge)),
            Merged::Wait(io) => Step::Wait(Work::Build(merge), io),
            Merged::NoRoom => match set.prepare_stream(pager, self.builder.pages_needed())? {
                Some(io) => Step::Wait(Work::Build(merge), io),
                None => Step::Next(Work::Build(merge)),
            },
            Merged::All => {
                // What was built before is not needed any more, once it was merged.
                if self.is_merged {
                    for (run, birth) in mem::take(&mut self.before) {
                        set.kill_run(run, birth);
                    }
                }
                Step::Next(Work::Idle)
            }
        })
    }
}
