//! A scripted peer: a listener whose behaviour a test changes while it runs.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::listener::{Listener, Place};
use crate::port::Port;
use crate::script::Script;
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
    /// When the head of the request was complete.
    pub at: Instant,
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
    seen: Vec<Seen>,
    accepted: Vec<Instant>,
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
        self.state().accepted.len()
    }

    /// All requests so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// When each probe so far arrived, in order.
    pub fn probe_times(&self) -> Vec<Instant> {
        self.state().seen.iter().filter(|seen| seen.probe).map(|seen| seen.at).collect()
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
                seen: Vec::new(),
                accepted: Vec::new(),
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

fn listen(place: &Place, shared: &Arc<Shared>) -> Listener {
    let shared = Arc::clone(shared);

    Listener::start(place, move |stream, alive| {
        shared.state().accepted.push(Instant::now());
        Connection::new(Wire::new(stream, alive), Arc::clone(&shared)).serve();
    })
}

#[cfg(test)]
mod tests {
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
        crate::wait::wait_until(crate::LIMIT, "a probe", || peer.probe_count() == 1);
        assert!(!client.is_finished());
        peer.next_probes([Script::status(204, "")]);
        assert_eq!(client.join().expect("a client").expect("an answer").status, 204);
    }
}
