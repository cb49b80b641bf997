//! The rules of status line and header, and of responses whose body does not matter.

use healthcheck_core::check::Check;
use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::Event;

use crate::support::{check, check_with_buffer, in_any_segments, judged_after, run, text, ENDS};

/// What becomes of `response` if nothing is expected and the peer closes at its end.
fn judge(response: &[u8]) -> Outcome {
    in_any_segments(&check(None), response, Event::Closed)
}

/// Asserts `outcome`, and that it falls at the last byte of each of these streams.
fn each_is_judged_at_its_last_byte(check: &Check, streams: &[&[u8]], outcome: Outcome) {
    for stream in streams {
        assert_eq!(judged_after(check, stream), Some((stream.len(), outcome)), "{}", text(stream));
        let more = [stream, &b"HTTP/1.0 200\r\n\r\n"[..]].concat();
        assert_eq!(in_any_segments(check, &more, Event::Closed), outcome, "{}", text(stream));
    }
}

#[test]
fn status_200_passes() {
    for response in [
        &b"HTTP/1.0 200 OK\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n",
        b"HTTP/1.1 200 Everything is fine\r\n\r\n",
        b"HTTP/1.1 200 \xc3\xbc\tx\r\n\r\n",
    ] {
        assert_eq!(judge(response), Outcome::Ok, "{}", text(response));
    }
}

#[test]
fn a_status_line_without_trailing_blank_or_reason_is_accepted() {
    for response in [&b"HTTP/1.0 200\r\n\r\n"[..], b"HTTP/1.0 200 \r\n\r\n", b"HTTP/1.1 200\n\n"] {
        assert_eq!(judge(response), Outcome::Ok, "{}", text(response));
    }
}

#[test]
fn every_other_status_is_a_bad_code_as_soon_as_its_line_is_complete() {
    let codes = ["000", "099", "101", "201", "204", "206", "301", "304", "404", "500", "503"];

    for code in codes.into_iter().chain(["600", "999"]) {
        for end in [" x\r\n", "\r\n", "\n"] {
            let line = format!("HTTP/1.1 {code}{end}");
            each_is_judged_at_its_last_byte(&check(None), &[line.as_bytes()], Outcome::BadCode);
        }
    }
}

#[test]
fn what_does_not_begin_like_http_is_refused_at_its_first_wrong_byte() {
    let streams = [
        &b"X"[..],
        b"\r",
        b"\n",
        b"\0",
        b" ",
        b"h",
        b"2",
        b"\x16",
        b"HTP",
        b"HTTP ",
        b"HTTP/2",
        b"HTTP/0",
        b"HTTP/1 ",
        b"HTTP/11",
    ];

    each_is_judged_at_its_last_byte(&check(None), &streams, Outcome::BadStatusLine);
}

#[test]
fn a_complete_line_that_is_no_status_line_is_refused() {
    each_is_judged_at_its_last_byte(
        &check(None),
        &[
            b"HTTP/1.\n",
            b"HTTP/1.1\r\n",
            b"HTTP/1.1 \r\n",
            b"HTTP/1.2 200 OK\r\n",
            b"HTTP/1.x 200 OK\r\n",
            b"HTTP/1.10 200 OK\r\n",
            b"HTTP/1.1  200 OK\r\n",
            b"HTTP/1.1\t200 OK\r\n",
            b"HTTP/1.1 20\r\n",
            b"HTTP/1.1 2000 OK\r\n",
            b"HTTP/1.1 +20 OK\r\n",
            b"HTTP/1.1 -200 OK\r\n",
            b"HTTP/1.1 0x8 OK\r\n",
            b"HTTP/1.1 200OK\r\n",
            b"HTTP/1.1 200\t\r\n",
            b"HTTP/1.1 200\r\r\n",
            b"HTTP/1.1 200 O\0K\r\n",
            b"HTTP/1.1 200 O\rK\r\n",
            b"HTTP/1.1 500 O\x7fK\r\n",
        ],
        Outcome::BadStatusLine,
    );
}

#[test]
fn line_feeds_alone_end_lines_too() {
    for response in [
        &b"HTTP/1.1 200 OK\n\n"[..],
        b"HTTP/1.1 200 OK\nA: b\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\n",
        b"HTTP/1.1 200 OK\nA: b\r\nC: d\n\r\n",
    ] {
        assert_eq!(judge(response), Outcome::Ok, "{}", text(response));
    }
}

#[test]
fn odd_but_readable_header_lines_pass() {
    for line in [
        "A:b",
        "A:",
        "A: \t ",
        "A : b",
        "A\t : b",
        "A: b\r\n c",
        "A:\r\n\tb",
        "A: b\r\n \r\n\tc",
        "A: b\n c",
        "A: :::",
        "A: \u{fc}",
        "x!#$%&'*+-.^_`|~9: b",
        "A: b\r\nA: b",
    ] {
        let response = format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n");
        assert_eq!(judge(response.as_bytes()), Outcome::Ok, "{line:?}");
    }
}

#[test]
fn unreadable_header_lines_are_malformed_once_the_header_ends() {
    for line in [
        "A",
        "A b: c",
        ": b",
        "A(): b",
        "\u{fc}: b",
        " folded: first",
        "\tA: b",
        "A\0: b",
        "A: \0",
        "A: b\0c",
        "A: b\x01c",
        "A: b\x7fc",
        "A: b\rc",
        "A\r\n : b",
        "\r",
        "A: b\r\n\r",
        "\0",
    ] {
        let response = format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n");
        let streams = [response.as_bytes()];
        each_is_judged_at_its_last_byte(&check(None), &streams, Outcome::MalformedHeader);
    }
}

#[test]
fn a_header_of_exactly_the_buffer_fits_and_one_byte_more_does_not() {
    let response = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n";
    let length = response.len();

    let exact = check_with_buffer(None, length);
    assert_eq!(judged_after(&exact, response), Some((length, Outcome::Ok)));
    assert_eq!(in_any_segments(&exact, response, Event::Closed), Outcome::Ok);

    // What is full and incomplete cannot become complete: no need to wait for one byte more.
    for buffer in 9..length {
        let short = check_with_buffer(None, buffer);
        assert_eq!(judged_after(&short, response), Some((buffer, Outcome::DoesNotFit)));
        assert_eq!(in_any_segments(&short, response, Event::Closed), Outcome::DoesNotFit);
    }
}

#[test]
fn a_verdict_that_fits_the_buffer_comes_before_the_lack_of_room() {
    let line = b"HTTP/1.1 500\r\n";
    let outcome =
        |stream, buffer| in_any_segments(&check_with_buffer(None, buffer), stream, Event::Closed);

    assert_eq!(outcome(line, line.len()), Outcome::BadCode);
    assert_eq!(outcome(line, line.len() - 1), Outcome::DoesNotFit);
    assert_eq!(outcome(b"X", 1), Outcome::BadStatusLine);
    assert_eq!(outcome(b"H", 1), Outcome::DoesNotFit);
    assert_eq!(outcome(b"", 1), Outcome::EarlyClose);
}

fn response_with_lines(count: usize, line: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{}\r\n", line.repeat(count)).into_bytes()
}

#[test]
fn one_hundred_and_twenty_eight_header_lines_fit_and_one_more_does_not() {
    let check = check_with_buffer(None, 100_000);
    let judge = |response: &[u8]| judged_after(&check, response).map(|(_, outcome)| outcome);

    assert_eq!(judge(&response_with_lines(128, "A: b\r\n")), Some(Outcome::Ok));
    assert_eq!(judge(&response_with_lines(129, "A: b\r\n")), Some(Outcome::DoesNotFit));
    assert_eq!(judge(&response_with_lines(64, "A: b\r\n c\r\n")), Some(Outcome::Ok));
    assert_eq!(judge(&response_with_lines(65, "A: b\r\n c\r\n")), Some(Outcome::DoesNotFit));

    let mut interim = response_with_lines(128, "A: b\r\n");
    interim.splice(9..12, *b"103");
    let after_interim = |rest: &[u8]| judge(&[&interim, rest].concat());
    assert_eq!(after_interim(b"HTTP/1.1 200\r\n\r\n"), Some(Outcome::Ok));
    assert_eq!(after_interim(b"HTTP/1.1 200\r\nA: b\r\n\r\n"), Some(Outcome::DoesNotFit));
}

#[test]
fn interim_responses_are_skipped() {
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 100\n\n",
        "HTTP/1.0 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 77\r\n\r\n",
        "HTTP/1.1 199 x\r\nContent-Length: junk\r\n\r\n",
        "HTTP/1.1 100 a\r\n\r\nHTTP/1.1 100 b\r\n\r\nHTTP/1.1 103 c\r\n\r\n",
    ] {
        let judge = |rest: &str| judge(format!("{interim}{rest}").as_bytes());

        assert_eq!(judge("HTTP/1.1 200 OK\r\n\r\n"), Outcome::Ok, "{interim:?}");
        assert_eq!(judge("HTTP/1.1 503 x\r\n\r\n"), Outcome::BadCode, "{interim:?}");
        assert_eq!(judge("HTTP/1.1 101 x\r\n\r\n"), Outcome::BadCode, "{interim:?}");
        assert_eq!(judge("HTTP/1.1 200\r\nA\r\n\r\n"), Outcome::MalformedHeader, "{interim:?}");
        assert_eq!(judge("\r\nHTTP/1.1 200 OK\r\n\r\n"), Outcome::BadStatusLine, "{interim:?}");
        assert_eq!(judge("garbage"), Outcome::BadStatusLine, "{interim:?}");
        assert_eq!(judge("HTTP/1.1 200 OK\r\n"), Outcome::EarlyClose, "{interim:?}");
        assert_eq!(judge(""), Outcome::EarlyClose, "{interim:?}");
    }
}

#[test]
fn an_interim_response_is_held_to_the_syntax_too() {
    let response = b"HTTP/1.1 103 x\r\nno colon\r\n\r\n";

    each_is_judged_at_its_last_byte(&check(None), &[response], Outcome::MalformedHeader);
}

#[test]
fn interim_responses_share_the_buffer_with_the_final_one() {
    let response = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    let judge = |buffer| in_any_segments(&check_with_buffer(None, buffer), response, ENDS[0]);

    assert_eq!(judge(response.len()), Outcome::Ok);
    assert_eq!(judge(response.len() - 1), Outcome::DoesNotFit);
}

#[test]
fn an_end_inside_the_header_names_its_cause() {
    let response = b"HTTP/1.1 100\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    let outcomes = [Outcome::EarlyClose, Outcome::BadConnection, Outcome::TimedOut];

    for length in 0..response.len() {
        for (end, outcome) in ENDS.into_iter().zip(outcomes) {
            for expected in [None, Some(&b""[..])] {
                assert_eq!(run(&check(expected), [&response[..length]], end), outcome);
            }
        }
    }
}

#[test]
fn without_an_expected_body_the_blank_line_is_the_pass_whatever_follows() {
    let megabyte = vec![b'x'; 1_000_000];

    for header in [
        &b"HTTP/1.1 200 OK\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: junk\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let check = check(None);
        assert_eq!(judged_after(&check, header), Some((header.len(), Outcome::Ok)));
        for end in ENDS {
            assert_eq!(run(&check, [&[header, &megabyte].concat()[..]], end), Outcome::Ok);
            assert_eq!(run(&check, [header, &megabyte], end), Outcome::Ok);
        }
    }
}
