//! Peers that mean harm: always a verdict, never a panic or more than linear work.

use std::fs;
use std::path::Path;

use healthcheck_core::check::Check;
use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::{Action, Event};

use crate::oracle::agree_in_every_split;
use crate::support::{check, check_with_buffer, run, waiting, START};

/// A large buffer: large enough that quadratic work would take minutes, small enough for a test
/// that is not optimised.
const LARGE: usize = 1024 * 1024;

/// What becomes of `start` and then `more` without end, in segments of `size` bytes; and after how
/// many bytes.
fn endless(check: &Check, start: &[u8], more: &[u8], size: usize) -> (Outcome, usize) {
    let mut probe = waiting(check);
    let stream: Vec<u8> = more.iter().copied().cycle().take(more.len() * size).collect();
    let mut taken = 0;

    for segment in start.chunks(size).chain(stream.chunks(size).cycle()) {
        taken += segment.len();
        if let Action::Finish(outcome) = probe.on_event(Event::Received(segment), START) {
            return (outcome, taken);
        }
        assert!(taken < 2 * LARGE, "no verdict");
    }
    unreachable!("the stream is endless");
}

const STATUS: &[u8] = b"HTTP/1.1 200 OK\r\n";

#[test]
fn endless_headers_of_single_bytes_end_at_a_large_buffer_in_linear_time() {
    for (start, more) in [
        (&b"HTTP/1.1 200 "[..], &b"a"[..]),
        (STATUS, b"a"),
        (b"HTTP/1.1 200 OK\r\nA:", b" "),
        (b"", b"HTTP/1.1 100\n\n"),
    ] {
        let check = check_with_buffer(Some(b"ok"), LARGE);
        assert_eq!(endless(&check, start, more, 1), (Outcome::DoesNotFit, LARGE));
    }
}

#[test]
fn endless_headers_do_not_fit_in_any_segments() {
    for size in [1, 2, 3, 7, 1_000, 65_536] {
        for (start, more) in [
            (&b"HTTP/1."[..], &b"1"[..]),
            (b"HTTP/1.1 200 ", b"\xff"),
            (STATUS, b"\0"),
            (STATUS, b" "),
            (STATUS, b"\r"),
            (STATUS, b"X: y\r\n"),
            (STATUS, b"X: y\r\n folded\r\n\t\r\n"),
            (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
        ] {
            let (outcome, taken) = endless(&check_with_buffer(None, 5_000), start, more, size);
            assert_eq!(outcome, Outcome::DoesNotFit);
            assert!(taken < 5_000 + size);
        }
    }
}

#[test]
fn a_hundred_thousand_header_lines_do_not_fit_even_a_large_buffer() {
    let response = [STATUS, &b"X: y\r\n".repeat(100_000), b"\r\n"].concat();
    let check = check_with_buffer(None, LARGE);

    for size in [1, 1_000, response.len()] {
        assert_eq!(run(&check, response.chunks(size), Event::Closed), Outcome::DoesNotFit);
    }
}

#[test]
fn endless_framing_of_chunks_does_not_fit() {
    let header = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    for size in [1, 7, 4_096] {
        for (start, more) in [
            (&b"2;"[..], &b"x"[..]),
            (b"2;a=\"", b"\0\r"),
            (b"2", b" "),
            (b"", b"0"),
            (b"2\r\nok\r\n0;", b"x"),
            (b"2\r\nok\r\n0\r\n", b"T: t\r\n"),
            (b"2\r\nok\r\n0\r\nT: ", b"t"),
        ] {
            let check = check_with_buffer(Some(b"ok"), LARGE);
            let (outcome, taken) = endless(&check, &[header, start].concat(), more, size);
            assert_eq!(outcome, Outcome::DoesNotFit);
            assert!(taken < LARGE + 100 + size);
        }
    }
}

#[test]
fn an_endless_body_is_wrong_at_its_first_byte_too_many() {
    let (outcome, taken) = endless(&check(Some(b"aaa")), b"HTTP/1.0 200\n\n", b"a", 1);

    assert_eq!((outcome, taken), (Outcome::BadBody, 18));
}

#[test]
fn a_huge_length_reserves_nothing_and_is_the_wrong_body() {
    for fields in [
        "Content-Length: 18446744073709551615\r\n\r\n",
        "Content-Length: 9223372036854775808\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "Transfer-Encoding: chunked\r\n\r\n8000000000000000\r\n",
    ] {
        let response = format!("HTTP/1.1 200 OK\r\n{fields}");
        agree_in_every_split(&check(Some(b"ok")), response.as_bytes());
        let outcome = run(&check(Some(b"ok")), [response.as_bytes()], Event::Deadline);
        assert_eq!(outcome, Outcome::BadBody);
    }
}

#[test]
fn a_half_close_right_after_the_response_is_no_harm() {
    for (response, outcome) in [
        (&b"HTTP/1.0 200\r\n\r\nok"[..], Outcome::Ok),
        (b"HTTP/1.0 200\r\nContent-Length: 2\r\n\r\nok", Outcome::Ok),
        (b"HTTP/1.0 200\r\nContent-Length: 2\r\n\r\no", Outcome::EarlyClose),
        (b"", Outcome::EarlyClose),
    ] {
        assert_eq!(run(&check(Some(b"ok")), [response], Event::Closed), outcome);
    }
}

/// The corpus that the fuzzer starts from, in the order of its names.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/probe_http");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();

    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn checks() -> [Check; 4] {
    [check(None), check(Some(b"")), check(Some(b"hello")), check_with_buffer(Some(b"hello"), 50)]
}

#[test]
fn the_fuzzers_corpus_is_judged_as_the_naive_judge_does() {
    let corpus = corpus();
    assert!(corpus.len() >= 10);

    for stream in &corpus {
        for check in &checks() {
            agree_in_every_split(check, stream);
        }
    }
}
