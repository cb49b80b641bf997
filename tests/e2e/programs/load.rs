//! Programs are started and stopped by load.

use std::fs;
use std::thread;
use std::time::Duration;

use support::scripted_supervisord::{START, STOP};
use support::{
    holds_for, servers, wait_until, Config, Load, Nginx, Peer, Request, ScriptedSupervisord,
    Supervisord, CHECK, LIMIT,
};

use super::two_settled;

const SCALED: &str = "supervisord_load_threshold 20; supervisord_load_interval 500; \
                      supervisord_cooldown 300;";

/// Programs that are scaled by load; so many are left when there is none.
fn body(supervisord: &ScriptedSupervisord, peers: &[Peer], left: usize, more: &str) -> String {
    let left = format!("supervisord_min_servers {left};");
    format!("supervisord {supervisord}; {} {SCALED} {left} {more}", servers(peers))
}

/// Three programs, so many of which are left when there is no load. A test that counts stops has
/// all left until its clients have ended: while they are held up there is no load either.
fn start(left: usize, more: &str) -> (ScriptedSupervisord, Vec<Peer>, Config, Nginx) {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(3));
    let body = body(&supervisord, &peers, left, more);
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);

    (supervisord, peers, config, nginx)
}

/// More than twenty requests a second for each of three programs.
fn flood(nginx: &Nginx) -> Load {
    nginx.load(2, "backend")
}

/// The names of programs in the order of their commands.
fn order(supervisord: &ScriptedSupervisord, method: &str) -> Vec<String> {
    supervisord.calls_of(method).iter().map(|call| call.programs[0].clone()).collect()
}

#[test]
fn under_load_programs_are_started_in_order_and_idle_ones_stopped_from_the_end() {
    for line in ["", "least_conn;", "zone backend 64k; random two;"] {
        let (supervisord, peers, config, mut nginx) = start(3, line);

        let load = flood(&nginx);
        nginx.wait_program("backend2", "up");
        assert_eq!(order(&supervisord, START), ["backend0", "backend1", "backend2"], "{line}");
        wait_until(LIMIT, "all are used", || peers.iter().all(|peer| peer.request_count() > 0));
        assert!(nginx.status().upstream("backend").requests > 0);
        let samples = load.stop();
        assert!(samples.iter().all(|sample| sample.status == Some(200)), "{line}");

        nginx.reload(&config.upstream("backend", body(&supervisord, &peers, 0, line)));
        nginx.wait_program("backend0", "down");
        assert_eq!(order(&supervisord, STOP), ["backend2", "backend1", "backend0"], "{line}");
        assert_eq!(nginx.get("/backend/").status, 200, "started again by the next request");
        assert_eq!(supervisord.starts("backend0"), 2);
    }
}

#[test]
fn pid_files_that_an_upgrade_of_another_day_has_left_behind_do_not_matter() {
    let (supervisord, _peers, _, nginx) = start(0, "");
    // In a container the next master may have the pid of the one before; else that is anybody's.
    for older in [nginx.pid(), std::process::id()] {
        let file = nginx.dir().join("nginx.pid.oldbin");
        fs::write(&file, format!("{older}\n")).expect("a file in the directory");

        let load = flood(&nginx);
        nginx.wait_program("backend2", "up");
        load.stop();
        nginx.wait_program("backend0", "down");
    }
    assert!(supervisord.starts("backend2") >= 2 && order(&supervisord, STOP).len() >= 6);
}

#[test]
fn so_many_programs_are_left_as_the_minimum_says() {
    let (supervisord, peers, config, mut nginx) = start(3, "");

    let load = flood(&nginx);
    nginx.wait_program("backend2", "up");
    load.stop();
    nginx.reload(&config.upstream("backend", body(&supervisord, &peers, 2, "")));
    nginx.wait_program("backend2", "down");
    holds_for(Duration::from_millis(2500), "two are left", || {
        order(&supervisord, STOP) == ["backend2"]
    });
}

#[test]
fn the_cooldown_holds_between_two_steps_however_many_workers_there_are() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(4));
    let body = format!(
        "supervisord {supervisord}; {} supervisord_load_threshold 5; supervisord_min_servers 4; \
         supervisord_load_interval 200; supervisord_cooldown 1s;",
        servers(&peers)
    );
    let nginx = Nginx::start(&Config::new().workers(4).upstream("backend", body));

    let load = nginx.load(4, "backend");
    nginx.wait_program("backend3", "up");
    load.stop();
    let names = ["backend0", "backend1", "backend2", "backend3"];
    assert_eq!(order(&supervisord, START), names);
    // As nginx has it: supervisord may be told of one later than of the next.
    let page = nginx.status();
    let starts = names.map(|name| page.program(name).last_command_ms.expect("a start"));
    for pair in starts.windows(2) {
        assert!(pair[1] - pair[0] >= 950, "{starts:?}");
    }
}

#[test]
fn without_a_threshold_nothing_is_scaled() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    let body = format!(
        "supervisord {supervisord}; supervisord_load_interval 200; supervisord_cooldown 100; {}",
        servers(&peers)
    );
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    let load = flood(&nginx);
    wait_until(LIMIT, "the first is up", || nginx.status().program("backend0").state == "up");
    thread::sleep(Duration::from_secs(1));
    load.stop();
    thread::sleep(Duration::from_secs(1));
    assert_eq!(supervisord.calls_of(START).len(), 1);
    assert!(supervisord.calls_of(STOP).is_empty());
}

#[test]
fn without_a_supervisord_load_takes_programs_in_and_out() {
    let peers = Peer::start_many(3);
    let body = format!("supervisord none; {} {SCALED} supervisord_min_servers 1;", servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);

    assert!(nginx.start_page("backend", 0).accepted);
    let load = flood(&nginx);
    nginx.wait_program("backend2", "up");
    let samples = load.stop();
    assert!(samples.iter().all(|sample| sample.status == Some(200)));
    nginx.wait_program("backend2", "down");
    nginx.wait_program("backend1", "down");
    assert_eq!(nginx.tally(10, "backend").at(&peers[0].to_string()), 10);
}

#[test]
fn real_programs_come_and_go_with_the_load() {
    let supervisord = Supervisord::start(two_settled("backend"));
    let body = format!("{} {SCALED}", supervisord.upstream());
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    let load = flood(&nginx);
    supervisord.wait_state("backend1", "RUNNING");
    nginx.wait_program("backend1", "up");
    let samples = load.stop();
    assert!(samples.iter().all(|sample| sample.status == Some(200)));
    supervisord.wait_state("backend0", "STOPPED");
    assert_eq!(supervisord.state("backend1"), "STOPPED");
}

#[test]
fn nothing_is_stopped_for_want_of_load_while_requests_wait() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    for peer in &peers {
        peer.healthy(false);
    }
    let config = Config::new()
        .workers(2)
        .upstream("backend", body(&supervisord, &peers, 0, CHECK))
        .commands("backend");
    let nginx = Nginx::start(&config);

    let address = nginx.address();
    let waiting = thread::spawn(move || Request::get("/backend/").send(address));
    nginx.wait_program("backend0", "up");
    wait_until(LIMIT, "it waits", || nginx.status().upstream("backend").held == 1);
    // Several intervals and cooldowns.
    holds_for(Duration::from_millis(2500), "its program is left alone", || {
        supervisord.calls_of(STOP).is_empty()
    });
    peers[0].healthy(true);
    assert_eq!(waiting.join().expect("a client").expect("an answer").status, 200);
    assert_eq!(order(&supervisord, START), ["backend0"]);
    nginx.wait_program("backend0", "down");
}
