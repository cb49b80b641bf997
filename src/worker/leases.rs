//! Which peers this process probes: taking, renewing and giving back leases.

use core::sync::atomic::Ordering;
use healthcheck_core::lease::{Holder, Lease, GRACE};
use healthcheck_core::schedule::{due_under_new_lease, earliest_on_demand, latest_next_start};
use healthcheck_core::Msec;

use super::peer::{Held, Peer, Phase};
use super::Worker;
use crate::nginx::log::debug;
use crate::nginx::process::{is_alive, now};
use crate::zone::table::Record;
use crate::zone::Slot;

/// What was found out about pids, so that each is asked for once.
#[derive(Default)]
pub(crate) struct Holders(Vec<(u32, Holder)>);

impl Holders {
    /// What `pid` is to a worker of configuration `epoch` that does not hold the lease itself.
    fn of(&mut self, pid: u32, worker: &Worker) -> Holder {
        if pid == 0 {
            return Holder::Nobody;
        }
        if let Some((_, known)) = self.0.iter().find(|(known, _)| *known == pid) {
            return *known;
        }
        let superseded =
            || worker.zone.processes().any(|other| other.pid == pid && other.epoch < worker.epoch);
        // The own pid in a lease that this process never took is a dead process's.
        let gone = pid == worker.pid || !is_alive(pid) || superseded();
        let holder = if gone { Holder::Gone } else { Holder::Alive };
        self.0.push((pid, holder));
        holder
    }
}

impl Worker {
    /// The slot of a peer.
    pub(crate) fn slot(&self, peer: &Peer) -> Option<&'static Slot> {
        self.zone.slots.0.get(peer.slot)
    }

    /// Takes every lease that may be taken now. With `all` also the holders of peers that are
    /// probed on time are looked at, as a worker that starts has to: it may replace a killed one.
    pub(crate) fn claim_free(&mut self, all: bool) {
        let mut holders = Holders::default();
        for at in 0..self.peers.len() {
            self.try_claim(at, all, &mut holders);
        }
    }

    /// Takes the lease of a peer if that is allowed now.
    fn try_claim(&mut self, at: usize, all: bool, holders: &mut Holders) {
        let Some(peer) = self.peers.get(at) else { return };
        let (Some(slot), Phase::Idle) = (self.slot(peer), &peer.phase) else { return };
        let (Some(watch), now) = (self.watches.get_mut(peer.watch), now()) else { return };
        if slot.entry().key() != Some(peer.key) {
            // Its room was given away while this process was stopped.
            watch.complete = false;
            return;
        }
        let Some(check) = watch.check.clone() else { return };
        let (lease, next_due) = (slot.lease(), slot.next_due());

        // A foreign peer that is probed on time has a live holder; asking the system costs a call.
        let is_home = peer.rank % self.workers.max(1) == self.number;
        if !all && !is_home && lease.pid() != 0 && now < next_due {
            return;
        }
        let holder = match holders.of(lease.pid(), self) {
            Holder::Alive if slot.is_in_flight() => Holder::Probing,
            holder => holder,
        };
        if now < lease.claimable_at(holder, is_home, next_due, check.timeout) {
            return;
        }
        // A probe in flight is lost with its owner, and begins anew. A reload may have made the
        // delay shorter than what is left of the old one.
        let flight = slot.flight();
        let latest = match check.fast_delay_of(slot.health()) {
            _ if flight.is_under_way() => 0,
            Some(fast) => fast,
            None => check.delay,
        };
        let start = due_under_new_lease(next_due, now, check.delay, latest);
        let earliest = |fast| earliest_on_demand(start, flight.started(), fast);
        let start = check.fast_delay.map_or(start, earliest);
        self.take_lease(at, lease, start, false);
    }

    /// Takes the lease of a peer, if it still is `lease`; the next probe begins at `start`. `is_told` says
    /// that its last holder has told of every flip that it has published.
    pub(super) fn take_lease(&mut self, at: usize, lease: Lease, start: Msec, is_told: bool) {
        let Some(peer) = self.peers.get(at) else { return };
        let (Some(slot), Some(watch)) = (self.slot(peer), self.watches.get(peer.watch)) else {
            return;
        };
        let (Some(check), generation) = (&watch.check, watch.generation) else { return };
        let flight = slot.flight();
        let first = start.max(now());
        let until = latest_next_start(first, check.delay, check.timeout) + GRACE;
        let mine = Lease::held(self.pid, until);
        if !slot.swap_lease(lease, mine) {
            return;
        }
        let held = Held { lease: mine, epoch: slot.begin_epoch() };
        slot.set_next_due(start);
        slot.land_lost(flight);
        if lease.pid() != 0 && !is_told {
            // Its last holder may have been killed between publishing a flip and telling of it.
            generation.fetch_add(1, Ordering::Release);
        }
        debug!("healthcheck: lease of {} taken", peer.name.escape_ascii());
        self.wait(at, start);
        if let Some(peer) = self.peers.get_mut(at) {
            peer.held = Some(held);
        }
    }

    /// Extends a held lease for a probe that begins now; `false` when another process has it.
    pub(crate) fn renew(&mut self, at: usize, until: Msec) -> bool {
        let Some((slot, held)) = self.held(at) else { return false };
        let lease = Lease::held(self.pid, until);
        if !slot.swap_lease(held.lease, lease) {
            self.lose(at);
            return false;
        }
        if let Some(peer) = self.peers.get_mut(at) {
            peer.held = Some(Held { lease, ..held });
        }
        true
    }

    /// Ends what goes on about a peer, without a verdict, and gives its lease back.
    pub(crate) fn give_back(&mut self, at: usize) {
        if let Some((slot, held)) = self.held(at) {
            // Whoever has taken the lease meanwhile keeps it.
            if slot.lease() == held.lease {
                if slot.is_in_flight() {
                    slot.set_next_due(now());
                    slot.land();
                }
                slot.swap_lease(held.lease, Lease::free(now()));
            }
        }
        self.lose(at);
    }

    /// Ends what goes on about a peer whose lease another process has.
    pub(crate) fn lose(&mut self, at: usize) {
        if let Some(peer) = self.peers.get_mut(at) {
            peer.held = None;
            peer.phase = Phase::Idle;
        }
        if let Ok(id) = u32::try_from(at) {
            self.wheel.clear(id);
        }
    }

    /// Gives back every lease, for good: this process is to end, or a newer configuration runs.
    pub(crate) fn retire(&mut self) {
        self.retired = true;
        for at in 0..self.peers.len() {
            self.give_back(at);
        }
    }

    /// The slot and the lease of a peer that this process holds.
    pub(crate) fn held(&self, at: usize) -> Option<(&'static Slot, Held)> {
        let peer = self.peers.get(at)?;
        Some((self.slot(peer)?, peer.held?))
    }

    /// Gives slots that no living process's configuration lists back to the table.
    pub(crate) fn reclaim(&self) {
        let oldest = self
            .zone
            .processes()
            .filter(|other| other.epoch < self.epoch && is_alive(other.pid))
            .fold(self.epoch, |oldest, other| oldest.min(other.epoch));
        let unused = |epoch: u32| epoch < oldest;
        let slots = self.zone.slots.used_records().any(|slot| unused(slot.entry().epoch()));
        let cells = self.zone.upstreams.used_records().any(|cell| unused(cell.entry().epoch()));
        let zone = self.zone;
        let programs = zone.programs.used_records().any(|cell| unused(cell.entry().epoch()));
        let supervisords =
            zone.supervisords.used_records().any(|cell| unused(cell.entry().epoch()));
        if !slots && !cells && !programs && !supervisords {
            return;
        }
        if let Some(lock) = self.zone.try_lock() {
            zone.programs.remove_if(&lock, |cell| unused(cell.entry().epoch()));
            zone.supervisords.remove_if(&lock, |cell| unused(cell.entry().epoch()));
            self.zone.slots.remove_if(&lock, |slot| unused(slot.entry().epoch()));
            self.zone.upstreams.remove_if(&lock, |cell| unused(cell.entry().epoch()));
        }
    }
}
