//! Who waits: clients that leave, streams of HTTP/2, subrequests.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use support::{holds_for, servers, wait_until, Nginx, Peer, Port, LIMIT};

use super::h2::{Answer, H2};
use super::{access, all_down, config, in_hand, wait_in_hand, Client};

#[test]
fn a_client_that_is_gone_is_served_where_aborts_are_ignored() {
    let peer = Peer::start();
    peer.healthy(false);
    let location = "location /it { proxy_pass http://backend; proxy_ignore_client_abort on; }";
    let nginx = Nginx::start(&config("queue 10;", &servers([&peer])).server(location));

    nginx.wait_down(&peer, true);
    let mut client = TcpStream::connect(nginx.address()).expect("nginx listens");
    client.write_all(b"GET /it HTTP/1.0\r\n\r\n").expect("a request");
    wait_in_hand(&nginx, 1);
    drop(client);
    holds_for(Duration::from_millis(300), "it waits", || in_hand(&nginx) == 1);
    peer.healthy(true);
    wait_until(LIMIT, "the peer has the request", || peer.request_count() == 1);
    access(&nginx, &format!("/it 200 [{peer}] [200]"));
}

#[test]
fn a_request_with_a_body_is_sent_whole_whether_nginx_reads_it_first_or_not() {
    for buffering in ["on", "off"] {
        let server = super::server::Server::start(super::server::http);
        let location = format!(
            "location /it {{ proxy_pass http://backend; proxy_http_version 1.1; \
             client_max_body_size 0; proxy_request_buffering {buffering}; }}"
        );
        let config = config("queue 10;", &format!("server {server} max_fails=0;"));
        let nginx = Nginx::start(&config.server(&location));
        let body: Vec<u8> =
            (0..2_000_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
        let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();

        nginx.wait_down(&server, true);
        let client = Client::of(nginx.address(), move |to| {
            support::Request::get("/it").method("POST").body(&body).limit(LIMIT).send(to)
        });
        wait_in_hand(&nginx, 1);
        holds_for(Duration::from_millis(300), "it waits", || !client.is_done());
        server.healthy(true);
        assert_eq!(client.answer().0.status, 200, "buffering {buffering}");
        assert_eq!(server.notes(), [format!("2000000 {sum}")], "buffering {buffering}");
    }
}

/// nginx with a port for HTTP/2 without TLS, and a peer that is down.
fn h2_down(queue: &str) -> (Nginx, Peer, Port) {
    let (peer, port) = (Peer::start(), Port::reserve());
    peer.healthy(false);
    let listen = format!("listen {port} http2;");
    let nginx = Nginx::start(&config(queue, &servers([&peer])).server(&listen));
    nginx.wait_down(&peer, true);
    (nginx, peer, port)
}

#[test]
fn streams_of_one_connection_wait_and_are_all_served() {
    let (nginx, peer, port) = h2_down("queue 100;");
    let mut client = H2::connect(port.address());

    let streams: Vec<u32> = (0..20).map(|_| client.get("/backend/")).collect();
    wait_in_hand(&nginx, 20);
    peer.healthy(true);
    for stream in streams {
        assert_eq!(client.answer(stream), Answer::Status("200".to_owned()));
    }
    assert_eq!(peer.request_count(), 20);
}

#[test]
fn a_stream_that_its_client_resets_leaves_the_queue_at_once() {
    let (nginx, peer, port) = h2_down("queue 2;");
    let mut client = H2::connect(port.address());

    let streams = [client.get("/backend/"), client.get("/backend/reset")];
    wait_in_hand(&nginx, 2);
    client.reset(streams[1]);
    wait_until(LIMIT, "one waits", || in_hand(&nginx) == 1);
    access(&nginx, "/backend/reset 499");
    let third = client.get("/backend/");
    wait_in_hand(&nginx, 2);
    peer.healthy(true);
    for stream in [streams[0], third] {
        assert_eq!(client.answer(stream), Answer::Status("200".to_owned()));
    }
    assert_eq!(peer.request_count(), 2);
}

#[test]
fn a_connection_that_ends_takes_its_streams_out_of_the_queue() {
    let (nginx, peer, port) = h2_down("queue 100;");
    let mut client = H2::connect(port.address());

    for _ in 0..20 {
        client.get("/backend/");
    }
    wait_in_hand(&nginx, 20);
    drop(client);
    wait_until(LIMIT, "nobody waits", || in_hand(&nginx) == 0);
    peer.healthy(true);
    nginx.wait_down(&peer, false);
    assert_eq!(peer.request_count(), 0);
}

#[test]
fn streams_whose_patience_ends_get_504() {
    let (nginx, _peer, port) = h2_down("queue 2 timeout=300ms;");
    let mut client = H2::connect(port.address());

    // All of them before the patience of the first may end.
    let streams = client.get_all(4, "/backend/");
    let mut answers: Vec<Answer> = streams.into_iter().map(|s| client.answer(s)).collect();
    answers.sort();
    let expected = ["502", "502", "504", "504"].map(|status| Answer::Status(status.to_owned()));
    assert_eq!(answers, expected);
    wait_until(LIMIT, "nothing is left", || in_hand(&nginx) == 0);
}

#[test]
fn a_subrequest_that_asks_for_permission_waits() {
    let (asked, page) = (Peer::start(), Peer::start());
    asked.healthy(false);
    let location = "location = /may { internal; proxy_pass http://backend; }
                    location /it { auth_request /may; proxy_pass http://page; }";
    let config = config("queue 10;", &servers([&asked])).upstream("page", servers([&page]));
    let nginx = Nginx::start(&config.server(location));

    nginx.wait_down(&asked, true);
    let client = Client::get(&nginx, "/it");
    wait_in_hand(&nginx, 1);
    holds_for(Duration::from_millis(200), "it waits", || !client.is_done());
    assert_eq!(page.request_count(), 0);
    asked.healthy(true);
    assert_eq!(client.answer().0.status, 200);
    assert_eq!((asked.request_count(), page.request_count()), (1, 1));
}

#[test]
fn a_subrequest_whose_patience_ends_fails_the_request() {
    let (asked, page) = (Peer::start(), Peer::start());
    asked.healthy(false);
    let location = "location = /may { internal; proxy_pass http://backend; }
                    location /it { auth_request /may; proxy_pass http://page; }";
    let config = config("queue 10 timeout=200ms;", &servers([&asked]));
    let config = config.upstream("page", servers([&page])).server(location);
    let mut nginx = Nginx::start(&config);

    nginx.wait_down(&asked, true);
    assert_eq!(nginx.get("/it").status, 500);
    assert_eq!(nginx.log_lines("auth request unexpected status: 504").len(), 1);
    assert_eq!((asked.request_count(), page.request_count()), (0, 0));
    nginx.quit_within(LIMIT);
}

#[test]
fn a_mirrored_request_waits_and_keeps_nobody_waiting() {
    let (mirror, page) = (Peer::start(), Peer::start());
    mirror.healthy(false);
    let location = "location = /copy { internal; proxy_pass http://backend; }
                    location /it { mirror /copy; proxy_pass http://page; }";
    let config = config("queue 10;", &servers([&mirror])).upstream("page", servers([&page]));
    let nginx = Nginx::start(&config.server(location));

    nginx.wait_down(&mirror, true);
    // The answer is whole; nginx closes the connection when the copy was sent too.
    let client = Client::get(&nginx, "/it");
    wait_until(LIMIT, "the request is served", || page.request_count() == 1);
    assert_eq!(mirror.request_count(), 0);
    mirror.healthy(true);
    assert_eq!(client.answer().0.status, 200);
    wait_until(LIMIT, "the copy is there", || mirror.request_count() == 1);
}

#[test]
fn requests_of_one_connection_wait_one_after_the_other() {
    let (nginx, peer) = all_down("queue 10;");
    let mut client = TcpStream::connect(nginx.address()).expect("nginx listens");

    // Both at once: the second is read when the first was answered.
    let request = "GET /backend/ HTTP/1.1\r\nHost: test\r\n\r\n";
    client.write_all(request.repeat(2).as_bytes()).expect("two requests");
    wait_in_hand(&nginx, 1);
    holds_for(Duration::from_millis(200), "one waits", || in_hand(&nginx) == 1);
    peer.healthy(true);
    wait_until(LIMIT, "both are served", || peer.request_count() == 2);
}
