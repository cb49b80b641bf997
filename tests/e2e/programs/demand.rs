//! All programs are down and a request comes: the first one is started while the request waits.

use std::thread;
use std::time::{Duration, Instant};

use support::scripted_supervisord::START;
use support::{
    servers, wait_until, Config, Nginx, Peer, Program, Reply, Request, Script, ScriptedSupervisord,
    Supervisord, LIMIT,
};

use super::{hear_workers, is_logged_once, settled, two_settled, ENDLESS};

/// An upstream of these peers that such a supervisord manages.
fn body(supervisord: &ScriptedSupervisord, peers: &[Peer]) -> String {
    format!("supervisord {supervisord}; {}", servers(peers))
}

/// With read timeouts that a test can wait for.
const QUICK: &str = "supervisord_connect_timeout 1s; supervisord_read_timeout 1s;";

#[test]
fn check_31_a_request_waits_for_the_first_program_and_is_answered_by_it() {
    let programs = two_settled("backend").map(|program| program.behaves("delay 200"));
    let supervisord = Supervisord::start(programs);
    let config = Config::new().workers(2).upstream("backend", supervisord.upstream());
    let nginx = Nginx::start(&config);

    let answer = nginx.get("/backend/");
    assert_eq!((answer.status, answer.text().as_str()), (200, "backend0"), "{answer}");
    assert_eq!(answer.peer(), supervisord.peer(0));
    assert_eq!(supervisord.state("backend0"), "RUNNING");
    assert_eq!(supervisord.state("backend1"), "STOPPED");
    assert_eq!(supervisord.calls(START), 1);
    assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
    is_logged_once(&nginx, "is up: started by request");
}

#[test]
fn check_31_the_client_is_held_until_supervisord_answers() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.hold(START);
    let nginx = Nginx::start(&Config::new().upstream("backend", body(&supervisord, &peers)));
    let address = nginx.address();

    let client = thread::spawn(move || Request::get("/backend/").send(address));
    wait_until(LIMIT, "a start", || supervisord.starts("backend0") == 1);
    let upstream = nginx.status().upstream("backend");
    assert_eq!((upstream.held, upstream.managed), (1, true));
    assert_eq!(nginx.status().program("backend0").state, "starting");
    assert!(!client.is_finished());
    supervisord.release(START);
    let answer = client.join().expect("a client").expect("an answer");
    assert_eq!((answer.status, answer.peer()), (200, peers[0].to_string().as_str()));
    assert_eq!(nginx.status().upstream("backend").held, 0);
}

#[test]
fn held_requests_go_on_within_a_tenth_of_a_second() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(1));
    supervisord.hold(START);
    let config = Config::new().workers(2).upstream("backend", body(&supervisord, &peers));
    let nginx = Nginx::start(&config);
    let address = nginx.address();

    let clients: Vec<_> =
        (0..10).map(|_| thread::spawn(move || Request::get("/backend/").send(address))).collect();
    wait_until(LIMIT, "all are held", || nginx.status().upstream("backend").held == 10);
    supervisord.release(START);
    nginx.wait_program("backend0", "up");
    thread::sleep(Duration::from_millis(100));
    // A worker that is held up lets them go in the turn of its event loop after that, which is over
    // when the next one gives an answer.
    hear_workers(&nginx, 2);
    assert_eq!(nginx.status().upstream("backend").held, 0);
    for client in clients {
        assert_eq!(client.join().expect("a client").expect("an answer").status, 200);
    }
}

#[test]
fn check_34_twenty_first_requests_over_four_workers_send_one_start() {
    for zone in ["", "zone backend 64k;"] {
        let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(3));
        supervisord.delay("backend0", Duration::from_millis(500));
        let body = format!("{zone} {}", body(&supervisord, &peers));
        let nginx = Nginx::start(&Config::new().workers(4).upstream("backend", body));
        let address = nginx.address();

        let clients: Vec<_> = (0..20)
            .map(|_| thread::spawn(move || Request::get("/backend/").send(address)))
            .collect();
        for client in clients {
            let answer = client.join().expect("a client").expect("an answer");
            assert_eq!((answer.status, answer.peer()), (200, peers[0].to_string().as_str()));
        }
        assert_eq!(supervisord.calls_of(START).len(), 1, "{zone}");
    }
}

#[test]
fn check_35_without_supervisord_requests_fail_at_once_and_the_next_tries_again() {
    let (mut supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.stop();
    let body = format!("{} {ENDLESS}", body(&supervisord, &peers));
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    for _ in 0..3 {
        assert_eq!(nginx.get("/backend/").status, 502);
    }
    assert!(!nginx.log_lines("couldn't connect to supervisord").is_empty());
    nginx.wait_program("backend0", "down");
    supervisord.restart();
    assert_eq!(nginx.get("/backend/").status, 200);
    assert_eq!(supervisord.calls_of(START).len(), 1);
}

#[test]
fn check_36_a_program_that_runs_already_is_used() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    // The states are asked for at the start; this one comes up right after.
    let nginx = Nginx::start(&Config::new().upstream("backend", body(&supervisord, &peers)));
    wait_until(LIMIT, "the first poll", || {
        nginx.status().program("backend0").reported_state.as_deref() == Some("STOPPED")
    });
    supervisord.set_state("backend0", "RUNNING");

    assert_eq!(nginx.get("/backend/").status, 200);
    nginx.wait_program("backend0", "up");
    assert!(nginx.log_lines("could not start").is_empty());
}

#[test]
fn check_36_a_fault_of_every_program_fails_the_request_at_once() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(3));
    supervisord.reply(START, Reply::Fault(50));
    let body = format!("{} {ENDLESS}", body(&supervisord, &peers));
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    assert_eq!(nginx.get("/backend/").status, 502);
    let tried: Vec<_> =
        supervisord.calls_of(START).iter().map(|call| call.programs[0].clone()).collect();
    assert_eq!(tried, ["backend0", "backend1", "backend2"]);
    for name in tried {
        nginx.wait_program(&name, "down");
        let text = format!("could not start \"{name}\" of upstream \"backend\": fault 50");
        assert_eq!(nginx.log_lines(&text).len(), 1, "{text}");
    }
    supervisord.reply(START, Reply::Fitting);
    assert_eq!(nginx.get("/backend/").status, 200, "the next request tries anew");
}

#[test]
fn a_program_that_cannot_start_is_passed_over_for_the_next() {
    let programs =
        [Program::new("backend0").setting("command", "/no/such/program"), settled("backend1")];
    let supervisord = Supervisord::start(programs);
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", supervisord.upstream()));

    assert_eq!(nginx.get("/backend/").text(), "backend1");
    assert_eq!(nginx.log_lines("could not start \"backend0\"").len(), 1);
    assert!(nginx.log_lines("fault 20").len() == 1, "NO_FILE");
    assert_eq!(nginx.tally(10, "backend").with_status(200), 10);
}

#[test]
fn a_line_marked_down_is_not_started_by_requests() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    let body = format!("supervisord {supervisord}; server {} down; server {};", peers[0], peers[1]);
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

    assert_eq!(nginx.get("/backend/").peer(), peers[1].to_string());
    assert_eq!((supervisord.starts("backend0"), supervisord.starts("backend1")), (0, 1));
}

#[test]
fn a_stop_by_url_is_not_sticky() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    let config = Config::new().workers(2).upstream("backend", body(&supervisord, &peers));
    let nginx = Nginx::start(&config.commands("backend"));

    assert_eq!(nginx.get("/backend/").status, 200);
    assert!(nginx.stop_page("backend", 0).accepted);
    nginx.wait_program("backend0", "down");
    assert_eq!(nginx.get("/backend/").peer(), peers[0].to_string());
    assert_eq!((supervisord.starts("backend0"), supervisord.stops("backend0")), (2, 1));
}

/// What no supervisord says, and what the log calls it.
fn broken_replies() -> Vec<(&'static str, Reply, &'static str)> {
    let half = "HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 500\r\n\r\n\
                <?xml version='1.0'?>\n<methodResponse>\n<params>";
    let no = "<?xml version='1.0'?><methodResponse><params><param><value><boolean>0</boolean>\
              </value></param></params></methodResponse>";
    let fault = "<?xml version='1.0'?><methodResponse><fault><value><string>x</string></value>\
                 </fault></methodResponse>";

    vec![
        ("empty", Reply::close(), "could not start"),
        ("no text", Reply::text(""), "malformed reply"),
        ("garbage", Reply::raw("\0\x01\x02 garbage\r\n\r\n"), "malformed reply"),
        ("no XML", Reply::text("hello, world"), "malformed reply"),
        ("half", Reply::raw(half), "malformed reply"),
        ("no success", Reply::text(no), "malformed reply"),
        ("a fault without its number", Reply::text(fault), "malformed reply"),
        ("ten megabytes", Reply::huge(), "could not start"),
        ("401", Reply::unauthorized(), "unauthorized connection"),
        ("500", Reply::raw("HTTP/1.0 500 Oops\r\n\r\n"), "could not start"),
        ("reset", Reply::Script(Script::reset()), "could not start"),
    ]
}

#[test]
fn check_36_what_is_no_proper_answer_fails_the_request_at_once() {
    for (name, reply, text) in broken_replies() {
        let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
        supervisord.reply(START, reply);
        let body = format!("{} {ENDLESS}", body(&supervisord, &peers));
        let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

        assert_eq!(nginx.get("/backend/").status, 502, "{name}");
        assert_eq!(supervisord.calls_of(START).len(), 1, "{name}: the others are not tried");
        assert!(!nginx.log_lines(text).is_empty(), "{name}: no {text:?}\n{}", nginx.error_log());
        nginx.wait_program("backend0", "down");
        supervisord.reply(START, Reply::Fitting);
        assert_eq!(nginx.get("/backend/").status, 200, "{name}: the next request tries anew");
    }
}

#[test]
fn check_37_a_supervisord_that_never_answers_costs_the_read_timeout_and_nobody_else() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(2));
    supervisord.reply(START, Reply::never());
    let config = Config::new()
        .upstream("backend", format!("{} {QUICK}", body(&supervisord, &peers)))
        .upstream("other", servers(&peers));
    let nginx = Nginx::start(&config);
    let address = nginx.address();
    let worker = nginx.workers()[0];

    let start = Instant::now();
    let client = thread::spawn(move || (Request::get("/backend/").send(address), Instant::now()));
    wait_until(LIMIT, "a start", || supervisord.starts("backend0") == 1);
    let ticks = support::process::cpu_ticks(worker);
    assert_eq!(nginx.tally(20, "other").with_status(200), 20);
    let (answer, end) = client.join().expect("a client");
    let took = end - start;
    // The client does not wait for the half minute of the default.
    assert_eq!(answer.expect("an answer").status, 502);
    assert!(took >= Duration::from_millis(900), "{took:?}");
    let ticks = support::process::cpu_ticks(worker) - ticks;
    assert!(ticks < 30, "{ticks} ticks: the worker is idle meanwhile");
    assert!(!nginx.log_lines("timed out").is_empty());
}

#[test]
fn an_address_that_does_not_answer_costs_the_connect_timeout() {
    // A full backlog: connections are neither accepted nor refused.
    let port = support::Port::reserve();
    let listener = port.listen_for_one().expect("a listener");
    let fill: Vec<_> = (0..3)
        .map(|_| {
            let limit = Duration::from_millis(50);
            std::net::TcpStream::connect_timeout(&port.address(), limit)
        })
        .collect();
    let peers = Peer::start_many(1);
    let limit = "supervisord_connect_timeout 200;";
    let body = format!("supervisord {port}; {limit} {}", servers(&peers));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    let start = Instant::now();
    assert_eq!(nginx.get("/backend/").status, 502);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}: not the default");
    drop((fill, listener));
}

#[test]
fn an_answer_in_pieces_is_understood() {
    let (supervisord, peers) = (ScriptedSupervisord::start(), Peer::start_many(1));
    let body = "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><boolean>1\
                </boolean></value>\n</param>\n</params>\n</methodResponse>\n";
    // No length: it ends where the connection does.
    let whole = format!("HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\n\r\n{body}");
    let pieces: Vec<&str> = (0..whole.len()).map(|at| &whole[at..=at]).collect();
    let script = Script::pieces(&pieces, Duration::from_millis(1));
    supervisord.reply(START, Reply::Script(script)).hold(START);
    let body = format!("supervisord {supervisord}; {}", servers(&peers));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    let address = nginx.address();
    let client = thread::spawn(move || Request::get("/backend/").send(address));
    wait_until(LIMIT, "a start", || supervisord.starts("backend0") == 1);
    // As supervisord itself: it answers when the program runs.
    supervisord.set_state("backend0", "RUNNING").release(START);
    assert_eq!(client.join().expect("a client").expect("an answer").status, 200);
    assert!(nginx.log_lines("[error]").is_empty(), "{}", nginx.error_log());
}
