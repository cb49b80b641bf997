//! The thread behind a swarm.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{listener, Asked, Mode, Record};
use crate::arrival::arrived;
use crate::epoll::{Epoll, Events, Interest};
use crate::peer::PROBE_PATH;
use crate::spawn;

/// What the thread is told.
pub(super) enum Order {
    Behave { peers: Range<usize>, mode: Mode, done: Sender<Instant> },
    Settle { done: Sender<()> },
    End,
}

pub(super) struct Server {
    peers: Vec<Peer>,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    records: Arc<Mutex<Vec<Record>>>,
    orders: Receiver<Order>,
    woken: UnixStream,
    epoll: Epoll,
    /// Who wants to know that all is read that has come, and after how many looks it is.
    settling: Option<(Sender<()>, u8)>,
}

/// A connection is accepted at one look and read at the next one; of a look there may be more events
/// than one wait reports.
const LOOKS: u8 = 20;

struct Peer {
    address: SocketAddr,
    /// `None` while it is dead.
    listener: Option<TcpListener>,
    mode: Mode,
}

struct Connection {
    stream: TcpStream,
    peer: usize,
    accepted: Instant,
    head: Vec<u8>,
}

impl Server {
    pub(super) fn new(
        listeners: Vec<TcpListener>,
        records: Arc<Mutex<Vec<Record>>>,
        orders: Receiver<Order>,
        woken: UnixStream,
    ) -> Server {
        let epoll = Epoll::new();
        for (index, listener) in listeners.iter().enumerate() {
            epoll.add(listener, index, Interest::Readable);
        }
        epoll.add(&woken, listeners.len(), Interest::Readable);
        let peer = |listener: TcpListener| Peer {
            address: listener.local_addr().expect("an address"),
            listener: Some(listener),
            mode: Mode::Healthy,
        };
        let peers = listeners.into_iter().map(peer).collect();

        let (connections, settling) = (Vec::new(), None);
        Server { peers, connections, records, orders, woken, epoll, settling }
    }

    pub(super) fn run(mut self) {
        let mut events = Events::new();
        loop {
            let is_settling = self.settling.is_some();
            let limit = if is_settling { Duration::ZERO } else { Duration::from_secs(1) };
            self.epoll.wait(&mut events, limit);
            self.look(events.iter().next().is_none());
            for event in events.iter() {
                if event.key < self.peers.len() {
                    self.accept(event.key);
                } else if event.key > self.peers.len() {
                    self.read(event.key - self.peers.len() - 1);
                } else if !self.obey() {
                    return;
                }
            }
        }
    }

    /// Counts a look, and tells who waits for it when all is read that had come: there is nothing more,
    /// or as much as is under way at any time.
    fn look(&mut self, is_empty: bool) {
        let Some((done, looks)) = self.settling.take() else { return };
        if is_empty || looks == 0 {
            let _ = done.send(());
        } else {
            self.settling = Some((done, looks - 1));
        }
    }

    /// Whether it goes on.
    fn obey(&mut self) -> bool {
        // As many bytes as there are orders, or fewer.
        let _ = self.woken.read(&mut [0]);
        match self.orders.try_recv() {
            Ok(Order::Behave { peers, mode, done }) => {
                for peer in peers {
                    self.behave(peer, mode);
                }
                // Whoever does not wait for it does not want to know.
                let _ = done.send(Instant::now());
                true
            }
            Ok(Order::Settle { done }) => {
                self.settling = Some((done, LOOKS));
                true
            }
            Ok(Order::End) | Err(_) => false,
        }
    }

    fn behave(&mut self, index: usize, mode: Mode) {
        let peer = &mut self.peers[index];
        peer.mode = mode;
        if mode == Mode::Dead {
            let _closing = spawn::closing();
            peer.listener = None;
            for slot in &mut self.connections {
                if let Some(connection) = slot.take_if(|connection| connection.peer == index) {
                    reset(connection.stream);
                }
            }
        } else if peer.listener.is_none() {
            let listener = listener(peer.address).expect("the peer's address");
            self.epoll.add(&listener, index, Interest::Readable);
            peer.listener = Some(listener);
        }
    }

    fn accept(&mut self, peer: usize) {
        while let Some(Ok((stream, _))) =
            self.peers[peer].listener.as_ref().map(TcpListener::accept)
        {
            stream.set_nonblocking(true).expect("an open socket");
            let at = usize::try_from(stream.as_raw_fd()).expect("an open descriptor");
            self.epoll.add(&stream, self.peers.len() + 1 + at, Interest::Readable);
            if at >= self.connections.len() {
                self.connections.resize_with(at + 1, || None);
            }
            let connection =
                Connection { stream, peer, accepted: Instant::now(), head: Vec::new() };
            self.connections[at] = Some(connection);
        }
    }

    fn read(&mut self, at: usize) {
        let Some(connection) = self.connections.get_mut(at).and_then(Option::as_mut) else {
            return;
        };
        let mode = self.peers[connection.peer].mode;
        if connection.advance(mode, &self.records) {
            self.connections[at] = None;
        }
    }
}

impl Connection {
    /// Whether it is done.
    fn advance(&mut self, mode: Mode, records: &Mutex<Vec<Record>>) -> bool {
        let mut buffer = [0; 1024];

        match self.stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(count) => {
                self.head.extend_from_slice(&buffer[..count]);
                self.head.ends_with(b"\r\n\r\n") && self.answer(mode, records)
            }
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    fn answer(&mut self, mode: Mode, records: &Mutex<Vec<Record>>) -> bool {
        let (asked, now) = (arrived(&self.stream), Instant::now());
        let head = String::from_utf8_lossy(&self.head);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let is_probe = path.starts_with(PROBE_PATH);
        let number = path.rsplit('/').next().and_then(|name| name.parse().ok());
        {
            let mut records = records.lock().expect("the test does not panic with it");
            let record = &mut records[self.peer];
            if is_probe {
                record.probes.push(Asked { accepted: self.accepted, asked });
            } else {
                record.requests.push(now);
                record.numbers.extend(number.map(|number| (self.accepted, number)));
            }
        }
        let status: &[u8] = match mode {
            Mode::Silent => return false,
            Mode::Failing => FAILED,
            Mode::ProbesFail if is_probe => FAILED,
            Mode::Healthy | Mode::ProbesFail | Mode::Dead => FINE,
        };
        // A client that went away gets no answer.
        let _ = self.stream.write_all(status);
        true
    }
}

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine";
const FAILED: &[u8] =
    b"HTTP/1.1 500 Failed\r\nContent-Length: 6\r\nConnection: close\r\n\r\nfailed";

/// Closes a connection without a FIN.
fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = libc::socklen_t::try_from(size_of_val(&linger)).expect("a small structure");
    // SAFETY: the socket is open; the value lives until the call returns, and the length is its.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            length,
        );
    }
    drop(stream);
}
