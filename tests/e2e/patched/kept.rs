//! init_busy: requests that no program can serve are kept in peer.init, and served or ended as those that
//! wait on a stock nginx.

use support::scripted_supervisord::START;
use support::{
    process, servers, wait_until, Config, Environment, Nginx, Peer, ScriptedSupervisord, LIMIT,
};

use crate::abi::supervisord::hold::{get, held, status, wait_held};
use crate::abi::supervisord::{config, trace};
use crate::hold::h2::{Answer, H2};

/// How often balancers were told that a request goes on, and that it waits.
fn told(nginx: &Nginx) -> (usize, usize) {
    (trace(nginx, "init: 0").len(), trace(nginx, "init: -3").len())
}

fn is_patched() -> bool {
    Environment::get().patched("init_busy")
}

#[test]
fn a_balancer_is_told_that_its_request_waits() {
    if !is_patched() {
        return;
    }
    let (supervisord, peers, nginx, clients) = held("", 8);

    wait_held(&nginx, 8);
    // A request is held before its balancer is told.
    wait_until(LIMIT, "all are told", || told(&nginx).1 == 8);
    assert_eq!(told(&nginx), (0, 8));
    supervisord.release(START);
    for client in clients {
        assert_eq!(status(client), 200);
    }
    assert_eq!(told(&nginx), (8, 8));
    assert_eq!(peers[0].request_count(), 8);
    let upstream = nginx.status().upstream("backend");
    assert_eq!((upstream.requests, upstream.held), (8, 0));
    assert_eq!(nginx.status().program("backend0").running, 0);
}

#[test]
fn one_whose_patience_ends_gets_504_and_leaves_nothing_behind() {
    if !is_patched() {
        return;
    }
    let (supervisord, peers, nginx, clients) = held("queue 10 timeout=700ms;", 4);

    for client in clients {
        assert_eq!(status(client), 504);
    }
    wait_held(&nginx, 0);
    assert_eq!(nginx.log_lines("upstream timed out").len(), 4);
    supervisord.release(START);
    nginx.wait_program("backend0", "up");
    assert_eq!((nginx.get("/backend/").status, peers[0].request_count()), (200, 1));
}

#[test]
fn where_nginx_keeps_connections_requests_wait_as_on_a_stock_one() {
    if !is_patched() {
        return;
    }
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(1));
    supervisord.hold(START);
    let body = format!("supervisord {supervisord}; {} keepalive 4;", servers(&peers));
    let nginx = Nginx::start(&config(body));

    let clients = [get(&nginx), get(&nginx)];
    wait_held(&nginx, 2);
    // keepalive has taken the first answer for a failure, and has asked again.
    assert_eq!(told(&nginx), (2, 2));
    supervisord.release(START);
    for client in clients {
        assert_eq!(status(client), 200);
    }
}

#[test]
fn requests_of_one_http2_connection_leave_and_are_served() {
    if !is_patched() {
        return;
    }
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(1));
    supervisord.hold(START);
    let body = format!("supervisord {supervisord}; {}", servers(&peers));
    let nginx = Nginx::start(&config(body).server("http2 on;"));

    let mut h2 = H2::connect(nginx.address());
    let streams: Vec<u32> = (0..4).map(|_| h2.get("/backend/")).collect();
    wait_held(&nginx, 4);
    h2.reset(streams[1]);
    wait_held(&nginx, 3);
    supervisord.release(START);
    for stream in [streams[0], streams[2], streams[3]] {
        assert_eq!(h2.answer(stream), Answer::Status("200".to_owned()));
    }
    assert_eq!(peers[0].request_count(), 3);
}

#[test]
fn a_reload_leaves_those_that_are_kept_to_the_old_workers() {
    if !is_patched() {
        return;
    }
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(1));
    supervisord.hold(START);
    let body = format!("supervisord {supervisord}; {}", servers(&peers));
    let config: Config = config(body).workers(2);
    let mut nginx = Nginx::start(&config);
    let clients: Vec<_> = (0..6).map(|_| get(&nginx)).collect();
    wait_held(&nginx, 6);
    let old = nginx.workers();

    nginx.signal_reload(&config);
    nginx.await_generation(LIMIT);
    let late = get(&nginx);
    wait_held(&nginx, 7);
    supervisord.release(START);
    for client in clients {
        let response = client.join().expect("a client").expect("an answer");
        assert!(response.status == 200 && old.contains(&response.worker()));
    }
    assert_eq!(status(late), 200);
    wait_until(LIMIT, "the old workers end", || old.iter().all(|pid| !process::is_alive(*pid)));
}

#[test]
fn a_quit_waits_for_the_patience_of_those_that_are_kept() {
    if !is_patched() {
        return;
    }
    // All of them are to be seen before it is over.
    let (_supervisord, _peers, mut nginx, clients) = held("queue 10 timeout=4s;", 4);

    wait_held(&nginx, 4);
    nginx.quit_within(LIMIT);
    for client in clients {
        assert_eq!(status(client), 504);
    }
}
