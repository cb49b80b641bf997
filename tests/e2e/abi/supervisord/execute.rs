//! Balancers start and stop programs.

use support::scripted_supervisord::{START as START_CALL, STOP as STOP_CALL};
use support::{
    servers, wait_until, Config, Consumer, Nginx, Peer, Script, ScriptedSupervisord, LIMIT,
};

use super::{by_hand, config, execute, real, trace, DECLINED, OK, START, STOP};

#[test]
fn a_balancer_starts_and_stops_real_programs_by_number() {
    let supervisord = real(2);
    let nginx = Nginx::start(&config(supervisord.upstream()).workers(2));

    assert_eq!(execute(&nginx, START, 1, false), OK);
    nginx.wait_program("backend1", "up");
    assert_eq!(supervisord.state("backend1"), "RUNNING");
    assert_eq!(execute(&nginx, START, 1, false), OK, "nothing to do");
    assert_eq!(nginx.tally(4, "backend").at(&supervisord.peer(1)), 4);
    assert_eq!(execute(&nginx, STOP, 1, false), OK);
    nginx.wait_program("backend1", "down");
    assert_eq!(supervisord.state("backend1"), "STOPPED");
    // The page may show it before the worker that stops it has logged it.
    wait_until(LIMIT, "it is logged", || {
        nginx.log_lines("is down: stopped by its balancer").len() == 1
    });
}

#[test]
fn any_starts_the_lowest_and_stops_the_highest_once_in_a_cooldown() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(3));
    let settings = "supervisord_cooldown 700; supervisord_drain 1;";
    let nginx =
        Nginx::start(&config(format!("supervisord {supervisord}; {settings} {}", servers(&peers))));
    let order = |method: &str| {
        let calls = supervisord.calls_of(method);
        calls.iter().map(|call| call.programs[0].clone()).collect::<Vec<_>>()
    };
    let until = |command, method: &str, count: usize| {
        wait_until(LIMIT, "the next command", || {
            assert_eq!(execute(&nginx, command, -1, false), OK);
            order(method).len() == count
        });
    };
    let accepted = |program: &str| nginx.status().program(program).last_command_ms.expect("one");
    let mut times = Vec::new();

    for (count, program) in ["backend0", "backend1", "backend2"].into_iter().enumerate() {
        until(START, START_CALL, count + 1);
        nginx.wait_program(program, "up");
        times.push(accepted(program));
    }
    assert_eq!(order(START_CALL), ["backend0", "backend1", "backend2"]);
    for (count, program) in ["backend2", "backend1"].into_iter().enumerate() {
        until(STOP, STOP_CALL, count + 1);
        nginx.wait_program(program, "down");
        times.push(accepted(program));
    }
    assert_eq!(order(STOP_CALL), ["backend2", "backend1"]);
    // When supervisord sees a command says little of when it was accepted. The page's clock is another
    // one than the cooldown's.
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 690), "it cools down: {times:?}");
}

#[test]
fn where_nothing_is_managed_every_command_is_declined() {
    let peers = Peer::start_many(1);
    let config = Config::new()
        .load_after(&Consumer::build("traced"))
        .upstream("backend", format!("traced trace; {}", servers(&peers)))
        .server("location = /execute { traced_execute backend; } ");
    let nginx = Nginx::start(&config);
    assert_eq!(execute(&nginx, START, 0, false), DECLINED);
    assert_eq!(execute(&nginx, STOP, -1, true), DECLINED);
}

#[test]
fn what_makes_no_sense_is_declined_and_logged() {
    let peers = Peer::start_many(2);
    let config = by_hand(&peers)
        .server("location = /other { traced_execute other; }")
        .upstream("other", servers(&peers));
    let mut nginx = Nginx::start(&config);
    nginx.allow_in_log("wrong call of ngx_supervisord_execute()");

    assert_eq!(execute(&nginx, 7, 0, false), DECLINED);
    assert_eq!(execute(&nginx, START, 2, false), DECLINED);
    assert_eq!(execute(&nginx, STOP, -2, true), DECLINED);
    let lines = nginx.log_lines("[crit]");
    let ends = ["no such command: 7", "no such program: 2", "no such program: -2"];
    assert_eq!(lines.len(), ends.len(), "{lines:?}");
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.contains(end), "{line}");
    }
    assert_eq!(nginx.get("/other?cmd=1&backend=0").text(), DECLINED, "not managed");
    assert!(trace(&nginx, "check").is_empty());
}

#[test]
fn a_balancer_stops_the_program_of_a_failed_request_from_peer_free() {
    let peers = Peer::start_many(2);
    peers[0].requests(Script::close());
    let body = "supervisord none; supervisord_inherit_backend_status; traced_on_failure on;";
    let nginx = Nginx::start(&config(format!("{body} {}", servers(&peers))).workers(2));

    wait_until(LIMIT, "a failed request", || nginx.get("/backend/").status == 502);
    nginx.wait_program("backend0", "down");
    assert_eq!(nginx.tally(8, "backend").at(&peers[1].to_string()), 8);
    assert_eq!(trace(&nginx, "stop 0 by failure: 0").len(), 1);
}

#[test]
fn a_line_that_is_marked_down_is_started_by_number_and_not_by_any() {
    let peers = Peer::start_many(2);
    let body = format!("server {} down; server {};", peers[0], peers[1]);
    let nginx = Nginx::start(&config(format!("supervisord none; {body}")));

    assert_eq!(execute(&nginx, START, -1, false), OK);
    nginx.wait_program("backend1", "up");
    assert_eq!(nginx.status().program("backend0").state, "down");
    assert_eq!(execute(&nginx, START, 0, false), OK);
    nginx.wait_program("backend0", "up");
    let tally = nginx.tally(8, "backend");
    assert_eq!(tally.at(&peers[0].to_string()), 4, "{tally:?}");
}
