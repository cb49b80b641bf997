//! The workers run out of `worker_connections`, and have them again.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::{patient, wait_until, Config, Port, Request, LIMIT};

use super::crowd::Crowd;
use super::{either, Drill};

const PEERS: usize = 40;

/// `worker_connections`. Of these an idle worker uses a few itself, and probes leave a sixteenth.
const CONNECTIONS: usize = 128;

/// A client with half a request, which nginx has read and cannot send away.
fn client(to: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(patient(LIMIT)))?;
    let whole = "GET /generation HTTP/1.1\r\nHost: test\r\n\r\n";
    stream.write_all(format!("{whole}GET /backend/ HTTP/1.1\r\n").as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n0") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.extend(byte);
    }
    Ok(stream)
}

/// So many of them. Where probes in flight have left no room for one, another one comes.
fn clients(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    wait_until(LIMIT, "so many clients", || {
        while clients.len() < count {
            let Ok(client) = client(to) else { return false };
            clients.push(client);
        }
        true
    });
    clients
}

/// So many clients with half a request each, whether nginx takes them or not.
fn crowd_of_clients(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect(to).expect("a place in the backlog");
        stream.write_all(b"GET /backend/ HTTP/1.0\r\n").expect("a connection");
        stream
    };
    (0..count).map(connect).collect()
}

#[test]
fn no_peer_is_called_sick_for_want_of_connections_and_probes_take_none_from_requests() {
    let drill = Drill::begin();
    let crowd = Crowd::start(PEERS, 1);
    let events = format!("events {{ worker_connections {CONNECTIONS}; }}");
    // nginx may take a connection back from a client that has said nothing yet, and a client of the test
    // may stand still before it does: it is accepted when it has said something.
    let port = Port::reserve();
    let config = Config::new()
        .workers(1)
        .main(&events)
        .server(&format!("listen {port} deferred;"))
        .upstream("backend", crowd.all(""));
    let to = port.address();
    let started = Instant::now();
    let mut nginx = crowd.nginx(&config);
    nginx.allow_in_log("worker_connections are not enough");
    let rounds = either(1, 10);
    let (mut served, mut asked) = (0, 0);

    for round in 0..rounds {
        // All but what the reserve holds: probes stop, requests one by one go on.
        let busy = clients(to, CONNECTIONS - 10);
        wait_until(LIMIT, "probes pause", || {
            round > 0 || !nginx.log_lines("healthcheck: no free connection").is_empty()
        });
        // The last ones in flight have their answers.
        crowd.swarm.settle();
        for _ in 0..200 {
            asked += 1;
            let answer = Request::get("/backend/").send(to);
            served += usize::from(answer.is_ok_and(|answer| answer.status == 200));
        }
        // More than there are.
        let more = crowd_of_clients(to, CONNECTIONS);
        std::thread::sleep(either(Duration::from_secs(2), Duration::from_secs(5)));
        drop((busy, more));
        wait_until(LIMIT, "requests are served again", || {
            let request = Request::get("/backend/").limit(Duration::from_secs(1));
            request.send(nginx.address()).is_ok_and(|answer| answer.status == 200)
        });
        crowd.wait_probed(0..PEERS, 2);
    }
    assert_eq!(served, asked, "requests while probes had no connection");
    let refusals = nginx.log_lines("worker_connections are not enough").len();
    let (least, most) = crowd.settled_rate(0..PEERS);
    let minutes = started.elapsed().as_secs() / 60;
    assert!(most < 1.5, "{most} probes a period");
    assert!(least > 0.5, "{least} probes a period");
    let lines = nginx.log_lines("healthcheck: no free connection");
    let downs = nginx.log_lines("is down");
    assert_eq!(downs.len(), 1, "{downs:#?}");
    assert_eq!(crowd.sick_requests(), 0);
    // Once a minute.
    assert!(lines.len() as u64 <= 1 + minutes, "{lines:#?}");
    drill.end(format_args!(
        "{rounds} times all {CONNECTIONS} connections, {refusals} refusals in nginx's log: 0 false \
         downs of {PEERS} peers, {served} of {asked} requests served while probes paused, {} lines of \
         ours; then {least:.2}..{most:.2} probes per peer and period",
        lines.len()
    ));
}
