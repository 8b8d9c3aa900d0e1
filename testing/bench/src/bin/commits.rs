//! Durable commits: one at a time beside a bare ring's writes of the same form, many under way, and
//! what checkpoints, recovery and readers cost.
//!
//! `cargo run --release --bin commits -- [DIRECTORY [single | many | steady | recovery | readers]]`

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bench::Failure;
use bench::device::Overwrites;
use bench::entries::Random;
use bench::process::{thread_time, write_out};
use yieldb::{Batch, Database, DriverMode, IOCompletions, IOResult, LogLimits, MAIN, Options};

const COUNT: u64 = 1_000_000;
const KEY_LEN: usize = 24;
const VALUE_LEN: usize = 150;
const BLOCK: usize = 4096;

/// A key of 24 bytes that looks random.
fn key(number: u64) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..16].copy_from_slice(&number.to_be_bytes());
    key
}

fn value(number: u64) -> [u8; VALUE_LEN] {
    [number as u8; VALUE_LEN]
}

fn main() -> Result<(), Failure> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(parent)?;
    let part = std::env::args().nth(2);
    let is_wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    let path = directory.path().join("bench.db");
    fill(&path)?;
    if is_wanted("single") {
        single(&path)?;
    }
    if is_wanted("many") {
        many_on_one_thread(&path)?;
        many_threads(&path)?;
    }
    if is_wanted("steady") {
        steady(&path)?;
    }
    if is_wanted("recovery") {
        recovery(&path)?;
    }
    if is_wanted("readers") {
        readers(&path)?;
    }
    Ok(())
}

/// A log as long as it becomes for a file of this size.
fn options() -> Options {
    Options::new().log(Some(LogLimits { first_len: 64 << 20, max_len: 64 << 20 }))
}

fn fill(path: &Path) -> Result<(), Failure> {
    let database = options().open(path).wait()?;
    let mut transaction = database.begin().wait()?;
    for number in 0..COUNT {
        transaction.put(MAIN, key(number), value(number)).wait()?;
    }
    transaction.commit().wait()?;
    database.close().wait()?;
    println!("{COUNT} entries, a file of {} MiB", std::fs::metadata(path)?.len() >> 20);
    Ok(())
}

/// A database with a log in use, whose interior pages and leaves are in memory.
fn open_warm(path: &Path, options: Options) -> Result<Database, Failure> {
    let database = options.open(path).wait()?;
    for number in 0..2 {
        put(&database, number)?;
    }
    let snapshot = database.snapshot();
    for number in 0..COUNT {
        snapshot.get(MAIN, key(number)).wait()?;
    }
    Ok(database)
}

fn put(database: &Database, number: u64) -> Result<(), Failure> {
    let mut transaction = database.begin().wait()?;
    transaction.put(MAIN, key(number % COUNT), value(number)).wait()?;
    transaction.commit().wait()?;
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    percentile(values, 0.5)
}

fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part) as usize]
}

/// Does something a hundred times, and adds how long each took, in microseconds.
fn hundred(
    times: &mut Vec<f64>,
    mut work: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    for _ in 0..100 {
        let started = Instant::now();
        work()?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(())
}

/// Single commits on one thread, and raw writes, in alternating blocks of 100.
fn single(path: &Path) -> Result<(), Failure> {
    let database = open_warm(path, options().driver(DriverMode::Manual))?;
    let mut raw = Overwrites::new(&path.with_extension("raw"))?;
    let mut random = Random(1);
    database.checkpoint().wait()?;
    let before = database.metrics().log.ok_or("no log")?;
    let (mut ours, mut bare, mut looking) = (Vec::new(), Vec::new(), Vec::new());
    // Half a log is when a checkpoint begins.
    while ours.len() < 6_000 {
        hundred(&mut ours, || put(&database, random.below(COUNT)))?;
        hundred(&mut bare, || raw.write(true))?;
        hundred(&mut looking, || raw.write(false))?;
    }
    let after = database.metrics().log.ok_or("no log")?;
    let count = ours.len() as f64;
    let each = (after.bytes_written - before.bytes_written) as f64 / count;
    let (ours_median, bare_median) = (median(&mut ours), median(&mut bare));
    let looking_median = median(&mut looking);
    print!("single commits, between checkpoints: median {ours_median:.1} us, ");
    print!("raw writes {bare_median:.1} us, ratio {:.3}; ", bare_median / ours_median);
    print!("raw writes that do not sleep {looking_median:.1} us, ");
    print!("ratio {:.3}; ", looking_median / ours_median);
    println!("{each:.0} bytes of log each");
    sustained(&database, &mut raw, &mut random)?;
    database.close().wait()?;
    Ok(())
}

/// The same over several checkpoints.
fn sustained(
    database: &Database,
    raw: &mut Overwrites,
    random: &mut Random,
) -> Result<(), Failure> {
    const COMMITS: u64 = 40_000;
    let (before, checkpoint) = (database.cache_stats().pages_written, database.info().checkpoint);
    let (mut ours, mut bare, mut looking) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..COMMITS / 100 {
        hundred(&mut ours, || put(database, random.below(COUNT)))?;
        hundred(&mut bare, || raw.write(true))?;
        hundred(&mut looking, || raw.write(false))?;
    }
    let [ours, bare, looking] = [ours, bare, looking].map(|each| each.iter().sum::<f64>() / 1e6);
    let pages = database.cache_stats().pages_written - before;
    print!("single commits, sustained: {:.0} a second, ", COMMITS as f64 / ours);
    print!("raw writes {:.0} a second, ", COMMITS as f64 / bare);
    print!("ratio {:.3}; ", bare / ours);
    print!("that do not sleep {:.0}, ", COMMITS as f64 / looking);
    print!("ratio {:.3}; ", looking / ours);
    print!("{} checkpoints, ", database.info().checkpoint - checkpoint);
    println!("{} bytes of pages a commit", pages * BLOCK as u64 / COMMITS);
    Ok(())
}

/// Commits of one put each, `depth` under way on this thread. Calls `ended` with how long each
/// took.
fn commit_many(
    database: &Database,
    mut key: impl FnMut() -> u64,
    depth: usize,
    count: u64,
    mut ended: impl FnMut(Duration),
) -> Result<(), Failure> {
    let batches: Vec<Batch> = (0..count).map(|number| batch(key(), number)).collect();
    let mut next = batches.iter();
    let mut under_way = VecDeque::new();
    loop {
        while under_way.len() < depth
            && let Some(batch) = next.next()
        {
            under_way.push_back((Instant::now(), database.write(batch)));
        }
        let mut waits_for = None;
        for _ in 0..under_way.len() {
            let Some((started, mut write)) = under_way.pop_front() else { break };
            match write.step()? {
                IOResult::Done(_) => ended(started.elapsed()),
                IOResult::IO(IOCompletions::Single(io)) => {
                    waits_for.get_or_insert(io);
                    under_way.push_back((started, write));
                }
                IOResult::IO(_) => under_way.push_back((started, write)),
            }
        }
        if under_way.is_empty() && next.len() == 0 {
            return Ok(());
        }
        if let Some(io) = waits_for.filter(|_| under_way.len() == depth || next.len() == 0)
            && database.turn() == 0
        {
            database.wait_for(&io)?;
        }
    }
}

fn batch(number: u64, value_of: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put(MAIN, key(number), value(value_of));
    batch
}

fn many_on_one_thread(path: &Path) -> Result<(), Failure> {
    let database = open_warm(path, options().driver(DriverMode::Manual))?;
    let mut random = Random(2);
    for depth in [1, 16, 64, 256] {
        const COMMITS: u64 = 100_000;
        let before = database.metrics().log.ok_or("no log")?;
        let (started, worked) = (Instant::now(), thread_time()?);
        commit_many(&database, || random.below(COUNT), depth, COMMITS, |_| ())?;
        let (wall, worked) = (started.elapsed(), thread_time()? - worked);
        let rate = COMMITS as f64 / wall.as_secs_f64();
        let after = database.metrics().log.ok_or("no log")?;
        let size = COMMITS as f64 / (after.groups - before.groups) as f64;
        print!("{depth} commits under way on one thread: {rate:.0} a second, {size:.1} a group; ");
        let each = worked.as_secs_f64() * 1e6 / COMMITS as f64;
        let share = worked.as_secs_f64() / wall.as_secs_f64();
        println!("the thread's core {:.0} % full, {each:.1} us each", share * 100.0);
    }
    database.close().wait()?;
    Ok(())
}

fn many_threads(path: &Path) -> Result<(), Failure> {
    let database = open_warm(path, options())?;
    for threads in [2, 8, 64] {
        let commits: u64 = 40_000 / threads * threads;
        let started = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let database = &database;
                scope.spawn(move || {
                    let mut random = Random(thread);
                    for _ in 0..commits / threads {
                        put(database, random.below(COUNT)).expect("a commit");
                    }
                });
            }
        });
        let rate = commits as f64 / started.elapsed().as_secs_f64();
        println!("{threads} threads: {rate:.0} commits a second");
    }
    database.close().wait()?;
    Ok(())
}

/// How long commits take while checkpoints come and go: at first the file and the memory in use
/// grow, which the operating system has to find.
fn steady(path: &Path) -> Result<(), Failure> {
    let database = open_warm(path, options().driver(DriverMode::Manual))?;
    let mut random = Random(5);
    for (phase, checkpoints) in [("growing", 4), ("steady", 10)] {
        let first = database.info().checkpoint;
        let mut latencies = Vec::new();
        while database.info().checkpoint < first + checkpoints {
            let ended = |took: Duration| latencies.push(took.as_secs_f64() * 1e6);
            commit_many(&database, || random.below(COUNT), 32, 10_000, ended)?;
        }
        let (count, middle) = (latencies.len(), median(&mut latencies));
        let (late, last) = (percentile(&mut latencies, 0.999), percentile(&mut latencies, 1.0));
        print!("32 under way, {phase}, over {checkpoints} checkpoints, {count} commits: ");
        print!("median {middle:.0} us, p99.9 {late:.0} us ({:.1} times), ", late / middle);
        println!("longest {:.1} ms", last / 1e3);
    }
    database.close().wait()?;
    Ok(())
}

/// How long opening takes with a full log, and without one: of commits one by one, and of many at
/// a time. With keys from the whole table there would be a checkpoint before the log is full, since
/// the file is bounded; so they are from a hundredth of it, on about as many pages as there can be.
fn recovery(path: &Path) -> Result<(), Failure> {
    let mut random = Random(6);
    let mut key = || random.below(COUNT / 100) * 100;
    recover(path, "one by one", |database| put(database, key()))?;
    recover(path, "64 under way", |database| commit_many(database, &mut key, 64, 1_000, |_| ()))
}

/// Fills a log with what `commit` does, and opens what a crash would leave then.
fn recover(
    path: &Path,
    what: &str,
    mut commit: impl FnMut(&Database) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let copy = path.with_extension("crashed");
    let log = |path: &Path| PathBuf::from(format!("{}-log", path.display()));
    // So large that no checkpoint is due before 64 MiB are used.
    let limits = LogLimits { first_len: 130 << 20, max_len: 130 << 20 };
    let database = open_warm(path, Options::new().log(Some(limits)).driver(DriverMode::Manual))?;
    database.checkpoint().wait()?;
    let checkpoint = database.info().checkpoint;
    let before = database.metrics().log.ok_or("no log")?.commits;
    while database.metrics().log.ok_or("no log")?.used < 64 << 20 {
        commit(&database)?;
    }
    assert_eq!(database.info().checkpoint, checkpoint, "a checkpoint was due before");
    for (from, to) in [(path.to_path_buf(), copy.clone()), (log(path), log(&copy))] {
        std::fs::copy(from, &to)?;
        write_out(&to)?;
    }
    let used = database.metrics().log.ok_or("no log")?;
    database.close().wait()?;
    let started = Instant::now();
    let database = Options::new().open(&copy).wait()?;
    let took = started.elapsed();
    print!("recovery of {} MiB of log, {what}, ", used.used >> 20);
    print!("{} versions, ", used.commits - before);
    print!("{} pages read: ", database.cache_stats().reads);
    println!("{:.0} ms", took.as_secs_f64() * 1e3);
    database.close().wait()?;
    let started = Instant::now();
    let database = Options::new().open(&copy).wait()?;
    println!("open after a clean close: {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    drop(database);
    Ok(())
}

/// Looks up keys until it is told to stop, and counts them.
fn look_up(database: &Database, stop: &AtomicBool, reads: &AtomicU64) {
    let mut random = Random(3);
    while !stop.load(Ordering::Relaxed) {
        let snapshot = database.snapshot();
        for _ in 0..1_000 {
            snapshot.get(MAIN, key(random.below(COUNT))).wait().expect("a lookup");
        }
        reads.fetch_add(1_000, Ordering::Relaxed);
    }
}

/// How many lookups there are in a second, until it is over.
fn rate(reads: &AtomicU64, mut is_over: impl FnMut() -> bool) -> f64 {
    let (before, started) = (reads.load(Ordering::Relaxed), Instant::now());
    while !is_over() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let count = reads.load(Ordering::Relaxed) - before;
    count as f64 / started.elapsed().as_secs_f64()
}

/// What a reader loses to a writer's checkpoints.
fn readers(path: &Path) -> Result<(), Failure> {
    let database = open_warm(path, options())?;
    let stop = AtomicBool::new(false);
    let (is_writing, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let span = Duration::from_millis(500);
    let end = || {
        let end = Instant::now() + span;
        move || Instant::now() >= end
    };
    let checkpoint = || database.info().checkpoint;
    std::thread::scope(|scope| -> Result<(), Failure> {
        scope.spawn(|| look_up(&database, &stop, &reads));
        scope.spawn(|| {
            let mut random = Random(4);
            while !stop.load(Ordering::Relaxed) {
                if is_writing.load(Ordering::Relaxed) {
                    put(&database, random.below(COUNT)).expect("a commit");
                } else {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let (mut alone, mut beside, mut with) = (Vec::new(), Vec::new(), Vec::new());
        let (mut behind, mut ratios) = (Vec::new(), Vec::new());
        while ratios.len() < 15 {
            is_writing.store(false, Ordering::Relaxed);
            alone.push(rate(&reads, end()));
            is_writing.store(true, Ordering::Relaxed);
            let is_over = end();
            behind.push(rate(&reads, || {
                database.checkpoint().wait().expect("a checkpoint");
                is_over()
            }));
            let first = checkpoint();
            let quiet = rate(&reads, end());
            if checkpoint() > first {
                continue;
            }
            // From one checkpoint to the next one, which is begun as they are.
            let whole = rate(&reads, || checkpoint() > first);
            beside.push(quiet);
            with.push(whole);
            ratios.push(whole / quiet);
        }
        stop.store(true, Ordering::Relaxed);
        print!("a reader: {:.0} lookups/s alone, ", median(&mut alone));
        print!("{:.0} beside a writer, ", median(&mut beside));
        print!("{:.0} with the checkpoints that are due ", median(&mut with));
        print!("(the median of 15 ratios {:.3}), ", median(&mut ratios));
        println!("{:.0} with one after the other", median(&mut behind));
        Ok(())
    })?;
    database.close().wait()?;
    Ok(())
}
