//! The penalty of `max_fails`: nginx avoids a peer for `fail_timeout` whatever its probes say. Here is
//! what a process knows of that for one peer, and when the peer need not be avoided any longer.

use core::cell::Cell;

use healthcheck_core::check::Check;
use healthcheck_core::Msec;

use crate::zone::Slot;

/// Whether nginx avoids a peer, as this process has noticed.
#[derive(Default)]
pub(crate) struct Penalty(Cell<Option<Noticed>>);

/// When a peer that nginx avoids need not be avoided any longer.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    /// After so many passes in a row of probes that began since.
    rise: u32,
    /// And not before so many ms: with a fast delay, the failed requests of one worker cause the probes
    /// that end the penalty in another, and a peer that fails requests and passes probes would get one
    /// request after the other.
    rest: Msec,
}

impl Rule {
    /// That of a check.
    pub(crate) fn of(check: &Check) -> Rule {
        Rule { rise: check.rise, rest: check.fast_delay.map_or(0, |_| check.delay) }
    }
}

/// A peer that nginx avoids, or may soon.
#[derive(Clone, Copy)]
struct Noticed {
    /// Since when.
    since: Msec,
    /// Passes that say nothing of the peer since, as their probes had begun before.
    passes: u64,
    /// When requests to it failed last, as nginx says; unset where it was not asked yet.
    failed: Option<i64>,
    /// Whether nginx's list was seen to say so at the last look.
    is_listed: bool,
}

impl Penalty {
    /// Notices at `since` that a request has failed.
    pub(crate) fn notice(&self, slot: &Slot, since: Msec) {
        let passes = slot.passes_to_come();
        self.0.set(Some(Noticed { since, passes, failed: None, is_listed: true }));
    }

    /// Notices at `now` that nginx avoids the peer, for requests that failed at `failed`.
    pub(crate) fn notice_listed(&self, slot: &Slot, now: Msec, failed: i64) {
        match self.0.get() {
            Some(known) if known.failed.is_none_or(|before| before == failed) => {
                self.0.set(Some(Noticed { failed: Some(failed), is_listed: true, ..known }));
            }
            // Requests of another process have failed since.
            _ => {
                self.notice(slot, now);
                self.notice_listed(slot, now, failed);
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

    /// When the penalty may end at the earliest; `None` where there is none.
    pub(crate) fn earliest_end(&self, rule: Rule) -> Option<Msec> {
        self.0.get().map(|known| known.since.saturating_add(rule.rest))
    }

    /// Whether enough probes have passed that began after the failure was noticed, and long enough ago.
    pub(crate) fn has_passed(&self, slot: &Slot, now: Msec, rule: Rule) -> bool {
        self.0.get().is_some_and(|Noticed { since, passes, .. }| {
            let passes = slot.passes().saturating_sub(passes);
            let is_rested = now.saturating_sub(since) >= rule.rest;
            is_rested && passes >= u64::from(rule.rise) && slot.health().is_fit(rule.rise)
        })
    }

    /// Whether nginx avoids the peer, and need not any longer.
    pub(crate) fn is_over(&self, slot: &Slot, now: Msec, rule: Rule) -> bool {
        let is_avoided = self.0.get().is_some_and(|known| known.failed.is_some());
        is_avoided && self.has_passed(slot, now, rule)
    }
}

#[cfg(test)]
mod tests {
    use healthcheck_core::outcome::Outcome;

    use super::*;

    /// Without a fast delay.
    const PLAIN: Rule = Rule { rise: 2, rest: 0 };

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
        assert!(!penalty.has_passed(&slot, 0, PLAIN));
        penalty.notice(&slot, 0);
        probe(&slot, Outcome::Ok);
        assert!(!penalty.has_passed(&slot, 0, PLAIN));
        probe(&slot, Outcome::Ok);
        assert!(penalty.has_passed(&slot, 0, PLAIN));
    }

    #[test]
    fn a_probe_that_was_in_flight_does_not_count() {
        let (slot, probe) = probed(&[Outcome::Ok; 5]);
        let penalty = Penalty::default();
        slot.take_off(1);
        penalty.notice(&slot, 0);
        probe(&slot, Outcome::Ok);
        probe(&slot, Outcome::Ok);
        assert!(!penalty.has_passed(&slot, 0, PLAIN));
        probe(&slot, Outcome::Ok);
        assert!(penalty.has_passed(&slot, 0, PLAIN));
    }

    #[test]
    fn passes_that_are_not_in_a_row_do_not_end_it() {
        let (slot, probe) = probed(&[Outcome::Ok; 5]);
        let penalty = Penalty::default();
        penalty.notice(&slot, 0);
        for outcome in [Outcome::Ok, Outcome::BadCode, Outcome::Ok] {
            probe(&slot, outcome);
            assert!(!penalty.has_passed(&slot, 0, PLAIN));
        }
        probe(&slot, Outcome::Ok);
        assert!(penalty.has_passed(&slot, 0, PLAIN));
    }

    #[test]
    fn a_later_failure_begins_it_anew() {
        let (slot, probe) = probed(&[]);
        let penalty = Penalty::default();
        penalty.notice_listed(&slot, 0, 100);
        probe(&slot, Outcome::Ok);
        penalty.notice_listed(&slot, 0, 100);
        probe(&slot, Outcome::Ok);
        assert!(penalty.has_passed(&slot, 0, PLAIN));
        penalty.notice_listed(&slot, 0, 101);
        assert!(!penalty.has_passed(&slot, 0, PLAIN));
    }

    #[test]
    fn a_peer_that_nginx_does_not_avoid_has_nothing_to_lose() {
        let (slot, probe) = probed(&[]);
        let penalty = Penalty::default();
        penalty.notice(&slot, 0);
        probe(&slot, Outcome::Ok);
        probe(&slot, Outcome::Ok);
        assert!(penalty.has_passed(&slot, 0, PLAIN) && !penalty.is_over(&slot, 0, PLAIN));
        penalty.notice_listed(&slot, 0, 100);
        assert!(penalty.is_over(&slot, 0, PLAIN));
    }

    #[test]
    fn what_nginx_no_longer_avoids_is_forgotten_at_the_second_look() {
        let (slot, _) = probed(&[]);
        let penalty = Penalty::default();
        penalty.notice(&slot, 0);
        penalty.forget_unlisted();
        assert!(penalty.earliest_end(PLAIN).is_some());
        penalty.notice_listed(&slot, 0, 1);
        penalty.forget_unlisted();
        assert!(penalty.earliest_end(PLAIN).is_some());
        penalty.forget_unlisted();
        assert!(penalty.earliest_end(PLAIN).is_none());
    }

    #[test]
    fn with_a_fast_delay_it_lasts_for_a_delay_however_many_pass() {
        let (slot, probe) = probed(&[]);
        let (penalty, rule) = (Penalty::default(), Rule { rise: 2, rest: 1_000 });
        penalty.notice(&slot, 5_000);
        for _ in 0..9 {
            probe(&slot, Outcome::Ok);
        }
        assert_eq!(penalty.earliest_end(rule), Some(6_000));
        assert!(!penalty.has_passed(&slot, 5_999, rule) && penalty.has_passed(&slot, 6_000, rule));
    }
}
