//! What the simulated disk and computer promise.

mod contract;
mod crashes;
mod engine;
mod faults;
mod full;
mod length;
mod model;

use std::path::Path;
use std::sync::Arc;

use simulator::computer::{Computer, ComputerSettings, Latency};
use simulator::disk::{Choice, Disk};
use yieldb_core::{
    BufferPool, Completion, Create, Error, File, OpenOptions, Request, SharedBuffers,
};
use yieldb_io_backends::Backend;

const BLOCK: usize = 4096;

/// A computer, and memory for its requests.
struct Bench {
    computer: Computer,
    backend: Backend,
    pool: Arc<BufferPool>,
}

impl Bench {
    fn start(disk: Disk, settings: ComputerSettings) -> Bench {
        let computer = Computer::start(disk, settings);
        let backend = computer.backend();
        Bench { computer, backend, pool: BufferPool::new(64, BLOCK).unwrap() }
    }

    /// A computer that does everything in order, on an empty disk.
    fn new() -> Bench {
        Bench::start(Disk::new(), ComputerSettings::default())
    }

    fn wait(&self, completion: &Completion) -> Result<usize, Error> {
        while !completion.finished() {
            self.backend.driver.wait(completion);
        }
        completion.result().unwrap()
    }

    fn open_with(&self, path: &str, options: OpenOptions) -> Result<Arc<dyn File>, Error> {
        let completion = Completion::open();
        self.backend.io.open(Path::new(path), options, completion.clone());
        self.wait(&completion)?;
        Ok(completion.take_file().unwrap())
    }

    fn open(&self, path: &str) -> Arc<dyn File> {
        self.open_with(path, options(Create::IfMissing)).unwrap()
    }

    fn blocks(&self, fills: &[u8]) -> SharedBuffers {
        let block = |fill: &u8| {
            let mut buffer = self.pool.take().unwrap();
            buffer.fill(*fill);
            buffer.share()
        };
        fills.iter().map(block).collect()
    }

    /// Submits a write of blocks from the block `at` on.
    fn submit_write(&self, file: &dyn File, at: u64, fills: &[u8], durable: bool) -> Completion {
        let completion = Completion::write(self.blocks(fills));
        file.write(at * BLOCK as u64, durable, completion.clone());
        completion
    }

    fn write(&self, file: &dyn File, at: u64, fills: &[u8]) -> Result<usize, Error> {
        self.wait(&self.submit_write(file, at, fills, false))
    }

    fn write_durably(&self, file: &dyn File, at: u64, fills: &[u8]) -> Result<usize, Error> {
        self.wait(&self.submit_write(file, at, fills, true))
    }

    fn submit_sync(&self, file: &dyn File) -> Completion {
        let completion = Completion::sync();
        file.sync_data(completion.clone());
        completion
    }

    fn sync(&self, file: &dyn File) -> Result<usize, Error> {
        self.wait(&self.submit_sync(file))
    }

    fn truncate(&self, file: &dyn File, len: u64) -> Result<usize, Error> {
        let completion = Completion::truncate();
        file.truncate(len, completion.clone());
        self.wait(&completion)
    }

    fn allocate(&self, file: &dyn File, len: u64) -> Result<usize, Error> {
        let completion = Completion::truncate();
        file.allocate(0, len, completion.clone());
        self.wait(&completion)
    }

    fn sync_directory(&self, path: &str) -> Result<usize, Error> {
        let completion = Completion::directory();
        self.backend.io.sync_directory(Path::new(path), completion.clone());
        self.wait(&completion)
    }

    fn remove(&self, path: &str) -> Result<usize, Error> {
        let completion = Completion::directory();
        self.backend.io.remove(Path::new(path), completion.clone());
        self.wait(&completion)
    }

    fn rename(&self, from: &str, to: &str) -> Result<usize, Error> {
        let completion = Completion::directory();
        self.backend.io.rename(Path::new(from), Path::new(to), completion.clone());
        self.wait(&completion)
    }

    fn submit_read(&self, file: &dyn File, at: u64, count: usize) -> Completion {
        let buffers = (0..count).map(|_| self.pool.take().unwrap()).collect();
        let completion = Completion::read(buffers);
        file.read(at * BLOCK as u64, completion.clone());
        completion
    }

    /// Reads blocks and returns the first byte of each that arrived, of which all others are the
    /// same.
    fn read(&self, file: &dyn File, at: u64, count: usize) -> Result<Vec<u8>, Error> {
        let completion = self.submit_read(file, at, count);
        let len = self.wait(&completion)?;
        let buffers = completion.take_buffers();
        Ok(fills_of(&buffers.iter().flat_map(|buffer| buffer.to_vec()).collect::<Vec<_>>()[..len]))
    }

    /// What is left of a file after a power cut now that takes all it can.
    fn durable(&self, path: &str) -> Option<Vec<u8>> {
        let (disk, _) = self.computer.crash_power(&mut Choice::Nothing);
        disk.image(path).map(|bytes| fills_of(&bytes))
    }

    fn visible(&self, path: &str) -> Vec<u8> {
        fills_of(&self.computer.disk().image(path).unwrap())
    }
}

/// The fill of each block.
fn fills_of(bytes: &[u8]) -> Vec<u8> {
    let chunks = bytes.chunks(BLOCK);
    chunks
        .map(|chunk| {
            assert!(chunk.iter().all(|byte| *byte == chunk[0]), "a block of several fills");
            chunk[0]
        })
        .collect()
}

/// The fill of each sector.
fn sectors_of(bytes: &[u8]) -> Vec<u8> {
    let sectors = bytes.chunks(512);
    sectors
        .map(|sector| {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector of several fills");
            sector[0]
        })
        .collect()
}

fn options(create: Create) -> OpenOptions {
    OpenOptions { write: true, create, direct: true }
}

fn errno_of<T>(result: Result<T, Error>) -> Option<i32> {
    result.err().and_then(|error| error.errno())
}

fn random_order(seed: u64) -> ComputerSettings {
    ComputerSettings { seed, latency: Latency::Random { max: 1000 }, ..Default::default() }
}
