//! The record of one upstream.

use core::mem::size_of;
use core::sync::atomic::{fence, AtomicU64, Ordering};

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
    /// Programs that were up when the load was computed.
    load_active: AtomicU64,
    /// How often the load was computed, twice; odd while it is being written.
    load_number: AtomicU64,
    /// The last computed load upon which a balancer has given a command, by `load_number`.
    load_answered: AtomicU64,
    /// Requests that processes counted which are gone.
    departed: AtomicU64,
}

const _: () = assert!(size_of::<UpstreamCell>() == 128);

/// The load of an upstream in one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ComputedLoad {
    /// Hundredths of a request per second and active program.
    pub(crate) load: u64,
    /// Requests that began.
    pub(crate) requests: u64,
    /// Programs that were up.
    pub(crate) active: u64,
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
    fn words(&self) -> [&AtomicU64; 10] {
        [
            &self.round,
            &self.last_command,
            &self.load_due,
            &self.load_base,
            &self.load,
            &self.load_requests,
            &self.load_active,
            &self.load_number,
            &self.load_answered,
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
    pub(crate) fn set_load(&self, computed: ComputedLoad) {
        // Odd also where a process was killed here: the next one to compute a load goes on.
        let number = self.load_number.load(Ordering::Relaxed) | 1;
        self.load_number.store(number, Ordering::Relaxed);
        fence(Ordering::Release);
        self.load.store(computed.load.saturating_add(1), Ordering::Relaxed);
        self.load_requests.store(computed.requests, Ordering::Relaxed);
        self.load_active.store(computed.active, Ordering::Relaxed);
        self.load_number.store(number.wrapping_add(1), Ordering::Release);
    }

    /// The last computed load.
    pub(crate) fn load(&self) -> Option<ComputedLoad> {
        let load = self.load.load(Ordering::Relaxed).checked_sub(1)?;
        let requests = self.load_requests.load(Ordering::Relaxed);
        Some(ComputedLoad { load, requests, active: self.load_active.load(Ordering::Relaxed) })
    }

    /// Tells one computed load from the next.
    pub(crate) fn load_number(&self) -> u64 {
        self.load_number.load(Ordering::Acquire) & !1
    }

    /// The last computed load and its number, if that is another one than `seen`; `None` also while
    /// it is being written.
    pub(crate) fn load_after(&self, seen: u64) -> Option<(u64, ComputedLoad)> {
        let number = self.load_number.load(Ordering::Acquire);
        let computed = self.load()?;
        fence(Ordering::Acquire);
        let is_whole = number & 1 == 0 && self.load_number.load(Ordering::Relaxed) == number;
        (is_whole && number != seen).then_some((number, computed))
    }

    /// Makes this process the one whose balancer gives a command upon the load with this number;
    /// `false` when another process's has.
    pub(crate) fn answer_load(&self, number: u64) -> bool {
        let before = self.load_answered.load(Ordering::Relaxed);
        before != number
            && self
                .load_answered
                .compare_exchange(before, number, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// Takes the answer to a load back that came to nothing.
    pub(crate) fn forget_answer(&self, number: u64) {
        let none = number.wrapping_sub(1);
        let _ =
            self.load_answered.compare_exchange(number, none, Ordering::Relaxed, Ordering::Relaxed);
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
    fn every_process_sees_each_computed_load_once() {
        let cell = cell();
        let seen = cell.load_number();
        assert_eq!(cell.load_after(seen), None);
        let computed = ComputedLoad { load: 7, requests: 8, active: 9 };
        cell.set_load(computed);
        let after = cell.load_after(seen);
        assert_eq!(after.map(|(_, load)| load), Some(computed));
        assert_eq!(after.map(|(number, _)| number), Some(cell.load_number()));
        assert_eq!(cell.load_after(cell.load_number()), None);
    }

    #[test]
    fn one_process_answers_a_load() {
        let cell = cell();
        cell.set_load(ComputedLoad { load: 0, requests: 0, active: 0 });
        let number = cell.load_number();
        assert!(cell.answer_load(number) && !cell.answer_load(number));
        cell.forget_answer(number);
        assert!(cell.answer_load(number));
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
