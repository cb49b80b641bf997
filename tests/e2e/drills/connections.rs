//! The workers run out of `worker_connections`, and have them again.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{wait_until, Config, Nginx, Request, LIMIT};

use super::crowd::Crowd;
use super::{either, Drill};

const PEERS: usize = 40;

/// `worker_connections`. Of these an idle worker uses a few itself, and probes leave a sixteenth.
const CONNECTIONS: usize = 128;

/// So many clients with half a request each, which nginx cannot send away.
fn clients(nginx: &Nginx, count: usize) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect(nginx.address()).expect("a place in the backlog");
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
    let config = Config::new().workers(1).main(&events).upstream("backend", crowd.all(""));
    let started = Instant::now();
    let mut nginx = crowd.nginx(&config);
    nginx.allow_in_log("worker_connections are not enough");
    let rounds = either(1, 10);
    let (mut served, mut asked) = (0, 0);

    for round in 0..rounds {
        // All but what the reserve holds: probes stop, requests one by one go on.
        let busy = clients(&nginx, CONNECTIONS - 10);
        wait_until(LIMIT, "probes pause", || {
            round > 0 || !nginx.log_lines("healthcheck: no free connection").is_empty()
        });
        for _ in 0..200 {
            asked += 1;
            let answer = Request::get("/backend/").send(nginx.address());
            served += usize::from(answer.is_ok_and(|answer| answer.status == 200));
        }
        // More than there are.
        let more = clients(&nginx, CONNECTIONS);
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
