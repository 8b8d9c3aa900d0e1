//! The writer's turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use shuttle::thread;
use yieldb_pager::writer_queue::WriterQueue;

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
