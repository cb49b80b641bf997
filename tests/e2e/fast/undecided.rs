//! A peer is probed at the fast delay until it is decided what it is.

use std::time::Duration;

use support::{holds_for, servers, wait_until, Config, Nginx, Peer, Script, LIMIT};

use super::{assert_no_faster, requests_reach, seldom};

const FAST: &str = "healthcheck_fast_delay 100; healthcheck_failcount fall=3 rise=4;";

/// One peer, decided to be fit, that is not probed any more.
fn fit() -> (Nginx, Peer) {
    let peer = Peer::start();
    let body = format!("{} {}", seldom(FAST), servers([&peer]));
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
    nginx.wait_row(&peer, "is decided", |row| row.concurrent == 4);
    (nginx, peer)
}

/// The peer is probed no more than it was, for longer than a fast delay.
#[track_caller]
fn rests(peer: &Peer, probes: usize) {
    holds_for(Duration::from_millis(400), "it rests", || peer.probe_count() == probes);
}

#[test]
fn a_new_peer_is_probed_fast_until_it_is_decided() {
    let (_nginx, peer) = fit();

    rests(&peer, 4);
    assert_no_faster(&peer, Duration::from_millis(100));
}

#[test]
fn a_new_peer_that_fails_is_down_after_fall_fast_probes() {
    let peer = Peer::start();
    peer.healthy(false);
    let body = format!("{} {}", seldom(FAST), servers([&peer]));
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    nginx.wait_down(&peer, true);
    rests(&peer, 3);
}

#[test]
fn many_new_peers_are_decided_within_seconds_at_any_delay() {
    let peers = Peer::start_many(20);
    let body = format!("zone backend 64k; {} {}", seldom(FAST), servers(&peers));
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    wait_until(LIMIT, "all decided", || nginx.status().peers.iter().all(|row| row.concurrent == 4));
}

#[test]
fn a_failure_after_passes_is_followed_by_fast_probes_until_the_peer_is_down() {
    let (nginx, peer) = fit();

    peer.healthy(false).requests(Script::close());
    requests_reach(&nginx, &peer, 1);
    nginx.wait_down(&peer, true);
    rests(&peer, 4 + 3);
    assert_no_faster(&peer, Duration::from_millis(100));
}

#[test]
fn a_failure_between_passes_is_followed_by_fast_probes_until_the_peer_is_fit() {
    let (nginx, peer) = fit();

    peer.next_probes([Script::status(500, "sick")]).requests(Script::close());
    requests_reach(&nginx, &peer, 1);
    nginx.wait_row(&peer, "is decided", |row| row.concurrent == 4 && row.probes == 4 + 1 + 4);
    rests(&peer, 4 + 1 + 4);
    assert!(nginx.log_lines("is down").is_empty());
}

#[test]
fn a_peer_that_never_decides_itself_is_probed_fast_and_no_faster() {
    let peer = Peer::start();
    let turns = [Script::ok("fine"), Script::status(500, "sick")];
    peer.next_probes(turns.into_iter().cycle().take(400));
    let body = format!("{} {}", seldom(FAST), servers([&peer]));
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    wait_until(LIMIT, "many probes", || peer.probe_count() >= 15);
    assert_no_faster(&peer, Duration::from_millis(100));
    assert!(nginx.log_lines("is down").is_empty());
}

#[test]
fn without_a_fast_delay_every_probe_comes_at_the_delay() {
    let peer = Peer::start();
    let turns = [Script::ok("fine"), Script::status(500, "sick")];
    peer.next_probes(turns.into_iter().cycle().take(400));
    let check = "healthcheck_enabled; healthcheck_delay 300; healthcheck_send 'GET /hc HTTP/1.0';";
    let body = format!("{check} {}", servers([&peer]));
    let _nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    wait_until(LIMIT, "some probes", || peer.probe_count() >= 6);
    assert_no_faster(&peer, Duration::from_millis(300));
}
