//! How many verdicts in a row flip a peer, and what the log says when they do.

use support::{check, servers, Config, Nginx, Peer, Script};

/// A check whose probes wait for the test: delay 100 ms and a timeout that is not reached.
fn slow_check(failcount: &str) -> String {
    format!(
        "healthcheck_enabled; healthcheck_delay 100; healthcheck_timeout 60s; \
         healthcheck_failcount {failcount}; healthcheck_send 'GET /hc HTTP/1.0';"
    )
}

/// One peer whose probes the test answers one by one.
struct Steps {
    peer: Peer,
    nginx: Nginx,
}

impl Steps {
    fn new(failcount: &str) -> Steps {
        let peer = Peer::start();
        peer.hold_probes();
        let body = format!("{} {}", slow_check(failcount), servers([&peer]));
        let nginx = Nginx::start(&Config::new().upstream("backend", body));

        Steps { peer, nginx }
    }

    /// Answers one probe, then expects (last response down, verdicts in a row, is down).
    #[track_caller]
    fn step(&self, status: u16, expected: (bool, u64, bool)) {
        self.peer.next_probes([Script::status(status, "")]);
        let what = format!("is {expected:?} after {status}");
        let row = self.nginx.wait_row(&self.peer, &what, |row| {
            (row.last_down, row.concurrent) == (expected.0, expected.1)
        });
        assert_eq!(row.down, expected.2, "{what}: {row:#?}");
    }
}

#[test]
fn check_03_two_failures_of_three_leave_a_peer_up() {
    let steps = Steps::new("3");

    steps.step(500, (true, 1, false));
    steps.step(500, (true, 2, false));
    steps.step(200, (false, 1, false));
    steps.step(500, (true, 1, false));
    assert!(steps.nginx.log_lines("is down").is_empty());
}

#[test]
fn check_04_recovery_needs_as_many_good_probes() {
    let steps = Steps::new("2");

    steps.step(500, (true, 1, false));
    steps.step(500, (true, 2, true));
    steps.step(200, (false, 1, true));
    steps.step(500, (true, 1, true));
    steps.step(200, (false, 1, true));
    steps.step(200, (false, 2, false));
}

#[test]
fn fall_and_rise_are_set_apart() {
    let steps = Steps::new("fall=3 rise=1");

    steps.step(500, (true, 1, false));
    steps.step(500, (true, 2, false));
    steps.step(500, (true, 3, true));
    steps.step(200, (false, 1, false));
}

#[test]
fn one_failure_is_enough_with_a_failcount_of_one() {
    let steps = Steps::new("1");

    steps.step(500, (true, 1, true));
    steps.step(200, (false, 1, false));
}

#[test]
fn check_30_each_flip_is_one_line_at_warn_or_notice() {
    flips_are_logged_once("");
}

#[test]
fn check_30_each_flip_is_one_line_with_a_zone_too() {
    flips_are_logged_once("zone backend 64k;");
}

fn flips_are_logged_once(zone: &str) {
    let peers = Peer::start_many(2);
    // No probe fails because a peer was held up.
    let body = format!("{zone} {} {}", check(200, 20_000, 2), servers(&peers));
    let nginx = Nginx::start(&Config::new().workers(4).upstream("backend", body));
    let peer = &peers[1];
    let mut expected: Vec<String> = Vec::new();
    let logged = || nginx.log_lines("healthcheck: peer");

    nginx.wait_probed();
    for (healthy, line) in [
        (false, "[warn] is down: bad_code: Non 200 HTTP status code, 2 failures in a row"),
        (true, "[notice] is up: ok: OK, 2 passes in a row"),
        (false, "[warn] is down: bad_code: Non 200 HTTP status code, 2 failures in a row"),
    ] {
        peer.healthy(healthy);
        nginx.wait_down(peer, !healthy);
        expected.push(line.to_owned());
        nginx.wait_logged("healthcheck: peer", expected.len());
        // All workers learn of it and none says so again.
        nginx.tally(40, "backend");
        nginx.wait_row(peer, "stays as it is", |row| row.concurrent >= 6);
        assert_eq!(logged().len(), expected.len(), "{:#?}", logged());
    }
    for (line, expected) in logged().iter().zip(&expected) {
        let (level, text) = expected.split_once(' ').expect("a level and a text");
        let text = format!("healthcheck: peer {peer} in upstream \"backend\" {text}");
        assert!(line.contains(level) && line.ends_with(&text), "{line}");
    }
}
