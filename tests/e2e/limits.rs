//! `healthcheck_buffer` and what else bounds a response's header.

use support::{Script, CHECK};

use crate::judge::{codes, judge};

/// A 200 whose header has so many bytes in all.
fn header_of(bytes: usize) -> Script {
    let start = "HTTP/1.1 200 OK\r\nX-Filler: ";
    let end = "\r\n\r\n";
    let filler = "x".repeat(bytes - start.len() - end.len());

    Script::raw(format!("{start}{filler}{end}"))
}

fn lines(count: usize) -> Script {
    let lines: String = (0..count).map(|line| format!("X-{line}: y\r\n")).collect();
    Script::raw(format!("HTTP/1.1 200 OK\r\n{lines}\r\n"))
}

#[test]
fn check_12_a_header_beyond_the_buffer_does_not_fit() {
    let rows = judge(CHECK, [header_of(2000), header_of(1001), header_of(1000), header_of(100)]);

    assert_eq!(rows[0].status, "Contents could not fit read buffer");
    let codes: Vec<&str> = rows.iter().map(|row| row.code.as_str()).collect();
    assert_eq!(codes, ["too_big", "too_big", "ok", "ok"]);
}

#[test]
fn check_12_a_larger_buffer_takes_the_same_header() {
    for buffer in ["4096", "4k"] {
        let check = format!("{CHECK} healthcheck_buffer {buffer};");
        assert_eq!(codes(&check, [header_of(2000), header_of(4097)]), ["ok", "too_big"]);
    }
}

#[test]
fn more_than_128_header_lines_do_not_fit() {
    let check = format!("{CHECK} healthcheck_buffer 64k;");

    assert_eq!(codes(&check, [lines(128), lines(129)]), ["ok", "too_big"]);
}

#[test]
fn an_expected_body_may_be_larger_than_the_buffer() {
    let body = "b".repeat(3000);
    let check = format!("{CHECK} healthcheck_buffer 200; healthcheck_expected {body};");

    assert_eq!(codes(&check, [Script::ok(&body)]), ["ok"]);
}
