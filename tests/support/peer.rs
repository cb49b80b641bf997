//! A scripted peer: a listener whose behaviour a test changes while it runs.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::listener::{Listener, Place};
use crate::port::{connect_known, Port};
use crate::script::Script;
use crate::wait::{wait_until, LIMIT};
use crate::wire::Wire;

mod connection;

use connection::Connection;

/// The path by which a peer tells probes from ordinary requests.
pub const PROBE_PATH: &str = "/hc";

/// A peer on loopback or a unix socket. It answers 200 to all until told otherwise.
pub struct Peer {
    place: Place,
    shared: Arc<Shared>,
    listening: Option<Listener>,
}

/// What a peer saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When the head of the request was complete, by the OS's own record.
    pub at: Instant,
    /// Right before the last bytes of the answer were sent: nobody had them sooner. Without any, the
    /// same as `ended`; `None` until then.
    pub answered: Option<Instant>,
    /// When the peer was done with it; `None` until then.
    pub ended: Option<Instant>,
    /// All bytes that had come by then.
    pub raw: Vec<u8>,
    /// Whether it asked for [`PROBE_PATH`].
    pub probe: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Done to every connection before a byte is read.
    on_accept: Option<Script>,
    probe: Script,
    request: Script,
    /// Answers for the next probes, before `probe`.
    queue: VecDeque<Script>,
    /// Whether a probe without an answer in the queue waits for one.
    held: bool,
    /// Whether other requests wait.
    requests_held: bool,
    seen: Vec<Seen>,
    accepted: usize,
    /// Connections of which nothing has been read yet, by their numbers.
    unread: BTreeSet<usize>,
    /// Those of [`Peer::settle`] to come, by the addresses that they come from.
    marks: Vec<SocketAddr>,
}

impl Peer {
    /// A peer on a port of 127.0.0.1.
    pub fn start() -> Peer {
        Peer::at(IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("a free port of 127.0.0.1")
    }

    /// Several of them.
    pub fn start_many(count: usize) -> Vec<Peer> {
        (0..count).map(|_| Peer::start()).collect()
    }

    /// A peer on another loopback address.
    ///
    /// # Errors
    /// Those of `bind`, for instance without IPv6.
    pub fn at(ip: IpAddr) -> std::io::Result<Peer> {
        Ok(Peer::on(Port::reserve_at(ip)?))
    }

    /// A peer on a reserved port.
    pub fn on(port: impl Into<Arc<Port>>) -> Peer {
        Peer::of(Place::Tcp(port.into()))
    }

    /// A peer on a unix socket at that path.
    pub fn unix(path: &Path) -> Peer {
        Peer::of(Place::Unix(path.to_owned()))
    }

    /// What the peer does with probes that are not queued for.
    pub fn probes(&self, script: Script) -> &Peer {
        self.state().probe = script;
        self
    }

    /// What the peer does with all other requests.
    pub fn requests(&self, script: Script) -> &Peer {
        self.state().request = script;
        self
    }

    /// What the peer does with probes and all other requests.
    pub fn everything(&self, script: Script) -> &Peer {
        self.probes(script.clone()).requests(script)
    }

    /// Answers probes with 200 or 500.
    pub fn healthy(&self, healthy: bool) -> &Peer {
        self.probes(if healthy { Script::ok("fine") } else { Script::status(500, "sick") })
    }

    /// What the peer does with every connection before it reads a byte.
    pub fn on_accept(&self, script: Script) -> &Peer {
        self.state().on_accept = Some(script);
        self
    }

    /// Answers for the next probes, one each.
    pub fn next_probes(&self, scripts: impl IntoIterator<Item = Script>) -> &Peer {
        self.state().queue.extend(scripts);
        self.shared.changed.notify_all();
        self
    }

    /// Leaves every probe from now on without an answer until [`Peer::next_probes`] has one for it.
    pub fn hold_probes(&self) -> &Peer {
        self.state().held = true;
        self
    }

    /// Leaves every other request from now on without an answer until [`Peer::release_requests`].
    pub fn hold_requests(&self) -> &Peer {
        self.state().requests_held = true;
        self
    }

    /// Answers all other requests that are held, and those to come.
    pub fn release_requests(&self) -> &Peer {
        self.state().requests_held = false;
        self.shared.changed.notify_all();
        self
    }

    /// Waits until the peer has seen all that was sent to it so far: its threads may be late.
    ///
    /// # Panics
    /// If it is on a unix socket or does not listen.
    pub fn settle(&self) {
        let Place::Tcp(port) = &self.place else { panic!("{self}: no TCP peer") };
        let any = SocketAddr::new(port.address().ip(), 0);
        let known = |address| self.state().marks.push(address);
        // Connections are accepted in their order.
        let _mark = connect_known(any, port.address(), LIMIT, known).expect("the peer listens");
        wait_until(LIMIT, "the peer has accepted all", || self.state().marks.is_empty());
        let end = self.state().accepted;
        wait_until(LIMIT, "the peer has read all", || {
            self.state().unread.first().is_none_or(|&number| number >= end)
        });
    }

    /// Probes seen so far.
    pub fn probe_count(&self) -> usize {
        self.state().seen.iter().filter(|seen| seen.probe).count()
    }

    /// Other requests seen so far.
    pub fn request_count(&self) -> usize {
        self.state().seen.iter().filter(|seen| !seen.probe).count()
    }

    /// Connections accepted so far.
    pub fn connection_count(&self) -> usize {
        self.state().accepted
    }

    /// All requests so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// When each probe so far arrived, in order.
    pub fn probe_times(&self) -> Vec<Instant> {
        let state = self.state();
        let mut times: Vec<Instant> =
            state.seen.iter().filter(|seen| seen.probe).map(|seen| seen.at).collect();
        // Each has been recorded by a thread of its own.
        times.sort_unstable();
        times
    }

    /// Closes the listener and all connections; the port stays reserved and refuses.
    pub fn stop(&mut self) {
        let Some(listening) = self.listening.take() else { return };

        listening.tell_to_stop();
        self.shared.changed.notify_all();
        listening.stop();
    }

    /// Listens again at the same place.
    pub fn restart(&mut self) {
        assert!(self.listening.is_none(), "the peer listens already");
        self.listening = Some(listen(&self.place, &self.shared));
    }

    fn of(place: Place) -> Peer {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                on_accept: None,
                probe: Script::ok("fine"),
                request: Script::ok("served"),
                queue: VecDeque::new(),
                held: false,
                requests_held: false,
                seen: Vec::new(),
                accepted: 0,
                unread: BTreeSet::new(),
                marks: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let listening = Some(listen(&place, &shared));

        Peer { place, shared, listening }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

/// As nginx names it: `127.0.0.1:81`, `[::1]:81`, `unix:/path`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no peer thread panics")
    }
}

impl State {
    /// The number of a connection that has just been accepted; `None` for one of [`Peer::settle`].
    fn admit(&mut self, stream: &TcpStream) -> Option<usize> {
        let from = stream.peer_addr().ok();
        if let Some(mark) = self.marks.iter().position(|mark| Some(*mark) == from) {
            self.marks.swap_remove(mark);
            return None;
        }
        self.accepted += 1;
        self.unread.insert(self.accepted - 1);
        Some(self.accepted - 1)
    }

    /// What to do with a request; `None` while it is held.
    fn script(&mut self, probe: bool) -> Option<Script> {
        if !probe {
            return (!self.requests_held).then(|| self.request.clone());
        }
        let queued = self.queue.pop_front();
        queued.or_else(|| (!self.held).then(|| self.probe.clone()))
    }
}

impl Seen {
    fn end(&mut self) {
        let now = Instant::now();
        self.answered.get_or_insert(now);
        self.ended = Some(now);
    }
}

fn listen(place: &Place, shared: &Arc<Shared>) -> Listener {
    let (admitting, shared) = (Arc::clone(shared), Arc::clone(shared));
    let admit = move |stream: &TcpStream| admitting.state().admit(stream);

    Listener::start(place, admit, move |stream, alive, number| {
        if let Some(number) = number {
            Connection::new(Wire::new(stream, alive), Arc::clone(&shared), number).serve();
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::thread;

    use super::*;
    use crate::http::Request;

    #[test]
    fn probes_and_requests_have_their_own_answers() {
        let peer = Peer::start();
        let Place::Tcp(port) = &peer.place else { panic!("a TCP peer") };
        peer.probes(Script::status(503, "x")).next_probes([Script::ok("first")]);

        let status = |path: &str| Request::get(path).send(port.address()).expect("ok").status;
        assert_eq!([status("/hc"), status("/hc"), status("/other")], [200, 503, 200]);
        assert_eq!((peer.probe_count(), peer.request_count()), (2, 1));
    }

    #[test]
    fn a_stopped_peer_refuses_and_comes_back_at_the_same_place() {
        let mut peer = Peer::start();
        let Place::Tcp(port) = &peer.place else { panic!("a TCP peer") };
        let address = port.address();

        peer.stop();
        assert!(Request::get("/").send(address).is_err());
        peer.restart();
        assert!(Request::get("/").send(address).is_ok());
    }

    #[test]
    fn a_held_probe_is_answered_when_the_test_says_so() {
        let peer = Peer::start();
        let Place::Tcp(port) = &peer.place else { panic!("a TCP peer") };
        peer.hold_probes();

        let address = port.address();
        let client = thread::spawn(move || Request::get("/hc").send(address));
        wait_until(LIMIT, "a probe", || peer.probe_count() == 1);
        assert!(!client.is_finished());
        peer.next_probes([Script::status(204, "")]);
        assert_eq!(client.join().expect("a client").expect("an answer").status, 204);
    }

    #[test]
    fn a_held_request_is_answered_when_the_test_says_so() {
        let peer = Peer::start();
        let Place::Tcp(port) = &peer.place else { panic!("a TCP peer") };
        peer.hold_requests();

        let address = port.address();
        let client = thread::spawn(move || Request::get("/").send(address));
        wait_until(LIMIT, "a request", || peer.request_count() == 1);
        assert!(!client.is_finished() && peer.seen()[0].answered.is_none());
        peer.release_requests();
        assert_eq!(client.join().expect("a client").expect("an answer").status, 200);
        let seen = &peer.seen()[0];
        assert!(seen.answered.is_some_and(|answered| answered >= seen.at));
    }

    #[test]
    fn a_settled_peer_has_seen_all_and_counts_nothing_of_that() {
        let peer = Peer::start();
        let Place::Tcp(port) = &peer.place else { panic!("a TCP peer") };
        let clients: Vec<TcpStream> = (0..50)
            .map(|_| {
                let mut client = TcpStream::connect(port.address()).expect("the peer listens");
                client.write_all(b"GET /hc HTTP/1.0\r\n\r\n").expect("a connection");
                client
            })
            .collect();
        // One that says nothing, and goes.
        drop(TcpStream::connect(port.address()).expect("the peer listens"));

        peer.settle();
        assert_eq!((peer.probe_count(), peer.connection_count()), (50, 51));
        drop(clients);
        peer.settle();
        assert_eq!((peer.probe_count(), peer.connection_count()), (50, 51));
    }
}
