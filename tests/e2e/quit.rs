//! nginx ends at once, whatever its probes wait for.

use std::time::Duration;

use support::{check, servers, wait_until, Config, Nginx, Peer, Script, LIMIT};

/// What a probe may take, and what lies between two of them, in milliseconds: longer than any limit here,
/// so that an nginx that has ended has waited for neither, however slow the machine is.
const LONG: u32 = 600_000;

/// nginx whose every probe hangs, some of them before and some after a part of the answer.
fn hung(config: &Config) -> (Nginx, Vec<Peer>) {
    let peers = Peer::start_many(6);
    for (index, peer) in peers.iter().enumerate() {
        peer.probes(match index % 3 {
            0 => Script::silent(),
            1 => Script::send_and_hang("HTTP/1.1 200 OK\r\nX-"),
            _ => Script::endless("HTTP/1.1 200 OK\r\n", "X: y\r\n", Duration::from_millis(500)),
        });
    }
    let check = format!("{} healthcheck_buffer 64k;", check(200, LONG, 2));
    let nginx = Nginx::start(
        &config
            .clone()
            .upstream("backend", format!("zone backend 64k; {check} {}", servers(&peers))),
    );
    wait_until(LIMIT, "all probes hang", || peers.iter().all(|peer| peer.probe_count() > 0));
    (nginx, peers)
}

#[test]
fn a_graceful_quit_waits_for_no_probe() {
    let (mut nginx, _peers) = hung(&Config::new().workers(3));

    nginx.quit_within(LIMIT);
    assert!(nginx.log_lines("open socket").is_empty());
}

#[test]
fn a_fast_shutdown_waits_for_no_probe() {
    let (mut nginx, _peers) = hung(&Config::new().workers(3));

    nginx.terminate_within(LIMIT);
}

#[test]
fn a_single_process_waits_for_no_probe() {
    let (mut nginx, _peers) = hung(&Config::new().single_process());

    nginx.quit_within(LIMIT);
    assert!(nginx.log_lines("open socket").is_empty());
}

#[test]
fn a_quit_between_probes_is_as_quick() {
    let peers = Peer::start_many(4);
    let body = format!("{} {}", check(LONG, 2_000, 2), servers(&peers));
    let mut nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    nginx.wait_probed();
    nginx.quit_within(LIMIT);
}

#[test]
fn a_quit_right_after_the_start_is_as_quick() {
    let peers = Peer::start_many(4);
    for peer in &peers {
        peer.probes(Script::silent());
    }
    let body = format!("{} {}", check(LONG, LONG, 2), servers(&peers));
    for _ in 0..5 {
        let config = Config::new().workers(2).upstream("backend", body.clone());
        let mut nginx = Nginx::start(&config);
        nginx.quit_within(LIMIT);
    }
}
