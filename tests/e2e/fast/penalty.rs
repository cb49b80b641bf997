//! A peer that nginx avoids for `max_fails` is avoided no longer when its probes have passed since.

use std::collections::BTreeSet;
use std::time::Duration;

use support::{wait_until, Config, Nginx, Peer, Script, LIMIT};

use super::requests_reach;

/// Peers that nginx avoids for longer than the test takes, once a request to them has failed.
fn start(more: &str) -> (Nginx, Vec<Peer>) {
    let peers = Peer::start_many(2);
    let line = |peer: &Peer| format!("server {peer} max_fails=1 fail_timeout=1h; ");
    let lines: String = peers.iter().map(line).collect();
    let check = "healthcheck_enabled; healthcheck_delay 200; healthcheck_timeout 60s; \
                 healthcheck_send 'GET /hc HTTP/1.0';";
    let body = format!("{more} {check} {lines}");
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
    for peer in &peers {
        nginx.wait_row(peer, "is decided", |row| row.concurrent >= 2);
    }
    (nginx, peers)
}

/// Has requests to a peer fail until each worker avoids it.
fn avoid(nginx: &Nginx, peer: &Peer) {
    peer.requests(Script::close());
    requests_reach(nginx, peer, 1);
    // So many that each worker has some: one that does not avoid the peer yet sends half of its own there.
    wait_until(LIMIT, "all workers avoid it", || {
        let before = peer.request_count();
        nginx.tally(60, "backend");
        peer.request_count() == before
    });
    peer.requests(Script::ok("served"));
}

#[test]
fn rise_passes_end_what_a_failed_request_has_begun() {
    for more in [
        "",
        "zone backend 64k;",
        "healthcheck_fast_delay 100;",
        "healthcheck_fast_delay 100; zone backend 64k;",
        "least_conn; queue 10;",
        "queue 10; healthcheck_fast_delay 100;",
    ] {
        let (nginx, peers) = start(more);

        peers[0].hold_probes();
        avoid(&nginx, &peers[0]);
        peers[0].next_probes(std::iter::repeat_n(Script::ok("fine"), 500));
        let (name, mut sending) = (peers[0].to_string(), BTreeSet::new());
        wait_until(LIMIT, "every worker sends requests again", || {
            let load = nginx.load(1, "backend");
            std::thread::sleep(Duration::from_millis(100));
            let samples = load.stop().into_iter().filter(|sample| sample.peer == name);
            sending.extend(samples.map(|sample| sample.worker));
            nginx.workers().iter().all(|worker| sending.contains(worker))
        });
        assert!(nginx.log_lines("is down").is_empty() && nginx.log_lines("is up").is_empty());
        assert!(!nginx.log_lines("temporarily disabled").is_empty());
    }
}

#[test]
fn a_pass_that_had_begun_before_and_fewer_than_rise_end_nothing() {
    for more in ["", "healthcheck_fast_delay 100;"] {
        let (nginx, peers) = start(more);

        peers[0].hold_probes();
        let probes = peers[0].probe_count();
        wait_until(LIMIT, "a probe is in flight", || peers[0].probe_count() > probes);
        avoid(&nginx, &peers[0]);
        let passes = nginx.row(&peers[0]).concurrent;
        peers[0].next_probes([Script::ok("fine"), Script::ok("fine")]);
        nginx.wait_row(&peers[0], "has passed", |row| row.concurrent == passes + 2);
        let before = peers[0].request_count();
        // Longer than a look around.
        support::holds_for(Duration::from_millis(1500), "avoided", || {
            nginx.tally(4, "backend");
            peers[0].request_count() == before
        });
        peers[0].next_probes(std::iter::repeat_n(Script::ok("fine"), 500));
        requests_reach(&nginx, &peers[0], 1);
    }
}

#[test]
fn a_peer_that_fails_every_request_is_avoided_between_its_probes() {
    let (nginx, peers) = start("healthcheck_fast_delay 100;");

    peers[0].requests(Script::close());
    let load = nginx.load(2, "backend");
    wait_until(LIMIT, "it is tried again and again", || peers[0].request_count() >= 8);
    let samples = load.stop();
    let failed = samples.iter().filter(|sample| sample.status != Some(200)).count();
    assert!(failed * 5 < samples.len(), "{failed} of {} have failed", samples.len());
}
