//! What an outage costs with a fast delay: who fails, and when the peer is back.

use std::time::Duration;

use support::load::Sample;
use support::{Config, Nginx, Peer};

const WORKERS: usize = 2;

/// Long enough that probes by the delay alone would be seen.
const CHECK: &str = "healthcheck_enabled; healthcheck_delay 3s; healthcheck_fast_delay 100; \
                     healthcheck_failcount fall=2 rise=4; healthcheck_send 'GET /hc HTTP/1.0';";

/// Three peers that nginx avoids after a failed request, as it does by default.
fn start(more: &str) -> (Nginx, Vec<Peer>) {
    let peers = Peer::start_many(3);
    let lines: String = peers.iter().map(|peer| format!("server {peer}; ")).collect();
    let body = format!("{more} {CHECK} {lines}");
    let nginx = Nginx::start(&Config::new().workers(WORKERS).upstream("backend", body));
    for peer in &peers {
        nginx.wait_row(peer, "is decided", |row| row.concurrent >= 4);
    }
    (nginx, peers)
}

#[test]
fn a_dead_peer_costs_one_request_a_worker_at_most() {
    for more in ["", "zone backend 64k;", "least_conn;"] {
        let (nginx, mut peers) = start(more);

        // One at a time: what is under way when the peer dies is lost in any case.
        let load = nginx.load(1, "backend");
        let before = nginx.row(&peers[1]).probes;
        peers[1].stop();
        let row = nginx.wait_down(&peers[1], true);
        nginx.wait_logged("is down", 1);
        nginx.tally(20, "backend");
        let failed = |sample: &Sample| sample.status != Some(200);
        let count = load.stop().iter().filter(|sample| failed(sample)).count();
        assert!(count <= WORKERS, "{more}: {count} requests have failed");
        // Two that fail; one by the delay may come before, or another one meanwhile.
        assert!(row.probes - before <= 4, "{more}: {before} probes, then {row:#?}");
    }
}

#[test]
fn a_peer_that_is_back_serves_after_a_delay_and_fast_probes() {
    for more in ["", "zone backend 64k;"] {
        let (nginx, mut peers) = start(more);

        peers[1].stop();
        let load = nginx.load(1, "backend");
        nginx.wait_down(&peers[1], true);
        let (requests, probes) = (peers[1].request_count(), peers[1].probe_count());
        peers[1].restart();
        support::wait_until(support::LIMIT, "it serves", || peers[1].request_count() > requests);
        load.stop();
        // Four probes by the delay take nine seconds at least.
        let passed = &peers[1].probe_times()[probes..];
        let took = passed[3] - passed[0];
        assert!(took < Duration::from_secs(3), "{more}: {took:?} for four passes");
    }
}
