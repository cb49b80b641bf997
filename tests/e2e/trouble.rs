//! Trouble of this machine is no verdict on a peer.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{
    check, holds_for, servers, skip, spawn, wait_until, Config, Nginx, Peer, Script, Step, LIMIT,
};

#[test]
fn too_few_connections_are_no_reason_to_call_a_peer_sick() {
    let peers = Peer::start_many(40);
    // Every probe holds its connection for a while, so that forty of them want more than there are.
    let answer = "HTTP/1.1 200 OK\r\n\r\n";
    for peer in &peers {
        peer.probes(Script::pieces(&["", answer], Duration::from_millis(900)));
    }
    let body = format!("{} {}", check(1000, 5000, 1), servers(&peers));
    let events = "events { worker_connections 24; }";
    let started = Instant::now();
    // Nobody asks it anything: there may be no connection left for that.
    let nginx = Nginx::launch(&Config::new().main(events).upstream("backend", body));

    wait_until(LIMIT, "trouble", || !nginx.log_lines("healthcheck: no free connection").is_empty());
    wait_until(LIMIT * 2, "every peer is probed in the end", || {
        peers.iter().all(|peer| peer.probe_count() >= 1)
    });
    assert!(nginx.log_lines("is down").is_empty(), "{:#?}", nginx.log_lines("is down"));
    let lines = nginx.log_lines("healthcheck: no free connection");
    once_a_minute(&lines, started);
    assert!(lines[0].contains("[error]"), "{}", lines[0]);
}

#[test]
fn a_client_that_has_said_nothing_yet_is_not_sent_away_for_a_probe() {
    let peers = Peer::start_many(10);
    let body = format!("{} {}", check(200, 30_000, 1), servers(&peers));
    let events = "events { worker_connections 64; }";
    let config = Config::new().main(events).upstream("backend", body);
    let nginx = Nginx::start(&config);
    nginx.wait_probed();

    // With what nginx has itself, all but the last sixteenth.
    let mut clients = Vec::new();
    wait_until(LIMIT, "probes pause", || {
        if clients.len() < 58 {
            let mut client = TcpStream::connect(nginx.address()).expect("a place in the backlog");
            client.write_all(b"GET /backend/ HTTP/1.0\r\n").expect("a connection");
            clients.push(client);
        }
        !nginx.log_lines("healthcheck: no free connection").is_empty()
    });
    let mut silent = TcpStream::connect(nginx.address()).expect("a place in the backlog");
    // Several attempts to probe.
    silent.set_read_timeout(Some(Duration::from_secs(4))).expect("a socket");
    let error = silent.read(&mut [0]).expect_err("nobody says or ends anything");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(clients);
    silent.set_read_timeout(Some(LIMIT)).expect("a socket");
    silent.write_all(b"GET /backend/ HTTP/1.0\r\n\r\n").expect("a connection");
    let mut answer = String::new();
    silent.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn too_few_descriptors_are_no_reason_to_call_a_peer_sick() {
    let started = Instant::now();
    let (mut nginx, _peers) = with_too_few_descriptors(Script::silent());
    nginx.allow_in_log("Too many open files");

    wait_until(LIMIT, "trouble", || !nginx.log_lines("healthcheck: no socket").is_empty());
    holds_for(Duration::from_secs(3), "no peer is down", || nginx.log_lines("is down").is_empty());
    once_a_minute(&nginx.log_lines("healthcheck: no socket"), started);
}

/// A line, and one more for each further minute since nginx was started.
#[track_caller]
fn once_a_minute(lines: &[String], started: Instant) {
    let most = 1 + usize::try_from(started.elapsed().as_secs() / 60).expect("a short time");
    assert!((1..=most).contains(&lines.len()), "once a minute at most: {lines:#?}");
}

#[test]
fn a_lasting_shortage_leaves_no_peer_without_probes() {
    let (mut nginx, peers) = with_too_few_descriptors(Script::ok("fine"));
    nginx.allow_in_log("Too many open files");

    wait_until(LIMIT * 2, "every peer is probed in the end", || {
        peers.iter().all(|peer| peer.probe_count() > 0)
    });
    assert!(nginx.log_lines("is down").is_empty());
}

/// Takes all ports that a network of its own has for connections to one address, and becomes nginx.
const WITHOUT_PORTS: &str = r#"
import fcntl, os, socket, struct, sys
any = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(any, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
    file.write("40000 40009")
peer = socket.create_server(("127.0.0.1", 20001), backlog=100)
other = socket.create_server(("127.0.0.1", 20002), backlog=100)
held = [socket.create_connection(("127.0.0.1", 20001)) for _ in range(10)]
for each in [peer, other, *held]:
    os.set_inheritable(each.fileno(), True)
os.execvp(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn too_few_ports_are_no_reason_to_call_a_peer_sick() {
    let own = ["unshare", "--net"];
    let can = spawn::output(Command::new(own[0]).args([own[1], "true"]));
    if !can.is_ok_and(|output| output.status.success()) {
        return skip("unshare may not make a network here");
    }
    let body = "server 127.0.0.1:20001; server 127.0.0.1:20002;";
    let config = Config::new().upstream("backend", format!("{} {body}", check(50, 200, 1)));
    let wrapper = [own[0], own[1], "python3", "-c", WITHOUT_PORTS];
    let started = Instant::now();
    let mut nginx = Nginx::launch(&config.wrapper(wrapper));

    let lines = |text: &str| nginx.log_lines(text);
    // The other one does not answer, which is a verdict.
    wait_until(LIMIT, "trouble", || !lines("healthcheck: no port for a probe of").is_empty());
    wait_until(LIMIT, "the other is down", || !lines("127.0.0.1:20002 in upstream").is_empty());
    let down = || !nginx.log_lines("127.0.0.1:20001 in upstream").is_empty();
    holds_for(Duration::from_secs(2), "no verdict", || !down());
    let lines = nginx.log_lines("healthcheck: no port for a probe of");
    once_a_minute(&lines, started);
    assert!(lines[0].contains("127.0.0.1:20001"), "{lines:#?}");
    nginx.quit_within(LIMIT);
}

/// A worker with descriptors for about half of its forty peers, all of them due at once.
fn with_too_few_descriptors(answer: Script) -> (Nginx, Vec<Peer>) {
    let peers = Peer::start_many(40);
    for peer in &peers {
        let steps = [vec![Step::Pause(Duration::from_millis(200))], answer.0.clone()].concat();
        peer.probes(Script(steps));
    }
    let body = format!("{} {}", check(300, 60_000, 1), servers(&peers));
    let limit = "worker_rlimit_nofile 30; events { worker_connections 512; }";

    // Nobody asks it anything: there may be no descriptor left for that.
    (Nginx::launch(&Config::new().main(limit).upstream("backend", body)), peers)
}
