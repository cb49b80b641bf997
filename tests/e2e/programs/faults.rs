//! Supervisord or a worker goes away, hangs or talks nonsense: soon all is consistent again.

use std::thread;
use std::time::Duration;

use support::scripted_supervisord::{INFO, START, STOP};
use support::{
    holds_for, process, servers, wait_until, Config, Nginx, Peer, Program, Reply, Request,
    ScriptedSupervisord, Supervisord, LIMIT,
};

use super::{all_know, busy, ENDLESS};

const QUICK: &str = "supervisord_connect_timeout 1s; supervisord_send_timeout 1s; \
                     supervisord_read_timeout 1s; supervisord_poll 200;";

fn real(program: Program, more: &str) -> (Supervisord, Nginx) {
    let supervisord = Supervisord::start([program]);
    let body = format!("{} {more}", supervisord.upstream());
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");

    (supervisord, Nginx::start(&config))
}

/// Waits until a request is served and the page, the rotation and supervisord agree.
fn recovers(supervisord: &Supervisord, nginx: &Nginx) {
    wait_until(LIMIT, "requests are served", || nginx.get("/backend/").status == 200);
    supervisord.wait_state("backend0", "RUNNING");
    nginx.wait_program("backend0", "up");
    assert_eq!(nginx.tally(10, "backend").with_status(200), 10);
    assert_eq!(nginx.status().upstream("backend").held, 0);
}

#[test]
fn a_supervisord_killed_while_it_starts_a_program_fails_the_request_and_the_next_one_works() {
    let program = Program::new("backend0").setting("startsecs", 4);
    let (mut supervisord, nginx) = real(program, &format!("supervisord_poll 200; {ENDLESS}"));
    let address = nginx.address();

    let client = thread::spawn(move || Request::get("/backend/").send(address));
    wait_until(LIMIT, "a start", || !supervisord.spawned("backend0").is_empty());
    supervisord.kill9();
    assert_eq!(client.join().expect("a client").expect("an answer").status, 502);
    nginx.wait_program("backend0", "down");
    assert_eq!(nginx.get("/backend/").status, 502);
    supervisord.restart();
    recovers(&supervisord, &nginx);
}

#[test]
fn a_supervisord_that_hangs_costs_the_read_timeout_and_its_late_start_is_seen() {
    let (supervisord, nginx) = real(Program::new("backend0"), QUICK);

    supervisord.pause();
    // The client does not wait for the half minute of the default.
    assert_eq!(nginx.get("/backend/").status, 502);
    supervisord.resume();
    recovers(&supervisord, &nginx);
}

#[test]
fn a_supervisord_that_hangs_before_a_stop_leaves_nothing_stuck() {
    let (supervisord, nginx) = real(Program::new("backend0"), QUICK);
    supervisord.start_program("backend0").expect("it starts");
    recovers(&supervisord, &nginx);

    supervisord.pause();
    assert!(nginx.stop_page("backend", 0).accepted);
    wait_until(LIMIT, "it gives up", || nginx.status().program("backend0").state != "stopping");
    supervisord.resume();
    wait_until(LIMIT, "both agree", || {
        let runs = supervisord.state("backend0") == "RUNNING";
        runs == (nginx.status().program("backend0").state == "up")
    });
    wait_until(LIMIT, "requests are served", || nginx.get("/backend/").status == 200);
}

#[test]
fn a_supervisord_that_was_restarted_starts_the_program_again() {
    let (mut supervisord, nginx) = real(Program::new("backend0"), "supervisord_poll 200;");
    supervisord.start_program("backend0").expect("it starts");
    recovers(&supervisord, &nginx);

    supervisord.kill9();
    assert_eq!(nginx.get("/backend/").status, 502, "its program has ended with it");
    supervisord.restart();
    recovers(&supervisord, &nginx);
}

#[test]
fn programs_that_outlive_their_supervisord_go_on_serving() {
    let program = Program::new("backend0").behaves("orphan");
    let (mut supervisord, nginx) = real(program, "supervisord_poll 100;");
    supervisord.start_program("backend0").expect("it starts");
    recovers(&supervisord, &nginx);

    supervisord.kill9();
    holds_for(Duration::from_secs(1), "it serves", || nginx.get("/backend/").status == 200);
    wait_until(LIMIT, "polls fail", || {
        !nginx.log_lines("couldn't connect to supervisord").is_empty()
    });
    let errors = nginx.log_lines("[error]").len();
    assert!(errors <= 3, "{errors} lines in ten polls");
}

#[test]
fn polls_that_bring_nonsense_change_nothing() {
    let half = "HTTP/1.0 200 OK\r\nContent-Length: 900\r\n\r\n<?xml version='1.0'?><methodRes";
    let flat = "<?xml version='1.0'?><methodResponse><params><param><value><boolean>1</boolean>\
                </value></param></params></methodResponse>";
    let short = "<?xml version='1.0'?><methodResponse><params><param><value><array><data></data>\
                 </array></value></param></params></methodResponse>";
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    let body = format!("supervisord {supervisord}; {QUICK} {}", servers(&peers));
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
    nginx.wait_program("backend0", "up");
    nginx.wait_program("backend1", "up");
    let memory = |nginx: &Nginx| {
        nginx.workers().into_iter().map(process::resident_kib).max().expect("workers")
    };
    let before = memory(&nginx);

    for reply in [
        Reply::close(),
        Reply::raw("nonsense\r\n\r\n"),
        Reply::raw(half),
        Reply::text(flat),
        Reply::text(short),
        Reply::huge(),
        Reply::unauthorized(),
        Reply::Fault(1),
        Reply::never(),
    ] {
        supervisord.reply(INFO, reply);
        let polls = supervisord.calls_of(INFO).len();
        wait_until(LIMIT, "three more polls", || supervisord.calls_of(INFO).len() > polls + 2);
        let tally = nginx.tally(10, "backend");
        assert_eq!(tally.with_status(200), 10, "{tally:?}");
        assert_eq!(tally.peers.len(), 2, "{tally:?}");
    }
    supervisord.reply(INFO, Reply::Fitting).set_state("backend1", "FATAL");
    nginx.wait_program("backend1", "down");
    all_know(&nginx);
    assert_eq!(nginx.tally(10, "backend").at(&peers[0].to_string()), 10);
    let after = memory(&nginx);
    assert!(after < before + 20_000, "{before} KiB, then {after}");
}

/// Kills each of two workers in a state that `reach` brings about; afterwards all must be served.
fn survives(reach: impl Fn(&ScriptedSupervisord, &[Peer], &Nginx)) {
    for victim in 0..2 {
        let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
        supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
        // No drain and no call ends because the test takes its time.
        let limits = format!("supervisord_poll 200; supervisord_drain 5m; {ENDLESS}");
        let body = format!("supervisord {supervisord}; {limits} {}", servers(&peers));
        let config = Config::new().workers(2).upstream("backend", body).commands("backend");
        let mut nginx = Nginx::start(&config);
        nginx.wait_program("backend0", "up");
        nginx.wait_program("backend1", "up");

        reach(&supervisord, &peers, &nginx);
        let worker = nginx.workers()[victim];
        nginx.kill9(worker);
        wait_until(LIMIT, "another worker", || {
            let workers = nginx.workers();
            workers.len() == 2 && !workers.contains(&worker)
        });
        supervisord.release(STOP).release(START);
        peers.iter().for_each(|peer| busy::answer(peer, BUSY));
        wait_until(LIMIT, "nothing is stuck", || {
            let page = nginx.status();
            ["backend0", "backend1"].iter().all(|name| {
                let program = page.program(name);
                let runs = supervisord.state_of(name) == "RUNNING";
                matches!(program.state.as_str(), "up" | "down")
                    && runs == (program.state == "up")
                    && program.running == 0
            })
        });
        wait_until(LIMIT, "requests are served", || {
            Request::get("/backend/").send(nginx.address()).is_ok_and(|own| own.status == 200)
        });
        all_know(&nginx);
        let page = nginx.status();
        let tally = nginx.tally(40, "backend");
        assert_eq!(tally.with_status(200), 40, "{tally:?}");
        for (number, peer) in peers.iter().enumerate() {
            let is_up = page.program(&format!("backend{number}")).state == "up";
            assert_eq!(tally.at(&peer.to_string()) > 0, is_up, "{tally:?} {page:#?}");
        }
    }
}

/// How many requests [`keep_running`] begins.
const BUSY: usize = 8;

/// Leaves requests running at both peers.
fn keep_running(peers: &[Peer], nginx: &Nginx) {
    for peer in peers {
        peer.hold_probes();
    }
    // Some lose their worker: nobody looks at the answers.
    drop(busy::begin(BUSY, nginx, peers));
    let page = nginx.status();
    let running = page.program("backend0").running + page.program("backend1").running;
    assert_eq!(running, BUSY as u64, "{page:#?}");
}

#[test]
fn a_worker_killed_while_programs_are_up_and_busy_leaves_no_count_behind() {
    survives(|_, peers, nginx| keep_running(peers, nginx));
}

#[test]
fn an_old_worker_killed_after_a_reload_leaves_no_count_behind() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    let body = format!("supervisord {supervisord}; supervisord_drain 5m; {}", servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let mut nginx = Nginx::start(&config);
    nginx.wait_program("backend0", "up");
    nginx.wait_program("backend1", "up");
    keep_running(&peers, &nginx);
    let old = nginx.workers();

    nginx.signal_reload(&config);
    nginx.await_generation(LIMIT);
    assert!(nginx.status().program("backend0").running > 0, "they run in the old workers");
    for worker in old {
        // Nobody takes the place of one that was leaving.
        nginx.kill9(worker);
        wait_until(LIMIT, "it is dead", || !process::is_alive(worker));
    }
    wait_until(LIMIT, "none runs", || nginx.status().program("backend0").running == 0);
    assert!(nginx.stop_page("backend", 0).accepted);
    wait_until(LIMIT, "a stop", || supervisord.stops("backend0") == 1);
}

#[test]
fn a_worker_killed_while_a_program_drains_leaves_nothing_stuck() {
    survives(|supervisord, peers, nginx| {
        keep_running(peers, nginx);
        assert!(nginx.stop_page("backend", 0).accepted);
        assert_eq!(supervisord.stops("backend0"), 0);
    });
}

#[test]
fn a_worker_killed_while_supervisord_stops_a_program_leaves_nothing_stuck() {
    survives(|supervisord, _, nginx| {
        supervisord.hold(STOP);
        assert!(nginx.stop_page("backend", 0).accepted);
        wait_until(LIMIT, "a stop", || supervisord.stops("backend0") == 1);
    });
}

#[test]
fn a_worker_killed_while_supervisord_starts_a_program_leaves_nothing_stuck() {
    survives(|supervisord, _, nginx| {
        assert!(nginx.stop_page("backend", 1).accepted);
        nginx.wait_program("backend1", "down");
        supervisord.hold(START);
        assert!(nginx.start_page("backend", 1).accepted);
        wait_until(LIMIT, "a start", || supervisord.starts("backend1") == 1);
    });
}

#[test]
fn a_worker_killed_while_a_program_is_down_leaves_it_down_for_requests() {
    survives(|_, _, nginx| {
        assert!(nginx.stop_page("backend", 1).accepted);
        nginx.wait_program("backend1", "down");
    });
}

#[test]
fn a_worker_that_hangs_in_the_middle_of_a_start_holds_up_nobody_for_long() {
    for victim in 0..2 {
        let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
        supervisord.hold(START);
        let body = format!("supervisord {supervisord}; {QUICK} {}", servers(&peers));
        let config = Config::new().workers(2).shared_socket().upstream("backend", body);
        let nginx = Nginx::start(&config.commands("backend"));
        let address = nginx.address();

        let client = thread::spawn(move || Request::get("/backend/").limit(LIMIT).send(address));
        wait_until(LIMIT, "a start", || supervisord.starts("backend0") == 1);
        let worker = nginx.workers()[victim];
        process::signal(worker, libc::SIGSTOP).expect("it lives");
        wait_until(LIMIT, "it has stopped", || process::is_stopped(worker));
        supervisord.release(START);
        // What it has accepted itself waits with it.
        let quick = Duration::from_secs(2);
        wait_until(LIMIT, "the other one serves", || {
            let answer = Request::get("/backend/").limit(quick).send(address);
            answer.is_ok_and(|answer| answer.status == 200)
        });
        process::signal(worker, libc::SIGCONT).expect("it lives");
        let answer = client.join().expect("a client").expect("an answer");
        assert!(matches!(answer.status, 200 | 502), "{answer}");
        nginx.wait_program("backend0", "up");
        assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
        assert_eq!(supervisord.state_of("backend0"), "RUNNING");
        // Those that were given up while the worker hung are in its hands yet.
        wait_until(LIMIT, "none is held", || nginx.status().upstream("backend").held == 0);
    }
}
