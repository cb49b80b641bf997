//! What goes wrong while a request waits, and after.

use std::fs;
use std::time::{Duration, Instant};

use support::{check, servers, wait_until, Nginx, Peer, Script, LIMIT};

use super::{access, config, held, wait_for_passive_checks, wait_in_hand, Client};

#[test]
fn a_request_waits_once_whatever_nginx_may_retry() {
    let peers = Peer::start_many(2);
    for peer in &peers {
        peer.healthy(false);
    }
    let location = "location /it { proxy_pass http://backend;
                        proxy_next_upstream error timeout http_504; error_page 504 = @other; }
                    location @other { return 203 other; }
                    location /plain { proxy_pass http://backend; \
                        proxy_next_upstream error timeout http_504; }";
    let config = config("queue 10 timeout=500ms;", &servers(&peers)).server(location);
    let nginx = Nginx::start(&config);

    wait_until(LIMIT, "all down", || nginx.status().peers.iter().all(|row| row.down));
    for (path, status) in [("/plain", 504), ("/it", 203)] {
        let (response, took) = Client::get(&nginx, path).answer();
        assert_eq!(response.status, status, "{response}");
        assert!(took >= Duration::from_millis(480), "{took:?}");
    }
    access(&nginx, "/plain 504 [backend] [504] [-] [");
    assert_eq!(nginx.log_lines("upstream timed out").len(), 2, "each waited once");
}

#[test]
fn after_the_wait_a_peer_that_fails_is_followed_by_the_next() {
    for extra in ["", "zone backend 64k;", "keepalive 4;"] {
        // nginx's passive checks take both out, and let in the first no later than the second.
        let mut peers = Peer::start_many(2);
        peers[0].requests(Script::reset());
        let lines =
            format!("server {} fail_timeout=2s; server {} fail_timeout=2s;", peers[0], peers[1]);
        let again = "location /it { proxy_pass http://backend; proxy_next_upstream error; \
                     proxy_http_version 1.1; proxy_set_header Connection ''; }";
        let config = config("", "").upstream("backend", format!("{extra} queue 10; {lines}"));
        let (nginx, clients) = wait_for_passive_checks(&config.server(again), &mut peers, 2);

        for client in clients {
            assert_eq!(client.answer().0.status, 200, "{extra}");
        }
        // One of the two was sent to the peer that fails first.
        let [bad, good] = [&peers[0], &peers[1]];
        access(&nginx, &format!("/it 200 [{bad}, {good}] [502, 200]"));
    }
}

#[test]
fn a_request_that_has_waited_and_failed_everywhere_is_not_put_back_for_ever() {
    let peers = Peer::start_many(2);
    for peer in &peers {
        peer.healthy(false);
        peer.requests(Script::reset());
    }
    let again = "location /it { proxy_pass http://backend; proxy_next_upstream error; }";
    let nginx = Nginx::start(&config("queue 10;", &servers(&peers)).server(again));

    wait_until(LIMIT, "all down", || nginx.status().peers.iter().all(|row| row.down));
    let client = Client::get(&nginx, "/it");
    wait_in_hand(&nginx, 1);
    for peer in &peers {
        peer.healthy(true);
    }
    assert_eq!(client.answer().0.status, 502);
    let attempts: usize = peers.iter().map(Peer::request_count).sum();
    assert!((1..=2).contains(&attempts), "{attempts} attempts");
}

#[test]
fn tries_are_limited_as_if_there_had_been_no_wait() {
    let peers = Peer::start_many(3);
    for peer in &peers {
        peer.healthy(false);
        peer.requests(Script::reset());
    }
    let again = "location /it { proxy_pass http://backend; proxy_next_upstream error; \
                 proxy_next_upstream_tries 2; }";
    let nginx = Nginx::start(&config("queue 10;", &servers(&peers)).server(again));

    wait_until(LIMIT, "all down", || nginx.status().peers.iter().all(|row| row.down));
    let client = Client::get(&nginx, "/it");
    wait_in_hand(&nginx, 1);
    for peer in &peers {
        peer.healthy(true);
    }
    assert_eq!(client.answer().0.status, 502);
    let attempts: usize = peers.iter().map(Peer::request_count).sum();
    assert!(attempts <= 2, "{attempts} attempts");
}

#[test]
fn a_peer_that_is_up_and_cannot_be_connected_to_is_waited_for() {
    // The probe's connection was made before the socket went away; the next one is long in coming.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (path, aside) = (dir.path().join("peer.sock"), dir.path().join("aside.sock"));
    let peer = Peer::unix(&path);
    peer.hold_probes().next_probes([Script::status(500, "sick")]);
    let body = format!("queue 10; {} {}", check(5_000, 60_000, 1), servers([&peer]));
    let mut nginx = Nginx::start(&config("", "").upstream("backend", body));
    nginx.allow_in_log("connect() to unix:");

    nginx.wait_down(&peer, true);
    let clients = Client::many(&nginx, 3, "/backend/");
    wait_in_hand(&nginx, 3);
    wait_until(LIMIT, "a probe is on its way", || peer.probe_count() == 2);
    fs::rename(&path, &aside).expect("the socket's file");
    let start = Instant::now();
    peer.next_probes([Script::ok("fine")]);
    wait_until(LIMIT, "attempts", || nginx.log_lines("connect() to unix:").len() >= 2);
    assert!(clients.iter().all(|client| !client.is_done()));
    // Each is a line in the log, so they are few: five a second.
    let attempts = nginx.log_lines("connect() to unix:").len();
    let time = start.elapsed();
    assert!(attempts as u128 <= 2 + time.as_millis() / 200, "{attempts} attempts in {time:?}");
    peer.next_probes((0..100).map(|_| Script::ok("fine")));
    fs::rename(&aside, &path).expect("the socket's file");
    for client in clients {
        assert_eq!(client.answer().0.status, 200);
    }
}

#[test]
fn a_peer_is_reached_from_the_address_that_nginx_is_told_to_bind() {
    let (peer, port) = (Peer::start(), support::Port::reserve());
    peer.healthy(false);
    let location = "location /it { proxy_pass http://backend; proxy_bind 127.0.0.7; \
                    proxy_socket_keepalive on; }";
    let http = format!(
        "server {{ listen {port}; location = /hc {{ proxy_pass http://{peer}; }}
                   location / {{ return 200 $remote_addr; }} }}"
    );
    let config = config("queue 10;", &format!("server {port} max_fails=0;")).http(&http);
    let nginx = Nginx::start(&config.server(location));

    nginx.wait_down(&port, true);
    let client = Client::get(&nginx, "/it");
    wait_until(LIMIT, "it waits", || held(&nginx) == 1);
    support::holds_for(Duration::from_millis(200), "it waits", || !client.is_done());
    peer.healthy(true);
    assert_eq!(client.answer().0.text(), "127.0.0.7");
}
