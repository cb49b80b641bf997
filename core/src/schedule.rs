//! When probes begin: the period, the spread of the first ones, the machine's pace, stalls.

use crate::check::Check;
use crate::health::Health;
use crate::Msec;

/// Timers are rounded up to this, so that one wake-up serves many probes.
pub const TICK: Msec = 10;

/// At most this many probes begin in one [`TICK`] on the machine.
pub const PACE: u64 = 100;

const PACE_BITS: u32 = 16;

/// Ticks by which one worker's clock may be behind another's.
const MAX_LAG: u64 = 100;

/// When the next probe is due that follows one begun at `started` for the time `due`.
///
/// The period is the delay, start to start. It is counted from `due` unless the worker was later
/// than [`patience`], so that neither rounding to ticks nor a busy moment stretches the period, and
/// peers that had to wait together do not go on together.
pub fn next_due(due: Msec, started: Msec, delay: Msec) -> Msec {
    let on_time = started >= due && started - due <= patience(delay);
    let base = if on_time { due } else { started };
    base.saturating_add(delay)
}

/// When the first probe under a new lease is due, at `now`, where the slot says `next_due`: never
/// later than `latest` from now. One that has waited for no longer than [`patience`] keeps its phase.
pub fn due_under_new_lease(next_due: Msec, now: Msec, delay: Msec, latest: Msec) -> Msec {
    if next_due < now && now - next_due <= patience(delay) {
        return next_due;
    }
    next_due.clamp(now, now.saturating_add(latest))
}

/// How late a probe may begin without the ones after it being put off too: half the delay, at least
/// two ticks.
fn patience(delay: Msec) -> Msec {
    (delay / 2).max(2 * TICK)
}

/// `next_due` once the probe has ended: never sooner than a tenth of the delay after its end, so
/// that a peer slower than the delay is not probed without pause.
pub fn due_after_end(next_due: Msec, ended: Msec, delay: Msec) -> Msec {
    next_due.max(ended.saturating_add(delay / 10))
}

/// When a peer may be probed out of turn at the earliest, whose last probe began at `started`: `fast`
/// after that start.
pub fn earliest_on_demand(now: Msec, started: Msec, fast: Msec) -> Msec {
    started.saturating_add(fast).max(now)
}

/// When the next probe is due of a peer that is probed fast, after one that began at `started` and
/// has ended: never sooner than `fast` after that start, nor than a tenth of it after that end.
pub fn fast_due(started: Msec, ended: Msec, fast: Msec) -> Msec {
    due_after_end(started.saturating_add(fast), ended, fast)
}

/// A probe that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// When it began.
    pub started: Msec,
    /// When it ended.
    pub ended: Msec,
    /// When the next one is due by the delay ([`next_due`]).
    pub next_due: Msec,
    /// Whether another one was asked for meanwhile, out of turn.
    pub is_wanted: bool,
}

/// When the next probe is due of a peer whose last one has left it at `health`.
pub fn due_after_verdict(check: &Check, health: Health, probe: Ended) -> Msec {
    let Ended { started, ended, next_due, is_wanted } = probe;
    let regular = due_after_end(next_due, ended, check.delay);
    match check.fast_delay {
        Some(fast) if is_wanted || health.is_undecided(check.fall, check.rise) => {
            // Where two ticks are all there is between the delays, the other may be sooner; not so where
            // the last probe was late.
            let soonest = started.saturating_add(fast).saturating_sub(2 * TICK);
            fast_due(started, ended, fast).min(regular.max(soonest))
        }
        None if is_wanted => ended,
        _ => regular,
    }
}

/// When the holder of a lease must at the latest have begun the next probe after one begun at
/// `started`.
pub fn latest_next_start(started: Msec, delay: Msec, timeout: Msec) -> Msec {
    started.saturating_add(delay.max(timeout.saturating_add(delay / 10)))
}

/// Offset of the first probe of peer number `rank` out of `total`: spread evenly over the delay,
/// at most over one second.
pub fn first_offset(rank: usize, total: usize, delay: Msec) -> Msec {
    let span = delay.min(1_000);
    let (Ok(rank), Ok(total)) = (u64::try_from(rank), u64::try_from(total)) else {
        return 0;
    };
    span.saturating_mul(rank % total.max(1)) / total.max(1)
}

/// The tick that `time` is in.
pub fn tick_of(time: Msec) -> u64 {
    time / TICK
}

/// One more probe at time `now`: the machine's pace word after it, or `None` when this tick is
/// full and the probe has to wait for the next one.
///
/// The word counts the probes begun in a tick; 0 is valid and means "none yet".
pub fn admit(word: u64, now: Msec) -> Option<u64> {
    // The clocks of two workers differ by a tick or so: the slower one counts into the newer tick.
    let newest = word >> PACE_BITS;
    let now = tick_of(now) & (u64::MAX >> PACE_BITS);
    let tick = if newest > now && newest - now <= MAX_LAG { newest } else { now };
    let begun = if newest == tick { word & ((1 << PACE_BITS) - 1) } else { 0 };
    (begun < PACE).then_some((tick << PACE_BITS) | (begun + 1))
}

/// Whether an event loop that woke `late` milliseconds after the time it had asked for was stalled
/// so long that a probe with this `timeout` cannot be judged by its clock.
pub fn is_stall(late: Msec, timeout: Msec) -> bool {
    late > (timeout / 4).max(50)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CheckDraft;
    use crate::outcome::Outcome;

    #[test]
    fn the_period_runs_from_start_to_start_without_drift() {
        assert_eq!(next_due(1_000, 1_009, 300), 1_300);
        assert_eq!(next_due(1_000, 1_150, 300), 1_300);
        assert_eq!(next_due(1_000, 1_151, 300), 1_451);
        assert_eq!(next_due(1_000, 990, 300), 1_290);
    }

    #[test]
    fn a_new_lease_keeps_the_phase_of_a_probe_that_is_a_little_late() {
        let due = |next_due, latest| due_under_new_lease(next_due, 10_000, 1_000, latest);
        assert_eq!((due(9_500, 1_000), due(9_499, 1_000)), (9_500, 10_000));
        assert_eq!((due(10_300, 1_000), due(90_000, 1_000)), (10_300, 11_000));
        assert_eq!((due(9_900, 0), due(10_300, 0)), (9_900, 10_000));
    }

    #[test]
    fn a_slow_peer_rests_a_tenth_of_the_delay() {
        assert_eq!(due_after_end(1_300, 1_100, 300), 1_300);
        assert_eq!(due_after_end(1_300, 1_290, 300), 1_320);
        assert_eq!(latest_next_start(1_000, 300, 200), 1_300);
        assert_eq!(latest_next_start(1_000, 300, 2_000), 3_030);
    }

    #[test]
    fn a_probe_on_demand_begins_a_fast_delay_after_the_last_one_at_the_earliest() {
        assert_eq!(earliest_on_demand(5_000, 1_000, 100), 5_000);
        assert_eq!(earliest_on_demand(5_000, 4_960, 100), 5_060);
        assert_eq!(earliest_on_demand(5_000, 0, 100), 5_000);
        assert_eq!(earliest_on_demand(5_000, 5_010, 100), 5_110);
        assert_eq!(earliest_on_demand(5_000, u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn fast_probes_follow_their_starts_and_rest_a_tenth() {
        assert_eq!(fast_due(1_000, 1_001, 100), 1_100);
        assert_eq!(fast_due(1_000, 1_095, 100), 1_105);
        assert_eq!(fast_due(1_000, 3_000, 100), 3_010);
    }

    #[test]
    fn the_fast_delay_is_for_undecided_peers_and_probes_out_of_turn() {
        let check = |fast_delay| {
            let draft = CheckDraft { delay: Some(1_000), fast_delay, ..CheckDraft::default() };
            draft.finish(b"backend")
        };
        let (fast, plain) = (check(Some(100)), check(None));
        let undecided = Health::default().observe(Outcome::Ok, 2, 2).0;
        let decided = undecided.observe(Outcome::Ok, 2, 2).0;
        let ended = |is_wanted| Ended { started: 5_000, ended: 5_003, next_due: 5_998, is_wanted };

        assert_eq!(due_after_verdict(&fast, undecided, ended(false)), 5_100);
        assert_eq!(due_after_verdict(&fast, decided, ended(false)), 5_998);
        assert_eq!(due_after_verdict(&fast, decided, ended(true)), 5_100);
        assert_eq!(due_after_verdict(&plain, undecided, ended(false)), 5_998);
        assert_eq!(due_after_verdict(&plain, decided, ended(true)), 5_003);
        let same = check(Some(1_000));
        assert_eq!(due_after_verdict(&same, undecided, ended(false)), 5_998);
        let late = Ended { next_due: 5_500, ..ended(false) };
        assert_eq!(due_after_verdict(&same, undecided, late), 5_980);
    }

    #[test]
    fn first_probes_are_spread_over_a_second_at_most() {
        assert_eq!(first_offset(0, 4, 10_000), 0);
        assert_eq!(first_offset(3, 4, 10_000), 750);
        assert_eq!(first_offset(3, 4, 400), 300);
        assert_eq!(first_offset(9, 0, 400), 0);
    }

    #[test]
    fn a_tick_admits_a_hundred_probes() {
        let mut word = 0;
        for _ in 0..PACE {
            word = admit(word, 12_345).expect("room");
        }
        assert_eq!(admit(word, 12_349), None);
        assert!(admit(word, 12_350).is_some());
    }

    #[test]
    fn a_worker_that_is_a_tick_behind_does_not_reset_the_count() {
        let mut word = 0;
        for round in 0..PACE {
            word = admit(word, if round % 2 == 0 { 1_010 } else { 1_000 }).expect("room");
        }
        assert_eq!((admit(word, 1_000), admit(word, 1_010)), (None, None));
        assert!(admit(word, 1_020).is_some());
    }

    #[test]
    fn a_stall_is_more_than_50_ms_and_a_quarter_of_the_timeout() {
        assert!(!is_stall(50, 100) && is_stall(51, 100));
        assert!(!is_stall(500, 2_000) && is_stall(501, 2_000));
    }
}
