//! Everything at once: peers that flap, clients of every kind, reloads.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use support::{patient, servers, wait_until, Config, Nginx, Peer, Port, Request, Script, LIMIT};

use super::h2::H2;
use super::{in_hand, quick};

/// How long the storm lasts, at least.
const STORM: Duration = Duration::from_secs(6);

/// The next of a row of numbers that look random.
fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

/// What came of the requests of one client.
#[derive(Default)]
struct Counts {
    served: AtomicUsize,
    refused: AtomicUsize,
    lost: AtomicUsize,
}

/// One request after the other until the storm is over. Some clients wait for the answer, some do
/// not.
fn client(seed: u64, front: SocketAddr, h2: SocketAddr, over: &AtomicBool, counts: &Counts) {
    let mut state = seed;
    while !over.load(Ordering::Relaxed) {
        let upstream =
            ["plain", "zoned", "single"][usize::try_from(random(&mut state, 3)).expect("small")];
        let path = format!("/{upstream}/");
        let pause = Duration::from_millis(random(&mut state, 60));
        match random(&mut state, 6) {
            0 => {
                // A reload closes what its workers listen on: a connection may be refused.
                if let Ok(mut stream) = TcpStream::connect(front) {
                    let _ = write!(stream, "GET {path} HTTP/1.0\r\n\r\n");
                    thread::sleep(pause);
                }
            }
            1 => {
                if TcpStream::connect(h2).is_ok() {
                    let _ = std::panic::catch_unwind(|| {
                        let mut streams = H2::connect(h2);
                        let numbers = [0; 4].map(|_| streams.get(&path));
                        thread::sleep(pause);
                        streams.reset(numbers[1]);
                        thread::sleep(pause);
                    });
                }
            }
            kind => {
                let body = [b'x'; 2_000];
                let request = Request::get(&path).limit(LIMIT);
                let request = if kind == 2 { request.method("POST").body(&body) } else { request };
                match request.send(front).map(|response| response.status) {
                    Ok(200) => counts.served.fetch_add(1, Ordering::Relaxed),
                    Ok(502 | 504) => counts.refused.fetch_add(1, Ordering::Relaxed),
                    Ok(status) => panic!("{status}"),
                    Err(_) => counts.lost.fetch_add(1, Ordering::Relaxed),
                };
            }
        }
    }
}

#[test]
fn nothing_is_left_behind_by_a_storm() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let peers: Vec<Peer> = Peer::start_many(3);
    let port = Port::reserve();
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n";
    peers[1].requests(Script::pieces(&[answer, "ok"], Duration::from_millis(10)));
    let (quick, both) = (quick(), servers(&peers[..2]));
    let config = Config::new()
        .workers(2)
        .server(&format!(
            "listen {port} http2; location = /basic {{ stub_status; }} client_body_buffer_size 1k;"
        ))
        .upstream("plain", format!("queue 20 timeout=300ms; keepalive 2; {quick} {both}"))
        .upstream(
            "zoned",
            format!("zone zoned 64k; least_conn; queue 30 timeout=1s; {quick} {both}"),
        )
        .upstream(
            "single",
            format!("queue 10 timeout=500ms; {quick} server {} max_conns=2;", peers[2]),
        );
    let mut nginx = Nginx::start(&config);
    let (over, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (over, counts) = (Arc::clone(&over), Arc::clone(&counts));
            let (front, h2) = (nginx.address(), port.address());
            thread::spawn(move || client(seed + number, front, h2, &over, &counts))
        })
        .collect();

    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let is_enough = || count(&counts.served) > 10 && count(&counts.refused) > 1;
    let (start, mut state, mut reloads) = (Instant::now(), seed, 0);
    while start.elapsed() < STORM || (!is_enough() && start.elapsed() < patient(LIMIT)) {
        let peer = &peers[usize::try_from(random(&mut state, 3)).expect("small")];
        peer.healthy(random(&mut state, 3) == 0);
        thread::sleep(Duration::from_millis(40));
        if start.elapsed() > Duration::from_secs(2) * (reloads + 1) {
            nginx.signal_reload(&config);
            reloads += 1;
        }
    }
    for peer in &peers {
        peer.healthy(true);
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client");
    }
    let (served, refused) = (count(&counts.served), count(&counts.refused));
    println!("{served} served, {refused} refused, {} lost", count(&counts.lost));
    assert!(is_enough(), "seed {seed}: {served} served, {refused} refused");

    wait_until(LIMIT, "nobody waits", || in_hand(&nginx) == 0);
    wait_until(LIMIT, "all are served", || {
        ["plain", "zoned", "single"].iter().all(|name| nginx.tally(4, name).with_status(200) == 4)
    });
    nginx.quit_within(LIMIT);
    assert!(nginx.log_lines("internal error").is_empty());
}
