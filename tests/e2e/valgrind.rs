//! The module under valgrind: no byte is read or written that is not ours.

use std::thread;
use std::time::Duration;

use support::scripted_supervisord::START;
use support::valgrind::{assert_clean, reports, under_valgrind, SLOW};
use support::{
    check, process, servers, wait_until, Config, Nginx, Peer, Reply, Request, Script,
    ScriptedSupervisord,
};

/// A socket that does not exist.
const NOBODY: &str = "unix:/nonexistent/peer.sock";

/// Peers of every kind of verdict, and an upstream of them twice, with and without a zone.
fn upstreams(config: Config, peers: &[Peer]) -> Config {
    let ok = "HTTP/1.1 200 OK\r\n";
    peers[2].probes(Script::silent());
    peers[3].probes(Script::endless(ok, "X: y\r\n", Duration::ZERO));
    peers[4].probes(Script::raw("hello\r\n"));
    peers[5].probes(Script::reset());
    peers[6].probes(Script::raw(format!(
        "{ok}Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n"
    )));
    let check = format!("{} healthcheck_expected fine;", check(500, 3000, 2));
    let body =
        |zone: &str| format!("{zone} {check} {} server {NOBODY} max_fails=0;", servers(peers));

    config.upstream("backend", body("")).upstream("zoned", body("zone zoned 256k;"))
}

/// Waits until the peer has that health in both upstreams.
fn wait_both(nginx: &Nginx, peer: impl ToString, down: bool) {
    let name = peer.to_string();
    wait_until(SLOW, "both rows flip", || {
        nginx.status().peers.iter().filter(|row| row.name == name).all(|row| row.down == down)
    });
}

/// Flips the second peer down and up, with requests and pages in between, once the peers that
/// never answer well are out.
fn flip(nginx: &Nginx, peers: &[Peer]) {
    for villain in peers[2..6].iter().map(Peer::to_string).chain([NOBODY.to_owned()]) {
        wait_both(nginx, &villain, true);
    }
    for healthy in [false, true] {
        peers[1].healthy(healthy);
        wait_both(nginx, &peers[1], !healthy);
        for upstream in ["backend", "zoned"] {
            assert_eq!(nginx.tally(20, upstream).with_status(200), 20);
        }
        assert_eq!(nginx.get("/status").status, 200);
    }
}

#[test]
fn a_single_process_with_probes_flips_and_a_quit_is_clean() {
    let peers = Peer::start_many(7);
    let config = upstreams(Config::new().single_process(), &peers);
    let Some(config) = under_valgrind(config) else { return };
    let mut nginx = Nginx::start_within(SLOW, &config);

    flip(&nginx, &peers);
    nginx.quit_within(SLOW);
    assert_clean(&nginx, 1);
}

#[test]
fn a_worker_through_reloads_is_clean() {
    let peers = Peer::start_many(8);
    let config = upstreams(Config::new().workers(1), &peers[..7]);
    let Some(config) = under_valgrind(config) else { return };
    let mut nginx = Nginx::start_within(SLOW, &config);

    flip(&nginx, &peers);
    peers[1].healthy(false);
    wait_both(&nginx, &peers[1], true);
    // The same, then more peers than the zone has room for, then the same again.
    let many: String = (1..=100).map(|port| format!("server 127.0.0.1:{port} down; ")).collect();
    let more = config.clone().upstream("more", format!("{} {many}", check(500, 3000, 2)));
    for config in [&config, &more, &more, &config] {
        nginx.reload_within(SLOW, config);
        wait_both(&nginx, &peers[1], true);
        assert_eq!(nginx.tally(20, "backend").at(&peers[1].to_string()), 0);
    }
    let worker = nginx.children().first().expect("a worker").pid;
    assert!(process::is_alive(worker));
    nginx.quit_within(SLOW);
    assert_clean(&nginx, 6);
}

#[test]
fn a_worker_that_starts_and_stops_programs_while_requests_wait_is_clean() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    let limits = "supervisord_poll 500; supervisord_read_timeout 60s; queue 20 timeout=120s;";
    let body = format!("supervisord {supervisord}; {limits} {}", servers(&peers));
    let config = Config::new().workers(1).upstream("backend", body).commands("backend");
    let Some(config) = under_valgrind(config) else { return };
    let mut nginx = Nginx::start_within(SLOW, &config);
    let address = nginx.address();
    let ask = move || Request::get("/backend/").limit(SLOW).send(address);

    for reply in [Reply::Fitting, Reply::Fault(50), Reply::huge(), Reply::text("<a/>")] {
        let works = reply == Reply::Fitting;
        supervisord.reply(START, reply).hold(START);
        let clients: Vec<_> = (0..6).map(|_| thread::spawn(ask)).collect();
        wait_until(SLOW, "all are held", || nginx.status().upstream("backend").held == 6);
        supervisord.release(START);
        for client in clients {
            let answer = client.join().expect("a client").expect("an answer");
            assert_eq!(answer.status, if works { 200 } else { 502 });
        }
        nginx.reload_within(SLOW, &config);
        if works {
            assert!(nginx.stop_page("backend", 0).accepted);
            wait_until(SLOW, "it is down", || nginx.status().program("backend0").state == "down");
        }
    }
    nginx.quit_within(SLOW);
    assert_clean(&nginx, 2);
}

/// How often the process asked for memory until it had probed its peer so many times.
fn allocations(probes: usize) -> Option<usize> {
    let peers = Peer::start_many(1);
    let body = format!("{} healthcheck_expected fine; {}", check(20, 3000, 2), servers(&peers));
    let config = Config::new().single_process().upstream("backend", body);
    let mut nginx = Nginx::start_within(SLOW, &under_valgrind(config)?);

    peers[0].probes(Script::ok("fine"));
    wait_until(SLOW, "enough probes", || peers[0].probe_count() >= probes);
    nginx.quit_within(SLOW);
    let report = reports(&nginx).concat();
    let (_, usage) = report.split_once("total heap usage: ").expect("a heap summary");
    let (count, _) = usage.split_once(" allocs").expect("a count");
    Some(count.replace(',', "").parse().expect("a number"))
}

#[test]
fn a_probe_allocates_nothing() {
    let (Some(few), Some(many)) = (allocations(10), allocations(210)) else { return };

    // The start of a process asks for memory a few times more or less, not 200 times.
    assert!(many < few + 100, "{few} allocations with 10 probes, {many} with 210");
}
