//! Whether the kernel has what the back-end needs.

use std::io;

use io_uring::{IoUring, Probe, opcode};

/// How many requests the submission queue holds. More wait in the process.
const ENTRIES: u32 = 256;

/// A ring that can do all that is asked of it, and whether it can also truncate, which kernels
/// before 6.9 cannot.
///
/// # Errors
///
/// Why there is none: `EPERM` where a container forbids it, `ENOSYS` on an old kernel,
/// `EOPNOTSUPP` on one that lacks an operation.
pub(super) fn ring() -> io::Result<(IoUring, bool)> {
    let ring = with_cooperation().or_else(|error| match error.raw_os_error() {
        // Kernels before 5.19 do not know the flag.
        Some(libc::EINVAL) => IoUring::new(ENTRIES),
        _ => Err(error),
    })?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed = [
        opcode::Read::CODE,
        opcode::Write::CODE,
        opcode::Readv::CODE,
        opcode::Writev::CODE,
        opcode::Fsync::CODE,
        opcode::Fallocate::CODE,
        opcode::OpenAt::CODE,
        opcode::UnlinkAt::CODE,
        opcode::RenameAt::CODE,
        opcode::AsyncCancel::CODE,
        opcode::PollAdd::CODE,
    ];
    if needed.iter().all(|code| probe.is_supported(*code)) {
        Ok((ring, probe.is_supported(opcode::Ftruncate::CODE)))
    } else {
        Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
    }
}

/// A ring whose completions do not interrupt the thread that submitted them.
fn with_cooperation() -> io::Result<IoUring> {
    IoUring::builder().setup_coop_taskrun().build(ENTRIES)
}
