//! Requests that run at peers until a test ends them, however long it takes. A peer takes them for
//! probes, which it can be told to leave without an answer.

use std::io;
use std::thread::{self, JoinHandle};

use support::{wait_until, Nginx, Peer, Request, Response, Script, LIMIT};

/// A request for the upstream "backend" that its peers take for a probe.
pub(super) const PATH: &str = "/backend/hc";

/// A request that runs.
pub(super) type Client = JoinHandle<io::Result<Response>>;

/// Begins requests, and returns when all have arrived at one of the peers.
pub(super) fn begin(count: usize, nginx: &Nginx, peers: &[Peer]) -> Vec<Client> {
    let address = nginx.address();
    let before = arrived(peers);
    let clients = (0..count)
        .map(|_| thread::spawn(move || Request::get(PATH).limit(LIMIT).send(address)))
        .collect();

    wait_until(LIMIT, "all have arrived", || arrived(peers) == before + count);
    clients
}

/// How many have arrived so far.
pub(super) fn arrived(peers: &[Peer]) -> usize {
    peers.iter().map(Peer::probe_count).sum()
}

/// Has a peer that holds them answer so many.
pub(super) fn answer(peer: &Peer, count: usize) {
    peer.next_probes(vec![Script::ok("served"); count]);
}

/// Waits until all have ended, and asserts that each was served.
#[track_caller]
pub(super) fn all_served(clients: Vec<Client>) {
    for client in clients {
        assert_eq!(client.join().expect("a client").expect("an answer").status, 200);
    }
}
