//! Thousands of requests wait: what that costs, and in which order they go on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::port::connect_from;
use support::{can_measure_memory, process, wait_until, Config, Nginx, Port, Response};

use super::quick;

/// How long thousands of anything may take on a busy machine.
const SLOW: Duration = Duration::from_secs(60);

/// Room for thousands of connections on both sides.
const EVENTS: &str = "worker_rlimit_nofile 16384; events { worker_connections 12000; }";

/// A peer that answers one request after the other and remembers their paths, in the order in which
/// nginx connected. Probes fail until it is told otherwise.
struct Sequence {
    port: Port,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Vec<usize>>>,
}

#[derive(Default)]
struct Shared {
    healthy: AtomicBool,
    ended: AtomicBool,
}

impl Sequence {
    fn start() -> Sequence {
        let port = Port::reserve();
        let listener = listener(&port);
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || answer_all(listener, &shared))
        };
        Sequence { port, shared, thread: Some(thread) }
    }

    /// Probes pass from now on.
    fn up(&self) {
        self.shared.healthy.store(true, Ordering::Relaxed);
    }

    /// Ends it and returns the numbers that were asked for.
    fn numbers(mut self) -> Vec<usize> {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.thread.take().expect("it runs").join().expect("the peer's thread")
    }
}

/// A listener with a longer queue than std's.
fn listener(port: &Port) -> TcpListener {
    let listener = TcpListener::bind(port.address()).expect("the port");
    // SAFETY: no pointers; the socket is open.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 4096) }, 0);
    listener
}

/// Accepts what comes, and nothing else: where the listener's queue overflows, the system drops
/// connections, which come later and out of order.
fn accept_all(listener: &TcpListener, shared: &Shared, accepted: &mpsc::Sender<TcpStream>) {
    listener.set_nonblocking(true).expect("a listener of ours");
    while !shared.ended.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => accepted.send(stream).expect("somebody answers"),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn answer_all(listener: TcpListener, shared: &Arc<Shared>) -> Vec<usize> {
    let (accepted, streams) = mpsc::channel();
    let acceptor = {
        let shared = Arc::clone(shared);
        thread::spawn(move || accept_all(&listener, &shared, &accepted))
    };
    let mut numbers = Vec::new();
    // Ends with the acceptor.
    for mut stream in streams {
        stream.set_nonblocking(false).expect("a stream of ours");
        let mut head = Vec::new();
        let mut buffer = [0; 4096];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => head.extend_from_slice(&buffer[..count]),
                _ => break,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let fails = path == "/hc" && !shared.healthy.load(Ordering::Relaxed);
        let status = if fails { 500 } else { 200 };
        // nginx may have given up.
        let _ = write!(stream, "HTTP/1.0 {status} Scripted\r\nContent-Length: 2\r\n\r\nok");
        numbers.extend(path.trim_start_matches('/').parse::<usize>());
    }
    acceptor.join().expect("the peer's acceptor");
    numbers
}

/// Allows this process the descriptors of so many clients.
fn allow_descriptors() {
    let limit = libc::rlimit { rlim_cur: 16_384, rlim_max: 20_000 };
    // SAFETY: the structure lives through the call. A refusal shows when a connection is refused.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}

/// Sends a GET each on so many connections, one after the other: to `/backend/0`, `/backend/1`...
fn clients(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    allow_descriptors();
    let client = |at: usize| {
        let source = Ipv4Addr::new(127, 0, 1, u8::try_from(at % 200 + 1).expect("a small number"));
        let mut stream = connect_from(source, to, SLOW).expect("nginx listens");
        stream.set_read_timeout(Some(SLOW)).expect("a timeout above zero");
        write!(stream, "GET /backend/{at} HTTP/1.0\r\n\r\n").expect("a request");
        stream
    };
    (0..count).map(client).collect()
}

/// The answer on each connection.
fn answers(clients: Vec<TcpStream>) -> Vec<Response> {
    let answer = |mut stream: TcpStream| {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        Response::parse(&answer).expect("a response")
    };
    clients.into_iter().map(answer).collect()
}

/// Waits until nginx has that many requests in hand.
fn wait_in_hand(nginx: &Nginx, count: usize) {
    wait_until(SLOW, "the requests are there", || super::in_hand(nginx) == count);
}

fn config(workers: usize, body: String) -> Config {
    let config = Config::new().main(EVENTS).server("location = /basic { stub_status; }");
    config.workers(workers).upstream("backend", body)
}

/// Waits until a process takes little processor time for a second: one that always needs more never
/// does, however slow the machine. Returns the ticks of that second.
fn wait_idle(pid: u32) -> u64 {
    support::wait_for(SLOW, "it is idle", || {
        let (ticks, start) = (process::cpu_ticks(pid), Instant::now());
        thread::sleep(Duration::from_secs(1));
        let ticks = process::cpu_ticks(pid) - ticks;
        // Of a hundred in a second.
        (u128::from(ticks) * 1000 <= 5 * start.elapsed().as_millis()).then_some(ticks)
    })
}

/// Bytes of memory that nginx takes for each of so many requests that wait for an answer.
fn bytes_in_flight(count: usize) -> usize {
    let port = Port::reserve();
    let _silent = listener(&port);
    let nginx = Nginx::start(&config(1, format!("server {port} max_fails=0;")));
    let worker = nginx.workers()[0];
    let before = process::resident_kib(worker);
    let _clients = clients(nginx.address(), count);
    wait_in_hand(&nginx, count);
    bytes_each(process::resident_kib(worker) - before, count)
}

fn bytes_each(kib: u64, count: usize) -> usize {
    usize::try_from(kib).expect("a small number") * 1024 / count
}

#[test]
fn four_thousand_wait_at_no_cost_and_go_on_in_order() {
    // No more than the peer's queue has room for, should nobody accept them for a while.
    const COUNT: usize = 4_000;

    let stock = bytes_in_flight(3_000);
    let peer = Sequence::start();
    let body = format!("queue {COUNT}; {} server {} max_fails=0;", quick(), peer.port);
    let nginx = Nginx::start(&config(1, body));
    nginx.wait_down(&peer.port, true);
    let worker = nginx.workers()[0];
    let (memory, descriptors) = (process::resident_kib(worker), process::descriptors(worker));

    let clients = clients(nginx.address(), COUNT);
    wait_in_hand(&nginx, COUNT);
    let each = bytes_each(process::resident_kib(worker) - memory, COUNT);
    let used = process::descriptors(worker) - descriptors;
    // The clients' own, and perhaps one of a probe and one of the page.
    assert!(used <= COUNT + 2, "{used} descriptors");

    let ticks = wait_idle(worker);
    let start = Instant::now();
    peer.up();
    let answers = answers(clients);
    let took = start.elapsed();
    println!(
        "{each} bytes a held request, {stock} a request in flight; {ticks} ticks in 1 s; all \
         served after {took:?}"
    );
    assert!(answers.iter().all(|answer| answer.status == 200));
    let is_cheap = each <= stock + 1024;
    assert!(!can_measure_memory() || is_cheap, "{each} bytes, {stock} of a request in flight");
    let numbers = peer.numbers();
    assert_eq!(numbers.len(), COUNT);
    let inversions = numbers.windows(2).filter(|two| two[0] > two[1]).count();
    assert_eq!(inversions, 0, "first come, first served");
}

#[test]
fn each_worker_keeps_its_own_order() {
    const COUNT: usize = 1_000;

    let peer = Sequence::start();
    let body = format!("queue {COUNT}; {} server {} max_fails=0;", quick(), peer.port);
    let nginx = Nginx::start(&config(2, body));
    nginx.wait_down(&peer.port, true);
    nginx.wait_logged("is down", 1);
    let clients = clients(nginx.address(), COUNT);
    wait_in_hand(&nginx, COUNT);
    peer.up();
    let workers: Vec<u32> = answers(clients).iter().map(Response::worker).collect();

    let numbers = peer.numbers();
    assert_eq!(numbers.len(), COUNT);
    for worker in nginx.workers() {
        let own: Vec<usize> = numbers.iter().copied().filter(|at| workers[*at] == worker).collect();
        assert!(own.len() > COUNT / 4, "each has its share");
        assert!(own.windows(2).all(|two| two[0] < two[1]), "first come, first served");
    }
}

#[test]
fn a_thousand_whose_patience_ends_are_all_told() {
    const COUNT: usize = 1_000;

    let peer = Sequence::start();
    let body = format!("queue {COUNT} timeout=2s; {} server {} max_fails=0;", quick(), peer.port);
    let nginx = Nginx::start(&config(1, body));
    nginx.wait_down(&peer.port, true);
    let clients = clients(nginx.address(), COUNT);
    let answers = answers(clients);
    assert!(answers.iter().all(|answer| answer.status == 504));
    assert_eq!(super::in_hand(&nginx), 0);
}

#[test]
fn those_who_find_no_free_connection_go_on_waiting() {
    const COUNT: usize = 130;

    // 160 connections: 130 clients, and some twenty for what goes on.
    let peer = Sequence::start();
    let body = format!("queue {COUNT}; {} server {} max_fails=0;", quick(), peer.port);
    let config = Config::new()
        .main("events { worker_connections 160; }")
        .server("location = /basic { stub_status; }")
        .upstream("backend", body);
    let mut nginx = Nginx::start(&config);
    nginx.allow_in_log("worker_connections are not enough");
    nginx.wait_down(&peer.port, true);
    let clients = clients(nginx.address(), COUNT);
    wait_in_hand(&nginx, COUNT);
    let start = Instant::now();
    peer.up();
    assert!(answers(clients).iter().all(|answer| answer.status == 200));
    let alerts = nginx.log_lines("worker_connections are not enough").len();
    // Five a second, and those of the page and the probes.
    let (time, alerts_of_others) = (start.elapsed(), 10);
    let most = alerts_of_others + time.as_millis() / 200;
    assert!(alerts as u128 <= most, "{alerts} alerts in {time:?}");
}
