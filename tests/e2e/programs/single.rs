//! Without a master process.

use std::time::Duration;

use support::{servers, wait_until, Config, Nginx, Peer, ScriptedSupervisord, Supervisord, LIMIT};

use super::{is_asked_once_a, two_settled};

#[test]
fn a_single_process_starts_stops_and_waits() {
    let supervisord = Supervisord::start(two_settled("backend"));
    let body = format!("{} supervisord_poll 200;", supervisord.upstream());
    let config = Config::new().single_process().upstream("backend", body).commands("backend");
    let mut nginx = Nginx::start(&config);

    assert_eq!(nginx.get("/backend/").text(), "backend0");
    supervisord.start_program("backend1").expect("it starts");
    nginx.wait_program("backend1", "up");
    assert!(nginx.stop_page("backend", 0).accepted);
    supervisord.wait_state("backend0", "STOPPED");
    assert_eq!(nginx.tally(10, "backend").at(&supervisord.peer(1)), 10);
    nginx.quit_within(LIMIT);
}

#[test]
fn a_single_process_goes_on_asking_once_a_period_after_reloads() {
    // nginx itself does not serve after a reload without a master.
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.set_state("backend0", "RUNNING");
    let body = format!("supervisord {supervisord}; supervisord_poll 200; {}", servers(&peers));
    let config = Config::new().single_process().upstream("backend", body).commands("backend");
    let mut nginx = Nginx::start(&config);
    nginx.allow_in_log("worker_connections are not enough");
    nginx.wait_program("backend0", "up");

    for round in 1..=3 {
        nginx.signal_reload(&config);
        wait_until(LIMIT, "a reload", || nginx.log_lines(" reconfiguring").len() >= round);
        let calls = supervisord.calls().len();
        wait_until(LIMIT, "polls", || supervisord.calls().len() > calls + 3);
    }
    // Only one cycle asks.
    is_asked_once_a(Duration::from_millis(200), &supervisord);
    for call in supervisord.calls() {
        assert_eq!(call.method, "system.multicall", "{}", String::from_utf8_lossy(&call.raw));
    }
    nginx.quit_within(LIMIT);
}
