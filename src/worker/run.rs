//! Probing: what is done when the timer fires, a probe begins or ends.

use core::iter;
use core::sync::atomic::Ordering;

use healthcheck_core::lease::GRACE;
use healthcheck_core::outcome::Outcome;
use healthcheck_core::probe::{Event, Probe};
use healthcheck_core::schedule::{
    due_after_verdict, is_stall, latest_next_start, next_due, Ended, TICK,
};
use healthcheck_core::Msec;

use super::flights::Events;
use super::peer::{Answers, Flight, Phase};
use super::trouble::Cause;
use super::{calls, forget, with_worker, Worker, SCAN_EVERY, WORKER};
use crate::nginx::connection::{OpenError, PeerConnection};
use crate::nginx::guard::guard;
use crate::nginx::log::debug;
use crate::nginx::process::{has_free_connection, is_exiting, now, wall_clock_ms, CycleId};

/// Acknowledgements are delayed only where the timeout is so long that one which delays the answer for
/// once makes no difference: Linux waits for 200 ms at most (`TCP_DELACK_MAX`).
const MOST_DELAYED: Msec = 1000;

/// From the end of one probe to the start of the next while a peer that was just started has not
/// passed yet.
pub(super) const AWAITED_DELAY: Msec = 100;

/// The process's timer has fired.
pub(super) fn on_timer() {
    if WORKER.with(|worker| worker.as_ref().is_some_and(Worker::is_orphan)) == Some(true) {
        return forget();
    }
    // The timer is set again whatever happens in between.
    guard("tick", (), || {
        with_worker(Worker::tick);
    });
    guard("calls", (), calls::make);
    with_worker(Worker::arm);
}

impl Worker {
    /// Whether nginx runs another configuration now, and nobody has said so.
    pub(super) fn is_orphan(&self) -> bool {
        self.cycle != CycleId::running()
    }

    /// Does what is due.
    fn tick(&mut self) {
        let now = now();
        if let Some(due) = self.timer.fired() {
            self.note_stall(due, now);
        }
        if !self.retired && (is_exiting() || !self.zone.is_current(self.epoch)) {
            self.retire();
        }
        let mut due = core::mem::take(&mut self.due);
        due.extend(
            iter::from_fn(|| self.wheel.pop_due(now)).filter_map(|id| usize::try_from(id).ok()),
        );
        // Where not all can begin, those that have waited longest do: nobody is left out for good.
        due.sort_unstable_by_key(|at| match self.peers.get(*at).map(|peer| &peer.phase) {
            Some(Phase::Waiting(due)) => *due,
            _ => 0,
        });
        for &at in &due {
            match self.peers.get(at).map(|peer| &peer.phase) {
                Some(Phase::Waiting(due)) => self.begin_probe(at, *due),
                Some(Phase::Probing(_)) => self.on_time(at),
                _ => {}
            }
        }
        // Not one by one: who is asked on this machine wakes up once for many, not once for each.
        for at in due.drain(..) {
            self.ask_early(at);
        }
        self.due = due;
        self.tick_tasks();
        self.ask_all();
        if now >= self.next_scan {
            self.scan();
        } else if self.next_look.is_some_and(|look| now >= look) {
            self.look_for_penalties();
        }
    }

    /// Looks for free leases, new peers and flips.
    fn scan(&mut self) {
        self.next_scan = now() + SCAN_EVERY;
        for number in 0..self.watches.len() {
            let Some(watch) = self.watches.get(number) else { continue };
            if watch.complete {
                self.sync_if_stale(number);
            } else {
                self.refresh(number);
            }
        }
        self.review_penalties();
        if self.unranked {
            self.rank_peers();
        }
        if !self.retired {
            self.claim_free(false);
            self.probe_all_awaited();
            self.take_over();
            self.restart_due();
            self.look_for_upgrade();
            self.compute_loads();
            self.reclaim();
        }
        // What another process has computed is told here too.
        self.has_calls = true;
    }

    /// Sets the process's timer to what comes next.
    pub(super) fn arm(&mut self) {
        self.timer.set_cancelable(!self.tasks.has_stops());
        let others =
            [self.wheel.next_wake(), self.tasks.next_wake(), self.next_poll(), self.next_look];
        let wake = others.into_iter().flatten().fold(self.next_scan, Msec::min);
        self.timer.set(if self.has_calls { wake.min(now()) } else { wake });
    }

    /// Notes that the event loop came back later than it was asked to.
    fn note_stall(&mut self, due: Msec, now: Msec) {
        let late = now.saturating_sub(due);
        if !is_stall(late, 0) {
            return;
        }
        for peer in &mut self.peers {
            if let Phase::Probing(flight) = &mut peer.phase {
                flight.late = flight.late.max(late);
            }
        }
    }

    /// Keeps the lease of a peer and probes it at `due`.
    pub(super) fn wait(&mut self, at: usize, due: Msec) {
        self.postpone(at, due, due);
    }

    /// Probes a peer that is due at `due` not before `until`.
    fn postpone(&mut self, at: usize, due: Msec, until: Msec) {
        if let (Some(peer), Ok(id)) = (self.peers.get_mut(at), u32::try_from(at)) {
            peer.phase = Phase::Waiting(due);
            self.wheel.set(id, until);
        }
    }

    /// Begins the probe of a peer that was due at `due`.
    fn begin_probe(&mut self, at: usize, due: Msec) {
        let now = now();
        let Some((slot, held)) = self.held(at) else { return self.lose(at) };
        if slot.lease() != held.lease {
            return self.lose(at);
        }
        if let Some(until) = self.trouble.pause(now) {
            return self.postpone(at, due, until);
        }
        if !has_free_connection() {
            let what = format_args!("no free connection, probes pause; worker_connections is low");
            let until = self.trouble.hold(Cause::Connections, now, what);
            return self.postpone(at, due, until);
        }
        if !self.zone.admit_probe(now) {
            return self.postpone(at, due, now + TICK);
        }
        let Some(peer) = self.peers.get(at) else { return };
        let Some(check) = self.watches.get(peer.watch).and_then(|watch| watch.check.clone()) else {
            return;
        };
        if !self.renew(at, latest_next_start(now, check.delay, check.timeout) + GRACE) {
            return;
        }
        let (Some(peer), Ok(id)) = (self.peers.get_mut(at), u32::try_from(at)) else { return };
        // At once: whoever wants a probe takes the lease if none is in flight.
        slot.take_off(now);
        let delays_ack = peer.answers == Answers::Whole && check.timeout >= MOST_DELAYED;
        match PeerConnection::open::<Events>(&peer.address, at, delays_ack) {
            Err(OpenError::Local(error)) => {
                let what = format_args!("no socket for a probe, probes pause: {error}");
                let until = self.trouble.hold(Cause::Socket, now, what);
                slot.land();
                // Due anew: after the pause the others go first.
                self.postpone(at, now, until);
            }
            Err(OpenError::Port(error)) => {
                let name = peer.name.escape_ascii();
                let what = format_args!("no port for a probe of {name}: {error}");
                let until = self.trouble.pass_over(Cause::Ports, now, what);
                slot.land();
                self.postpone(at, now, until);
            }
            opened => {
                slot.set_next_due(next_due(due, now, check.delay));
                slot.count_probe(wall_clock_ms());
                let probe = peer.probe.get_or_insert_with(|| Probe::new(check));
                probe.start(now);
                let deadline = probe.deadline();
                let Ok((connection, is_connected)) = opened else {
                    return self.finish(at, Outcome::BadConnection);
                };
                peer.phase = Phase::Probing(Flight {
                    connection,
                    is_new: !is_connected,
                    has_read: false,
                    asked: None,
                    late: 0,
                    lingers: false,
                });
                self.wheel.set(id, deadline);
                if is_connected {
                    self.on_event(at, Event::Connected);
                }
            }
        }
    }

    /// Ends a probe without a verdict, because of local trouble; it is repeated.
    pub(super) fn abandon(&mut self, at: usize) {
        let what = format_args!("nginx cannot watch the connection of a probe, probes pause");
        let until = self.trouble.hold(Cause::Socket, now(), what);
        self.repeat(at, until);
    }

    /// Ends a probe without a verdict; another one begins at `due`.
    pub(super) fn repeat(&mut self, at: usize, due: Msec) {
        if let Some((slot, _)) = self.held(at) {
            slot.land();
        }
        self.wait(at, due);
    }

    /// Ends a probe with a verdict, and plans the next one.
    pub(super) fn finish(&mut self, at: usize, outcome: Outcome) {
        let now = now();
        let Some((slot, held)) = self.held(at) else { return };
        let Some(peer) = self.peers.get_mut(at) else { return };
        // Closes the connection.
        peer.phase = Phase::Waiting(now);
        peer.repeats = 0;
        let latency = peer.probe.as_ref().map_or(0, Probe::latency);
        let number = peer.watch;
        let Some(watch) = self.watches.get(number) else { return };
        let Some(check) = &watch.check else { return };
        let thresholds = (check.fall, check.rise);
        debug!("healthcheck: probe of {}: {}", peer.name.escape_ascii(), outcome.code());

        if !self.zone.is_current(self.epoch) {
            return self.retire();
        }
        let published = slot.publish(held.epoch, outcome, thresholds, latency, wall_clock_ms());
        let Some(published) = published else { return self.lose(at) };
        if published.flip.is_some() {
            // Before all else, since pages show the flip already. Release: whoever reads the new
            // generation reads the slot's new health.
            watch.generation.fetch_add(1, Ordering::Release);
        }
        let is_wanted = slot.land();
        let (health, started) = (slot.health(), slot.flight().started());
        let due = match health.is_awaited() {
            true if is_wanted => now,
            true => now + AWAITED_DELAY,
            false => {
                let next_due = slot.next_due();
                let ended = Ended { started, ended: now, next_due, is_wanted };
                due_after_verdict(check, health, ended)
            }
        };
        slot.set_next_due(due);
        self.wait(at, due);
        if let Some(flip) = published.flip {
            self.announce(at, number, outcome, flip, &published);
        } else if slot.health().is_awaited() {
            self.lose_patience(at, number);
        }
    }
}
