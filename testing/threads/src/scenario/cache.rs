//! The cache: page table, epochs, eviction, reads under way, waiting for frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;
use yieldb_core::{Error, Operation};
use yieldb_io_backends::RawHook;

use crate::world::{PAGE_COUNT, World, assert_page, id, name, page, sleep_until, thread, together};

/// So few that every page that is read takes another one's place.
const FRAMES: usize = 4;

/// Pages are looked at under a guard, and pinned, while others are read into every frame that is
/// free: what is looked at stays what it is.
pub fn looks() {
    let world = World::new(FRAMES);
    // What is looked at is there, and goes as soon as another page is read.
    let there = FRAMES as u64;
    for number in 0..there {
        world.fetch(name(number, 1)).expect("a read that is not disturbed");
    }
    let look = |world: World| {
        move || {
            for _ in 0..3 {
                let number = thread_rng().gen_range(0..there);
                let resident = world.cache.resident();
                let found = resident.page(name(number, 1)).expect("the page is what it says");
                let pin = resident.locate(name(number, 1)).and_then(|page| page.pin());
                if let Some(bytes) = found {
                    assert_page(bytes, number, 1);
                    thread::yield_now();
                    assert_page(bytes, number, 1);
                }
                drop(resident);
                if let Some(pin) = pin {
                    thread::yield_now();
                    assert_page(&pin, number, 1);
                }
            }
        }
    };
    let read = |world: World| {
        move || {
            for _ in 0..3 {
                let number = thread_rng().gen_range(there..PAGE_COUNT);
                let page = world.fetch(name(number, 1)).expect("a read that is not disturbed");
                assert_page(&page, number, 1);
            }
        }
    };
    let (one, two) = (world.clone(), world.clone());
    together([thread(look(one)), thread(read(two)), thread(read(world.clone()))]);
    world.cache.assert_idle();
}

/// Three threads miss a page: it is read once, and all get it.
pub fn shared_miss() {
    let world = World::new(FRAMES);
    together((0..3).map(|_| {
        let world = world.clone();
        thread(move || {
            let page = world.fetch(name(2, 1)).expect("a read that is not disturbed");
            assert_page(&page, 2, 1);
        })
    }));
    assert_eq!(world.cache.stats().reads, 1, "one miss is one read");
    world.cache.assert_idle();
}

/// Fails the first read, or reads of more than one page.
#[derive(Default)]
struct Failing {
    failed: AtomicBool,
    only_long: bool,
    reads: AtomicUsize,
}

impl RawHook for Failing {
    fn raw(&self, operation: Operation, _offset: u64, len: usize, result: i32) -> i32 {
        if operation != Operation::Read {
            return result;
        }
        self.reads.fetch_add(1, Ordering::SeqCst);
        let is_due = if self.only_long {
            len > crate::world::PAGE_LEN
        } else {
            !self.failed.swap(true, Ordering::SeqCst)
        };
        if is_due { -5 } else { result } // EIO
    }
}

/// The first read of a page fails, or finds damage: all who wait for it get the error; who comes
/// later reads again.
pub fn failed_read() {
    let hook = Arc::new(Failing::default());
    let is_damaged = thread_rng().r#gen();
    hook.failed.store(is_damaged, Ordering::SeqCst);
    let world = World::with(FRAMES, Some(hook.clone()), |image| {
        image[2 * crate::world::PAGE_LEN + 100] ^= u8::from(is_damaged);
    });
    let errors = Arc::new(AtomicUsize::new(0));
    together((0..3).map(|_| {
        let (world, errors) = (world.clone(), errors.clone());
        thread(move || match world.fetch(name(2, 1)) {
            Ok(page) => {
                assert!(!is_damaged, "a damaged page is handed out");
                assert_page(&page, 2, 1);
            }
            Err(error) => {
                let is_right = match error {
                    Error::Rejected { number, .. } => is_damaged && number == 2,
                    Error::Io(_) => !is_damaged,
                    _ => false,
                };
                assert!(is_right, "another read's error: {error}");
                errors.fetch_add(1, Ordering::SeqCst);
            }
        })
    }));
    let (errors, reads) = (errors.load(Ordering::SeqCst), hook.reads.load(Ordering::SeqCst));
    assert!(errors >= 1, "the error is nobody's");
    assert!(!is_damaged || errors == 3, "{errors} errors of a page that is damaged");
    assert!(is_damaged || reads <= 2, "{reads} reads of a page that failed once");
    world.cache.assert_idle();
}

/// A read is given up while it is reaped, and the page's number is used again at once: the old
/// bytes are nobody's, and the new ones are not touched.
pub fn abandoned_read() {
    let world = World::new(FRAMES);
    let writer = world.clone();
    let write = move || {
        let read = writer.join(name(2, 1)).expect("a read that is not disturbed");
        if thread_rng().r#gen() {
            thread::yield_now();
        }
        drop(read);
        // Nobody refers to the page any more: its number is free as soon as no I/O works on it.
        while let Some(io) = writer.cache.forget(id(2)) {
            writer.drive(&io);
        }
        let mut buffer = loop {
            match writer.cache.take_frame() {
                Ok(buffer) => break buffer,
                Err(io) => writer.drive(&io),
            }
        };
        buffer.copy_from_slice(&page(2, 2));
        writer.cache.publish_dirty(id(2), buffer);
        let found = writer.fetch(name(2, 2)).expect("a page that was published");
        assert_page(&found, 2, 2);
    };
    let others = (0..2).map(|at| {
        let world = world.clone();
        thread(move || {
            for number in [3 + at, 5 + at] {
                let page = world.fetch(name(number, 1)).expect("a read that is not disturbed");
                assert_page(&page, number, 1);
            }
        })
    });
    together(others.chain([thread(write)]));
    let found = world.fetch(name(2, 2)).expect("it is dirty, and so in memory");
    assert_page(&found, 2, 2);
    drop(found);
    world.cache.mark_clean(id(2));
    world.cache.assert_idle();
}

/// Pages are prefetched in one read, which may fail, while others join it, page by page.
pub fn prefetched() {
    let only_long = thread_rng().r#gen();
    let failed = AtomicBool::new(true);
    let hook = Arc::new(Failing { only_long, failed, ..Failing::default() });
    let world = World::with(4 * FRAMES, Some(hook), |_| {});
    let ahead = world.clone();
    let prefetch = move || {
        let names: Vec<_> = (1..6).map(|number| name(number, 1)).collect();
        let _started = ahead.cache.prefetch(&*ahead.file, &names);
    };
    let readers = (0..2).map(|at| {
        let world = world.clone();
        thread(move || {
            for number in [3, 4 - at, 2 + at] {
                let page = world.fetch(name(number, 1)).expect("each page can be read");
                assert_page(&page, number, 1);
            }
        })
    });
    together(readers.chain([thread(prefetch)]));
    world.backend.driver.quiesce();
    world.cache.assert_idle();
}

/// All frames are pinned, and given back one after the other: who waits for one is told, without
/// anybody driving.
pub fn frame_waiters() {
    let world = World::new(FRAMES);
    let pins: Vec<_> = (0..FRAMES as u64)
        .map(|number| world.fetch(name(number, 1)).expect("a read that is not disturbed"))
        .collect();
    let waiters = (0..thread_rng().gen_range(1..=2)).map(|_| {
        let world = world.clone();
        thread(move || {
            let buffer = loop {
                match world.cache.take_frame() {
                    Ok(buffer) => break buffer,
                    Err(io) if io.is_explicit_yield() => thread::yield_now(),
                    Err(io) => sleep_until(&io),
                }
            };
            thread::yield_now();
            drop(buffer);
        })
    });
    let unpin = thread(move || {
        for (number, pin) in pins.into_iter().enumerate() {
            assert_page(&pin, number as u64, 1);
            // The waiter's looks for a frame take a while.
            (0..thread_rng().gen_range(0..16)).for_each(|_| thread::yield_now());
            drop(pin);
        }
    });
    together(waiters.chain([unpin]).collect::<Vec<_>>());
    world.cache.assert_idle();
}
