//! The record of one peer.

use core::mem::size_of;
use core::sync::atomic::{AtomicU64, Ordering};

use healthcheck_core::health::{Flip, Health};
use healthcheck_core::lease::Lease;
use healthcheck_core::outcome::{Outcome, Verdict};
use healthcheck_core::Msec;

use super::table::{Entry, Record};

/// A probe is in flight.
const IN_FLIGHT: u64 = 1;

/// A probe is in flight, and another one is wanted after it.
const AGAIN: u64 = 2;

/// Bits of the flight word below the time.
const STATE_BITS: u32 = 2;

/// Those bits.
const STATE: u64 = (1 << STATE_BITS) - 1;

/// What the machine knows of one peer. Written by the worker that holds the lease, read by all.
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// Key: upstream and address.
    entry: Entry,
    /// [`Health`]: epoch, run count, last outcome and health in one word.
    health: AtomicU64,
    /// [`Lease`]: who probes the peer, until when.
    lease: AtomicU64,
    /// When the next probe is due, monotonic ms.
    next_due: AtomicU64,
    /// The [`Flight`] word.
    flight: AtomicU64,
    /// Wall clock ms of the last begin or end of a probe; 0 = never.
    last_action: AtomicU64,
    /// Wall clock ms of the first of the equal verdicts in a row; 0 = none yet.
    run_since: AtomicU64,
    /// Wall clock ms of the last flip; 0 = never.
    last_change: AtomicU64,
    /// Duration of the last finished probe in ms, plus 1; 0 = none yet.
    latency: AtomicU64,
    /// Probes begun.
    probes: AtomicU64,
    /// Probes that failed.
    failures: AtomicU64,
    /// Probes that passed.
    passes: AtomicU64,
}

/// When the last probe of a peer began, and whether it still is in flight, in one word: whoever wants
/// a probe out of turn reads both together.
///
/// Bits 0-1: 0, or [`IN_FLIGHT`] while the holder of the lease has a probe in flight, or [`AGAIN`].
/// Bits 2-63: monotonic ms of the start; 0 = never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight(u64);

impl Flight {
    /// When the last probe began, monotonic ms; 0 = never.
    pub(crate) fn started(self) -> Msec {
        self.0 >> STATE_BITS
    }

    /// Whether it is in flight.
    pub(crate) fn is_under_way(self) -> bool {
        self.0 & STATE != 0
    }
}

// At most 256 bytes a peer are promised; README says 128.
const _: () = assert!(size_of::<Slot>() == 128);

impl Record for Slot {
    fn entry(&self) -> &Entry {
        &self.entry
    }
}

/// What publishing a verdict changed.
pub(crate) struct Published {
    /// Equal verdicts in a row, this one included.
    pub(crate) run: u32,
    /// The change of health, if any.
    pub(crate) flip: Option<Flip>,
}

impl Slot {
    /// One that nobody has used.
    #[cfg(test)]
    pub(crate) fn vacant() -> Slot {
        // SAFETY: a slot consists of atomics, for which zero is valid.
        unsafe { core::mem::zeroed() }
    }

    /// Prepares a vacant record for a new peer: unknown health, nobody's lease since `now`, first
    /// probe at `first_due`.
    pub(crate) fn reset(&self, now: Msec, first_due: Msec) {
        // The epoch goes on: a worker that still probes for the record's last user cannot publish.
        let epoch = self.health().next_epoch().epoch();
        self.health.store(epoch << 32, Ordering::Relaxed);
        self.lease.store(Lease::free(now).bits(), Ordering::Relaxed);
        self.next_due.store(first_due, Ordering::Relaxed);
        for word in [
            &self.flight,
            &self.last_action,
            &self.run_since,
            &self.last_change,
            &self.latency,
            &self.probes,
            &self.failures,
            &self.passes,
        ] {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Takes over what another zone knew of the same peer; the lease is left free since `now`.
    pub(crate) fn copy_from(&self, old: &Slot, now: Msec) {
        self.health.store(old.health.load(Ordering::Acquire), Ordering::Relaxed);
        self.lease.store(Lease::free(now).bits(), Ordering::Relaxed);
        for (new, old) in [
            (&self.next_due, &old.next_due),
            (&self.last_action, &old.last_action),
            (&self.run_since, &old.run_since),
            (&self.last_change, &old.last_change),
            (&self.latency, &old.latency),
            (&self.probes, &old.probes),
            (&self.failures, &old.failures),
            (&self.passes, &old.passes),
        ] {
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.flight.store(old.flight.load(Ordering::Relaxed) & !STATE, Ordering::Relaxed);
    }

    /// Health, run and last outcome.
    pub(crate) fn health(&self) -> Health {
        Health::from_bits(self.health.load(Ordering::Acquire))
    }

    /// The lease as it stands.
    pub(crate) fn lease(&self) -> Lease {
        Lease::from_bits(self.lease.load(Ordering::Acquire))
    }

    /// Replaces the lease `from` by `to`; `false` when it is no longer `from`.
    pub(crate) fn swap_lease(&self, from: Lease, to: Lease) -> bool {
        let (from, to) = (from.bits(), to.bits());
        self.lease.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Begins a new epoch, from which on older holders of the lease cannot publish; returns it.
    pub(crate) fn begin_epoch(&self) -> u64 {
        let next = |bits| Some(Health::from_bits(bits).next_epoch().bits());
        let old = self.health.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        old.map_or(0, |bits| Health::from_bits(bits).next_epoch().epoch())
    }

    /// Notes that the peer was just started: it is down until its first pass.
    pub(crate) fn await_pass(&self) {
        let awaited = |bits| Some(Health::from_bits(bits).awaited().bits());
        let _ = self.health.fetch_update(Ordering::AcqRel, Ordering::Acquire, awaited);
        self.run_since.store(0, Ordering::Relaxed);
    }

    /// Ends the wait for a first pass: the peer is down like any other.
    pub(crate) fn give_up(&self) {
        let given_up = |bits| Some(Health::from_bits(bits).given_up().bits());
        let _ = self.health.fetch_update(Ordering::AcqRel, Ordering::Acquire, given_up);
    }

    /// When the next probe is due, monotonic ms.
    pub(crate) fn next_due(&self) -> Msec {
        self.next_due.load(Ordering::Relaxed)
    }

    /// Sets when the next probe is due; for the lease's holder.
    pub(crate) fn set_next_due(&self, due: Msec) {
        self.next_due.store(due, Ordering::Relaxed);
    }

    /// When the last probe began, and whether it still is in flight.
    pub(crate) fn flight(&self) -> Flight {
        Flight(self.flight.load(Ordering::Acquire))
    }

    /// Whether the holder of the lease has a probe in flight.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.flight().is_under_way()
    }

    /// Notes that no probe is in flight any more; for the lease's holder. Returns whether another one
    /// was asked for meanwhile.
    pub(crate) fn land(&self) -> bool {
        self.flight.fetch_and(!STATE, Ordering::AcqRel) & STATE == AGAIN
    }

    /// As `land`, for whoever has taken the lease since the word was `flight`. A probe that has begun
    /// meanwhile is another holder's.
    pub(crate) fn land_lost(&self, flight: Flight) {
        let landed = flight.0 & !STATE;
        let _ = self.flight.compare_exchange(flight.0, landed, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Asks for another probe after the one in flight; `false` when there is none.
    pub(crate) fn ask_again(&self) -> bool {
        let again = |word: u64| (word & STATE != 0).then_some((word & !STATE) | AGAIN);
        self.flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, again).is_ok()
    }

    /// Notes that a probe begins at `now`; for the lease's holder, right after renewing it.
    pub(crate) fn take_off(&self, now: Msec) {
        self.flight.store((now << STATE_BITS) | IN_FLIGHT, Ordering::Release);
    }

    /// Counts a probe that has begun at `wall_ms`; for the lease's holder.
    pub(crate) fn count_probe(&self, wall_ms: u64) {
        self.probes.fetch_add(1, Ordering::Relaxed);
        self.last_action.store(wall_ms, Ordering::Relaxed);
    }

    /// Passes so far, and the one that a probe in flight may still become.
    pub(crate) fn passes_to_come(&self) -> u64 {
        // The flight first: one that lands in between is counted twice, and never not at all.
        let under_way = u64::from(self.is_in_flight());
        self.passes().wrapping_add(under_way)
    }

    /// Probes that passed.
    pub(crate) fn passes(&self) -> u64 {
        self.passes.load(Ordering::Acquire)
    }

    /// Publishes the outcome of a probe made in `epoch`; `None` when another process has taken
    /// the lease since, and nothing was published.
    pub(crate) fn publish(
        &self,
        epoch: u64,
        outcome: Outcome,
        (fall, rise): (u32, u32),
        latency: Msec,
        wall_ms: u64,
    ) -> Option<Published> {
        // Within an epoch only this process publishes, but a program's start may make its peers
        // awaited at any time.
        let mut published = None;
        let observe = |bits| {
            let old = Health::from_bits(bits);
            let (new, flip) = old.observe(outcome, fall, rise);
            published = Some((new, flip));
            (old.epoch() == epoch).then_some(new.bits())
        };
        self.health.fetch_update(Ordering::AcqRel, Ordering::Acquire, observe).ok()?;
        let (new, flip) = published?;
        self.last_action.store(wall_ms, Ordering::Relaxed);
        self.latency.store(latency.saturating_add(1), Ordering::Relaxed);
        match outcome.verdict() {
            Verdict::Fail => self.failures.fetch_add(1, Ordering::Relaxed),
            Verdict::Pass => self.passes.fetch_add(1, Ordering::AcqRel),
        };
        if new.run() == 1 {
            self.run_since.store(wall_ms, Ordering::Relaxed);
        }
        if flip.is_some() {
            self.last_change.store(wall_ms, Ordering::Relaxed);
        }
        Some(Published { run: new.run(), flip })
    }

    /// Wall clock ms of the last begin or end of a probe; 0 = never.
    pub(crate) fn last_action_ms(&self) -> u64 {
        self.last_action.load(Ordering::Relaxed)
    }

    /// Wall clock ms of the first of the equal verdicts in a row; 0 = none yet.
    pub(crate) fn run_since_ms(&self) -> u64 {
        self.run_since.load(Ordering::Relaxed)
    }

    /// Wall clock ms of the last flip.
    pub(crate) fn last_change_ms(&self) -> Option<u64> {
        Some(self.last_change.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// Duration of the last finished probe in ms.
    pub(crate) fn latency_ms(&self) -> Option<u64> {
        self.latency.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Probes begun, probes failed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.probes.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_whose_lease_was_taken_cannot_publish() {
        let slot = Slot::vacant();
        let first = slot.begin_epoch();
        let second = slot.begin_epoch();
        assert!(slot.publish(first, Outcome::BadCode, (1, 1), 5, 1_000).is_none());
        assert!(slot.health().outcome().is_none() && slot.counts() == (0, 0));
        assert!(slot.publish(second, Outcome::BadCode, (1, 1), 5, 1_000).is_some());
        assert!(slot.health().is_down());
    }

    #[test]
    fn a_flip_is_published_with_its_time_and_run() {
        let slot = Slot::vacant();
        let epoch = slot.begin_epoch();
        let publish = |at| slot.publish(epoch, Outcome::TimedOut, (2, 2), 7, at).expect("held");
        assert!(publish(1_000).flip.is_none());
        let second = publish(2_000);
        assert_eq!((second.flip, second.run), (Some(Flip::Down), 2));
        assert_eq!((slot.run_since_ms(), slot.last_change_ms()), (1_000, Some(2_000)));
        assert_eq!((slot.latency_ms(), slot.counts()), (Some(7), (0, 2)));
    }

    #[test]
    fn a_slot_that_gets_a_new_peer_is_unknown_under_a_new_epoch() {
        let slot = Slot::vacant();
        let epoch = slot.begin_epoch();
        assert!(slot.publish(epoch, Outcome::BadBody, (1, 1), 0, 9).is_some());
        slot.reset(500, 700);
        assert!(!slot.health().is_down() && slot.health().outcome().is_none());
        assert!(slot.publish(epoch, Outcome::Ok, (1, 1), 0, 9).is_none());
        assert_eq!((slot.next_due(), slot.lease().pid(), slot.lease().time()), (700, 0, 500));
        assert_eq!((slot.counts(), slot.last_change_ms()), ((0, 0), None));
    }

    #[test]
    fn the_start_of_the_last_probe_outlives_its_end() {
        let slot = Slot::vacant();
        assert!(slot.flight() == Flight(0) && !slot.ask_again());
        slot.take_off(1_234);
        assert!(slot.is_in_flight() && slot.ask_again() && slot.ask_again());
        assert_eq!((slot.flight().started(), slot.land(), slot.land()), (1_234, true, false));
        assert!(!slot.is_in_flight() && !slot.ask_again());
        assert_eq!(slot.flight().started(), 1_234);
    }

    #[test]
    fn a_lost_probe_lands_unless_another_one_has_begun() {
        let slot = Slot::vacant();
        slot.take_off(1_000);
        let lost = slot.flight();
        slot.take_off(1_100);
        slot.land_lost(lost);
        assert!(slot.is_in_flight());
        slot.land_lost(slot.flight());
        assert!(!slot.is_in_flight() && slot.flight().started() == 1_100);
    }

    #[test]
    fn a_larger_zone_knows_when_the_last_probe_began_and_has_none_in_flight() {
        let (old, new) = (Slot::vacant(), Slot::vacant());
        old.take_off(1_000);
        new.copy_from(&old, 2_000);
        assert_eq!((new.flight().started(), new.is_in_flight()), (1_000, false));
    }

    #[test]
    fn a_probe_in_flight_may_still_pass() {
        let slot = Slot::vacant();
        let epoch = slot.begin_epoch();
        slot.take_off(1_000);
        assert_eq!((slot.passes(), slot.passes_to_come()), (0, 1));
        assert!(slot.publish(epoch, Outcome::Ok, (1, 1), 0, 9).is_some());
        slot.land();
        assert_eq!((slot.passes(), slot.passes_to_come()), (1, 1));
    }

    #[test]
    fn a_lease_is_taken_once() {
        let slot = Slot::vacant();
        let (mine, theirs) = (Lease::held(7, 100), Lease::held(8, 100));
        assert!(slot.swap_lease(Lease::default(), mine));
        assert!(!slot.swap_lease(Lease::default(), theirs));
        assert_eq!(slot.lease(), mine);
    }
}
