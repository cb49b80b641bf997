//! nginx ends when it is told to, whatever supervisord is doing.

use std::thread;

use support::scripted_supervisord::{INFO, START, STOP};
use support::{
    servers, wait_until, Config, Nginx, Peer, Reply, Request, ScriptedSupervisord, LIMIT,
};

use super::ENDLESS;

/// With a supervisord that nginx waits for without end, where it does.
fn start(config: Config) -> (ScriptedSupervisord, Vec<Peer>, Nginx) {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    let poll = "supervisord_poll 200;";
    let body = format!("supervisord {supervisord}; {poll} {ENDLESS} {}", servers(&peers));
    let nginx = Nginx::start(&config.upstream("backend", body).commands("backend"));

    (supervisord, peers, nginx)
}

#[test]
fn a_quit_waits_for_no_poll() {
    for config in [Config::new().workers(2), Config::new().single_process()] {
        let (supervisord, _peers, mut nginx) = start(config);
        wait_until(LIMIT, "a poll", || !supervisord.calls_of(INFO).is_empty());
        supervisord.reply(INFO, Reply::never());
        let polls = supervisord.calls_of(INFO).len();
        wait_until(LIMIT, "a poll hangs", || supervisord.calls_of(INFO).len() > polls);

        nginx.quit_within(LIMIT);
        assert!(nginx.log_lines("open socket").is_empty());
    }
}

#[test]
fn a_quit_serves_those_that_wait_first() {
    let (supervisord, _peers, mut nginx) = start(Config::new().workers(2));
    supervisord.hold(START);
    let address = nginx.address();

    let clients: Vec<_> =
        (0..4).map(|_| thread::spawn(move || Request::get("/backend/").send(address))).collect();
    wait_until(LIMIT, "all are held", || nginx.status().upstream("backend").held == 4);
    support::process::signal(nginx.pid(), libc::SIGQUIT).expect("nginx lives");
    wait_until(LIMIT, "it is leaving", || nginx.workers().is_empty());
    supervisord.release(START);
    for client in clients {
        assert_eq!(client.join().expect("a client").expect("an answer").status, 200);
    }
    nginx.quit_within(LIMIT);
    assert_eq!(supervisord.calls_of(START).len(), 1);
}

#[test]
fn a_fast_shutdown_waits_for_nothing() {
    let (supervisord, _peers, mut nginx) = start(Config::new().workers(2));
    supervisord.hold(START).hold(STOP);
    let address = nginx.address();

    let client = thread::spawn(move || Request::get("/backend/").send(address));
    wait_until(LIMIT, "a start", || supervisord.starts("backend0") == 1);
    nginx.terminate_within(LIMIT);
    drop(client.join().expect("a client"));
}
