//! Balancers outlive this module, and do without it.

use std::fs;
use std::sync::Arc;

use support::{servers, skip, wait_until, Config, Consumer, Environment, Nginx, Peer, Port, LIMIT};

use super::{states, trace};

/// The consumer on its own.
fn alone(config: &Config, peers: &[Peer]) -> Config {
    let body = format!("traced trace; {}", servers(peers));
    config.clone().upstream("backend", body).without_module()
}

#[test]
fn without_the_module_a_balancer_uses_all_its_peers() {
    let peers = Peer::start_many(2);
    let config = Config::new()
        .load_after(&Consumer::build("traced"))
        .server("location = /execute { traced_execute backend; } ");
    let nginx = Nginx::start(&alone(&config, &peers).workers(2));

    let tally = nginx.tally(20, "backend");
    assert_eq!(tally.with_status(200), 20);
    assert!(peers.iter().all(|peer| tally.at(&peer.to_string()) > 0));
    assert_eq!(nginx.get("/execute?cmd=1&backend=0").text(), super::DECLINED);
    assert!(trace(&nginx, " is ").is_empty());
}

#[test]
fn monitors_come_and_go_with_the_module_over_five_reloads() {
    let peers = Peer::start_many(2);
    let config = Config::at(&Arc::new(Port::reserve())).workers(2);
    let config = config.load_after(&Consumer::build("traced"));
    let without = alone(&config, &peers);
    let body = "traced trace; supervisord none; supervisord_inherit_backend_status;";
    let body = format!("{body} {}", servers(&peers));
    let with = config.upstream("backend", body).commands("backend");
    let mut nginx = Nginx::start(&with);

    for round in 1..=5 {
        assert!(nginx.stop_page("backend", 0).accepted);
        assert_eq!(nginx.tally(8, "backend").at(&peers[1].to_string()), 8, "round {round}");
        let told = states(&nginx, nginx.pid()).len();
        assert_eq!(told, 2 * round, "the master tells both programs each time");
        nginx.reload(&without);
        let tally = nginx.tally(8, "backend");
        assert_eq!(tally.with_status(200), 8, "round {round}");
        assert!(tally.at(&peers[0].to_string()) > 0, "round {round}: every peer is usable");
        nginx.reload(&with);
        wait_until(LIMIT, "it serves again", || nginx.get("/backend/").status == 200);
    }
}

#[test]
fn a_command_from_the_master_finds_no_module_of_an_earlier_configuration() {
    let Some(module) = &Environment::get().module else {
        return skip("the module is inside of nginx");
    };
    let dir = tempfile::tempdir().expect("a directory");
    let other = dir.path().join("other.so");
    fs::copy(module, &other).expect("a copy");
    let peers = Peer::start_many(1);
    let base = Config::at(&Arc::new(Port::reserve())).load_after(&Consumer::build("traced"));
    let without = alone(&base, &peers);
    // Its monitor gives a command when the master tells it of a program that is down.
    let body = format!("traced trace; traced_restart on; supervisord none; {}", servers(&peers));
    let with = base.upstream("backend", body);
    // nginx has two places for configurations, in turn; the module has another one each time.
    let elsewhere = with.clone().load_before(&Consumer::build("hash")).module_at(&other);
    let mut nginx = Nginx::start(&with);

    for round in 0..4 {
        nginx.reload(&with);
        nginx.reload(&without);
        nginx.reload(if round % 2 == 0 { &elsewhere } else { &with });
        let restarts = trace(&nginx, "restart 0");
        let master = restarts.iter().filter(|line| line.pid == nginx.pid());
        assert_eq!(master.count(), 1 + 2 * (round + 1), "the master goes on");
    }
}
