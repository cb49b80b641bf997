//! What the probe makes of events, whatever the bytes say.

use std::sync::Arc;

use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::{Action, Event, Probe};
use healthcheck_core::Msec;

use crate::support::{check, send_request, waiting, ENDS, START, TIMEOUT};

const OK: &[u8] = b"HTTP/1.0 200 OK\r\n\r\n";

fn idle() -> Probe {
    Probe::new(Arc::new(check(None)))
}

#[test]
fn an_event_before_the_start_is_an_internal_error_that_a_start_heals() {
    let mut probe = idle();

    for event in [Event::Connected, Event::Received(OK), Event::Closed] {
        assert_eq!(probe.on_event(event, START), Action::Finish(Outcome::Internal));
    }

    probe.start(START);
    assert_eq!(probe.on_event(Event::Received(OK), START), Action::Finish(Outcome::Ok));
}

#[test]
fn the_request_goes_out_in_whatever_parts_the_transport_takes() {
    let request = check(None).request;
    let mut probe = idle();
    probe.start(START);
    assert_eq!(probe.to_send(), &request[..]);

    assert_eq!(probe.on_event(Event::Connected, START), Action::Send);
    assert_eq!(probe.on_event(Event::Sent(5), START), Action::Send);
    assert_eq!(probe.to_send(), &request[5..]);
    assert_eq!(probe.on_event(Event::Sent(0), START), Action::Send);
    assert_eq!(probe.on_event(Event::Connected, START), Action::Send);
    assert_eq!(probe.on_event(Event::Sent(request.len() - 5), START), Action::Receive);
    assert_eq!(probe.to_send(), b"");
    assert_eq!(probe.on_event(Event::Connected, START), Action::Receive);
}

#[test]
fn an_empty_request_leaves_nothing_to_send() {
    let mut check = check(None);
    check.request = Box::default();
    let mut probe = Probe::new(Arc::new(check));
    probe.start(START);

    assert_eq!(probe.on_event(Event::Connected, START), Action::Receive);
}

#[test]
fn more_bytes_sent_than_there_were_is_an_internal_error() {
    for bytes in [19, usize::MAX] {
        let mut probe = idle();
        probe.start(START);
        assert_eq!(probe.on_event(Event::Sent(bytes), START), Action::Finish(Outcome::Internal));
    }

    let mut probe = waiting(&check(None));
    assert_eq!(probe.on_event(Event::Sent(1), START), Action::Finish(Outcome::Internal));
}

#[test]
fn a_verdict_does_not_wait_for_the_rest_of_the_request() {
    let mut probe = idle();
    probe.start(START);
    assert_eq!(probe.on_event(Event::Sent(1), START), Action::Send);

    assert_eq!(probe.on_event(Event::Received(&OK[..12]), START), Action::Send);
    assert_eq!(probe.on_event(Event::Received(&OK[12..]), START), Action::Finish(Outcome::Ok));
}

#[test]
fn after_the_finish_every_event_gets_the_same_answer() {
    let finish = Action::Finish(Outcome::BadCode);
    let mut probe = waiting(&check(None));
    let response = b"HTTP/1.0 500\r\n";
    assert_eq!(probe.on_event(Event::Received(response), START + 7), finish);

    let later = [Event::Connected, Event::Sent(99), Event::Received(OK), Event::Received(b"")];
    for event in later.into_iter().chain(ENDS) {
        assert_eq!(probe.on_event(event, START + 9), finish);
        assert_eq!(probe.latency(), 7);
    }
}

#[test]
fn no_bytes_are_no_event() {
    for start in [&b""[..], b"HTTP/1.0 2", b"HTTP/1.0 200\r\nContent-Length: 2\r\n\r\no"] {
        let mut probe = waiting(&check(Some(b"ok")));
        assert_eq!(probe.on_event(Event::Received(start), START), Action::Receive);
        assert_eq!(probe.on_event(Event::Received(b""), START), Action::Receive);
    }
}

#[test]
fn the_end_without_a_response_names_its_cause() {
    let outcomes = [Outcome::EarlyClose, Outcome::BadConnection, Outcome::TimedOut];

    for (end, outcome) in ENDS.into_iter().zip(outcomes) {
        let mut unconnected = idle();
        unconnected.start(START);
        assert_eq!(unconnected.on_event(end, START), Action::Finish(outcome));

        let mut silent = waiting(&check(None));
        assert_eq!(silent.on_event(end, START), Action::Finish(outcome));
    }
}

#[test]
fn the_deadline_is_the_start_plus_the_timeout_and_stays_on_the_clock() {
    let mut probe = idle();
    probe.start(START);
    assert_eq!(probe.deadline(), START + TIMEOUT);

    probe.start(Msec::MAX - 1);
    assert_eq!(probe.deadline(), Msec::MAX);
}

#[test]
fn latency_runs_from_the_start_to_the_deciding_byte() {
    let mut probe = waiting(&check(None));
    assert_eq!(probe.latency(), 0);

    probe.on_event(Event::Received(&OK[..18]), START + 10);
    assert_eq!(probe.latency(), 0);
    probe.on_event(Event::Received(&OK[18..]), START + 25);
    assert_eq!(probe.latency(), 25);
}

#[test]
fn a_clock_that_steps_back_makes_no_latency() {
    let mut probe = waiting(&check(None));

    assert_eq!(probe.on_event(Event::Received(OK), START - 1), Action::Finish(Outcome::Ok));
    assert_eq!(probe.latency(), 0);
}

#[test]
fn the_wait_for_the_end_of_the_connection_is_not_latency() {
    for end in ENDS {
        let mut probe = waiting(&check(Some(b"ok")));
        let response = b"HTTP/1.0 200\r\nContent-Length: 2\r\n\r\nok";

        assert_eq!(probe.on_event(Event::Received(response), START + 3), Action::Receive);
        assert_eq!(probe.on_event(Event::Received(b""), START + 4), Action::Receive);
        assert_eq!(probe.on_event(end, START + 1_999), Action::Finish(Outcome::Ok));
        assert_eq!(probe.latency(), 3);
    }
}

#[test]
fn an_extra_byte_in_that_wait_is_the_deciding_one() {
    let mut probe = waiting(&check(Some(b"ok")));
    let response = b"HTTP/1.0 200\r\nContent-Length: 2\r\n\r\nok";

    probe.on_event(Event::Received(response), START + 3);
    let action = probe.on_event(Event::Received(b"!"), START + 40);
    assert_eq!(action, Action::Finish(Outcome::BadBody));
    assert_eq!(probe.latency(), 40);
}

#[test]
fn the_request_goes_on_while_a_complete_response_waits_for_the_end() {
    let mut probe = Probe::new(Arc::new(check(Some(b""))));
    let response = b"HTTP/1.0 200\r\nContent-Length: 0\r\n\r\n";
    probe.start(START);

    assert_eq!(probe.on_event(Event::Received(response), START), Action::Send);
    send_request(&mut probe);
    assert_eq!(probe.on_event(Event::Closed, START), Action::Finish(Outcome::Ok));
}

#[test]
fn a_start_forgets_the_probe_before_wherever_it_stood() {
    let whole =
        b"HTTP/1.0 200\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nT: t\r\n\r\n!";
    let mut probe = Probe::new(Arc::new(check(Some(b"ok"))));

    for stop in 0..=whole.len() {
        probe.start(START);
        probe.on_event(Event::Received(&whole[..stop]), START + 1);

        probe.start(START + 50);
        assert_eq!(probe.latency(), 0);
        send_request(&mut probe);
        let action = probe.on_event(Event::Received(&whole[..whole.len() - 1]), START + 60);
        assert_eq!(action, Action::Receive, "stopped after {stop} bytes");
        let action = probe.on_event(Event::Closed, START + 70);
        assert_eq!(action, Action::Finish(Outcome::Ok), "stopped after {stop} bytes");
        assert_eq!(probe.latency(), 10);
    }
}
