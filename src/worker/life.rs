//! The beginning and the end of a process's worker, and what its requests call.

use core::iter;
use std::sync::Arc;

use healthcheck_core::key::Key;
use healthcheck_core::wheel::Wheel;

use super::programs::Programs;
use super::references;
use super::roster::{Watch, NOWHERE};
use super::tasks::Tasks;
use super::trouble::Trouble;
use super::{forget, run, with_worker, Worker, SCAN_EVERY, WORKER};
use crate::balancer::{Gate, Mirror};
use crate::conf::{MainConf, Watched};
use crate::nginx::process::{now, pid, slot, worker_number, CycleId, ProcessLocal};
use crate::nginx::timer::Timer;
use crate::zone::layout::Process;
use crate::zone::Zone;

/// Whether this process works under a configuration that asks nothing of the module.
static IS_IDLE: ProcessLocal<bool> = ProcessLocal::new(false);

/// Whether this process works under a configuration that asks nothing of the module.
pub(super) fn is_idle() -> bool {
    IS_IDLE.with(|is_idle| *is_idle) == Some(true)
}

/// Starts the worker of this process under `conf`, as one of `workers`, in place of the one that
/// the process had. A configuration without checks and managed programs gets none.
pub(crate) fn start(conf: &MainConf, cycle: CycleId, workers: usize) {
    stop();
    let Some(zone) = conf.zone() else {
        IS_IDLE.with(|is_idle| *is_idle = true);
        return;
    };
    let (first, count) = conf.indices();
    references::open(cycle, first, count);
    let mut worker = Worker {
        zone,
        cycle,
        conf: address_of(conf),
        epoch: conf.epoch(),
        pid: pid(),
        number: worker_number(),
        process_slot: slot(),
        workers,
        watches: conf.watched().iter().filter_map(|watched| watch(zone, watched)).collect(),
        supervisords: Vec::new(),
        tasks: Tasks::default(),
        inquiries: Vec::new(),
        upgraded: None,
        has_calls: false,
        told: None,
        row: zone.row(slot()),
        peers: Vec::new(),
        unranked: false,
        by_slot: iter::repeat_n(NOWHERE, zone.slots.0.len()).collect(),
        wheel: Wheel::new(now()),
        due: Vec::new(),
        timer: Timer::new(run::on_timer),
        next_scan: now() + SCAN_EVERY,
        next_look: None,
        buffer: Box::default(),
        trouble: Trouble::default(),
        retired: false,
    };
    worker.begin();
    WORKER.with(|place| *place = Some(worker));
}

/// Ends this process's worker: its probes end without a verdict, its leases are free, its requests
/// pass the gates as if nothing was checked.
pub(crate) fn stop() {
    IS_IDLE.with(|is_idle| *is_idle = false);
    references::close();
    let worker = WORKER.with(Option::take).flatten();
    // Without a master, the configuration before this one may have dropped the module.
    if let Some(mut worker) = worker.filter(|worker| !worker.is_orphan()) {
        worker.end();
    }
}

/// Ends this process's worker if it runs under this configuration, which is about to go.
pub(crate) fn stop_under(conf: &MainConf) {
    let conf = address_of(conf);
    let is_its = |worker: &mut Option<Worker>| worker.as_ref().is_some_and(|w| w.conf == conf);
    if WORKER.with(is_its) == Some(true) {
        forget();
    }
}

/// Tells configurations apart.
fn address_of(conf: &MainConf) -> usize {
    core::ptr::from_ref(conf).addr()
}

/// Mirrors the newest health of the worker's upstream `number`; for a request whose gate is stale.
pub(crate) fn sync(number: usize) {
    with_worker(|worker| worker.sync(number));
}

/// Mirrors the newest health of an upstream in whose queue requests wait. `false` when nobody keeps
/// that health up to date any more: the process's worker has ended, a larger zone is in use, or the
/// running configuration has no such upstream. Where nothing was ever mirrored, nothing is missing.
pub(crate) fn attend(gate: &Gate) -> bool {
    if !gate.is_open() {
        return !gate.is_closed();
    }
    with_worker(|worker| worker.attend(gate.number())) == Some(true)
}

/// An upstream as the worker keeps it. Its cell was made when the zone was initialised.
fn watch(zone: Zone, watched: &Watched) -> Option<Watch> {
    let (place, cell) = zone.upstreams.find(Key::of_upstream(watched.upstream.name()))?;
    let programs = match &watched.managed {
        Some(managed) => Some(Programs::new(zone, watched.upstream, Arc::clone(managed))?),
        None => None,
    };
    Some(Watch {
        upstream: watched.upstream,
        conf: watched.conf,
        check: watched.check.clone(),
        mirror: Mirror::new(watched.upstream, cell.generation(), watched.own_bits),
        probes_marked_peers: watched.probes_marked_peers(),
        programs,
        place,
        cell,
        generation: cell.generation(),
        load_seen: cell.load_number(),
        complete: true,
    })
}

impl Worker {
    /// Announces the process, mirrors what is known before the first request, takes its leases.
    fn begin(&mut self) {
        let Worker { pid, number, epoch, .. } = *self;
        self.zone.enter(self.process_slot, Process { pid, number, epoch });
        for at in 0..self.watches.len() {
            if let Some(watch) = self.watches.get(at) {
                let is_listed_anew = watch.conf.is_listed_anew(watch.upstream);
                watch.conf.gate.open(at, watch.generation, is_listed_anew);
            }
            self.enlist_all(at);
            // The master has told what was so when the configuration was complete.
            self.note_news(at);
        }
        self.rank_peers();
        self.list_supervisords();
        self.claim_free(true);
        // While reloads follow each other faster than that, no worker lives to scan.
        self.reclaim();
        self.ask_all();
        self.arm();
    }

    /// The opposite of `begin`.
    fn end(&mut self) {
        self.retire();
        self.tasks = Tasks::default();
        self.inquiries.clear();
        for watch in &self.watches {
            watch.conf.gate.close();
        }
        self.zone.leave(self.process_slot, self.pid);
    }

    /// Mirrors a watch, if there is something new; whether its health is kept up to date.
    fn attend(&mut self, number: usize) -> bool {
        self.sync_if_stale(number);
        let cell = self.watches.get(number).map(|watch| watch.cell);
        // A program that is being started is waited for, whoever has the newer zone: who starts it
        // writes the result here.
        cell.is_some_and(|cell| self.zone.is_kept_up(cell)) || self.has_command(number)
    }
}
