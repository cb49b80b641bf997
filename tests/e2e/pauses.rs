//! A worker that stands still is no reason to call a peer sick.

use std::iter;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use support::{check, process, servers, wait_until, Config, Nginx, Peer, Port, Script, LIMIT};

use crate::transport::answer_all;

/// What a probe may take, in milliseconds: a peer of the test may itself stand still for a second, and
/// that is no false verdict.
const TIMEOUT: u32 = 2_000;

/// How long a worker is stopped: several timeouts and periods.
const STOP: Duration = Duration::from_millis(5_000);

/// Stops a worker, and returns when it has stopped: it may be about to accept a connection.
fn stop(pid: u32) {
    process::signal(pid, libc::SIGSTOP).expect("a worker");
    wait_until(LIMIT, "the worker stands", || process::is_stopped(pid));
}

fn stop_and_continue(pid: u32) {
    stop(pid);
    sleep(STOP);
    process::signal(pid, libc::SIGCONT).expect("a worker");
}

fn no_false_verdict(workers: usize) {
    let peers = Peer::start_many(8);
    // Answers take a moment, so that a stop finds probes in every state.
    for peer in &peers {
        let answer = "HTTP/1.1 200 OK\r\n\r\n";
        peer.probes(Script::pieces(&["", answer], Duration::from_millis(60)));
    }
    let body = format!("{} {}", check(150, TIMEOUT, 1), servers(&peers));
    let config = Config::new().workers(workers).shared_socket().upstream("backend", body);
    let nginx = Nginx::start(&config);
    nginx.wait_probed();

    for round in 0..2 {
        let all = nginx.workers();
        stop_and_continue(all[round % workers]);
        let before: Vec<usize> = peers.iter().map(Peer::probe_count).collect();
        wait_until(LIMIT, "probing goes on", || {
            peers.iter().zip(&before).all(|(peer, before)| peer.probe_count() >= before + 3)
        });
    }
    for row in nginx.status().peers {
        assert!(!row.down && row.failures == 0, "{row:#?}");
    }
    assert!(nginx.log_lines("healthcheck: peer").is_empty());
}

#[test]
fn the_only_worker_stops_for_several_timeouts_without_a_false_verdict() {
    no_false_verdict(1);
}

#[test]
fn one_of_two_workers_stops_for_several_timeouts_without_a_false_verdict() {
    no_false_verdict(2);
}

#[test]
fn a_peer_that_falls_sick_while_its_prober_stands_still_is_noticed_by_another() {
    let peer = Peer::start();
    let body = format!("{} {}", check(200, TIMEOUT, 2), servers([&peer]));
    let config = Config::new().workers(2).shared_socket().upstream("backend", body);
    let nginx = Nginx::start(&config);
    nginx.wait_probed();

    let owner = nginx.wait_row(&peer, "has an owner", |row| row.owner_pid != 0).owner_pid;
    stop(owner);
    peer.healthy(false);
    let row = nginx.wait_down(&peer, true);
    assert_ne!(row.owner_pid, owner);
    process::signal(owner, libc::SIGCONT).expect("a worker");
    // What the old owner had begun is too late to count.
    let row = nginx.wait_row(&peer, "goes on failing", |later| later.probes >= row.probes + 4);
    assert!(row.down && row.last_down, "{row:#?}");
    assert_eq!(nginx.tally(20, "backend").with_status(502), 20);
}

#[test]
fn an_answer_that_comes_to_a_prober_too_late_is_not_believed() {
    let peer = Peer::start();
    peer.hold_probes();
    let body = format!("{} {}", check(200, TIMEOUT, 1), servers([&peer]));
    let config = Config::new().workers(2).shared_socket().upstream("backend", body);
    let nginx = Nginx::start(&config);

    wait_until(LIMIT, "the first probe", || peer.probe_count() == 1);
    let owner = nginx.row(&peer).owner_pid;
    stop(owner);
    // The first probe's answer is good and comes while its prober stands still; all others are bad.
    let answers = [Script::ok("fine")].into_iter();
    peer.next_probes(answers.chain(iter::repeat_n(Script::status(500, "sick"), 500)));
    nginx.wait_down(&peer, true);
    // Two to three seconds after the next probe was due: here after the timeout. Two are for a worker
    // and a peer that stand still for a second each.
    let probes = peer.probe_times();
    let taken_over = probes[1] - probes[0];
    let limit = Duration::from_millis(u64::from(TIMEOUT) + 3_000 + 2_000);
    assert!(taken_over < limit, "{taken_over:?}");

    process::signal(owner, libc::SIGCONT).expect("a worker");
    let probes = nginx.row(&peer).probes;
    nginx.wait_row(&peer, "goes on failing", |row| row.probes >= probes + 8);
    assert!(nginx.log_lines("is up").is_empty(), "{:#?}", nginx.log_lines("is up"));
    assert_eq!(nginx.log_lines("is down").len(), 1);
}

#[test]
fn what_has_arrived_when_the_time_is_over_still_counts() {
    let peer = Peer::start();
    peer.hold_probes();
    let body = format!("{} {}", check(60_000, TIMEOUT, 1), servers([&peer]));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    wait_until(LIMIT, "the first probe", || peer.probe_count() == 1);
    let worker = nginx.workers()[0];
    stop(worker);
    peer.next_probes([Script::raw("HTTP/1.1 200 OK\r\n\r\n")]);
    // Past the timeout, and past the answer.
    sleep(Duration::from_millis(u64::from(TIMEOUT) + 500));
    wait_until(LIMIT, "an answer", || peer.seen()[0].ended.is_some());
    process::signal(worker, libc::SIGCONT).expect("a worker");

    let row = nginx.wait_row(&peer, "has a verdict", |row| row.concurrent > 0);
    assert_eq!((row.code.as_str(), row.down), ("ok", false));
    assert_eq!((row.probes, peer.probe_count()), (1, 1), "the answer was there, none is repeated");
}

#[test]
fn a_request_that_could_not_leave_in_time_is_no_verdict() {
    let port = Port::reserve();
    let listener = port.listen_for_one().expect("the port");
    let first = TcpStream::connect(port.address()).expect("the only place");
    let body = format!("{} server {port};", check(60_000, 2500, 1));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    // The probe's connection is not made before the worker stands, its request not sent before
    // the time is over.
    nginx.wait_row(&port, "is being probed", |row| row.last_action_ms > 0);
    let worker = nginx.workers()[0];
    stop(worker);
    drop(first);
    // The probe that had no verdict may have been answered too, and the next one must not find the port
    // closed.
    answer_all(listener);
    sleep(Duration::from_millis(3500));
    process::signal(worker, libc::SIGCONT).expect("a worker");

    let row = nginx.wait_row(&port, "has a verdict", |row| row.concurrent > 0);
    assert_eq!((row.code.as_str(), row.failures, row.down), ("ok", 0, false));
}
