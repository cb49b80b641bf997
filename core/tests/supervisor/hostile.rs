//! supervisords that mean harm: always a verdict, never a panic, deep recursion or more than linear
//! work.

use std::time::{Duration, Instant};

use healthcheck_core::probe::Event;
use healthcheck_core::supervisor::{
    command_result, info_result, max_response, CallError, Command, Fault, Flaw,
};

use crate::naive;
use crate::support::{corpus, fault, response, run, run_in_any_segments, started, value, waiting};

/// The body of a response that the first judge could read.
fn body(response: &[u8]) -> &[u8] {
    let text = String::from_utf8_lossy(response);
    let at = text.find("\r\n\r\n").map_or(response.len(), |at| at + 4);

    &response[at..]
}

/// Both judges over the same body: the same meaning, or none for both.
fn agree(body: &[u8]) {
    let body = naive::comparable(body);
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

#[test]
fn a_tag_whose_name_begins_with_a_colon_is_another_one() {
    let body = value("<boolean>1</boolean>");
    assert!(command_result(Command::Start, &response(&body)).is_ok());

    for (tag, odd) in [("</value>", "</:value>"), ("<value>", "<:value>")] {
        let response = response(&body.replace(tag, odd));
        assert!(command_result(Command::Start, &response).is_err(), "{odd}");
    }
}

#[test]
fn a_bare_carriage_return_is_a_line_feed_in_front_of_a_reference_too() {
    let text = |text: &str| started(&fault("<int>1</int>", &format!("<string>{text}</string>")));

    for (written, read) in [("a\rb", "a\nb"), ("a\r&#x41;", "a\nA"), ("a\r<![CDATA[b]]>", "a\nb")] {
        assert_eq!(text(written), Err(CallError::Fault(Fault::new(1, read))), "{written:?}");
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
