//! Peers that a balancer finds while nginx runs.

use std::time::Duration;

use support::{servers, wait_until, Nginx, Peer, CHECK, LIMIT};

use super::{asked_of, hashed};

/// Registers a peer, and returns what that returned.
#[track_caller]
fn register(nginx: &Nginx, upstream: &str, peer: &Peer) -> i64 {
    let response = nginx.get(&format!("/register?upstream={upstream}&address={peer}"));
    assert_eq!(response.status, 200, "{response}");
    response.text().parse().expect("a number")
}

#[track_caller]
fn is_down(nginx: &Nginx, index: i64) -> bool {
    nginx.get(&format!("/is_down?index={index}")).text() == "1"
}

fn forget(nginx: &Nginx, index: i64) {
    assert_eq!(nginx.get(&format!("/forget?index={index}")).text(), "0");
}

#[test]
fn a_peer_that_is_found_is_probed_until_it_is_forgotten() {
    let (peers, found) = (Peer::start_many(2), Peer::start());
    let nginx = Nginx::start(&hashed(&peers, CHECK));
    let index = register(&nginx, "backend", &found);
    assert!(index > 0 && !is_down(&nginx, index));

    wait_until(LIMIT, "it is probed", || found.probe_count() >= 2);
    found.healthy(false);
    wait_until(LIMIT, "it is down", || is_down(&nginx, index));
    let row = nginx.row(&found);
    assert_eq!((row.down, row.line, row.server), (true, None, found.to_string()));

    forget(&nginx, index);
    assert!(!is_down(&nginx, index), "a forgotten peer is not down");
    wait_until(LIMIT, "it is off the page", || nginx.status().peers.len() == 2);
    // Its worker looks once a second whom it has to probe.
    wait_until(LIMIT, "others are probed and it is not", || {
        let (count, before) = (found.probe_count(), peers[0].probe_count());
        wait_until(LIMIT, "others are probed", || peers[0].probe_count() >= before + 5);
        found.probe_count() == count
    });
    assert!(nginx.log_lines("[crit]").is_empty());
}

#[test]
fn each_registration_wants_one_forgetting() {
    let (peers, found) = (Peer::start_many(2), Peer::start());
    let nginx = Nginx::start(&hashed(&peers, CHECK));
    let index = register(&nginx, "backend", &found);
    assert_eq!(register(&nginx, "backend", &found), index);
    found.healthy(false);
    wait_until(LIMIT, "it is down", || is_down(&nginx, index));
    forget(&nginx, index);
    assert!(is_down(&nginx, index));
    forget(&nginx, index);
    assert!(!is_down(&nginx, index));

    // Its health was kept, its index was not.
    let again = register(&nginx, "backend", &found);
    assert_ne!(again, index);
    assert!(!is_down(&nginx, index));
}

#[test]
fn a_configured_peer_stays_whoever_forgets_it() {
    let peers = Peer::start_many(2);
    let nginx = Nginx::start(&hashed(&peers, CHECK));
    let index = asked_of(&nginx, &peers[0]).index;
    assert_eq!(register(&nginx, "backend", &peers[0]), index);
    for _ in 0..3 {
        forget(&nginx, index);
    }
    peers[0].healthy(false);
    wait_until(LIMIT, "it is down", || is_down(&nginx, index));
    assert_eq!(nginx.status().peers.len(), 2);
}

#[test]
fn every_worker_registers_and_one_probes() {
    let (peers, found) = (Peer::start_many(1), Peer::start());
    let nginx = Nginx::start(&hashed(&peers, CHECK).workers(3));
    let path = format!("/register?upstream=backend&address={found}&then=");
    let tally = support::Tally::of(60, nginx.address(), &path);
    assert_eq!(tally.with_status(200), 60);
    wait_until(LIMIT, "it is probed", || found.probe_count() > 15);
    let times = found.probe_times();
    let took = times[15] - times[0];
    // Three seconds, less what the first one was late; with three that probe, it would be one.
    assert!(took >= Duration::from_millis(1_800), "fifteen delays: {took:?}");
}

#[test]
fn an_upstream_that_did_not_register_itself_cannot_register_peers() {
    let (peers, found) = (Peer::start_many(2), Peer::start());
    let config = hashed(&peers, "")
        .upstream("plain", format!("least_conn; {} {CHECK}", servers(&peers)))
        .upstream("bare", servers(&peers));
    let nginx = Nginx::start(&config);

    assert_eq!(register(&nginx, "plain", &found), -1);
    assert_eq!(register(&nginx, "bare", &found), 0);
    assert_eq!(register(&nginx, "backend", &found), 0, "it has none of our directives");
    assert_eq!(found.probe_count(), 0);
}

#[test]
fn many_peers_come_and_go() {
    let peers = Peer::start_many(2);
    let nginx = Nginx::start(&hashed(&peers, CHECK));
    let (mut last, mut all) = (Vec::new(), std::collections::BTreeSet::new());

    // More than the shared memory has room for at a time.
    for round in 0..3 {
        for at in 0..50 {
            let path =
                format!("/register?upstream=backend&address=127.0.{}.{}:1", round + 1, at + 1);
            let index: i64 = nginx.get(&path).text().parse().expect("a number");
            assert!(index > 0 && all.insert(index), "{index}");
            last.push(index);
        }
        for index in last.drain(..) {
            forget(&nginx, index);
        }
    }
    wait_until(LIMIT, "all are gone", || nginx.status().peers.len() == 2);
    assert!(all.iter().all(|index| !is_down(&nginx, *index)));
    assert!(nginx.log_lines("[crit]").is_empty());
}
