//! The JSON page: every field of the report under a stable name.
//!
//! Within version 1 fields may be added, never renamed, removed or given another meaning. Texts
//! that are not UTF-8 have U+FFFD in the place of the bad bytes.

use std::borrow::Cow;
use std::io::{self, Write};

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
        number(out, "{\"version\":", VERSION);
        text(out, ",\"module_version\":", page.module_version.as_bytes())?;
        text(out, ",\"nginx_version\":", page.nginx_version.as_bytes())?;
        number(out, ",\"pid\":", page.pid);
        number(out, ",\"generated_ms\":", page.generated_ms);
        out.extend_from_slice(b",\"peers\":[");
        for (at, peer) in page.peers.iter().enumerate() {
            row(out, if at == 0 { "{\"index\":" } else { ",{\"index\":" }, peer)?;
        }
        out.extend_from_slice(b"],\"upstreams\":");
        let mut rest = serde_json::Serializer::new(&mut *out);
        rest.collect_seq(page.upstreams.iter().map(Upstream::from))?;
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

/// What a reader tests before it relies on any name below.
const VERSION: u32 = 1;

/// Bytes that a row of usual names takes, so that a large page is allocated about once.
const ROW_ESTIMATE: usize = 512;

/// One peer. A large page is little else, so its fields are written one by one: serde takes three
/// times as long.
fn row(out: &mut Vec<u8>, begin: &'static str, peer: &PeerReport<'_>) -> io::Result<()> {
    number(out, begin, peer.index);
    text(out, ",\"name\":", &peer.name)?;
    number(out, ",\"owner_pid\":", peer.owner_pid);
    number(out, ",\"last_action_ms\":", peer.last_action_ms);
    number(out, ",\"concurrent\":", peer.concurrent);
    number(out, ",\"concurrent_since_ms\":", peer.concurrent_since_ms);
    flag(out, ",\"last_down\":", peer.last_down);
    text(out, ",\"status\":", peer.sentence().as_bytes())?;
    flag(out, ",\"down\":", peer.down);
    text(out, ",\"upstream\":", peer.upstream)?;
    text(out, ",\"server\":", &peer.server)?;
    number_or_null(out, ",\"line\":", peer.line);
    number(out, ",\"weight\":", peer.weight);
    flag(out, ",\"backup\":", peer.backup);
    flag(out, ",\"admin_down\":", peer.admin_down);
    flag(out, ",\"checked\":", peer.checked);
    text(out, ",\"code\":", peer.code().as_bytes())?;
    number_or_null(out, ",\"latency_ms\":", peer.latency_ms);
    number(out, ",\"probes\":", peer.probes);
    number(out, ",\"failures\":", peer.failures);
    match peer.last_change_ms {
        Some(change) => write!(out, ",\"last_change\":\"{}\"", rfc3339(change))?,
        None => out.extend_from_slice(b",\"last_change\":null"),
    }
    match &peer.program {
        Some(program) => {
            out.extend_from_slice(b",\"program\":");
            serde_json::to_writer(&mut *out, &Program::from(program))?;
            out.push(b'}');
        }
        None => out.extend_from_slice(b",\"program\":null}"),
    }
    Ok(())
}

#[inline]
fn number(out: &mut Vec<u8>, key: &'static str, value: impl itoa::Integer) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[inline]
fn number_or_null(out: &mut Vec<u8>, key: &'static str, value: Option<impl itoa::Integer>) {
    match value {
        Some(value) => number(out, key, value),
        None => {
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"null");
        }
    }
}

#[inline]
fn flag(out: &mut Vec<u8>, key: &'static str, value: bool) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

#[inline]
fn text(out: &mut Vec<u8>, key: &'static str, bytes: &[u8]) -> io::Result<()> {
    out.extend_from_slice(key.as_bytes());
    // Without a way out of the loop: the compiler looks at many bytes at a time then.
    if bytes.iter().fold(true, |plain, byte| plain & is_plain(*byte)) {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return Ok(());
    }
    Ok(serde_json::to_writer(out, &String::from_utf8_lossy(bytes))?)
}

/// Whether a byte stands for itself in a string.
fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\')
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
