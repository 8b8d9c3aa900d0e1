//! What the one loop promises.

use std::panic::{AssertUnwindSafe, catch_unwind};

use yieldb_core::{
    Completion, IOCompletions, IOResult, MAX_TRANSITIONS_PER_STEP, Request, StateMachine,
    StateTransition, Transition,
};

/// Does what its states say, and notes which transitions ran.
#[derive(Default)]
struct Script {
    ran: Vec<&'static str>,
}

/// ```text
/// Submit --> Waiting --> Yield --> Resumed --> (done)
/// Spin   --> Spin --> ..
/// Refuse, Panic: over
/// ```
#[derive(Debug)]
enum State {
    Submit(Completion),
    Waiting,
    Resumed,
    Spin(u32),
    Refuse,
    Panic,
}

impl StateTransition for Script {
    type State = State;
    type Context = ();
    type Output = u32;
    type Error = &'static str;

    fn transition(&mut self, state: State, (): &()) -> Result<Transition<Self>, &'static str> {
        Ok(match state {
            State::Submit(io) => {
                self.ran.push("submit");
                Transition::Wait(State::Waiting, io)
            }
            State::Waiting => {
                self.ran.push("waiting");
                Transition::Wait(State::Resumed, Completion::new_yield())
            }
            State::Resumed => {
                self.ran.push("resumed");
                Transition::Done(42)
            }
            State::Spin(0) => Transition::Done(0),
            State::Spin(left) => Transition::Next(State::Spin(left - 1)),
            State::Refuse => return Err("refused"),
            State::Panic => panic!("on purpose"),
        })
    }
}

fn machine(state: State) -> StateMachine<Script> {
    StateMachine::new(Script::default(), state)
}

fn waits_for(result: Result<IOResult<u32>, &'static str>) -> Completion {
    match result {
        Ok(IOResult::IO(IOCompletions::Single(io))) => io,
        Ok(_) => panic!("it does not wait"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_yield_is_neither_skipped_nor_lost() {
    let io = Completion::signal();
    let mut machine = machine(State::Submit(io.clone()));
    for _ in 0..3 {
        assert_eq!(waits_for(machine.step(&())).id(), io.id());
        assert_eq!(machine.machine().ran, ["submit"], "stepped while in flight, nothing runs");
    }
    io.succeed(0);
    assert!(waits_for(machine.step(&())).is_explicit_yield());
    assert_eq!(machine.machine().ran, ["submit", "waiting"]);
    assert!(matches!(machine.step(&()), Ok(IOResult::Done(42))));
    assert_eq!(machine.machine().ran, ["submit", "waiting", "resumed"]);
}

#[test]
fn io_that_is_over_already_is_not_waited_for() {
    let io = Completion::signal();
    io.succeed(0);
    let mut machine = machine(State::Submit(io));
    assert!(waits_for(machine.step(&())).is_explicit_yield());
    assert_eq!(machine.machine().ran, ["submit", "waiting"]);
}

#[test]
fn a_long_run_without_a_wait_yields_now_and_then() {
    let rounds = 3;
    let mut machine = machine(State::Spin(rounds * MAX_TRANSITIONS_PER_STEP));
    for _ in 0..rounds {
        assert!(waits_for(machine.step(&())).is_explicit_yield());
    }
    assert!(matches!(machine.step(&()), Ok(IOResult::Done(0))));
}

#[test]
#[should_panic(expected = "stepped after it finished")]
fn stepping_what_is_finished_is_a_mistake() {
    let mut machine = machine(State::Resumed);
    assert!(matches!(machine.step(&()), Ok(IOResult::Done(42))));
    drop(machine.step(&()));
}

#[test]
#[should_panic(expected = "stepped after it failed")]
fn stepping_what_failed_is_a_mistake() {
    let mut machine = machine(State::Refuse);
    assert!(matches!(machine.step(&()), Err("refused")));
    drop(machine.step(&()));
}

#[test]
fn a_panic_in_a_transition_ends_the_operation() {
    let mut machine = machine(State::Panic);
    let panicked = catch_unwind(AssertUnwindSafe(|| drop(machine.step(&()))));
    assert!(panicked.is_err());
    assert_eq!(format!("{machine:?}"), "failed");
}
