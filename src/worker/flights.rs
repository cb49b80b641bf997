//! Probes in flight: what is sent, what comes back, and when the time is over.

use std::time::Instant;

use healthcheck_core::probe::{Action, Event, Probe};
use healthcheck_core::Msec;

use super::peer::Phase;
use super::trouble::Cause;
use super::{with_worker, Worker};
use crate::nginx::connection::{Observer, Read, Write};
use crate::nginx::process::now;

/// How often in a row a stalled event loop may take a probe's verdict away. A worker that never
/// keeps its time would otherwise never find a dead peer.
const MAX_REPEATS: u8 = 3;

/// A peer that keeps its connection after a complete response is left alone for this part of the
/// timeout; then this side ends, so that the peer does.
const LINGER: Msec = 4;

/// Bytes read from a peer at a time.
const READ_BUFFER: usize = 16 * 1024;

/// Events of probe connections; the token is the peer's place.
pub(super) struct Events;

impl Observer for Events {
    fn readable(token: usize) {
        with_worker(|worker| {
            worker.on_readable(token);
            worker.arm();
        });
    }

    fn writable(token: usize) {
        with_worker(|worker| {
            worker.on_event(token, Event::Connected);
            worker.arm();
        });
    }

    fn closing(_: usize) {
        with_worker(|worker| {
            worker.retire();
            worker.arm();
        });
    }
}

impl Worker {
    /// Sends the request of a probe that has just begun to connect, where the peer is near enough for
    /// that, and has nginx watch the connection.
    pub(super) fn ask_early(&mut self, at: usize) {
        let Some(peer) = self.peers.get_mut(at) else { return };
        let (Phase::Probing(flight), Some(probe)) = (&mut peer.phase, &peer.probe) else { return };
        if !core::mem::take(&mut flight.is_new) {
            return;
        }
        if !peer.is_far && !probe.to_send().is_empty() {
            match flight.connection.write_early(probe.to_send()) {
                Write::Bytes(count) => return self.on_event(at, Event::Sent(count)),
                Write::Failed => return self.on_event(at, Event::Failed),
                Write::Nothing => peer.is_far = true,
            }
        }
        if !flight.connection.watch() {
            self.abandon(at);
        }
    }

    /// Hands an event to the probe's state machine and does what it asks for.
    pub(super) fn on_event(&mut self, at: usize, mut event: Event<'_>) {
        let Some(peer) = self.peers.get_mut(at) else { return };
        let (Phase::Probing(flight), Some(probe)) = (&mut peer.phase, &mut peer.probe) else {
            return;
        };
        let now = now();
        let action = loop {
            let action = probe.on_event(event, now);
            if let (Event::Sent(_), Action::Receive) = (event, action) {
                flight.asked = Some(Instant::now());
            }
            if action != Action::Send {
                break action;
            }
            event = match flight.connection.write(probe.to_send()) {
                Write::Bytes(count) => Event::Sent(count),
                Write::Nothing => break action,
                Write::Failed => Event::Failed,
            };
        };
        if let Action::Finish(outcome) = action {
            return self.finish(at, outcome);
        }
        if !flight.connection.watch() {
            self.abandon(at);
        }
    }

    /// Reads all that a peer has sent and judges it.
    fn on_readable(&mut self, at: usize) {
        let mut buffer = core::mem::take(&mut self.buffer);
        if buffer.is_empty() {
            buffer = vec![0; READ_BUFFER].into_boxed_slice();
        }
        let mut is_first = false;
        if let Some(Phase::Probing(flight)) = self.peers.get_mut(at).map(|peer| &mut peer.phase) {
            is_first = !core::mem::replace(&mut flight.has_read, true);
        }
        while let Some(Phase::Probing(flight)) = self.peers.get_mut(at).map(|peer| &mut peer.phase)
        {
            let event = match flight.connection.read(&mut buffer) {
                Read::Bytes(count) => Event::Received(buffer.get(..count).unwrap_or_default()),
                Read::End => Event::Closed,
                Read::Failed => Event::Failed,
                Read::Nothing => {
                    // A read that filled the buffer has left nginx thinking that there is more.
                    if flight.connection.watch() {
                        self.linger(at);
                    } else {
                        self.abandon(at);
                    }
                    break;
                }
            };
            let is_last = !matches!(event, Event::Received(_));
            self.on_event(at, event);
            if is_last {
                break;
            }
        }
        if let (Some(peer), true) = (self.peers.get_mut(at), is_first) {
            let is_over = !matches!(peer.phase, Phase::Probing(_));
            peer.answers.note(is_over || peer.probe.as_ref().is_some_and(Probe::awaits_end));
        }
        self.buffer = buffer;
    }

    /// A response is complete, and the peer has not closed: waits for more bytes or the end.
    fn linger(&mut self, at: usize) {
        let Some(peer) = self.peers.get_mut(at) else { return };
        let (Phase::Probing(flight), Some(probe)) = (&mut peer.phase, &peer.probe) else { return };
        let Some(check) = self.watches.get(peer.watch).and_then(|watch| watch.check.as_ref())
        else {
            return;
        };
        if probe.awaits_end() && !flight.lingers {
            flight.lingers = true;
            let patience = now() + check.timeout / LINGER;
            if let Ok(id) = u32::try_from(at) {
                self.wheel.set(id, probe.deadline().min(patience));
            }
        }
    }

    /// The time that a probe was given is over: its patience with a peer that keeps a connection
    /// after a complete response, or its timeout.
    pub(super) fn on_time(&mut self, at: usize) {
        let Some(peer) = self.peers.get_mut(at) else { return };
        let (Phase::Probing(flight), Some(probe)) = (&mut peer.phase, &peer.probe) else { return };
        let deadline = probe.deadline();
        if now() >= deadline {
            return self.on_deadline(at);
        }
        // The peer sees the end of the stream, and ends its own.
        flight.connection.end();
        if let Ok(id) = u32::try_from(at) {
            self.wheel.set(id, deadline);
        }
    }

    /// The timeout of a probe has passed.
    fn on_deadline(&mut self, at: usize) {
        let Some(peer) = self.peers.get_mut(at) else { return };
        let Phase::Probing(flight) = &mut peer.phase else { return };
        // What came in time but was not read yet decides.
        flight.connection.expect_bytes();
        self.on_readable(at);
        let Some(peer) = self.peers.get_mut(at) else { return };
        let Phase::Probing(flight) = &peer.phase else { return };
        let Some(check) = self.watches.get(peer.watch).and_then(|watch| watch.check.as_ref())
        else {
            return;
        };
        if flight.is_unfair(check.timeout) && peer.repeats < MAX_REPEATS {
            peer.repeats += 1;
            let what = format_args!("the event loop stood still, probes are repeated");
            self.trouble.note(Cause::Stall, now(), what);
            return self.repeat(at, now());
        }
        self.on_event(at, Event::Deadline);
    }
}
