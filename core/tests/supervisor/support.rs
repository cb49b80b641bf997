//! Makes responses and drives a call through them.

use std::fs;
use std::path::PathBuf;

use healthcheck_core::probe::Event;
use healthcheck_core::supervisor::{
    command_result, max_response, Accepted, Call, CallAction, CallError, Command, Limits,
};
use healthcheck_core::Msec;

/// When every call here starts.
pub(crate) const START: Msec = 1_000;
/// What every call here may take.
pub(crate) const LIMITS: Limits = Limits { connect: 10, send: 200, read: 3_000 };

/// What the HTTP response with this body is judged, as the answer to a start.
pub(crate) fn started(body: &str) -> Result<Accepted, CallError> {
    command_result(Command::Start, &response(body))
}

/// An HTTP response as supervisord writes it.
pub(crate) fn response(body: &str) -> Vec<u8> {
    let length = body.len();

    format!("HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The body whose one value is this.
pub(crate) fn value(value: &str) -> String {
    format!(
        "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value>{value}</value>\n\
         </param>\n</params>\n</methodResponse>\n"
    )
}

/// The body of a fault as supervisord writes it.
pub(crate) fn fault(code: &str, text: &str) -> String {
    format!("<methodResponse>\n<fault>\n{}\n</fault>\n</methodResponse>\n", {
        format!("<value>{}</value>", fault_struct(code, text))
    })
}

/// The struct that a fault is.
pub(crate) fn fault_struct(code: &str, text: &str) -> String {
    format!(
        "<struct>\n<member>\n<name>faultCode</name>\n<value>{code}</value>\n</member>\n\
         <member>\n<name>faultString</name>\n<value>{text}</value>\n</member>\n</struct>"
    )
}

/// A call that has connected and sent its request.
pub(crate) fn waiting() -> Call {
    waiting_within(max_response(1))
}

/// The same with that largest response.
pub(crate) fn waiting_within(max_response: usize) -> Call {
    let mut call = Call::new(b"request".to_vec(), max_response, LIMITS);

    call.start(START);
    assert_eq!(call.on_event(Event::Connected, START), CallAction::Send);
    assert_eq!(call.on_event(Event::Sent(7), START), CallAction::Receive);
    call
}

/// How a call with these segments and this end finishes; the whole response if it does so well.
pub(crate) fn run<'a>(
    mut call: Call,
    segments: impl IntoIterator<Item = &'a [u8]>,
    end: Event<'static>,
) -> Result<Vec<u8>, CallError> {
    let mut finished = None;

    for event in segments.into_iter().map(Event::Received).chain([end]) {
        match (call.on_event(event, START), &finished) {
            (CallAction::Finish(result), None) => finished = Some(result),
            (CallAction::Finish(result), Some(before)) => assert_eq!(result, *before, "not final"),
            (action, before) => assert_eq!((action, before), (CallAction::Receive, &None)),
        }
    }

    finished.expect("the end of the connection ends the call").map(|()| call.response().to_vec())
}

/// The same whatever the segments of `stream` are, which must all agree.
pub(crate) fn run_in_any_segments(
    max_response: usize,
    stream: &[u8],
    end: Event<'static>,
) -> Result<Vec<u8>, CallError> {
    let result = run(waiting_within(max_response), [stream], end);

    for at in 0..stream.len() {
        let (first, second) = stream.split_at(at);
        let split = run(waiting_within(max_response), [first, second], end);
        assert_eq!(split, result, "split at {at}: {}", stream.escape_ascii());
    }
    let bytes = run(waiting_within(max_response), stream.chunks(1), end);
    assert_eq!(bytes, result, "in bytes: {}", stream.escape_ascii());
    result
}

/// The files that the fuzzer starts from; most are what supervisord 4.2.5 sent.
pub(crate) fn corpus() -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();

    paths.sort();
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

/// One of them.
pub(crate) fn captured(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/supervisor_reply")
}
