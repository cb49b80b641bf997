//! supervisords that mean harm: always a verdict, never a panic, deep recursion or more than linear
//! work.

use std::time::{Duration, Instant};

use healthcheck_core::probe::Event;
use healthcheck_core::supervisor::{
    command_result, info_result, max_response, CallError, Command, Flaw,
};

use crate::naive;
use crate::support::{corpus, response, run, run_in_any_segments, value, waiting};

/// The body of a response that the first judge could read.
fn body(response: &[u8]) -> &[u8] {
    let text = String::from_utf8_lossy(response);
    let at = text.find("\r\n\r\n").map_or(response.len(), |at| at + 4);

    &response[at..]
}

/// Both judges over the same body: the same meaning, or none for both.
fn agree(body: &[u8]) {
    let body = naive::without_controls(body);
    let response = [&b"HTTP/1.0 200 OK\r\n\r\n"[..], &body].concat();

    for command in [Command::Start, Command::Stop] {
        let ours = one_flaw(command_result(command, &response));
        assert_eq!(ours, naive::command(command, &body), "{}", body.escape_ascii());
    }
    for programs in [0, 1, 2, 4] {
        let ours = one_flaw(info_result(programs, &response));
        assert_eq!(ours, naive::info(programs, &body), "{}", body.escape_ascii());
    }
}

/// Which flaw a response has is not the naive judge's business.
fn one_flaw<T>(result: Result<T, CallError>) -> Result<T, CallError> {
    result.map_err(|error| match error {
        CallError::Malformed(_) => CallError::Malformed(Flaw::Shape),
        error => error,
    })
}

#[test]
fn the_corpus_is_judged_as_the_naive_judge_does() {
    let corpus = corpus();
    assert!(corpus.len() >= 20);

    for (name, stream) in &corpus {
        println!("{name}");
        agree(body(stream));
        for end in [Event::Closed, Event::Failed, Event::Deadline] {
            let _ = run_in_any_segments(max_response(1), stream, end);
        }
    }
}

/// xorshift64*: enough chance for noise, the same in every run.
struct Noise(u64);

impl Noise {
    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % limit.max(1)
    }

    fn bytes(&mut self) -> &'static [u8] {
        const TELLING: [&[u8]; 24] = [
            b"<",
            b">",
            b"/",
            b"&",
            b";",
            b"'",
            b"=",
            b"\0",
            b"\xff",
            b"1",
            b"0",
            b"\r\n",
            b" ",
            b"-",
            b"<!--",
            b"-->",
            b"<![CDATA[",
            b"]]>",
            b"&#49;",
            b"&amp;",
            b"<?",
            b"?>",
            b"</value>",
            b"<value>",
        ];
        TELLING[self.below(TELLING.len())]
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        let end = bytes.len().min(at + self.below(30));

        match self.below(7) {
            0 | 1 => drop(bytes.splice(at..at, self.bytes().iter().copied())),
            2 | 3 => drop(bytes.splice(at..end, self.bytes().iter().copied())),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                bytes.truncate(at);
                bytes.extend(&other[self.below(other.len() + 1)..]);
            }
        }
    }
}

#[test]
fn mutated_bodies_are_judged_as_the_naive_judge_does() {
    let corpus: Vec<Vec<u8>> = corpus().iter().map(|(_, stream)| body(stream).to_vec()).collect();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);

    for round in 0..15_000 {
        let mut body = corpus[round % corpus.len()].clone();
        for _ in 0..=noise.below(3) {
            let other = noise.below(corpus.len());
            noise.mutate(&mut body, &corpus[other]);
        }
        agree(&body);
    }
}

#[test]
fn mutated_streams_never_panic_and_end_alike_in_any_segments() {
    let corpus: Vec<Vec<u8>> = corpus().into_iter().map(|(_, stream)| stream).collect();
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);

    for round in 0..15_000 {
        let mut stream = corpus[round % corpus.len()].clone();
        for _ in 0..=noise.below(4) {
            let other = noise.below(corpus.len());
            noise.mutate(&mut stream, &corpus[other]);
        }
        let end = [Event::Closed, Event::Failed, Event::Deadline][noise.below(3)];
        let whole = run(waiting(), [&stream[..]], end);
        let size = 1 + noise.below(40);
        assert_eq!(run(waiting(), stream.chunks(size), end), whole, "{}", stream.escape_ascii());

        if let Ok(response) = whole {
            assert!(response.len() <= max_response(1));
            let _ = command_result(Command::Start, &response);
            let _ = info_result(noise.below(5), &response);
        }
    }
}

#[test]
fn deep_nesting_needs_no_stack() {
    for (open, close) in [
        ("<value><array><data>", "</data></array></value>"),
        ("<value><struct><member><name>a</name>", "</member></struct></value>"),
        ("<a>", "</a>"),
        ("<methodResponse>", "</methodResponse>"),
        ("<params>", ""),
    ] {
        let nested = format!("{}{}", open.repeat(200_000), close.repeat(200_000));
        let value = value("X").replace("<value>X</value>", &nested);
        for body in [nested, value] {
            let small_stack = std::thread::Builder::new().stack_size(128 * 1024);
            let judge = small_stack.spawn(move || {
                let response = response(&body);
                assert!(command_result(Command::Start, &response).is_err());
                assert!(info_result(1, &response).is_err());
            });
            judge.unwrap().join().unwrap();
        }
    }
}

#[test]
fn the_largest_response_takes_linear_time() {
    let limit = max_response(200);
    let entries = |entry: &str| {
        value(&format!("<array><data>{}</data></array>", entry.repeat(limit / entry.len())))
    };
    let attributes: String = (0..limit / 12).map(|index| format!("a{index}='b' ")).collect();
    let namespaces: String =
        (0..limit / 24).map(|index| format!("<a xmlns:n{index}='x'>")).collect();

    for body in [
        entries("<value/>"),
        entries("<value>&#49;</value>"),
        entries("<value><![CDATA[x]]><!-- x --><![CDATA[x]]></value>"),
        entries("<value><struct><member><name>a</name><value/></member></struct></value>"),
        value(&format!("<struct>{}</struct>", {
            "<member><name>faultCode</name><value/></member>".repeat(limit / 47)
        })),
        value(&"&#49;".repeat(limit / 5)),
        value(&"<!---->".repeat(limit / 7)),
        format!("<methodResponse {attributes}>"),
        namespaces,
        "<".repeat(limit),
        "&".repeat(limit),
        "<!".repeat(limit / 2),
        "<![CDATA[".repeat(limit / 9),
        format!("<!DOCTYPE a [{}]>", "<!ENTITY a '&a;&a;'>".repeat(limit / 20)),
    ] {
        let response = response(&body);
        let started = Instant::now();
        let _ = command_result(Command::Start, &response);
        let _ = info_result(200, &response);
        // Quadratic work over 800 kB would take minutes.
        assert!(started.elapsed() < Duration::from_secs(20), "{}", &body[..40]);
    }
}

#[test]
fn single_bytes_of_the_largest_header_take_linear_time() {
    let lines: String = (0..64).map(|index| format!("A{index}: {}\r\n", "x".repeat(240))).collect();
    let stream = format!("HTTP/1.0 200 OK\r\n{lines}");
    let started = Instant::now();

    for _ in 0..10 {
        let result = run(waiting(), stream.as_bytes().chunks(1), Event::Closed);
        assert_eq!(result, Err(Flaw::Truncated.into()));
    }
    assert!(started.elapsed() < Duration::from_secs(20));
}
