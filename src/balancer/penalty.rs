//! The penalty of `max_fails`: nginx avoids a peer for `fail_timeout` whatever its probes say. Here is
//! what a process knows of that for one peer, and when the peer need not be avoided any longer.

use core::cell::Cell;

use crate::zone::Slot;

/// Whether nginx avoids a peer, as this process has noticed.
#[derive(Default)]
pub(crate) struct Penalty(Cell<Option<Noticed>>);

/// A peer that nginx avoids, or may soon.
#[derive(Clone, Copy)]
struct Noticed {
    /// Passes that say nothing of the peer since, as their probes had begun before.
    passes: u64,
    /// When requests to it failed last, as nginx says; unset where it was not asked yet.
    failed: Option<i64>,
    /// Whether nginx's list was seen to say so at the last look.
    is_listed: bool,
}

impl Penalty {
    /// Notices that a request has failed.
    pub(crate) fn notice(&self, slot: &Slot) {
        let passes = slot.passes_to_come();
        self.0.set(Some(Noticed { passes, failed: None, is_listed: true }));
    }

    /// Notices that nginx avoids the peer, for requests that failed at `failed`.
    pub(crate) fn notice_listed(&self, slot: &Slot, failed: i64) {
        match self.0.get() {
            Some(known) if known.failed.is_none_or(|before| before == failed) => {
                self.0.set(Some(Noticed { failed: Some(failed), is_listed: true, ..known }));
            }
            // Requests of another process have failed since.
            _ => {
                self.notice(slot);
                self.notice_listed(slot, failed);
            }
        }
    }

    /// Forgets a peer that nginx was not seen to avoid since this was called last.
    pub(crate) fn forget_unlisted(&self) {
        let known = self.0.get().filter(|known| known.is_listed);
        self.0.set(known.map(|known| Noticed { is_listed: false, ..known }));
    }

    /// Forgets the peer.
    pub(crate) fn forget(&self) {
        self.0.set(None);
    }

    /// Whether anything is known.
    pub(crate) fn is_noticed(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether `rise` probes in a row have passed that began after the failure was noticed.
    pub(crate) fn has_passed(&self, slot: &Slot, rise: u32) -> bool {
        self.0.get().is_some_and(|Noticed { passes, .. }| {
            let since = slot.passes().saturating_sub(passes);
            since >= u64::from(rise) && slot.health().is_fit(rise)
        })
    }

    /// Whether nginx avoids the peer, and need not any longer.
    pub(crate) fn is_over(&self, slot: &Slot, rise: u32) -> bool {
        let is_avoided = self.0.get().is_some_and(|known| known.failed.is_some());
        is_avoided && self.has_passed(slot, rise)
    }
}

#[cfg(test)]
mod tests {
    use healthcheck_core::outcome::Outcome;

    use super::*;

    /// A slot whose holder has probed, and the outcomes of its next probes.
    fn probed(outcomes: &[Outcome]) -> (Slot, impl Fn(&Slot, Outcome)) {
        let slot = Slot::vacant();
        let epoch = slot.begin_epoch();
        let probe = move |slot: &Slot, outcome| {
            slot.take_off(1);
            assert!(slot.publish(epoch, outcome, (2, 2), 0, 1).is_some());
            slot.land();
        };
        outcomes.iter().for_each(|outcome| probe(&slot, *outcome));
        (slot, probe)
    }

    #[test]
    fn rise_passes_after_the_failure_end_it() {
        let (slot, probe) = probed(&[Outcome::Ok; 5]);
        let penalty = Penalty::default();
        assert!(!penalty.has_passed(&slot, 2));
        penalty.notice(&slot);
        probe(&slot, Outcome::Ok);
        assert!(!penalty.has_passed(&slot, 2));
        probe(&slot, Outcome::Ok);
        assert!(penalty.has_passed(&slot, 2));
    }

    #[test]
    fn a_probe_that_was_in_flight_does_not_count() {
        let (slot, probe) = probed(&[Outcome::Ok; 5]);
        let penalty = Penalty::default();
        slot.take_off(1);
        penalty.notice(&slot);
        probe(&slot, Outcome::Ok);
        probe(&slot, Outcome::Ok);
        assert!(!penalty.has_passed(&slot, 2));
        probe(&slot, Outcome::Ok);
        assert!(penalty.has_passed(&slot, 2));
    }

    #[test]
    fn passes_that_are_not_in_a_row_do_not_end_it() {
        let (slot, probe) = probed(&[Outcome::Ok; 5]);
        let penalty = Penalty::default();
        penalty.notice(&slot);
        for outcome in [Outcome::Ok, Outcome::BadCode, Outcome::Ok] {
            probe(&slot, outcome);
            assert!(!penalty.has_passed(&slot, 2));
        }
        probe(&slot, Outcome::Ok);
        assert!(penalty.has_passed(&slot, 2));
    }

    #[test]
    fn a_later_failure_begins_it_anew() {
        let (slot, probe) = probed(&[]);
        let penalty = Penalty::default();
        penalty.notice_listed(&slot, 100);
        probe(&slot, Outcome::Ok);
        penalty.notice_listed(&slot, 100);
        probe(&slot, Outcome::Ok);
        assert!(penalty.has_passed(&slot, 2));
        penalty.notice_listed(&slot, 101);
        assert!(!penalty.has_passed(&slot, 2));
    }

    #[test]
    fn a_peer_that_nginx_does_not_avoid_has_nothing_to_lose() {
        let (slot, probe) = probed(&[]);
        let penalty = Penalty::default();
        penalty.notice(&slot);
        probe(&slot, Outcome::Ok);
        probe(&slot, Outcome::Ok);
        assert!(penalty.has_passed(&slot, 2) && !penalty.is_over(&slot, 2));
        penalty.notice_listed(&slot, 100);
        assert!(penalty.is_over(&slot, 2));
    }

    #[test]
    fn what_nginx_no_longer_avoids_is_forgotten_at_the_second_look() {
        let (slot, _) = probed(&[]);
        let penalty = Penalty::default();
        penalty.notice(&slot);
        penalty.forget_unlisted();
        assert!(penalty.is_noticed());
        penalty.notice_listed(&slot, 1);
        penalty.forget_unlisted();
        assert!(penalty.is_noticed());
        penalty.forget_unlisted();
        assert!(!penalty.is_noticed());
    }
}
