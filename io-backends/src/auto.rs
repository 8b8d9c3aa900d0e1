//! Choosing a back-end.

use std::io;

use crate::Backend;

/// Which back-end is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// io_uring where it can be had, otherwise pread.
    #[default]
    Auto,
    /// io_uring, or an error.
    Uring,
    /// pread and pwrite.
    Pread,
}

/// Opens a back-end.
///
/// # Errors
///
/// Why the one that was asked for cannot be had. [`Choice::Auto`] fails only where the operating
/// system has no more descriptors.
pub fn open(choice: Choice) -> io::Result<Backend> {
    match choice {
        Choice::Uring => uring("asked for"),
        Choice::Pread => crate::pread::pread("asked for"),
        Choice::Auto => match uring("the kernel has it") {
            Ok(backend) => Ok(backend),
            Err(error) => {
                tracing::info!(%error, "io_uring is refused, falling back to pread");
                crate::pread::pread(format!("io_uring is refused: {error}"))
            }
        },
    }
}

#[cfg(target_os = "linux")]
fn uring(why: &str) -> io::Result<Backend> {
    crate::uring::uring(why)
}

#[cfg(not(target_os = "linux"))]
fn uring(_why: &str) -> io::Result<Backend> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "io_uring is Linux's own"))
}
