//! supervisord's reply, HTTP and all: the call ends alike in any pieces, and each complete reply gets a
//! verdict.

use healthcheck_core::probe::Event;
use healthcheck_core::supervisor::{
    command_result, info_result, max_response, Call, CallAction, CallError, Command, Limits,
};

use crate::noise::Noise;
use crate::probed::ENDS;
use crate::Target;

/// The whole input is the reply.
pub static TARGET: Target = Target {
    name: "supervisor_reply",
    inputs: 25_000,
    words: &[
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 401 Unauthorized\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"Content-Length: ",
        b"Content-Length: 10\r\n",
        b"Content-Length: 99999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"<?xml version='1.0'?>",
        b"<methodResponse>",
        b"<value><boolean>1</boolean></value>",
    ],
    check: run,
};

fn run(reply: &[u8]) {
    let mut noise = Noise::of(reply);
    let limit = [max_response(1), 1 + noise.below(400)][noise.below(2)];
    let single: Vec<&[u8]> = reply.chunks(1).collect();

    for end in ENDS {
        let whole = finished(limit, &[reply], end);
        for segments in [&single, &noise.pieces(reply)] {
            assert_eq!(finished(limit, segments, end), whole, "{end:?} after {segments:?}");
        }
        if let Ok(response) = whole {
            assert!(response.len() <= limit);
            for command in [Command::Start, Command::Stop] {
                let _ = command_result(command, &response);
            }
            if let Ok(infos) = info_result(noise.below(5), &response) {
                assert!(infos.len() < 5);
            }
        }
    }
}

/// The whole response, or the error with which the call ends for good.
fn finished(limit: usize, segments: &[&[u8]], end: Event<'static>) -> Result<Vec<u8>, CallError> {
    let mut call = Call::new(b"request".to_vec(), limit, Limits::default());
    call.start(0);
    assert_eq!(call.on_event(Event::Connected, 0), CallAction::Send);
    assert_eq!(call.on_event(Event::Sent(7), 0), CallAction::Receive);

    let mut finished = None;
    for event in segments.iter().map(|segment| Event::Received(segment)).chain([end]) {
        match (call.on_event(event, 1), &finished) {
            (CallAction::Finish(result), None) => finished = Some(result),
            (CallAction::Finish(result), Some(before)) => assert_eq!(result, *before, "not final"),
            (action, before) => assert_eq!((action, before), (CallAction::Receive, &None)),
        }
    }
    let result = finished.expect("the end of the connection ends the call");
    result.map(|()| call.response().to_vec())
}
