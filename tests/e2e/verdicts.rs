//! What a response, or the lack of one, makes of a peer.

use std::time::Duration;

use support::{check, servers, Config, Nginx, Peer, Port, Row, Script, CHECK};

use crate::judge::{codes, judge};

#[test]
fn check_01_peers_that_answer_200_are_ok_and_up() {
    let peers = Peer::start_many(2);
    let body = format!("{CHECK} {}", servers(&peers));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    for peer in &peers {
        let first = nginx.wait_row(peer, "passes twice", |row| row.concurrent >= 2);
        assert_eq!((first.status.as_str(), first.code.as_str()), ("OK", "ok"));
        assert!(!first.down && !first.last_down && first.failures == 0, "{first:#?}");
        let grown = |row: &Row| row.concurrent >= first.concurrent + 3;
        let later = nginx.wait_row(peer, "keeps passing", grown);
        assert_eq!(later.concurrent_since_ms, first.concurrent_since_ms, "one run of passes");
        assert!(later.probes > first.probes && later.last_action_ms > first.last_action_ms);
    }
}

#[test]
fn check_02_a_peer_that_answers_500_twice_gets_no_requests() {
    let peers = Peer::start_many(2);
    peers[1].healthy(false);
    let body = format!("{CHECK} {}", servers(&peers));
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    // Of a verdict, another worker may see a part before the rest.
    let row = nginx.wait_row(&peers[1], "is down", |row| row.down && row.failures >= 2);
    assert_eq!(row.status, "Non 200 HTTP status code");
    assert!(row.last_down, "{row:#?}");
    nginx.wait_logged("is down", 1);
    let tally = nginx.tally(100, "backend");
    assert_eq!((tally.at(&peers[0].to_string()), tally.with_status(200)), (100, 100));
    assert_eq!(tally.workers.len(), 2);
}

#[test]
fn check_05_only_status_200_is_good() {
    let answers = [204, 301, 404, 500, 503, 199, 299, 999].map(|status| Script::status(status, ""));
    let rows = judge(CHECK, answers);

    for row in &rows[..5] {
        assert_eq!((row.code.as_str(), row.last_down), ("bad_code", true), "{row:#?}");
    }
    assert!(rows.iter().all(|row| row.last_down), "{rows:#?}");
    assert_eq!(codes(CHECK, [Script::raw("HTTP/1.1 200 OK\r\n\r\n")]), ["ok"]);
}

#[test]
fn check_06_a_status_line_may_end_after_the_code() {
    let answers = ["HTTP/1.0 200\r\n\r\n", "HTTP/1.0 200 \r\n\r\n"].map(Script::raw);

    assert_eq!(codes(CHECK, answers), ["ok", "ok"]);
}

#[test]
fn check_07_what_is_not_http_is_called_so() {
    let answers = ["hello\r\n", "\r\n", "SSH-2.0-x\r\n", "XYZ 200 \r\n\r\n"].map(Script::raw);

    for row in judge(CHECK, answers) {
        assert_eq!(row.status, "Bad status line.  Maybe not HTTP");
    }
}

#[test]
fn check_07_a_silent_peer_is_judged_at_the_timeout_and_not_later() {
    let rows = judge(&check(300, 600, 2), [Script::silent()]);

    assert_eq!(rows[0].status, "Healthcheck timed out");
    let latency = rows[0].latency_ms.expect("a finished probe");
    // A worker that was itself held up for longer gives no verdict.
    assert!((600..900).contains(&latency), "{latency}");
}

#[test]
fn check_08_a_closed_port_counts_as_a_failed_probe() {
    let closed = Port::reserve();
    let body = format!("{CHECK} server {closed};");
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    let row = nginx.wait_down(&closed, true);
    assert_eq!(row.status, "Error reading contents.  Bad connection");
    assert!(row.failures >= 2);
}

#[test]
fn check_08_a_missing_unix_socket_counts_as_a_failed_probe() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = format!("unix:{}/none.sock", dir.path().display());
    let body = format!("{CHECK} server {name};");
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    let row = nginx.wait_down(&name, true);
    assert_eq!(row.status, "Error reading contents.  Bad connection");
}

#[test]
fn a_peer_that_closes_and_comes_back_is_seen_both_times() {
    let mut peer = Peer::start();
    let body = format!("{CHECK} {}", servers([&peer]));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    nginx.wait_row(&peer, "passes", |row| row.concurrent >= 1);
    peer.stop();
    assert_eq!(nginx.wait_down(&peer, true).code, "bad_connection");
    peer.restart();
    assert_eq!(nginx.wait_down(&peer, false).code, "ok");
}

#[test]
fn a_peer_that_answers_just_before_the_timeout_passes() {
    let late = Script::pieces(&["", "HTTP/1.1 200 OK\r\n\r\n"], Duration::from_millis(700));
    let rows = judge(&check(200, 3000, 2), [late]);

    assert_eq!(rows[0].code, "ok");
    // nginx's clock goes in steps of up to 10 ms.
    assert!(rows[0].latency_ms >= Some(700 - 10), "{rows:#?}");
}
