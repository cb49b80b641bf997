//! Balancers that want to be told of their programs.

use healthcheck_core::key::Key;

use super::{with_worker, Worker};
use crate::conf::monitors::Status;
use crate::conf::{MainConf, UpstreamConf};
use crate::nginx::callbacks::{BackendMonitor, LoadMonitor};
use crate::nginx::upstream::Upstream;

/// Tells every balancer how its programs are, once the configuration can no longer fail and before
/// there are workers.
pub(crate) fn tell_first(conf: &MainConf) {
    let Some(zone) = conf.zone() else { return };
    for watched in conf.watched() {
        let lines = watched.managed.as_ref().map_or(0, |managed| managed.lines.len());
        for number in 0..lines {
            let key = Key::of_program(watched.upstream.name(), number);
            if let Some((_, cell)) = zone.programs.find(key) {
                let status = Status::of(cell.program());
                watched.conf.monitors.tell(watched.upstream, number, status);
            }
        }
    }
}

/// Tells the balancer of an upstream what is new of its programs. Nothing of the process may be
/// borrowed.
pub(crate) fn tell(conf: &UpstreamConf) {
    if conf.monitors.has_news() && conf.gate.is_open() {
        tell_watch(conf.gate.number());
    }
}

/// Tells the balancer of a watch what is new of its programs: each program's state at most once, as
/// what it is told may have it give the next command.
pub(super) fn tell_watch(watch: usize) {
    let mut number = 0;
    let next = |number| with_worker(|worker| worker.status_to_tell(watch, number)).flatten();
    while let Some((conf, upstream, status)) = next(number) {
        conf.monitors.tell(upstream, number, status);
        number += 1;
    }
    with_worker(|worker| worker.note_news(watch));
}

/// Has the states of programs told to `monitor`, at once and from now on, if this process watches the
/// upstream's.
pub(crate) fn set_backend(upstream: Upstream, monitor: BackendMonitor) {
    if let Some((watch, conf)) = with_worker(|worker| worker.managed(upstream)).flatten() {
        conf.monitors.set_backend(monitor);
        tell_watch(watch);
    }
}

/// Has the loads to come told to `monitor`, if this process watches the upstream.
pub(crate) fn set_load(upstream: Upstream, monitor: LoadMonitor) {
    with_worker(|worker| {
        let (watch, conf) = worker.managed(upstream)?;
        conf.monitors.set_load(monitor);
        let one = worker.watches.get_mut(watch)?;
        one.load_seen = one.cell.load_number();
        Some(())
    });
}

impl Worker {
    /// The watch of an upstream with managed programs, and its configuration.
    fn managed(&self, upstream: Upstream) -> Option<(usize, &'static UpstreamConf)> {
        let at = self.watches.iter().position(|watch| watch.upstream == upstream)?;
        let one = self.watches.get(at).filter(|watch| watch.programs.is_some())?;
        Some((at, one.conf))
    }

    /// Notes whether the balancer of a watch has to be told something, and has the process see to it.
    pub(super) fn note_news(&mut self, watch: usize) {
        let Some(one) = self.watches.get(watch) else { return };
        let Some(programs) = &one.programs else { return };
        one.conf.monitors.look(programs.statuses());
        self.has_calls |= one.conf.monitors.has_news();
    }

    /// The state of a program; `None` behind the last one, and where nobody is told.
    fn status_to_tell(
        &self,
        watch: usize,
        number: usize,
    ) -> Option<(&'static UpstreamConf, Upstream, Status)> {
        let one = self.watches.get(watch)?;
        one.conf.monitors.backend()?;
        let program = one.programs.as_ref()?.cell(number)?.program();
        Some((one.conf, one.upstream, Status::of(program)))
    }
}
