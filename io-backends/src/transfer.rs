//! Continuing what the operating system did only in part: one place for all back-ends, and for
//! those of one's own.
//!
//! A read or a write may move fewer bytes than asked, be interrupted, be told to try again, or be
//! cancelled because the thread that submitted it has ended. None of that is an end.

use yieldb_core::buffer::ALIGNMENT;
use yieldb_core::{is_planted, reached};

/// How often in a row an attempt may come to nothing before that is its end.
pub const MAX_RETRIES: u32 = 10_000;

/// A read or a write under way.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    kind: TransferKind,
    /// How many bytes are to be moved.
    len: usize,
    /// How many have been.
    done: usize,
    /// Does the file go past the operating system's cache? Then a transfer must go on at a
    /// multiple of the alignment.
    direct: bool,
    retries: u32,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferKind {
    /// From the file.
    Read,
    /// To the file.
    Write,
}

/// What a result of the operating system comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Ask for the rest.
    Continue,
    /// It is over, after this many bytes.
    Finished(usize),
    /// It failed with this error number.
    Failed(i32),
}

impl Transfer {
    /// A transfer of `len` bytes.
    pub fn new(kind: TransferKind, len: usize, direct: bool) -> Transfer {
        Transfer { kind, len, done: 0, direct, retries: 0 }
    }

    /// How many bytes have been moved.
    pub fn done(&self) -> usize {
        self.done
    }

    /// How many bytes are to be moved.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Which way the bytes go.
    pub fn kind(&self) -> TransferKind {
        self.kind
    }

    /// Takes what the operating system said: a count of bytes, or an error number with a minus.
    /// `cancelled` says whether somebody asked for an early end.
    pub fn after(&mut self, result: i32, cancelled: bool) -> After {
        match result {
            0 if self.done == self.len => After::Finished(self.done),
            0 => match self.kind {
                TransferKind::Read => After::Finished(self.done),
                TransferKind::Write => After::Failed(libc::EIO),
            },
            moved @ 1.. => self.moved(moved as usize),
            error => {
                let errno = -error;
                let again = matches!(errno, libc::EINTR | libc::EAGAIN)
                    || errno == libc::ECANCELED && !cancelled;
                if again { self.retry(errno) } else { After::Failed(errno) }
            }
        }
    }

    fn moved(&mut self, moved: usize) -> After {
        let done = (self.done + moved).min(self.len);
        if done == self.len {
            self.done = done;
            return After::Finished(done);
        }
        if self.kind == TransferKind::Write && is_planted!(ShortWriteIgnored) {
            return After::Finished(done);
        }
        reached!(TransferContinued);
        if !self.direct || done.is_multiple_of(ALIGNMENT) {
            (self.done, self.retries) = (done, 0);
            return After::Continue;
        }
        match self.kind {
            // Only the end of the file cuts a direct read in the middle of a block.
            TransferKind::Read => {
                self.done = done;
                After::Finished(done)
            }
            TransferKind::Write => {
                let whole = done / ALIGNMENT * ALIGNMENT;
                if whole == self.done {
                    return self.retry(libc::EIO);
                }
                (self.done, self.retries) = (whole, 0);
                After::Continue
            }
        }
    }

    fn retry(&mut self, errno: i32) -> After {
        reached!(TransferRetried);
        self.retries += 1;
        if self.retries > MAX_RETRIES { After::Failed(errno) } else { After::Continue }
    }
}

/// What a raw result may be turned into on its way to the back-end, for tests: the only way to see
/// what a back-end makes of a short count or of an interruption.
pub trait RawHook: Send + Sync {
    /// Takes the result of one request to the operating system (a count of bytes, or an error
    /// number with a minus) and returns the one that the back-end is told.
    fn raw(&self, operation: yieldb_core::Operation, offset: u64, len: usize, result: i32) -> i32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let mut transfer = Transfer::new(TransferKind::Read, 100, false);
        assert_eq!(transfer.after(30, false), After::Continue);
        assert_eq!(transfer.after(-libc::EINTR, false), After::Continue);
        assert_eq!(transfer.after(-libc::ECANCELED, false), After::Continue);
        assert_eq!(transfer.after(70, false), After::Finished(100));
    }

    #[test]
    fn a_read_ends_with_the_file_and_a_write_of_nothing_fails() {
        let mut read = Transfer::new(TransferKind::Read, 100, false);
        assert_eq!(read.after(30, false), After::Continue);
        assert_eq!(read.after(0, false), After::Finished(30));
        let mut write = Transfer::new(TransferKind::Write, 100, false);
        assert_eq!(write.after(0, false), After::Failed(libc::EIO));
    }

    #[test]
    fn what_never_gets_on_fails_at_last() {
        let mut transfer = Transfer::new(TransferKind::Write, 100, false);
        let end = (0..2 * MAX_RETRIES).map(|_| transfer.after(-libc::EAGAIN, false));
        assert!(end.into_iter().any(|after| after == After::Failed(libc::EAGAIN)));
        let mut cancelled = Transfer::new(TransferKind::Read, 100, false);
        assert_eq!(cancelled.after(-libc::ECANCELED, true), After::Failed(libc::ECANCELED));
    }

    #[test]
    fn direct_transfers_go_on_at_whole_blocks() {
        let mut read = Transfer::new(TransferKind::Read, 3 * ALIGNMENT, true);
        assert_eq!(read.after(ALIGNMENT as i32, false), After::Continue);
        assert_eq!(read.after(100, false), After::Finished(ALIGNMENT + 100));
        let mut write = Transfer::new(TransferKind::Write, 3 * ALIGNMENT, true);
        assert_eq!(write.after(ALIGNMENT as i32 + 512, false), After::Continue);
        assert_eq!(write.done(), ALIGNMENT);
        assert_eq!(write.after(512, false), After::Continue, "nothing gained: once more");
        assert_eq!(write.after(2 * ALIGNMENT as i32, false), After::Finished(3 * ALIGNMENT));
    }
}
