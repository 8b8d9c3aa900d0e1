//! Opening a database file.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smallvec::smallvec;
use yieldb_core::{
    BufferPool, Completion, CompletionGroup, Create, File, IO, IOResult, LockKind, OpenOptions,
    Request, StateMachine, StateTransition, Transition, is_planted, reached,
};

use crate::cache::{Cache, Joined, PendingRead};
use crate::ledger::{Ledger, empty_space};
use crate::log::path::LogPath;
use crate::log::writer::LogWriter;
use crate::ops::find_log::{FindLog, FoundLog, find_log};
use crate::ops::left_log::{RemoveLeftLog, remove_left_log};
use crate::ops::read_log::LogReader;
use crate::ops::slots::SlotReads;
use crate::pager::Parts;
use crate::space::map::MapLoader;
use crate::superblock::{
    Chosen, OpenError, SLOT_LEN, SLOT_OFFSETS, Superblock, choose, is_unfinished_creation,
    reserved_page_count,
};
use crate::{Error, PageRef, PageSize, Pager, Result, Root, Settings, Stamp};

/// Opens a file, or creates it.
///
/// ```text
///   begin -> Open --> Opening ---> ReadingSlots ------ a log goes on ----> FindingLog
///                        | empty     |   | there is none                     |
///                        v           |   |<----------------------------------'
///                     Growing <------'   |
///                        |               |--- read only, and settled --> ReadingMap --> done
///                        |               v                               ^       ^
///                        '---------> Preparing ------ read only ---------'       |
///                                        |                                       |
///                                        v         too long                      |
///                                    WritingSlot, 3x -------> Cutting            |
///                                        |                       |               |
///                                        |<----------------------'               |
///                                        |                                       |
///                                        |--- a log is in use --> SyncingDirectory
///                                        v                           ^
///                                    RemovingLeftLog ----------------'
/// ```
///
/// A file that is to be written is not trusted to be more than a cache's contents: before
/// anything else it is synced, and the slot that counts is written as it was found: an earlier
/// sync may have failed, and the operating system have forgotten what it was to write. Then both
/// slots are written with a session number that no page has. A new file gets its length first. A
/// file that a crash or a failed transaction left longer than its superblock says is cut, but not
/// before both slots are durable: the one that was durable until then may refer to what is behind
/// the end that the other one names.
///
/// A log that is left though no slot speaks of it is removed then, for the same reason not earlier.
///
/// A file that is only to be read is not written. Where its slots differ, a commit was cut short,
/// and the newer slot may be in a cache alone, as the groups of a log may: it is synced, so that
/// nobody reads what a power cut could still take.
///
/// An abandoned run leaves a file that can be opened, or, where it was being created, one that the
/// next creation finishes.
pub struct Open {
    io: Arc<dyn IO>,
    path: PathBuf,
    settings: Settings,
    /// Two blocks of a superblock's length.
    superblocks: Arc<BufferPool>,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Nothing is known of the file.
    Open,
    /// The file is being opened.
    Opening(Completion),
    /// Its two slots are being read.
    ReadingSlots(OpenFile, SlotReads),
    /// The log that the slot speaks of is being looked for, and read.
    FindingLog(Known, Box<StateMachine<FindLog>>),
    /// A new file gets its length.
    Growing(Known, Completion),
    /// What may only be in a cache becomes durable.
    Preparing(Known, Completion),
    /// A slot becomes durable that says the session's number.
    WritingSlot(Known, Slot, Completion),
    /// What lies behind the last page, and nothing refers to, is cut off.
    Cutting(Known, Completion),
    /// A log that no slot speaks of goes.
    RemovingLeftLog(Known, StateMachine<RemoveLeftLog>),
    /// The file's directory entry becomes durable.
    SyncingDirectory(Known, Completion),
    /// A page of the space map is being read.
    ReadingMap(Box<Unfinished>, PendingRead),
}

/// Which slot is being written.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    /// The one that counts, as it was found.
    Chosen,
    /// The one that does not count.
    First,
    /// The one that did.
    Second,
}

/// The file, open and locked.
#[derive(Clone)]
pub struct OpenFile(Arc<dyn File>);

/// The file, and the superblock that counts.
#[derive(Debug)]
pub struct Known {
    file: OpenFile,
    log_path: LogPath,
    superblock: Superblock,
    /// The slot that counts.
    slot: usize,
    /// Does the other one say the same?
    is_settled: bool,
    log: Option<FoundLog>,
}

/// A pager whose space map is not complete.
#[derive(Debug)]
pub struct Unfinished {
    chosen: Known,
    cache: Arc<Cache>,
    loader: MapLoader,
}

/// Begins to open the file at `path`.
///
/// # Errors
///
/// [`yieldb_core::Error::OutOfMemory`]; [`Error::CacheTooSmall`] for a file that is to be new.
pub fn open(io: Arc<dyn IO>, path: &Path, settings: Settings) -> Result<StateMachine<Open>> {
    assert!(settings.read_only || !settings.checkpoint_only, "a checkpoint is behind its log");
    if settings.create == Create::New {
        settings.cache.check(settings.page_size)?;
    }
    let superblocks = BufferPool::new(2, SLOT_LEN)?;
    let machine = Open { io, path: path.to_path_buf(), settings, superblocks };
    Ok(StateMachine::new(machine, State::Open))
}

impl StateTransition for Open {
    type State = State;
    type Context = ();
    type Output = Arc<Pager>;
    type Error = Error;

    fn transition(&mut self, state: State, _context: &()) -> Result<Transition<Self>> {
        Ok(match state {
            State::Open => {
                let io = Completion::open();
                self.io.open(&self.path, self.options(), io.clone());
                Transition::Wait(State::Opening(io.clone()), io)
            }
            State::Opening(io) => {
                self.look_at_open(&io)?;
                let file = io.take_file().expect("an open that succeeded has a file");
                self.lock(&*file)?;
                if file.size()? == 0 { self.create(file)? } else { self.read_slots(file) }
            }
            State::ReadingSlots(file, slots) => self.choose(file, slots)?,
            State::FindingLog(mut chosen, mut finding) => match finding.step(&())? {
                IOResult::IO(io) => Transition::Wait(State::FindingLog(chosen, finding), io.into()),
                IOResult::Done(found) => {
                    chosen.log = Some(found);
                    self.settle(chosen)?
                }
            },
            State::Growing(chosen, io) => {
                io.result().expect("the write is finished")?;
                self.prepare(chosen)
            }
            State::Preparing(chosen, io) => self.begin_session(chosen, &io)?,
            State::WritingSlot(chosen, Slot::Chosen, io) => {
                io.result().expect("the write is finished")?;
                self.write_slot(chosen, Slot::First)
            }
            State::WritingSlot(chosen, Slot::First, io) => {
                io.result().expect("the write is finished")?;
                self.write_slot(chosen, Slot::Second)
            }
            State::WritingSlot(mut chosen, Slot::Second, io) => {
                io.result().expect("the write is finished")?;
                chosen.slot = 1 - chosen.slot;
                self.cut(chosen)?
            }
            State::Cutting(chosen, io) => {
                io.result().expect("the truncation is finished")?;
                self.remove_left_log(chosen)
            }
            State::RemovingLeftLog(chosen, mut removing) => match removing.step(&())? {
                IOResult::IO(io) => {
                    Transition::Wait(State::RemovingLeftLog(chosen, removing), io.into())
                }
                IOResult::Done(()) => self.sync_directory(chosen),
            },
            State::SyncingDirectory(chosen, io) => {
                io.result().expect("the sync is finished")?;
                self.begin_map(chosen)?
            }
            State::ReadingMap(mut unfinished, read) => {
                let page = read.take()?;
                let number = unfinished.loader.next().map_or(0, |page| page.page().as_u64());
                let accepted = unfinished.loader.accept(&page);
                accepted.map_err(|what| Error::Corrupt { page: number, what })?;
                self.read_map(unfinished)?
            }
        })
    }
}

impl Open {
    fn options(&self) -> OpenOptions {
        let Settings { read_only, create, direct, .. } = self.settings;
        // What cannot be a database is not to be left as an empty file.
        let create = if self.check_new().is_err() { Create::Never } else { create };
        OpenOptions { write: !read_only, create, direct }
    }

    /// Can a new file be a database?
    fn check_new(&self) -> Result<()> {
        let Settings { cache, page_size, create, .. } = &self.settings;
        if *create == Create::Never { Ok(()) } else { cache.check(*page_size) }
    }

    /// Is the file open? If it is not there, and cannot be new either, the latter is the reason.
    fn look_at_open(&self, io: &Completion) -> Result<()> {
        let Some(error) = io.get_error() else { return Ok(()) };
        let kind = error.errno().map(|errno| std::io::Error::from_raw_os_error(errno).kind());
        if kind == Some(ErrorKind::NotFound) {
            self.check_new()?;
        }
        Err(error.into())
    }

    /// Locks the file: for one that writes, or for many that read.
    fn lock(&self, file: &dyn File) -> Result<()> {
        let is_read_only = self.settings.read_only;
        let holder = if is_read_only { "it is open for writing" } else { "it is open already" };
        lock(file, is_read_only, holder)
    }

    /// Gives an empty file its first superblock, if it is to be created.
    fn create(&self, file: Arc<dyn File>) -> Result<Transition<Self>> {
        if self.settings.create == Create::Never || self.settings.read_only {
            return Err(OpenError::Foreign { what: "it is empty" }.into());
        }
        let page_size = self.settings.page_size;
        self.settings.cache.check(page_size)?;
        reached!(FileCreated);
        let database_id = self.settings.database_id.unwrap_or_else(|| {
            let mut id = [0; 16];
            self.io.random(&mut id);
            id
        });
        let superblock = Superblock {
            page_size,
            database_id,
            checkpoint: 0,
            version: 0,
            moment: Stamp::default(),
            session: 0,
            catalogue: Root::default(),
            space: None,
            space_level: 0,
            page_count: reserved_page_count(page_size),
            next_tree: 1,
            log: None,
        };
        let file = OpenFile(file);
        let log_path = LogPath::of(&*file.0);
        let chosen = Known { file, log_path, superblock, slot: 1, is_settled: false, log: None };
        let io = self.grow(&chosen);
        Ok(Transition::Wait(State::Growing(chosen, io.clone()), io))
    }

    /// Begins to give a new file its length: with a write of its end, which makes that durable even
    /// if an earlier attempt has failed after the file was seen to be that long.
    fn grow(&self, chosen: &Known) -> Completion {
        let mut block = self.superblocks.take().expect("no slot is being read or written");
        block.fill(0);
        let io = Completion::write(smallvec![block.share()]);
        let offset = chosen.superblock.file_len() - SLOT_LEN as u64;
        chosen.file.0.write(offset, true, io.clone());
        io
    }

    fn read_slots(&self, file: Arc<dyn File>) -> Transition<Self> {
        let (slots, both) = SlotReads::begin(&*file, &self.superblocks);
        Transition::Wait(State::ReadingSlots(OpenFile(file), slots), both)
    }

    /// Looks at the slots. One that cannot be read may be the one that counts, whose version
    /// somebody has seen, and be read the next time: only who wants some checkpoint, whatever was
    /// behind it, goes on without.
    fn choose(&self, file: OpenFile, slots: SlotReads) -> Result<Transition<Self>> {
        let slots = slots.take();
        let failed = slots.iter().find_map(|slot| slot.as_ref().err());
        if let Some(error) = failed.filter(|_| !self.settings.checkpoint_only) {
            return Err(error.clone().into());
        }
        let said = slots.each_ref().map(|slot| slot.as_deref().unwrap_or_default());
        let file_len = file.0.size()?;
        let is_unfinished = failed.is_none() && is_unfinished_creation(said);
        if is_unfinished && file_len <= PageSize::MAX.bytes() as u64 {
            drop(slots);
            reached!(CreationFinished);
            return self.create(file.0);
        }
        let chosen = choose(said, file_len);
        if let (Err(what), Some(error)) = (&chosen, failed)
            && !what.is_of_the_future()
        {
            return Err(error.clone().into());
        }
        let Chosen { superblock, slot, spare } = chosen?;
        drop(slots);
        self.settings.cache.check(superblock.page_size)?;
        let (log_path, is_settled) = (LogPath::of(&*file.0), spare.is_none());
        let chosen = Known { file, log_path, superblock, slot, is_settled, log: None };
        if chosen.superblock.log.is_none() || self.settings.checkpoint_only {
            return self.settle(chosen);
        }
        let (io, path, superblock) = (self.io.clone(), chosen.log_path.clone(), &chosen.superblock);
        let (is_read_only, direct) = (self.settings.read_only, self.settings.direct);
        let finding = find_log(io, path, superblock.clone(), is_read_only, direct);
        Ok(Transition::Next(State::FindingLog(chosen, Box::new(finding))))
    }

    /// Goes on when it is known what the file says.
    fn settle(&self, chosen: Known) -> Result<Transition<Self>> {
        let is_settled = chosen.is_settled && chosen.log.is_none();
        if self.settings.read_only && (is_settled || is_planted!(ReaderNotSynced)) {
            self.begin_map(chosen)
        } else {
            Ok(self.prepare(chosen))
        }
    }

    /// Makes durable what an earlier process may have left in a cache.
    fn prepare(&self, chosen: Known) -> Transition<Self> {
        let io = Completion::sync();
        if !self.settings.read_only && is_planted!(CutBeforeSlots) {
            let _cut = truncate(&chosen);
        }
        if !self.settings.read_only
            && chosen.superblock.log.is_none()
            && is_planted!(LeftLogBeforeSlots)
        {
            self.io.remove(&chosen.log_path, Completion::directory());
        }
        if is_planted!(OpenNotSynced) {
            io.succeed(0);
        } else {
            chosen.file.0.sync_data(io.clone());
        }
        let io = match &chosen.log {
            None => io,
            Some(_) if is_planted!(LogNotSynced) => io,
            Some(log) => {
                let log_io = Completion::sync();
                log.file.0.sync_data(log_io.clone());
                let mut both = CompletionGroup::silent();
                both.add(&io);
                both.add(&log_io);
                both.build()
            }
        };
        Transition::Wait(State::Preparing(chosen, io.clone()), io)
    }

    /// Goes on when what was in a cache is durable.
    fn begin_session(&self, chosen: Known, io: &Completion) -> Result<Transition<Self>> {
        let synced = io.result().expect("the sync is finished");
        if self.settings.read_only {
            reached!(ReaderSynced);
            if let Some(error) = synced.err().filter(|error| !is_unwritable(error)) {
                return Err(error.into());
            }
            return self.begin_map(chosen);
        }
        synced?;
        // A new file has no slot yet.
        let has_slot = chosen.superblock.session > 0 && !is_planted!(ChosenNotRewritten);
        Ok(self.write_slot(chosen, if has_slot { Slot::Chosen } else { Slot::First }))
    }

    /// Writes a slot, durably; the first one names the new session.
    fn write_slot(&self, mut chosen: Known, slot: Slot) -> Transition<Self> {
        let offset = match slot {
            Slot::First => {
                chosen.superblock.session += u32::from(!is_planted!(SessionNotAdvanced));
                chosen.superblock.checkpoint += 1;
                SLOT_OFFSETS[1 - chosen.slot]
            }
            Slot::Chosen | Slot::Second => SLOT_OFFSETS[chosen.slot],
        };
        let mut block = self.superblocks.take().expect("one slot is written at a time");
        chosen.superblock.encode(&mut block);
        let io = Completion::write(smallvec![block.share()]);
        chosen.file.0.write(offset, !is_planted!(SessionNotDurable), io.clone());
        Transition::Wait(State::WritingSlot(chosen, slot, io.clone()), io)
    }

    /// Cuts off what lies behind the last page, if there is anything.
    fn cut(&self, chosen: Known) -> Result<Transition<Self>> {
        if chosen.file.0.size()? <= chosen.superblock.file_len() {
            return Ok(self.remove_left_log(chosen));
        }
        reached!(FileCut);
        let io = truncate(&chosen);
        Ok(Transition::Wait(State::Cutting(chosen, io.clone()), io))
    }

    /// Removes the log if no slot speaks of it, and goes on.
    fn remove_left_log(&self, chosen: Known) -> Transition<Self> {
        if chosen.superblock.log.is_some() {
            return self.sync_directory(chosen);
        }
        let (io, path, data) = (self.io.clone(), chosen.log_path.clone(), chosen.file.0.clone());
        let removing = remove_left_log(io, path, data, chosen.superblock.database_id);
        Transition::Next(State::RemovingLeftLog(chosen, removing))
    }

    fn sync_directory(&self, chosen: Known) -> Transition<Self> {
        let io = Completion::directory();
        if is_planted!(DirectoryNotSynced) {
            io.succeed(0);
            return Transition::Next(State::SyncingDirectory(chosen, io));
        }
        self.io.sync_directory(&chosen.file.0.directory(), io.clone());
        Transition::Wait(State::SyncingDirectory(chosen, io.clone()), io)
    }

    /// Makes the cache, and begins to read the space map.
    fn begin_map(&self, chosen: Known) -> Result<Transition<Self>> {
        let superblock = &chosen.superblock;
        let pool = self.settings.cache.pool(superblock.page_size)?;
        let cache = Cache::new(&pool, &chosen.file.0, self.settings.check)?;
        let Some(root) = superblock.space else {
            let space = empty_space(superblock);
            let session = self.session(superblock);
            let ledger = Ledger::new(superblock.clone(), session, chosen.slot, space, &[]);
            return Ok(Transition::Done(self.pager(chosen, cache, ledger)?));
        };
        let loader = MapLoader::new(
            superblock.page_size,
            superblock.page_count,
            root,
            superblock.space_level,
        );
        let loader = loader.map_err(|what| OpenError::Damaged { what })?;
        self.read_map(Box::new(Unfinished { chosen, cache, loader }))
    }

    /// The session of what is made from now on. One that only reads makes pages as well, in memory:
    /// those that the changes of the log come to.
    fn session(&self, superblock: &Superblock) -> u32 {
        superblock.session + u32::from(self.settings.read_only)
    }

    /// Reads the next page of the space map; if there is none, everything is known.
    fn read_map(&self, unfinished: Box<Unfinished>) -> Result<Transition<Self>> {
        if let Some(page) = unfinished.loader.next() {
            return match unfinished.cache.join_read(&*unfinished.chosen.file.0, page)? {
                Joined::Reading(read) => {
                    let io = read.completion();
                    Ok(Transition::Wait(State::ReadingMap(unfinished, read), io))
                }
                Joined::Hit(_) | Joined::Later(_) => Err(corrupt(page, "it is named twice")),
            };
        }
        let Unfinished { chosen, cache, loader } = *unfinished;
        if chosen.superblock.space_level > 0 {
            reached!(MapOfSeveralPagesRead);
        }
        let superblock = chosen.superblock.clone();
        let (space, map) = loader
            .finish(reserved_page_count(superblock.page_size))
            .map_err(|what| OpenError::Damaged { what })?;
        let session = self.session(&superblock);
        let ledger = Ledger::new(superblock, session, chosen.slot, space, &map);
        Ok(Transition::Done(self.pager(chosen, cache, ledger)?))
    }

    fn pager(&self, chosen: Known, cache: Arc<Cache>, ledger: Ledger) -> Result<Arc<Pager>> {
        let Known { file, log_path, superblock, log, .. } = chosen;
        let writer = LogWriter::new(self.settings.log, log_path, log.as_ref(), &superblock)?;
        Ok(Pager::new(Parts {
            io: self.io.clone(),
            file: file.0,
            page_size: superblock.page_size,
            read_only: self.settings.read_only,
            cache,
            superblocks: self.superblocks.clone(),
            ledger,
            log: writer,
            recovery: log.map(LogReader::new).transpose()?,
        }))
    }
}

/// Begins to give the file the length that its superblock says.
fn truncate(chosen: &Known) -> Completion {
    let io = Completion::truncate();
    chosen.file.0.truncate(chosen.superblock.file_len(), io.clone());
    io
}

/// Did a sync fail because the medium cannot be written? Then no cache holds anything back.
fn is_unwritable(error: &yieldb_core::Error) -> bool {
    let kind = error.errno().map(|errno| std::io::Error::from_raw_os_error(errno).kind());
    matches!(kind, Some(ErrorKind::ReadOnlyFilesystem | ErrorKind::InvalidInput))
}

fn corrupt(page: PageRef, what: &'static str) -> Error {
    Error::Corrupt { page: page.page().as_u64(), what }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "opening {}", self.path.display())
    }
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.path().display())
    }
}

/// Locks a file: for one that writes, or for many that read.
///
/// # Errors
///
/// [`Error::Locked`], with what the `holder` of the lock is doing.
pub(super) fn lock(file: &dyn File, is_read_only: bool, holder: &'static str) -> Result<()> {
    let kind = if is_read_only { LockKind::Shared } else { LockKind::Exclusive };
    if file.try_lock(kind)? { Ok(()) } else { Err(Error::Locked { holder }) }
}
