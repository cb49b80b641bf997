//! Peers that nginx avoids for `max_fails`: they lose that penalty when their probes have passed since.

use healthcheck_core::check::Check;
use healthcheck_core::Msec;

use super::Worker;
use crate::balancer::penalty::Rule;
use crate::balancer::Mirror;
use crate::nginx::process::now;

/// How often a process looks whether a peer may lose its penalty, while one that requests have failed
/// at waits for that. Nobody tells it: the passes are another process's.
const LOOK_EVERY: Msec = 100;

impl Worker {
    /// Finds the peers that nginx avoids now, and those that it need not avoid any longer.
    pub(super) fn review_penalties(&mut self) {
        let now = now();
        for (mirror, check) in self.checked() {
            mirror.review_penalties(now, Rule::of(check));
        }
        self.plan_look();
    }

    /// As `review_penalties`, for peers that are known to be avoided.
    pub(super) fn look_for_penalties(&mut self) {
        let now = now();
        for (mirror, check) in self.checked() {
            let rule = Rule::of(check);
            if mirror.has_passed_since(now, rule) {
                mirror.review_penalties(now, rule);
            }
        }
        self.plan_look();
    }

    /// Has the process look again when a peer's penalty may end, where that may be before the next look
    /// around.
    pub(super) fn plan_look(&mut self) {
        let fast = self.checked().filter(|(_, check)| check.fast_delay.is_some());
        let next = fast.filter_map(|(mirror, check)| mirror.next_pardon(Rule::of(check))).min();
        self.next_look = next.map(|at| at.max(now().saturating_add(LOOK_EVERY)));
    }

    /// The upstreams that are probed.
    fn checked(&self) -> impl Iterator<Item = (&Mirror, &Check)> {
        self.watches.iter().filter_map(|watch| Some((&watch.mirror, watch.check.as_deref()?)))
    }
}
