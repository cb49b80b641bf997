//! What failed requests lead to.

use std::collections::BTreeSet;
use std::time::Duration;

use support::process::signal;
use support::scripted_supervisord::{START, STOP};
use support::{
    holds_for, wait_until, Config, Nginx, Peer, Program, Script, ScriptedSupervisord, Supervisord,
    LIMIT,
};

use super::{all_know, is_logged_once};

const RETRIED: &str = "location /retried/ { proxy_pass http://backend/; \
                       proxy_next_upstream error timeout; }";

/// Running programs, their `server` lines with these parameters.
fn start(count: usize, parameters: &str, more: &str) -> (ScriptedSupervisord, Vec<Peer>, Nginx) {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(count));
    let lines: String = peers.iter().map(|peer| format!("server {peer} {parameters}; ")).collect();
    for number in 0..count {
        supervisord.set_state(&format!("backend{number}"), "RUNNING");
    }
    let body = format!("supervisord {supervisord}; {lines} {more}");
    let config = Config::new().workers(2).upstream("backend", body).server(RETRIED);
    let nginx = Nginx::start(&config.commands("backend"));

    for number in 0..count {
        nginx.wait_program(&format!("backend{number}"), "up");
    }
    all_know(&nginx);
    (supervisord, peers, nginx)
}

#[test]
fn check_46_a_program_that_refuses_is_stopped_and_its_request_served_by_another() {
    let (supervisord, mut peers, nginx) = start(2, "", "");
    peers[1].stop();

    let path = "/retried/";
    wait_until(LIMIT, "the failure is noticed", || {
        assert_eq!(nginx.get(path).status, 200);
        supervisord.stops("backend1") > 0
    });
    nginx.wait_program("backend1", "down");
    assert_eq!((supervisord.stops("backend1"), supervisord.stops("backend0")), (1, 0));
    let down = "program \"backend1\" of upstream \"backend\" is down: stopped by failure";
    is_logged_once(&nginx, down);
}

#[test]
fn check_46_when_all_have_failed_the_next_request_starts_the_first() {
    let (supervisord, mut peers, nginx) = start(2, "fail_timeout=1s", "");
    for peer in &mut peers {
        peer.stop();
    }

    assert_eq!(nginx.get("/retried/").status, 502);
    for name in ["backend0", "backend1"] {
        wait_until(LIMIT, "a stop", || supervisord.stops(name) == 1);
        nginx.wait_program(name, "down");
    }
    for peer in &mut peers {
        peer.restart();
    }
    let answer = nginx.get("/retried/");
    assert_eq!((answer.status, answer.peer()), (200, peers[0].to_string().as_str()));
    assert_eq!((supervisord.starts("backend0"), supervisord.starts("backend1")), (1, 0));
}

#[test]
fn failures_are_counted_over_all_workers() {
    // Each worker has a listening socket of its own, which gets connections as if by lot: so many
    // that not all are one worker's.
    let (supervisord, peers, nginx) = start(2, "max_fails=50 fail_timeout=60s", "");
    // Closed without an answer: a failure, and nginx's own count is one a worker.
    peers[1].requests(Script::close());

    let mut failed = 0;
    let mut workers = BTreeSet::new();
    wait_until(LIMIT, "49 failures", || {
        let answer = nginx.get("/backend/");
        if answer.status == 502 {
            failed += 1;
            workers.insert(answer.worker());
        }
        failed == 49
    });
    assert_eq!(workers.len(), 2, "both have seen some");
    holds_for(Duration::from_millis(300), "49 are not enough", || {
        supervisord.stops("backend1") == 0
    });
    wait_until(LIMIT, "one more", || nginx.get("/backend/").status == 502);
    wait_until(LIMIT, "a stop", || supervisord.stops("backend1") == 1);
}

#[test]
fn max_fails_0_never_stops_a_program() {
    let (supervisord, peers, nginx) = start(2, "max_fails=0", "");
    peers[1].requests(Script::close());

    let tally = nginx.tally(40, "backend");
    assert!(tally.with_status(502) > 5, "{tally:?}");
    assert!(supervisord.calls_of(STOP).is_empty());
    assert_eq!(nginx.status().program("backend1").state, "up");
}

#[test]
fn the_only_program_of_an_upstream_is_stopped_too_and_started_by_the_next_request() {
    for zone in ["", "zone backend 64k;"] {
        let (supervisord, peers, nginx) = start(1, "", zone);
        peers[0].requests(Script::close());

        assert_eq!(nginx.get("/backend/").status, 502);
        wait_until(LIMIT, "a stop", || supervisord.stops("backend0") == 1);
        nginx.wait_program("backend0", "down");
        peers[0].requests(Script::ok("served"));
        assert_eq!(nginx.get("/backend/").status, 200, "{zone}");
        assert_eq!(supervisord.starts("backend0"), 1);
    }
}

#[test]
fn ignore_leaves_failures_to_nginx() {
    let (supervisord, peers, nginx) = start(2, "max_fails=1", "supervisord_on_failure ignore;");
    peers[1].requests(Script::close());

    nginx.tally(20, "backend");
    assert!(supervisord.calls_of(STOP).is_empty());
    assert_eq!(nginx.status().program("backend1").state, "up");
}

#[test]
fn restart_stops_and_starts_the_program() {
    let (supervisord, peers, nginx) = start(2, "max_fails=1", "supervisord_on_failure restart;");
    peers[1].requests(Script::close());

    wait_until(LIMIT, "a failure", || nginx.get("/backend/").status == 502);
    wait_until(LIMIT, "a stop", || supervisord.stops("backend1") == 1);
    peers[1].requests(Script::ok("served"));
    wait_until(LIMIT, "a start", || supervisord.starts("backend1") == 1);
    let stopped = supervisord.calls_of(STOP)[0].at;
    let started = supervisord.calls_of(START)[0].at;
    let waited = started - stopped;
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
    nginx.wait_program("backend1", "up");
    // nginx's own passive check has not forgotten the failure for its ten seconds.
    wait_until(LIMIT, "it is used", || nginx.tally(10, "backend").at(&peers[1].to_string()) > 0);
}

#[test]
fn a_program_that_crashes_is_restarted_whoever_sees_it_first() {
    let supervisord = Supervisord::start(Program::many("backend", 2));
    let lines = supervisord.upstream().replace("max_fails=0", "max_fails=1");
    let body =
        format!("{lines} supervisord_inherit_backend_status; supervisord_on_failure restart;");
    for (number, name) in ["backend0", "backend1"].into_iter().enumerate() {
        supervisord.start_program(name).expect("it starts");
        supervisord.wait_listening(number);
    }
    let config = Config::new().workers(2).upstream("backend", body).server(RETRIED);
    let nginx = Nginx::start(&config.commands("backend"));
    nginx.wait_program("backend1", "up");
    // Some time after the last report, so that a failure asks for another one at once.
    holds_for(Duration::from_millis(1_200), "it is up", || {
        nginx.get("/retried/").status == 200 && supervisord.state("backend1") == "RUNNING"
    });

    let crashed = supervisord.pid("backend1");
    signal(crashed, libc::SIGKILL).expect("the program's process");
    wait_until(LIMIT, "it runs again", || {
        assert_eq!(nginx.get("/retried/").status, 200);
        // Until supervisord has noticed, it calls the old process RUNNING.
        let is_another = ![0, crashed].contains(&supervisord.pid("backend1"));
        is_another && supervisord.state("backend1") == "RUNNING"
    });
    nginx.wait_program("backend1", "up");
}

#[test]
fn restarts_wait_longer_each_time_and_end_with_one_loud_line() {
    let (supervisord, peers, nginx) =
        start(2, "max_fails=1 fail_timeout=1s", "supervisord_on_failure restart;");
    peers[1].requests(Script::close());

    let load = nginx.load(1, "backend");
    // 1, 2, 4, 8 and 16 seconds after a stop each, and up to a second until a worker looks.
    wait_until(Duration::from_secs(60), "it is given up", || supervisord.stops("backend1") == 6);
    let mut stops = supervisord.calls_of(STOP).into_iter().map(|call| call.at);
    let starts: Vec<_> = supervisord.calls_of(START).into_iter().map(|call| call.at).collect();
    let pauses: Vec<u128> = starts
        .iter()
        .map(|start| start.duration_since(stops.next().expect("a stop")).as_millis())
        .collect();
    assert_eq!(pauses.len(), 5, "{pauses:?}");
    for (pause, expected) in pauses.iter().zip([1_000, 2_000, 4_000, 8_000, 16_000]) {
        assert!(*pause >= expected - 100, "{pauses:?}");
    }
    nginx.wait_program("backend1", "down");
    holds_for(Duration::from_secs(2), "no further start", || supervisord.starts("backend1") == 5);
    drop(load.stop());
    all_know(&nginx);
    let loud = nginx.log_lines("[error]");
    let loud: Vec<_> = loud.iter().filter(|line| line.contains("supervisord: ")).collect();
    assert_eq!(loud.len(), 1, "{loud:#?}");
    assert!(loud[0].contains("backend1"), "{loud:?}");
}

#[test]
fn without_a_supervisord_failures_are_ignored_until_asked_for() {
    for (more, is_up) in [("", true), ("supervisord_on_failure stop;", false)] {
        let peers = Peer::start_many(2);
        let none = "supervisord none; supervisord_inherit_backend_status;";
        let body = format!("{none} {more} server {}; server {};", peers[0], peers[1]);
        let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
        peers[1].requests(Script::close());

        nginx.tally(20, "backend");
        let state = nginx.status().program("backend1").state;
        assert_eq!(state, if is_up { "up" } else { "down" });
    }
}

#[test]
fn every_upstream_counts_for_its_own_programs() {
    let supervisord = ScriptedSupervisord::start();
    let peers = Peer::start_many(4);
    let mut config = Config::new().workers(2);
    for (name, own) in [("first", &peers[..2]), ("second", &peers[2..])] {
        for number in 0..2 {
            supervisord.set_state(&format!("{name}{number}"), "RUNNING");
        }
        let body = format!("supervisord {supervisord}; server {}; server {};", own[0], own[1]);
        config = config.upstream(name, body);
    }
    let nginx = Nginx::start(&config);
    for name in ["first0", "first1", "second0", "second1"] {
        nginx.wait_program(name, "up");
    }
    all_know(&nginx);
    peers[3].requests(Script::close());

    wait_until(LIMIT, "a failure", || nginx.get("/second/").status == 502);
    wait_until(LIMIT, "a stop", || supervisord.stops("second1") == 1);
    assert_eq!(supervisord.calls_of(STOP).len(), 1);
    assert_eq!(nginx.tally(20, "first").with_status(200), 20);
}
