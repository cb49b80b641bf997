//! Programs and health checks together.

use std::time::Duration;

use support::scripted_supervisord::{START, STOP};
use support::{
    holds_for, servers, wait_until, Config, Nginx, Peer, Program, Request, ScriptedSupervisord,
    Supervisord, CHECK, LIMIT,
};

#[test]
fn check_50_sickness_stops_the_right_program_and_recovery_starts_it() {
    let supervisord = ScriptedSupervisord::start();
    let peers = Peer::start_many(4);
    let mut config = Config::new().workers(2);
    for (name, own) in [("first", &peers[..2]), ("second", &peers[2..])] {
        for number in 0..2 {
            supervisord.set_state(&format!("{name}{number}"), "RUNNING");
        }
        let body = format!("supervisord {supervisord}; {CHECK} {}", servers(own));
        config = config.upstream(name, body);
    }
    let nginx = Nginx::start(&config);
    for name in ["first0", "first1", "second0", "second1"] {
        nginx.wait_program(name, "up");
    }
    nginx.wait_probed();
    let sick = &peers[3];
    wait_until(LIMIT, "all are used", || nginx.tally(10, "second").at(&sick.to_string()) > 0);

    // One failed probe of two is not enough.
    sick.next_probes([support::Script::status(500, "sick")]);
    wait_until(LIMIT, "it has failed", || nginx.row(sick).failures > 0);
    nginx.wait_row(sick, "passes again", |row| !row.last_down);
    assert!(supervisord.calls_of(STOP).is_empty());
    sick.healthy(false);
    nginx.wait_down(sick, true);
    wait_until(LIMIT, "a stop", || supervisord.stops("second1") == 1);
    nginx.wait_program("second1", "down");
    holds_for(Duration::from_millis(700), "one stop, no start", || {
        supervisord.calls_of(STOP).len() == 1 && supervisord.calls_of(START).is_empty()
    });
    assert_eq!(nginx.tally(20, "second").at(&sick.to_string()), 0);

    sick.healthy(true);
    wait_until(LIMIT, "a start", || supervisord.starts("second1") == 1);
    nginx.wait_program("second1", "up");
    wait_until(LIMIT, "it is used", || nginx.tally(10, "second").at(&sick.to_string()) > 0);
    assert_eq!((supervisord.calls_of(START).len(), supervisord.calls_of(STOP).len()), (1, 1));
}

#[test]
fn a_passing_probe_does_not_start_what_was_stopped_by_hand() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    let body = format!("supervisord {supervisord}; {CHECK} {}", servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);
    nginx.wait_program("backend1", "up");
    nginx.wait_probed();

    assert!(nginx.stop_page("backend", 1).accepted);
    nginx.wait_program("backend1", "down");
    let probes = peers[1].probe_count();
    wait_until(LIMIT, "probes go on", || peers[1].probe_count() > probes + 4);
    assert!(supervisord.calls_of(START).is_empty());
    for healthy in [false, true] {
        peers[1].healthy(healthy);
        nginx
            .wait_row(&peers[1], "is judged", |row| row.last_down != healthy && row.concurrent > 2);
    }
    assert_eq!(nginx.status().program("backend1").state, "down");
    assert_eq!((supervisord.calls_of(START).len(), supervisord.stops("backend1")), (0, 1));
    assert!(nginx.log_lines("peer").iter().all(|line| !line.contains("[warn]")), "quietly");
}

#[test]
fn a_started_program_is_used_once_its_probe_passes_and_not_before() {
    let programs: Vec<Program> = Program::many("backend", 2)
        .into_iter()
        .map(|program| program.behaves("delay 700"))
        .collect();
    let supervisord = Supervisord::start(programs);
    // A period that no client waits for: the probes after a start are on demand.
    let check = support::check(30_000, 2_000, 2);
    let body = format!("{} {check}", supervisord.upstream());
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    let start = std::time::Instant::now();
    let answer = nginx.get("/backend/");
    let took = start.elapsed();
    assert_eq!((answer.status, answer.text().as_str()), (200, "backend0"), "{answer}");
    assert!(took >= Duration::from_millis(650), "{took:?}");
    assert_eq!(nginx.tally(10, "backend").with_status(200), 10);
    assert_eq!(supervisord.calls(START), 1);
}

#[test]
fn a_real_program_that_turns_sick_is_stopped_and_the_next_request_starts_it() {
    let supervisord = Supervisord::start(Program::many("backend", 1));
    let body = format!("{} {CHECK}", supervisord.upstream());
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
    assert_eq!(nginx.get("/backend/").status, 200);

    supervisord.behave("backend0", "sick");
    supervisord.wait_state("backend0", "STOPPED");
    supervisord.behave("backend0", "");
    nginx.wait_program("backend0", "down");
    assert_eq!(nginx.get("/backend/").status, 200);
    assert_eq!(supervisord.spawned("backend0").len(), 2);
}

#[test]
fn a_program_that_runs_and_never_passes_its_probe_is_not_used() {
    let programs = [Program::new("backend0").behaves("sick"), Program::new("backend1")];
    let supervisord = Supervisord::start(programs);
    let body = format!("{} {CHECK} queue 10 timeout=8s;", supervisord.upstream());
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    let answer = nginx.send(&Request::get("/backend/").limit(LIMIT));
    assert!(answer.status == 504 || answer.text() == "backend1", "{answer}");
}

#[test]
fn with_none_health_decides_among_those_that_are_up() {
    let peers = Peer::start_many(3);
    let none = "supervisord none; supervisord_inherit_backend_status;";
    let body = format!("{none} {CHECK} {}", servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);
    nginx.wait_probed();

    peers[1].healthy(false);
    nginx.wait_down(&peers[1], true);
    assert!(nginx.stop_page("backend", 0).accepted);
    assert_eq!(nginx.tally(20, "backend").at(&peers[2].to_string()), 20);
    assert_eq!(nginx.status().program("backend1").state, "up", "none ignores failures");
    peers[1].healthy(true);
    nginx.wait_down(&peers[1], false);
    assert!(nginx.tally(20, "backend").at(&peers[1].to_string()) > 0);
}
