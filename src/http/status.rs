//! The status page: every peer of every upstream, from the configuration and from shared memory.

use std::borrow::Cow;
use std::collections::HashMap;

use healthcheck_core::ending::Ending;
use healthcheck_core::key::{Key, PeerKeys};
use healthcheck_core::report::{PageReport, PeerReport, ProgramReport, UpstreamReport};
use healthcheck_core::status::{format_from_query, Format};

use crate::balancer::UNHEALTHY;
use crate::conf::{MainConf, Managed, Watched};
use crate::nginx::peers::Member;
use crate::nginx::process::{is_alive, pid, wall_clock_ms};
use crate::nginx::upstream::Upstream;
use crate::zone::Zone;

/// What is wrong with a request for the page.
pub(crate) struct UnknownFormat;

/// An upstream, and where it is watched also the zone and the configuration.
struct Listed<'a> {
    /// nginx's block.
    upstream: Upstream,
    /// Shared memory and what the module keeps for the block.
    watched: Option<(Zone, &'a Watched)>,
    /// The keys of its peers.
    keys: PeerKeys,
}

/// The page for a request with this query string: its content type and its body.
pub(crate) fn page(
    query: &[u8],
    default: &'static Format,
    conf: Option<&MainConf>,
    upstreams: &[Upstream],
    nginx_version: &str,
) -> Result<(&'static str, Vec<u8>), UnknownFormat> {
    let format = format_from_query(query, default).map_err(|_| UnknownFormat)?;
    let watched: HashMap<Upstream, &Watched> = conf
        .into_iter()
        .flat_map(MainConf::watched)
        .map(|watched| (watched.upstream, watched))
        .collect();
    let zone = conf.and_then(MainConf::zone);
    let mut rows = Vec::new();
    let mut summaries = Vec::with_capacity(upstreams.len());
    for upstream in upstreams {
        let watched = watched.get(upstream).copied();
        let keys = PeerKeys::new(upstream.name());
        let listed = Listed { upstream: *upstream, watched: zone.zip(watched), keys };
        let list = |member| rows.push(row(&listed, member, rows.len()));
        match watched {
            Some(one) => one.conf.members(*upstream, one.own_bits).for_each(list),
            None => upstream.members(UNHEALTHY).for_each(list),
        }
        summaries.push(summary(&listed));
    }
    let page = PageReport {
        module_version: env!("CARGO_PKG_VERSION"),
        nginx_version,
        pid: pid(),
        generated_ms: wall_clock_ms(),
        peers: &rows,
        upstreams: &summaries,
    };
    let mut body = Vec::with_capacity(1024 + rows.len() * 512);
    // Writing to memory does not fail.
    let _ = format.write(&page, &mut body);
    Ok((format.content_type(), body))
}

/// The row of one peer.
fn row<'a>(listed: &Listed<'a>, member: Member<'a>, index: usize) -> PeerReport<'a> {
    let upstream = listed.upstream;
    let base = PeerReport {
        index,
        name: member.name,
        upstream: upstream.name(),
        server: member.server,
        line: member.line,
        weight: member.weight,
        backup: member.backup,
        admin_down: member.down,
        down: member.down,
        ..PeerReport::default()
    };
    let Some((zone, watched)) = listed.watched else { return base };
    let base = match (&watched.managed, member.line) {
        (Some(managed), Some(line)) => with_program(base, upstream, zone, managed, line),
        _ => base,
    };
    if !watched.is_probed(member.down) {
        return base;
    }
    let Some((_, slot)) = zone.slots.find(listed.keys.of(member.address.canonical())) else {
        return base;
    };
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
        down: base.down || health.is_down(),
        latency_ms: slot.latency_ms(),
        probes,
        failures,
        last_change_ms: slot.last_change_ms(),
        ..base
    }
}

/// A row with what is known of the program behind its server line.
fn with_program<'a>(
    base: PeerReport<'a>,
    upstream: Upstream,
    zone: Zone,
    managed: &Managed,
    line: u32,
) -> PeerReport<'a> {
    let number = line as usize;
    let Some((place, cell)) = zone.programs.find(Key::of_program(upstream.name(), number)) else {
        return base;
    };
    let program = cell.program();
    let reported = cell.reported().filter(|_| managed.supervisord.is_some());
    let last = cell.last_command();
    let running = |row: crate::zone::counters::Row| {
        row.programs.get(place).map_or(0, |count| count.running())
    };
    let name = match managed.supervisord {
        Some(_) => managed.rule.program_name(number).into_vec(),
        None => Vec::new(),
    };
    let report = ProgramReport {
        number: line,
        name: Cow::Owned(name),
        state: program.state().name(),
        reported_state: reported.map(|(state, _)| state.name()),
        reported_pid: reported.map_or(0, |(_, pid)| pid),
        admin_down: program.is_admin_down(),
        last_command: last.map(|last| last.command.verb()),
        last_command_ms: last.map_or(0, |last| last.at_ms),
        last_result: last.map(|last| Cow::Owned(Ending::from_bits(last.result).to_string())),
        running: zone.sum(is_alive, running),
    };
    PeerReport { program: Some(report), down: !program.is_usable(), ..base }
}

/// What is known of an upstream as a whole.
fn summary<'a>(listed: &Listed<'a>) -> UpstreamReport<'a> {
    let base = UpstreamReport { name: listed.upstream.name(), ..UpstreamReport::default() };
    let Some((zone, watched)) = listed.watched else { return base };
    let found = zone.upstreams.find(Key::of_upstream(listed.upstream.name()));
    let Some((place, cell)) = found else { return base };
    UpstreamReport {
        held: zone.held(is_alive, place),
        queue: watched.conf.hold.limit(),
        load: cell.load().map(|computed| computed.load),
        requests: if zone.capacity().counted { zone.requests(place) } else { 0 },
        managed: watched.managed.is_some(),
        ..base
    }
}
