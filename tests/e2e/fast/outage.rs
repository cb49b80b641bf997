//! What an outage costs with a fast delay: who fails, and when the peer is back.

use std::time::{Duration, Instant};

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
        peers[1].stop();
        let row = nginx.wait_down(&peers[1], true);
        nginx.tally(20, "backend");
        let failed = |sample: &Sample| sample.status != Some(200);
        let count = load.stop().iter().filter(|sample| failed(sample)).count();
        assert!(count <= WORKERS, "{more}: {count} requests have failed");
        // By the delay alone it takes two of them.
        assert!(row.probes <= 8, "{more}: {row:#?}");
    }
}

#[test]
fn a_peer_that_is_back_serves_after_a_delay_and_fast_probes() {
    for more in ["", "zone backend 64k;"] {
        let (nginx, mut peers) = start(more);

        peers[1].stop();
        let load = nginx.load(1, "backend");
        nginx.wait_down(&peers[1], true);
        peers[1].restart();
        let back = Instant::now();
        let requests = peers[1].request_count();
        support::wait_until(support::LIMIT, "it serves", || peers[1].request_count() > requests);
        // Four probes by the delay take nine seconds at least.
        assert!(back.elapsed() < Duration::from_secs(8), "{more}: {:?}", back.elapsed());
        drop(load);
    }
}
