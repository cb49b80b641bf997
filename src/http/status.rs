//! The status page: every peer of every upstream, from the configuration and from shared memory.

use std::borrow::Cow;
use std::collections::HashSet;

use healthcheck_core::key::Key;
use healthcheck_core::report::{PageReport, PeerReport};
use healthcheck_core::status::{format_from_query, Format};

use crate::balancer::UNHEALTHY;
use crate::conf::MainConf;
use crate::nginx::peers::Member;
use crate::nginx::process::{pid, wall_clock_ms};
use crate::nginx::upstream::Upstream;
use crate::zone::Zone;

/// What is wrong with a request for the page.
pub(crate) struct UnknownFormat;

/// The page for a request with this query string: its content type and its body.
pub(crate) fn page(
    query: &[u8],
    default: &'static Format,
    conf: Option<&MainConf>,
    upstreams: &[Upstream],
    nginx_version: &str,
) -> Result<(&'static str, Vec<u8>), UnknownFormat> {
    let format = format_from_query(query, default).map_err(|_| UnknownFormat)?;
    let checked: HashSet<Upstream> =
        conf.into_iter().flat_map(MainConf::watched).map(|watched| watched.upstream).collect();
    let zone = conf.and_then(MainConf::zone);
    let listed: Vec<_> = upstreams
        .iter()
        .map(|upstream| {
            let zone = zone.filter(|_| checked.contains(upstream));
            (*upstream, zone, upstream.members(UNHEALTHY))
        })
        .collect();
    let rows: Vec<PeerReport<'_>> = listed
        .iter()
        .flat_map(|(upstream, zone, members)| {
            members.iter().map(move |member| row(*upstream, *zone, member))
        })
        .enumerate()
        .map(|(index, row)| PeerReport { index, ..row })
        .collect();
    let page = PageReport {
        module_version: env!("CARGO_PKG_VERSION"),
        nginx_version,
        pid: pid(),
        generated_ms: wall_clock_ms(),
        peers: &rows,
    };
    let mut body = Vec::with_capacity(1024 + rows.len() * 512);
    // Writing to memory does not fail.
    let _ = format.write(&page, &mut body);
    Ok((format.content_type(), body))
}

/// The row of one peer.
fn row<'a>(upstream: Upstream, zone: Option<Zone>, member: &'a Member) -> PeerReport<'a> {
    let base = PeerReport {
        name: Cow::Borrowed(&member.name),
        upstream: upstream.name(),
        server: Cow::Borrowed(&member.server),
        line: member.line,
        weight: member.weight,
        backup: member.backup,
        admin_down: member.down,
        down: member.down,
        ..PeerReport::default()
    };
    let Some(zone) = zone.filter(|_| !member.down) else { return base };
    let key = Key::of_peer(upstream.name(), member.address.canonical());
    let Some((_, slot)) = zone.slots.find(key) else { return base };
    let health = slot.health();
    let (probes, failures) = slot.counts();
    PeerReport {
        checked: true,
        owner_pid: slot.lease().pid(),
        last_action_ms: slot.last_action_ms(),
        concurrent: health.run(),
        concurrent_since_ms: slot.run_since_ms(),
        last_down: health.last_failed(),
        outcome: health.outcome(),
        down: health.is_down(),
        latency_ms: slot.latency_ms(),
        probes,
        failures,
        last_change_ms: slot.last_change_ms(),
        ..base
    }
}
