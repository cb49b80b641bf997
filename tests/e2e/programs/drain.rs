//! A program that is to stop finishes what it has begun before supervisord is told.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use support::scripted_supervisord::STOP;
use support::{
    holds_for, servers, wait_until, Config, Nginx, Peer, Program, Reply, Request, Script,
    ScriptedSupervisord, Step, Supervisord, LIMIT,
};

/// Two programs that run; the first answers after that time.
fn start(slow: Duration, more: &str) -> (ScriptedSupervisord, Vec<Peer>, Nginx) {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    let answer = Script(vec![Step::Pause(slow)]);
    let whole = Script::ok("served").0.into_iter().fold(answer, Script::then);
    peers[0].requests(whole);
    let body = format!("supervisord {supervisord}; {} {more}", servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);

    nginx.wait_program("backend0", "up");
    nginx.wait_program("backend1", "up");
    (supervisord, peers, nginx)
}

/// Requests in several workers, half of which run at the first program; returns when they do.
fn occupy(nginx: &Nginx, peers: &[Peer]) -> Vec<thread::JoinHandle<u16>> {
    let address = nginx.address();
    let clients = (0..12)
        .map(|_| {
            thread::spawn(move || {
                Request::get("/backend/").send(address).map_or(0, |answer| answer.status)
            })
        })
        .collect();
    wait_until(LIMIT, "all have arrived", || {
        peers.iter().map(Peer::request_count).sum::<usize>() == 12
    });
    assert!(peers[0].request_count() > 2, "some run at the first program");
    clients
}

#[test]
fn running_requests_finish_and_only_then_is_it_stopped() {
    let (supervisord, peers, nginx) = start(Duration::from_millis(1500), "");
    let clients = occupy(&nginx, &peers);

    let stopped = Instant::now();
    let command = nginx.stop_page("backend", 0);
    assert!(command.accepted, "{command:?}");
    assert_eq!(command.state.as_deref(), Some("stopping"));
    let before = peers[0].request_count();
    assert_eq!(nginx.tally(30, "backend").at(&peers[1].to_string()), 30, "no new ones");
    let program = nginx.status().program("backend0");
    assert_eq!(program.state, "stopping");
    assert!(program.running > 0, "{program:?}");
    assert_eq!(supervisord.stops("backend0"), 0);
    for client in clients {
        assert_eq!(client.join().expect("a client"), 200);
    }
    let ended = Instant::now();
    let ends: Vec<Instant> = peers[0].seen().iter().filter_map(|seen| seen.ended).collect();
    assert_eq!((ends.len(), peers[0].request_count()), (before, before));

    wait_until(LIMIT, "a stop", || supervisord.stops("backend0") == 1);
    let told = supervisord.calls_of(STOP)[0].at;
    assert!(ends.iter().all(|end| *end <= told), "only after the last one");
    let late = told.saturating_duration_since(ended);
    assert!(late < Duration::from_secs(1), "{late:?} after the last of them");
    assert!(told - stopped > Duration::from_millis(500));
    assert_eq!(nginx.wait_program("backend0", "down").running, 0);
}

#[test]
fn a_request_that_takes_longer_than_the_drain_is_not_waited_for() {
    let (supervisord, peers, nginx) = start(Duration::from_secs(4), "supervisord_drain 500;");
    let clients = occupy(&nginx, &peers);

    let stopped = Instant::now();
    assert!(nginx.stop_page("backend", 0).accepted);
    holds_for(Duration::from_millis(300), "it waits", || supervisord.stops("backend0") == 0);
    wait_until(LIMIT, "a stop", || supervisord.stops("backend0") == 1);
    let waited = supervisord.calls_of(STOP)[0].at - stopped;
    assert!((450..2_500).contains(&waited.as_millis()), "{waited:?}");
    for client in clients {
        client.join().expect("a client");
    }
}

#[test]
fn a_stop_that_was_accepted_is_sent_before_nginx_ends() {
    let (supervisord, _peers, mut nginx) = start(Duration::ZERO, "");

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
        .map(|_| thread::spawn(move || Request::get("/backend/wait/1000").send(address)))
        .collect();
    wait_until(LIMIT, "all run", || nginx.status().program("backend0").running == 6);
    assert!(nginx.stop_page("backend", 0).accepted);
    assert_eq!(supervisord.state("backend0"), "RUNNING");
    for client in clients {
        let answer = client.join().expect("a client").expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "backend0"));
    }
    supervisord.wait_state("backend0", "STOPPED");
    nginx.wait_program("backend0", "down");
}

#[test]
fn check_45_a_program_leaves_before_supervisord_answers_and_stays_out_when_it_did_not_run() {
    let (supervisord, peers, nginx) = start(Duration::ZERO, "");
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
    let (supervisord, peers, nginx) = start(Duration::ZERO, "");
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
    let (supervisord, peers, nginx) = start(Duration::from_millis(1500), "");
    let clients = occupy(&nginx, &peers);

    assert!(nginx.stop_page("backend", 0).accepted);
    assert!(nginx.start_page("backend", 0).accepted);
    for client in clients {
        assert_eq!(client.join().expect("a client"), 200);
    }
    nginx.wait_program("backend0", "up");
    assert!(nginx.tally(10, "backend").at(&peers[0].to_string()) > 0);
    assert_eq!((supervisord.stops("backend0"), supervisord.starts("backend0")), (0, 0));
}

#[test]
fn requests_that_end_in_any_way_are_no_longer_waited_for() {
    let (supervisord, peers, nginx) = start(Duration::from_secs(8), "");
    let running = || nginx.status().program("backend0").running;

    // Clients that leave, and one whose program does.
    let clients: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut client = TcpStream::connect(nginx.address()).expect("nginx listens");
            client.write_all(b"GET /backend/ HTTP/1.0\r\nHost: test\r\n\r\n").expect("it reads");
            client
        })
        .collect();
    wait_until(LIMIT, "all have arrived", || {
        peers.iter().map(Peer::request_count).sum::<usize>() == 8
    });
    assert!(running() > 1, "some of them run there");
    assert!(nginx.stop_page("backend", 0).accepted);
    holds_for(Duration::from_millis(300), "it waits", || supervisord.stops("backend0") == 0);
    drop(clients);
    wait_until(Duration::from_secs(5), "a stop", || supervisord.stops("backend0") == 1);
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
    let slow = Script(vec![Step::Pause(Duration::from_millis(900))]);
    peers[0].requests(Script::status(500, "failed"));
    peers[1].requests(Script::ok("served").0.into_iter().fold(slow, Script::then));
    let address = nginx.address();

    let clients: Vec<_> =
        (0..4).map(|_| thread::spawn(move || Request::get("/retried/").send(address))).collect();
    wait_until(LIMIT, "all run at the second", || {
        let page = nginx.status();
        page.program("backend0").running == 0 && page.program("backend1").running == 4
    });
    for client in clients {
        assert_eq!(client.join().expect("a client").expect("an answer").status, 200);
    }
    wait_until(LIMIT, "none runs", || nginx.status().program("backend1").running == 0);
}
