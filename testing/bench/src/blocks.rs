//! A bare ring that reads or writes blocks, and nothing else: what the device can do.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use io_uring::{IoUring, opcode, squeue, types};

use crate::Failure;
use crate::entries::Random;
use crate::measure::Measure;

/// Bytes of a page, which direct I/O wants offsets and memory to be multiples of.
pub const PAGE: u64 = 4096;

/// A page of memory.
#[repr(align(4096))]
#[derive(Clone)]
struct Page([u8; PAGE as usize]);

/// Reads `count` random pages of a file, `depth` at a time.
pub fn random(
    measure: impl Into<String>,
    path: &Path,
    (depth, count): (usize, u64),
    seed: u64,
) -> Result<Measure, Failure> {
    let pages = path.metadata()?.len() / PAGE;
    let mut random = Random(seed);
    let offsets = (0..count).map(|_| random.below(pages) * PAGE);
    Measure::time(measure, count, || read(path, PAGE, depth, offsets))
}

/// Reads blocks of a file past the kernel's cache, `depth` at a time, at these offsets.
pub fn read(
    path: &Path,
    len: u64,
    depth: usize,
    offsets: impl Iterator<Item = u64>,
) -> Result<(), Failure> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)?;
    transfer(&file, Direction::Read, len, depth, offsets)
}

/// Overwrites blocks of a file past the kernel's cache, `depth` at a time, at these offsets; all
/// of them are durable then.
pub fn overwrite(
    path: &Path,
    len: u64,
    depth: usize,
    offsets: impl Iterator<Item = u64>,
) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path)?;
    transfer(&file, Direction::Write, len, depth, offsets)?;
    Ok(file.sync_data()?)
}

/// Which way blocks go.
#[derive(Clone, Copy, Debug)]
enum Direction {
    Read,
    Write,
}

impl Direction {
    fn entry(self, file: &File, buffer: *mut u8, len: u32, offset: u64) -> squeue::Entry {
        let fd = types::Fd(file.as_raw_fd());
        match self {
            Direction::Read => opcode::Read::new(fd, buffer, len).offset(offset).build(),
            Direction::Write => opcode::Write::new(fd, buffer, len).offset(offset).build(),
        }
    }
}

fn transfer(
    file: &File,
    direction: Direction,
    len: u64,
    depth: usize,
    offsets: impl Iterator<Item = u64>,
) -> Result<(), Failure> {
    let pages_each = (len / PAGE) as usize;
    let mut pages = vec![Page([7; PAGE as usize]); depth * pages_each];
    let mut ring: IoUring =
        IoUring::builder().setup_coop_taskrun().build(depth.next_power_of_two() as u32)?;
    let mut offsets = offsets.fuse();
    let mut free: Vec<usize> = (0..depth).collect();
    let mut failed = None;
    loop {
        while failed.is_none()
            && let Some(&index) = free.last()
            && let Some(offset) = offsets.next()
        {
            let buffer = pages[index * pages_each].0.as_mut_ptr();
            let entry = direction.entry(file, buffer, len as u32, offset).user_data(index as u64);
            // SAFETY: the pages from `buffer` on are `len` bytes, in one request at a time, and
            // live longer than the ring does, which is dropped first.
            unsafe { ring.submission().push(&entry)? };
            free.pop();
        }
        if free.len() == depth {
            return failed.map_or(Ok(()), |result| {
                Err(format!("{direction:?} of {len} bytes returned {result}").into())
            });
        }
        ring.submit_and_wait(1)?;
        for completion in ring.completion() {
            if completion.result() != len as i32 {
                failed = Some(completion.result());
            }
            free.push(completion.user_data() as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_overwritten_to_the_last_byte() -> Result<(), Failure> {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR"))?;
        std::fs::write(file.path(), vec![0; 64 * PAGE as usize])?;
        overwrite(file.path(), 16 * PAGE, 3, (0..64 * PAGE).step_by(16 * PAGE as usize))?;
        assert_eq!(std::fs::read(file.path())?, vec![7; 64 * PAGE as usize]);
        Ok(())
    }

    #[test]
    fn a_file_is_read_and_not_more() -> Result<(), Failure> {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR"))?;
        std::fs::write(file.path(), vec![7; 64 * PAGE as usize])?;
        let every = |len: u64| (0..64 * PAGE).step_by(len as usize);
        for (len, depth) in [(PAGE, 1), (PAGE, 3), (PAGE, 256), (16 * PAGE, 4)] {
            read(file.path(), len, depth, every(len))?;
        }
        assert!(read(file.path(), PAGE, 4, [64 * PAGE].into_iter()).is_err());
        assert_eq!(random("get", file.path(), (8, 100), 1)?.count, Some(100));
        Ok(())
    }
}
