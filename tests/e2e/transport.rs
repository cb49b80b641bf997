//! How the connection of a probe is begun and watched.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use support::{check, servers, skip, Config, Nginx, Peer, Port, Script, LIMIT};

/// Answers whatever comes, for as long as the tests run.
pub(crate) fn answer_all(listener: TcpListener) {
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 100];
            if stream.read(&mut request).is_ok_and(|count| count > 0) {
                // The probe may be gone already.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            }
        }
    });
}

#[test]
fn a_peer_that_takes_its_time_to_connect_is_probed_like_any_other() {
    let port = Port::reserve();
    let listener = port.listen_for_one().expect("the port");
    let first = TcpStream::connect(port.address()).expect("the only place");
    let body = format!("{} server {port};", check(200, 30_000, 1));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    // Its connection stands with the next attempt of the system, about a second later.
    let row = nginx.wait_row(&port, "is being probed", |row| row.last_action_ms > 0);
    assert_eq!(row.concurrent, 0, "it has to wait");
    drop(first);
    answer_all(listener);
    let row = nginx.wait_row(&port, "passes, and goes on", |row| row.concurrent >= 4);
    assert_eq!((row.code.as_str(), row.failures, row.down), ("ok", 0, false));
}

#[test]
fn peers_are_probed_with_each_of_nginx_ways_to_wait() {
    for method in ["epoll", "poll", "select"] {
        let events = format!("events {{ use {method}; worker_connections 512; }}");
        let mut peers = Peer::start_many(3);
        let body = format!("{} {}", check(100, 2000, 2), servers(&peers));
        let config = Config::new().main(&events).upstream("backend", body);
        if Nginx::test(&config).output.contains("invalid event type") {
            skip(&format!("this nginx is built without {method}"));
            continue;
        }
        let mut nginx = Nginx::start(&config);
        nginx.wait_probed();
        peers[1].healthy(false);
        nginx.wait_down(&peers[1], true);
        peers[1].healthy(true);
        nginx.wait_down(&peers[1], false);
        peers[2].stop();
        let row = nginx.wait_down(&peers[2], true);
        assert_eq!(row.code, "bad_connection", "{method}: {row:#?}");
        nginx.quit_within(LIMIT);
    }
}

/// Answers in two pieces and keeps the connection, for as long as the tests run. Without `at_once` the
/// OS keeps the second piece until the first one is acknowledged (Nagle's algorithm).
fn answer_in_pieces(listener: TcpListener, at_once: bool) {
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_nodelay(at_once).expect("an open socket");
            let mut request = [0; 200];
            // The probe may be gone already.
            if stream.read(&mut request).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
                let _ = stream.write_all(b"OK");
                let _ = stream.read(&mut request);
            }
        }
    });
}

#[test]
fn a_peer_that_waits_for_acknowledgements_is_not_kept_waiting() {
    let ports = [Port::reserve(), Port::reserve()];
    for (port, at_once) in ports.iter().zip([true, false]) {
        let listener = TcpListener::bind(port.address()).expect("the port");
        answer_in_pieces(listener, at_once);
    }
    let check = format!("{} healthcheck_expected OK;", check(100, 2000, 1));
    let body = format!("{check} server {}; server {};", ports[0], ports[1]);
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    let mut latencies = [Vec::new(), Vec::new()];
    for count in 1..=15 {
        for (port, latencies) in ports.iter().zip(&mut latencies) {
            let row = nginx.wait_row(port, "is probed again", |row| row.concurrent >= count);
            latencies.push(row.latency_ms.expect("it was probed"));
        }
    }
    let [at_once, waiting] = latencies.map(|mut latencies| {
        latencies.sort_unstable();
        latencies[latencies.len() / 2]
    });
    // Linux delays acknowledgements for 40 ms at least.
    assert!(waiting < at_once + 30, "{waiting} ms and {at_once} ms");
}

#[test]
fn a_pause_after_as_much_as_is_read_at_once_is_not_the_end() {
    let start = "HTTP/1.1 200 OK\r\nX-Filler: ";
    let first = format!("{start}{}", "x".repeat(16 * 1024 - start.len()));
    for method in ["epoll", "poll"] {
        let peer = Peer::start();
        peer.probes(Script::pieces(&[&first, "\r\n\r\n"], Duration::from_millis(100)));
        let body =
            format!("{} healthcheck_buffer 64k; {}", check(200, 60_000, 1), servers([&peer]));
        let events = format!("events {{ use {method}; worker_connections 512; }}");
        let config = Config::new().main(&events).upstream("backend", body);
        if Nginx::test(&config).output.contains("invalid event type") {
            skip(&format!("this nginx is built without {method}"));
            continue;
        }
        let nginx = Nginx::start(&config);
        let row = nginx.wait_row(&peer, "has two verdicts", |row| row.concurrent >= 2);
        assert_eq!((row.code.as_str(), row.failures), ("ok", 0), "{method}");
    }
}
