//! A loop of one's own: many lookups under way at once on one thread, which never blocks in the
//! database and sleeps in `poll` until there is something to do.
//!
//! `cargo run --release --example own_loop`

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use yieldb::{DriverMode, IOCompletions, IOResult, MAIN, Options};

/// How many lookups are under way at once.
const DEPTH: usize = 32;
const COUNT: u64 = 100_000;

fn key(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    // The database starts no thread: this loop turns it. The cache holds a small part of the data,
    // so that there is something to wait for.
    let options = Options::new().driver(DriverMode::Manual).cache_bytes(1 << 20);
    let database = options.open(directory.path().join("loop.db")).wait()?;
    let mut transaction = database.begin().wait()?;
    for number in 0..COUNT {
        transaction.put(MAIN, key(number), [number as u8; 100]).wait()?;
    }
    transaction.commit().wait()?;

    let event = database.event_fd().ok_or("this back-end has no event to sleep on")?;
    // SAFETY: the database, and with it the descriptor, lives to the end of `main`.
    #[allow(unsafe_code)]
    let event = unsafe { BorrowedFd::borrow_raw(event) };
    let snapshot = database.snapshot();
    let mut numbers = 0..10_000;
    let mut under_way = Vec::new();
    let (mut found, mut sleeps) = (0, 0);
    loop {
        under_way.extend(
            numbers
                .by_ref()
                .take(DEPTH - under_way.len())
                .map(|number| (number, snapshot.get(MAIN, key(number)))),
        );
        if under_way.is_empty() {
            break;
        }
        // Each goes as far as it can. Stepping one too early is harmless.
        let mut wants_a_step = false;
        let mut still_under_way = Vec::with_capacity(DEPTH);
        for (number, mut get) in under_way {
            match get.step()? {
                IOResult::Done(value) => {
                    assert_eq!(value.as_deref(), Some(&[number as u8; 100][..]));
                    found += 1;
                }
                IOResult::IO(IOCompletions::Single(io)) => {
                    wants_a_step |= io.finished() || io.is_explicit_yield();
                    still_under_way.push((number, get));
                }
                IOResult::IO(_) => still_under_way.push((number, get)),
            }
        }
        under_way = still_under_way;
        // Is there a place for another one, or is everything done?
        let goes_on = match under_way.len() {
            0 => true,
            count => count < DEPTH && !numbers.is_empty(),
        };
        if database.turn() == 0 && !wants_a_step && !goes_on {
            // Nothing is finished, and nothing can be begun: sleep until the database has news.
            poll(&mut [PollFd::new(&event, PollFlags::IN)], None)?;
            sleeps += 1;
        }
    }
    println!("{found} lookups, {DEPTH} at a time, {sleeps} sleeps");
    Ok(())
}
