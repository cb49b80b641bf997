//! One peer as this process probes it.

use core::time::Duration;
use std::time::Instant;

use healthcheck_core::key::Key;
use healthcheck_core::lease::Lease;
use healthcheck_core::probe::Probe;
use healthcheck_core::schedule::is_stall;
use healthcheck_core::Msec;

use crate::nginx::address::Address;
use crate::nginx::connection::PeerConnection;

/// A lease that this process holds.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    /// The word as this process wrote it last.
    pub(crate) lease: Lease,
    /// The epoch that the verdicts of this lease are published under.
    pub(crate) epoch: u64,
}

/// A probe in flight.
pub(crate) struct Flight {
    /// The connection; closed when the flight is dropped.
    pub(crate) connection: PeerConnection,
    /// Whether the connection has only begun: nothing was sent, and nginx does not watch it yet.
    pub(crate) is_new: bool,
    /// Whether there was anything to read so far.
    pub(crate) has_read: bool,
    /// When the whole request was sent; unset before.
    pub(crate) asked: Option<Instant>,
    /// Whether the response is complete and the end of the connection awaited.
    pub(crate) lingers: bool,
    /// The longest that the event loop was late during the flight, ms.
    pub(crate) late: Msec,
}

impl Flight {
    /// Whether this process kept the peer from answering within `timeout`: its event loop stood
    /// still, or it sent the request so late that there was hardly time for an answer.
    pub(crate) fn is_unfair(&self, timeout: Msec) -> bool {
        let given = self.asked.map_or(Duration::MAX, |asked| asked.elapsed());
        is_stall(self.late, timeout) || given < Duration::from_millis(timeout / 4)
    }
}

/// What this process does about a peer.
pub(crate) enum Phase {
    /// Another process holds the lease, or nobody yet.
    Idle,
    /// The lease is held; the next probe is due at this time.
    Waiting(Msec),
    /// A probe is in flight.
    Probing(Flight),
    /// The peer is no longer listed; its place may be taken.
    Gone,
}

/// How a peer's answers have come so far.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// None has come.
    Unknown,
    /// Each at once.
    Whole,
    /// One in pieces, with a pause between them. From then on it counts as a peer of that kind.
    Apart,
}

impl Answers {
    /// Notes one more.
    pub(crate) fn note(&mut self, is_whole: bool) {
        *self = match self {
            Answers::Unknown | Answers::Whole if is_whole => Answers::Whole,
            _ => Answers::Apart,
        };
    }
}

/// One peer of one upstream, by address.
pub(crate) struct Peer {
    /// Its slot.
    pub(crate) slot: usize,
    /// Its key, which the slot has while it is this peer's.
    pub(crate) key: Key,
    /// Its upstream, by place among the worker's watches.
    pub(crate) watch: usize,
    /// Where to connect to.
    pub(crate) address: Address,
    /// The address as text, for the log.
    pub(crate) name: Box<[u8]>,
    /// Place among all probed peers of the configuration: decides the home worker.
    pub(crate) rank: usize,
    /// Whether the configuration, or nginx's resolver, still lists it.
    pub(crate) listed: bool,
    /// The lease, if it is this process's.
    pub(crate) held: Option<Held>,
    /// What goes on.
    pub(crate) phase: Phase,
    /// The state machine, made when the lease is first taken and used again for every probe.
    pub(crate) probe: Option<Probe>,
    /// Whether connections to it have been seen to take longer than the call that begins them.
    pub(crate) is_far: bool,
    /// How its answers have come.
    pub(crate) answers: Answers,
    /// Probes in a row that ended without a verdict since the event loop stalled.
    pub(crate) repeats: u8,
}

impl Peer {
    /// A listed peer that nobody in this process probes yet.
    pub(crate) fn new(
        slot: usize,
        key: Key,
        watch: usize,
        address: Address,
        name: Box<[u8]>,
    ) -> Peer {
        Peer {
            slot,
            key,
            watch,
            address,
            name,
            rank: 0,
            listed: true,
            held: None,
            phase: Phase::Idle,
            probe: None,
            is_far: false,
            answers: Answers::Unknown,
            repeats: 0,
        }
    }
}
