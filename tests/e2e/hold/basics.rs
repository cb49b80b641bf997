//! Waiting, going on, giving up.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use support::{holds_for, wait_until, LIMIT};

use super::{access, all_down, in_hand, wait_in_hand, Client, IN_TIME};

#[test]
fn a_request_waits_while_all_peers_are_down_and_is_served_when_one_is_up() {
    let (nginx, peer) = all_down("queue 10;");

    let clients = Client::many(&nginx, 3, "/backend/");
    wait_in_hand(&nginx, 3);
    holds_for(Duration::from_millis(300), "all wait", || clients.iter().all(|c| !c.is_done()));
    peer.healthy(true);
    for client in clients {
        let (response, _) = client.answer();
        assert_eq!((response.status, response.peer()), (200, peer.to_string().as_str()));
    }
    assert_eq!(peer.request_count(), 3);
    assert!(nginx.log_lines("[error]").is_empty());

    // What nginx measures is the peer's time, not the waiting.
    let line = access(&nginx, "/backend/ 200");
    let [name, status, connected, served, all] = line.split(' ').skip(2).collect::<Vec<_>>()[..]
    else {
        panic!("{line}")
    };
    assert_eq!((name, status), (format!("[{peer}]").as_str(), "[200]"), "{line}");
    let [connected, served, all] = [connected, served, all]
        .map(|time| time.trim_matches(['[', ']']).parse::<f64>().expect("a time"));
    // The two are measured by different clocks.
    assert!(connected <= served && all - served >= 0.29, "{line}");
    assert_eq!(in_hand(&nginx), 0);
}

#[test]
fn a_request_whose_patience_ends_gets_504() {
    let (nginx, peer) = all_down("queue 10 timeout=500ms;");

    let (response, took) = Client::get(&nginx, "/backend/").answer();
    assert_eq!((response.status, response.peer()), (504, "backend"));
    assert!(took >= Duration::from_millis(480) && took < IN_TIME, "{took:?}");
    let lines = nginx.log_lines("upstream timed out");
    assert!(
        lines.len() == 1
            && lines[0].contains(
                "upstream timed out (110: Connection timed out) while waiting for a live"
            ),
        "{lines:?}"
    );
    access(&nginx, "/backend/ 504 [backend] [504] [-] [");
    assert_eq!((peer.request_count(), in_hand(&nginx)), (0, 0));
}

#[test]
fn a_request_that_finds_the_queue_full_gets_502_at_once() {
    let (nginx, peer) = all_down("queue 2;");

    let clients = Client::many(&nginx, 2, "/backend/");
    wait_in_hand(&nginx, 2);
    let (response, took) = Client::get(&nginx, "/backend/").answer();
    assert_eq!((response.status, response.peer()), (502, "backend"));
    assert!(took < IN_TIME, "{took:?}");
    assert_eq!(nginx.log_lines("no live upstreams").len(), 1);
    peer.healthy(true);
    for client in clients {
        assert_eq!(client.answer().0.status, 200);
    }
}

#[test]
fn a_request_whose_client_is_gone_leaves_the_queue_at_once() {
    let (nginx, peer) = all_down("queue 1;");

    let mut client = TcpStream::connect(nginx.address()).expect("nginx listens");
    client.write_all(b"GET /backend/gone HTTP/1.0\r\n\r\n").expect("a request");
    wait_in_hand(&nginx, 1);
    drop(client);
    wait_until(LIMIT, "the request is gone", || in_hand(&nginx) == 0);
    access(&nginx, "/backend/gone 499 [backend] [-] [-] [");

    // Its place is free.
    let next = Client::get(&nginx, "/backend/");
    wait_in_hand(&nginx, 1);
    peer.healthy(true);
    assert_eq!(next.answer().0.status, 200);
    assert_eq!(peer.request_count(), 1);
}
