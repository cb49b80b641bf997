//! upstream_fair with the patch of patches/ asks for health and programs, and is fair without either.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::balancer::fair;
use support::scripted_supervisord::{START, STOP};
use support::{
    holds_for, servers, wait_until, Config, Consumer, Nginx, Peer, Program, Reply, Request, Script,
    ScriptedSupervisord, Supervisord, CHECK, LIMIT,
};

use super::serves_through_reloads;

/// Intervals that a test can wait for.
const QUICK: &str = "supervisord_load_interval 400; supervisord_cooldown 200;";

/// Keeps connections to peers.
const KEPT: &str = "proxy_http_version 1.1; proxy_set_header Connection '';";

/// An upstream `backend` of these lines.
fn config(balancer: &Consumer, body: &str) -> Config {
    Config::new().load_after(balancer).upstream("backend", format!("fair; {body}"))
}

/// A request for what peers that hold their probes answer when the test says so. It returns the status.
fn get_held(nginx: &Nginx) -> JoinHandle<u16> {
    let to = nginx.address();
    let request = Request::get("/backend/hc").limit(LIMIT);
    thread::spawn(move || request.send(to).map_or(0, |answer| answer.status))
}

#[test]
fn it_serves_when_loaded_before_the_module_after_it_and_alone() {
    let Some(balancer) = fair() else { return };
    let peers = Peer::start_many(3);
    let plain = Config::new().workers(2).upstream("backend", format!("fair; {}", servers(&peers)));
    let checked = plain.clone().upstream("backend", format!("fair; {CHECK} {}", servers(&peers)));
    let configs = [
        checked.clone().load_before(&balancer),
        checked.load_after(&balancer),
        plain.clone().load_before(&balancer),
        plain.without_module().load_after(&balancer),
    ];

    for config in configs {
        let mut nginx = Nginx::start(&config);
        let tally = nginx.tally(60, "backend");
        assert_eq!(tally.with_status(200), 60, "{tally:?}");
        for peer in &peers {
            assert!(tally.at(&peer.to_string()) > 15, "{tally:?}");
        }
        nginx.quit_within(LIMIT);
    }
}

#[test]
fn a_sick_peer_gets_nothing_from_any_worker_once_it_is_down() {
    let Some(balancer) = fair() else { return };
    let peers = Peer::start_many(3);
    // Sorted by weight, the second is the first.
    let lines = format!(
        "server {} max_fails=0; server {} weight=3 max_fails=0; server {} weight=2 max_fails=0;",
        peers[0], peers[1], peers[2]
    );
    for more in ["", "keepalive 8;"] {
        let config = config(&balancer, &format!("{CHECK} {lines} {more}")).workers(4);
        let mut nginx = Nginx::start(&config.server(KEPT));
        nginx.wait_probed();
        let sick = peers[1].to_string();
        assert!(nginx.tally(40, "backend").at(&sick) > 0);

        for _ in 0..2 {
            peers[1].healthy(false);
            nginx.wait_down(&sick, true);
            let requests = peers[1].request_count();
            let tally = nginx.tally(100, "backend");
            assert_eq!((tally.with_status(200), tally.workers.len()), (100, 4), "{tally:?}");
            assert_eq!(peers[1].request_count(), requests, "none after the flip");
            peers[1].healthy(true);
            nginx.wait_down(&sick, false);
            assert!(nginx.tally(40, "backend").at(&sick) > 0, "it gets its share again");
        }
        nginx.quit_within(LIMIT);
    }
}

#[test]
fn a_single_peer_is_obeyed_too() {
    let Some(balancer) = fair() else { return };
    let peers = Peer::start_many(1);
    let nginx = Nginx::start(&config(&balancer, &format!("{CHECK} {}", servers(&peers))));

    for _ in 0..2 {
        peers[0].healthy(false);
        nginx.wait_down(&peers[0], true);
        assert_eq!(nginx.tally(10, "backend").with_status(502), 10);
        peers[0].healthy(true);
        nginx.wait_down(&peers[0], false);
        assert_eq!(nginx.tally(10, "backend").with_status(200), 10);
    }
}

#[test]
fn a_busy_peer_is_spared_by_all_workers() {
    let Some(balancer) = fair() else { return };
    let peers = Peer::start_many(2);
    let body = servers(&peers);
    peers[0].hold_probes();
    for config in [config(&balancer, &body), config(&balancer, &body).without_module()] {
        let nginx = Nginx::start(&config.workers(2));
        let before = peers[0].probe_count();
        // Alone: while the other peer had a request too, either could have the next one.
        let client = get_held(&nginx);
        wait_until(LIMIT, "it is at the first peer", || peers[0].probe_count() == before + 1);

        let tally = nginx.tally(40, "backend");
        assert_eq!(tally.at(&peers[1].to_string()), 40, "{tally:?}");
        assert_eq!(tally.workers.len(), 2, "{tally:?}");
        peers[0].next_probes([Script::ok("served")]);
        assert_eq!(client.join().expect("a client"), 200);
    }
}

#[test]
fn reloads_add_and_remove_the_module_while_it_serves() {
    let Some(balancer) = fair() else { return };
    let peers = Peer::start_many(3);
    serves_through_reloads(&balancer, &peers, &format!("fair; {}", servers(&peers)));
}

#[test]
fn programs_are_started_under_load_and_stopped_without_it() {
    let Some(balancer) = fair() else { return };
    let supervisord = Supervisord::start(Program::many("backend", 3));
    // RUNNING is not listening yet: hence the check.
    let body = |threshold: usize, least: usize| {
        let load = format!("fair_load_threshold {threshold}; fair_min_servers {least}; {QUICK}");
        format!("fair; {} {CHECK} {load}", supervisord.upstream())
    };
    // Clients that are held up for an interval are no reason to stop one.
    let config = config(&balancer, "").workers(2).upstream("backend", body(5, 3));
    let mut nginx = Nginx::start(&config);

    let load = nginx.load(2, "backend");
    nginx.wait_program("backend2", "up");
    wait_until(LIMIT, "all are used", || {
        let tally = nginx.tally(30, "backend");
        (0..3).all(|number| tally.at(&supervisord.peer(number)) > 0)
    });
    let samples = load.stop();
    assert!(samples.iter().all(|sample| sample.status == Some(200)));

    // Nor is a handful of requests a reason to start one again.
    nginx.reload(&config.upstream("backend", body(1_000, 1)));
    for name in ["backend2", "backend1"] {
        nginx.wait_program(name, "down");
        supervisord.wait_state(name, "STOPPED");
    }
    holds_for(Duration::from_millis(1500), "one is left", || {
        nginx.status().program("backend0").state == "up"
    });
    for number in 0..3 {
        assert_eq!(supervisord.spawned(&format!("backend{number}")).len(), 1);
    }
    assert_eq!(nginx.tally(20, "backend").at(&supervisord.peer(0)), 20);
}

#[test]
fn an_idle_upstream_shrinks_to_nothing_and_its_next_request_waits_for_a_program() {
    let Some(balancer) = fair() else { return };
    let supervisord = Supervisord::start(Program::many("backend", 2));
    // RUNNING is not listening yet: hence the check. A request that is held does not count, so that the
    // interval in which its program comes up may be one without requests: hence the cooldown.
    let settings = "supervisord_load_interval 400; supervisord_cooldown 3s;";
    let body = format!("{} {CHECK} {settings}", supervisord.upstream());
    let nginx = Nginx::start(&config(&balancer, &body));

    for round in 1..=2 {
        assert_eq!(nginx.get("/backend/").status, 200, "held until it is up");
        assert_eq!(supervisord.spawned("backend0").len(), round);
        nginx.wait_program("backend0", "down");
        supervisord.wait_state("backend0", "STOPPED");
    }
    assert!(supervisord.spawned("backend1").is_empty());
}

#[test]
fn load_stops_a_program_only_when_its_requests_have_been_answered() {
    let Some(balancer) = fair() else { return };
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    for peer in &peers {
        peer.hold_probes();
    }
    // A stop by the page would wait for 50 ms only. The interval leaves the clients time to come: one
    // without requests would stop a program that has none.
    let settings = "supervisord_load_interval 4s; supervisord_cooldown 200; supervisord_drain 50;";
    let body =
        format!("supervisord {supervisord}; {} fair_min_servers 1; {settings}", servers(&peers));
    let nginx = Nginx::start(&config(&balancer, &body).workers(2));
    nginx.wait_program("backend0", "up");
    nginx.wait_program("backend1", "up");

    let clients = [get_held(&nginx), get_held(&nginx)];
    wait_until(LIMIT, "both are at work", || peers.iter().all(|peer| peer.probe_count() == 1));
    nginx.wait_program("backend1", "stopping");
    holds_for(Duration::from_millis(700), "it waits", || supervisord.calls_of(STOP).is_empty());
    let answered = Instant::now();
    for peer in &peers {
        peer.next_probes([Script::ok("served")]);
    }
    for client in clients {
        assert_eq!(client.join().expect("a client"), 200);
    }
    wait_until(LIMIT, "it is told to stop", || supervisord.stops("backend1") == 1);
    assert!(supervisord.calls_of(STOP)[0].at >= answered);
}

#[test]
fn a_request_that_comes_to_a_single_peer_twice_has_left_it_twice() {
    let Some(balancer) = fair() else { return };
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(1));
    supervisord.set_state("backend0", "RUNNING");
    let body = format!("supervisord {supervisord}; {} keepalive 1; {QUICK}", servers(&peers));
    let kept = format!(
        "location /kept/ {{ proxy_pass http://backend/; {KEPT} proxy_next_upstream error; }}"
    );
    let nginx = Nginx::start(&config(&balancer, &body).server(&kept));
    nginx.wait_program("backend0", "up");

    assert_eq!(nginx.get("/kept/").status, 200);
    peers[0].requests(Script::close());
    assert_eq!(nginx.get("/kept/").status, 502);
    assert_eq!(peers[0].request_count(), 3, "once on the kept connection, once on a new one");
    // It was up for the last request, and is stopped once fair counts none.
    nginx.wait_program("backend0", "down");
}

#[test]
fn a_failed_program_is_stopped_and_gets_requests_as_soon_as_it_is_up_again() {
    let Some(balancer) = fair() else { return };
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    let body = format!(
        "supervisord {supervisord}; server {} max_fails=0; \
         server {} weight=2 max_fails=1 fail_timeout=1h;",
        peers[0], peers[1]
    );
    let nginx = Nginx::start(&config(&balancer, &body).commands("backend"));
    nginx.wait_program("backend0", "up");
    nginx.wait_program("backend1", "up");

    peers[1].requests(Script::reset());
    wait_until(LIMIT, "a request fails", || nginx.get("/backend/").status == 502);
    nginx.wait_program("backend1", "down");
    assert_eq!(supervisord.stops("backend1"), 1);
    assert_eq!(nginx.tally(20, "backend").at(&peers[0].to_string()), 20);

    peers[1].requests(Script::ok("served"));
    assert!(nginx.start_page("backend", 1).accepted);
    nginx.wait_program("backend1", "up");
    let tally = nginx.tally(20, "backend");
    assert!(tally.at(&peers[1].to_string()) > 0, "not put aside for an hour: {tally:?}");
    assert_eq!(supervisord.stops("backend0"), 0);
}

#[test]
fn a_request_that_waits_is_answered_after_a_reload() {
    let Some(balancer) = fair() else { return };
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.hold(START);
    let body = format!("supervisord {supervisord}; {}", servers(&peers));
    let config = config(&balancer, &body).workers(2);
    let mut nginx = Nginx::start(&config);

    let address = nginx.address();
    let client = thread::spawn(move || {
        Request::get("/backend/").send(address).map_or(0, |answer| answer.status)
    });
    wait_until(LIMIT, "it is held", || nginx.status().upstream("backend").held == 1);
    nginx.signal_reload(&config);
    nginx.await_generation(LIMIT);
    // The new workers take their part of the shared memory.
    let others: Vec<_> = (0..6)
        .map(|_| {
            thread::spawn(move || {
                Request::get("/backend/").send(address).map_or(0, |answer| answer.status)
            })
        })
        .collect();
    wait_until(LIMIT, "all are held", || nginx.status().upstream("backend").held == 7);
    supervisord.release(START);
    assert_eq!(client.join().expect("a client"), 200);
    for other in others {
        assert_eq!(other.join().expect("a client"), 200);
    }
    assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
    nginx.quit_within(LIMIT);
}

#[test]
fn a_worker_that_is_born_after_a_failed_reload_serves() {
    let Some(balancer) = fair() else { return };
    let peers = Peer::start_many(2);
    let config = config(&balancer, &servers(&peers)).workers(1).without_module();
    let mut nginx = Nginx::start(&config);
    assert_eq!(nginx.tally(10, "backend").with_status(200), 10);

    // A socket in no folder: refused when all else has been made.
    nginx.allow_in_log("unix:/nowhere/at/all failed");
    nginx.signal_reload(&config.clone().server("listen unix:/nowhere/at/all;"));
    wait_until(LIMIT, "it is refused", || !nginx.log_lines("[emerg]").is_empty());
    let worker = nginx.workers()[0];
    nginx.kill9(worker);
    wait_until(LIMIT, "there is another", || {
        nginx.workers().first().is_some_and(|&pid| pid != worker)
    });
    assert_eq!(nginx.tally(10, "backend").with_status(200), 10);
}

#[test]
fn its_directives_are_read_with_care() {
    let Some(balancer) = fair() else { return };
    let threshold = "fair_load_threshold value must be a number > 0";
    let cases = [
        ("fair_load_threshold 0;", threshold),
        ("fair_load_threshold -1;", threshold),
        ("fair_load_threshold many;", threshold),
        ("fair_load_threshold 99999999999999999;", threshold),
        (
            "fair_load_threshold 5; fair_load_threshold 6;",
            "fair_load_threshold already set to \"5\"",
        ),
        ("fair_min_servers x;", "fair_min_servers value must be a number"),
        ("fair_min_servers 1; fair_min_servers 1;", "fair_min_servers already set to \"1\""),
        ("zone backend 64k;", "\"fair\" takes neither \"zone\" nor \"resolve\""),
        ("fair_load_threshold 1k; fair_min_servers 0;", ""),
    ];
    for (line, error) in cases {
        let tested = Nginx::test(&config(&balancer, &format!("server 127.0.0.1:1; {line}")));
        assert_eq!(tested.ok, error.is_empty(), "{line}: {}", tested.output);
        assert!(tested.output.contains(error), "{line}: {}", tested.output);
    }
}

#[test]
fn programs_that_a_reply_calls_down_get_no_request_of_any_worker() {
    let Some(balancer) = fair() else { return };
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(3));
    for number in 0..3 {
        supervisord.set_state(&format!("backend{number}"), "RUNNING");
    }
    supervisord.reply(START, Reply::never());
    // Sorted by weight, the last is the first.
    let body = format!(
        "supervisord {supervisord}; server {} max_fails=0; server {} weight=2 max_fails=0; \
         server {} weight=3 down max_fails=0;",
        peers[0], peers[1], peers[2]
    );
    let config = config(&balancer, &body).workers(4).commands("backend");
    let nginx = Nginx::start(&config);
    for number in 0..2 {
        nginx.wait_program(&format!("backend{number}"), "up");
    }
    let tally = nginx.tally(60, "backend");
    assert!((0..2).all(|number| tally.at(&peers[number].to_string()) > 0), "{tally:?}");
    assert_eq!((tally.at(&peers[2].to_string()), tally.workers.len()), (0, 4), "{tally:?}");

    assert!(nginx.stop_page("backend", 1).accepted);
    let tally = nginx.tally(60, "backend");
    assert_eq!((tally.at(&peers[0].to_string()), tally.workers.len()), (60, 4), "{tally:?}");
}
