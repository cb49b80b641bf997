//! A peer's response, split at random: the probe judges it as the naive judge does.

use healthcheck_core::check::Check;

use crate::noise::Noise;
use crate::probed::{agree, check, ENDS};
use crate::Target;

/// The whole input is the response.
pub static TARGET: Target = Target {
    name: "probe_http",
    inputs: 40_000,
    words: &[
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101",
        b"HTTP/1.1 503",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"\r\n ",
        b"Content-Length: ",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"chunked",
        b"gzip, ",
        b"hello",
        b"18446744073709551615",
        b"5\r\nhello\r\n0\r\n\r\n",
    ],
    check: run,
};

fn run(response: &[u8]) {
    for check in checks(&mut Noise::of(response)) {
        for end in ENDS {
            agree(&check, response, end);
        }
    }
}

/// A usual one and a rarer one.
fn checks(noise: &mut Noise) -> [Check; 2] {
    let hello = check(Some(b"hello"));
    let rare = match noise.below(4) {
        0 => check(None),
        1 => check(Some(b"")),
        2 => Check { buffer: 1 + noise.below(80), ..hello.clone() },
        _ => Check { request: Box::from(&b"HEAD / HTTP/1.0\r\n\r\n"[..]), ..check(Some(b"")) },
    };
    [hello, rare]
}
