//! Requests that wait: what wakes this process for them, and what it does then.
//!
//! A timer of its own, set only while a request waits: nginx's work on requests calls back into this
//! module, so it must not run in the worker's, while the worker is borrowed.

use core::num::NonZeroU32;

use healthcheck_core::Msec;

use super::{life, monitors, requests};
use crate::balancer::hold::LOOK_EVERY;
use crate::conf::UpstreamConf;
use crate::nginx::address::Address;
use crate::nginx::guard::guard;
use crate::nginx::process::{now, ProcessLocal};
use crate::nginx::proxied::{Admission, Balancer, Queue};
use crate::nginx::timer::Timer;

/// What this process knows of requests that wait; `None` before the first one did.
static DRAIN: ProcessLocal<Option<Drain>> = ProcessLocal::new(None);

/// The upstreams with requests that wait, and the time to look at them.
struct Drain {
    /// Set while `upstreams` is not empty.
    timer: Timer,
    /// When it fires; later than any time while it is not set.
    due: Msec,
    /// Every upstream in whose queue a request waits. The request keeps the configuration alive.
    upstreams: Vec<&'static UpstreamConf>,
}

impl Drain {
    /// Looks at the queues at `at`, or sooner.
    fn wake(&mut self, at: Msec) {
        if at < self.due && !self.upstreams.is_empty() {
            self.due = at;
            self.timer.set(at);
        }
    }

    /// The place of an upstream.
    fn place(&self, upstream: &UpstreamConf) -> Option<usize> {
        self.upstreams.iter().position(|other| core::ptr::eq(*other, upstream))
    }
}

/// Ends with this process, or with the configuration that it runs.
pub(crate) fn stop() {
    let _ = DRAIN.with(Option::take);
}

/// Looks at the queues at `at`, or sooner.
fn wake(at: Msec) {
    DRAIN.with(|drain| drain.as_mut().map(|drain| drain.wake(at)));
}

/// The process's timer for queues has fired.
fn on_timer() {
    // The timer is set again first, whatever happens in between.
    DRAIN.with(|drain| {
        if let Some(drain) = drain {
            drain.timer.fired();
            drain.due = Msec::MAX;
            drain.wake(now() + LOOK_EVERY);
        }
    });
    let mut at = 0;
    while let Some(upstream) = nth(at) {
        guard("queue", (), || look(upstream));
        // Its place may be another's now, which has not been looked at.
        if nth(at).is_some_and(|now| core::ptr::eq(now, upstream)) {
            at += 1;
        }
    }
}

/// The upstream at a place.
fn nth(at: usize) -> Option<&'static UpstreamConf> {
    DRAIN.with(|drain| drain.as_ref().and_then(|drain| drain.upstreams.get(at).copied())).flatten()
}

/// Looks at the queue of an upstream. Nothing of the process is borrowed meanwhile: nginx's work on
/// requests calls back into this file.
fn look(upstream: &'static UpstreamConf) {
    if !life::attend(&upstream.gate) {
        upstream.hold.close();
    }
    monitors::tell(upstream);
    let is_wanted = upstream.is_managed.get() && !upstream.hold.is_condemned();
    if is_wanted && !upstream.is_usable() {
        see_to_programs(upstream, upstream.hold.queue().last_ticket());
    }
    let next = upstream.hold.look(|| upstream.is_usable(), now());
    if let Some(at) = next {
        wake(at);
    }
}

/// Has a program started for the requests that wait, unless one is on its way. They wait for one
/// round of starts. Once that is over, those up to the ticket `old` end, and the others, if there are
/// any, wait for the next one.
fn see_to_programs(upstream: &UpstreamConf, old: u64) {
    let Some(round) = requests::round(upstream) else { return };
    let newest = upstream.hold.queue().last_ticket();
    if upstream.round.replace(round) != round {
        upstream.hold.fail_until(old);
        if old == newest {
            return;
        }
    }
    let after = requests::want_program(upstream);
    // None can be started.
    if after != Some(round) {
        upstream.hold.fail_until(newest);
        wake(now());
    }
}

impl Balancer for UpstreamConf {
    fn queue(&self) -> &Queue {
        self.hold.queue()
    }

    fn admit(&self, is_retry: bool) -> Admission {
        // A retry begins later than its request, which passed the gate.
        if is_retry && self.gate.is_behind() {
            life::sync(self.gate.number());
        }
        monitors::tell(self);
        self.hold.admit(self.is_usable(), is_retry)
    }

    fn admit_busy(&self) -> Admission {
        self.hold.admit_busy()
    }

    fn patience(&self) -> Msec {
        self.hold.patience()
    }

    fn parked(&'static self) {
        DRAIN.with(|drain| {
            let drain = drain.get_or_insert_with(|| Drain {
                timer: Timer::new(on_timer),
                due: Msec::MAX,
                upstreams: Vec::new(),
            });
            if drain.place(self).is_none() {
                drain.upstreams.push(self);
            }
            drain.wake(now() + LOOK_EVERY);
        });
        requests::held(self, self.hold.held());
        if self.is_managed.get() && !self.is_usable() {
            see_to_programs(self, self.hold.queue().last_ticket().saturating_sub(1));
        }
    }

    fn left(&'static self) {
        requests::held(self, self.hold.held());
        if self.hold.held() > 0 {
            return;
        }
        // At once: without a master, a configuration without connections may go at any time.
        DRAIN.with(|drain| {
            let Some(drain) = drain else { return };
            if let Some(at) = drain.place(self) {
                drain.upstreams.swap_remove(at);
            }
            if drain.upstreams.is_empty() {
                drain.timer.clear();
                drain.due = Msec::MAX;
            }
        });
    }

    fn picked(&'static self, address: &[u8]) -> Option<NonZeroU32> {
        requests::begins(self, address)
    }

    fn failed(&'static self, address: &Address) {
        if self.watches_failures.get() {
            requests::failed(self, address);
        }
    }

    fn released(&'static self, program: Option<NonZeroU32>, failed: bool, resuming: bool) {
        requests::ends(self, program, failed);
        // One of `max_conns` is free. Not while the queue is worked off: a request that gives back a
        // peer it could not connect to would wake the queue for ever.
        if !resuming && self.hold.held() > 0 {
            wake(now());
        }
    }
}
