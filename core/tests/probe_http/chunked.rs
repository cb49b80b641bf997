//! The rules of an expected body in the chunked coding.

use healthcheck_core::check::Check;
use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::Event;

use crate::support::{check, check_with_buffer, in_any_segments, judged_after, run, text, ENDS};

const HEADER: &str = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn hello() -> Check {
    check(Some(b"hello"))
}

fn response(body: &str) -> Vec<u8> {
    format!("{HEADER}{body}").into_bytes()
}

/// The outcome if "hello" is expected and the peer closes at the end.
fn judge(body: &str) -> Outcome {
    in_any_segments(&hello(), &response(body), Event::Closed)
}

/// Asserts that each of these bodies gets `outcome` at its last byte.
fn each_is_judged_at_its_last_byte(bodies: &[&str], outcome: Outcome) {
    for body in bodies {
        let response = response(body);
        assert_eq!(judged_after(&hello(), &response), Some((response.len(), outcome)), "{body:?}");
        let more = [&response[..], b"\r\n0\r\n\r\n"].concat();
        assert_eq!(in_any_segments(&hello(), &more, Event::Closed), outcome, "{body:?}");
    }
}

#[test]
fn chunks_are_joined() {
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "1\r\nh\r\n1\r\ne\r\n1\r\nl\r\n1\r\nl\r\n1\r\no\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhello\n0\n\r\n",
        "0000000000000000000000005\r\nhello\r\n00000\r\n\r\n",
    ] {
        assert_eq!(judge(body), Outcome::Ok, "{body:?}");
    }
}

#[test]
fn sizes_are_hexadecimal_in_either_case() {
    let body = [b'x'; 0xab];

    for size in ["ab", "AB", "aB", "0Ab"] {
        let chunks = format!("{HEADER}{size}\r\n{}\r\n0\r\n\r\n", "x".repeat(0xab));
        let outcome = in_any_segments(&check(Some(&body)), chunks.as_bytes(), Event::Closed);
        assert_eq!(outcome, Outcome::Ok, "{size}");
    }
}

#[test]
fn extensions_and_trailers_are_skipped() {
    for body in [
        "5;a=b\r\nhello\r\n0;c\r\n\r\n",
        "5 ; a=\"b;c\"\r\nhello\r\n0 \t\r\n\r\n",
        "5;\r\nhello\r\n0;\n\r\n",
        "5;\0\x01\r\rx\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\r\nno colon\n c\r\n\n",
    ] {
        assert_eq!(judge(body), Outcome::Ok, "{body:?}");
    }
}

#[test]
fn the_last_transfer_coding_decides_and_wins_over_the_length() {
    for (fields, outcome) in [
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Outcome::Ok),
        ("Content-Length: 99\r\nTransfer-Encoding: chunked\r\n", Outcome::Ok),
        ("transfer-encoding :CHUNKED\r\n", Outcome::Ok),
        ("Transfer-Encoding: gzip, chunked\r\n", Outcome::Ok),
        ("Transfer-Encoding: chunked,\r\n", Outcome::Ok),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Outcome::Ok),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", Outcome::Ok),
        // Not chunked: the framing is taken for the body.
        ("Transfer-Encoding: chunked, gzip\r\n", Outcome::BadBody),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", Outcome::BadBody),
        ("Transfer-Encoding: xchunked\r\n", Outcome::BadBody),
        ("Transfer-Encoding: \"chunked\"\r\n", Outcome::BadBody),
    ] {
        let stream = format!("HTTP/1.0 200 OK\r\n{fields}\r\n5\r\nhello\r\n0\r\n\r\n");
        let judged = in_any_segments(&hello(), stream.as_bytes(), Event::Closed);
        assert_eq!(judged, outcome, "{fields:?}");
    }
}

#[test]
fn wrong_framing_is_malformed_at_its_first_wrong_byte() {
    each_is_judged_at_its_last_byte(
        &[
            "x",
            "\r",
            "\n",
            ";",
            " ",
            "-",
            "+",
            "g",
            "0x",
            "5x",
            "5,",
            "5 5",
            "5 x",
            "5\rx",
            "5 \rx",
            "5\r\nhellox",
            "5\r\nhello\rx",
            "5\r\nhello5",
            "2\r\nhe\r\n\r",
            "2\r\nhe\r\n\n",
            "10000000000000000",
            "fffffffffffffffff",
            "5\r\nhello\r\n0\r\n\rx",
            "5\r\nhello\r\n0\r\nA: b\r\n\rx",
        ],
        Outcome::MalformedHeader,
    );
}

#[test]
fn a_wrong_body_is_judged_at_the_first_byte_or_size_that_proves_it() {
    each_is_judged_at_its_last_byte(
        &[
            "5\r\nH",
            "5\r\nhellO",
            "2\r\nhe\r\n3\r\nx",
            // One chunk more than fits, or longer than what is left.
            "6\r\n",
            "5\r\nhello\r\n1\r\n",
            "3\r\nhel\r\n3\n",
            "ffffffffffffffff\r\n",
            // The last chunk while something is missing.
            "0\r\n",
            "4\r\nhell\r\n0;x\r\n",
            // After the end.
            "5\r\nhello\r\n0\r\n\r\n\r",
            "5\r\nhello\r\n0\r\n\r\n0",
            "5\r\nhello\r\n0\n\nx",
        ],
        Outcome::BadBody,
    );
}

#[test]
fn an_end_inside_the_coding_names_its_cause() {
    let whole = response("2;x\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n");
    let outcomes = [Outcome::EarlyClose, Outcome::BadConnection, Outcome::TimedOut];

    for length in HEADER.len()..whole.len() {
        for (end, outcome) in ENDS.into_iter().zip(outcomes) {
            let judged = run(&hello(), [&whole[..length]], end);
            assert_eq!(judged, outcome, "{}", text(&whole[..length]));
        }
    }
    for end in ENDS {
        assert_eq!(run(&hello(), [&whole[..]], end), Outcome::Ok);
    }
}

#[test]
fn a_size_line_and_all_trailers_may_each_be_as_long_as_the_buffer() {
    let buffer = 100;
    let check = check_with_buffer(Some(b"hello"), buffer);
    let judge = |body: String| in_any_segments(&check, &response(&body), Event::Closed);
    let padded = |length, start: &str| format!("{start:x<width$}\r\n", width = length - 2);

    for (excess, outcome) in [(0, Outcome::Ok), (1, Outcome::DoesNotFit)] {
        let line = padded(buffer + excess, "5;");
        assert_eq!(judge(format!("{line}hello\r\n0\r\n\r\n")), outcome);
        let line = padded(buffer + excess, "0;");
        assert_eq!(judge(format!("5\r\nhello\r\n{line}\r\n")), outcome);
        let zeros = format!("{:0>width$}\r\n", 5, width = buffer + excess - 2);
        assert_eq!(judge(format!("{zeros}hello\r\n0\r\n\r\n")), outcome);

        let one = padded(buffer + excess - 2, "A:");
        assert_eq!(judge(format!("5\r\nhello\r\n0\r\n{one}\r\n")), outcome);
        let many = "A\n".repeat(buffer / 2 - 1 + excess);
        assert_eq!(judge(format!("5\r\nhello\r\n0\r\n{many}\r\n")), outcome);
    }
}

#[test]
fn the_bound_is_for_each_size_line_and_not_for_their_sum() {
    let body = vec![b'x'; 1_000];
    let check = check_with_buffer(Some(&body), HEADER.len());
    let response = response(&("1;abcdefghijklmnop\r\nx\r\n".repeat(1_000) + "0\r\n\r\n"));

    assert_eq!(run(&check, [&response[..]], Event::Closed), Outcome::Ok);
    assert_eq!(run(&check, response.chunks(1), Event::Closed), Outcome::Ok);
}
