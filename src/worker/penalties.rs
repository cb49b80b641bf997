//! Peers that nginx avoids for `max_fails`: they lose that penalty when their probes have passed since.

use healthcheck_core::check::Check;
use healthcheck_core::Msec;

use super::Worker;
use crate::nginx::process::now;

/// How often a process looks whether a peer may lose its penalty, while one that requests have just
/// failed at waits for that. Nobody tells it: the passes are another process's.
const LOOK_EVERY: Msec = 100;

impl Worker {
    /// Finds the peers that nginx avoids now, and those that it need not avoid any longer.
    pub(super) fn review_penalties(&mut self) {
        for watch in &self.watches {
            if let Some(check) = &watch.check {
                watch.mirror.review_penalties(check.rise);
            }
        }
        self.next_look = None;
        self.look_soon();
    }

    /// As `review_penalties`, for peers that are known to be avoided.
    pub(super) fn look_for_penalties(&mut self) {
        for watch in &self.watches {
            if let Some(check) = &watch.check {
                if watch.mirror.has_passed_since(check.rise) {
                    watch.mirror.review_penalties(check.rise);
                }
            }
        }
        self.next_look = None;
        self.look_soon();
    }

    /// Has the process look soon, where a peer's penalty may end before the next look around.
    pub(super) fn look_soon(&mut self) {
        let is_fast = |check: &Check| check.fast_delay.is_some();
        let awaits = self.watches.iter().any(|watch| {
            watch.check.as_deref().is_some_and(is_fast) && watch.mirror.awaits_passes()
        });
        if awaits {
            self.next_look = Some(now() + LOOK_EVERY);
        }
    }
}
