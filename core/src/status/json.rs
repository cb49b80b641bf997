//! The JSON page: every field of the report under a stable name.
//!
//! Within version 1 fields may be added, never renamed, removed or given another meaning. Texts
//! that are not UTF-8 have U+FFFD in the place of the bad bytes.

use std::borrow::Cow;
use std::io;

use serde::{Serialize, Serializer};

use super::{rfc3339, StatusFormat};
use crate::report::{PageReport, PeerReport, ProgramReport, UpstreamReport};

/// The format `json`.
pub(super) struct Json;

impl StatusFormat for Json {
    const NAME: &'static str = "json";
    const CONTENT_TYPE: &'static str = "application/json";

    fn write(page: &PageReport<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        out.reserve(page.peers.len().saturating_add(1).saturating_mul(ROW_ESTIMATE));
        serde_json::to_writer(&mut *out, &Page::from(page))?;
        out.push(b'\n');
        Ok(())
    }
}

/// What a reader tests before it relies on any name below.
const VERSION: u32 = 1;

/// Bytes that a row of usual names takes, so that a large page is allocated about once.
const ROW_ESTIMATE: usize = 512;

#[derive(Serialize)]
struct Page<'a> {
    version: u32,
    module_version: &'a str,
    nginx_version: &'a str,
    pid: u32,
    generated_ms: u64,
    #[serde(serialize_with = "rows")]
    peers: &'a [PeerReport<'a>],
    #[serde(serialize_with = "upstreams")]
    upstreams: &'a [UpstreamReport<'a>],
}

#[derive(Serialize)]
struct Row<'a> {
    index: usize,
    name: Cow<'a, str>,
    owner_pid: u32,
    last_action_ms: u64,
    concurrent: u32,
    concurrent_since_ms: u64,
    last_down: bool,
    status: &'static str,
    down: bool,
    upstream: Cow<'a, str>,
    server: Cow<'a, str>,
    line: Option<u32>,
    weight: u32,
    backup: bool,
    admin_down: bool,
    checked: bool,
    code: &'static str,
    latency_ms: Option<u64>,
    probes: u64,
    failures: u64,
    #[serde(serialize_with = "time")]
    last_change: Option<u64>,
    program: Option<Program<'a>>,
}

#[derive(Serialize)]
struct Program<'a> {
    number: u32,
    name: Cow<'a, str>,
    state: &'static str,
    reported_state: Option<&'static str>,
    reported_pid: Option<u32>,
    admin_down: bool,
    last_command: Option<&'static str>,
    last_command_ms: Option<u64>,
    last_result: Option<&'a str>,
    running: u64,
}

#[derive(Serialize)]
struct Upstream<'a> {
    name: Cow<'a, str>,
    held: u64,
    queue: Option<u32>,
    /// Requests per second, unlike the report's hundredths.
    load: Option<f64>,
    requests: u64,
    managed: bool,
}

impl<'a> From<&PageReport<'a>> for Page<'a> {
    fn from(page: &PageReport<'a>) -> Page<'a> {
        Page {
            version: VERSION,
            module_version: page.module_version,
            nginx_version: page.nginx_version,
            pid: page.pid,
            generated_ms: page.generated_ms,
            peers: page.peers,
            upstreams: page.upstreams,
        }
    }
}

impl<'a> From<&'a PeerReport<'a>> for Row<'a> {
    fn from(peer: &'a PeerReport<'a>) -> Row<'a> {
        Row {
            index: peer.index,
            name: String::from_utf8_lossy(&peer.name),
            owner_pid: peer.owner_pid,
            last_action_ms: peer.last_action_ms,
            concurrent: peer.concurrent,
            concurrent_since_ms: peer.concurrent_since_ms,
            last_down: peer.last_down,
            status: peer.sentence(),
            down: peer.down,
            upstream: String::from_utf8_lossy(peer.upstream),
            server: String::from_utf8_lossy(&peer.server),
            line: peer.line,
            weight: peer.weight,
            backup: peer.backup,
            admin_down: peer.admin_down,
            checked: peer.checked,
            code: peer.code(),
            latency_ms: peer.latency_ms,
            probes: peer.probes,
            failures: peer.failures,
            last_change: peer.last_change_ms,
            program: peer.program.as_ref().map(Program::from),
        }
    }
}

impl<'a> From<&'a ProgramReport<'a>> for Program<'a> {
    fn from(program: &'a ProgramReport<'a>) -> Program<'a> {
        Program {
            number: program.number,
            name: String::from_utf8_lossy(&program.name),
            state: program.state,
            reported_state: program.reported_state,
            reported_pid: Some(program.reported_pid).filter(|pid| *pid != 0),
            admin_down: program.admin_down,
            last_command: program.last_command,
            last_command_ms: Some(program.last_command_ms).filter(|time| *time != 0),
            last_result: program.last_result.as_deref(),
            running: program.running,
        }
    }
}

impl<'a> From<&'a UpstreamReport<'a>> for Upstream<'a> {
    fn from(upstream: &'a UpstreamReport<'a>) -> Upstream<'a> {
        Upstream {
            name: String::from_utf8_lossy(upstream.name),
            held: upstream.held,
            queue: upstream.queue,
            load: upstream.load.map(|hundredths| hundredths as f64 / 100.0),
            requests: upstream.requests,
            managed: upstream.managed,
        }
    }
}

fn rows<S: Serializer>(peers: &[PeerReport<'_>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(peers.iter().map(Row::from))
}

fn upstreams<S: Serializer>(
    upstreams: &[UpstreamReport<'_>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(upstreams.iter().map(Upstream::from))
}

fn time<S: Serializer>(epoch_ms: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match epoch_ms {
        Some(epoch_ms) => serializer.collect_str(&rfc3339(*epoch_ms)),
        None => serializer.serialize_none(),
    }
}
