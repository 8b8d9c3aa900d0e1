//! A bare ring: random reads of pages, and nothing else.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use io_uring::{IoUring, opcode, types};

use crate::{Failure, Random};

const PAGE: usize = 4096;

/// A page of memory where direct I/O wants it.
#[repr(align(4096))]
#[derive(Clone)]
struct Page([u8; PAGE]);

/// Reads `count` random pages of a file, `depth` at a time.
pub fn read(path: &Path, len: u64, seed: u64, depth: usize, count: u64) -> Result<(), Failure> {
    let flags = libc::O_DIRECT;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .or_else(|_| OpenOptions::new().read(true).open(path))?;
    let mut ring: IoUring = IoUring::builder().setup_coop_taskrun().build(128)?;
    let mut pages = vec![Page([0; PAGE]); depth];
    let mut random = Random(seed);
    let (mut begun, mut ended) = (0, 0);
    let mut free: Vec<usize> = (0..depth).collect();
    while ended < count {
        while begun < count
            && let Some(index) = free.pop()
        {
            let offset = random.below(len / PAGE as u64) * PAGE as u64;
            let buffer = pages[index].0.as_mut_ptr();
            let entry = opcode::Read::new(types::Fd(file.as_raw_fd()), buffer, PAGE as u32)
                .offset(offset)
                .build()
                .user_data(index as u64);
            // SAFETY: the page lives until the ring is dropped, and is in one request at a time.
            unsafe { ring.submission().push(&entry)? };
            begun += 1;
        }
        ring.submit_and_wait(1)?;
        for completion in ring.completion() {
            assert_eq!(completion.result(), PAGE as i32, "a read failed");
            free.push(completion.user_data() as usize);
            ended += 1;
        }
    }
    Ok(())
}
