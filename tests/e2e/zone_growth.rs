//! The shared memory grows with the configuration and keeps what it knows.

use std::net::SocketAddr;

use support::swarm::Swarm;
use support::{check, process, servers, wait_until, Config, Nginx, Peer, LIMIT};

/// An upstream of so many healthy peers and, in their midst, one of the test's own.
fn body(swarm: &[SocketAddr], peer: &Peer) -> String {
    let line = |address: &SocketAddr| format!("server {address} max_fails=0; ");
    let (left, right) = swarm.split_at(swarm.len() / 2);
    let check = check(1000, 5000, 2);

    format!(
        "{check} {} {} {}",
        left.iter().map(line).collect::<String>(),
        servers([peer]),
        right.iter().map(line).collect::<String>()
    )
}

#[test]
fn health_survives_a_zone_that_grows_and_the_reloads_after_it() {
    let swarm = Swarm::start(600);
    let peer = Peer::start();
    peer.healthy(false);
    let events = "worker_rlimit_nofile 4096; events { worker_connections 2048; }";
    let config = Config::new().workers(2).main(events);
    let of =
        |count: usize| config.clone().upstream("backend", body(&swarm.addresses()[..count], &peer));
    let mut nginx = Nginx::start(&of(2));
    nginx.wait_down(&peer, true);
    nginx.wait_logged("is down", 1);
    let since = nginx.row(&peer).last_change;
    let sizes = |nginx: &Nginx| process::shared_mappings(nginx.pid());
    let small = sizes(&nginx);

    // nginx releases an old zone by that zone's own flag, so what matters is the reload after the
    // one that grew, and the one after that.
    for (step, count) in [2, 150, 150, 150, 600, 600, 600, 10, 10, 300].into_iter().enumerate() {
        nginx.reload(&of(count));
        let page = nginx.status();
        assert_eq!(page.peers.len(), count + 1);
        let row = page.row(&peer);
        assert!(row.down, "reload {step}, to {count}: {row:#?}");
        assert_eq!(row.last_change, since, "reload {step}, to {count}");
        assert_eq!(page.peers.iter().filter(|row| row.down).count(), 1);
        assert_eq!(nginx.tally(40, "backend").at(&peer.to_string()), 0);
        let probes = row.probes;
        nginx.wait_row(&peer, "is probed", |row| row.probes > probes);
    }

    let large = sizes(&nginx);
    assert_eq!(large.len(), small.len(), "{small:?} {large:?}");
    assert!(large.iter().sum::<u64>() > small.iter().sum::<u64>());
    assert!(nginx.log_lines("[error]").is_empty(), "{:#?}", nginx.log_lines("[error]"));
    peer.healthy(true);
    nginx.wait_down(&peer, false);
    assert!(nginx.tally(255, "backend").with_status(200) == 255);
}

#[test]
fn a_worker_that_still_serves_from_the_old_zone_ends_in_peace() {
    let swarm = Swarm::start(300);
    let peer = Peer::start();
    let config = Config::new().workers(1);
    let of =
        |count: usize| config.clone().upstream("backend", body(&swarm.addresses()[..count], &peer));
    let mut nginx = Nginx::start(&of(0));
    nginx.wait_probed();
    let old = nginx.workers();

    peer.hold_requests();
    let load = nginx.load(1, "backend");
    wait_until(LIMIT, "a request is under way", || peer.request_count() == 1);
    for count in [300, 300] {
        nginx.signal_reload(&of(count));
        nginx.await_generation(LIMIT);
    }
    assert!(process::is_alive(old[0]), "it has a request to finish");
    let probes = nginx.row(&peer).probes;
    nginx.wait_row(&peer, "is probed by the new workers", |row| row.probes >= probes + 2);
    peer.release_requests();
    wait_until(LIMIT, "it ends", || !process::is_alive(old[0]));
    let samples = load.stop();
    assert_eq!(samples[0].status, Some(200));
    assert!(nginx.status().peers.iter().all(|row| !row.down && row.failures == 0));
}
