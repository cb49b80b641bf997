//! What a probe sends.

use support::{servers, wait_until, Config, Nginx, Peer, CHECK, LIMIT};

/// The first request that a peer gets in an upstream `backend` with these directives.
fn first_request(directives: &str) -> String {
    let peer = Peer::start();
    let body = format!("{directives} {}", servers([&peer]));
    let _nginx = Nginx::start(&Config::new().upstream("backend", body));

    wait_until(LIMIT, "a probe", || !peer.seen().is_empty());
    String::from_utf8(peer.seen()[0].raw.clone()).expect("text")
}

#[test]
fn check_14_the_arguments_are_lines_and_nothing_is_added() {
    let sent = first_request("healthcheck_enabled; healthcheck_send 'GET /h HTTP/1.0' 'Host: x';");

    assert_eq!(sent, "GET /h HTTP/1.0\r\nHost: x\r\n\r\n");
}

#[test]
fn check_14_the_text_is_verbatim_without_variables() {
    let sent = first_request(
        "healthcheck_enabled; healthcheck_send 'GET /$uri%20?a=b HTTP/1.1' \"X-Y:  z\" 'A: $x';",
    );

    assert_eq!(sent, "GET /$uri%20?a=b HTTP/1.1\r\nX-Y:  z\r\nA: $x\r\n\r\n");
}

#[test]
fn the_default_is_a_get_of_the_root_for_the_upstream() {
    let sent = first_request("healthcheck_enabled;");

    assert_eq!(sent, "GET / HTTP/1.0\r\nHost: backend\r\nConnection: close\r\n\r\n");
}

#[test]
fn a_request_larger_than_the_socket_takes_at_once_is_sent_whole() {
    let peer = Peer::start();
    let lines: Vec<String> = (0..2000).map(|line| format!("'X-{line}: {:0500}'", line)).collect();
    let body = format!(
        "healthcheck_enabled; healthcheck_delay 500; healthcheck_timeout 10s; \
         healthcheck_send 'GET /hc HTTP/1.0' {}; {}",
        lines.join(" "),
        servers([&peer])
    );
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    let row = nginx.wait_row(&peer, "passes twice", |row| row.concurrent >= 2);
    assert_eq!((row.code.as_str(), row.failures), ("ok", 0));
    let expected: usize = lines.iter().map(|line| line.len()).sum();
    assert_eq!(peer.seen()[0].raw.len(), "GET /hc HTTP/1.0\r\n".len() + expected + 2);
}

#[test]
fn probes_are_apart_from_requests_on_one_connection_each() {
    let peer = Peer::start();
    let body = format!("{CHECK} {}", servers([&peer]));
    let mut nginx = Nginx::start(&Config::new().upstream("backend", body));

    nginx.wait_row(&peer, "passes", |row| row.concurrent >= 4);
    nginx.quit_within(LIMIT);
    peer.settle();
    let (seen, connections) = (peer.seen().len(), peer.connection_count());
    // The last probe may have been given up before it was sent.
    assert!(connections >= seen && connections <= seen + 1, "{connections} for {seen}");
    assert_eq!(peer.request_count(), 0);
}
