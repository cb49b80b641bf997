//! The JSON page: every field of the report under a stable name.
//!
//! Within version 1 fields may be added, never renamed, removed or given another meaning. Texts
//! that are not UTF-8 have U+FFFD in the place of the bad bytes.

use std::borrow::Cow;
use std::io;

use serde::{Serialize, Serializer};

use super::{rfc3339, StatusFormat};
use crate::report::{PageReport, PeerReport};

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
        }
    }
}

fn rows<S: Serializer>(peers: &[PeerReport<'_>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(peers.iter().map(Row::from))
}

fn time<S: Serializer>(epoch_ms: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match epoch_ms {
        Some(epoch_ms) => serializer.collect_str(&rfc3339(*epoch_ms)),
        None => serializer.serialize_none(),
    }
}
