//! `healthcheck_expected`: the body must be exactly that, however it comes and ends.

use std::time::Duration;

use support::{check, Script, Step};

use crate::judge::{codes, judge};

const PAUSE: Duration = Duration::from_millis(60);

/// A timeout that no peer of a busy machine reaches, nor its quarter: so long is more awaited after a
/// complete response.
fn any_body() -> String {
    check(200, 20_000, 2)
}

fn expecting(body: &str) -> String {
    format!("{} healthcheck_expected '{body}';", any_body())
}

#[test]
fn check_09_the_body_must_be_exactly_the_expected_one() {
    let rows = judge(
        &expecting("I_AM_ALIVE"),
        ["I_AM_ALIVE", "I_AM_ALIVE\n", "I_AM", "", "I_AM_DEAD!", "i_am_alive"].map(Script::ok),
    );

    assert_eq!(rows[0].status, "OK");
    for row in &rows[1..] {
        assert_eq!(row.status, "Bad HTTP body contents", "{row:#?}");
    }
}

#[test]
fn check_09_a_body_that_the_close_ends_is_judged_like_one_of_known_length() {
    let answers = ["I_AM_ALIVE", "I_AM_ALIVE\n", "I_AM", ""]
        .map(|body| Script::raw(format!("HTTP/1.0 200 OK\r\n\r\n{body}")));

    assert_eq!(
        codes(&expecting("I_AM_ALIVE"), answers),
        ["ok", "bad_body", "bad_body", "bad_body"]
    );
}

#[test]
fn bytes_after_the_body_fail_in_whichever_segment_they_come() {
    let head = "HTTP/1.0 200 OK\r\n\r\nI_AM_ALIVE";
    let known = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nI_AM_ALIVE";
    let kept = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nI_AM_ALIVE";
    let answers = [
        Script::raw(format!("{head}!")),
        Script::pieces(&[head, "!"], PAUSE),
        Script::raw(format!("{known}!")),
        Script::raw(format!("{kept}!")),
        Script::pieces(&[known, "!"], PAUSE),
        Script::pieces(&[kept, "!"], PAUSE),
    ];

    for code in codes(&expecting("I_AM_ALIVE"), answers) {
        assert_eq!(code, "bad_body");
    }
}

#[test]
fn a_peer_that_keeps_the_connection_is_judged_all_the_same() {
    let kept = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nI_AM_ALIVE";
    let check = format!("{} healthcheck_expected I_AM_ALIVE;", check(200, 8_000, 2));
    for code in codes(&check, [Script::send_and_hang(kept)]) {
        assert_eq!(code, "ok");
    }
}

#[test]
fn a_chunked_body_is_decoded() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answers = [
        Script::raw(format!("{head}4\r\nI_AM\r\n6\r\n_ALIVE\r\n0\r\n\r\n")),
        Script::pieces(&[head, "4\r", "\nI_", "AM\r\n6;x=y\r\n_ALIVE\r\n0", "\r\n\r\n"], PAUSE),
        Script::raw(format!("{head}4\r\nI_AM\r\n0\r\n\r\n")),
        Script::raw(format!("{head}b\r\nI_AM_ALIVE!\r\n0\r\n\r\n")),
        Script::raw(format!("{head}zz\r\nI_AM_ALIVE\r\n0\r\n\r\n")),
        Script::raw(format!("{head}4\r\nI_AM\r\n")),
    ];

    assert_eq!(
        codes(&expecting("I_AM_ALIVE"), answers),
        ["ok", "ok", "bad_body", "bad_body", "bad_header", "early_close"]
    );
}

#[test]
fn check_10_a_body_in_three_segments_is_put_together() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    let closed = "HTTP/1.0 200 OK\r\n\r\n";
    let answers = [
        Script::pieces(&[&format!("{head}I_A"), "M_AL", "IVE"], PAUSE),
        Script::pieces(&[&format!("{closed}I_A"), "M_AL", "IVE"], PAUSE),
        Script::pieces(&[head, "I_AM", "_ALIVE"], PAUSE),
    ];

    assert_eq!(codes(&expecting("I_AM_ALIVE"), answers), ["ok", "ok", "ok"]);
}

#[test]
fn check_11_without_an_expected_body_any_body_is_good() {
    let answers = [
        Script::ok(""),
        Script::ok("x"),
        Script::ok(&"x".repeat(1024 * 1024)),
        Script::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense"),
        Script::raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort"),
    ];

    for row in judge(&any_body(), answers) {
        assert_eq!((row.code.as_str(), row.failures), ("ok", 0), "{row:#?}");
    }
}

#[test]
fn an_empty_expected_body_demands_an_empty_body() {
    let answers = [
        Script::ok(""),
        Script::raw("HTTP/1.0 200 OK\r\n\r\n"),
        Script::ok("x"),
        Script::raw("HTTP/1.0 200 OK\r\n\r\nx"),
    ];

    assert_eq!(codes(&expecting(""), answers), ["ok", "ok", "bad_body", "bad_body"]);
}

#[test]
fn check_13_an_early_close_is_judged_at_once() {
    let slow = check(200, 60_000, 2);
    let answers = [
        Script::close(),
        Script::raw("HTTP/1.1 20"),
        Script::raw("HTTP/1.1 200 OK\r\n"),
        Script::raw("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"),
    ];

    for row in judge(&slow, answers) {
        assert_eq!(row.status, "Connection closed early");
        assert!(row.latency_ms < Some(30_000), "{row:#?}");
    }
}

#[test]
fn check_13_a_body_cut_short_is_an_early_close() {
    let slow = format!("{} healthcheck_expected I_AM_ALIVE;", check(200, 60_000, 2));
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";

    for row in judge(&slow, [Script::raw(format!("{head}I_AM")), Script::raw(head)]) {
        assert_eq!(row.status, "Connection closed early");
        assert!(row.latency_ms < Some(30_000), "{row:#?}");
    }
}

#[test]
fn check_15_header_lines_may_end_in_a_bare_line_feed_anywhere_split() {
    let response = "HTTP/1.0 200 OK\nServer: x\nX-Y: z\n\nI_AM_ALIVE";
    let body = response.find("\n\n").expect("an end of the header");
    let answers = (body - 2..body + 5)
        .map(|at| Script::pieces(&[&response[..at], &response[at..]], PAUSE))
        .chain([Script::raw(response)]);

    for row in judge(&expecting("I_AM_ALIVE"), answers) {
        assert_eq!((row.code.as_str(), row.failures), ("ok", 0), "{row:#?}");
    }
}

#[test]
fn a_half_closed_response_is_complete_if_all_of_it_came() {
    let answer = |text: &str| {
        Script(vec![Step::Send(text.as_bytes().to_vec()), Step::HalfClose, Step::Hang])
    };
    let answers = [
        answer("HTTP/1.0 200 OK\r\n\r\nI_AM_ALIVE"),
        answer("HTTP/1.0 200 OK\r\n\r\nI_AM"),
        answer("HTTP/1.0 200 OK\r\nSer"),
    ];

    assert_eq!(codes(&expecting("I_AM_ALIVE"), answers), ["ok", "bad_body", "early_close"]);
}
