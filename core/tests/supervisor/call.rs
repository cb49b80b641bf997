//! A call's events: what it asks for, when it gives up, and what it says then.

use healthcheck_core::probe::Event;
use healthcheck_core::supervisor::{
    max_response, Call, CallAction, CallError, Flaw, Limits, Phase,
};

use crate::support::{response, value, waiting, LIMITS, START};

const CONNECT: CallAction = CallAction::Finish(Err(CallError::Connect));

fn call() -> Call {
    let mut call = Call::new(b"request".to_vec(), max_response(1), LIMITS);
    call.start(START);
    call
}

fn timed_out(phase: Phase) -> CallAction {
    CallAction::Finish(Err(CallError::TimedOut(phase)))
}

#[test]
fn the_limits_are_nginxs_by_default() {
    assert_eq!(Limits::default(), Limits { connect: 5_000, send: 30_000, read: 30_000 });
    assert_eq!(Limits::default().total(), 125_000);
    let endless = Limits { connect: u64::MAX, send: u64::MAX, read: u64::MAX };
    assert_eq!(endless.total(), u64::MAX);
}

#[test]
fn a_call_connects_sends_and_receives() {
    let response = response(&value("<boolean>1</boolean>"));
    let mut call = call();

    assert_eq!(call.to_send(), b"request");
    assert_eq!(call.on_event(Event::Connected, START), CallAction::Send);
    assert_eq!(call.on_event(Event::Sent(3), START), CallAction::Send);
    assert_eq!(call.to_send(), b"uest");
    assert_eq!(call.on_event(Event::Sent(0), START), CallAction::Send);
    assert_eq!(call.on_event(Event::Sent(4), START), CallAction::Receive);
    assert_eq!(call.to_send(), b"");
    assert_eq!(call.on_event(Event::Received(b""), START), CallAction::Receive);
    assert_eq!(call.on_event(Event::Received(&response[..9]), START), CallAction::Receive);
    let last = call.on_event(Event::Received(&response[9..]), START);
    assert_eq!(last, CallAction::Finish(Ok(())));
    assert_eq!(call.response(), response);
    assert_eq!(call.deadline(), 0);
}

#[test]
fn what_ends_a_connection_before_the_request_is_out_is_no_connection() {
    for end in [Event::Closed, Event::Failed] {
        assert_eq!(call().on_event(end, START), CONNECT);

        let mut call = call();
        call.on_event(Event::Connected, START);
        call.on_event(Event::Sent(6), START);
        assert_eq!(call.on_event(end, START), CONNECT);
    }
}

#[test]
fn what_ends_it_afterwards_is_no_reply() {
    for end in [Event::Closed, Event::Failed] {
        let action = waiting().on_event(end, START);
        assert_eq!(action, CallAction::Finish(Err(CallError::NoReply)));
    }
}

#[test]
fn what_ends_it_within_the_reply_is_a_malformed_one() {
    let response = response(&value("<boolean>1</boolean>"));

    for end in [Event::Closed, Event::Failed] {
        for length in 1..response.len() {
            let mut call = waiting();
            let part = Event::Received(&response[..length]);
            assert_eq!(call.on_event(part, START), CallAction::Receive, "{length}");
            let truncated = CallAction::Finish(Err(CallError::Malformed(Flaw::Truncated)));
            assert_eq!(call.on_event(end, START), truncated, "{length}");
        }
    }
}

#[test]
fn an_answer_may_come_before_all_of_the_request_is_out() {
    let response = response(&value("<boolean>1</boolean>"));
    let mut call = call();

    call.on_event(Event::Connected, START);
    assert_eq!(call.on_event(Event::Sent(1), START), CallAction::Send);
    assert_eq!(call.on_event(Event::Received(&response[..50]), START), CallAction::Send);
    let last = call.on_event(Event::Received(&response[50..]), START);
    assert_eq!(last, CallAction::Finish(Ok(())));
}

#[test]
fn a_refusal_is_known_at_its_status_line() {
    let refused = CallAction::Finish(Err(CallError::Unauthorized));

    assert_eq!(waiting().on_event(Event::Received(b"HTTP/1.0 401 No\r\n"), START), refused);
}

#[test]
fn each_phase_has_its_own_limit() {
    let mut call = call();
    assert_eq!(call.deadline(), START + LIMITS.connect);
    assert_eq!(call.on_event(Event::Deadline, 0), timed_out(Phase::Connecting));

    call.start(START);
    call.on_event(Event::Connected, START + 5);
    assert_eq!(call.deadline(), START + 5 + LIMITS.send);
    assert_eq!(call.on_event(Event::Deadline, 0), timed_out(Phase::Sending));

    call.start(START);
    call.on_event(Event::Connected, START + 5);
    call.on_event(Event::Sent(7), START + 9);
    assert_eq!(call.deadline(), START + 9 + LIMITS.read);
    assert_eq!(call.on_event(Event::Deadline, 0), timed_out(Phase::Reading));
}

#[test]
fn progress_of_the_phase_moves_its_deadline_to_twice_the_limit() {
    let mut call = call();

    call.on_event(Event::Connected, START);
    call.on_event(Event::Sent(1), START + 150);
    assert_eq!(call.deadline(), START + 150 + LIMITS.send);
    call.on_event(Event::Sent(1), START + 300);
    assert_eq!(call.deadline(), START + 2 * LIMITS.send);
    call.on_event(Event::Sent(5), START + 400);
    assert_eq!(call.deadline(), START + 400 + LIMITS.read);
    call.on_event(Event::Received(b"H"), START + 1_400);
    assert_eq!(call.deadline(), START + 1_400 + LIMITS.read);
    for now in 2_000..10_000 {
        call.on_event(Event::Received(b""), START + now);
        assert_eq!(call.deadline(), START + 1_400 + LIMITS.read);
    }
    call.on_event(Event::Received(b"T"), START + 4_000);
    assert_eq!(call.deadline(), START + 400 + 2 * LIMITS.read);
}

#[test]
fn what_is_no_progress_moves_no_deadline() {
    let mut call = call();

    call.on_event(Event::Connected, START);
    call.on_event(Event::Connected, START + 100);
    call.on_event(Event::Sent(0), START + 100);
    call.on_event(Event::Received(b"HTTP/1.0 "), START + 100);
    assert_eq!(call.deadline(), START + LIMITS.send);
}

#[test]
fn a_deadline_stays_on_the_clock() {
    let limits = Limits { connect: u64::MAX, send: u64::MAX, read: u64::MAX };
    let mut call = Call::new(b"request".to_vec(), 1_000, limits);

    call.start(START);
    assert_eq!(call.deadline(), u64::MAX);
    call.on_event(Event::Connected, u64::MAX);
    assert_eq!(call.deadline(), u64::MAX);
}

#[test]
fn no_phase_outlasts_the_total() {
    let mut call = call();
    let mut now = START;

    // A supervisord that does one thing just before each deadline.
    now = call.deadline().max(now);
    call.on_event(Event::Connected, now);
    for _ in 0..7 {
        now = call.deadline();
        call.on_event(Event::Sent(1), now);
    }
    for byte in b"HTTP/1.0 200 OK".chunks(1) {
        now = call.deadline();
        call.on_event(Event::Received(byte), now);
    }
    assert!(call.deadline() <= START + LIMITS.total());
    assert_eq!(call.deadline(), now);
}

#[test]
fn the_end_is_final() {
    let mut call = waiting();
    let timed_out = timed_out(Phase::Reading);

    assert_eq!(call.on_event(Event::Deadline, START), timed_out);
    for event in [
        Event::Connected,
        Event::Sent(1),
        Event::Sent(99),
        Event::Received(b"HTTP/1.0 200 OK\r\n\r\n"),
        Event::Closed,
        Event::Failed,
        Event::Deadline,
    ] {
        assert_eq!(call.on_event(event, START), timed_out);
    }
}

#[test]
fn a_new_start_forgets_everything() {
    let response = response(&value("<boolean>1</boolean>"));
    let mut call = waiting();

    call.on_event(Event::Received(&response), START);
    call.start(START + 10);
    assert_eq!(call.to_send(), b"request");
    assert_eq!(call.response(), b"");
    assert_eq!(call.deadline(), START + 10 + LIMITS.connect);
    assert_eq!(call.on_event(Event::Failed, START), CONNECT);

    call.start(START + 20);
    call.on_event(Event::Connected, START);
    call.on_event(Event::Sent(7), START);
    assert_eq!(call.on_event(Event::Received(&response), START), CallAction::Finish(Ok(())));
    assert_eq!(call.response(), response);
}

#[test]
fn a_driver_that_errs_ends_the_call() {
    let internal = CallAction::Finish(Err(CallError::Internal));

    let mut idle = Call::new(b"request".to_vec(), 1_000, LIMITS);
    assert_eq!(idle.deadline(), 0);
    assert_eq!(idle.on_event(Event::Connected, START), internal);
    assert_eq!(call().on_event(Event::Sent(8), START), internal);
    assert_eq!(waiting().on_event(Event::Sent(1), START), internal);
}

#[test]
fn bytes_sent_say_that_it_is_connected() {
    let mut call = call();

    assert_eq!(call.on_event(Event::Sent(7), START + 3), CallAction::Receive);
    assert_eq!(call.deadline(), START + 3 + LIMITS.read);
}
