//! What every back-end promises, asked of each.

mod driving;
mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rstest_reuse::template;
use yieldb_core::{
    BufferPool, Completion, Create, Error, File, OpenOptions, Operation, Request, SharedBuffers,
};
use yieldb_io_backends::{Backend, MemoryDisk, RawHook, pread, uring};

const BLOCK: usize = 4096;

/// Which back-end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Uring,
    Pread,
    /// In memory, performed at once.
    Immediate,
    /// In memory, performed when turned.
    Yielding,
}

#[template]
#[rstest]
#[case::uring(Kind::Uring)]
#[case::pread(Kind::Pread)]
#[case::immediate(Kind::Immediate)]
#[case::yielding(Kind::Yielding)]
fn backends(#[case] kind: Kind) {}

/// A back-end and a place for its files.
struct Bench {
    backend: Backend,
    disk: MemoryDisk,
    directory: tempfile::TempDir,
    pool: Arc<BufferPool>,
}

/// Leaves results as they are.
struct Untouched;

impl RawHook for Untouched {
    fn raw(&self, _operation: Operation, _offset: u64, _len: usize, result: i32) -> i32 {
        result
    }
}

impl Bench {
    /// `None`, and a line that says so, where the kernel refuses io_uring.
    fn new(kind: Kind) -> Option<Bench> {
        Self::with_hook(kind, Arc::new(Untouched))
    }

    fn with_hook(kind: Kind, hook: Arc<dyn RawHook>) -> Option<Bench> {
        let disk = MemoryDisk::new();
        let backend = match kind {
            Kind::Pread => pread::with_hook("", Some(hook)).unwrap(),
            Kind::Immediate => disk.with_hook(None, hook),
            Kind::Yielding => disk.with_hook(Some(3), hook),
            Kind::Uring => match uring::with_hook("", Some(hook)) {
                Ok(backend) => backend,
                Err(error) => {
                    eprintln!("not tested: io_uring is refused: {error}");
                    return None;
                }
            },
        };
        // On the disk that the project is on: a file system in memory has other habits.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let pool = BufferPool::new(64, BLOCK).unwrap();
        Some(Bench { backend, disk, directory, pool })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn wait(&self, completion: &Completion) -> Result<usize, Error> {
        while !completion.finished() {
            self.backend.driver.wait(completion);
        }
        completion.result().unwrap()
    }

    fn open_with(&self, path: &Path, options: OpenOptions) -> Result<Arc<dyn File>, Error> {
        let completion = Completion::open();
        self.backend.io.open(path, options, completion.clone());
        self.wait(&completion)?;
        Ok(completion.take_file().expect("an open has a file"))
    }

    fn open(&self, name: &str) -> Arc<dyn File> {
        self.open_with(&self.path(name), options(Create::IfMissing)).unwrap()
    }

    /// Blocks that are filled with these bytes.
    fn blocks(&self, fills: &[u8]) -> SharedBuffers {
        let block = |fill: &u8| {
            let mut buffer = self.pool.take().unwrap();
            buffer.fill(*fill);
            buffer.share()
        };
        fills.iter().map(block).collect()
    }

    fn write(&self, file: &dyn File, offset: u64, fills: &[u8]) -> Result<usize, Error> {
        let completion = Completion::write(self.blocks(fills));
        file.write(offset, false, completion.clone());
        self.wait(&completion)
    }

    fn read_completion(&self, count: usize) -> Completion {
        Completion::read((0..count).map(|_| self.pool.take().unwrap()).collect())
    }

    /// Reads blocks and returns the bytes that arrived.
    fn read(&self, file: &dyn File, offset: u64, count: usize) -> Result<Vec<u8>, Error> {
        let completion = self.read_completion(count);
        file.read(offset, completion.clone());
        let len = self.wait(&completion)?;
        let mut bytes: Vec<u8> =
            completion.take_buffers().iter().flat_map(|buffer| buffer.to_vec()).collect();
        bytes.truncate(len);
        Ok(bytes)
    }

    fn size(&self, file: &dyn File) -> u64 {
        file.size().unwrap()
    }
}

fn options(create: Create) -> OpenOptions {
    OpenOptions { write: true, create, direct: true }
}

fn expected(fills: &[u8]) -> Vec<u8> {
    fills.iter().flat_map(|fill| [*fill; BLOCK]).collect()
}

fn errno_of<T>(result: Result<T, Error>) -> Option<i32> {
    result.err().and_then(|error| error.errno())
}
