//! Balancers are told of each change of their programs.

use support::scripted_supervisord::{START as START_CALL, STOP as STOP_CALL};
use support::{
    holds_for, servers, wait_until, Config, Consumer, Nginx, Peer, Request, ScriptedSupervisord,
    CHECK, LIMIT,
};

use super::{by_hand, config, replace_worker, states, trace, DECLINED, OK};

#[test]
fn check_49_the_master_tells_each_program_once_before_there_are_workers() {
    let peers = Peer::start_many(2);
    let body = format!("{} server 127.0.0.1:1 down;", servers(&peers));
    let body = format!("supervisord none; supervisord_inherit_backend_status; {body}");
    let nginx = Nginx::start(&config(body).workers(2));

    assert_eq!(nginx.tally(8, "backend").with_status(200), 8);
    assert_eq!(states(&nginx, nginx.pid()), [(0, 0), (1, 0), (2, 1)]);
    let is_first = |line: &super::Line| line.pid == nginx.pid();
    assert_eq!(trace(&nginx, "").iter().take_while(|line| is_first(line)).count(), 3);
    for pid in nginx.workers() {
        assert_eq!(states(&nginx, pid), [], "nothing has changed");
    }
}

#[test]
fn check_49_each_worker_is_told_each_state_as_it_changes() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING").set_state("backend1", "RUNNING");
    supervisord.hold(START_CALL).hold(STOP_CALL);
    let config = config(format!("supervisord {supervisord}; {}", servers(&peers))).workers(3);
    let nginx = Nginx::start(&config);
    nginx.wait_program("backend0", "up");
    nginx.wait_program("backend1", "up");
    let workers = nginx.workers();
    let told = |wanted: &[u8]| {
        wait_until(LIMIT, &format!("all are told {wanted:?}"), || {
            workers.iter().all(|pid| {
                let states = states(&nginx, *pid).into_iter().filter(|(number, _)| *number == 0);
                states.map(|(_, state)| state).collect::<Vec<_>>() == wanted
            })
        });
    };

    told(&[0]);
    assert!(nginx.stop_page("backend", 0).accepted);
    told(&[0, 3]);
    supervisord.release(STOP_CALL);
    told(&[0, 3, 1]);
    assert!(nginx.start_page("backend", 0).accepted);
    told(&[0, 3, 1, 2]);
    supervisord.release(START_CALL);
    told(&[0, 3, 1, 2, 0]);
    assert_eq!(states(&nginx, nginx.pid()), [(0, 1), (1, 1)]);
}

#[test]
fn a_balancer_is_told_before_the_next_request_picks_a_peer() {
    let peers = Peer::start_many(2);
    let nginx = Nginx::start(&by_hand(&peers).workers(3));
    assert!(nginx.tally(12, "backend").at(&peers[0].to_string()) > 0);

    for round in 0..5 {
        assert!(nginx.stop_page("backend", 0).accepted);
        let tally = nginx.tally(12, "backend");
        assert_eq!(tally.at(&peers[1].to_string()), 12, "round {round}: {tally:?}");
        assert!(nginx.start_page("backend", 0).accepted);
        let tally = nginx.tally(12, "backend");
        assert!(tally.at(&peers[0].to_string()) > 0, "round {round}: {tally:?}");
    }
}

#[test]
fn a_new_worker_is_told_what_has_changed_since_the_master_told() {
    let peers = Peer::start_many(3);
    let mut nginx = Nginx::start(&by_hand(&peers).workers(2));
    assert!(nginx.stop_page("backend", 1).accepted);
    let killed = nginx.workers()[0];

    let new = replace_worker(&mut nginx, killed);
    wait_until(LIMIT, "it is told", || !states(&nginx, new).is_empty());
    assert_eq!(states(&nginx, new), [(1, 1)]);
    assert_eq!(nginx.tally(12, "backend").at(&peers[1].to_string()), 0);
}

#[test]
fn a_monitor_that_is_registered_late_is_told_each_program_at_once() {
    let peers = Peer::start_many(2);
    let config = by_hand(&peers)
        .server("location = /late { traced_late backend; }")
        .server("location = /other { traced_late other; }")
        .upstream("other", servers(&peers));
    let nginx = Nginx::start(&config);

    let response = nginx.get("/late");
    assert_eq!(response.text(), OK);
    assert_eq!(states(&nginx, nginx.workers()[0]), [(0, 0), (1, 0)]);
    assert_eq!(nginx.get("/other").text(), OK, "not managed: kept and never called");
    assert!(trace(&nginx, "other:").is_empty());
}

#[test]
fn a_monitor_may_ask_for_peers_and_give_commands() {
    let peers = Peer::start_many(2);
    let body = "supervisord none; supervisord_inherit_backend_status; traced_restart on; \
                traced_peers on;";
    let nginx = Nginx::start(&config(format!("{body} {}", servers(&peers))).workers(2));
    let restarts = |rc: &str| trace(&nginx, &format!("restart 0: {rc}")).len();

    for round in 1..=3 {
        assert!(nginx.stop_page("backend", 0).accepted);
        wait_until(LIMIT, "it is started again", || restarts(OK) >= round);
        nginx.wait_program("backend0", "up");
    }
    wait_until(LIMIT, "both are used", || nginx.tally(8, "backend").at(&peers[0].to_string()) > 0);
    assert!(!trace(&nginx, "peer 0: 1").is_empty(), "down when it was told");
    assert_eq!(restarts(DECLINED), 0);
}

#[test]
fn a_program_that_comes_up_is_used_after_its_first_probe() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    peers[0].healthy(false);
    let body = format!("supervisord {supervisord}; traced_peers on; {CHECK} {}", servers(&peers));
    let nginx = Nginx::start(&config(body).workers(2));

    let to = nginx.address();
    let client = std::thread::spawn(move || Request::get("/backend/").limit(LIMIT).send(to));
    nginx.wait_program("backend0", "up");
    wait_until(LIMIT, "a probe", || peers[0].probe_count() > 2);
    assert_eq!((client.is_finished(), peers[0].request_count()), (false, 0));
    peers[0].healthy(true);
    let response = client.join().expect("a client").expect("an answer");
    assert_eq!((response.status, response.peer()), (200, &*peers[0].to_string()));
}

#[test]
fn a_test_of_the_configuration_tells_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("trace");
    let peers = Peer::start_many(2);
    let body = format!("traced {}; supervisord none; {}", file.display(), servers(&peers));
    let config =
        Config::new().load_after(&Consumer::build("traced")).upstream("backend", body.as_str());

    let tested = Nginx::test(&config);
    assert!(tested.ok, "{}", tested.output);
    assert!(!file.exists());
}

#[test]
fn without_a_master_the_balancer_is_told_too() {
    let peers = Peer::start_many(2);
    let config = by_hand(&peers).single_process();
    let mut nginx = Nginx::start(&config);
    let told = |nginx: &Nginx| states(nginx, nginx.pid());

    assert_eq!(told(&nginx), [(0, 0), (1, 0)]);
    assert!(nginx.stop_page("backend", 0).accepted);
    assert_eq!(nginx.tally(4, "backend").at(&peers[1].to_string()), 4);
    assert_eq!(told(&nginx).last(), Some(&(0, 1)));
    // nginx itself does not serve after a reload without a master.
    nginx.allow_in_log("worker_connections are not enough");
    nginx.signal_reload(&config);
    wait_until(LIMIT, "the next configuration's is told", || {
        told(&nginx).ends_with(&[(0, 1), (1, 0)])
    });
}

#[test]
fn an_upstream_that_is_not_managed_is_its_balancers_alone() {
    let peers = Peer::start_many(2);
    let config = Config::new()
        .load_after(&Consumer::build("traced"))
        .upstream("backend", format!("traced trace; {}", servers(&peers)));
    let nginx = Nginx::start(&config);

    assert_eq!(nginx.tally(4, "backend").with_status(200), 4);
    holds_for(std::time::Duration::from_millis(1500), "nobody is told", || {
        trace(&nginx, " is ").is_empty() && trace(&nginx, "load").is_empty()
    });
}
