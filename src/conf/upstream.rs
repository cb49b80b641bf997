//! The `healthcheck_*` directives of an upstream block, and what a complete configuration makes of
//! them.

use core::cell::{Cell, RefCell};
use std::sync::Arc;

use healthcheck_core::check::{request_from_lines, Check, CheckDraft};
use healthcheck_core::value::{parse_failcount, parse_size, parse_time, ValueError};

use super::monitors::Monitors;
use super::registered::Registration;
use super::supervisord::Managed;
use crate::balancer::{Gate, Hold};
use crate::nginx::failures::BalancerFree;
use crate::nginx::peers::Member;
use crate::nginx::upstream::Upstream;

/// What an upstream block says of health checks.
#[derive(Default)]
pub(crate) struct UpstreamConf {
    /// The directives as they were read.
    draft: RefCell<CheckDraft>,
    /// What a request to the upstream passes; idle without `healthcheck_enabled`.
    pub(crate) gate: Gate,
    /// Where its requests wait for a peer.
    pub(crate) hold: Hold,
    /// Whether its programs are managed, so that its requests are counted.
    pub(crate) is_managed: Cell<bool>,
    /// Whether failed requests cause probes.
    pub(crate) watches_failures: Cell<bool>,
    /// Its balancer's own `peer.free`, where that is listened to.
    pub(crate) balancer_free: BalancerFree,
    /// Whom its balancer wants to have told of its programs.
    pub(crate) monitors: Monitors,
    /// The round of starts that the requests which wait here wait for.
    pub(crate) round: Cell<u64>,
    /// What the balancer itself has said.
    pub(crate) registration: Registration,
    /// Whether the peers are those of nginx's own list, which is looked into as nginx runs.
    pub(crate) has_nginxs_list: Cell<bool>,
}

/// Why a directive is refused.
pub(crate) enum SettingError {
    /// It stands twice in one block.
    Duplicate,
    /// Its value is not accepted.
    Value(ValueError),
}

impl From<ValueError> for SettingError {
    fn from(error: ValueError) -> SettingError {
        SettingError::Value(error)
    }
}

/// Reads one directive's arguments into the block's draft.
pub(crate) type Setting = fn(&mut CheckDraft, &[&[u8]]) -> Result<(), SettingError>;

/// Fills a setting that must stand at most once.
fn once<T>(field: &mut Option<T>, value: Result<T, ValueError>) -> Result<(), SettingError> {
    if field.is_some() {
        return Err(SettingError::Duplicate);
    }
    *field = Some(value?);
    Ok(())
}

/// The only argument of a directive that nginx lets through with exactly one.
fn only<'a>(args: &[&'a [u8]]) -> &'a [u8] {
    args.first().copied().unwrap_or_default()
}

/// `healthcheck_enabled`
pub(crate) fn set_enabled(draft: &mut CheckDraft, _: &[&[u8]]) -> Result<(), SettingError> {
    if draft.enabled {
        return Err(SettingError::Duplicate);
    }
    draft.enabled = true;
    Ok(())
}

/// `healthcheck_delay TIME`
pub(crate) fn set_delay(draft: &mut CheckDraft, args: &[&[u8]]) -> Result<(), SettingError> {
    once(&mut draft.delay, parse_time(only(args)))
}

/// `healthcheck_fast_delay TIME`
pub(crate) fn set_fast_delay(draft: &mut CheckDraft, args: &[&[u8]]) -> Result<(), SettingError> {
    once(&mut draft.fast_delay, parse_time(only(args)))
}

/// `healthcheck_timeout TIME`
pub(crate) fn set_timeout(draft: &mut CheckDraft, args: &[&[u8]]) -> Result<(), SettingError> {
    once(&mut draft.timeout, parse_time(only(args)))
}

/// `healthcheck_failcount NUMBER` or `healthcheck_failcount [fall=NUMBER] [rise=NUMBER]`
pub(crate) fn set_failcount(draft: &mut CheckDraft, args: &[&[u8]]) -> Result<(), SettingError> {
    once(&mut draft.failcount, parse_failcount(args))
}

/// `healthcheck_send LINE ...`
pub(crate) fn set_send(draft: &mut CheckDraft, args: &[&[u8]]) -> Result<(), SettingError> {
    once(&mut draft.send, Ok(request_from_lines(args)))
}

/// `healthcheck_expected BODY`
pub(crate) fn set_expected(draft: &mut CheckDraft, args: &[&[u8]]) -> Result<(), SettingError> {
    once(&mut draft.expected, Ok(only(args).into()))
}

/// `healthcheck_buffer SIZE`
pub(crate) fn set_buffer(draft: &mut CheckDraft, args: &[&[u8]]) -> Result<(), SettingError> {
    once(&mut draft.buffer, parse_size(only(args)))
}

impl UpstreamConf {
    /// Reads one directive.
    pub(crate) fn set(&self, setting: Setting, args: &[&[u8]]) -> Result<(), SettingError> {
        setting(&mut self.draft.borrow_mut(), args)
    }

    /// Whether `healthcheck_enabled` stands in the block.
    pub(crate) fn is_enabled(&self) -> bool {
        self.draft.borrow().enabled
    }

    /// Whether nginx's balancer is wrapped for each request: to let it wait, or to count it.
    pub(crate) fn is_wrapped(&self) -> bool {
        self.hold.is_on() || self.is_managed.get()
    }

    /// Whether a peer may be usable, as far as this process knows.
    pub(crate) fn is_usable(&self) -> bool {
        !self.gate.is_open() || self.gate.is_usable()
    }

    /// Whether nginx's list of peers is ours, and its resolver adds and removes peers of it.
    pub(crate) fn is_listed_anew(&self, upstream: Upstream) -> bool {
        self.has_nginxs_list.get() && upstream.resolved_lines() > 0
    }

    /// The version of nginx's list of peers; 0 where that list is none of ours.
    pub(crate) fn list_version(&self, upstream: Upstream) -> usize {
        if self.has_nginxs_list.get() {
            upstream.version()
        } else {
            0
        }
    }

    /// The peers, as they are now: those that the balancer has registered, or nginx's own. `own_bits` of
    /// `peer->down` are ours and do not count as configured.
    pub(crate) fn members(
        &self,
        upstream: Upstream,
        own_bits: usize,
    ) -> impl Iterator<Item = Member<'static>> {
        let has_nginxs_list = self.has_nginxs_list.get();
        let nginxs = has_nginxs_list.then(|| upstream.members(own_bits));
        let own = (!has_nginxs_list).then(|| self.configured_members(upstream));
        nginxs.into_iter().flatten().chain(own.into_iter().flatten())
    }

    /// The peers that the configuration names, or the balancer.
    pub(crate) fn configured_members(
        &self,
        upstream: Upstream,
    ) -> impl Iterator<Item = Member<'static>> {
        let has_peers = self.registration.has_peers();
        let registered = has_peers.then(|| self.registration.members(upstream));
        let configured = (!has_peers).then(|| upstream.configured_members());
        registered.into_iter().flatten().chain(configured.into_iter().flatten())
    }

    /// Whether the block has settings that mean nothing without `healthcheck_enabled`.
    pub(crate) fn has_idle_settings(&self) -> bool {
        !self.is_enabled() && self.draft.borrow().any_setting()
    }

    /// The check of the upstream called `name`, defaults filled in.
    pub(crate) fn check(&self, name: &[u8]) -> Check {
        self.draft.borrow().finish(name)
    }
}

/// An upstream with checks or managed programs.
pub(crate) struct Watched {
    /// nginx's block.
    pub(crate) upstream: Upstream,
    /// What the block says; `'static` as the configuration outlives whoever reads this.
    pub(crate) conf: &'static UpstreamConf,
    /// The rule its peers are probed by; `None`: they are not.
    pub(crate) check: Option<Arc<Check>>,
    /// Its programs; `None`: they are not managed.
    pub(crate) managed: Option<Arc<Managed>>,
    /// Bits of `peer->down` in nginx's list that the module writes; 0: it writes nothing there.
    pub(crate) own_bits: usize,
}

impl Watched {
    /// Whether a peer is probed whose server line is marked `down` or not. A managed one is also when
    /// it is, since it can be started by hand; so is one that its balancer asks for.
    pub(crate) fn is_probed(&self, configured_down: bool) -> bool {
        self.check.is_some() && (!configured_down || self.probes_marked_peers())
    }

    /// Whether a peer is probed although its server line is marked `down`.
    pub(crate) fn probes_marked_peers(&self) -> bool {
        self.managed.is_some() || self.conf.registration.has_peers()
    }
}
