//! A command waits until its balancer says yes.

use std::time::{Duration, Instant};

use support::scripted_supervisord::STOP as STOP_CALL;
use support::{
    holds_for, process, servers, wait_until, Config, Nginx, Peer, ScriptedSupervisord, LIMIT,
};

use super::{allow, by_hand, config, execute, real, trace, OK, START, STOP};

/// Two programs that run, and a stop of the first that waits for its balancer.
pub(super) fn pending(workers: usize) -> (ScriptedSupervisord, Vec<Peer>, Config, Nginx) {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    let body = format!("supervisord {supervisord}; supervisord_drain 1s; {}", servers(&peers));
    let config = config(body).workers(workers);
    let nginx = Nginx::start(&config);
    nginx.wait_program("backend0", "up");
    nginx.wait_program("backend1", "up");

    assert_eq!(execute(&nginx, STOP, 0, true), OK);
    assert!(!trace(&nginx, "check 0: -3").is_empty(), "asked at once");
    assert_eq!(nginx.status().program("backend0").state, "stopping");
    (supervisord, peers, config, nginx)
}

#[test]
fn real_programs_are_stopped_and_started_when_the_balancer_says_yes() {
    let supervisord = real(2);
    let nginx = Nginx::start(&config(supervisord.upstream()).workers(2));
    assert!(nginx.start_page("backend", 0).accepted);
    nginx.wait_program("backend0", "up");
    assert!(nginx.start_page("backend", 1).accepted);
    nginx.wait_program("backend1", "up");

    let start = Instant::now();
    assert_eq!(execute(&nginx, STOP, 0, true), OK);
    wait_until(LIMIT, "it is asked again", || {
        assert_eq!(nginx.status().program("backend0").state, "stopping");
        assert_eq!(nginx.get("/backend/").peer(), supervisord.peer(1), "it gets no requests");
        assert_eq!(supervisord.state("backend0"), "RUNNING");
        let asked = trace(&nginx, "check 0: -3").len();
        let most = 1 + usize::try_from(start.elapsed().as_millis() / 500).expect("a few");
        assert!(asked <= most, "every 500 ms: {asked} of {most}");
        asked >= 4
    });
    allow(&nginx);
    nginx.wait_program("backend0", "down");
    assert_eq!(supervisord.state("backend0"), "STOPPED");
    assert_eq!(trace(&nginx, "check 0: 0").len(), 1);

    assert_eq!(execute(&nginx, START, 0, true), OK);
    nginx.wait_program("backend0", "up");
    assert_eq!(trace(&nginx, "check 0: 0").len(), 2, "yes at once");
}

#[test]
fn a_start_waits_too_and_requests_wait_for_it() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(1));
    let nginx = Nginx::start(&config(format!("supervisord {supervisord}; {}", servers(&peers))));

    assert_eq!(execute(&nginx, START, 0, true), OK);
    assert_eq!(nginx.status().program("backend0").state, "starting");
    let to = nginx.address();
    let client = std::thread::spawn(move || support::Request::get("/backend/").send(to));
    wait_until(LIMIT, "it is asked again", || trace(&nginx, "check 0: -3").len() > 2);
    assert_eq!((supervisord.starts("backend0"), client.is_finished()), (0, false));
    allow(&nginx);
    let response = client.join().expect("a client").expect("an answer");
    assert_eq!((response.status, supervisord.starts("backend0")), (200, 1));
}

#[test]
fn where_nobody_is_called_the_balancer_is_asked_too() {
    let peers = Peer::start_many(2);
    let nginx = Nginx::start(&by_hand(&peers).workers(2));

    assert_eq!(execute(&nginx, STOP, 0, true), OK);
    wait_until(LIMIT, "it is asked again", || trace(&nginx, "check 0: -3").len() > 1);
    assert_eq!(nginx.status().program("backend0").state, "stopping");
    assert_eq!(nginx.tally(8, "backend").at(&peers[1].to_string()), 8);
    allow(&nginx);
    nginx.wait_program("backend0", "down");
}

#[test]
fn a_stop_that_waits_is_taken_back_by_a_start() {
    let (supervisord, peers, _, nginx) = pending(2);

    assert!(nginx.start_page("backend", 0).accepted);
    nginx.wait_program("backend0", "up");
    // The page may show it before the worker that was to stop it has told the other one and the log.
    wait_until(LIMIT, "it is logged", || nginx.log_lines("is up: not stopped").len() == 1);
    assert!(nginx.tally(8, "backend").at(&peers[0].to_string()) > 0);
    let asked = trace(&nginx, "check").len();
    holds_for(Duration::from_millis(1200), "nobody is asked any more", || {
        trace(&nginx, "check").len() == asked && supervisord.stops("backend0") == 0
    });
}

#[test]
fn a_start_that_waits_is_taken_back_by_a_stop() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(1));
    let nginx = Nginx::start(&config(format!("supervisord {supervisord}; {}", servers(&peers))));

    assert_eq!(execute(&nginx, START, 0, true), OK);
    assert!(nginx.stop_page("backend", 0).accepted);
    nginx.wait_program("backend0", "down");
    assert_eq!(nginx.log_lines("is down: not started").len(), 1);
    assert_eq!((supervisord.starts("backend0"), supervisord.stops("backend0")), (0, 0));
}

#[test]
fn another_worker_carries_it_out_when_the_one_that_asked_is_killed() {
    let (supervisord, peers, _, mut nginx) = pending(2);
    let asked = trace(&nginx, "check")[0].pid;

    nginx.kill9(asked);
    wait_until(LIMIT, "the worker is dead", || !process::is_alive(asked));
    nginx.wait_program("backend0", "down");
    assert_eq!(supervisord.stops("backend0"), 1);
    assert_eq!(nginx.log_lines("is gone, another one does it").len(), 1);
    assert_eq!(nginx.tally(8, "backend").at(&peers[1].to_string()), 8);
}

#[test]
fn a_reload_ends_the_waiting_and_not_the_command() {
    let (supervisord, peers, config, mut nginx) = pending(2);
    let old = nginx.workers();

    let start = Instant::now();
    nginx.reload(&config);
    nginx.wait_program("backend0", "down");
    assert!(start.elapsed() < Duration::from_secs(50), "not the minute: {:?}", start.elapsed());
    assert_eq!(supervisord.calls_of(STOP_CALL).len(), 1);
    assert!(old.iter().all(|pid| !process::is_alive(*pid)));
    assert_eq!(nginx.tally(8, "backend").at(&peers[1].to_string()), 8);
    let asked = trace(&nginx, "check").len();
    holds_for(Duration::from_millis(1200), "nobody is asked any more", || {
        trace(&nginx, "check").len() == asked
    });
}

#[test]
fn without_a_master_a_reload_ends_the_waiting_too() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    let body = format!("supervisord {supervisord}; supervisord_drain 1s; {}", servers(&peers));
    let config = config(body).single_process();
    let mut nginx = Nginx::start(&config);
    // nginx itself does not serve after a reload without a master.
    nginx.allow_in_log("worker_connections are not enough");
    nginx.wait_program("backend0", "up");
    assert_eq!(execute(&nginx, STOP, 0, true), OK);

    nginx.signal_reload(&config);
    wait_until(LIMIT, "a stop", || supervisord.stops("backend0") == 1);
    wait_until(LIMIT, "it is down", || !nginx.log_lines("stopped by its balancer").is_empty());
}

#[test]
fn a_quit_carries_a_stop_out_that_waits() {
    let (supervisord, _peers, _, mut nginx) = pending(2);

    // Which is less than the minute that it would wait for its balancer.
    nginx.quit_within(LIMIT);
    assert_eq!(supervisord.stops("backend0"), 1);
}
