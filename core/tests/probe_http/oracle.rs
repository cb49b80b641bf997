//! The probe against the naive judge, over generated responses in every segmentation.

use std::collections::HashMap;

use healthcheck_core::check::Check;
use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::Event;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, Index};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::naive::judge;
use crate::support::{check_with_buffer, run, text, ENDS};

/// One generated case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    check: Check,
    stream: Vec<u8>,
    cuts: Vec<usize>,
}

/// Asserts that probe and judge agree on `stream` cut at `cuts`, whatever ends it.
pub(crate) fn agree(check: &Check, stream: &[u8], cuts: &[usize]) {
    let mut segments = Vec::new();
    let mut rest = stream;
    let mut at = 0;
    for cut in cuts {
        let (segment, after) = rest.split_at(cut - at);
        segments.push(segment);
        (rest, at) = (after, *cut);
    }
    segments.push(rest);

    for end in ENDS {
        assert_eq!(
            run(check, segments.iter().copied(), end),
            judge(check, stream, end),
            "{end:?} after {} cut at {cuts:?} for {check:?}",
            text(stream)
        );
    }
}

/// The same for the whole, for every split in two, and for single bytes.
pub(crate) fn agree_in_every_split(check: &Check, stream: &[u8]) {
    agree(check, stream, &[]);
    for cut in 0..=stream.len() {
        agree(check, stream, &[cut]);
    }
    agree(check, stream, &(1..stream.len()).collect::<Vec<_>>());
}

const BODIES: [&str; 4] = ["", "x", "hello", "two\r\nlines\r\n"];

/// Mostly the first, so that what is rare spoils few cases.
fn mostly(usual: &'static str, rare: &'static [&'static str]) -> BoxedStrategy<&'static str> {
    prop_oneof![15 => Just(usual), 1 => select(rare)].boxed()
}

fn line_end() -> BoxedStrategy<&'static str> {
    prop_oneof![3 => mostly("\r\n", &["\r", "\r\n ", "", "\rx"]), 1 => Just("\n")].boxed()
}

/// Header lines, each with its line end.
fn fields() -> BoxedStrategy<String> {
    let usual = select(
        &["Server: x", "A : b", "A:", "A: b\r\n\tc", "Connection: close", "Connection: keep-alive"]
            [..],
    );
    let rare = select(
        &[
            "no colon",
            "A: \0",
            " fold",
            "A: b\rc",
            ":",
            "Content-Length: 5",
            "Content-Length: x",
            "Content-Length: 1,1",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: gzip",
            "Connection: a, Close",
        ][..],
    );
    let field = prop_oneof![15 => usual, 1 => rare];

    vec((field, line_end()), 0..4)
        .prop_map(|lines| lines.iter().map(|(field, end)| format!("{field}{end}")).collect())
        .boxed()
}

/// Complete interim responses, mostly none.
fn interim() -> BoxedStrategy<String> {
    let status = select(&["HTTP/1.1 100 Continue", "HTTP/1.1 103", "HTTP/1.0 199 x"][..]);
    let response = (status, line_end(), fields(), line_end())
        .prop_map(|(status, end, fields, blank)| format!("{status}{end}{fields}{blank}"));
    let responses = vec(response, 1..3).prop_map(|responses| responses.concat());

    prop_oneof![4 => Just(String::new()), 1 => responses].boxed()
}

/// Status line and fields of the final response, without the blank line.
fn header() -> BoxedStrategy<String> {
    let rare = &["HTTP/1.1 500 no", "HTTP/1.1 101", "HTTP/1.1 20", "HTTP/1.2 200", "junk", ""];
    let status = prop_oneof![
        5 => mostly("HTTP/1.1 200 OK", rare),
        4 => Just("HTTP/1.0 200"),
        1 => Just("HTTP/1.1 503 x"),
    ];

    (interim(), status, line_end(), fields())
        .prop_map(|(interim, status, end, fields)| format!("{interim}{status}{end}{fields}"))
        .boxed()
}

/// How a chunked body is cut: length and looks of each chunk, and of the last one.
#[derive(Clone, Debug)]
struct Cutting {
    chunks: Vec<(usize, &'static str, &'static str, &'static str, &'static str)>,
    last: (&'static str, &'static str, &'static str),
}

fn cutting() -> BoxedStrategy<Cutting> {
    let zeros = mostly("", &["0", "000000000000000000000"]);
    let extension = mostly("", &[";", "; a=b", " ", "\t;\"\0\"", " x", "f"]);
    let chunks = vec((1..9_usize, zeros, extension, line_end(), line_end()), 16);
    let trailer = mostly("", &["A: b\r\n", "a\nb\n"]);

    (chunks, (line_end(), trailer, line_end()))
        .prop_map(|(chunks, last)| Cutting { chunks, last })
        .boxed()
}

impl Cutting {
    fn apply(&self, body: &str) -> String {
        let mut rest = body;
        let mut coded = String::new();

        for (length, zeros, extension, size_end, data_end) in &self.chunks {
            if rest.is_empty() {
                break;
            }
            let (data, after) = rest.split_at(rest.len().min(*length));
            coded += &format!("{zeros}{:x}{extension}{size_end}{data}{data_end}", data.len());
            rest = after;
        }
        let (size_end, trailer, end) = self.last;
        format!("{coded}0{size_end}{trailer}{end}")
    }
}

/// A whole response with `body` in it, and how long its header is.
fn response(body: &'static str) -> BoxedStrategy<(usize, Vec<u8>)> {
    let extra = mostly("", &["\n", "0", "HTTP/1.1 200\r\n\r\n"]);
    let cut = prop_oneof![4 => Just(None), 1 => any::<Index>().prop_map(Some)];
    let noise = prop_oneof![4 => Just(None), 1 => any::<(Index, u8)>().prop_map(Some)];

    (header(), 0..4_usize, cutting(), line_end(), extra, cut, noise)
        .prop_map(move |(header, coding, cutting, blank, extra, cut, noise)| {
            let length = format!("Content-Length: {}\r\n", body.len());
            let chunked = "Transfer-Encoding: chunked\r\n";
            let (framing, coded) = match coding {
                0 => (length, body.to_string()),
                1 => (String::new(), body.to_string()),
                2 => (chunked.to_string(), cutting.apply(body)),
                _ => (format!("{chunked}{length}"), cutting.apply(body)),
            };

            let header = format!("{header}{framing}{blank}");
            let mut stream = format!("{header}{coded}{extra}").into_bytes();
            if let Some((at, byte)) = noise {
                *at.get_mut(&mut stream) = byte;
            }
            if let Some(cut) = cut {
                stream.truncate(cut.index(stream.len()));
            }
            (header.len(), stream)
        })
        .boxed()
}

fn case() -> BoxedStrategy<Case> {
    let bodies = select(&BODIES[..]).prop_flat_map(|sent| {
        let expected = prop_oneof![
            2 => Just(None),
            6 => Just(Some(sent)),
            2 => select(&BODIES[..]).prop_map(Some),
        ];
        (expected, response(sent))
    });
    // `None` stands for the size of the header, or one byte more or less.
    let buffer =
        prop_oneof![8 => Just(Some(1_000)), 1 => Just(None), 1 => (1..60_usize).prop_map(Some)];

    (bodies, buffer, -1..2_isize, vec(any::<Index>(), 0..6))
        .prop_map(|((expected, (header, stream)), buffer, off_by, cuts)| {
            let buffer = buffer.unwrap_or_else(|| header.saturating_add_signed(off_by));
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            Case { check: check_with_buffer(expected.map(str::as_bytes), buffer), stream, cuts }
        })
        .boxed()
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn the_outcome_is_the_naive_one_in_any_segments(case in case()) {
        agree(&case.check, &case.stream, &case.cuts);
        agree_in_every_split(&case.check, &case.stream);
    }
}

#[test]
fn the_generated_cases_reach_every_outcome_of_a_response_often() {
    let mut runner = TestRunner::deterministic();
    let mut counts: HashMap<Outcome, usize> = HashMap::new();

    for _ in 0..2_000 {
        let case = case().new_tree(&mut runner).unwrap().current();
        let outcome = judge(&case.check, &case.stream, Event::Closed);
        *counts.entry(outcome).or_default() += 1;
    }

    for outcome in Outcome::all() {
        let is_of_a_response =
            !matches!(outcome, Outcome::Internal | Outcome::BadConnection | Outcome::TimedOut);
        let count = counts.get(&outcome).copied().unwrap_or_default();
        assert!(!is_of_a_response || count >= 50, "{outcome:?} {count} times: {counts:?}");
    }
}
