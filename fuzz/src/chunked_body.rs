//! A body in the chunked coding: the probe judges it as the naive judge does, and finds good what a
//! simple decoder makes of it.

use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::Event;

use crate::noise::Noise;
use crate::probed::{agree, check, ENDS};
use crate::Target;

/// The input is what follows the header.
pub static TARGET: Target = Target {
    name: "chunked_body",
    inputs: 50_000,
    words: &[
        b"0\r\n\r\n",
        b"0\r\n",
        b"\r\n",
        b"\n",
        b"1\r\nx\r\n",
        b"5\r\nhello\r\n",
        b"a\n0123456789\n",
        b"ffffffffffffffff\r\n",
        b"10000000000000000\r\n",
        b";name=\"value\"",
        b"Trailer: x\r\n",
        b"0000000000000000000000",
    ],
    check: run,
};

const HEADERS: [&[u8]; 3] = [
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.0 200\nConnection: close\nTransfer-Encoding: gzip, Chunked\n\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
];

fn run(body: &[u8]) {
    let mut noise = Noise::of(body);
    let response = [noise.pick(&HEADERS), body].concat();
    let (decoded, is_whole) = decoded(body);

    for end in ENDS {
        let outcome = agree(&check(Some(&decoded)), &response, end);
        assert!(!is_whole || outcome == Outcome::Ok, "{outcome:?} for {}", body.escape_ascii());
        if !decoded.is_empty() {
            // No other body is good.
            let mut other = decoded.clone();
            let at = noise.below(other.len());
            other[at] ^= 1;
            assert_ne!(agree(&check(Some(&other)), &response, end), Outcome::Ok);
        }
    }
    agree(&check(Some(&decoded[..noise.below(decoded.len() + 1)])), &response, Event::Closed);
}

/// The data of all chunks up to the first that is no plain one, and whether the body ends right
/// behind them in the plainest way.
fn decoded(mut body: &[u8]) -> (Vec<u8>, bool) {
    let mut data = Vec::new();

    loop {
        if body == b"0\r\n\r\n" {
            return (data, true);
        }
        let Some((size, rest)) = plain_line(body) else { return (data, false) };
        let Some((chunk, rest)) = rest.split_at_checked(size) else { return (data, false) };
        let Some(rest) = rest.strip_prefix(b"\r\n") else { return (data, false) };
        if size == 0 {
            return (data, false);
        }
        data.extend(chunk);
        body = rest;
    }
}

/// A size of at most four digits with CRLF behind it.
fn plain_line(body: &[u8]) -> Option<(usize, &[u8])> {
    let at = body.windows(2).take(5).position(|pair| pair == b"\r\n")?;
    let digits = std::str::from_utf8(&body[..at]).ok()?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());

    is_plain.then(|| usize::from_str_radix(digits, 16).ok())?.map(|size| (size, &body[at + 2..]))
}
