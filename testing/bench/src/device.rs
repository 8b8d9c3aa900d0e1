//! A bare ring, and nothing else: what the device can do.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use io_uring::{IoUring, opcode, types};

use crate::{Failure, process};

/// Bytes of a read or a write.
const BLOCK: usize = 4096;
/// Blocks of the file that is overwritten: 64 MiB.
const BLOCKS: u64 = 16_384;

/// A block of memory where direct I/O wants it.
#[repr(align(4096))]
struct Block([u8; BLOCK]);

/// A file of written blocks, and a ring to overwrite them with, one after the other, durably: as a
/// log does.
pub struct Overwrites {
    file: File,
    ring: IoUring,
    block: Box<Block>,
    next: u64,
}

impl Overwrites {
    /// Makes the file.
    pub fn new(path: &Path) -> Result<Overwrites, Failure> {
        std::fs::write(path, vec![0; BLOCKS as usize * BLOCK])?;
        // What the kernel still had of it would be in the way of each write.
        process::write_out(path)?;
        let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path)?;
        let ring = IoUring::builder().setup_coop_taskrun().build(8)?;
        Ok(Overwrites { file, ring, block: Box::new(Block([7; BLOCK])), next: 0 })
    }

    /// Writes the next block, and waits until it is durable: asleep, or looking again and again.
    pub fn write(&mut self, sleeps: bool) -> Result<(), Failure> {
        let offset = self.next % BLOCKS * BLOCK as u64;
        self.next += 1;
        let fd = types::Fd(self.file.as_raw_fd());
        let entry = opcode::Write::new(fd, self.block.0.as_ptr(), BLOCK as u32)
            .offset(offset)
            .rw_flags(libc::RWF_DSYNC)
            .build();
        // SAFETY: the block lives as long as the ring, nobody changes it, and nothing is in flight
        // when this returns, unless waiting fails; then the ring goes first.
        unsafe { self.ring.submission().push(&entry)? };
        if sleeps {
            self.ring.submit_and_wait(1)?;
        } else {
            self.ring.submit()?;
            while self.ring.completion().is_empty() {
                std::thread::yield_now();
            }
        }
        match self.ring.completion().next().ok_or("no completion")?.result() {
            len if len == BLOCK as i32 => Ok(()),
            result => Err(format!("a write of {BLOCK} bytes returned {result}").into()),
        }
    }
}
