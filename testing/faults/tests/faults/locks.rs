//! Several processes and one file: one writes or many read, the others are told; a process that is
//! killed leaves no lock.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use faults::place::{Place, assert_whole, choices, create, fill, is_child, options, told};
use yieldb::{Choice, Database, Error, ErrorKind, MAIN};

/// How long the kernel may take to end the last I/O of a process that was killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts a test of this module in a process of its own.
fn start(test: &str, place: &Place, choice: Choice) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env("FAULTS_CHILD", "1").env("PLACE", place.root());
    command.env("CHOICE", format!("{choice:?}")).stderr(Stdio::null());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn told_choice() -> Choice {
    if told("CHOICE").as_os_str() == "Uring" { Choice::Uring } else { Choice::Pread }
}

/// Reads lines up to one that begins so.
fn wait_for(output: &mut impl BufRead, beginning: &str) -> String {
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        if let Some(at) = line.find(beginning) {
            return line[at..].trim_end().to_owned();
        }
        line.clear();
    }
    panic!("the process ended before it said \"{beginning}\"");
}

fn say(what: &str) {
    println!("\n{what}");
    std::io::stdout().flush().unwrap();
}

/// Opens the file, however long others have it. Also returns how often they had.
fn open_at_last(choice: Choice, path: &std::path::Path) -> (Database, u32) {
    let started = Instant::now();
    for refusals in 0.. {
        match options(choice).open(path).wait() {
            Ok(database) => return (database, refusals),
            Err(error) => assert_locked(&error),
        }
        assert!(started.elapsed() < 10 * PATIENCE, "never got the lock");
        thread::yield_now();
    }
    unreachable!("an endless range ends")
}

fn assert_locked(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    // A killed process may have something on its way into the log when the file is free.
    let text = error.to_string();
    let holders = ["it is open", "what is on its way into its log"];
    let is_named = holders.iter().any(|holder| text.contains(holder));
    assert!(is_named && text.contains("the database is in use: "), "{text}");
}

#[test]
fn a_killed_process_leaves_no_lock() {
    if is_child() {
        let path = told("PLACE").join("db");
        let database = options(told_choice()).open(path).wait().unwrap();
        fill(&database, 0..100).unwrap();
        say("open");
        // In the middle of something, until the end.
        for number in 0.. {
            fill(&database, number % 100..number % 100 + 1).unwrap();
        }
    }
    for choice in choices() {
        let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
        let path = place.path("db");
        drop(create(choice, &path, 100));
        for round in 0..10 {
            let test = "locks::a_killed_process_leaves_no_lock";
            let (mut child, mut output) = start(test, &place, choice);
            wait_for(&mut output, "open");
            for read_only in [true, false] {
                let error = options(choice).read_only(read_only).open(&path).wait().unwrap_err();
                assert_locked(&error);
            }
            thread::sleep(Duration::from_millis(round));
            child.kill().unwrap();
            child.wait().unwrap();
            let (database, _) = open_at_last(choice, &path);
            assert_whole(&database, 100);
        }
    }
}

/// How often each of the rivals adds one.
const ROUNDS: u32 = 60;

#[test]
fn rivals_take_turns_and_none_of_their_commits_is_lost() {
    if is_child() {
        let path = told("PLACE").join("db");
        let mut refusals = 0;
        for _ in 0..ROUNDS {
            let (database, refused) = open_at_last(told_choice(), &path);
            refusals += refused;
            let mut transaction = database.begin().wait().unwrap();
            let count = transaction.get(MAIN, b"count").wait().unwrap();
            let count: u32 =
                count.map_or(0, |count| std::str::from_utf8(&count).unwrap().parse().unwrap());
            transaction.put(MAIN, b"count", (count + 1).to_string()).wait().unwrap();
            transaction.commit().wait().unwrap();
        }
        return say(&format!("refused {refusals}"));
    }
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    drop(create(Choice::Pread, &place.path("db"), 0));
    let test = "locks::rivals_take_turns_and_none_of_their_commits_is_lost";
    // Rivals with different back-ends are rivals all the same.
    let kinds: Vec<Choice> = choices().into_iter().cycle().take(3).collect();
    let mut rivals: Vec<_> = kinds.iter().map(|choice| start(test, &place, *choice)).collect();
    let mut refusals = 0;
    for (child, output) in &mut rivals {
        let line = wait_for(output, "refused ");
        refusals += line["refused ".len()..].parse::<u32>().unwrap();
        output.read_to_end(&mut Vec::new()).unwrap();
        assert!(child.wait().unwrap().success());
    }
    let database = options(Choice::Pread).open(place.path("db")).wait().unwrap();
    let count = database.snapshot().get(MAIN, b"count").wait().unwrap().unwrap().to_vec();
    assert_eq!(String::from_utf8(count).unwrap(), (3 * ROUNDS).to_string());
    assert!(refusals > 10, "the rivals met {refusals} times");
}

#[test]
fn many_read_or_one_writes() {
    let place = Place::new(env!("CARGO_TARGET_TMPDIR"));
    for choice in choices() {
        let path = place.path(&format!("{choice:?}"));
        drop(create(choice, &path, 50));
        let reader = || options(choice).read_only(true).open(&path).wait();
        let readers: Vec<Database> = (0..20).map(|_| reader().unwrap()).collect();
        assert_locked(&options(choice).open(&path).wait().unwrap_err());
        readers.iter().for_each(|reader| assert_whole(reader, 50));
        drop(readers);
        let (writer, _) = open_at_last(choice, &path);
        assert_locked(&reader().unwrap_err());
        assert_locked(&options(choice).open(&path).wait().unwrap_err());
        fill(&writer, 50..60).unwrap();
        drop(writer);
        assert_whole(&reader().unwrap(), 60);
    }
}
