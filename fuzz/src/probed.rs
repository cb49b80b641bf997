//! A probe and the naive judge over the same response.

use std::sync::Arc;

use healthcheck_core::check::{Check, CheckDraft};
use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::{Action, Event, Probe};

use crate::naive_http::judge;
use crate::noise::Noise;

/// What can end a connection.
pub(crate) const ENDS: [Event<'static>; 3] = [Event::Closed, Event::Failed, Event::Deadline];

/// A check that expects this body.
pub(crate) fn check(expected: Option<&[u8]>) -> Check {
    CheckDraft { expected: expected.map(Box::from), ..CheckDraft::default() }.finish(b"fuzz")
}

/// The outcome that both judges give, in one segment, in single bytes and in random pieces, after
/// this end.
///
/// # Panics
/// If they do not agree.
pub(crate) fn agree(check: &Check, response: &[u8], end: Event<'static>) -> Outcome {
    let expected = judge(check, response, end);
    let mut probe = Probe::new(Arc::new(check.clone()));
    let single: Vec<&[u8]> = response.chunks(1).collect();

    for segments in [vec![response], single, Noise::of(response).pieces(response)] {
        let outcome = outcome(&mut probe, &segments, end);
        assert_eq!(outcome, expected, "{end:?} after {segments:?} for {check:?}");
    }
    expected
}

/// How a probe ends: with one outcome, and no other after it.
fn outcome(probe: &mut Probe, segments: &[&[u8]], end: Event<'static>) -> Outcome {
    probe.start(0);
    assert_eq!(probe.on_event(Event::Connected, 0), Action::Send);
    let request = probe.to_send().len();
    assert_eq!(probe.on_event(Event::Sent(request), 0), Action::Receive);

    let mut finished = None;
    for event in segments.iter().map(|segment| Event::Received(segment)).chain([end]) {
        match (probe.on_event(event, 1), finished) {
            (Action::Finish(outcome), None) => finished = Some(outcome),
            (Action::Finish(outcome), Some(before)) => assert_eq!(outcome, before, "not final"),
            (action, before) => assert_eq!((action, before), (Action::Receive, None)),
        }
    }
    finished.expect("the end of the connection ends the probe")
}
