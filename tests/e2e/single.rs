//! `master_process off`: one process does all.

use std::time::Duration;

use support::{check, holds_for, process, servers, wait_until, Config, Nginx, Peer, LIMIT};

fn single(zone: &str, peers: &[Peer]) -> Config {
    let body = format!("{zone} {} {}", check(200, 2000, 2), servers(peers));
    Config::new().single_process().upstream("backend", body)
}

#[test]
fn a_single_process_probes_flips_and_quits() {
    for zone in ["", "zone backend 64k;"] {
        let peers = Peer::start_many(2);
        let mut nginx = Nginx::start(&single(zone, &peers));

        nginx.wait_probed();
        for peer in &peers {
            assert_eq!(nginx.row(peer).owner_pid, nginx.pid());
        }
        peers[1].healthy(false);
        nginx.wait_down(&peers[1], true);
        assert_eq!(nginx.tally(40, "backend").at(&peers[1].to_string()), 0);
        peers[1].healthy(true);
        nginx.wait_down(&peers[1], false);
        assert!(nginx.tally(40, "backend").at(&peers[1].to_string()) > 0);
        nginx.quit_within(LIMIT);
    }
}

#[test]
fn a_single_process_survives_reloads() {
    // nginx itself does not serve after a reload without a master: it makes a new cycle and gives
    // it no connections. What is claimed is that nothing of the old cycle is used wrongly.
    let peers = Peer::start_many(2);
    let config = single("zone backend 64k;", &peers);
    let mut nginx = Nginx::start(&config);
    nginx.allow_in_log("worker_connections are not enough");
    nginx.wait_probed();

    for round in 1..=5 {
        nginx.signal_reload(&config);
        wait_until(LIMIT, "a reload", || {
            nginx.log_lines("] reconfiguring").len() >= round
                || nginx.log_lines(": reconfiguring").len() >= round
        });
        // Long enough for every timer of the old and of the new cycle to fire.
        holds_for(Duration::from_millis(600), "it lives", || process::is_alive(nginx.pid()));
    }
    let before = process::cpu_ticks(nginx.pid());
    holds_for(Duration::from_secs(1), "it lives", || process::is_alive(nginx.pid()));
    let used = process::cpu_ticks(nginx.pid()) - before;
    assert!(used < 50, "{used} of 100 ticks");
    nginx.quit_within(LIMIT);
}
