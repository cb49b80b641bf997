//! The body that a check expects, and the one that comes: good if and only if they are equal,
//! however its end is told.

use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::Event;

use crate::noise::Noise;
use crate::probed::{agree, check, ENDS};
use crate::Target;

/// The first byte is the length of the expected body, which follows, and then the other; without
/// another it is the same.
pub static TARGET: Target = Target {
    name: "expected_body",
    inputs: 25_000,
    words: &[
        b"ok",
        b"hello",
        b"\r\n",
        b"0\r\n\r\n",
        b"\0",
        b"\xff\xfe",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    check: run,
};

fn run(input: &[u8]) {
    let (expected, body) = bodies(input);
    let good = if body == expected { Outcome::Ok } else { Outcome::BadBody };
    let check = check(Some(expected));
    let mut noise = Noise::of(input);

    let plain = [b"HTTP/1.1 200 OK\r\n\r\n", body].concat();
    assert_eq!(agree(&check, &plain, Event::Closed), good);
    for end in [Event::Failed, Event::Deadline] {
        assert_ne!(agree(&check, &plain, end), Outcome::Ok, "nothing says that it is whole");
    }

    let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for response in
        [[length.as_bytes(), body].concat(), [&chunked[..], &in_chunks(body, &mut noise)].concat()]
    {
        for end in ENDS {
            assert_eq!(agree(&check, &response, end), good);
        }
        // A byte less is never good, and no byte more.
        let short = &response[..response.len() - 1];
        assert!(body.is_empty() || agree(&check, short, Event::Closed) != Outcome::Ok);
        let long = [&response[..], b"x"].concat();
        assert_ne!(agree(&check, &long, Event::Closed), Outcome::Ok);
    }
}

fn bodies(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = input.split_first() else { return (b"", b"") };
    let (expected, body) = rest.split_at(rest.len().min(usize::from(*length)));

    (expected, if body.is_empty() { expected } else { body })
}

fn in_chunks(body: &[u8], noise: &mut Noise) -> Vec<u8> {
    let mut coded = Vec::new();
    for chunk in noise.pieces(body) {
        coded.extend(format!("{:x}\r\n", chunk.len()).bytes());
        coded.extend(chunk);
        coded.extend(b"\r\n");
    }
    coded.extend(b"0\r\n\r\n");
    coded
}
