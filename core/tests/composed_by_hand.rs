//! The macros, each with the right order of lines and with the wrong one: what goes wrong is shown,
//! not only said.

use yieldb_core::{
    Completion, IOCompletions, IOResult, Request, Result, io_yield_one, return_and_restore_if_io,
    return_if_io,
};

/// A child operation: it waits for two I/Os, one after the other, and then has 10.
#[derive(Default, Debug)]
struct Child {
    waits: Vec<Completion>,
}

impl Child {
    fn step(&mut self) -> Result<IOResult<u32>> {
        if self.waits.last().is_some_and(|io| !io.finished()) {
            io_yield_one!(self.waits[self.waits.len() - 1].clone());
        }
        if self.waits.len() < 2 {
            self.waits.push(Completion::signal());
            io_yield_one!(self.waits[self.waits.len() - 1].clone());
        }
        Ok(IOResult::Done(10))
    }
}

/// Finishes everything that is waited for until `step` is done; `None` if that takes too long.
fn drive<T>(mut step: impl FnMut() -> Result<IOResult<T>>) -> Option<T> {
    for _ in 0..20 {
        match step().unwrap() {
            IOResult::Done(value) => return Some(value),
            IOResult::IO(IOCompletions::Single(io)) => {
                io.succeed(0);
            }
            IOResult::IO(_) => unreachable!("there is one kind of completions"),
        }
    }
    None
}

#[test]
fn what_stands_behind_return_if_io_runs_once() {
    fn right(child: &mut Child, calls: &mut u32) -> Result<IOResult<u32>> {
        let value = return_if_io!(child.step());
        *calls += 1;
        Ok(IOResult::Done(value))
    }
    let (mut child, mut calls) = (Child::default(), 0);
    assert_eq!(drive(|| right(&mut child, &mut calls)), Some(10));
    assert_eq!(calls, 1);
}

#[test]
fn what_stands_in_front_of_return_if_io_runs_again() {
    fn wrong(child: &mut Child, calls: &mut u32) -> Result<IOResult<u32>> {
        *calls += 1;
        let value = return_if_io!(child.step());
        Ok(IOResult::Done(value))
    }
    let (mut child, mut calls) = (Child::default(), 0);
    assert_eq!(drive(|| wrong(&mut child, &mut calls)), Some(10));
    assert_eq!(calls, 3, "once for each wait, and once more: the pitfall");
}

#[derive(Debug)]
enum State {
    Begin,
    Child(Child),
    Read(Completion),
    End(u32),
}

#[test]
fn return_and_restore_puts_the_waiting_child_back() {
    fn right(state: &mut State) -> Result<IOResult<u32>> {
        loop {
            match std::mem::replace(state, State::Begin) {
                State::Begin => *state = State::Child(Child::default()),
                State::Child(mut child) => {
                    let result = child.step();
                    let value = return_and_restore_if_io!(*state, State::Child(child), result);
                    *state = State::End(value);
                }
                State::Read(_) => unreachable!("not in this operation"),
                State::End(value) => return Ok(IOResult::Done(value)),
            }
        }
    }
    let mut state = State::Begin;
    assert_eq!(drive(|| right(&mut state)), Some(10));
}

#[test]
fn a_child_that_is_not_put_back_begins_again_and_again() {
    fn wrong(state: &mut State) -> Result<IOResult<u32>> {
        loop {
            match std::mem::replace(state, State::Begin) {
                State::Begin => *state = State::Child(Child::default()),
                State::Child(mut child) => {
                    let result = child.step();
                    let value = return_and_restore_if_io!(*state, State::Begin, result);
                    *state = State::End(value);
                }
                State::Read(_) => unreachable!("not in this operation"),
                State::End(value) => return Ok(IOResult::Done(value)),
            }
        }
    }
    let mut state = State::Begin;
    assert_eq!(drive(|| wrong(&mut state)), None, "its work is lost with every wait: the pitfall");
}

#[test]
fn an_error_puts_the_state_back_as_well() {
    fn failing(state: &mut State) -> Result<IOResult<u32>> {
        let State::End(value) = std::mem::replace(state, State::Begin) else {
            panic!("the state was not put back")
        };
        let refused: Result<IOResult<()>> = Err(yieldb_core::Error::Cancelled);
        return_and_restore_if_io!(*state, State::End(value), refused);
        Ok(IOResult::Done(value))
    }
    let mut state = State::End(3);
    assert!(failing(&mut state).is_err());
    assert!(failing(&mut state).is_err());
}

#[test]
fn a_raw_completion_is_waited_for_after_the_state_was_advanced() {
    fn right(state: &mut State, reads: &mut u32) -> Result<IOResult<u32>> {
        loop {
            match state {
                State::Begin => {
                    *reads += 1;
                    let io = Completion::signal();
                    *state = State::Read(io.clone());
                    io_yield_one!(io);
                }
                State::Read(io) if io.finished() => *state = State::End(1),
                State::Read(io) => io_yield_one!(io.clone()),
                State::Child(_) => unreachable!("not in this operation"),
                State::End(value) => return Ok(IOResult::Done(*value)),
            }
        }
    }
    let (mut state, mut reads) = (State::Begin, 0);
    assert_eq!(drive(|| right(&mut state, &mut reads)), Some(1));
    assert_eq!(reads, 1);
}

#[test]
fn waited_for_before_the_state_was_advanced_it_is_submitted_for_ever() {
    fn wrong(state: &mut State, reads: &mut u32) -> Result<IOResult<u32>> {
        if let State::Begin = state {
            *reads += 1;
            io_yield_one!(Completion::signal());
        }
        Ok(IOResult::Done(1))
    }
    let (mut state, mut reads) = (State::Begin, 0);
    assert_eq!(drive(|| wrong(&mut state, &mut reads)), None, "the pitfall");
    assert_eq!(reads, 20);
}

#[test]
fn a_child_must_be_stepped_again_and_advancing_past_it_loses_its_work() {
    fn wrong(state: &mut State) -> Result<IOResult<u32>> {
        match std::mem::replace(state, State::End(0)) {
            State::Child(mut child) => Ok(IOResult::Done(return_if_io!(child.step()))),
            State::End(value) => Ok(IOResult::Done(value)),
            State::Begin | State::Read(_) => unreachable!("not in this operation"),
        }
    }
    let mut state = State::Child(Child::default());
    assert_eq!(drive(|| wrong(&mut state)), Some(0), "not the child's 10: the pitfall");
}
