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
    constant(out, ",\"status\":", peer.sentence());
    flag(out, ",\"down\":", peer.down);
    text(out, ",\"upstream\":", peer.upstream)?;
    text(out, ",\"server\":", &peer.server)?;
    number_or_null(out, ",\"line\":", peer.line);
    number(out, ",\"weight\":", peer.weight);
    flag(out, ",\"backup\":", peer.backup);
    flag(out, ",\"admin_down\":", peer.admin_down);
    flag(out, ",\"checked\":", peer.checked);
    constant(out, ",\"code\":", peer.code());
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

/// A text of this crate's own, in which nothing needs escaping.
#[inline]
fn constant(out: &mut Vec<u8>, key: &'static str, text: &'static str) {
    out.extend_from_slice(key.as_bytes());
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

#[inline]
fn text(out: &mut Vec<u8>, key: &'static str, bytes: &[u8]) -> io::Result<()> {
    out.extend_from_slice(key.as_bytes());
    if is_plain(bytes) {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return Ok(());
    }
    Ok(serde_json::to_writer(out, &String::from_utf8_lossy(bytes))?)
}

/// Whether every byte stands for itself in a string.
fn is_plain(bytes: &[u8]) -> bool {
    let one = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    match bytes.last_chunk() {
        // The last eight overlap the ones before.
        Some(last) => are_plain(last) && bytes.as_chunks().0.iter().all(are_plain),
        None => bytes.iter().all(one),
    }
}

/// As [`is_plain`], eight bytes at a time.
fn are_plain(bytes: &[u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // A byte below `limit`, at most 128, has its high bit set afterwards; so may one above such a
    // byte, which does no harm.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let is = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);

    let word = u64::from_ne_bytes(*bytes);
    let odd = word | below(word, b' ') | is(word, b'"') | is(word, b'\\') | is(word, 0x7f);
    odd & HIGH == 0
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

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn a_byte_that_needs_escaping_is_found_wherever_it_stands() {
        for odd in
            (0..=u8::MAX).filter(|byte| !(b' '..=b'~').contains(byte) || b"\"\\".contains(byte))
        {
            for length in 1..20 {
                for at in 0..length {
                    let mut text = vec![b'~'; length];
                    text[at] = odd;
                    assert!(!is_plain(&text), "{odd} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn texts_that_need_no_escaping_are_plain() {
        let plain = (b' '..=b'~').filter(|byte| !b"\"\\".contains(byte)).collect::<Vec<u8>>();
        for window in (0..20).flat_map(|length| plain.windows(length.max(1))) {
            assert!(is_plain(window), "{window:?}");
        }
        assert!(is_plain(b""));
    }
}
