//! The memory of the cache, and what is known of each frame. All of the pager's `unsafe` is here.
//!
//! A frame's state is one word:
//!
//! ```text
//!   | retired | loading | resident | dirty | pins: 28 bits |
//!
//!   free --take--> lent as a Buffer --publish--> resident --evict, forget--> retired --> free
//!     |                                             ^                           ^
//!     '-------read--------> loading ---verified-----'                           |
//!                              '------refused-----------------------------------'
//! ```
//!
//! The rules that make reading safe: (1) a resident page never changes. (2) A frame leaves
//! *resident* only with no pins left or by being retired; a retired frame is free when its last pin
//! is gone *and* its epoch is over. (3) Only a free frame is lent as a [`Buffer`].
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed};
use std::ops::Deref;
use std::ptr::NonNull;

use yieldb_core::buffer::Home;
use yieldb_core::sync::Arc;
use yieldb_core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64};
use yieldb_core::{Arena, Buffer, Result, SharedBuffer};

/// The frame is no page's any more, and is free when its last pin is gone.
pub(super) const RETIRED: u32 = 1 << 31;
/// A page is being read into the frame.
pub(super) const LOADING: u32 = 1 << 30;
/// The frame has a page that is in the table.
pub(super) const RESIDENT: u32 = 1 << 29;
/// The page has not reached the file.
pub(super) const DIRTY: u32 = 1 << 28;
/// Of a read that is given up, one side has left: those who wait for it, or whoever has the buffer.
pub(super) const PARTED: u32 = 1 << 27;
/// The pins.
pub(super) const PINS: u32 = PARTED - 1;

/// The length of a processor's cache line in bytes.
const LINE_LEN: usize = 64;
/// How many lines are asked for together.
const PREFETCHED_LINES: usize = 4;

/// Asks the processor for the first lines of bytes that are going to be read soon: of a node, the
/// header and the first heads; of a record, all if it is short. Only advice: costs an instruction
/// a line of 64 bytes, and never waits.
#[inline]
pub fn prefetch_front<T>(bytes: &[T]) {
    for line in 0..PREFETCHED_LINES {
        // Advice may be about bytes behind the end.
        prefetch_line(bytes.as_ptr().cast::<u8>().wrapping_add(line * LINE_LEN));
    }
}

/// The same for all lines of a page.
pub(super) fn prefetch_whole(page: &[u8]) {
    page.chunks(LINE_LEN).for_each(|line| prefetch_line(line.as_ptr()));
}

#[inline]
fn prefetch_line(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is only advice: it reads nothing and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// The memory of the cache: equal frames in one arena, touched as they are first used.
pub(super) struct Frames {
    arena: Arena,
    page_len: usize,
    pub meta: Box<[FrameMeta]>,
}

/// What is known of one frame.
#[derive(Debug, Default)]
pub(super) struct FrameMeta {
    /// See the module's documentation.
    pub state: AtomicU32,
    /// How often the page was used of late, 0 to 3.
    pub heat: AtomicU8,
    /// Is the frame among those that were passed?
    pub is_passed: AtomicBool,
    /// Which file the page is of.
    pub owner: AtomicU16,
    /// The name of the page in the frame.
    pub page: AtomicU64,
}

impl Frames {
    pub fn new(count: u32, page_len: usize) -> Result<Frames> {
        let len = (count as usize)
            .checked_mul(page_len)
            .ok_or(yieldb_core::Error::OutOfMemory { len: usize::MAX })?;
        let arena = Arena::new(len, true)?;
        Ok(Frames { arena, page_len, meta: zeroed(count as usize)? })
    }

    pub fn count(&self) -> u32 {
        self.meta.len() as u32
    }

    /// The bytes of a resident page.
    ///
    /// The caller holds a pin on the frame, or an epoch guard under which it was found in the
    /// table, for as long as it uses the bytes.
    #[inline]
    pub fn bytes(&self, frame: u32) -> &[u8] {
        // SAFETY: `start` is in the arena for a whole page. By rules (1) to (3) nobody writes a
        // frame that is pinned, or that somebody under an epoch guard found in the table.
        unsafe { std::slice::from_raw_parts(self.start(frame).as_ptr(), self.page_len) }
    }

    /// Asks the processor for the front of a resident page, and for what is known of its frame. The
    /// caller is as with [`Frames::bytes`].
    #[inline]
    pub fn prefetch(&self, frame: u32) {
        prefetch_line((&raw const self.meta[frame as usize]).cast());
        prefetch_front(self.bytes(frame));
    }

    /// The memory of a free frame, which is the holder's own until `home` has it back.
    pub fn lend_exclusively(&self, frame: u32, home: Arc<dyn Home>) -> Buffer {
        self.lend_several(frame, 1, home, u64::from(frame))
    }

    /// The same with `count` free frames, which the home is given back under `token`.
    pub fn lend_several(&self, first: u32, count: u32, home: Arc<dyn Home>, token: u64) -> Buffer {
        let end = first.checked_add(count);
        assert!(end.is_some_and(|end| end <= self.count()), "{count} frames from {first} on");
        let len = count as usize * self.page_len;
        // SAFETY: 1. the home owns this arena, in which they are next to each other. 2. By rule (3)
        // they are nobody else's, and not free again before the home is given them back.
        unsafe { Buffer::from_raw(self.start(first), len, home, token) }
    }

    /// The memory of a pinned page, to be written to the file.
    pub fn lend_shared(&self, frame: u32, home: Arc<dyn Home>, token: u64) -> SharedBuffer {
        // SAFETY: 1. the home owns this arena. 2. The page is pinned until the home is given back
        // the token, and by rule (1) it does not change.
        unsafe { SharedBuffer::from_raw(self.start(frame), self.page_len, home, token) }
    }

    /// Gives the memory of a free frame back to the operating system until the frame is used again.
    pub fn discard(&self, frame: u32) {
        assert!((frame as usize) < self.meta.len(), "frame {frame} of {}", self.meta.len());
        // SAFETY: by rule (3) a free frame is nobody's.
        unsafe { self.arena.discard(frame as usize * self.page_len, self.page_len) }
    }

    #[inline]
    fn start(&self, frame: u32) -> NonNull<u8> {
        assert!((frame as usize) < self.meta.len(), "frame {frame} of {}", self.meta.len());
        // SAFETY: the arena has `meta.len()` frames of `page_len` bytes.
        unsafe { self.arena.start().add(frame as usize * self.page_len) }
    }
}

/// A type of which all bytes zero is a value.
///
/// # Safety
///
/// It is one.
pub(super) unsafe trait Zero {}

// SAFETY: zero is an integer.
unsafe impl Zero for AtomicU16 {}
// SAFETY: zero is an integer, and a boolean.
unsafe impl Zero for FrameMeta {}

/// Zeroes that the operating system provides page by page as they are touched.
///
/// # Errors
///
/// [`yieldb_core::Error::OutOfMemory`].
pub(super) fn zeroed<T: Zero>(count: usize) -> Result<Box<[T]>> {
    let layout = Layout::array::<T>(count).expect("a table smaller than memory");
    assert!(layout.size() > 0, "an allocation of nothing");
    // SAFETY: the layout is not empty.
    let start = unsafe { alloc_zeroed(layout) }.cast::<T>();
    if start.is_null() {
        return Err(yieldb_core::Error::OutOfMemory { len: layout.size() });
    }
    // SAFETY: the allocation has room for `count` values, zero is one of them, and it was made
    // with the layout that the box will free it with.
    Ok(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(start, count)) })
}

/// An array that begins with zeroes. Its memory is taken page by page as it is touched, and can be
/// given back.
pub(super) struct Words {
    arena: Arena,
    count: usize,
}

impl Words {
    /// An array of `count` words.
    pub fn new(count: usize) -> Result<Words> {
        Ok(Words { arena: Arena::new(count * size_of::<AtomicU32>(), false)?, count })
    }

    /// Gives back the memory of words that are all zero, and that nobody changes meanwhile. They
    /// stay zero.
    pub fn discard(&self, first: usize, count: usize) {
        let len = size_of::<AtomicU32>();
        // SAFETY: whoever reads them meanwhile reads zero, before and after.
        unsafe { self.arena.discard(first * len, count * len) }
    }
}

impl Deref for Words {
    type Target = [AtomicU32];

    #[inline]
    fn deref(&self) -> &[AtomicU32] {
        // SAFETY: 1. the arena is as long, aligned, and zeroed. 2. Nobody has its words otherwise
        // than through this reference.
        unsafe { std::slice::from_raw_parts(self.arena.start().as_ptr().cast(), self.count) }
    }
}
