//! The fast delay with peers that the resolver adds and removes.

use support::{wait_until, Config, Nginx, Script, LIMIT};

use super::{requests_reach, seldom};
use crate::resolve::Service;

/// An upstream of whom the name means, whose peers are probed by the fast delay or not at all, and whose
/// failed requests cost a peer an hour.
fn config(service: &Service, balancer: &str) -> Config {
    let lines = service.server("max_fails=1 fail_timeout=1h");
    let fast = seldom("healthcheck_fast_delay 100;");
    let body = format!("zone backend 256k; {balancer} {fast} {lines}");
    service.config("", 2).upstream("backend", body)
}

#[test]
fn a_resolved_peer_is_decided_fast_and_probed_on_demand() {
    let Some(service) = Service::start(3) else { return };
    for balancer in ["", "least_conn;", "hash $arg_k consistent;", "queue 10;"] {
        service.set(&[1, 2]);
        let nginx = Nginx::start(&config(&service, balancer));
        service.wait_listed(&nginx, &[1, 2]);
        nginx.wait_row(service.peer(2), "is decided", |row| row.concurrent >= 2);

        service.set(&[1, 3]);
        service.wait_listed(&nginx, &[1, 3]);
        let row = nginx.wait_row(service.peer(3), "is decided", |row| row.concurrent >= 2);
        assert!(!row.down, "{balancer} {row:#?}");

        let probes = service.peer(3).probe_count();
        service.peer(3).requests(Script::close());
        requests_reach(&nginx, service.peer(3), 1);
        service.peer(3).requests(Script::ok("served"));
        wait_until(LIMIT, "a probe on demand", || service.peer(3).probe_count() > probes);
    }
}

#[test]
fn peers_that_the_resolver_takes_away_while_their_requests_fail_leave_nothing_behind() {
    let Some(service) = Service::start(3) else { return };
    service.set(&[1, 2]);
    let nginx = Nginx::start(&config(&service, ""));
    service.wait_listed(&nginx, &[1, 2]);
    nginx.wait_row(service.peer(1), "is decided", |row| row.concurrent >= 2);

    let load = nginx.load(2, "backend");
    for round in 0..4 {
        let (goes, comes) = if round % 2 == 0 { (2, 3) } else { (3, 2) };
        let before = service.peer(goes).request_count();
        wait_until(LIMIT, "it is used", || service.peer(goes).request_count() > before);
        service.peer(goes).requests(Script::close());
        let probes = service.peer(goes).probe_count();
        wait_until(LIMIT, "a probe on demand", || service.peer(goes).probe_count() > probes);
        service.set(&[1, comes]);
        service.wait_listed(&nginx, &[1, comes]);
        service.peer(goes).requests(Script::ok("served"));
    }
    let samples = load.stop();
    let failed: Vec<_> = samples.iter().filter(|sample| sample.status != Some(200)).collect();
    // The clients that were there at the same time, in each round.
    assert!(failed.len() <= 2 * 4, "{failed:?}");
    let steady = service.peer(1).to_string();
    assert!(failed.iter().all(|sample| sample.peer != steady), "{failed:?}");
}
