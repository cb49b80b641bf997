//! The support library itself, on an nginx without any of the module's directives.

use std::net::TcpStream;

use support::{
    process, wait_until, Config, Fault, Nginx, Peer, Program, Script, Supervisord, LIMIT,
};

#[test]
fn an_nginx_serves_reloads_and_quits() {
    let peers = Peer::start_many(2);
    let config = Config::new().without_pages().workers(2);
    let first = config.clone().upstream("backend", format!("server {};", peers[0]));
    let second = config.upstream("backend", format!("server {};", peers[1]));

    let mut nginx = Nginx::start(&first);
    let workers = nginx.workers();
    assert_eq!(workers.len(), 2);
    let tally = nginx.tally(40, "backend");
    assert_eq!((tally.at(&peers[0].to_string()), tally.with_status(200)), (40, 40));
    assert_eq!(tally.workers.len(), 2, "each worker takes its share of the connections");

    nginx.reload(&second);
    assert!(workers.iter().all(|&pid| !process::is_alive(pid)));
    assert_eq!(nginx.tally(20, "backend").at(&peers[1].to_string()), 20);
    nginx.quit_within(LIMIT);
}

#[test]
fn a_killed_worker_is_replaced() {
    let mut nginx = Nginx::start(&Config::new().without_pages().workers(2));
    let worker = nginx.workers()[0];

    nginx.kill9(worker);
    wait_until(LIMIT, "another worker", || {
        let workers = nginx.workers();
        workers.len() == 2 && !workers.contains(&worker)
    });
}

#[test]
fn a_single_process_serves_and_quits() {
    let peer = Peer::start();
    peer.requests(Script::status(404, "none"));
    let config = Config::new().without_pages().single_process();
    let config = config.http("client_header_timeout 1s;");

    let mut nginx = Nginx::start(&config.upstream("backend", format!("server {peer};")));
    assert!(nginx.children().is_empty());
    assert_eq!(nginx.tally(5, "backend").with_status(404), 5);
    // A signal right before epoll_wait() is seen with the next event: here the timeout of a client.
    let _silent = TcpStream::connect(nginx.address()).expect("nginx listens");
    nginx.quit_within(LIMIT);
}

#[test]
fn a_broken_configuration_is_refused_with_its_reason() {
    let tested = Nginx::test(&Config::new().without_pages().http("no_such_directive;"));

    assert!(!tested.ok);
    assert!(tested.output.contains("unknown directive \"no_such_directive\""), "{tested:?}");
}

#[test]
fn a_supervisord_starts_and_stops_its_programs() {
    let programs = Program::many("backend", 2);
    let supervisord = Supervisord::setup(programs).account("user", "pass").start();
    let config = Config::new().without_pages();
    let body = format!("server {};", supervisord.peer(0));
    let nginx = Nginx::start(&config.upstream("backend", body));

    assert_eq!(supervisord.state("backend0"), "STOPPED");
    assert_eq!(nginx.get("/backend/").status, 502);
    supervisord.start_program("backend0").expect("it starts");
    assert_eq!(supervisord.state("backend0"), "RUNNING");
    assert_eq!(supervisord.spawned("backend0"), [supervisord.pid("backend0")]);
    wait_until(LIMIT, "the program answers", || nginx.get("/backend/").text() == "backend0");
    assert_eq!(supervisord.start_program("backend0"), Err(Fault::Fault(60, text("backend0"))));
    supervisord.stop_program("backend0").expect("it stops");
    assert_eq!(nginx.get("/backend/").status, 502);
    assert_eq!(supervisord.calls("supervisor.startProcess"), 2);

    fn text(program: &str) -> String {
        format!("ALREADY_STARTED: {program}")
    }
}

#[test]
fn a_supervisord_that_is_killed_takes_its_programs_along_and_comes_back() {
    let slow = Program::new("slow").setting("startsecs", 1).behaves("delay 100");
    let broken = Program::new("broken").setting("startsecs", 1).behaves("fail");
    let mut supervisord = Supervisord::setup([slow, broken]).unix().start();

    supervisord.start_program("slow").expect("it starts");
    let pid = supervisord.pid("slow");
    assert!(matches!(supervisord.start_program("broken"), Err(Fault::Fault(..))));
    supervisord.behave("broken", "");
    supervisord.kill9();
    assert!(!process::is_alive(pid));
    supervisord.restart();
    assert_eq!(supervisord.state("slow"), "STOPPED");
    supervisord.start_program("broken").expect("it behaves now");
}
