//! A program that is to stop finishes what it has begun before supervisord is told.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use support::scripted_supervisord::STOP;
use support::{
    holds_for, servers, wait_until, Config, Nginx, Peer, Program, Reply, Request, Script,
    ScriptedSupervisord, Supervisord, LIMIT,
};

use super::{all_know, busy};

/// Two programs that run; the first leaves requests for [`busy::PATH`] without an answer.
fn start(more: &str) -> (ScriptedSupervisord, Vec<Peer>, Nginx) {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    peers[0].hold_probes();
    let body = format!("supervisord {supervisord}; {} {more}", servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);

    nginx.wait_program("backend0", "up");
    nginx.wait_program("backend1", "up");
    all_know(&nginx);
    (supervisord, peers, nginx)
}

/// Requests in several workers, and how many of them run at the first program.
fn occupy(nginx: &Nginx, peers: &[Peer]) -> (Vec<busy::Client>, usize) {
    let clients = busy::begin(12, nginx, peers);
    let running = peers[0].probe_count();

    assert!(running > 2, "some run at the first program");
    (clients, running)
}

/// The requests that run at the first program.
fn running(nginx: &Nginx) -> u64 {
    nginx.status().program("backend0").running
}

/// Asserts that supervisord is not told to stop the first program, which would take a moment.
#[track_caller]
fn waits(supervisord: &ScriptedSupervisord) {
    holds_for(Duration::from_millis(300), "it waits", || supervisord.stops("backend0") == 0);
}

#[test]
fn running_requests_finish_and_only_then_is_it_stopped() {
    let (supervisord, peers, nginx) = start("");
    let (clients, begun) = occupy(&nginx, &peers);

    let command = nginx.stop_page("backend", 0);
    assert!(command.accepted, "{command:?}");
    assert_eq!(command.state.as_deref(), Some("stopping"));
    assert_eq!(nginx.tally(30, "backend").at(&peers[1].to_string()), 30, "no new ones");
    let program = nginx.status().program("backend0");
    assert_eq!((program.state.as_str(), program.running), ("stopping", begun as u64));
    busy::answer(&peers[0], begun - 1);
    wait_until(LIMIT, "one is left", || running(&nginx) == 1);
    waits(&supervisord);

    let last = Instant::now();
    busy::answer(&peers[0], 1);
    busy::all_served(clients);
    assert_eq!(peers[0].probe_count(), begun);
    wait_until(LIMIT, "a stop", || supervisord.stops("backend0") == 1);
    assert!(supervisord.calls_of(STOP)[0].at > last, "only after the last one");
    assert_eq!(nginx.wait_program("backend0", "down").running, 0);
}

#[test]
fn a_request_that_takes_longer_than_the_drain_is_not_waited_for() {
    let (supervisord, peers, nginx) = start("supervisord_drain 500;");
    let (clients, begun) = occupy(&nginx, &peers);

    let stopped = Instant::now();
    assert!(nginx.stop_page("backend", 0).accepted);
    wait_until(LIMIT, "a stop", || supervisord.stops("backend0") == 1);
    let waited = supervisord.calls_of(STOP)[0].at - stopped;
    assert!(waited >= Duration::from_millis(450), "{waited:?}");
    assert_eq!(running(&nginx), begun as u64);
    busy::answer(&peers[0], begun);
    busy::all_served(clients);
}

#[test]
fn a_stop_that_was_accepted_is_sent_before_nginx_ends() {
    let (supervisord, _peers, mut nginx) = start("");

    assert!(nginx.stop_page("backend", 0).accepted);
    nginx.quit_within(LIMIT);

    assert_eq!(supervisord.stops("backend0"), 1);
}

#[test]
fn a_real_program_answers_what_it_has_begun_before_it_is_stopped() {
    let programs: Vec<Program> = Program::many("backend", 1);
    let supervisord = Supervisord::start(programs);
    supervisord.start_program("backend0").expect("it starts");
    let config = Config::new().workers(2).upstream("backend", supervisord.upstream());
    let nginx = Nginx::start(&config.commands("backend"));
    nginx.wait_program("backend0", "up");
    wait_until(LIMIT, "it answers", || nginx.get("/backend/").status == 200);
    let address = nginx.address();

    let clients: Vec<_> = (0..6)
        .map(|_| thread::spawn(move || Request::get("/backend/held").send(address)))
        .collect();
    wait_until(LIMIT, "all run", || running(&nginx) == 6);
    assert!(nginx.stop_page("backend", 0).accepted);
    assert_eq!(supervisord.state("backend0"), "RUNNING");
    supervisord.behave("backend0", "release");
    for client in clients {
        let answer = client.join().expect("a client").expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "backend0"));
    }
    supervisord.wait_state("backend0", "STOPPED");
    nginx.wait_program("backend0", "down");
}

#[test]
fn check_45_a_program_leaves_before_supervisord_answers_and_stays_out_when_it_did_not_run() {
    let (supervisord, peers, nginx) = start("");
    supervisord.hold(STOP).reply(STOP, Reply::Fault(70));

    assert!(nginx.stop_page("backend", 1).accepted);
    assert_eq!(nginx.tally(30, "backend").at(&peers[0].to_string()), 30);
    wait_until(LIMIT, "a stop", || supervisord.stops("backend1") == 1);
    supervisord.set_state("backend1", "STOPPED").release(STOP);
    nginx.wait_program("backend1", "down");
    assert_eq!(nginx.tally(30, "backend").at(&peers[0].to_string()), 30);
    assert!(nginx.log_lines("could not stop").is_empty());
}

#[test]
fn check_45_a_program_that_cannot_be_stopped_returns() {
    let (supervisord, peers, nginx) = start("");
    supervisord.hold(STOP).reply(STOP, Reply::Fault(10));

    assert!(nginx.stop_page("backend", 1).accepted);
    assert_eq!(nginx.tally(30, "backend").at(&peers[0].to_string()), 30);
    supervisord.release(STOP);
    nginx.wait_program("backend1", "up");
    assert!(nginx.tally(30, "backend").at(&peers[1].to_string()) > 0);
    let text = "could not stop \"backend1\" of upstream \"backend\": fault 10";
    assert_eq!(nginx.log_lines(text).len(), 1, "{}", nginx.error_log());
}

#[test]
fn a_start_during_a_drain_spares_the_program() {
    let (supervisord, peers, nginx) = start("");
    let (clients, begun) = occupy(&nginx, &peers);

    assert!(nginx.stop_page("backend", 0).accepted);
    assert!(nginx.start_page("backend", 0).accepted);
    busy::answer(&peers[0], begun);
    busy::all_served(clients);
    nginx.wait_program("backend0", "up");
    assert!(nginx.tally(10, "backend").at(&peers[0].to_string()) > 0);
    assert_eq!((supervisord.stops("backend0"), supervisord.starts("backend0")), (0, 0));
}

#[test]
fn requests_that_end_in_any_way_are_no_longer_waited_for() {
    let (supervisord, peers, nginx) = start("supervisord_drain 5m;");

    // Clients that leave, and one whose program does.
    let clients: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut client = TcpStream::connect(nginx.address()).expect("nginx listens");
            let request = format!("GET {} HTTP/1.0\r\nHost: test\r\n\r\n", busy::PATH);
            client.write_all(request.as_bytes()).expect("it reads");
            client
        })
        .collect();
    wait_until(LIMIT, "all have arrived", || busy::arrived(&peers) == 8);
    let begun = running(&nginx);
    assert!(begun > 1, "some of them run there");
    assert!(nginx.stop_page("backend", 0).accepted);
    peers[0].next_probes([Script::close()]);
    wait_until(LIMIT, "one has ended", || running(&nginx) == begun - 1);
    waits(&supervisord);
    drop(clients);
    wait_until(LIMIT, "a stop", || supervisord.stops("backend0") == 1);
    assert_eq!(nginx.wait_program("backend0", "down").running, 0);
}

#[test]
fn a_retried_request_runs_at_the_program_that_has_it_now() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    let again = "location /retried/ { proxy_pass http://backend/; proxy_next_upstream http_500; }";
    let body = format!("supervisord {supervisord}; {}", servers(&peers));
    let config = Config::new().workers(1).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config.server(again));
    nginx.wait_program("backend0", "up");
    nginx.wait_program("backend1", "up");
    all_know(&nginx);
    peers[0].probes(Script::status(500, "failed"));
    peers[1].hold_probes();
    let address = nginx.address();

    let clients =
        (0..4).map(|_| thread::spawn(move || Request::get("/retried/hc").send(address))).collect();
    wait_until(LIMIT, "all run at the second", || {
        let page = nginx.status();
        page.program("backend0").running == 0 && page.program("backend1").running == 4
    });
    busy::answer(&peers[1], 4);
    busy::all_served(clients);
    wait_until(LIMIT, "none runs", || nginx.status().program("backend1").running == 0);
}
