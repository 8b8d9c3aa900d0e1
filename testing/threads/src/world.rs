//! A file of pages that say their own numbers, a cache of it, and how threads wait.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::task::{Wake, Waker};

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread::{self, Thread};
use yieldb_core::{Completion, Create, File, OpenOptions, Request};
use yieldb_io_backends::{Backend, MemoryDisk, RawHook};
use yieldb_pager::cache::{Cache, Joined, PendingRead};
use yieldb_pager::{FramePool, PageId, PageRef, PageSize, PinnedPage, Stamp, page_format};

/// The length of a page in bytes.
pub const PAGE_LEN: usize = PageSize::MIN.bytes();

/// The pages of the file: the numbers from 0 on.
pub const PAGE_COUNT: u64 = 8;

static IMAGE: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..PAGE_COUNT).flat_map(|number| page(number, 1)).collect());

/// A file, and a cache of its pages.
#[derive(Clone)]
pub struct World {
    pub cache: Arc<Cache>,
    pub file: Arc<dyn File>,
    pub backend: Backend,
}

impl World {
    /// A world with so many frames. Requests are performed when somebody drives.
    pub fn new(frames: usize) -> World {
        Self::with(frames, None, |_| {})
    }

    /// The same with a hook on the results of requests, and a change of the file's bytes.
    pub fn with(
        frames: usize,
        hook: Option<Arc<dyn RawHook>>,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> World {
        let disk = MemoryDisk::new();
        let mut image = IMAGE.clone();
        change(&mut image);
        disk.set_image("file", image);
        let seed = thread_rng().r#gen();
        let backend = match hook {
            Some(hook) => disk.with_hook(Some(seed), hook),
            None => disk.yielding(seed),
        };
        let io = Completion::open();
        let options = OpenOptions { write: true, create: Create::Never, direct: true };
        backend.io.open(Path::new("file"), options, io.clone());
        backend.driver.quiesce();
        let file = io.take_file().expect("the file is there");
        let pool = FramePool::new(PageSize::MIN, (frames * PAGE_LEN) as u64);
        let cache = Cache::new(&pool.expect("there is memory"), &file, |_| Ok(()));
        World { cache: cache.expect("there is room"), file, backend }
    }

    /// Drives until `io` is finished.
    pub fn drive(&self, io: &Completion) {
        while !io.finished() && !io.is_explicit_yield() {
            self.backend.driver.wait(io);
        }
        if io.is_explicit_yield() {
            thread::yield_now();
        }
    }

    /// The read of a page, or the page; waits until there is a frame.
    pub fn join(&self, name: PageRef) -> yieldb_core::Result<Result<PinnedPage, PendingRead>> {
        loop {
            match self.cache.join_read(&*self.file, name)? {
                Joined::Hit(page) => return Ok(Ok(page)),
                Joined::Reading(read) => return Ok(Err(read)),
                Joined::Later(io) => self.drive(&io),
            }
        }
    }

    /// A page, read if it has to be.
    pub fn fetch(&self, name: PageRef) -> yieldb_core::Result<PinnedPage> {
        match self.join(name)? {
            Ok(page) => Ok(page),
            Err(read) => {
                self.drive(&read.completion());
                read.take()
            }
        }
    }
}

/// The bytes of a page in its `generation`: everywhere what only this page has.
pub fn page(number: u64, generation: u32) -> Vec<u8> {
    let mut bytes = vec![number as u8 | (generation as u8) << 4; PAGE_LEN];
    page_format::set_kind(&mut bytes, page_format::LEAF, 0, 0);
    page_format::seal(&mut bytes, id(number), Stamp::new(generation, number as u32));
    bytes
}

/// Asserts that these are the bytes of a page.
pub fn assert_page(bytes: &[u8], number: u64, generation: u32) {
    let is_it = page_format::number_of(bytes) == number
        && page_format::stamp_of(bytes) == Stamp::new(generation, number as u32)
        && bytes[page_format::HEADER_LEN..]
            .iter()
            .all(|byte| *byte == number as u8 | (generation as u8) << 4);
    let found = page_format::number_of(bytes);
    assert!(is_it, "page {number} has bytes of another one: it says that it is page {found}");
}

/// A page's number.
pub fn id(number: u64) -> PageId {
    PageId::from_u64(number).expect("a small number")
}

/// The name of a page in its `generation`.
pub fn name(number: u64, generation: u32) -> PageRef {
    PageRef::new(id(number), Stamp::new(generation, number as u32))
}

/// Wakes a thread that sleeps.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Sleeps until `io` is finished. Nobody is driven, so a wake-up that is lost is a deadlock, which
/// the checker notices.
pub fn sleep_until(io: &Completion) {
    let waker = Waker::from(Arc::new(Sleeper(thread::current())));
    while io.register(&waker) {
        thread::park();
    }
    assert!(io.finished(), "a completion that takes no waker is finished");
}

/// Runs `work` on threads of their own, and waits for all of them.
pub fn together(work: impl IntoIterator<Item = Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = work.into_iter().map(thread::spawn).collect();
    for thread in threads {
        thread.join().expect("a thread ends well");
    }
}

/// A thread's work, for [`together`].
pub fn thread(work: impl FnOnce() + Send + 'static) -> Box<dyn FnOnce() + Send> {
    Box::new(work)
}
