//! Hysteresis: how outcomes in a row turn a peer down and up again, in one 64-bit word.
//!
//! The word is what a slot in shared memory keeps; publishing a verdict is one compare-and-swap on
//! it. This file does not touch shared memory: it maps an old word to a new one.

use crate::outcome::{Outcome, Verdict};

const DOWN: u64 = 1;
const FAILED: u64 = 1 << 1;
const OUTCOME_SHIFT: u32 = 2;
const OUTCOME_MASK: u64 = 0x3f;
const RUN_SHIFT: u32 = 8;
const RUN_MASK: u64 = 0x7f_ffff;
const AWAITED: u64 = 1 << 31;
const EPOCH_SHIFT: u32 = 32;

/// Epoch, run count, last outcome and health of one peer.
///
/// Bit 0: down. Bit 1: the last outcome failed. Bits 2-7: the last outcome
/// ([`Outcome::bits`], 0 = none yet). Bits 8-30: equal verdicts in a row. Bit 31: down until the first
/// pass. Bits 32-63: the lease epoch. Zero is valid and means "unknown, counts as up".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health(u64);

/// A change of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flip {
    /// `fall` failures in a row were reached.
    Down,
    /// `rise` passes in a row were reached.
    Up,
}

impl Health {
    /// The largest run count that is kept; longer runs stay there.
    pub const MAX_RUN: u32 = 0x7f_ffff;

    /// The word as a slot stores it.
    pub const fn from_bits(bits: u64) -> Health {
        Health(bits)
    }

    /// What a slot stores.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether the peer is out of rotation.
    pub const fn is_down(self) -> bool {
        self.0 & DOWN != 0
    }

    /// Whether the last finished probe failed.
    pub const fn last_failed(self) -> bool {
        self.0 & FAILED != 0
    }

    /// How the last probe ended; `None` before the first one.
    pub fn outcome(self) -> Option<Outcome> {
        u8::try_from((self.0 >> OUTCOME_SHIFT) & OUTCOME_MASK).ok().and_then(Outcome::from_bits)
    }

    /// Equal verdicts in a row, 0 before the first probe, at most [`Health::MAX_RUN`].
    pub fn run(self) -> u32 {
        u32::try_from((self.0 >> RUN_SHIFT) & RUN_MASK).unwrap_or(Health::MAX_RUN)
    }

    /// Whether the last outcomes do not settle yet what the peer is: fewer than `fall` failures, or
    /// fewer than `rise` passes, in a row. So is a peer without an outcome.
    pub fn is_undecided(self, fall: u32, rise: u32) -> bool {
        let settles = if self.last_failed() { fall } else { rise };
        self.outcome().is_none() || self.run() < settles
    }

    /// Whether at least `rise` passes in a row, the last one included, say that an up peer is fit.
    pub fn is_fit(self, rise: u32) -> bool {
        !self.is_down() && !self.last_failed() && !self.is_undecided(1, rise)
    }

    /// Counts takeovers of the peer's lease, modulo 2^32. A verdict is only published under the
    /// epoch it was probed in, so a worker that lost its lease while it was stopped cannot publish.
    pub const fn epoch(self) -> u64 {
        self.0 >> EPOCH_SHIFT
    }

    /// The same health under the next epoch.
    pub const fn next_epoch(self) -> Health {
        let epoch = (self.epoch() + 1) & (u64::MAX >> EPOCH_SHIFT);
        Health((self.0 & ((1 << EPOCH_SHIFT) - 1)) | (epoch << EPOCH_SHIFT))
    }

    /// Whether the peer was just started, and is down until its first pass.
    pub const fn is_awaited(self) -> bool {
        self.0 & AWAITED != 0
    }

    /// The health of a peer that was just started: nothing is known of it, and it is down until its
    /// first pass. Failures before that are no verdict: it may not listen yet.
    pub const fn awaited(self) -> Health {
        Health((self.epoch() << EPOCH_SHIFT) | AWAITED | DOWN)
    }

    /// The same health without patience: a peer that has not passed so far is down like any other.
    pub const fn given_up(self) -> Health {
        Health(self.0 & !AWAITED)
    }

    /// The word after one more probe, and the change of health it causes, if any.
    ///
    /// `fall` failures in a row take the peer down, `rise` passes in a row bring it back; both
    /// at least 1 (0 acts as 1).
    pub fn observe(self, outcome: Outcome, fall: u32, rise: u32) -> (Health, Option<Flip>) {
        let failed = outcome.verdict() == Verdict::Fail;
        let same = self.outcome().is_some() && self.last_failed() == failed;
        let run = if same { self.run().saturating_add(1).min(Health::MAX_RUN) } else { 1 };
        let flip = match (self.is_down(), failed) {
            (false, true) if run >= fall => Some(Flip::Down),
            (true, false) if run >= rise || self.is_awaited() => Some(Flip::Up),
            _ => None,
        };
        let down = match flip {
            Some(Flip::Down) => true,
            Some(Flip::Up) => false,
            None => self.is_down(),
        };
        let word = (self.epoch() << EPOCH_SHIFT)
            | (u64::from(run) << RUN_SHIFT)
            | (u64::from(outcome.bits()) << OUTCOME_SHIFT)
            | if failed { FAILED } else { 0 }
            | if down { DOWN } else { 0 }
            | if down { self.0 & AWAITED } else { 0 };
        (Health(word), flip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(outcomes: &[Outcome], fall: u32, rise: u32) -> (Health, Vec<Flip>) {
        let mut health = Health::default();
        let mut flips = Vec::new();
        for outcome in outcomes {
            let (next, flip) = health.observe(*outcome, fall, rise);
            health = next;
            flips.extend(flip);
        }
        (health, flips)
    }

    #[test]
    fn zero_is_unknown_and_up() {
        let health = Health::from_bits(0);
        assert!(!health.is_down() && !health.last_failed());
        assert_eq!((health.outcome(), health.run(), health.epoch()), (None, 0, 0));
    }

    #[test]
    fn fall_failures_in_a_row_take_a_peer_down_once() {
        let (health, flips) = after(&[Outcome::BadCode; 5], 2, 2);
        assert!(health.is_down());
        assert_eq!(flips, [Flip::Down]);
        assert_eq!(health.run(), 5);
    }

    #[test]
    fn a_pass_between_failures_restarts_the_run() {
        let (health, flips) =
            after(&[Outcome::BadCode, Outcome::BadCode, Outcome::Ok, Outcome::TimedOut], 3, 3);
        assert!(!health.is_down() && health.last_failed());
        assert_eq!((health.run(), flips.len()), (1, 0));
    }

    #[test]
    fn different_failures_count_as_one_run() {
        let (health, _) = after(&[Outcome::BadCode, Outcome::TimedOut], 2, 1);
        assert!(health.is_down());
        assert_eq!(health.outcome(), Some(Outcome::TimedOut));
    }

    #[test]
    fn recovery_needs_rise_passes() {
        let down = [Outcome::BadBody; 2];
        let (one, _) = after(&[&down[..], &[Outcome::Ok]].concat(), 2, 2);
        assert!(one.is_down() && !one.last_failed());
        let (two, flips) = after(&[&down[..], &[Outcome::Ok; 2]].concat(), 2, 2);
        assert!(!two.is_down());
        assert_eq!(flips, [Flip::Down, Flip::Up]);
    }

    #[test]
    fn a_peer_is_undecided_until_the_same_verdict_came_often_enough() {
        let undecided = |outcomes: &[Outcome]| after(outcomes, 2, 3).0.is_undecided(2, 3);
        let (pass, fail) = (Outcome::Ok, Outcome::BadCode);
        assert!(undecided(&[]) && undecided(&[pass]) && undecided(&[pass, pass]));
        assert!(!undecided(&[pass; 3]) && !undecided(&[pass; 9]));
        assert!(undecided(&[pass, pass, pass, fail]) && undecided(&[pass, fail, pass]));
        assert!(!undecided(&[pass, fail, fail]) && undecided(&[fail, fail, pass, pass]));
        assert!(Health::default().awaited().is_undecided(1, 1));
    }

    #[test]
    fn a_peer_is_fit_when_it_is_up_after_rise_passes() {
        let fit = |outcomes: &[Outcome]| after(outcomes, 2, 2).0.is_fit(2);
        let (pass, fail) = (Outcome::Ok, Outcome::BadCode);
        assert!(!fit(&[]) && !fit(&[pass]) && fit(&[pass; 2]));
        assert!(!fit(&[pass, pass, fail]) && !fit(&[fail, fail, pass]));
        assert!(fit(&[fail, fail, pass, pass]));
    }

    #[test]
    fn the_run_count_saturates() {
        let full = Health::from_bits(
            (u64::from(Health::MAX_RUN) << RUN_SHIFT) | (u64::from(Outcome::Ok.bits()) << 2),
        );
        let (next, _) = full.observe(Outcome::Ok, 2, 2);
        assert_eq!(next.run(), Health::MAX_RUN);
        assert_eq!(next.epoch(), 0);
    }

    #[test]
    fn an_awaited_peer_is_down_until_its_first_pass_however_often_it_fails() {
        let (sick, _) = after(&[Outcome::BadCode; 2], 2, 2);
        let awaited = sick.next_epoch().awaited();
        assert!(awaited.is_down() && awaited.outcome().is_none());
        assert_eq!((awaited.run(), awaited.epoch()), (0, 1));
        let (failed, flip) = awaited.observe(Outcome::BadConnection, 1, 5);
        assert!(failed.is_awaited() && failed.is_down() && flip.is_none());
        let (passed, flip) = failed.observe(Outcome::Ok, 1, 5);
        assert_eq!((passed.is_awaited(), passed.is_down(), flip), (false, false, Some(Flip::Up)));
        assert!(failed.given_up().is_down() && !failed.given_up().is_awaited());
    }

    #[test]
    fn a_new_epoch_keeps_the_health_and_wraps() {
        let (health, _) = after(&[Outcome::BadCode; 2], 2, 2);
        let next = health.next_epoch();
        assert_eq!((next.epoch(), next.run(), next.is_down()), (1, 2, true));
        let last = Health::from_bits(u64::MAX << EPOCH_SHIFT);
        assert_eq!(last.next_epoch().bits(), 0);
        assert_eq!(next.observe(Outcome::Ok, 1, 1).0.epoch(), 1);
    }
}
