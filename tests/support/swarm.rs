//! Very many peers in one thread, each of which can be told how to behave while they run.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

mod server;

use server::{Order, Server};

use crate::port::Port;

/// Peers on the addresses 127.1.x.y, all on one port. Every request gets an answer and a close;
/// a request whose path begins with [`crate::peer::PROBE_PATH`] is a probe.
#[derive(Debug)]
pub struct Swarm {
    addresses: Vec<SocketAddr>,
    /// Keeps the port from other swarms, also while peers of this one are dead.
    _port: Port,
    records: Arc<Mutex<Vec<Record>>>,
    orders: Sender<Order>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// How a peer behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// 200 to all.
    #[default]
    Healthy,
    /// 500 to all.
    Failing,
    /// 500 to probes, 200 to all else.
    ProbesFail,
    /// Accepts, reads and says nothing.
    Silent,
    /// Does not listen: a reset answers every connection, and ends those that are open.
    Dead,
}

/// What one peer has seen.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The probes, in the order of `asked`.
    pub probes: Vec<Asked>,
    /// When the heads of all other requests were complete.
    pub requests: Vec<Instant>,
    /// Of those whose paths end with a number, such as `/7`: when the connection was accepted, and the
    /// number.
    pub numbers: Vec<(Instant, u32)>,
}

/// The times of a probe.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When its connection was accepted.
    pub accepted: Instant,
    /// When the head of its request was complete, by the OS's own record.
    pub asked: Instant,
}

impl Swarm {
    /// Starts `count` peers.
    ///
    /// # Panics
    /// If no port is free on all addresses, or the limit of open files is too low.
    pub fn start(count: u16) -> Swarm {
        crate::port::raise_open_files();
        let (listeners, port) = listen(count);
        let number = port.address().port();
        let addresses = (0..count).map(|index| address(index, number)).collect::<Vec<_>>();
        let records = Arc::new(Mutex::new(vec![Record::default(); addresses.len()]));
        let (orders, inbox) = mpsc::channel();
        let (wake, woken) = UnixStream::pair().expect("a pair of sockets");
        let server = Server::new(listeners, Arc::clone(&records), inbox, woken);
        let thread = Some(thread::spawn(move || server.run()));

        Swarm { addresses, _port: port, records, orders, wake, thread }
    }

    /// Where the peers listen.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Their port.
    pub fn port(&self) -> u16 {
        self.addresses[0].port()
    }

    /// Has some of them, counted from 0, behave so from now on, and returns since when they do.
    ///
    /// # Panics
    /// If a peer cannot listen again.
    pub fn set(&self, peers: Range<usize>, mode: Mode) -> Instant {
        let (done, since) = mpsc::channel();
        self.order(Order::Behave { peers, mode, done });
        since.recv().expect("the swarm's thread")
    }

    /// Waits until the peers have seen all that was sent to them so far: their thread may be late.
    pub fn settle(&self) {
        let (done, settled) = mpsc::channel();
        self.order(Order::Settle { done });
        settled.recv().expect("the swarm's thread");
    }

    /// Has one of them answer its probes with 200 or 500 from now on.
    pub fn healthy(&self, peer: usize, healthy: bool) {
        self.set(peer..peer + 1, if healthy { Mode::Healthy } else { Mode::ProbesFail });
    }

    /// How many requests that are no probes one of them has had, since [`Swarm::take`].
    pub fn requests(&self, peer: usize) -> usize {
        self.records.lock().expect("the thread does not panic")[peer].requests.len()
    }

    /// When the probes of each peer came, in the order of [`Swarm::addresses`].
    pub fn times(&self) -> Vec<Vec<Instant>> {
        let asked = |record: &Record| record.probes.iter().map(|probe| probe.asked).collect();
        self.records.lock().expect("the thread does not panic").iter().map(asked).collect()
    }

    /// What each peer has seen, in the order of [`Swarm::addresses`], since the last time that it
    /// was taken.
    pub fn take(&self) -> Vec<Record> {
        let mut records = self.records.lock().expect("the thread does not panic");
        let empty = vec![Record::default(); records.len()];
        std::mem::replace(&mut *records, empty)
    }

    /// The fewest probes that any peer has had.
    pub fn fewest_probes(&self) -> usize {
        let records = self.records.lock().expect("the thread does not panic");
        records.iter().map(|record| record.probes.len()).min().unwrap_or(0)
    }

    fn order(&self, order: Order) {
        // A thread that has panicked is found out when it is joined.
        let _ = self.orders.send(order);
        let _ = (&self.wake).write_all(b"!");
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.order(Order::End);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "the swarm's thread has panicked");
        }
    }
}

/// Where the peer of that number listens, all of a swarm being on one port.
pub fn address(index: u16, port: u16) -> SocketAddr {
    let [high, low] = index.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 1, high, low)), port)
}

fn listen(count: u16) -> (Vec<TcpListener>, Port) {
    let attempt =
        |port| (0..count).map(|index| listener(address(index, port))).collect::<Result<_, _>>();

    for _ in 0..20 {
        let ip = IpAddr::V4(Ipv4Addr::new(127, 1, 255, 255));
        let port = Port::reserve_at(ip).expect("a free port");
        match attempt(port.address().port()) {
            Ok(listeners) => return (listeners, port),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => panic!("a listener: {error}"),
        }
    }
    panic!("no port is free on {count} addresses");
}

/// A listener that does not block.
fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = crate::port::listen(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

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
    fn a_settled_swarm_has_seen_all() {
        let swarm = Swarm::start(3);
        let ask = |round: usize| {
            let mut client =
                TcpStream::connect(swarm.addresses()[round % 3]).expect("the peer listens");
            client.write_all(b"GET /hc HTTP/1.0\r\n\r\n").expect("a connection");
            client
        };

        for round in 1..=30 {
            let _clients: Vec<TcpStream> = (0..30).map(ask).collect();
            swarm.settle();
            assert!(swarm.times().iter().all(|times| times.len() == round * 10));
        }
    }

    #[test]
    fn a_peer_of_a_swarm_behaves_as_told() {
        let swarm = Swarm::start(3);
        let to = swarm.addresses()[1];
        let status = |path| Request::get(path).send(to).map(|response| response.status);

        swarm.set(1..2, Mode::ProbesFail);
        assert_eq!((status("/hc").ok(), status("/").ok()), (Some(500), Some(200)));
        swarm.set(1..2, Mode::Failing);
        assert_eq!(status("/").ok(), Some(500));
        swarm.set(1..2, Mode::Dead);
        assert_eq!(status("/").map_err(|error| error.kind()), Err(ErrorKind::ConnectionRefused));
        swarm.set(1..2, Mode::Healthy);
        assert_eq!(status("/").ok(), Some(200));
        let seen = swarm.take();
        assert_eq!((seen[1].probes.len(), seen[1].requests.len()), (1, 3));
        assert!(seen[0].requests.is_empty() && swarm.take()[1].requests.is_empty());
    }
}
