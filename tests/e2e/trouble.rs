//! Trouble of this machine is no verdict on a peer.

use std::thread::sleep;
use std::time::{Duration, Instant};

use support::{check, holds_for, servers, wait_until, Config, Nginx, Peer, Script, Step, LIMIT};

#[test]
fn too_few_connections_are_no_reason_to_call_a_peer_sick() {
    let peers = Peer::start_many(40);
    // Every probe holds its connection for a while, so that forty of them want more than there are.
    let answer = "HTTP/1.1 200 OK\r\n\r\n";
    for peer in &peers {
        peer.probes(Script::pieces(&["", answer], Duration::from_millis(900)));
    }
    let body = format!("{} {}", check(1000, 5000, 1), servers(&peers));
    let events = "events { worker_connections 24; }";
    let nginx = Nginx::start(&Config::new().main(events).upstream("backend", body));

    wait_until(LIMIT, "trouble", || !nginx.log_lines("healthcheck: no free connection").is_empty());
    wait_until(LIMIT * 2, "every peer is probed in the end", || {
        peers.iter().all(|peer| peer.probe_count() >= 1)
    });
    assert!(nginx.log_lines("is down").is_empty(), "{:#?}", nginx.log_lines("is down"));
    let lines = nginx.log_lines("healthcheck: no free connection");
    assert_eq!(lines.len(), 1, "once a minute at most: {lines:#?}");
    assert!(lines[0].contains("[error]"), "{}", lines[0]);
}

#[test]
fn too_few_descriptors_are_no_reason_to_call_a_peer_sick() {
    let (mut nginx, _peers) = with_too_few_descriptors(Script::silent());
    nginx.allow_in_log("Too many open files");

    wait_until(LIMIT, "trouble", || !nginx.log_lines("healthcheck: no socket").is_empty());
    holds_for(Duration::from_secs(3), "no peer is down", || nginx.log_lines("is down").is_empty());
    let lines = nginx.log_lines("healthcheck: no socket");
    assert_eq!(lines.len(), 1, "once a minute at most: {lines:#?}");
}

#[test]
fn a_lasting_shortage_leaves_no_peer_without_probes() {
    let (mut nginx, peers) = with_too_few_descriptors(Script::ok("fine"));
    nginx.allow_in_log("Too many open files");

    let counts = || peers.iter().map(Peer::probe_count).collect::<Vec<_>>();
    let start = Instant::now();
    while start.elapsed() < LIMIT && counts().contains(&0) {
        sleep(Duration::from_millis(50));
    }
    assert!(!counts().contains(&0), "probes of each peer in {LIMIT:?}: {:?}", counts());
    assert!(nginx.log_lines("is down").is_empty());
}

/// A worker with descriptors for about half of its forty peers, all of them due at once.
fn with_too_few_descriptors(answer: Script) -> (Nginx, Vec<Peer>) {
    let peers = Peer::start_many(40);
    for peer in &peers {
        let steps = [vec![Step::Pause(Duration::from_millis(200))], answer.0.clone()].concat();
        peer.probes(Script(steps));
    }
    let body = format!("{} {}", check(300, 60_000, 1), servers(&peers));
    let limit = "worker_rlimit_nofile 30; events { worker_connections 512; }";

    (Nginx::start(&Config::new().main(limit).upstream("backend", body)), peers)
}
