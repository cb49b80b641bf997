//! Every balancer of nginx keeps requests from a sick peer, with `proxy_next_upstream off` and
//! `max_fails=0`, so that nothing of nginx's own helps.

use std::time::Instant;

use support::{check, wait_until, Config, Nginx, Peer, LIMIT};

/// A balancer's line, and what its `server` lines may say beyond the address.
struct Balancer {
    line: &'static str,
    weights: bool,
}

const KEEPALIVE: &str = "proxy_http_version 1.1; proxy_set_header Connection '';";

/// One upstream of each kind over the same three peers: plain, weighted, with kept connections,
/// and each of them with a zone.
fn variants(balancer: &Balancer, peers: &[Peer]) -> Vec<(String, String)> {
    let check = check(300, 3000, 2);
    let mut variants = Vec::new();

    for zone in [false, true] {
        for (kind, weights, keepalive) in
            [("plain", false, ""), ("weighted", true, ""), ("kept", false, "keepalive 8;")]
        {
            if weights && !balancer.weights {
                continue;
            }
            let name = format!("{kind}{}", if zone { "_zone" } else { "" });
            let zone = if zone { format!("zone {name} 64k;") } else { String::new() };
            let weight = |index: usize| if weights { index + 1 } else { 1 };
            let lines: String = peers
                .iter()
                .enumerate()
                .map(|(index, peer)| {
                    format!("server {peer} max_fails=0 weight={}; ", weight(index))
                })
                .collect();
            variants.push((name, format!("{zone} {} {lines} {keepalive} {check}", balancer.line)));
        }
    }
    variants
}

/// Sickness takes a peer out of each of the variants, in every worker; recovery brings it back.
fn obeys(balancer: &Balancer) {
    let peers = Peer::start_many(3);
    let variants = variants(balancer, &peers);
    let config = Config::new().workers(3).server(KEEPALIVE);
    let config =
        variants.iter().fold(config, |config, (name, body)| config.upstream(name, body.clone()));
    let nginx = Nginx::start(&config);
    let sick = &peers[1];
    let all = |down: bool| {
        wait_until(LIMIT, if down { "down everywhere" } else { "up everywhere" }, || {
            let page = nginx.status();
            page.peers.iter().filter(|row| row.name == sick.to_string()).all(|row| row.down == down)
        });
    };
    let at_sick = |name: &str| {
        let tally = nginx.tally(120, name);
        assert_eq!(tally.with_status(200), 120, "{name}: {tally:?}");
        assert_eq!(tally.workers.len(), 3, "{name}: {tally:?}");
        tally.at(&sick.to_string())
    };

    nginx.wait_probed();
    for (name, _) in &variants {
        assert!(at_sick(name) > 0, "{name}: a healthy peer gets its share");
    }
    for round in 1..=2 {
        sick.healthy(false);
        all(true);
        // The page may be ahead of what the other workers are told.
        nginx.wait_logged("is down", round * variants.len());
        for (name, _) in &variants {
            assert_eq!(at_sick(name), 0, "{name}");
        }
        sick.healthy(true);
        all(false);
        nginx.wait_logged("is up", round * variants.len());
        for (name, _) in &variants {
            assert!(at_sick(name) > 0, "{name}: a recovered peer gets its share");
        }
    }
}

#[test]
fn check_02_round_robin_obeys() {
    obeys(&Balancer { line: "", weights: true });
}

#[test]
fn check_02_least_conn_obeys() {
    obeys(&Balancer { line: "least_conn;", weights: true });
}

#[test]
fn check_02_hash_obeys() {
    obeys(&Balancer { line: "hash $arg_k;", weights: true });
}

#[test]
fn check_02_consistent_hash_obeys() {
    obeys(&Balancer { line: "hash $arg_k consistent;", weights: true });
}

#[test]
fn check_02_ip_hash_obeys() {
    obeys(&Balancer { line: "ip_hash;", weights: true });
}

#[test]
fn check_02_random_obeys() {
    obeys(&Balancer { line: "random;", weights: true });
}

#[test]
fn check_02_random_two_obeys() {
    obeys(&Balancer { line: "random two least_conn;", weights: true });
}

/// Requests run all the time; those that start after the page said "down" miss the peer.
fn nothing_after_the_flip(zone: &str) {
    let peers = Peer::start_many(3);
    let body = format!("{zone} {} {}", check(200, 3000, 2), support::servers(&peers));
    let nginx = Nginx::start(&Config::new().workers(4).upstream("backend", body));
    let sick = peers[0].to_string();
    let mut down = Vec::new();
    let more = |peers: &[Peer], count: usize| {
        let requests = || peers.iter().map(Peer::request_count).sum::<usize>();
        let before = requests();
        wait_until(LIMIT, "requests", || requests() >= before + count);
    };

    nginx.wait_probed();
    let load = nginx.load(4, "backend");
    for round in 1..=4 {
        more(&peers[..1], 1);
        peers[0].healthy(false);
        nginx.wait_down(&sick, true);
        nginx.wait_logged("is down", round);
        let from = Instant::now();
        nginx.wait_row(&sick, "stays down", |row| row.concurrent >= 4);
        // Besides those that were on their way.
        more(&peers[1..], 30);
        down.push((from, Instant::now()));
        peers[0].healthy(true);
        nginx.wait_down(&sick, false);
    }
    let samples = load.stop();

    assert!(samples.iter().all(|sample| sample.status == Some(200)));
    assert!(samples.iter().any(|sample| sample.peer == sick), "it is used while it is up");
    for (from, to) in down {
        let during: Vec<_> =
            samples.iter().filter(|sample| sample.started > from && sample.started < to).collect();
        assert!(during.len() > 20, "{} requests", during.len());
        let late = during.iter().filter(|sample| sample.peer == sick).count();
        assert_eq!(late, 0, "of {} requests", during.len());
    }
}

#[test]
fn no_request_that_starts_after_a_flip_reaches_the_peer() {
    nothing_after_the_flip("");
}

#[test]
fn no_request_that_starts_after_a_flip_reaches_the_peer_with_a_zone() {
    nothing_after_the_flip("zone backend 64k;");
}

#[test]
fn thirty_sick_peers_leave_the_last_one_serving_with_every_balancer() {
    // Hashes and random give up after twenty tries and ask round robin.
    let peers = Peer::start_many(31);
    for peer in &peers[1..] {
        peer.healthy(false);
    }
    let lines = ["", "least_conn;", "hash $arg_k;", "hash $arg_k consistent;", "ip_hash;"];
    let lines = lines.into_iter().chain(["random;", "random two;"]);
    let config = lines.enumerate().fold(Config::new().workers(2), |config, (number, line)| {
        let zone = if number % 2 == 0 { format!("zone u{number} 128k;") } else { String::new() };
        let body = format!("{zone} {line} {} {}", check(1000, 5000, 1), support::servers(&peers));
        config.upstream(&format!("u{number}"), body)
    });
    let nginx = Nginx::start(&config);
    let well = peers[0].to_string();

    wait_until(LIMIT, "the sick ones are down", || {
        nginx.status().peers.iter().all(|row| row.down != (row.name == well))
    });
    nginx.wait_logged("is down", 7 * 30);
    for number in 0..7 {
        let tally = nginx.tally(60, &format!("u{number}"));
        assert_eq!(tally.at(&well), 60, "u{number}: {tally:?}");
    }
}
