//! Who may probe a peer, and until when: the lease word and the rules for taking one.
//!
//! Whether a pid is alive is a question for the caller; this file only decides.

use crate::Msec;

const PID_BITS: u32 = 22;
const PID_MASK: u64 = (1 << PID_BITS) - 1;

/// How long a lease outlives the latest moment at which its holder must have begun the next probe.
pub const GRACE: Msec = 1_000;

/// How long a worker leaves a foreign slot to the slot's home worker once the slot is free.
pub const HOME_ADVANTAGE: Msec = 1_000;

/// The right of one process to probe one peer, until a time.
///
/// Bits 0-21: the holder's pid (Linux: at most 2^22), 0 = free. Bits 22-63: the time on the
/// machine's monotonic millisecond clock at which the lease ends or, when free, was given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease(u64);

/// What the caller found out about the pid in a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// No pid is in the lease.
    Nobody,
    /// A live process of the running configuration, between two probes.
    Alive,
    /// The same, with a probe in flight.
    Probing,
    /// The pid is gone, or its process is one that no longer probes (it runs an older
    /// configuration), or it is the caller's own pid in a lease that the caller never took.
    Gone,
}

impl Lease {
    /// The word as a slot stores it.
    pub const fn from_bits(bits: u64) -> Lease {
        Lease(bits)
    }

    /// What a slot stores.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// A lease of `pid` until `until`.
    pub const fn held(pid: u32, until: Msec) -> Lease {
        Lease((until << PID_BITS) | (pid as u64 & PID_MASK))
    }

    /// A lease that nobody holds since `since`.
    pub const fn free(since: Msec) -> Lease {
        Lease::held(0, since)
    }

    /// The holder; 0 = free.
    pub fn pid(self) -> u32 {
        u32::try_from(self.0 & PID_MASK).unwrap_or(0)
    }

    /// When the lease ends or, if it is free, when it was given back.
    pub const fn time(self) -> Msec {
        self.0 >> PID_BITS
    }

    /// The earliest time at which a worker may take this lease from `holder`.
    ///
    /// The slot's home worker takes what is free at once, and what another worker holds between
    /// two of its probes: so shares even out, and no probe is lost. Other workers leave it
    /// [`HOME_ADVANTAGE`], but when the holder is gone no longer than half the `timeout` (at most 500 ms) past the time
    /// the next probe is due: a peer must be probed again within delay + timeout + 1 s after its
    /// prober was killed, also when no home worker comes back.
    pub fn claimable_at(
        self,
        holder: Holder,
        is_home: bool,
        next_due: Msec,
        timeout: Msec,
    ) -> Msec {
        match (holder, is_home) {
            (Holder::Nobody | Holder::Gone | Holder::Alive, true) => 0,
            (Holder::Nobody, false) => self.time().saturating_add(HOME_ADVANTAGE),
            (Holder::Gone, false) => next_due.saturating_add((timeout / 2).min(500)),
            (Holder::Probing, true) => self.time(),
            (Holder::Alive | Holder::Probing, false) => self.time().saturating_add(HOME_ADVANTAGE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_pid_and_time() {
        let lease = Lease::held(4_194_303, 1 << 40);
        assert_eq!((lease.pid(), lease.time()), (4_194_303, 1 << 40));
        assert_eq!(Lease::from_bits(lease.bits()), lease);
        assert_eq!((Lease::free(77).pid(), Lease::free(77).time()), (0, 77));
    }

    #[test]
    fn the_home_worker_takes_a_free_slot_at_once() {
        assert_eq!(Lease::free(9_000).claimable_at(Holder::Nobody, true, 0, 0), 0);
        assert_eq!(Lease::held(5, 9_000).claimable_at(Holder::Gone, true, 0, 0), 0);
    }

    #[test]
    fn a_foreign_worker_waits_a_second_for_the_home_worker() {
        assert_eq!(Lease::free(9_000).claimable_at(Holder::Nobody, false, 0, 0), 10_000);
        assert_eq!(Lease::held(5, 9_000).claimable_at(Holder::Alive, false, 0, 0), 10_000);
    }

    #[test]
    fn the_home_worker_takes_a_held_slot_between_two_probes() {
        assert_eq!(Lease::held(5, 9_000).claimable_at(Holder::Alive, true, 0, 0), 0);
        assert_eq!(Lease::held(5, 9_000).claimable_at(Holder::Probing, true, 0, 0), 9_000);
    }

    #[test]
    fn a_killed_holders_peer_is_claimable_within_the_timeout_of_its_next_probe() {
        let lease = Lease::held(5, 90_000);
        assert_eq!(lease.claimable_at(Holder::Gone, false, 10_000, 200), 10_100);
        assert_eq!(lease.claimable_at(Holder::Gone, false, 10_000, 60_000), 10_500);
    }
}
