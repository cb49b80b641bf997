//! Drives a probe through a scripted response. It knows no rule of HTTP.

use std::sync::Arc;

use healthcheck_core::check::Check;
use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::{Action, Event, Probe};
use healthcheck_core::Msec;

/// When every probe here starts.
pub(crate) const START: Msec = 1_000;
/// What every probe here may take.
pub(crate) const TIMEOUT: Msec = 2_000;

/// What can end a connection, as seen by the probe.
pub(crate) const ENDS: [Event<'static>; 3] = [Event::Closed, Event::Failed, Event::Deadline];

/// A check with a buffer of 1000 bytes that expects this body.
pub(crate) fn check(expected: Option<&[u8]>) -> Check {
    Check {
        delay: 10_000,
        fast_delay: None,
        timeout: TIMEOUT,
        fall: 2,
        rise: 2,
        request: Box::from(&b"GET / HTTP/1.0\r\n\r\n"[..]),
        expected: expected.map(Box::from),
        buffer: 1_000,
    }
}

/// The same with another buffer.
pub(crate) fn check_with_buffer(expected: Option<&[u8]>, buffer: usize) -> Check {
    Check { buffer, ..check(expected) }
}

/// A probe that has connected and sent its request.
pub(crate) fn waiting(check: &Check) -> Probe {
    let mut probe = Probe::new(Arc::new(check.clone()));

    probe.start(START);
    send_request(&mut probe);
    probe
}

pub(crate) fn send_request(probe: &mut Probe) {
    assert_eq!(probe.on_event(Event::Connected, START), Action::Send);
    let request = probe.to_send().len();
    assert_eq!(probe.on_event(Event::Sent(request), START), Action::Receive);
}

/// The outcome of these segments and this end, which must be final.
pub(crate) fn run<'a>(
    check: &Check,
    segments: impl IntoIterator<Item = &'a [u8]>,
    end: Event<'static>,
) -> Outcome {
    let mut probe = waiting(check);
    let events = segments.into_iter().map(Event::Received).chain([end]);
    let mut finished = None;

    for event in events {
        match (probe.on_event(event, START), finished) {
            (Action::Finish(outcome), None) => finished = Some(outcome),
            (Action::Finish(outcome), Some(before)) => assert_eq!(outcome, before, "not final"),
            (action, before) => {
                assert_eq!((action, before), (Action::Receive, None));
            }
        }
    }

    finished.expect("the end of the connection ends the probe")
}

/// The outcome of `stream` in one segment, in two, whatever the split, and in single bytes, which
/// must all agree.
pub(crate) fn in_any_segments(check: &Check, stream: &[u8], end: Event<'static>) -> Outcome {
    let outcome = run(check, [stream], end);

    for at in 0..stream.len() {
        let (first, second) = stream.split_at(at);
        assert_eq!(run(check, [first, second], end), outcome, "split at {at}: {}", text(stream));
    }
    assert_eq!(run(check, stream.chunks(1), end), outcome, "in bytes: {}", text(stream));
    outcome
}

/// After how many bytes `stream` is judged, and how, before anything ends the connection.
pub(crate) fn judged_after(check: &Check, stream: &[u8]) -> Option<(usize, Outcome)> {
    let mut probe = waiting(check);

    stream.chunks(1).zip(1..).find_map(|(byte, count)| {
        match probe.on_event(Event::Received(byte), START) {
            Action::Finish(outcome) => Some((count, outcome)),
            _ => None,
        }
    })
}

/// For messages.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
