//! Very many peers in one thread.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::peer::PROBE_PATH;

/// Peers on the addresses 127.1.x.y, all on one port. Every request gets a 200 and a close, until a
/// peer is told to fail its probes.
#[derive(Debug)]
pub struct Swarm {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// When each probe of each peer came.
    times: Mutex<Vec<Vec<Instant>>>,
    /// How many other requests each peer got.
    requests: Vec<AtomicUsize>,
    /// Which peers fail their probes.
    sick: Vec<AtomicBool>,
    stopping: AtomicBool,
}

impl Swarm {
    /// Starts `count` peers.
    ///
    /// # Panics
    /// If no port is free on all addresses, or the limit of open files is too low.
    pub fn start(count: u16) -> Swarm {
        crate::port::raise_open_files();
        let listeners = listen(count);
        let addresses = listeners
            .iter()
            .map(|listener| listener.local_addr().expect("an address"))
            .collect::<Vec<_>>();
        let shared = Arc::new(Shared {
            times: Mutex::new(vec![Vec::new(); addresses.len()]),
            requests: addresses.iter().map(|_| AtomicUsize::new(0)).collect(),
            sick: addresses.iter().map(|_| AtomicBool::new(false)).collect(),
            stopping: AtomicBool::new(false),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            Some(thread::spawn(move || serve(&listeners, &shared)))
        };

        Swarm { addresses, shared, thread }
    }

    /// Where the peers listen.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Has a peer answer probes with 200 or 500.
    pub fn healthy(&self, peer: usize, healthy: bool) {
        self.shared.sick[peer].store(!healthy, Ordering::Relaxed);
    }

    /// How many requests that are no probes a peer has got.
    pub fn requests(&self, peer: usize) -> usize {
        self.shared.requests[peer].load(Ordering::Relaxed)
    }

    /// When the probes of each peer came, in the order of [`Swarm::addresses`].
    pub fn times(&self) -> Vec<Vec<Instant>> {
        self.shared.times.lock().expect("the thread does not panic").clone()
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the swarm's thread");
        }
    }
}

fn listen(count: u16) -> Vec<TcpListener> {
    let attempt = |port| {
        (0..count)
            .map(|index| {
                let [high, low] = index.to_be_bytes();
                TcpListener::bind((IpAddr::V4(Ipv4Addr::new(127, 1, high, low)), port))
            })
            .collect::<Result<Vec<_>, _>>()
    };

    for _ in 0..20 {
        let first = TcpListener::bind("127.1.255.255:0").expect("a free port");
        let port = first.local_addr().expect("an address").port();
        match attempt(port) {
            Ok(listeners) => return listeners,
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => panic!("a listener: {error}"),
        }
    }
    panic!("no port is free on {count} addresses");
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine";
const SICK: &[u8] = b"HTTP/1.1 500 Sick\r\nContent-Length: 4\r\nConnection: close\r\n\r\nsick";

fn serve(listeners: &[TcpListener], shared: &Shared) {
    let epoll = Epoll::new();
    for (index, listener) in listeners.iter().enumerate() {
        listener.set_nonblocking(true).expect("an open socket");
        epoll.add(listener, index);
    }
    let mut connections: HashMap<usize, Connection> = HashMap::new();
    let mut next = listeners.len();

    while !shared.stopping.load(Ordering::Relaxed) {
        for key in epoll.wait() {
            if let Some(listener) = listeners.get(key) {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).expect("an open socket");
                    epoll.add(&stream, next);
                    connections.insert(next, Connection { stream, peer: key, head: Vec::new() });
                    next += 1;
                }
            } else if connections.get_mut(&key).is_some_and(|found| found.advance(shared)) {
                connections.remove(&key);
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    peer: usize,
    head: Vec<u8>,
}

impl Connection {
    /// Whether it is done.
    fn advance(&mut self, shared: &Shared) -> bool {
        let mut buffer = [0; 1024];

        match self.stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(count) => {
                self.head.extend_from_slice(&buffer[..count]);
                let complete = self.head.ends_with(b"\r\n\r\n");
                if complete {
                    // A client that went away gets no answer.
                    let _ = self.stream.write_all(self.answer(shared));
                }
                complete
            }
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Counts a complete request; what is answered to it.
    fn answer(&self, shared: &Shared) -> &'static [u8] {
        let path = self.head.split(|&byte| byte == b' ').nth(1);
        if path != Some(PROBE_PATH.as_bytes()) {
            shared.requests[self.peer].fetch_add(1, Ordering::Relaxed);
            return ANSWER;
        }
        let mut times = shared.times.lock().expect("the test does not panic with it");
        times[self.peer].push(Instant::now());
        if shared.sick[self.peer].load(Ordering::Relaxed) {
            SICK
        } else {
            ANSWER
        }
    }
}

struct Epoll(OwnedFd);

impl Epoll {
    fn new() -> Epoll {
        // SAFETY: no pointers; the result is checked before it becomes a descriptor of ours.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0, "epoll: {}", std::io::Error::last_os_error());
        // SAFETY: `fd` was opened above and belongs to nobody else.
        Epoll(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Reports `key` when the socket is readable. Closing the socket removes it.
    fn add(&self, socket: &impl AsRawFd, key: usize) {
        let events = u32::try_from(libc::EPOLLIN).expect("a positive constant");
        let mut event = libc::epoll_event { events, u64: key as u64 };

        // SAFETY: both descriptors are open; `event` lives until the call returns.
        let code = unsafe {
            libc::epoll_ctl(
                self.0.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &raw mut event,
            )
        };
        assert_eq!(code, 0, "epoll_ctl: {}", std::io::Error::last_os_error());
    }

    /// The keys that became readable within a short time.
    fn wait(&self) -> Vec<usize> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];

        // SAFETY: `events` has room for as many events as the call is told, and outlives it.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 256, 50) };
        let count = usize::try_from(count).unwrap_or(0);
        let key = |event: &libc::epoll_event| usize::try_from(event.u64).expect("a key of ours");
        events[..count].iter().map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Request;

    #[test]
    fn every_peer_of_a_swarm_answers_and_counts() {
        let swarm = Swarm::start(300);

        for &address in swarm.addresses() {
            assert_eq!(Request::get("/hc").send(address).expect("an answer").text(), "fine");
        }
        assert!(swarm.times().iter().all(|times| times.len() == 1));
    }

    #[test]
    fn a_sick_peer_of_a_swarm_fails_its_probes_alone() {
        let swarm = Swarm::start(2);
        let status = |peer: usize, path: &str| {
            Request::get(path).send(swarm.addresses()[peer]).expect("an answer").status
        };

        swarm.healthy(1, false);
        assert_eq!((status(0, "/hc"), status(1, "/hc"), status(1, "/")), (200, 500, 200));
        assert_eq!((swarm.requests(0), swarm.requests(1)), (0, 1));
        swarm.healthy(1, true);
        assert_eq!(status(1, "/hc"), 200);
    }
}
