//! Where a response ends, in any segmentation, and how much of it is taken.

use healthcheck_core::probe::Event;
use healthcheck_core::supervisor::{
    command_result, max_response, Accepted, CallAction, CallError, Command, Flaw,
};

use crate::support::{run, run_in_any_segments, value, waiting, waiting_within, START};

const MAX: usize = 1_000;
const ENDS: [Event<'static>; 2] = [Event::Closed, Event::Failed];

fn success() -> String {
    value("<boolean>1</boolean>")
}

/// The verdict over header lines and the body of a success, whatever ends the connection.
fn framed(lines: &str, end: Event<'static>) -> Result<Accepted, CallError> {
    let stream = format!("{lines}{}", success());
    let response = run_in_any_segments(MAX, stream.as_bytes(), end)?;
    command_result(Command::Start, &response)
}

#[test]
fn sixty_four_kilobytes_and_four_a_program_are_accepted() {
    assert_eq!(max_response(0), 65_536);
    assert_eq!(max_response(1), 69_632);
    assert_eq!(max_response(100), 475_136);
    assert_eq!(max_response(usize::MAX), usize::MAX);
}

#[test]
fn a_length_ends_the_response_before_the_connection_does() {
    let length = success().len();

    for end in ENDS {
        for lines in [
            format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\ncontent-length:{length}\r\nConnection: close\r\n\r\n"),
            format!("HTTP/1.0 200 OK\nContent-Length: 000{length}\n\n"),
            format!("HTTP/1.0 200\r\nA: b\r\nContent-Length: {length} \r\n\r\n"),
        ] {
            assert_eq!(framed(&lines, end), Ok(Accepted::Done), "{lines:?}");
        }
    }
}

#[test]
fn what_follows_the_length_is_no_part_of_the_response() {
    let length = success().len();
    let lines = format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let whole = format!("{lines}{}", success());

    for more in ["x", "HTTP/1.0 500 No\r\n\r\n", &"x".repeat(2 * MAX)] {
        let stream = format!("{whole}{more}");
        for end in ENDS {
            let response = run(waiting_within(MAX), [stream.as_bytes()], end);
            assert_eq!(response.as_deref(), Ok(whole.as_bytes()));
            let response = run(waiting_within(MAX), stream.as_bytes().chunks(7), end);
            assert_eq!(response.as_deref(), Ok(whole.as_bytes()));
        }
        assert_eq!(command_result(Command::Start, stream.as_bytes()), Ok(Accepted::Done));
    }
}

#[test]
fn a_length_that_cuts_the_body_short_is_not_well_formed() {
    let lines = "HTTP/1.0 200 OK\r\nContent-Length: 60\r\n\r\n";

    assert!(matches!(framed(lines, Event::Closed), Err(CallError::Malformed(_))));
}

#[test]
fn a_length_beyond_the_body_is_half_a_reply() {
    let length = success().len() + 1;
    let lines = format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n");

    for end in ENDS {
        assert_eq!(framed(&lines, end), Err(Flaw::Truncated.into()));
    }
    let stream = format!("{lines}{}", success());
    let verdict = command_result(Command::Start, stream.as_bytes());
    assert_eq!(verdict, Err(Flaw::Truncated.into()));
}

#[test]
fn without_a_length_an_orderly_end_of_the_connection_ends_the_response() {
    let lines = "HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\n\r\n";

    assert_eq!(framed(lines, Event::Closed), Ok(Accepted::Done));
    assert_eq!(framed(lines, Event::Failed), Err(Flaw::Truncated.into()));
}

#[test]
fn a_response_without_a_body_is_complete_and_worth_nothing() {
    for lines in ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"] {
        let response = run_in_any_segments(MAX, lines.as_bytes(), Event::Closed).unwrap();
        assert_eq!(command_result(Command::Start, &response), Err(Flaw::Shape.into()));
    }
}

#[test]
fn chunks_are_refused_since_nobody_asked_for_them() {
    for lines in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 129\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(framed(lines, Event::Closed), Err(Flaw::TransferCoding.into()), "{lines:?}");
    }
}

#[test]
fn a_length_is_one_decimal_number() {
    for field in [
        "Content-Length: ",
        "Content-Length: -1",
        "Content-Length: +129",
        "Content-Length: 0x81",
        "Content-Length: 129, 129",
        "Content-Length: 129\r\nContent-Length: 129",
        "Content-Length: 129\r\nContent-Length: 128",
    ] {
        let lines = format!("HTTP/1.0 200 OK\r\n{field}\r\n\r\n");
        assert_eq!(framed(&lines, Event::Closed), Err(Flaw::Length.into()), "{lines:?}");
    }
}

#[test]
fn what_is_not_http_is_known_at_its_first_wrong_byte() {
    for stream in ["x", "220 ready\r\n", "HTTQ", "HTTP/2", "<?xml", "\0", "\r\n"] {
        let action = waiting().on_event(Event::Received(stream.as_bytes()), START);
        assert_eq!(action, CallAction::Finish(Err(Flaw::NotHttp.into())), "{stream:?}");
    }
    for lines in ["HTTP/1.2 200 OK\r\n", "HTTP/1.0 2000\r\n", "HTTP/1.0 xyz\r\n", "HTTP/1.0\r\n"] {
        assert_eq!(framed(lines, Event::Closed), Err(Flaw::NotHttp.into()), "{lines:?}");
    }
}

#[test]
fn a_header_that_http_does_not_allow_is_refused() {
    let many = format!("HTTP/1.0 200 OK\r\n{}\r\n", "A: b\r\n".repeat(65));

    for lines in [
        "HTTP/1.0 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.0 200 OK\r\n: x\r\n\r\n",
        "HTTP/1.0 200 OK\r\nA: b\0\r\n\r\n",
        &many,
    ] {
        assert_eq!(framed(lines, Event::Closed), Err(Flaw::Header.into()), "{lines:?}");
    }
}

#[test]
fn a_header_of_sixteen_kilobytes_is_too_large() {
    let mut call = waiting();
    let line = b"HTTP/1.0 200 OK\r\nA: ";
    let rest = [b'b'; 16_384 - 20];

    assert_eq!(call.on_event(Event::Received(line), START), CallAction::Receive);
    assert_eq!(call.on_event(Event::Received(&rest[1..]), START), CallAction::Receive);
    let too_large = CallAction::Finish(Err(CallError::TooLarge(16_384)));
    assert_eq!(call.on_event(Event::Received(b"b"), START), too_large);
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_the_body() {
    for length in ["961", "18446744073709551615", "99999999999999999999999"] {
        let lines = format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let action = waiting_within(MAX).on_event(Event::Received(lines.as_bytes()), START);
        assert_eq!(action, CallAction::Finish(Err(CallError::TooLarge(MAX))), "{length}");
    }
}

#[test]
fn a_response_of_exactly_the_limit_is_taken() {
    let lines = "HTTP/1.0 200 OK\r\n\r\n";
    let whole = format!("{lines}{}", "x".repeat(MAX - lines.len()));

    let response = run_in_any_segments(MAX, whole.as_bytes(), Event::Closed);
    assert_eq!(response.as_deref(), Ok(whole.as_bytes()));
    let response = run_in_any_segments(MAX, format!("{whole}x").as_bytes(), Event::Closed);
    assert_eq!(response, Err(CallError::TooLarge(MAX)));
}

#[test]
fn ten_megabytes_stop_at_the_limit() {
    let limit = max_response(1);
    let body = vec![b'x'; 10 * 1024 * 1024];

    for lines in ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 10485760\r\n\r\n"]
    {
        for size in [1_000, 65_536, body.len()] {
            let mut call = waiting();
            let segments = [lines.as_bytes()].into_iter().chain(body.chunks(size));
            let taken = segments.map(Event::Received).find_map(|segment| {
                match call.on_event(segment, START) {
                    CallAction::Finish(result) => Some(result),
                    _ => None,
                }
            });
            assert_eq!(taken, Some(Err(CallError::TooLarge(limit))));
            assert!(call.response().len() <= limit + 1);
        }
    }
}
