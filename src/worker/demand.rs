//! Probes out of turn: a peer that a request has just failed at is probed on demand, and so is one
//! that was just started.

use healthcheck_core::key::Key;
use healthcheck_core::lease::Lease;
use healthcheck_core::schedule::earliest_on_demand;
use healthcheck_core::Msec;

use super::peer::Phase;
use super::Worker;
use crate::nginx::address::Address;
use crate::nginx::process::{has_free_connection, is_alive, now};

impl Worker {
    /// nginx calls a request to the peer at an address failed. Any number of them cause one probe in a
    /// fast delay, on the whole machine.
    pub(super) fn on_failed_request(&mut self, watch: usize, address: &Address) {
        // A newer configuration's workers meet failures of their own.
        let Some(one) = self.watches.get(watch).filter(|_| !self.retired) else { return };
        let Some(fast) = one.check.as_ref().and_then(|check| check.fast_delay) else { return };
        let key = Key::of_peer(one.upstream.name(), address.canonical());
        if one.mirror.note_failure(address, now()) && self.next_look.is_none() {
            self.plan_look();
        }
        let Some((place, slot)) = self.zone.slots.find(key) else { return };
        let at = self.by_slot.get(place).and_then(|at| usize::try_from(*at).ok());
        let listed =
            |at: &usize| self.peers.get(*at).is_some_and(|peer| !matches!(peer.phase, Phase::Gone));
        let Some(at) = at.filter(listed) else { return };
        // One that was just started is probed often enough, and the request may have been for the
        // process before.
        if slot.health().is_awaited() {
            return;
        }
        // The lease first: if a probe begins from here on, it is no longer this one.
        let lease = slot.lease();
        if slot.ask_again() {
            return;
        }
        let due = earliest_on_demand(now(), slot.flight().started(), fast);
        if due < slot.next_due() {
            self.probe_out_of_turn(at, lease, due);
        }
    }

    /// Probes a peer at `due`, whoever had its lease, which was `lease` when no probe was in flight.
    pub(super) fn probe_out_of_turn(&mut self, at: usize, lease: Lease, due: Msec) {
        // Another process may have taken the lease for the same reason.
        if let Some((slot, _)) = self.held(at).filter(|(_, held)| held.lease == lease) {
            slot.set_next_due(due);
            self.wait(at, due);
        } else if !self.retired && self.trouble.pause(now()).is_none() && has_free_connection() {
            self.lose(at);
            // One that lives tells of its flips itself: each telling is work for every process.
            self.take_lease(at, lease, due, is_alive(lease.pid()));
        }
    }
}
