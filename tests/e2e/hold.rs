//! Requests wait for a peer: `queue`.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::{
    check, patient, servers, wait_for, wait_until, Config, Nginx, Peer, Request, Response, LIMIT,
};

mod balancers;
mod basics;
mod caching;
mod clients;
mod configuration;
mod failures;
pub(crate) mod h2;
mod lifecycle;
mod many;
mod protocols;
mod resolved;
pub(crate) mod server;
mod storm;
mod valgrind;

/// Half of the patience that requests have where a test sets none: who is told sooner has not waited
/// for its end.
const IN_TIME: Duration = Duration::from_secs(30);

/// Probes every 50 ms, and one verdict decides; a peer of a busy machine has time to answer.
fn quick() -> String {
    check(50, 10_000, 1)
}

/// A configuration with the upstream `backend` and its queue, a page that counts requests, and an
/// access log of what nginx measured.
fn config(queue: &str, rest: &str) -> Config {
    Config::new()
        .http(
            "log_format hold '$uri $status [$upstream_addr] [$upstream_status] \
             [$upstream_connect_time] [$upstream_response_time] $request_time';",
        )
        .server("location = /basic { stub_status; } access_log access.log hold;")
        .upstream("backend", format!("{queue} {} {rest}", quick()))
}

/// An nginx whose only peer is down.
fn all_down(queue: &str) -> (Nginx, Peer) {
    let peer = Peer::start();
    peer.healthy(false);
    let nginx = Nginx::start(&config(queue, &servers([&peer])));
    nginx.wait_down(&peer, true);
    (nginx, peer)
}

/// A request on its way.
struct Client(JoinHandle<(Result<Response>, Duration)>);

impl Client {
    /// Sends a GET.
    fn get(nginx: &Nginx, path: &str) -> Client {
        let (to, path) = (nginx.address(), path.to_owned());
        Client::of(to, move |to| Request::get(&path).limit(3 * LIMIT).send(to))
    }

    /// Sends a GET on a connection that stands already.
    fn on(mut stream: TcpStream, path: &str) -> Client {
        let to = stream.peer_addr().expect("an open connection");
        let request = format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n");
        Client::of(to, move |_| {
            stream.write_all(request.as_bytes())?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Response::parse(&answer).ok_or_else(|| Error::from(ErrorKind::InvalidData))
        })
    }

    /// Sends whatever `send` does.
    fn of(
        to: SocketAddr,
        send: impl FnOnce(SocketAddr) -> Result<Response> + Send + 'static,
    ) -> Client {
        Client(thread::spawn(move || {
            let start = Instant::now();
            let response = send(to);
            (response, start.elapsed())
        }))
    }

    /// Several GETs.
    fn many(nginx: &Nginx, count: usize, path: &str) -> Vec<Client> {
        (0..count).map(|_| Client::get(nginx, path)).collect()
    }

    /// The answer, and how long it took.
    #[track_caller]
    fn answer(self) -> (Response, Duration) {
        let (response, took) = self.0.join().expect("a client");
        (response.expect("an answer"), took)
    }

    /// Whether there is an answer.
    fn is_done(&self) -> bool {
        self.0.is_finished()
    }
}

/// A connection that this worker has accepted; whose the kernel makes one is its choice.
fn connection_to(nginx: &Nginx, worker: u32) -> TcpStream {
    wait_for(LIMIT, "a connection to the worker", || {
        let mut stream = TcpStream::connect(nginx.address()).expect("nginx listens");
        stream.set_read_timeout(Some(patient(3 * LIMIT))).expect("a timeout above zero");
        stream
            .write_all(b"GET /generation HTTP/1.1\r\nHost: test\r\n\r\n")
            .expect("an open connection");
        let mut answer = Vec::new();
        let response = loop {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).expect("an answer");
            assert!(count > 0, "a whole answer");
            answer.extend_from_slice(&buffer[..count]);
            // Its body is one number.
            if let Some(response) = Response::parse(&answer).filter(|got| !got.body.is_empty()) {
                break response;
            }
        };
        (response.worker() == worker).then_some(stream)
    })
}

/// Has nginx's passive checks take all peers out, and then, when these serve again, so many requests
/// to `/it` wait until nginx lets them in.
fn wait_for_passive_checks(
    config: &Config,
    peers: &mut [Peer],
    count: usize,
) -> (Nginx, Vec<Client>) {
    wait_for(LIMIT, "the requests wait", || {
        for peer in &mut *peers {
            peer.stop();
        }
        let nginx = Nginx::start(config);
        // The request that finds out is not held: its tries run out.
        assert_eq!(nginx.get("/it").status, 502);
        for peer in &mut *peers {
            peer.restart();
        }
        let clients = Client::many(&nginx, count, "/it");
        let is_any_done = || clients.iter().any(Client::is_done);
        wait_until(LIMIT, "they wait, or need not", || held(&nginx) == count || is_any_done());
        // On a slow machine nginx may have let the peers in before the requests came.
        (!is_any_done()).then_some((nginx, clients))
    })
}

/// How many requests to `backend` wait.
fn held(nginx: &Nginx) -> usize {
    usize::try_from(nginx.status().upstream("backend").held).expect("a small number")
}

/// How many requests nginx has in hand, that for the page left out.
fn in_hand(nginx: &Nginx) -> usize {
    let page = nginx.get("/basic").text();
    let (_, rest) = page.split_once("Writing: ").expect("stub_status");
    let count: usize = rest.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    count.saturating_sub(1)
}

/// Waits until nginx has that many requests in hand.
#[track_caller]
fn wait_in_hand(nginx: &Nginx, count: usize) {
    wait_until(LIMIT, "the requests are there", || in_hand(nginx) == count);
}

/// Waits for a line of the access log with this beginning.
#[track_caller]
fn access(nginx: &Nginx, beginning: &str) -> String {
    wait_for(LIMIT, "a line in the access log", || {
        let log = std::fs::read_to_string(nginx.dir().join("access.log")).unwrap_or_default();
        log.lines().find(|line| line.starts_with(beginning)).map(str::to_owned)
    })
}
