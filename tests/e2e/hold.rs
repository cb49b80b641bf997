//! Requests wait for a peer: `queue`.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::{check, servers, wait_until, Config, Nginx, Peer, Request, Response, LIMIT};

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

/// Probes every 50 ms, and one verdict decides.
fn quick() -> String {
    check(50, 1000, 1)
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
struct Client(JoinHandle<(std::io::Result<Response>, Duration)>);

impl Client {
    /// Sends a GET.
    fn get(nginx: &Nginx, path: &str) -> Client {
        let (to, path) = (nginx.address(), path.to_owned());
        Client::of(to, move |to| Request::get(&path).limit(LIMIT).send(to))
    }

    /// Sends whatever `send` does.
    fn of(
        to: SocketAddr,
        send: impl FnOnce(SocketAddr) -> std::io::Result<Response> + Send + 'static,
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
    support::wait_for(LIMIT, "a line in the access log", || {
        let log = std::fs::read_to_string(nginx.dir().join("access.log")).unwrap_or_default();
        log.lines().find(|line| line.starts_with(beginning)).map(str::to_owned)
    })
}
