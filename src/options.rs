//! How a database is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use yieldb_btree::node::check_node;
use yieldb_core::Create;
use yieldb_io_backends::{Backend, Choice};
use yieldb_pager::log::writer::LogLimits;
use yieldb_pager::{CacheMemory, Settings};
use yieldb_pager::{MIN_FRAMES, PageSize};

use crate::cache::Cache;
use crate::driving::{DriverMode, Driving};
use crate::op::{Held, Op};
use crate::open::{self, Open};
use crate::{Error, Result};

/// How a database is opened.
///
/// ```
/// # fn main() -> yieldb::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("some.db");
/// use yieldb::{Create, Options};
///
/// let options = Options::new().create(Create::New).page_size(8192).cache_bytes(16 << 20);
/// let database = options.open(&path).wait()?;
/// assert_eq!(database.info().page_size, 8192);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options open nothing by themselves"]
pub struct Options {
    page_size: u32,
    cache: Pages,
    read_only: bool,
    create: Create,
    database_id: Option<[u8; 16]>,
    direct: bool,
    io: Io,
    driver: DriverMode,
    patience: Duration,
    log: Option<LogLimits>,
    checkpoint_only: bool,
}

/// How long a thread looks for the end of its I/O, if nothing else is asked for: longer than a
/// solid-state disk takes for a durable write, and little beside one of a disk that is slower.
const PATIENCE: Duration = Duration::from_micros(200);

/// Where pages are kept.
#[derive(Clone, Debug)]
enum Pages {
    /// A part of the machine's memory.
    Usual,
    Bytes(u64),
    Shared(Cache),
}

#[derive(Clone, Debug)]
enum Io {
    Choice(Choice),
    Backend(Backend),
}

impl Default for Options {
    fn default() -> Self {
        Options::new()
    }
}

impl Options {
    /// The usual: an existing file or a new one, 4 KiB pages, a quarter of the memory for the
    /// cache, io_uring where it can be had.
    pub fn new() -> Options {
        Options {
            page_size: PageSize::MIN.as_u32(),
            cache: Pages::Usual,
            read_only: false,
            create: Create::IfMissing,
            database_id: None,
            direct: true,
            io: Io::Choice(Choice::Auto),
            driver: DriverMode::Automatic,
            patience: PATIENCE,
            log: Some(LogLimits::default()),
            checkpoint_only: false,
        }
    }

    /// The page size in bytes of a database that is created: 4,096 (the default) to 65,536, a
    /// power of two. An existing one keeps its own.
    pub fn page_size(mut self, bytes: u32) -> Options {
        self.page_size = bytes;
        self
    }

    /// How much memory pages may take, in bytes; taken as it is needed. This is all that the cache
    /// takes, its page table (4 bytes for a page of the file) included; only 64 pages are kept in
    /// any case. The least is [`Options::min_cache_bytes`]; the default is a quarter of the
    /// machine's memory.
    pub fn cache_bytes(mut self, bytes: u64) -> Options {
        self.cache = Pages::Bytes(bytes);
        self
    }

    /// Keeps pages in a cache that other databases use as well, instead of one of the database's
    /// own: see [`Cache`] for an example. Its page size must be the file's, and there must be
    /// [`Options::min_cache_bytes`] of it for each database that is open.
    pub fn cache(mut self, cache: &Cache) -> Options {
        self.cache = Pages::Shared(cache.clone());
        self
    }

    /// The least that [`Options::cache_bytes`] may be for a page size: 64 pages.
    pub fn min_cache_bytes(page_size: u32) -> u64 {
        MIN_FRAMES as u64 * u64::from(page_size)
    }

    /// Opens the database for reading only: beside other readers, and not beside a writer. The file
    /// has to be there, whatever [`Options::create`] says.
    pub fn read_only(mut self, read_only: bool) -> Options {
        self.read_only = read_only;
        self
    }

    /// What if there is no such file, or there is one? The default creates a missing one.
    pub fn create(mut self, create: Create) -> Options {
        self.create = create;
        self
    }

    /// The id of a database that is created; by default a random one. Two files made by the same
    /// commits with the same id are the same, byte for byte.
    pub fn database_id(mut self, id: [u8; 16]) -> Options {
        self.database_id = Some(id);
        self
    }

    /// Whether to go past the operating system's cache, which is the default where the file system
    /// can do it. The database's own cache is then the only one.
    pub fn direct(mut self, direct: bool) -> Options {
        self.direct = direct;
        self
    }

    /// Which back-end performs the I/O.
    pub fn io(mut self, choice: Choice) -> Options {
        self.io = Io::Choice(choice);
        self
    }

    /// A back-end that several databases share: see [`crate::open_backend`], and
    /// [`crate::MemoryDisk`] for tests. One of one's own is made with the crate `yieldb-core`.
    pub fn backend(mut self, backend: Backend) -> Options {
        self.io = Io::Backend(backend);
        self
    }

    /// How long the log may be that commits go into; `None`: every commit is a checkpoint, and
    /// there is no log.
    ///
    /// A log begins with the second commit after the database was opened, unless there is one, in a
    /// file beside it whose name ends with `-log`, and ends when the database is
    /// [closed](crate::Database::close).
    pub fn log(mut self, limits: Option<LogLimits>) -> Options {
        self.log = limits;
        self
    }

    /// Opens the database for reading only, and as its last checkpoint left it, whatever commits
    /// the log has behind that: for tools that look at a file that may be damaged, and where a log
    /// is lost. **What is read is older than the last commit** if there is a log: see
    /// [`RawFile::has_log`](crate::inspect::RawFile::has_log). The log is neither read nor changed.
    /// If a slot of the superblock is damaged, that may be the checkpoint before the last.
    pub fn checkpoint_only(mut self, checkpoint_only: bool) -> Options {
        self.checkpoint_only = checkpoint_only;
        self
    }

    /// Who drives operations that are awaited.
    pub fn driver(mut self, mode: DriverMode) -> Options {
        self.driver = mode;
        self
    }

    /// How long a thread in [`Op::wait`] looks for the end of its I/O before it sleeps; the default
    /// is 200 microseconds, and zero makes it sleep at once.
    ///
    /// While it looks, it yields the processor to whatever else could run, and is not idle. That is
    /// quicker by what it takes to sleep and to be woken: about a quarter of the time of a durable
    /// write on a virtual machine's disk. One thread of a database looks at a time, and one more,
    /// for a fifth of that, where it waits for what another thread is about to do: the writer's
    /// turn. Only with io_uring; those that drive operations which are awaited sleep at once. Where
    /// others keep the processor for more than a millisecond, nobody looks for the next 100.
    pub fn patience(mut self, patience: Duration) -> Options {
        self.patience = patience;
        self
    }

    /// Begins to open the database in the file at `path`.
    ///
    /// Opening for writing syncs the file and writes the superblocks, so that nothing is built on
    /// what a power cut could still take. Commits that only the log has are made again, which takes
    /// as long as there are many: [`Op::recovery`] tells how far that is. Dropping the operation
    /// leaves a file that can be opened.
    ///
    /// # Errors
    ///
    /// When driven: [`Error::Open`] with the reason, see [`Error::kind`]; [`Error::PageSize`] and
    /// [`Error::NoDriver`] for what is asked for here; [`Error::Operation`] where a commit that the
    /// log has cannot be made again.
    pub fn open(self, path: impl AsRef<Path>) -> Op<'static, Open> {
        let path = path.as_ref();
        let (driving, opening) = match self.prepare() {
            Ok((settings, backend)) => {
                let driving = Driving::new(backend, self.driver, self.patience);
                let opening = open::open(path, settings, driving.clone());
                (driving, opening)
            }
            Err(error) => {
                let nobody = yieldb_io_backends::MemoryDisk::new().immediate();
                (Driving::new(nobody, DriverMode::Manual, Duration::ZERO), open::refuse(error))
            }
        };
        Op::new(opening, Held::Owned(Arc::new(())), Held::Owned(driving))
    }

    fn prepare(&self) -> Result<(Settings, Backend)> {
        let page_size =
            PageSize::new(self.page_size).ok_or(Error::PageSize { bytes: self.page_size })?;
        let backend = match &self.io {
            Io::Backend(backend) => backend.clone(),
            Io::Choice(choice) => crate::open_backend(*choice)?,
        };
        let read_only = self.read_only || self.checkpoint_only;
        let settings = Settings {
            page_size,
            cache: match &self.cache {
                Pages::Usual => CacheMemory::Own(quarter_of_memory()),
                Pages::Bytes(bytes) => CacheMemory::Own(*bytes),
                Pages::Shared(cache) => CacheMemory::Shared(cache.pool().clone()),
            },
            read_only,
            create: if read_only { Create::Never } else { self.create },
            database_id: self.database_id,
            direct: self.direct,
            check: check_node,
            log: self.log,
            checkpoint_only: self.checkpoint_only,
        };
        Ok((settings, backend))
    }
}

/// A quarter of the machine's memory in bytes, or 256 MiB where it cannot be found out.
fn quarter_of_memory() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = total.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
    kib.map_or(256 << 20, |kib| kib * 1024 / 4)
}
