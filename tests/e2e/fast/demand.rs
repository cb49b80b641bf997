//! A failed request has its peer probed, once in a fast delay.

use std::time::Duration;

use support::balancer::rendezvous;
use support::{holds_for, servers, wait_until, Config, Nginx, Peer, Script, Step, LIMIT};

use super::{assert_no_faster, assert_one_at_a_time, requests_reach, seldom};

const FAST: &str = "healthcheck_fast_delay 100;";

/// Starts nginx, and waits until it is decided that every peer is fit.
fn start(config: &Config, peers: &[Peer]) -> Nginx {
    let nginx = Nginx::start(config);
    for peer in peers {
        nginx.wait_row(peer, "is decided", |row| row.concurrent >= 2);
    }
    nginx
}

/// A request to a peer fails, and the peer is probed, which it would else not be.
#[track_caller]
fn a_failure_causes_a_probe(config: &Config, peers: &[Peer]) {
    let nginx = start(config, peers);
    let probes = peers[0].probe_count();

    peers[0].requests(Script::close());
    requests_reach(&nginx, &peers[0], 1);
    wait_until(LIMIT, "a probe on demand", || peers[0].probe_count() > probes);
    peers[0].requests(Script::ok("served"));
    assert!(nginx.log_lines("is down").is_empty(), "the probe has passed");
    for peer in &peers[1..] {
        assert_eq!(peer.probe_count(), 2, "nothing has failed there");
    }
}

#[test]
fn a_failed_request_has_its_peer_probed_whatever_picks_the_peer() {
    for balancer in [
        "",
        "zone backend 64k;",
        "least_conn;",
        "zone backend 64k; least_conn;",
        "hash $arg_k;",
        "hash $arg_k consistent;",
        "random;",
        "random two;",
        "zone backend 64k; random two least_conn;",
        "keepalive 4;",
        "queue 10;",
        "queue 10; zone backend 64k; keepalive 4;",
    ] {
        let peers = Peer::start_many(2);
        let body = format!("{balancer} {} {}", seldom(FAST), servers(&peers));
        a_failure_causes_a_probe(&Config::new().workers(2).upstream("backend", body), &peers);
    }
}

#[test]
fn a_failed_request_on_a_kept_connection_has_its_peer_probed() {
    let kept = "proxy_http_version 1.1; proxy_set_header Connection '';";
    let peers = Peer::start_many(2);
    let body = format!("{} {} keepalive 4;", seldom(FAST), servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body).server(kept);
    let nginx = start(&config, &peers);

    assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
    peers[0].requests(Script::close());
    requests_reach(&nginx, &peers[0], 1);
    wait_until(LIMIT, "a probe on demand", || peers[0].probe_count() == 3);
}

#[test]
fn the_only_peer_and_a_backup_are_probed_on_demand_too() {
    let only = [Peer::start()];
    let body = format!("{} {}", seldom(FAST), servers(&only));
    a_failure_causes_a_probe(&Config::new().upstream("backend", body), &only);

    let peers = Peer::start_many(2);
    let body = format!("{} server {} backup; server {} down;", seldom(FAST), peers[0], peers[1]);
    a_failure_causes_a_probe(&Config::new().upstream("backend", body), &peers[..1]);
    assert_eq!(peers[1].probe_count(), 0);
}

#[test]
fn the_peer_of_a_balancer_that_asks_is_probed_on_demand_too() {
    let Some(balancer) = rendezvous() else { return };
    let peers = Peer::start_many(2);
    for queue in ["", "queue 10;"] {
        let lines: String = peers.iter().map(|peer| format!("server {peer}; ")).collect();
        let body = format!("rendezvous $arg_k; {queue} {} {lines}", seldom(FAST));
        let config = Config::new().workers(2).load_after(&balancer).upstream("backend", body);
        let nginx = start(&config, &[]);
        for peer in &peers {
            nginx.wait_row(peer, "is decided", |row| row.concurrent >= 2);
        }
        let probes = peers[0].probe_count();
        peers[0].requests(Script::close());
        requests_reach(&nginx, &peers[0], 1);
        wait_until(LIMIT, "a probe on demand", || peers[0].probe_count() > probes);
        peers[0].requests(Script::ok("served"));
    }
}

#[test]
fn without_a_fast_delay_a_failed_request_causes_no_probe() {
    for queue in ["", "queue 10;"] {
        let peer = Peer::start();
        let body = format!("{queue} {} {}", seldom(""), servers([&peer]));
        let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
        nginx.wait_probed();

        peer.requests(Script::close());
        requests_reach(&nginx, &peer, 20);
        holds_for(Duration::from_millis(700), "no probe", || peer.probe_count() == 1);
    }
}

#[test]
fn an_answer_that_nginx_passes_on_is_no_failure() {
    let peer = Peer::start();
    let body = format!("{} {}", seldom(FAST), servers([&peer]));
    let nginx = start(&Config::new().upstream("backend", body), std::slice::from_ref(&peer));

    peer.requests(Script::status(500, "broken"));
    requests_reach(&nginx, &peer, 20);
    holds_for(Duration::from_millis(400), "no probe", || peer.probe_count() == 2);
}

#[test]
fn any_number_of_failed_requests_in_any_worker_cause_one_probe_in_a_fast_delay() {
    for more in ["", "zone backend 64k;", "queue 10;"] {
        let peers = Peer::start_many(2);
        let body = format!("{more} {} {}", seldom(FAST), servers(&peers));
        let nginx = start(&Config::new().workers(4).upstream("backend", body), &peers);

        peers[0].requests(Script::close());
        let load = nginx.load(4, "backend");
        wait_until(LIMIT, "many probes on demand", || peers[0].probe_count() >= 14);
        load.stop();
        assert_no_faster(&peers[0], Duration::from_millis(100));
        assert_one_at_a_time(&peers[0]);
        assert_eq!(peers[1].probe_count(), 2);
    }
}

#[test]
fn a_slow_peer_that_fails_requests_has_one_probe_at_a_time() {
    let slow = Script(vec![Step::Pause(Duration::from_millis(150))]);
    let Script(answer) = Script::ok("fine");
    let slow = answer.into_iter().fold(slow, Script::then);
    let peers = Peer::start_many(2);
    let more = "healthcheck_fast_delay 50;";
    let body = format!("{} {}", seldom(more), servers(&peers));
    peers[0].probes(slow.then(Step::Close));
    let nginx = start(&Config::new().workers(4).upstream("backend", body), &peers);

    peers[0].requests(Script::close());
    let load = nginx.load(4, "backend");
    wait_until(LIMIT, "probes on demand", || peers[0].probe_count() >= 10);
    load.stop();
    assert_one_at_a_time(&peers[0]);
}

#[test]
fn the_worker_that_took_a_peer_gives_it_back_to_its_home() {
    let peers = Peer::start_many(4);
    let check = "healthcheck_enabled; healthcheck_delay 400; healthcheck_fast_delay 100; \
                 healthcheck_send 'GET /hc HTTP/1.0';";
    let body = format!("{check} {}", servers(&peers));
    let nginx = start(&Config::new().workers(2).upstream("backend", body), &peers);
    let owners =
        |nginx: &Nginx| nginx.status().peers.iter().map(|row| row.owner_pid).collect::<Vec<_>>();
    let is_fair = |owners: &[u32]| {
        let first = owners.iter().filter(|owner| **owner == owners[0]).count();
        first == 2
    };
    wait_until(LIMIT, "each worker has two peers", || is_fair(&owners(&nginx)));
    let homes = owners(&nginx);

    for peer in &peers {
        peer.requests(Script::close());
    }
    let load = nginx.load(2, "backend");
    let moved = |nginx: &Nginx| owners(nginx) != homes;
    wait_until(LIMIT, "a worker takes another one's peer", || moved(&nginx));
    load.stop();
    wait_until(LIMIT, "it is given back", || !moved(&nginx));
    for peer in &peers {
        assert_no_faster(peer, Duration::from_millis(100));
        assert_one_at_a_time(peer);
    }
}
