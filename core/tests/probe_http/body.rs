//! The rules of an expected body that ends by its length or with the connection.

use healthcheck_core::check::Check;
use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::Event;

use crate::support::{check, in_any_segments, judged_after, run, ENDS};

/// The outcome if "hello" is expected and the peer closes at the end.
fn judge(response: &[u8]) -> Outcome {
    in_any_segments(&check(Some(b"hello")), response, Event::Closed)
}

/// A response with these header lines, each with its line end.
fn response(fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.0 200 OK\r\n{fields}\r\n{body}").into_bytes()
}

#[test]
fn the_expected_body_passes_by_length() {
    for fields in [
        "Content-Length: 5\r\n",
        "content-length:5\r\n",
        "CONTENT-LENGTH : 5 \r\n",
        "Content-Length: 005\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5 ,\t05\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length:\r\n 5\r\n",
        "Content-Length: 5,\r\n 5\r\n",
    ] {
        assert_eq!(judge(&response(fields, "hello")), Outcome::Ok, "{fields:?}");
    }
}

#[test]
fn the_expected_body_passes_by_the_close_alone() {
    for fields in ["", "Connection: close\r\n", "Transfer-Encoding: identity\r\n"] {
        let response = response(fields, "hello");
        let outcomes = [Outcome::Ok, Outcome::BadConnection, Outcome::TimedOut];

        for (end, outcome) in ENDS.into_iter().zip(outcomes) {
            let check = check(Some(b"hello"));
            assert_eq!(in_any_segments(&check, &response, end), outcome, "{fields:?}");
        }
    }
}

#[test]
fn a_persistent_connection_does_not_end_a_body_without_length() {
    let response = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nhello";
    let check = check(Some(b"hello"));

    assert_eq!(judged_after(&check, response), None);
    assert_eq!(in_any_segments(&check, response, Event::Closed), Outcome::Ok);
    assert_eq!(in_any_segments(&check, response, Event::Deadline), Outcome::TimedOut);
}

#[test]
fn the_first_wrong_byte_is_the_verdict() {
    for fields in ["", "Content-Length: 5\r\n"] {
        for (body, at) in [("Hello", 1), ("help!", 4), ("hellO", 5), ("\0hell", 1)] {
            let response = response(fields, body);
            let judged = judged_after(&check(Some(b"hello")), &response);
            let expected = (response.len() - body.len() + at, Outcome::BadBody);
            assert_eq!(judged, Some(expected), "{fields:?} {body:?}");
            assert_eq!(judge(&response), Outcome::BadBody);
        }
    }
}

#[test]
fn one_byte_too_many_is_the_verdict_whichever_segment_it_comes_in() {
    for fields in ["", "Content-Length: 5\r\n", "Connection: close\r\nContent-Length: 5\r\n"] {
        let response = response(fields, "hello!");
        let judged = judged_after(&check(Some(b"hello")), &response);
        assert_eq!(judged, Some((response.len(), Outcome::BadBody)));
        for end in ENDS {
            let outcome = in_any_segments(&check(Some(b"hello")), &response, end);
            assert_eq!(outcome, Outcome::BadBody);
        }
    }
}

#[test]
fn a_body_that_is_too_short_at_the_close_is_the_wrong_body() {
    for body in ["", "h", "hell"] {
        assert_eq!(judge(&response("", body)), Outcome::BadBody);
    }
}

#[test]
fn a_close_before_the_announced_length_is_early() {
    let outcomes = [Outcome::EarlyClose, Outcome::BadConnection, Outcome::TimedOut];

    for body in ["", "h", "hell"] {
        for (end, outcome) in ENDS.into_iter().zip(outcomes) {
            let response = response("Content-Length: 5\r\n", body);
            assert_eq!(in_any_segments(&check(Some(b"hello")), &response, end), outcome);
        }
    }
}

#[test]
fn another_length_is_the_wrong_body_before_its_first_byte() {
    for length in ["0", "4", "6", "50", "18446744073709551615", "5000000000", "4, 4"] {
        let header = response(&format!("Content-Length: {length}\r\n"), "");
        let judged = judged_after(&check(Some(b"hello")), &header);
        assert_eq!(judged, Some((header.len(), Outcome::BadBody)), "{length}");
    }
}

#[test]
fn a_length_that_is_none_is_a_malformed_header() {
    for length in [
        "",
        " ",
        "x",
        "+5",
        "-5",
        "5x",
        "0x5",
        "5.0",
        "5 5",
        "5;",
        "5,",
        ",5",
        "5,,5",
        "5, 6",
        "18446744073709551616",
        "99999999999999999999999999",
        "5\r\nContent-Length: 6",
        "6\r\nContent-Length: 5",
        "5\r\nContent-Length:",
        "\u{663}",
    ] {
        for more in ["", "Transfer-Encoding: chunked\r\n"] {
            let header = response(&format!("Content-Length: {length}\r\n{more}"), "");
            let judged = judged_after(&check(Some(b"hello")), &header);
            assert_eq!(judged, Some((header.len(), Outcome::MalformedHeader)), "{length:?}");
        }
    }
}

#[test]
fn an_empty_expected_body_demands_an_empty_body() {
    let judge =
        |fields, body| in_any_segments(&check(Some(b"")), &response(fields, body), Event::Closed);

    assert_eq!(judge("", ""), Outcome::Ok);
    assert_eq!(judge("Content-Length: 0\r\n", ""), Outcome::Ok);
    assert_eq!(judge("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), Outcome::Ok);
    assert_eq!(judge("", "\n"), Outcome::BadBody);
    assert_eq!(judge("Content-Length: 0\r\n", "x"), Outcome::BadBody);
    assert_eq!(judge("Content-Length: 1\r\n", "x"), Outcome::BadBody);
    assert_eq!(judge("Transfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n"), Outcome::BadBody);
}

#[test]
fn a_body_of_any_bytes_and_beyond_the_buffer_is_compared() {
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let check = Check { expected: Some(body.clone().into()), ..check(None) };
    let length = b"HTTP/1.0 200\r\nContent-Length: 100000\r\n\r\n";

    for header in [&length[..], b"HTTP/1.0 200\r\n\r\n"] {
        let mut response = [header, &body].concat();
        assert_eq!(run(&check, [&response[..]], Event::Closed), Outcome::Ok);
        assert_eq!(run(&check, response.chunks(7), Event::Closed), Outcome::Ok);
        *response.last_mut().unwrap() ^= 1;
        assert_eq!(run(&check, response.chunks(7), Event::Closed), Outcome::BadBody);
    }
}

/// Headers by which the peer keeps the connection or closes it.
const CONNECTIONS: [&str; 14] = [
    "HTTP/1.1 200\r\n",
    "HTTP/1.1 200\r\nConnection: keep-alive\r\n",
    "HTTP/1.1 200\r\nConnection: upgrade\r\n",
    "HTTP/1.1 200\r\nConnection: closed\r\n",
    "HTTP/1.1 200\r\nConnection: close\r\n",
    "HTTP/1.1 200\r\nconnection: Foo , CLOSE\r\n",
    "HTTP/1.1 200\r\nConnection: foo\r\nConnection: close\r\n",
    "HTTP/1.1 200\r\nConnection: close, keep-alive\r\n",
    "HTTP/1.0 200\r\n",
    "HTTP/1.0 200\r\nConnection: close\r\n",
    "HTTP/1.0 200\r\nConnection: foo\r\n",
    "HTTP/1.0 200\r\nConnection: keep-alive, close\r\n",
    "HTTP/1.0 200\r\nConnection: Keep-Alive\r\n",
    "HTTP/1.0 200\r\nConnection: foo,keep-alive\r\n",
];

/// The ways to send "hello" with an end that is not the close.
const CODINGS: [(&str, &str); 2] = [
    ("Content-Length: 5\r\n", "hello"),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
];

#[test]
fn a_complete_body_waits_for_the_end_whether_the_connection_persists_or_not() {
    for header in CONNECTIONS {
        for (fields, body) in CODINGS {
            let stream = format!("{header}{fields}\r\n{body}");
            let check = check(Some(b"hello"));

            assert_eq!(judged_after(&check, stream.as_bytes()), None, "{header:?}");
            for end in ENDS {
                let outcome = in_any_segments(&check, stream.as_bytes(), end);
                assert_eq!(outcome, Outcome::Ok, "{header:?}");
            }
        }
    }
}

#[test]
fn bytes_after_the_body_fail_whichever_segment_they_come_in() {
    for header in CONNECTIONS {
        for (fields, body) in CODINGS {
            let whole = format!("{header}{fields}\r\n{body}HTTP/1.1 200\r\n\r\n");
            let outcome = in_any_segments(&check(Some(b"hello")), whole.as_bytes(), Event::Closed);
            assert_eq!(outcome, Outcome::BadBody, "{header:?}");
        }
    }
}

#[test]
fn a_response_to_head_has_no_body_whatever_length_it_announces() {
    let head = |expected: &[u8]| Check {
        request: Box::from(&b"HEAD / HTTP/1.0\r\n\r\n"[..]),
        ..check(Some(expected))
    };

    for fields in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let judge = |expected: &[u8], body| {
            in_any_segments(&head(expected), &response(fields, body), Event::Closed)
        };
        assert_eq!(judge(b"", ""), Outcome::Ok, "{fields:?}");
        assert_eq!(judge(b"", "h"), Outcome::BadBody, "{fields:?}");
        assert_eq!(judge(b"hello", ""), Outcome::BadBody, "{fields:?}");
    }
    let malformed = response("Content-Length: x\r\n", "");
    let outcome = in_any_segments(&head(b""), &malformed, Event::Closed);
    assert_eq!(outcome, Outcome::MalformedHeader);
}
