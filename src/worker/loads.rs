//! Loads: computed once an interval on the machine, told to each process's balancer, acted upon.

use healthcheck_core::program::Cause;
use healthcheck_core::programs::{Generation, LoadReport, Target};
use healthcheck_core::Msec;

use super::{with_worker, Worker, SCAN_EVERY};
use crate::nginx::callbacks::{Load, LoadMonitor};
use crate::nginx::process::now;
use crate::nginx::upgrade;
use crate::nginx::upstream::Upstream;
use crate::zone::upstream::ComputedLoad;

/// A load that a balancer is about to be told.
struct Report {
    /// Whom to tell.
    monitor: LoadMonitor,
    /// Whose load.
    upstream: Upstream,
    /// The load.
    load: Load,
}

/// A load that a balancer is being told.
#[derive(Clone, Copy)]
pub(super) struct Told {
    /// Its upstream, by place among the worker's watches.
    pub(super) watch: usize,
    /// Which one.
    pub(super) number: u64,
}

/// Tells an upstream's balancer the newest load, if it does not know it yet. Nothing of the process
/// may be borrowed.
pub(super) fn report(watch: usize) {
    if let Some(Report { monitor, upstream, load }) =
        with_worker(|one| one.next_report(watch)).flatten()
    {
        monitor.tell(upstream, load);
        with_worker(|worker| worker.told = None);
    }
}

impl Worker {
    /// Computes the loads that are due, each once on the machine, and does what they ask for.
    pub(super) fn compute_loads(&mut self) {
        let (zone, now) = (self.zone, now());
        for watch in 0..self.watches.len() {
            let Some(one) = self.watches.get(watch) else { continue };
            let (cell, place, Some(programs)) = (one.cell, one.place, &one.programs) else {
                continue;
            };
            let (rule, interval) =
                (programs.managed.rule.load, programs.managed.rule.load_interval);
            let counted = cell.begin_load_report(now, interval, || zone.requests(place));
            let Some(requests) = counted else { continue };
            let words = programs.words();
            let active = words.iter().filter(|program| program.is_usable()).count();
            let report = LoadReport { requests, interval, active, programs: words.len() };
            let active = u64::try_from(active).unwrap_or(u64::MAX);
            cell.set_load(ComputedLoad { load: report.load(), requests, active });
            if let Some(command) = rule.and_then(|rule| report.wants(rule)) {
                self.ask_for(watch, command, Target::Load, Cause::Load);
            }
        }
    }

    /// Notes whether the binary is being upgraded, where that matters.
    pub(super) fn look_for_upgrade(&mut self) {
        if self.watches.iter().any(|watch| watch.programs.is_some()) {
            self.generation(0);
        }
    }

    /// Which of two generations this process counts as: one that has been alone for less than `interval`
    /// has not seen all requests of it, no more than one that is not alone yet.
    pub(super) fn generation(&mut self, interval: Msec) -> Generation {
        let (generation, now) = (upgrade::generation(), now());
        if generation != Generation::Only {
            self.upgraded = Some(now);
        }
        let alone = interval.saturating_add(SCAN_EVERY);
        match self.upgraded {
            Some(at) if generation == Generation::Only && now.saturating_sub(at) < alone => {
                Generation::Newer
            }
            _ => generation,
        }
    }

    /// What the balancer of a watch is to be told of its load, once. A process that is about to end
    /// tells nothing.
    fn next_report(&mut self, watch: usize) -> Option<Report> {
        let one = self.watches.get_mut(watch).filter(|_| !self.retired)?;
        let (monitor, programs) = (one.conf.monitors.load()?, one.programs.as_ref()?);
        let (number, computed) = one.cell.load_after(one.load_seen)?;
        one.load_seen = number;
        self.told = Some(Told { watch, number });
        let word = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let load = Load {
            load: word(computed.load),
            reqs: word(computed.requests),
            interval: word(programs.managed.rule.load_interval),
            aservers: word(computed.active),
            nservers: programs.count(),
        };
        Some(Report { monitor, upstream: one.upstream, load })
    }
}
