//! What becomes of programs when the configuration is loaded again.

use std::thread;
use std::time::Duration;

use support::scripted_supervisord::START;
use support::{
    holds_for, servers, wait_until, Config, Nginx, Peer, Program, Request, ScriptedSupervisord,
    Supervisord, LIMIT,
};

use super::{all_know, busy};

const NONE: &str = "supervisord none; supervisord_inherit_backend_status;";

fn states(nginx: &Nginx) -> Vec<(String, bool)> {
    let rows = nginx.status().of("backend");
    let programs = rows.into_iter().map(|row| row.program.expect("a program"));
    programs.map(|program| (program.state, program.admin_down)).collect()
}

/// Returns once the old workers are leaving, and new ones are there.
fn await_new_workers(nginx: &mut Nginx, old: &[u32]) {
    nginx.await_generation(LIMIT);
    wait_until(LIMIT, "new workers", || {
        let workers = nginx.workers();
        workers.len() == 2 && workers.iter().all(|pid| !old.contains(pid))
    });
}

/// Lines for these peers, those of the given numbers `down`.
fn lines(peers: &[Peer], down: &[usize]) -> String {
    let line = |(number, peer): (usize, &Peer)| {
        let down = if down.contains(&number) { " down" } else { "" };
        format!("server {peer} max_fails=0{down}; ")
    };
    peers.iter().enumerate().map(line).collect()
}

#[test]
fn check_48_what_was_stopped_and_started_by_hand_stays_so_after_reloads() {
    for zone in ["", "zone backend 64k;"] {
        let peers = Peer::start_many(4);
        let body = format!("{zone} {NONE} {}", lines(&peers, &[3]));
        let config = Config::new().workers(2).upstream("backend", body).commands("backend");
        let mut nginx = Nginx::start(&config);
        assert!(nginx.stop_page("backend", 0).accepted);
        assert!(nginx.stop_page("backend", 2).accepted);
        assert!(nginx.start_page("backend", 3).accepted);
        let before = states(&nginx);

        for _ in 0..3 {
            nginx.reload(&config);
            assert_eq!(states(&nginx), before);
            let tally = nginx.tally(60, "backend");
            assert_eq!(tally.with_status(200), 60);
            let at = |number: usize| tally.at(&peers[number].to_string());
            assert_eq!((at(0), at(2)), (0, 0), "{zone} {tally:?}");
            assert!(at(1) > 0 && at(3) > 0, "{zone} {tally:?}");
        }
    }
}

#[test]
fn a_changed_down_flag_wins_and_an_unchanged_one_does_not() {
    let peers = Peer::start_many(3);
    let body = |down: &[usize]| format!("{NONE} {}", lines(&peers, down));
    let config = Config::new().workers(2).commands("backend");
    let with = |down: &[usize]| config.clone().upstream("backend", body(down));
    let mut nginx = Nginx::start(&with(&[2]));
    let used = |nginx: &Nginx| {
        let tally = nginx.tally(60, "backend");
        assert_eq!(tally.with_status(200), 60, "{tally:?}");
        let used = (0..3).filter(|&number| tally.at(&peers[number].to_string()) > 0);
        used.collect::<Vec<usize>>()
    };

    assert_eq!(used(&nginx), [0, 1]);
    assert!(nginx.stop_page("backend", 0).accepted);
    assert!(nginx.start_page("backend", 2).accepted);
    nginx.reload(&with(&[2]));
    assert_eq!(used(&nginx), [1, 2], "nothing has changed");
    nginx.reload(&with(&[1, 2]));
    assert_eq!(used(&nginx), [2], "1 is marked down now");
    nginx.reload(&with(&[2]));
    assert_eq!(used(&nginx), [1, 2], "and no longer");
    assert!(nginx.stop_page("backend", 2).accepted);
    nginx.reload(&with(&[]));
    assert_eq!(used(&nginx), [1, 2], "2 is no longer marked down; 0 was stopped by hand");
}

#[test]
fn a_real_program_keeps_running_and_serving_through_reloads() {
    let supervisord = Supervisord::start(Program::many("backend", 2));
    supervisord.start_program("backend0").expect("it starts");
    let config = Config::new().workers(2).upstream("backend", supervisord.upstream());
    let mut nginx = Nginx::start(&config);
    nginx.wait_program("backend0", "up");
    wait_until(LIMIT, "it answers", || nginx.get("/backend/").status == 200);
    let pid = supervisord.pid("backend0");

    let load = nginx.load(2, "backend");
    for _ in 0..4 {
        nginx.reload(&config);
    }
    let samples = load.stop();
    let refused = samples.iter().filter(|sample| sample.status != Some(200)).count();
    assert_eq!(refused, 0, "of {}", samples.len());
    assert_eq!((supervisord.pid("backend0"), supervisord.calls(START)), (pid, 1));
}

#[test]
fn requests_held_during_a_reload_are_served_by_the_old_worker() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.hold(START);
    let body = format!("supervisord {supervisord}; {}", servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body);
    let mut nginx = Nginx::start(&config);
    let address = nginx.address();

    let clients: Vec<_> =
        (0..6).map(|_| thread::spawn(move || Request::get("/backend/").send(address))).collect();
    wait_until(LIMIT, "all are held", || nginx.status().upstream("backend").held == 6);
    let old = nginx.workers();
    nginx.signal_reload(&config);
    await_new_workers(&mut nginx, &old);
    supervisord.release(START);
    for client in clients {
        let answer = client.join().expect("a client").expect("an answer");
        assert_eq!((answer.status, answer.peer()), (200, peers[0].to_string().as_str()));
        assert!(old.contains(&answer.worker()));
    }
    assert_eq!(nginx.tally(10, "backend").with_status(200), 10);
    nginx.wait_program("backend0", "up");
}

#[test]
fn a_stop_that_drains_is_carried_out_across_a_reload() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    peers[0].hold_probes();
    let body = format!("supervisord {supervisord}; {}", servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let mut nginx = Nginx::start(&config);
    nginx.wait_program("backend0", "up");
    nginx.wait_program("backend1", "up");
    let clients = busy::begin(6, &nginx, &peers);
    let old = nginx.workers();

    assert!(nginx.stop_page("backend", 0).accepted);
    nginx.signal_reload(&config);
    await_new_workers(&mut nginx, &old);
    holds_for(Duration::from_millis(300), "it waits", || supervisord.stops("backend0") == 0);
    busy::answer(&peers[0], peers[0].probe_count());
    busy::all_served(clients);
    wait_until(LIMIT, "a stop", || supervisord.stops("backend0") == 1);
    let program = nginx.wait_program("backend0", "down");
    assert_eq!(program.running, 0);
    assert_eq!(nginx.tally(20, "backend").at(&peers[1].to_string()), 20);
}

#[test]
fn an_upstream_that_gets_or_loses_its_supervisord_works() {
    let peers = Peer::start_many(2);
    let plain = Config::new().workers(2).upstream("backend", lines(&peers, &[]));
    let managed = plain.clone().upstream("backend", format!("{NONE} {}", lines(&peers, &[])));
    let managed = managed.commands("backend");
    let mut nginx = Nginx::start(&plain);

    for _ in 0..2 {
        assert!(nginx.tally(20, "backend").at(&peers[0].to_string()) > 5);
        nginx.reload(&managed);
        assert!(nginx.stop_page("backend", 0).accepted);
        assert_eq!(nginx.tally(20, "backend").at(&peers[1].to_string()), 20);
        assert!(nginx.start_page("backend", 0).accepted);
        nginx.reload(&plain);
        assert!(nginx.status().of("backend").iter().all(|row| row.program.is_none()));
    }
}

#[test]
fn a_reload_to_another_supervisord_asks_that_one() {
    let (first, second) = (ScriptedSupervisord::start(), ScriptedSupervisord::start());
    first.set_state("backend0", "RUNNING");
    second.set_state("backend1", "RUNNING");
    let peers = Peer::start_many(2);
    let body = |supervisord: &ScriptedSupervisord| {
        format!("supervisord {supervisord}; supervisord_poll 200; {}", servers(&peers))
    };
    let config = Config::new().workers(2).upstream("backend", body(&first));
    let mut nginx = Nginx::start(&config);
    nginx.wait_program("backend0", "up");

    nginx.reload(&config.upstream("backend", body(&second)));
    nginx.wait_program("backend0", "down");
    nginx.wait_program("backend1", "up");
    let calls = first.calls().len();
    wait_until(LIMIT, "more polls", || second.calls().len() > 5);
    // One may have been on its way.
    assert!(first.calls().len() <= calls + 1, "the first one is left alone");
    assert_eq!(nginx.tally(10, "backend").at(&peers[1].to_string()), 10);
}

/// More peers than the first zone has room for.
fn with_many_more(config: &Config) -> Config {
    let lines: String =
        (0..200).map(|last| format!("server 127.0.9.{last}:1 down max_fails=0; ")).collect();
    config.clone().upstream("many", format!("{NONE} {lines}"))
}

#[test]
fn states_survive_a_zone_that_grows() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(3));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    let body = format!("supervisord {supervisord}; {}", lines(&peers, &[2]));
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let mut nginx = Nginx::start(&config);
    nginx.wait_program("backend0", "up");
    nginx.wait_program("backend1", "up");
    assert!(nginx.stop_page("backend", 0).accepted);
    assert!(nginx.start_page("backend", 2).accepted);
    nginx.wait_program("backend0", "down");
    nginx.wait_program("backend2", "up");
    let before = states(&nginx);

    let larger = with_many_more(&config);
    for next in [&larger, &larger, &config, &larger] {
        nginx.reload(next);
        assert_eq!(states(&nginx), before);
        let tally = nginx.tally(30, "backend");
        assert_eq!((tally.with_status(200), tally.at(&peers[0].to_string())), (30, 0), "{tally:?}");
    }
    assert_eq!((supervisord.stops("backend0"), supervisord.starts("backend2")), (1, 1));
}

#[test]
fn a_zone_that_grows_while_a_program_starts_leaves_no_request_without_an_answer() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.hold(START);
    let limits = "supervisord_read_timeout 3s; supervisord_poll 300;";
    let body = format!("supervisord {supervisord}; {limits} {}", servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body);
    let mut nginx = Nginx::start(&config);
    let address = nginx.address();

    let clients: Vec<_> =
        (0..6).map(|_| thread::spawn(move || Request::get("/backend/").send(address))).collect();
    wait_until(LIMIT, "all are held", || nginx.status().upstream("backend").held == 6);
    let old = nginx.workers();
    nginx.signal_reload(&with_many_more(&config));
    await_new_workers(&mut nginx, &old);
    let late = thread::spawn(move || Request::get("/backend/").send(address));
    wait_until(LIMIT, "it is held", || nginx.status().upstream("backend").held > 0);
    supervisord.release(START);
    for client in clients {
        let status = client.join().expect("a client").expect("an answer").status;
        assert!(matches!(status, 200 | 502), "{status}");
    }
    assert_eq!(late.join().expect("a client").expect("an answer").status, 200);
    wait_until(LIMIT, "the old workers are gone", || nginx.workers().len() == 2);
    nginx.wait_program("backend0", "up");
    assert_eq!(nginx.tally(10, "backend").with_status(200), 10);
    assert_eq!(supervisord.state_of("backend0"), "RUNNING");
}

#[test]
fn lines_that_come_and_go_work() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(4));
    for number in 0..4 {
        supervisord.set_state(&format!("backend{number}"), "RUNNING");
    }
    let poll = "supervisord_poll 200;";
    let config = Config::new().workers(2).commands("backend");
    let of = |count: usize| {
        let body = format!("supervisord {supervisord}; {poll} {}", lines(&peers[..count], &[]));
        config.clone().upstream("backend", body)
    };
    let mut nginx = Nginx::start(&of(2));

    for count in [4, 1, 3, 3, 2, 4] {
        nginx.reload(&of(count));
        for number in 0..count {
            nginx.wait_program(&format!("backend{number}"), "up");
        }
        all_know(&nginx);
        let tally = nginx.tally(40, "backend");
        assert_eq!((tally.peers.len(), tally.with_status(200)), (count, 40), "{tally:?}");
        assert!(nginx.stop_page("backend", count - 1).accepted);
        nginx.wait_program(&format!("backend{}", count - 1), "down");
        supervisord.set_state(&format!("backend{}", count - 1), "RUNNING");
    }
}
