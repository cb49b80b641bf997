//! Names on the status pages: whatever they hold, the page is well-formed, has no element and no line
//! more, and a reader gets them back.

use std::borrow::Cow;

use healthcheck_core::report::{PageReport, PeerReport, ProgramReport, UpstreamReport};
use healthcheck_core::status::format_by_name;
use roxmltree::{Document, Node, ParsingOptions};
use serde_json::Value;

use crate::Target;

/// The input is four names with `|` between them: those of the peer, of its upstream, of its server line
/// and of its program; the last is what supervisord answered, too.
pub static TARGET: Target = Target {
    name: "page_names",
    inputs: 10_000,
    words: &[
        b"|",
        b"<",
        b">",
        b"&",
        b"\"",
        b"'",
        b"\\",
        b"</td>",
        b"<script>",
        b"]]>",
        b"<!--",
        b"&#0;",
        b"\\u0000",
        b"\r\n",
        b"\xe2\x80\xa8",
        b"\xef\xbf\xbf",
        b"\xed\xa0\x80",
        b"\xc2\x85",
        b"127.0.0.1:80",
        b"unix:/run/app.sock",
    ],
    check: run,
};

fn run(input: &[u8]) {
    let mut parts = input.splitn(4, |byte| *byte == b'|');
    let names = [(); 4].map(|()| parts.next().unwrap_or_default());

    html(&page("html", names), names, page("html", [b"a"; 4]).lines().count());
    json(&page("json", names), names);
}

fn page(format: &str, [name, upstream, server, program]: [&[u8]; 4]) -> String {
    let peers = [PeerReport {
        name: Cow::Borrowed(name),
        upstream,
        server: Cow::Borrowed(server),
        program: Some(ProgramReport {
            name: Cow::Borrowed(program),
            state: "up",
            last_command: Some("start"),
            last_result: Some(String::from_utf8_lossy(program)),
            ..ProgramReport::default()
        }),
        ..PeerReport::default()
    }];
    let upstreams = [UpstreamReport { name: upstream, managed: true, ..UpstreamReport::default() }];
    let report = PageReport { peers: &peers, upstreams: &upstreams, ..PageReport::default() };
    let mut out = Vec::new();

    let format = format_by_name(format.as_bytes()).expect("a format");
    format.write(&report, &mut out).expect("a vector takes all");
    String::from_utf8(out).expect("a page is UTF-8")
}

fn html(page: &str, [name, upstream, server, program]: [&[u8]; 4], lines: usize) {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(page, options).expect("well-formed XML");
    let cells = |table: usize| -> Vec<String> {
        let mut tables = document.descendants().filter(|node| node.has_tag_name("table"));
        let table = tables.nth(table).expect("a table");
        let row = table.children().filter(|node| node.has_tag_name("tr")).nth(1).expect("a row");
        row.children().filter(Node::is_element).map(text).collect()
    };
    let (peers, upstreams) = (cells(0), cells(1));

    assert_eq!((peers.len(), upstreams.len()), (19, 5));
    assert_eq!(page.lines().count(), lines, "{page}");
    for (read, written) in [(&peers[1], name), (&peers[9], upstream), (&peers[10], server)] {
        assert_eq!(*read, printable(written));
    }
    assert_eq!(upstreams[0], printable(upstream));
    let named = if program.is_empty() { "0".to_owned() } else { printable(program) };
    assert_eq!(peers[16], format!("{named} up"));
    let answered = peers[18].split_once(": ").map(|(_, answer)| answer);
    assert_eq!(answered, Some(&*printable(program)));
}

/// The text of a cell, which holds nothing else.
fn text(cell: Node<'_, '_>) -> String {
    assert!(cell.children().all(|child| child.is_text()));
    cell.text().unwrap_or_default().to_owned()
}

fn json(page: &str, [name, upstream, server, program]: [&[u8]; 4]) {
    assert!(!page.trim_end_matches('\n').contains(|char| char < ' '), "{page:?}");
    let page: Value = serde_json::from_str(page).expect("JSON");
    let peer = &page["peers"][0];

    for (read, written) in [
        (&peer["name"], name),
        (&peer["upstream"], upstream),
        (&peer["server"], server),
        (&peer["program"]["name"], program),
        (&peer["program"]["last_result"], program),
        (&page["upstreams"][0]["name"], upstream),
    ] {
        assert_eq!(read.as_str(), Some(&*String::from_utf8_lossy(written)));
    }
}

/// A name as the HTML page has it: what is no text, or would break a line, is replaced.
fn printable(name: &[u8]) -> String {
    let odd = |char: char| {
        matches!(
            char,
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}'
        )
    };

    String::from_utf8_lossy(name)
        .chars()
        .map(|char| if odd(char) { '\u{fffd}' } else { char })
        .collect()
}
