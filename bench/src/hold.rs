//! Part `hold`: requests that wait until a peer is usable.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::epoll::{Epoll, Events, Interest};
use support::port::connect_from;
use support::swarm::{Mode, Swarm};
use support::{check, process, wait_until, Config, Nginx};

use crate::numbers::{count, median, percentile, sorted};
use crate::report::{Report, Row};
use crate::server::lines;

/// How many requests wait at a time.
const COUNTS: [usize; 4] = [1, 100, 1000, 5000];
/// Where memory is measured.
const MANY: usize = 5000;
const ROUNDS: usize = 3;
/// How long thousands of anything may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Room for a client's and a peer's connection of each request.
const EVENTS: &str = "worker_rlimit_nofile 16384; events { worker_connections 12000; }";

/// What one round has seen.
struct Round {
    /// Memory of the worker for each request that waits.
    bytes_each: f64,
    /// From the answer that made the peer usable to each client's answer, in ascending order.
    waited_ms: Vec<f64>,
    failed: usize,
    /// Requests that reached the peer before one that had come sooner.
    overtaken: usize,
}

/// Measures it; there are no arguments.
pub fn run(_: &[String], report: &mut Report) {
    let mut in_flight = Vec::new();
    let mut rounds = COUNTS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        in_flight.push(bytes_in_flight(MANY));
        for (count, rounds) in COUNTS.iter().zip(&mut rounds) {
            rounds.push(hold(*count));
        }
    }

    let times = COUNTS.iter().zip(&rounds).map(|(count, rounds)| time_row(*count, rounds));
    report.table(
        "From the probe's answer that makes the peer usable to the clients' answers; 1 worker, ms",
        &times.collect::<Vec<_>>(),
    );
    let many = rounds.last().map_or(&[][..], Vec::as_slice);
    let held: Vec<f64> = many.iter().map(|round| round.bytes_each).collect();
    let memory = |what: &str, bytes: &[f64]| {
        let row = Row::new().text("request", what).number("requests", count(MANY), 0);
        row.number("bytes each", median(bytes), 0)
    };
    report.table(
        "Memory of the worker",
        &[memory("held", &held), memory("in flight, nginx alone", &in_flight)],
    );
    let all = || rounds.iter().flatten();
    let failed = count(all().map(|round| round.failed).sum());
    let overtaken = count(all().map(|round| round.overtaken).sum());
    report.at_most("held requests that failed", failed, 0.0);
    report.at_most("held requests that were overtaken", overtaken, 0.0);
}

fn time_row(held: usize, rounds: &[Round]) -> Row {
    let waited = |of_thousand: usize| {
        let each = rounds.iter().map(|round| percentile(&round.waited_ms, of_thousand));
        median(&each.collect::<Vec<_>>())
    };

    Row::new()
        .text("held", held.to_string())
        .number("first", waited(0), 1)
        .number("p50", waited(500), 1)
        .number("last", waited(1000), 1)
        .number("failed", count(rounds.iter().map(|round| round.failed).sum()), 0)
        .number("overtaken", count(rounds.iter().map(|round| round.overtaken).sum()), 0)
}

/// Has so many requests wait for a peer that is down, and lets it recover.
fn hold(requests: usize) -> Round {
    let swarm = Swarm::start(1);
    swarm.set(0..1, Mode::Failing);
    // One verdict decides: this is about what comes after it.
    let nginx = nginx(&swarm, Config::new(), &format!("queue {requests}; {}", check(50, 1000, 1)));
    nginx.wait_down(swarm.addresses()[0], true);
    let worker = nginx.workers()[0];
    let before = process::resident_kib(worker);
    let clients = clients(nginx.address(), requests);
    wait_in_hand(&nginx, requests);
    let bytes_each = bytes_each(before, process::resident_kib(worker), requests);

    swarm.take();
    let healthy = swarm.set(0..1, Mode::Healthy);
    let answers = answers(clients);
    let seen = &swarm.take()[0];
    let passed = seen.probes.iter().map(|probe| probe.asked).find(|asked| *asked >= healthy);
    let usable = passed.expect("nobody is answered without a probe that passes");
    let waited = |at: &Instant| at.saturating_duration_since(usable).as_secs_f64() * 1e3;
    let mut numbers = seen.numbers.clone();
    numbers.sort();

    Round {
        bytes_each,
        waited_ms: sorted(answers.iter().map(waited).collect()),
        failed: requests - answers.len(),
        overtaken: numbers.windows(2).filter(|pair| pair[0].1 > pair[1].1).count(),
    }
}

/// Memory of nginx's worker for each of so many requests that wait for the answer of a peer.
fn bytes_in_flight(requests: usize) -> f64 {
    let swarm = Swarm::start(1);
    swarm.set(0..1, Mode::Silent);
    let nginx = nginx(&swarm, Config::new().without_module(), "");
    let worker = nginx.workers()[0];
    let before = process::resident_kib(worker);
    let _clients = clients(nginx.address(), requests);
    wait_in_hand(&nginx, requests);
    bytes_each(before, process::resident_kib(worker), requests)
}

fn bytes_each(before_kib: u64, after_kib: u64, requests: usize) -> f64 {
    let grown = usize::try_from(after_kib.saturating_sub(before_kib)).expect("a small number");
    count(grown) * 1024.0 / count(requests)
}

/// One worker, so that there is one order.
fn nginx(swarm: &Swarm, config: Config, directives: &str) -> Nginx {
    let config = config.main(EVENTS).server("location = /basic { stub_status; }");
    Nginx::start(&config.upstream("backend", format!("{directives} {}", lines(swarm))))
}

/// Waits until nginx has that many requests in hand, that for the page left out.
fn wait_in_hand(nginx: &Nginx, requests: usize) {
    wait_until(LIMIT, "the requests are there", || {
        let page = nginx.get("/basic").text();
        let (_, rest) = page.split_once("Writing: ").expect("stub_status");
        rest.split(' ').next().and_then(|text| text.parse().ok()) == Some(requests + 1)
    });
}

/// Sends a GET each on so many connections, one after the other: to `/backend/0`, `/backend/1`...
fn clients(to: SocketAddr, requests: usize) -> Vec<TcpStream> {
    let client = |at: usize| {
        let source = Ipv4Addr::new(127, 0, 1, u8::try_from(at % 200 + 1).expect("a small number"));
        let mut stream = connect_from(source, to, LIMIT).expect("nginx listens");
        write!(stream, "GET /backend/{at} HTTP/1.0\r\n\r\n").expect("a request");
        stream
    };
    (0..requests).map(client).collect()
}

/// When each client had the beginning of its answer; those who got none of 200 are left out.
fn answers(clients: Vec<TcpStream>) -> Vec<Instant> {
    let epoll = Epoll::new();
    let mut events = Events::new();
    for (key, client) in clients.iter().enumerate() {
        client.set_nonblocking(true).expect("an open socket");
        epoll.add(client, key, Interest::Readable);
    }
    let mut clients: Vec<Option<TcpStream>> = clients.into_iter().map(Some).collect();
    let (mut answers, mut open) = (Vec::new(), clients.len());
    let start = Instant::now();

    while open > 0 && start.elapsed() < LIMIT {
        epoll.wait(&mut events, Duration::from_secs(1));
        for event in events.iter() {
            let Some(client) = &mut clients[event.key] else { continue };
            let mut answer = [0; 1024];
            match client.read(&mut answer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Ok(length) if answer[..length].starts_with(b"HTTP/1.1 200 ") => {
                    answers.push(Instant::now());
                }
                _ => {}
            }
            clients[event.key] = None;
            open -= 1;
        }
    }
    answers
}
