//! The writer's turn.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{self, Arc};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use shuttle::thread;
use yieldb_pager::writer_queue::{Outcome, WriterQueue, WriterTurn};

use crate::world::{sleep_until, thread, together};

/// Writers queue, wait asleep, write and leave; some leave before, also when their turn has come.
/// One writes at a time, in the order of the queue, and nobody is forgotten.
pub fn queue() {
    let queue = Arc::new(WriterQueue::default());
    let entered = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::new(Mutex::new(Vec::new()));
    let is_writing = Arc::new(AtomicBool::new(false));
    let writers = (0..3).map(|writer| {
        let (queue, entered) = (queue.clone(), entered.clone());
        let (written, is_writing) = (written.clone(), is_writing.clone());
        thread(move || {
            for _ in 0..2 {
                let mut order = entered.lock().expect("no thread panics");
                let mut place = queue.enter();
                let will_leave = thread_rng().gen_ratio(1, 4);
                if !will_leave {
                    order.push(writer);
                }
                drop(order);
                if will_leave {
                    thread::yield_now();
                    drop(place);
                    continue;
                }
                let turn = loop {
                    sleep_until(&place.completion());
                    match place.take() {
                        Ok(turn) => break turn,
                        Err(back) => place = back,
                    }
                };
                assert!(!is_writing.swap(true, Ordering::SeqCst), "two writers at a time");
                written.lock().expect("no thread panics").push(writer);
                thread::yield_now();
                assert!(is_writing.swap(false, Ordering::SeqCst));
                drop(turn);
            }
        })
    });
    together(writers);
    let (entered, written) = (entered.lock().expect("ok"), written.lock().expect("ok"));
    assert_eq!(*written, *entered, "turns come in the order of the queue");
    assert!(queue.try_take().is_some(), "nobody has the turn");
}

/// The version that all who made something are told of here.
const VERSION: u64 = 7;

/// So many deposits wait, and no more, while a group is in flight.
const MANY: usize = 2;

/// What those know of each other who leave deposits. Its locks are nothing that the checker
/// schedules.
#[derive(Default)]
struct Deposits {
    queue: Arc<WriterQueue>,
    /// How many groups are in flight. While there is one, deposits wait, unless there are many.
    in_flight: AtomicUsize,
    is_writing: AtomicBool,
    /// Those that were made.
    made: sync::Mutex<Vec<u8>>,
    /// Those of which that was told, or who made them themselves.
    acknowledged: sync::Mutex<Vec<u8>>,
    /// Those that nobody waits for any more.
    left: sync::Mutex<Vec<u8>>,
}

impl Deposits {
    /// Leaves a deposit, and waits asleep until it is made, or leaves before that.
    fn write(&self, number: u8) {
        let mut patience = thread_rng().gen_ratio(1, 3).then(|| thread_rng().gen_range(0..2));
        let mut deposited = self.queue.deposit(vec![number]);
        loop {
            let is_ready = |waiting| waiting > MANY || self.in_flight.load(Ordering::SeqCst) == 0;
            match deposited.look(is_ready) {
                Outcome::Made(result) => {
                    assert_eq!(result.expect("nothing fails"), VERSION);
                    return note(&self.acknowledged, [number]);
                }
                Outcome::Turn(turn) => return self.lead(turn, number),
                Outcome::Waiting(back, _) if patience == Some(0) => {
                    note(&self.left, [number]);
                    thread::yield_now();
                    return drop(back);
                }
                Outcome::Waiting(back, io) => {
                    sleep_until(&io);
                    patience = patience.map(|left: u32| left - 1);
                    deposited = back;
                }
            }
        }
    }

    /// Makes its own, and those of others; or its own alone, or leaves as well.
    fn lead(&self, turn: WriterTurn, number: u8) {
        self.begin();
        let mut followers = turn.followers(thread_rng().gen_range(0..4), 9);
        let others = followers.deposits().iter().map(|deposit| deposit.record()[0]);
        let others: Vec<u8> = others.collect();
        thread::yield_now();
        let ending = thread_rng().gen_range(0..6);
        if ending < 2 {
            note(&self.left, [number]);
            self.end();
            // What it took is left again, when it has the turn or when it has not.
            return if ending == 0 { drop((turn, followers)) } else { drop((followers, turn)) };
        }
        note(&self.made, [number]);
        if ending > 2 {
            note(&self.made, others);
            self.end();
            followers.finish(&Ok(VERSION));
        } else {
            self.end();
        }
        drop(followers);
        note(&self.acknowledged, [number]);
        self.send(turn);
    }

    /// Writes in a place of its own in the queue, or leaves it.
    fn write_alone(&self) {
        let mut place = self.queue.enter();
        let turn = loop {
            let io = place.completion();
            if thread_rng().gen_ratio(1, 4) {
                return drop(place);
            }
            sleep_until(&io);
            match place.take() {
                Ok(turn) => break turn,
                Err(back) => place = back,
            }
        };
        self.begin();
        thread::yield_now();
        self.end();
        self.send(turn);
    }

    /// Passes the turn on while a group is in flight, which ends then.
    fn send(&self, turn: WriterTurn) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        drop(turn);
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.queue.offer();
    }

    fn begin(&self) {
        assert!(!self.is_writing.swap(true, Ordering::SeqCst), "two writers at a time");
    }

    fn end(&self) {
        assert!(self.is_writing.swap(false, Ordering::SeqCst));
    }
}

fn note(list: &sync::Mutex<Vec<u8>>, numbers: impl IntoIterator<Item = u8>) {
    list.lock().expect("no thread panics").extend(numbers);
}

fn sorted(list: &sync::Mutex<Vec<u8>>) -> Vec<u8> {
    let mut numbers = list.lock().expect("no thread panics").clone();
    numbers.sort_unstable();
    numbers
}

/// Several leave changes for anyone to make, beside one who writes himself. Some leave, some who
/// have the turn leave, and what those have taken is for others to make. Each is made once, whoever
/// waits for it is told, and nobody waits for one who does nothing.
pub fn deposits() {
    let deposits = Arc::new(Deposits::default());
    // Too long to be taken by others, and nobody looks at it.
    let idle = thread_rng().r#gen::<bool>().then(|| deposits.queue.deposit(vec![0; 10]));
    let writers = (0..3).map(|writer| {
        let deposits = deposits.clone();
        thread(move || (0..2).for_each(|round| deposits.write(10 * writer + round)))
    });
    let other = {
        let deposits = deposits.clone();
        thread(move || (0..2).for_each(|_| deposits.write_alone()))
    };
    together(writers.chain([other]).collect::<Vec<_>>());
    drop(idle);
    let (made, left) = (sorted(&deposits.made), sorted(&deposits.left));
    assert!(made.is_sorted_by(|one, next| one < next), "made twice: {made:?}");
    let acknowledged = sorted(&deposits.acknowledged);
    assert!(acknowledged.iter().all(|number| made.contains(number)), "{acknowledged:?}: {made:?}");
    let is_known = |number: &u8| acknowledged.contains(number) || left.contains(number);
    assert!(made.iter().all(is_known), "{made:?}, {acknowledged:?}, {left:?}");
    assert_eq!(acknowledged.len() + left.len(), 6, "somebody was told twice, or not at all");
    let turn = deposits.queue.try_take().expect("nobody has the turn");
    assert_eq!(turn.followers(9, 9).deposits().len(), 0, "a deposit is left");
}
