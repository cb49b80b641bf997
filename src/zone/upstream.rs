//! The record of one upstream.

use core::sync::atomic::{AtomicU64, Ordering};

use healthcheck_core::programs::{command_time, is_cooling};
use healthcheck_core::Msec;

use super::table::{Entry, Record};

/// What the machine knows of one upstream.
#[repr(C, align(64))]
pub(crate) struct UpstreamCell {
    /// Key: the upstream's name.
    entry: Entry,
    /// Grows with every flip of a peer or program; what a process mirrors is older while this
    /// differs.
    generation: AtomicU64,
    /// The round of starts. Requests that find no usable program wait for one round, in which each
    /// program is started at most once; when it is over without success, they end.
    round: AtomicU64,
    /// When a command was last accepted, see [`command_time`].
    last_command: AtomicU64,
    /// When the load is computed next, monotonic ms; 0 = not begun.
    load_due: AtomicU64,
    /// Requests that had begun when the load was computed last.
    load_base: AtomicU64,
    /// The last computed load, plus 1; 0 = none yet.
    load: AtomicU64,
    /// Requests of the last interval.
    load_requests: AtomicU64,
    /// Requests that processes counted which are gone.
    departed: AtomicU64,
}

/// That a command was accepted.
#[derive(Clone, Copy)]
pub(crate) struct Note {
    /// What was noted.
    time: u64,
    /// What had been noted before.
    before: u64,
}

impl Record for UpstreamCell {
    fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl UpstreamCell {
    /// Prepares a vacant record for a new upstream. The generation goes on.
    pub(crate) fn reset(&self) {
        for word in self.words() {
            word.store(0, Ordering::Relaxed);
        }
        self.round.store(1, Ordering::Relaxed);
    }

    /// Takes over what another zone knew of the same upstream; `requests` had begun there.
    pub(crate) fn copy_from(&self, old: &UpstreamCell, requests: u64) {
        for (new, old) in self.words().into_iter().zip(old.words()) {
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.departed.store(requests, Ordering::Relaxed);
    }

    /// Every word but the key and the generation.
    fn words(&self) -> [&AtomicU64; 7] {
        [
            &self.round,
            &self.last_command,
            &self.load_due,
            &self.load_base,
            &self.load,
            &self.load_requests,
            &self.departed,
        ]
    }

    /// The generation, to be bumped after a record was written and read before it is.
    pub(crate) fn generation(&self) -> &AtomicU64 {
        &self.generation
    }

    /// The round of starts; never 0 in a record in use.
    pub(crate) fn round(&self) -> u64 {
        self.round.load(Ordering::Acquire)
    }

    /// Ends `round`, unless another process has; `true` if this call did.
    pub(crate) fn end_round(&self, round: u64) -> bool {
        let next = round.wrapping_add(1);
        self.round.compare_exchange(round, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether a command that is subject to the cooldown has to be refused.
    pub(crate) fn is_cooling(&self, now: Msec, cooldown: Msec) -> bool {
        is_cooling(self.last_command.load(Ordering::Relaxed), now, cooldown)
    }

    /// Notes that a command was accepted. Returns what takes the note back.
    pub(crate) fn set_last_command(&self, now: Msec) -> Note {
        let time = command_time(now);
        Note { time, before: self.last_command.swap(time, Ordering::Relaxed) }
    }

    /// Takes the note of a command back that has failed, unless another one was accepted since.
    pub(crate) fn forget_command(&self, Note { time, before }: Note) {
        let _ =
            self.last_command.compare_exchange(time, before, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Requests that processes counted which are gone.
    pub(crate) fn departed(&self) -> &AtomicU64 {
        &self.departed
    }

    /// Makes this process the one that computes the load at `now`, once an interval on the machine.
    /// The first call only begins the first interval, and `requests` is counted from there.
    pub(crate) fn begin_load_report(
        &self,
        now: Msec,
        interval: Msec,
        requests: impl Fn() -> u64,
    ) -> Option<u64> {
        let due = self.load_due.load(Ordering::Relaxed);
        if due != 0 && now < due {
            return None;
        }
        let next = now.saturating_add(interval);
        self.load_due.compare_exchange(due, next, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        let total = requests();
        let before = self.load_base.swap(total, Ordering::AcqRel);
        // A killed worker's last requests may be counted a moment later.
        (due != 0).then(|| total.saturating_sub(before))
    }

    /// Notes a computed load.
    pub(crate) fn set_load(&self, load: u64, requests: u64) {
        self.load.store(load.saturating_add(1), Ordering::Relaxed);
        self.load_requests.store(requests, Ordering::Relaxed);
    }

    /// The last computed load, and the requests of that interval.
    pub(crate) fn load(&self) -> Option<(u64, u64)> {
        let load = self.load.load(Ordering::Relaxed).checked_sub(1)?;
        Some((load, self.load_requests.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell() -> UpstreamCell {
        // SAFETY: a cell consists of atomics, for which zero is valid.
        let cell: UpstreamCell = unsafe { core::mem::zeroed() };
        cell.reset();
        cell
    }

    #[test]
    fn a_round_is_ended_once() {
        let cell = cell();
        let round = cell.round();
        assert!(cell.end_round(round) && !cell.end_round(round));
        assert_eq!(cell.round(), round + 1);
    }

    #[test]
    fn the_load_is_computed_once_an_interval_over_the_requests_since_the_last_time() {
        let cell = cell();
        assert_eq!(cell.begin_load_report(1_000, 60_000, || 100), None, "the first begins one");
        assert_eq!(cell.begin_load_report(60_999, 60_000, || 400), None);
        assert_eq!(cell.begin_load_report(61_000, 60_000, || 400), Some(300));
        assert_eq!(cell.begin_load_report(61_000, 60_000, || 400), None, "another worker did");
        // A killed worker's requests are missing for a moment.
        assert_eq!(cell.begin_load_report(121_000, 60_000, || 350), Some(0));
    }

    #[test]
    fn the_cooldown_begins_with_an_accepted_command() {
        let cell = cell();
        assert!(!cell.is_cooling(5, 30_000));
        cell.set_last_command(5);
        assert!(cell.is_cooling(30_004, 30_000) && !cell.is_cooling(30_005, 30_000));
    }

    #[test]
    fn a_command_that_has_failed_begins_no_cooldown() {
        let cell = cell();
        cell.set_last_command(5);
        let failed = cell.set_last_command(40_000);
        cell.forget_command(failed);
        assert!(!cell.is_cooling(40_001, 30_000));
        let failed = cell.set_last_command(50_000);
        cell.set_last_command(50_001);
        cell.forget_command(failed);
        assert!(cell.is_cooling(50_002, 30_000), "another one was accepted since");
    }
}
