//! What is checked, and decided, once the whole configuration was read.

use core::fmt;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use healthcheck_core::key::Key;
use healthcheck_core::schedule::first_offset;
use healthcheck_core::Msec;

use super::supervisord::{Managed, SupervisordConf};
use super::upstream::{UpstreamConf, Watched};
use crate::balancer::{CONFIGURED_DOWN, NOT_UP, UNHEALTHY};
use crate::nginx::upstream::Upstream;
use crate::zone::plan::{Listed, ListedProgram, Listing};

/// What the two modules keep for an upstream block.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    /// nginx's block.
    pub(crate) upstream: Upstream,
    /// `healthcheck_*` and `queue`.
    pub(crate) health: &'static UpstreamConf,
    /// `supervisord*`.
    pub(crate) programs: &'static SupervisordConf,
}

impl Block {
    /// Whether it has checks, managed programs or a queue.
    pub(crate) fn is_watched(&self) -> bool {
        self.health.is_enabled() || self.programs.is_managed() || self.health.hold.is_on()
    }

    /// Whether it is this upstream, with managed programs.
    pub(crate) fn is_managed(&self, upstream: Upstream) -> bool {
        self.upstream == upstream && self.programs.is_managed()
    }
}

/// A setting that means nothing as it stands.
pub(crate) struct IdleSettings {
    /// The block.
    upstream: Upstream,
    /// The settings.
    settings: &'static str,
    /// The directive without which they have no effect.
    without: &'static str,
}

impl fmt::Display for IdleSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IdleSettings { upstream, settings, without } = self;
        let name = upstream.name().escape_ascii();
        write!(
            f,
            "\"{settings}\" settings in upstream \"{name}\" have no effect without \"{without}\""
        )
    }
}

/// Why a configuration cannot be used.
pub(crate) enum Unusable {
    /// A balancer whose peers the module cannot take out of rotation, where this directive asks for
    /// it.
    ForeignBalancer(Upstream, &'static str),
    /// The fast delay is longer than the delay; both in ms.
    SwappedDelays(Upstream, [Msec; 2]),
    /// Two server lines, by position, have an address in common, so that it is not clear which
    /// program a failed request was for.
    SharedAddress(Upstream, [u32; 2], Box<[u8]>),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::ForeignBalancer(upstream, directive) => {
                let name = upstream.name().escape_ascii();
                write!(
                    f,
                    "\"{directive}\" in upstream \"{name}\": the balancer of this upstream keeps a \
                     peer list of its own, which health checks do not reach; use one of nginx's own \
                     balancers, or a balancer that was patched to ask the module"
                )
            }
            Unusable::SwappedDelays(upstream, [fast, delay]) => {
                let name = upstream.name().escape_ascii();
                write!(
                    f,
                    "\"healthcheck_fast_delay\" in upstream \"{name}\" is {fast}ms, which is longer \
                     than \"healthcheck_delay\", {delay}ms"
                )
            }
            Unusable::SharedAddress(upstream, [one, other], address) => {
                let (name, address) = (upstream.name().escape_ascii(), address.escape_ascii());
                write!(
                    f,
                    "\"supervisord\" in upstream \"{name}\": server lines {one} and {other} \
                     (counted from 0) have the same address \"{address}\", but each is a program of \
                     its own"
                )
            }
        }
    }
}

/// Another module with a `queue` directive.
pub(crate) struct RivalQueue<'a>(pub(crate) &'a [u8]);

impl fmt::Display for RivalQueue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.escape_ascii();
        write!(
            f,
            "the module \"{name}\" has a \"queue\" directive too, and the module that is loaded first \
             reads it; write \"supervisord_queue\" for that of ngx_http_healthcheck_module"
        )
    }
}

/// The upstreams with checks, managed programs or a queue, out of all of a configuration. `warn` is told
/// of settings without effect.
pub(crate) fn watched(
    blocks: impl Iterator<Item = Block>,
    mut warn: impl FnMut(IdleSettings),
) -> Result<Vec<Watched>, Unusable> {
    let mut watched = Vec::new();
    for Block { upstream, health, programs } in blocks {
        if health.has_idle_settings() {
            let settings = "healthcheck_*";
            warn(IdleSettings { upstream, settings, without: "healthcheck_enabled" });
        }
        if programs.has_idle_settings() {
            let settings = "supervisord_*";
            warn(IdleSettings { upstream, settings, without: "supervisord" });
        }
        let directive = match (health.is_enabled(), programs.is_managed(), health.hold.is_on()) {
            (true, ..) => "healthcheck_enabled",
            (false, true, _) => "supervisord",
            (false, false, true) => "queue",
            (false, false, false) => continue,
        };
        let own_bits = own_bits(upstream, health, programs.is_managed())
            .ok_or(Unusable::ForeignBalancer(upstream, directive))?;
        if health.has_nginxs_list.get() {
            health.hold.attach(upstream);
        }
        let managed = programs.managed(upstream.name(), upstream.line_settings()).map(Arc::new);
        if managed.is_some() {
            reject_shared_addresses(upstream)?;
        }
        if let Some(managed) = &managed {
            health.is_managed.set(true);
            // Where a program can be started, requests wait for it.
            if managed.supervisord.is_some() {
                health.hold.set_default();
            }
        }
        let check = health.is_enabled().then(|| Arc::new(health.check(upstream.name())));
        if let Some(check) = &check {
            if let Some((fast, delay)) = check.delays_swapped() {
                return Err(Unusable::SwappedDelays(upstream, [fast, delay]));
            }
            health.watches_failures.set(check.fast_delay.is_some());
        }
        watched.push(Watched { upstream, conf: health, check, managed, own_bits });
    }
    Ok(watched)
}

/// Finds out whose list of peers an upstream has. Returns the bits of `peer->down` that are ours in
/// nginx's list, 0 where the balancer asks the module; `None` if health or programs reach the balancer
/// neither way.
fn own_bits(upstream: Upstream, health: &UpstreamConf, is_managed: bool) -> Option<usize> {
    // A balancer that registers peers asks for each; nothing is read of what it keeps.
    if health.registration.has_peers() {
        // With a queue alone there is nothing to ask for, and nginx's own list, if it is that one, says
        // when a peer is free.
        let is_queue_alone = !health.is_enabled() && !is_managed;
        health.has_nginxs_list.set(is_queue_alone && upstream.has_stock_balancer());
        return Some(0);
    }
    let (is_stock, is_monitored) =
        (upstream.has_stock_balancer(), health.registration.is_monitored());
    health.has_nginxs_list.set(is_stock);
    match (is_stock, is_monitored, health.is_enabled()) {
        (true, false, _) if is_managed => Some(UNHEALTHY | NOT_UP | CONFIGURED_DOWN),
        // Programs are the balancer's business then, health is not.
        (true, false, _) | (true, true, true) => Some(UNHEALTHY),
        (_, true, false) => Some(0),
        (false, ..) => None,
    }
}

/// Refuses server lines that have an address in common, or a text: that of a line whose addresses are
/// found at run time is all there is to tell its peers by.
fn reject_shared_addresses(upstream: Upstream) -> Result<(), Unusable> {
    let members = upstream.configured_members().map(|member| {
        (member.line.unwrap_or(0), member.address.canonical().to_vec(), (*member.name).into())
    });
    let lines = (0..).zip(upstream.line_settings());
    let texts = lines.map(|(line, settings)| (line, settings.name.to_vec(), settings.name));
    let mut line_of = HashMap::new();
    for (line, key, name) in members.chain(texts) {
        let other = *line_of.entry(key).or_insert(line);
        if other != line {
            let lines = [other.min(line), other.max(line)];
            return Err(Unusable::SharedAddress(upstream, lines, name));
        }
    }
    Ok(())
}

/// What the shared memory has to hold for these upstreams.
pub(crate) fn listing(watched: &[Watched]) -> Listing {
    let mut listing = Listing::default();
    let mut seen = HashSet::new();
    for one in watched {
        listing.upstreams.push(Key::of_upstream(one.upstream.name()));
        listing.counted |= one.managed.is_some() || one.conf.hold.is_on();
        list_peers(one, &mut listing, &mut seen);
        if let Some(managed) = &one.managed {
            list_programs(one.upstream, managed, &mut listing);
        }
    }
    // First probes are spread over the delay, evenly over all peers.
    let total = listing.peers.len();
    for (rank, peer) in listing.peers.iter_mut().enumerate() {
        peer.first_due = first_offset(rank, total, peer.first_due);
    }
    listing
}

/// Lists the peers of an upstream that are probed.
fn list_peers(one: &Watched, listing: &mut Listing, seen: &mut HashSet<Key>) {
    let Some(check) = &one.check else { return };
    listing.resolved_lines += one.upstream.resolved_lines();
    for member in one.conf.configured_members(one.upstream) {
        let key = Key::of_peer(one.upstream.name(), member.address.canonical());
        if one.is_probed(member.down) && seen.insert(key) {
            listing.peers.push(Listed { key, first_due: check.first_delay() });
        }
    }
}

/// Lists the programs of an upstream and the supervisord that runs them.
fn list_programs(upstream: Upstream, managed: &Managed, listing: &mut Listing) {
    for (number, line) in managed.lines.iter().enumerate() {
        listing.programs.push(ListedProgram {
            key: Key::of_program(upstream.name(), number),
            upstream: Key::of_upstream(upstream.name()),
            configured_down: line.down,
            inherit: managed.rule.inherit,
        });
    }
    if let Some(supervisord) = &managed.supervisord {
        let key = supervisord.key();
        if !listing.supervisords.contains(&key) {
            listing.supervisords.push(key);
        }
    }
}
