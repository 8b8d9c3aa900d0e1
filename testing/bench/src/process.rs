//! What a process asks the kernel for.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Child;
use std::time::Duration;
use std::{fs, io};

/// This process is killed when the one that started it ends, stopped or not.
pub fn end_with_parent() -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
}

/// Stops a process, all its threads included, until it [goes on](resume).
pub fn stop(child: &Child) -> io::Result<()> {
    signal(child, libc::SIGSTOP)
}

/// Lets a process that was stopped go on.
pub fn resume(child: &Child) -> io::Result<()> {
    signal(child, libc::SIGCONT)
}

fn signal(child: &Child, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: the child was not waited for, so that its number is nobody else's.
    check(unsafe { libc::kill(child.id() as libc::pid_t, signal) })
}

/// Sees to it that the kernel has nothing to write, of whoever's.
pub fn write_everything_out() {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::sync() }
}

/// Sees to it that the kernel has nothing of a file in memory.
pub fn write_out(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    // SAFETY: advice about a file that is open; what is in memory is in the file, too.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// How many threads of others run or want to, just now. Whoever sleeps until a write is durable
/// waits for them, too: milliseconds, however low their priority is.
pub fn others_running() -> io::Result<u64> {
    let load = fs::read_to_string("/proc/loadavg")?;
    let running =
        load.split(' ').nth(3).and_then(|word| word.split('/').next()?.parse::<u64>().ok());
    let running = running.ok_or_else(|| io::Error::other("no threads in /proc/loadavg"))?;
    // This one runs, or it would not ask.
    Ok(running.saturating_sub(1))
}

/// The most memory that this process has ever had, in bytes, and what it shares with the kernel's
/// cache of files included.
pub fn peak_memory() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("no VmHWM in /proc/self/status"))
}

/// How long this thread has had a processor.
pub fn thread_time() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes to `time` only.
    check(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) })?;
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
