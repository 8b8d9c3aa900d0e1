//! Ctrl-C in a command that has something to do before it ends.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// Signals that are caught.
///
/// The first one is noted, and wakes who waits for input; the second one ends the process.
pub struct Interrupt {
    /// The signal that came, or 0.
    signal: Arc<AtomicUsize>,
    /// Becomes readable when one comes.
    wakes: UnixStream,
}

impl Interrupt {
    /// Catches them from now on.
    pub fn catch() -> io::Result<Arc<Interrupt>> {
        let (signal, came) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (wakes, wake) = UnixStream::pair()?;
        for number in [SIGINT, SIGTERM] {
            // In this order: it is the first one that sets what the second one finds.
            flag::register_conditional_default(number, came.clone())?;
            flag::register(number, came.clone())?;
            flag::register_usize(number, signal.clone(), number.unsigned_abs() as usize)?;
            low_level::pipe::register(number, wake.try_clone()?)?;
        }
        Ok(Arc::new(Interrupt { signal, wakes }))
    }

    /// Has one come?
    pub fn came(&self) -> bool {
        self.signal.load(Ordering::SeqCst) != 0
    }

    /// Ends the process as the signal would have done, if one came.
    pub fn end(&self) -> io::Result<()> {
        match self.signal.load(Ordering::SeqCst) {
            0 => Ok(()),
            number => low_level::emulate_default_handler(number as i32),
        }
    }
}

/// An input whose end need not be waited for.
pub struct Input {
    file: File,
    interrupt: Arc<Interrupt>,
}

impl Input {
    /// Reads from `file` until a signal comes.
    pub fn new(file: File, interrupt: Arc<Interrupt>) -> Input {
        Input { file, interrupt }
    }
}

impl Read for Input {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut fds = [
            PollFd::new(&self.file, PollFlags::IN),
            PollFd::new(&self.interrupt.wakes, PollFlags::IN),
        ];
        // A signal ends the wait, and is seen then.
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if self.interrupt.came() {
            return Err(io::Error::other("interrupted"));
        }
        if fds[0].revents().is_empty() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.file.read(bytes)
    }
}
