//! The HTML page: the original module's nine columns, then ours; and a table of the upstreams that
//! hold requests or manage programs.
//!
//! Valid XHTML 1.0 Strict, for people and for scripts that read the original's table. It links and
//! loads nothing, and holds no text that could end an element or a line of its own accord.

use std::borrow::Cow;
use std::io::{self, Write};

use super::{rfc3339, StatusFormat};
use crate::report::{PageReport, PeerReport, ProgramReport, UpstreamReport};

/// The format `html`.
pub(super) struct Html;

impl StatusFormat for Html {
    const NAME: &'static str = "html";
    const CONTENT_TYPE: &'static str = "text/html; charset=utf-8";

    fn write(page: &PageReport<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        out.reserve(HEAD.len().saturating_add(page.peers.len().saturating_mul(ROW_ESTIMATE)));
        out.extend_from_slice(HEAD.as_bytes());

        table(out, COLUMNS, page.peers, class, |cell, out, peer| cell(out, peer))?;
        let upstreams = page.upstreams.iter().filter(|upstream| upstream.is_notable());
        if upstreams.clone().next().is_some() {
            table(out, UPSTREAM_COLUMNS, upstreams, |_| "", |cell, out, one| cell(out, one))?;
        }

        footer(out, page)?;
        out.extend_from_slice(b"  </body>\n</html>\n");
        Ok(())
    }
}

const HEAD: &str = r#"<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN"
  "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
  <head>
    <title>NGINX Healthcheck status</title>
    <style type="text/css">
      body { font-family: sans-serif; color: #222; background: #fff; }
      table { border-collapse: collapse; }
      th, td { padding: 0.2em 0.6em; border: 1px solid #bbb; text-align: left; }
      td { white-space: nowrap; }
      th { background: #e4e8ec; }
      tr:nth-child(odd) { background: #f6f7f8; }
      tr.down { background: #fbd5d0; }
      tr.unchecked { color: #777; }
    </style>
  </head>
  <body>
    <h1>NGINX Healthcheck status</h1>
"#;

/// Bytes that a row of usual names takes, so that a large page is allocated about once.
const ROW_ESTIMATE: usize = 640;

/// Writes the text of one cell of a peer's row.
type Cell = fn(&mut Vec<u8>, &PeerReport<'_>) -> io::Result<()>;
/// The same of an upstream's.
type UpstreamCell = fn(&mut Vec<u8>, &UpstreamReport<'_>) -> io::Result<()>;

/// Title and cell of each column. Scripts count on the first nine, which are the original's: their
/// order, their titles and their raw numbers stay.
#[rustfmt::skip]
const COLUMNS: &[(&str, Cell)] = &[
    ("Index", |out, peer| write!(out, "{}", peer.index)),
    ("Name", |out, peer| text(out, &peer.name)),
    ("Owner PID", |out, peer| write!(out, "{}", peer.owner_pid)),
    ("Last action time", |out, peer| write!(out, "{}", peer.last_action_ms)),
    ("Concurrent status values", |out, peer| write!(out, "{}", peer.concurrent)),
    ("Time of concurrent values", |out, peer| write!(out, "{}", peer.concurrent_since_ms)),
    ("Last response down", |out, peer| write!(out, "{}", u8::from(peer.last_down))),
    ("Last health status", |out, peer| text(out, peer.sentence().as_bytes())),
    ("Is down?", |out, peer| write!(out, "{}", u8::from(peer.down))),
    ("Upstream", |out, peer| text(out, peer.upstream)),
    ("Server line", |out, peer| text(out, &peer.server)),
    ("Weight/backup", weight),
    ("Probe latency", latency),
    ("Probes sent", |out, peer| write!(out, "{}", peer.probes)),
    ("Failures", |out, peer| write!(out, "{}", peer.failures)),
    ("Last change", last_change),
    ("Program", |out, peer| peer.program.as_ref().map_or(Ok(()), |it| program(out, it))),
    ("supervisord says", |out, peer| peer.program.as_ref().map_or(Ok(()), |it| reported(out, it))),
    ("Last command", |out, peer| peer.program.as_ref().map_or(Ok(()), |it| command(out, it))),
];

/// The columns of the second table, which is there only if an upstream is notable.
#[rustfmt::skip]
const UPSTREAM_COLUMNS: &[(&str, UpstreamCell)] = &[
    ("Upstream", |out, upstream| text(out, upstream.name)),
    ("Requests held", |out, upstream| write!(out, "{}", upstream.held)),
    ("Queue per worker", queue),
    ("Load per program", load),
    ("Requests", |out, upstream| write!(out, "{}", upstream.requests)),
];

/// A table of `rows`, each with its attributes; what a column has next to its title writes cells.
fn table<'a, C, T: 'a>(
    out: &mut Vec<u8>,
    columns: &[(&str, C)],
    rows: impl IntoIterator<Item = &'a T>,
    attributes: impl Fn(&T) -> &'static str,
    write: impl Fn(&C, &mut Vec<u8>, &T) -> io::Result<()>,
) -> io::Result<()> {
    out.extend_from_slice(b"    <table border=\"1\">\n      <tr>\n");
    for (title, _) in columns {
        writeln!(out, "        <th>{title}</th>")?;
    }
    out.extend_from_slice(b"      </tr>\n");
    for row in rows {
        writeln!(out, "      <tr{}>", attributes(row))?;
        for (_, cell) in columns {
            out.extend_from_slice(b"        <td>");
            write(cell, out, row)?;
            out.extend_from_slice(b"</td>\n");
        }
        out.extend_from_slice(b"      </tr>\n");
    }
    out.extend_from_slice(b"    </table>\n");
    Ok(())
}

fn class(peer: &PeerReport<'_>) -> &'static str {
    match (peer.down, peer.checked) {
        (true, _) => " class=\"down\"",
        (false, true) => "",
        (false, false) => " class=\"unchecked\"",
    }
}

fn weight(out: &mut Vec<u8>, peer: &PeerReport<'_>) -> io::Result<()> {
    let backup = if peer.backup { " backup" } else { "" };
    let down = if peer.admin_down { " down" } else { "" };

    write!(out, "{}{backup}{down}", peer.weight)
}

fn latency(out: &mut Vec<u8>, peer: &PeerReport<'_>) -> io::Result<()> {
    match peer.latency_ms {
        Some(latency) => write!(out, "{latency} ms"),
        None => write!(out, "-"),
    }
}

fn last_change(out: &mut Vec<u8>, peer: &PeerReport<'_>) -> io::Result<()> {
    match peer.last_change_ms {
        Some(change) => write!(out, "{}", rfc3339(change)),
        None => write!(out, "never"),
    }
}

fn program(out: &mut Vec<u8>, program: &ProgramReport<'_>) -> io::Result<()> {
    if program.name.is_empty() {
        write!(out, "{}", program.number)?;
    } else {
        text(out, &program.name)?;
    }
    write!(out, " {}", program.state)?;
    if program.running > 0 {
        write!(out, ", serving {}", program.running)?;
    }
    Ok(())
}

fn reported(out: &mut Vec<u8>, program: &ProgramReport<'_>) -> io::Result<()> {
    match (program.reported_state, program.reported_pid) {
        (Some(state), 0) => write!(out, "{state}"),
        (Some(state), pid) => write!(out, "{state}, process {pid}"),
        (None, _) => write!(out, "-"),
    }
}

fn command(out: &mut Vec<u8>, program: &ProgramReport<'_>) -> io::Result<()> {
    let Some(command) = program.last_command else {
        return write!(out, "never");
    };

    write!(out, "{command} {}", rfc3339(program.last_command_ms))?;
    if let Some(result) = &program.last_result {
        out.extend_from_slice(b": ");
        text(out, result.as_bytes())?;
    }
    Ok(())
}

fn queue(out: &mut Vec<u8>, upstream: &UpstreamReport<'_>) -> io::Result<()> {
    match upstream.queue {
        Some(queue) => write!(out, "{queue}"),
        None => write!(out, "-"),
    }
}

fn load(out: &mut Vec<u8>, upstream: &UpstreamReport<'_>) -> io::Result<()> {
    match upstream.load {
        Some(load) => write!(out, "{}.{:02}/s", load / 100, load % 100),
        None => write!(out, "-"),
    }
}

fn footer(out: &mut Vec<u8>, page: &PageReport<'_>) -> io::Result<()> {
    out.extend_from_slice(b"    <p>ngx_http_healthcheck_module ");
    text(out, page.module_version.as_bytes())?;
    out.extend_from_slice(b", nginx ");
    text(out, page.nginx_version.as_bytes())?;
    writeln!(out, ", process {}, {}</p>", page.pid, rfc3339(page.generated_ms))
}

/// Text of an element: markup escaped; bytes that are not UTF-8 and characters that XML forbids
/// or that would break a line replaced by U+FFFD.
fn text(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let mut text = String::from_utf8_lossy(bytes);

    if text.contains(is_unprintable) {
        text = Cow::Owned(text.replace(is_unprintable, "\u{fffd}"));
    }
    html_escape::encode_text_to_writer(text, out)
}

fn is_unprintable(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
}
