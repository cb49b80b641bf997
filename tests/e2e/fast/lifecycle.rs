//! The fast delay through reloads, and when workers are killed.

use std::time::Duration;

use support::{holds_for, process, servers, wait_until, Config, Nginx, Peer, Script, LIMIT};

use super::{assert_no_faster, requests_reach, seldom};

fn body(more: &str, peers: &[Peer]) -> String {
    format!("{} {}", seldom(more), servers(peers))
}

#[test]
fn a_reload_brings_the_fast_delay_and_takes_it_away() {
    for zone in ["", "zone backend 64k;"] {
        let peers = Peer::start_many(2);
        let plain = Config::new().workers(2).upstream("backend", body(zone, &peers));
        let more = format!("{zone} healthcheck_fast_delay 100;");
        let fast = plain.clone().upstream("backend", body(&more, &peers));
        let mut nginx = Nginx::start(&plain);
        nginx.wait_probed();

        // Undecided so far, and not probed for minutes.
        nginx.reload(&fast);
        for peer in &peers {
            nginx.wait_row(peer, "is decided", |row| row.concurrent >= 2);
        }
        let probes = peers[0].probe_count();
        peers[0].requests(Script::close());
        requests_reach(&nginx, &peers[0], 1);
        wait_until(LIMIT, "a probe on demand", || peers[0].probe_count() > probes);
        // One in flight would begin anew.
        nginx.wait_row(&peers[0], "has passed again", |row| row.concurrent >= 3);

        nginx.reload(&plain);
        peers[0].settle();
        let probes = peers[0].probe_count();
        requests_reach(&nginx, &peers[0], 10);
        holds_for(Duration::from_millis(500), "no probe", || peers[0].probe_count() == probes);
    }
}

#[test]
fn reloads_one_after_the_other_do_not_make_probes_faster() {
    let peers = Peer::start_many(2);
    let more = "healthcheck_fast_delay 200;";
    let config = Config::new().workers(2).upstream("backend", body(more, &peers));
    let mut nginx = Nginx::start(&config);
    peers[0].requests(Script::close());
    let load = nginx.load(2, "backend");

    for _ in 0..5 {
        nginx.reload(&config);
    }
    let row = nginx.wait_row(&peers[0], "is probed on demand", |row| row.probes >= 3);
    load.stop();
    assert_no_faster(&peers[0], Duration::from_millis(200));
    assert!(!row.down, "{row:#?}");
}

#[test]
fn a_peer_whose_worker_was_killed_is_probed_on_demand_by_another() {
    let peers = Peer::start_many(2);
    let more = "healthcheck_fast_delay 100;";
    let config = Config::new().workers(2).upstream("backend", body(more, &peers));
    let mut nginx = Nginx::start(&config);
    let row = nginx.wait_row(&peers[0], "is decided", |row| row.concurrent >= 2);

    peers[0].requests(Script::close());
    nginx.kill9(row.owner_pid);
    wait_until(LIMIT, "the worker is dead", || !process::is_alive(row.owner_pid));
    let probes = peers[0].probe_count();
    requests_reach(&nginx, &peers[0], 1);
    wait_until(LIMIT, "a probe on demand", || peers[0].probe_count() > probes);
    assert_no_faster(&peers[0], Duration::from_millis(100));
}

#[test]
fn the_only_process_probes_on_demand_too() {
    let peers = Peer::start_many(2);
    let more = "healthcheck_fast_delay 100;";
    let config = Config::new().single_process().upstream("backend", body(more, &peers));
    let nginx = Nginx::start(&config);
    nginx.wait_row(&peers[0], "is decided", |row| row.concurrent >= 2);

    peers[0].requests(Script::close());
    requests_reach(&nginx, &peers[0], 1);
    wait_until(LIMIT, "a probe on demand", || peers[0].probe_count() == 3);
}
