//! Reloads take the module out of the configuration and put it back, under load.

use support::{process, wait_until, Config, Request, LIMIT};

use super::crowd::Crowd;
use super::traffic::Traffic;
use super::{either, Drill, Size};

const PEERS: usize = 20;

/// Peers that fail their probes.
const SICK: usize = 2;

#[test]
fn the_module_comes_and_goes_by_reload_without_a_failed_request() {
    let drill = Drill::begin();
    let crowd = Crowd::start(PEERS, SICK);
    let base = Config::new()
        .workers(2)
        .shared_socket()
        .quiet()
        .main("events { worker_connections 2048; }");
    let with = base.clone().upstream("backend", crowd.all("zone backend 256k;"));
    let lines: String =
        (0..PEERS).map(|peer| format!("server {} max_fails=0; ", crowd.name(peer))).collect();
    let without = base.without_module().upstream("backend", format!("zone backend 256k; {lines}"));
    let rounds = either(5, 200);
    let mut nginx = crowd.nginx(&with);
    let zones = process::shared_mappings(nginx.pid()).len();
    let mut before = None;

    let traffic = Traffic::start(500, nginx.address(), "/backend/");
    for round in 0..rounds {
        nginx.reload(&without);
        assert_eq!(process::shared_mappings(nginx.pid()).len(), zones - 1);
        let maps =
            std::fs::read_to_string(format!("/proc/{}/maps", nginx.pid())).expect("it lives");
        assert!(!maps.contains("healthcheck_module"), "the module's file is still loaded");
        assert_eq!(Request::get("/status").send(nginx.address()).expect("an answer").status, 404);
        crowd.swarm.settle();
        let probes: Vec<usize> = crowd.swarm.times().iter().map(Vec::len).collect();
        let requests = traffic.answered();
        wait_until(LIMIT, "requests go on", || traffic.answered() > requests + 100);
        let now: Vec<usize> = crowd.swarm.times().iter().map(Vec::len).collect();
        assert_eq!(now, probes, "somebody probes without the module");

        nginx.reload(&with);
        crowd.wait_known(&nginx);
        nginx.wait_logged("is down", SICK * (2 + round));
        // What had a peer before is answered.
        traffic.settle();
        let sick = crowd.sick_requests();
        let requests = traffic.answered();
        wait_until(LIMIT, "requests go on", || traffic.answered() > requests + 100);
        assert_eq!(crowd.sick_requests(), sick, "requests to peers that are known to be down");
        if round + 1 >= rounds / 4 && before.is_none() {
            before = Some(Size::of(&nginx));
        }
    }
    let served = traffic.stop();
    assert_eq!(served.failures(), 0, "{served}");
    let size = Size::of(&nginx).flat_since(&before.expect("a round"), 1_000);
    nginx.quit_within(LIMIT);
    drill.end(format_args!("{rounds} times out and in again; {served}; {size}"));
}
