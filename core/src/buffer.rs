//! Memory that may be lent to a kernel.
//!
//! A driver writes only into [`Buffer`]s and reads only from [`SharedBuffer`]s. It owns them while
//! an I/O is in flight, so nobody can reuse the memory too early: not even when everybody who
//! wanted the result has gone away. Dropping one gives its memory back to where it came from.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use smallvec::SmallVec;

use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};
use crate::sync::{Arc, Mutex, PoisonError};
use crate::{Error, Result};

/// The alignment in bytes of every arena, and of every block of a [`BufferPool`] whose length is a
/// multiple of it: what direct I/O asks for.
pub const ALIGNMENT: usize = 4096;

/// The length of a line of the processor's caches in bytes.
#[cfg(target_arch = "x86_64")]
const LINE_LEN: usize = 64;

/// Buffers of one vectored read, filled in order.
pub type Buffers = SmallVec<[Buffer; 1]>;

/// Buffers of one vectored write, written in order.
pub type SharedBuffers = SmallVec<[SharedBuffer; 1]>;

/// Where a buffer's memory goes when nobody uses it any more.
///
/// The home keeps the memory alive: it must not be unmapped before the home is dropped.
pub trait Home: Send + Sync {
    /// Takes back what was lent under `token`.
    fn give_back(&self, token: u64);
}

/// Bytes that only the holder can reach.
pub struct Buffer {
    start: NonNull<u8>,
    len: usize,
    /// `None` once the memory was taken over for good, by [`Buffer::into_token`].
    home: Option<Arc<dyn Home>>,
    token: u64,
}

// SAFETY: a buffer is the only way to its bytes (the contract of `Buffer::from_raw`), so it may be
// moved to, and read from, any thread like a `Box<[u8]>`.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A buffer over memory that belongs to `home`.
    ///
    /// # Safety
    ///
    /// 1. `start..start + len` is initialised memory that stays mapped as long as `home` lives.
    /// 2. Nothing else reads or writes it until `home` was given back `token`.
    pub unsafe fn from_raw(
        start: NonNull<u8>,
        len: usize,
        home: Arc<dyn Home>,
        token: u64,
    ) -> Buffer {
        Buffer { start, len, home: Some(home), token }
    }

    /// The token that the home knows this memory by.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Gives up the buffer *without* giving its memory back: the home has another use for it.
    pub fn into_token(mut self) -> u64 {
        self.home = None;
        self.token
    }

    /// Asks the processor for `len` bytes from `from` on, which are going to be read: they are on
    /// their way into its caches. Never waits; what lies behind the end is not asked for.
    #[inline]
    pub fn prefetch(&self, from: usize, len: usize) {
        #[cfg(target_arch = "x86_64")]
        for at in (from..self.len.min(from.saturating_add(len))).step_by(LINE_LEN) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = self.start.as_ptr().wrapping_add(at);
            // SAFETY: a prefetch is only advice: it reads nothing and cannot fault.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast_const().cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (from, len);
    }

    /// Gives up the right to change the bytes.
    pub fn share(mut self) -> SharedBuffer {
        SharedBuffer { start: self.start, len: self.len, home: self.home.take(), token: self.token }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give_back(self.token);
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: (1) and (2) of `from_raw`; `&self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: (1) and (2) of `from_raw`; `&mut self` keeps everybody else out.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes, token {})", self.len, self.token)
    }
}

/// Bytes that nobody changes while this exists.
pub struct SharedBuffer {
    start: NonNull<u8>,
    len: usize,
    home: Option<Arc<dyn Home>>,
    token: u64,
}

// SAFETY: the bytes do not change (the contract of `SharedBuffer::from_raw`).
unsafe impl Send for SharedBuffer {}
// SAFETY: as above.
unsafe impl Sync for SharedBuffer {}

impl SharedBuffer {
    /// A shared buffer over memory that belongs to `home`.
    ///
    /// # Safety
    ///
    /// 1. `start..start + len` is initialised memory that stays mapped as long as `home` lives.
    /// 2. Nothing writes it until `home` was given back `token`.
    pub unsafe fn from_raw(
        start: NonNull<u8>,
        len: usize,
        home: Arc<dyn Home>,
        token: u64,
    ) -> SharedBuffer {
        SharedBuffer { start, len, home: Some(home), token }
    }
}

impl Drop for SharedBuffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give_back(self.token);
        }
    }
}

impl Deref for SharedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: (1) and (2) of `from_raw`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for SharedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBuffer({} bytes, token {})", self.len, self.token)
    }
}

/// One anonymous mapping: zeroed, page-aligned, taken from the operating system page by page as it
/// is first touched.
pub struct Arena {
    start: NonNull<u8>,
    len: usize,
    /// Whether the operating system may still make huge pages of it.
    huge: AtomicBool,
}

// SAFETY: an arena hands out no references itself; see `Buffer` and `SharedBuffer`.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `len` bytes. With `huge`, the operating system is asked for huge pages, which makes a
    /// random access in a large arena cheaper; without, it is asked for small ones, so that what is
    /// not touched takes no memory.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if the mapping is refused.
    ///
    /// # Panics
    ///
    /// If `len` is 0.
    pub fn new(len: usize, huge: bool) -> Result<Arena> {
        assert!(len > 0, "an arena of no bytes");
        // SAFETY: a fresh anonymous mapping touches no memory of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Error::OutOfMemory { len });
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(Error::OutOfMemory { len })?;
        #[cfg(target_os = "linux")]
        {
            let advice = if huge { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
            // SAFETY: the range is the mapping just made; the advice changes no contents. A kernel
            // without huge pages refuses it, which costs nothing but speed.
            unsafe { libc::madvise(start.as_ptr().cast(), len, advice) };
        }
        Ok(Arena { start, len, huge: AtomicBool::new(huge) })
    }

    /// The first byte.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Gives the memory of a range back to the operating system, until it is touched again. It then
    /// has arbitrary contents. A range that does not consist of whole pages of the operating
    /// system's stays as it is.
    ///
    /// The first call ends the wish for huge pages: to complete one, the operating system would
    /// fill the range with memory again. Those that are there stay.
    ///
    /// # Panics
    ///
    /// If the range is not in the arena.
    ///
    /// # Safety
    ///
    /// What is in the range is nobody's: it is not borrowed, and nothing is read into it.
    pub unsafe fn discard(&self, offset: usize, len: usize) {
        let end = offset.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.len), "{len} bytes at {offset} of {}", self.len);
        // SAFETY: a question without arguments of ours.
        let page_len = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0);
        if page_len == 0 || !offset.is_multiple_of(page_len) || !len.is_multiple_of(page_len) {
            return;
        }
        #[cfg(target_os = "linux")]
        if self.huge.swap(false, Relaxed) {
            // SAFETY: the range is the mapping; the advice changes no contents.
            unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_NOHUGEPAGE) };
        }
        // SAFETY: the range is in the mapping, and what is in it is nobody's. A refusal leaves it
        // as it is.
        unsafe {
            libc::madvise(self.start.as_ptr().add(offset).cast(), len, libc::MADV_DONTNEED);
        }
    }

    /// The length in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping made in `new`. Every buffer over it kept its home, and
        // with it this arena, alive, so none is left.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(result, 0, "munmap of a mapping of {} bytes", self.len);
    }
}

/// Tells a process from its forks: memory that the kernel clears in a fork.
///
/// Asking for the process's number would do as well, at the price of a system call each time.
pub struct ForkMark {
    /// One page, of which the first byte is 1; `None` where the kernel cannot do it.
    arena: Option<Arena>,
    process: u32,
}

impl ForkMark {
    /// The mark of this process.
    pub fn new() -> ForkMark {
        let arena = Arena::new(ALIGNMENT, false).ok().filter(|arena| {
            // SAFETY: the range is the mapping just made; the advice is about forks only.
            let advised = cfg!(target_os = "linux")
                && unsafe { advise_wipe_on_fork(arena.start.as_ptr().cast(), arena.len) };
            // SAFETY: the byte is in the mapping, and nobody else knows of it yet.
            unsafe { arena.start.as_ptr().write(1) };
            advised
        });
        ForkMark { arena, process: std::process::id() }
    }

    /// Is this the process that made the mark?
    #[inline]
    pub fn is_here(&self) -> bool {
        match &self.arena {
            // SAFETY: the byte is in the mapping; nobody writes to it.
            Some(arena) => unsafe { arena.start.as_ptr().read_volatile() == 1 },
            None => std::process::id() == self.process,
        }
    }
}

impl Default for ForkMark {
    fn default() -> Self {
        ForkMark::new()
    }
}

/// Asks the kernel to clear memory in forks. `false` if it cannot.
///
/// # Safety
///
/// The range is a private mapping of the caller's.
unsafe fn advise_wipe_on_fork(start: *mut libc::c_void, len: usize) -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: the caller's promise.
    let result = unsafe { libc::madvise(start, len, libc::MADV_WIPEONFORK) };
    #[cfg(not(target_os = "linux"))]
    let (result, _) = (-1, (start, len));
    result == 0
}

/// A fixed number of equal blocks, handed out as [`Buffer`]s and taken back when those are dropped.
pub struct BufferPool {
    arena: Arena,
    block_len: usize,
    /// The blocks that nobody holds; the last one given back is the next to go, while it is warm.
    free: Mutex<Vec<u32>>,
}

impl BufferPool {
    /// `count` blocks of `block_len` bytes each.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if there is no memory for them.
    pub fn new(count: u32, block_len: usize) -> Result<Arc<BufferPool>> {
        let len =
            block_len.checked_mul(count as usize).ok_or(Error::OutOfMemory { len: usize::MAX })?;
        let arena = Arena::new(len, false)?;
        Ok(Arc::new(BufferPool { arena, block_len, free: Mutex::new((0..count).rev().collect()) }))
    }

    /// A block that nobody holds, with arbitrary contents; `None` if all are out.
    pub fn take(self: &Arc<Self>) -> Option<Buffer> {
        let index = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let offset = index as usize * self.block_len;
        // SAFETY: the block lies within the arena, whose length is `count * block_len`.
        let start = unsafe { self.arena.start.add(offset) };
        let home: Arc<dyn Home> = self.clone();
        // SAFETY: (1) the pool owns the arena. (2) the index came off the free list and goes back
        // there only through `give_back`.
        Some(unsafe { Buffer::from_raw(start, self.block_len, home, u64::from(index)) })
    }

    /// How many blocks nobody holds.
    pub fn free_count(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Home for BufferPool {
    fn give_back(&self, token: u64) {
        let index = u32::try_from(token).expect("the token is a block index");
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_when_dropped_and_do_not_overlap() {
        let pool = BufferPool::new(3, ALIGNMENT).unwrap();
        let mut taken: Vec<Buffer> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(taken.len(), 3);
        for (fill, buffer) in (1..).zip(&mut taken) {
            assert_eq!(buffer.as_ptr() as usize % ALIGNMENT, 0);
            buffer.fill(fill);
        }
        for (fill, buffer) in (1..).zip(&taken) {
            assert!(buffer.iter().all(|byte| *byte == fill));
        }
        let shared = taken.pop().unwrap().share();
        taken.clear();
        assert_eq!(pool.free_count(), 2, "the shared one is still out");
        drop(shared);
        assert_eq!(pool.free_count(), 3);
    }

    #[test]
    fn a_buffer_keeps_its_pool_alive() {
        let pool = BufferPool::new(1, ALIGNMENT).unwrap();
        let mut buffer = pool.take().unwrap();
        drop(pool);
        buffer.fill(7);
        assert!(buffer.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn memory_that_is_given_back_can_be_used_again() {
        let arena = Arena::new(4 * ALIGNMENT, false).unwrap();
        // SAFETY: nobody else knows the arena.
        unsafe {
            arena.start().write_bytes(7, arena.len());
            arena.discard(ALIGNMENT, 2 * ALIGNMENT);
            assert_eq!(arena.start().add(ALIGNMENT - 1).read(), 7);
            assert_eq!(arena.start().add(3 * ALIGNMENT).read(), 7);
            arena.start().write_bytes(8, arena.len());
            assert_eq!(arena.start().add(ALIGNMENT).read(), 8);
        }
    }

    /// What the operating system knows of the mapping that an address is in.
    #[cfg(target_os = "linux")]
    fn mapping_flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let hex = |text| usize::from_str_radix(text, 16).ok();
            if let Some((start, end)) = range.and_then(|(s, e)| hex(s).zip(hex(e))) {
                inside = (start..end).contains(&address);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
                return format!("{flags} ");
            }
        }
        panic!("no mapping has {address:x}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_given_back_is_not_filled_to_make_a_huge_page() {
        let arena = Arena::new(4 << 20, true).unwrap();
        let flags = || mapping_flags(arena.start().as_ptr() as usize);
        if !flags().contains(" hg ") {
            return; // A kernel without huge pages.
        }
        // SAFETY: nobody else knows the arena.
        unsafe { arena.discard(ALIGNMENT, ALIGNMENT) };
        assert!(flags().contains(" nh "), "{}", flags());
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        assert!(matches!(Arena::new(usize::MAX / 2, false), Err(Error::OutOfMemory { .. })));
        assert!(BufferPool::new(u32::MAX, usize::MAX / 2).is_err());
    }
}
