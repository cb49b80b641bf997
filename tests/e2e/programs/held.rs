//! What becomes of requests that wait for a program.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use support::scripted_supervisord::START;
use support::{
    servers, wait_until, Config, Nginx, Peer, Reply, Request, ScriptedSupervisord, LIMIT,
};

use super::ENDLESS;

const QUICK: &str = "supervisord_connect_timeout 1s; supervisord_read_timeout 2s;";

fn start(workers: usize, more: &str) -> (ScriptedSupervisord, Vec<Peer>, Nginx) {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.hold(START);
    let body = format!("supervisord {supervisord}; {} {more}", servers(&peers));
    let config = Config::new().workers(workers).upstream("backend", body).commands("backend");
    let config = config.http("log_format plain '$uri $status';");
    let nginx = Nginx::start(&config.server("access_log @DIR@/access.log plain;"));

    (supervisord, peers, nginx)
}

fn held(nginx: &Nginx) -> u64 {
    nginx.status().upstream("backend").held
}

#[test]
fn check_38_a_client_that_leaves_is_forgotten_and_logged() {
    let (supervisord, peers, nginx) = start(1, "");

    let mut client = TcpStream::connect(nginx.address()).expect("nginx listens");
    client.write_all(b"GET /backend/left HTTP/1.0\r\nHost: test\r\n\r\n").expect("it reads");
    wait_until(LIMIT, "it is held", || held(&nginx) == 1);
    drop(client);
    wait_until(LIMIT, "it is forgotten", || held(&nginx) == 0);
    supervisord.release(START);
    assert_eq!(nginx.get("/backend/").status, 200);
    let log = std::fs::read_to_string(nginx.dir().join("access.log")).expect("a log");
    assert!(log.contains("/backend/left 499"), "{log}");
    assert_eq!(peers[0].request_count(), 1, "only the one that stayed");
}

#[test]
fn check_39_a_killed_worker_leaves_nothing_stuck() {
    // Whichever of the two has sent the start.
    for victim in 0..2 {
        let (supervisord, peers, mut nginx) = start(2, QUICK);
        let address = nginx.address();

        let client = thread::spawn(move || Request::get("/backend/").send(address));
        wait_until(LIMIT, "a start", || supervisord.starts("backend0") == 1);
        let worker = nginx.workers()[victim];
        nginx.kill9(worker);
        wait_until(LIMIT, "another worker", || {
            let workers = nginx.workers();
            workers.len() == 2 && !workers.contains(&worker)
        });
        supervisord.release(START);
        let _ = client.join().expect("a client");

        wait_until(LIMIT, "requests are served", || {
            let answer = Request::get("/backend/").send(address);
            answer.is_ok_and(|answer| answer.status == 200)
        });
        assert_eq!(nginx.wait_program("backend0", "up").running, 0);
        let tally = nginx.tally(20, "backend");
        assert_eq!(tally.at(&peers[0].to_string()), 20, "{tally:?}");
    }
}

#[test]
fn a_hold_that_lasts_too_long_ends_with_504() {
    let (_supervisord, _peers, nginx) = start(1, "queue 10 timeout=500ms;");

    let start = Instant::now();
    // The client does not wait for the minute of the default.
    assert_eq!(nginx.get("/backend/").status, 504);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(450), "{took:?}");
}

#[test]
fn a_full_queue_refuses_with_502() {
    let (supervisord, _peers, nginx) = start(1, "queue 3 timeout=20s;");
    let address = nginx.address();

    let clients: Vec<_> =
        (0..3).map(|_| thread::spawn(move || Request::get("/backend/").send(address))).collect();
    wait_until(LIMIT, "the queue is full", || held(&nginx) == 3);
    assert_eq!(nginx.get("/backend/").status, 502);
    supervisord.release(START);
    for client in clients {
        assert_eq!(client.join().expect("a client").expect("an answer").status, 200);
    }
}

#[test]
fn one_failed_start_fails_all_that_wait_in_every_worker() {
    let (supervisord, _peers, nginx) = start(3, ENDLESS);
    supervisord.reply(START, Reply::unauthorized());
    let address = nginx.address();

    let clients: Vec<_> =
        (0..12).map(|_| thread::spawn(move || Request::get("/backend/").send(address))).collect();
    wait_until(LIMIT, "all are held", || held(&nginx) == 12);
    supervisord.release(START);
    for client in clients {
        assert_eq!(client.join().expect("a client").expect("an answer").status, 502);
    }
    assert_eq!(supervisord.calls_of(START).len(), 1);
}

#[test]
fn a_stop_while_it_starts_leaves_no_request_without_an_answer() {
    let (supervisord, peers, nginx) = start(2, "");
    let address = nginx.address();

    let client = thread::spawn(move || Request::get("/backend/").send(address));
    wait_until(LIMIT, "a start", || supervisord.starts("backend0") == 1);
    nginx.stop_page("backend", 0);
    supervisord.release(START);
    let answer = client.join().expect("a client").expect("an answer");
    assert_eq!(answer.status, 200, "the next one, or the same again: {answer}");
    assert!(peers.iter().any(|peer| peer.to_string() == answer.peer()));
}

#[test]
fn a_program_that_is_started_by_hand_serves_those_that_wait() {
    let (supervisord, peers, nginx) = start(2, "supervisord_poll 100;");
    let address = nginx.address();

    let client = thread::spawn(move || Request::get("/backend/").send(address));
    wait_until(LIMIT, "a start", || supervisord.starts("backend0") == 1);
    supervisord.set_state("backend1", "RUNNING");
    let answer = client.join().expect("a client").expect("an answer");
    assert_eq!((answer.status, answer.peer()), (200, peers[1].to_string().as_str()));
}
