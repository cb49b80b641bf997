//! What is checked, and decided, once the whole configuration was read.

use core::fmt;
use std::collections::HashSet;
use std::sync::Arc;

use healthcheck_core::key::Key;
use healthcheck_core::schedule::first_offset;

use super::upstream::{UpstreamConf, Watched};
use crate::nginx::upstream::Upstream;
use crate::zone::plan::{Listed, Listing};

/// A setting that means nothing as it stands.
pub(crate) struct IdleSettings(Upstream);

impl fmt::Display for IdleSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.name().escape_ascii();
        write!(
            f,
            "\"healthcheck_*\" settings in upstream \"{name}\" have no effect without \
             \"healthcheck_enabled\""
        )
    }
}

/// A balancer whose peers the module cannot take out of rotation.
pub(crate) struct ForeignBalancer(Upstream);

impl fmt::Display for ForeignBalancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.name().escape_ascii();
        write!(
            f,
            "\"healthcheck_enabled\" in upstream \"{name}\": the balancer of this upstream keeps a \
             peer list of its own, which health checks do not reach; use one of nginx's own \
             balancers, or a balancer that was patched to ask the module"
        )
    }
}

/// The upstreams with checks, out of all of a configuration. `warn` is told of settings without
/// effect.
pub(crate) fn watched(
    upstreams: impl Iterator<Item = (Upstream, &'static UpstreamConf)>,
    mut warn: impl FnMut(IdleSettings),
) -> Result<Vec<Watched>, ForeignBalancer> {
    let mut watched = Vec::new();
    for (upstream, conf) in upstreams {
        if conf.has_idle_settings() {
            warn(IdleSettings(upstream));
        }
        if !conf.is_enabled() {
            continue;
        }
        if !upstream.has_stock_balancer() {
            return Err(ForeignBalancer(upstream));
        }
        let check = Arc::new(conf.check(upstream.name()));
        watched.push(Watched { upstream, conf, check });
    }
    Ok(watched)
}

/// What the shared memory has to hold for these upstreams.
pub(crate) fn listing(watched: &[Watched]) -> Listing {
    let mut listing = Listing::default();
    let mut seen = HashSet::new();
    for one in watched {
        let name = one.upstream.name();
        listing.upstreams.push(Key::of_upstream(name));
        listing.resolved_lines += one.upstream.resolved_lines();
        for member in one.upstream.configured_members() {
            let key = Key::of_peer(name, member.address.canonical());
            if !member.down && seen.insert(key) {
                listing.peers.push(Listed { key, first_due: one.check.delay });
            }
        }
    }
    // First probes are spread over the delay, evenly over all peers.
    let total = listing.peers.len();
    for (rank, peer) in listing.peers.iter_mut().enumerate() {
        peer.first_due = first_offset(rank, total, peer.first_due);
    }
    listing
}
