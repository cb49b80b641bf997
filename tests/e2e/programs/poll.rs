//! What others do to the programs is seen.

use std::time::Duration;

use support::scripted_supervisord::INFO;
use support::{
    holds_for, process, servers, wait_until, Config, Nginx, Peer, Program, ScriptedSupervisord,
    Supervisord, LIMIT,
};

use super::{all_know, is_asked_once_a, settled};

/// Two real programs, asked for five times a second.
fn start(programs: impl Into<Vec<Program>>) -> (Supervisord, Nginx) {
    let supervisord = Supervisord::start(programs);
    let body = format!("{} supervisord_poll 200;", supervisord.upstream());
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    (supervisord, nginx)
}

#[test]
fn a_program_that_ran_before_nginx_is_used_at_once() {
    let supervisord = Supervisord::start(Program::many("backend", 2));
    supervisord.start_program("backend1").expect("it starts");
    supervisord.wait_listening(1);
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", supervisord.upstream()));

    nginx.wait_program("backend1", "up");
    all_know(&nginx);
    let tally = nginx.tally(20, "backend");
    assert_eq!(tally.at(&supervisord.peer(1)), 20, "{tally:?}");
    assert!(supervisord.spawned("backend0").is_empty(), "nothing needed a start");
}

#[test]
fn what_supervisorctl_does_is_seen() {
    let (supervisord, nginx) = start(Program::many("backend", 2));

    for _ in 0..2 {
        supervisord.start_program("backend1").expect("it starts");
        let program = nginx.wait_program("backend1", "up");
        assert_eq!(program.reported_state.as_deref(), Some("RUNNING"));
        assert_eq!(program.reported_pid, Some(u64::from(supervisord.pid("backend1"))));
        wait_until(LIMIT, "it is served", || nginx.get("/backend/").text() == "backend1");
        supervisord.stop_program("backend1").expect("it stops");
        // It is down as soon as it is STOPPING.
        wait_until(LIMIT, "it has stopped", || {
            let program = nginx.status().program("backend1");
            program.state == "down" && program.reported_state.as_deref() == Some("STOPPED")
        });
    }
}

#[test]
fn a_program_that_supervisord_gave_up_is_down() {
    let mut programs = Program::many("backend", 2);
    programs[0] = programs[0].clone().setting("autorestart", "true").setting("startsecs", 1);
    let (supervisord, nginx) = start(programs);
    supervisord.start_program("backend0").expect("it starts");
    nginx.wait_program("backend0", "up");

    supervisord.behave("backend0", "fail");
    process::signal(supervisord.pid("backend0"), libc::SIGKILL).expect("it runs");
    wait_until(LIMIT, "it is down", || {
        let program = nginx.status().program("backend0");
        program.state == "down" && program.reported_state.as_deref() == Some("FATAL")
    });
}

#[test]
fn an_automatic_restart_is_seen_by_its_process() {
    let programs: Vec<Program> = Program::many("backend", 1)
        .into_iter()
        .map(|program| program.setting("autorestart", "true"))
        .collect();
    let (supervisord, nginx) = start(programs);
    supervisord.start_program("backend0").expect("it starts");
    let first = nginx.wait_program("backend0", "up").reported_pid.expect("a process");

    process::signal(u32::try_from(first).expect("a pid"), libc::SIGKILL).expect("it runs");
    wait_until(LIMIT, "another process", || {
        let program = nginx.status().program("backend0");
        program.state == "up" && program.reported_pid.is_some_and(|pid| pid != first)
    });
    let second = nginx.status().program("backend0").reported_pid;
    assert_eq!(second, Some(u64::from(supervisord.pid("backend0"))));
    wait_until(LIMIT, "it is served", || nginx.get("/backend/").status == 200);
}

#[test]
fn a_program_that_exits_is_down_and_started_again_by_the_next_request() {
    let (supervisord, nginx) = start([settled("backend0")]);
    assert_eq!(nginx.get("/backend/").status, 200);

    process::signal(supervisord.pid("backend0"), libc::SIGTERM).expect("it runs");
    let program = nginx.wait_program("backend0", "down");
    assert!(program.reported_state.is_some());
    assert_eq!(nginx.get("/backend/").status, 200);
    assert_eq!(supervisord.spawned("backend0").len(), 2);
}

#[test]
fn one_worker_asks_and_another_goes_on_when_it_dies() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    let body = format!("supervisord {supervisord}; supervisord_poll 300; {}", servers(&peers));
    let mut nginx = Nginx::start(&Config::new().workers(4).upstream("backend", body));
    let polls = || supervisord.calls_of(INFO).len();

    wait_until(LIMIT, "some polls", || polls() >= 3);
    is_asked_once_a(Duration::from_millis(300), &supervisord);
    for worker in nginx.workers() {
        nginx.kill9(worker);
        wait_until(LIMIT, "it is dead", || !process::is_alive(worker));
        let before = polls();
        wait_until(LIMIT, "polls go on", || polls() > before + 1);
    }
}

#[test]
fn a_program_of_a_line_marked_down_is_not_used_because_it_runs() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    let body = format!(
        "supervisord {supervisord}; supervisord_poll 100; server {} down; server {};",
        peers[0], peers[1]
    );
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);

    nginx.wait_program("backend1", "up");
    all_know(&nginx);
    holds_for(Duration::from_millis(500), "only the second one", || {
        nginx.get("/backend/").peer() == peers[1].to_string()
    });
    assert!(nginx.status().program("backend0").admin_down);
    assert!(nginx.start_page("backend", 0).accepted);
    wait_until(LIMIT, "it is used once it was started", || {
        nginx.get("/backend/").peer() == peers[0].to_string()
    });
}

#[test]
fn a_program_that_supervisord_does_not_know_is_named_in_the_log() {
    let supervisord = Supervisord::start([settled("backend0")]);
    let peer = Peer::start();
    let body = format!("{} server {peer};", supervisord.upstream());
    let nginx = Nginx::start(&Config::new().upstream("backend", body).commands("backend"));

    assert_eq!(nginx.get("/backend/").text(), "backend0", "the others go on");
    assert!(nginx.start_page("backend", 1).accepted);
    wait_until(LIMIT, "the fault", || {
        !nginx
            .log_lines("could not start \"backend1\" of upstream \"backend\": fault 10")
            .is_empty()
    });
    nginx.wait_program("backend1", "down");
}

#[test]
fn three_hundred_programs_are_asked_for_in_one_call() {
    const COUNT: usize = 300;
    let supervisord = ScriptedSupervisord::start();
    let lines: String = (0..COUNT)
        .map(|number| {
            supervisord.set_state(&format!("backend{number}"), "RUNNING");
            format!("server 127.0.{}.{}:1 max_fails=0; ", 1 + number / 200, 1 + number % 200)
        })
        .collect();
    let body = format!("supervisord {supervisord}; supervisord_poll 300; {lines}");
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
    let states = |wanted: &str| {
        let rows = nginx.status().of("backend");
        let programs = rows.iter().filter_map(|row| row.program.as_ref());
        programs.filter(|program| program.state == wanted).count()
    };

    wait_until(LIMIT, "all are up", || states("up") == COUNT);
    supervisord.set_state("backend299", "FATAL");
    wait_until(LIMIT, "the last is down", || states("down") == 1);
    nginx.wait_program("backend299", "down");
    assert!(supervisord.calls().iter().all(|call| call.programs.len() == COUNT));
}
