//! What every registered status format must hold, whichever it is, and how one is chosen.

use std::borrow::Cow;
use std::collections::HashSet;

use healthcheck_core::outcome::Outcome;
use healthcheck_core::report::{PageReport, PeerReport, ProgramReport, UpstreamReport};
use healthcheck_core::status::{
    format_by_name, format_from_argument, format_from_query, DEFAULT_FORMAT, STATUS_FORMATS,
};

/// Texts that try to leave their cell or string, to break the line, or to be no text at all.
const HOSTILE: [&[u8]; 10] = [
    b"<script>alert(1)</script>",
    b"</td></tr></table>",
    b"\"',\"x\":\"",
    b"&amp;&lt;&#0;&",
    b"]]><!--",
    b"line\r\nbreak\ttab",
    b"nul\0escape\x1b[31mdelete\x7f",
    b"\xff\xfe\xc3(\xed\xa0\x80",
    "next\u{85}line\u{2028}\u{2029}\u{fffe}\u{ffff}".as_bytes(),
    b"",
];

fn hostile_peers() -> Vec<PeerReport<'static>> {
    HOSTILE
        .iter()
        .enumerate()
        .map(|(index, text)| PeerReport {
            index,
            name: Cow::Borrowed(text),
            upstream: text,
            server: Cow::Borrowed(text),
            concurrent: u32::MAX,
            last_action_ms: u64::MAX,
            last_change_ms: Some(u64::MAX),
            latency_ms: Some(u64::MAX),
            weight: u32::MAX,
            program: Some(hostile_program(text)),
            ..PeerReport::default()
        })
        .collect()
}

fn hostile_program(text: &[u8]) -> ProgramReport<'_> {
    ProgramReport {
        number: u32::MAX,
        name: Cow::Borrowed(text),
        state: "stopping",
        reported_state: Some("UNKNOWN"),
        reported_pid: u32::MAX,
        admin_down: true,
        last_command: Some("start"),
        last_command_ms: u64::MAX,
        last_result: Some(String::from_utf8_lossy(text)),
        running: u64::MAX,
    }
}

fn hostile_upstream(name: &[u8]) -> UpstreamReport<'_> {
    UpstreamReport {
        name,
        held: u64::MAX,
        queue: Some(u32::MAX),
        load: Some(u64::MAX),
        requests: u64::MAX,
        managed: true,
    }
}

/// The page in the format of that name.
fn page(name: &str, report: &PageReport<'_>) -> String {
    let mut out = Vec::new();
    format_by_name(name.as_bytes()).unwrap().write(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Names of all peers as a reader of that format gets them; a new format gets its reader here.
fn names(format: &str, page: &str) -> Vec<String> {
    match format {
        "html" => html_names(page, 0, 19, 1),
        "json" => json_names(page, "peers"),
        _ => panic!("no reader for the format {format}"),
    }
}

/// Likewise of all upstreams.
fn upstream_names(format: &str, page: &str) -> Vec<String> {
    match format {
        "html" => html_names(page, 1, 5, 0),
        "json" => json_names(page, "upstreams"),
        _ => panic!("no reader for the format {format}"),
    }
}

/// One column of one table, whose rows all have that many columns.
fn html_names(page: &str, table: usize, columns: usize, column: usize) -> Vec<String> {
    let options =
        roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(page, options).unwrap();
    let mut tables = document.descendants().filter(|node| node.has_tag_name("table"));
    let Some(table) = tables.nth(table) else { return Vec::new() };
    let rows = table.children().filter(|node| node.has_tag_name("tr")).skip(1);

    rows.map(|row| {
        let cells: Vec<_> = row.children().filter(|node| node.is_element()).collect();
        assert_eq!(cells.len(), columns);
        assert!(cells.iter().all(|cell| cell.children().all(|child| child.is_text())));
        cells[column].text().unwrap_or_default().to_owned()
    })
    .collect()
}

fn json_names(page: &str, list: &str) -> Vec<String> {
    let page: serde_json::Value = serde_json::from_str(page).unwrap();
    let items = page[list].as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_format_has_a_name_and_a_content_type_of_its_own() {
    let names: HashSet<_> = STATUS_FORMATS.iter().map(|format| format.name()).collect();
    let types: HashSet<_> = STATUS_FORMATS.iter().map(|format| format.content_type()).collect();

    assert_eq!(names.len(), STATUS_FORMATS.len());
    assert_eq!(types.len(), STATUS_FORMATS.len());
    assert_eq!(DEFAULT_FORMAT.name(), "html");
    assert_eq!(DEFAULT_FORMAT.content_type(), "text/html; charset=utf-8");
    assert_eq!(format_by_name(b"json").unwrap().content_type(), "application/json");
}

#[test]
fn hostile_texts_stay_text_in_every_format() {
    let peers = hostile_peers();
    let upstreams = HOSTILE.map(hostile_upstream);
    let report = PageReport {
        module_version: "<b>&\"\0",
        nginx_version: "\n]]>",
        peers: &peers,
        upstreams: &upstreams,
        ..PageReport::default()
    };

    for format in STATUS_FORMATS {
        let page = page(format.name(), &report);
        assert!(!page.contains(|char| char < ' ' && char != '\n'), "{page:?}");

        for names in [names(format.name(), &page), upstream_names(format.name(), &page)] {
            assert_eq!(names.len(), HOSTILE.len());
            for (read, written) in names.iter().zip(HOSTILE) {
                same_text(read, &String::from_utf8_lossy(written));
            }
        }
    }
}

fn same_text(read: &str, written: &str) {
    let same = |(read, written)| read == written || (read == '\u{fffd}' && odd(written));

    assert!(read.chars().zip(written.chars()).all(same), "{read:?} for {written:?}");
    assert_eq!(read.chars().count(), written.chars().count(), "{read:?} for {written:?}");
}

/// Whether a format may replace this character.
fn odd(char: char) -> bool {
    char.is_control() || ('\u{2028}'..='\u{2029}').contains(&char) || char >= '\u{fffe}'
}

#[test]
fn a_text_never_adds_a_line() {
    let line_count = |name: &str, text: &'static [u8]| {
        let peers = [PeerReport {
            name: Cow::Borrowed(text),
            upstream: text,
            server: Cow::Borrowed(text),
            program: Some(hostile_program(text)),
            ..PeerReport::default()
        }];
        let upstreams = [hostile_upstream(text)];
        let report = PageReport { peers: &peers, upstreams: &upstreams, ..PageReport::default() };
        page(name, &report).lines().count()
    };

    for format in STATUS_FORMATS {
        assert_eq!(line_count(format.name(), b"a\nb\r\nc\rd"), line_count(format.name(), b"a"));
    }
}

#[test]
fn ten_thousand_peers_are_ten_thousand_rows_in_every_format() {
    let peers: Vec<_> = (0..10_000)
        .map(|index| PeerReport {
            index,
            name: Cow::Owned(format!("10.0.{}.{}:81", index / 250, index % 250).into_bytes()),
            outcome: Some(Outcome::Ok),
            ..PeerReport::default()
        })
        .collect();
    let report = PageReport { peers: &peers, ..PageReport::default() };

    for format in STATUS_FORMATS {
        let names = names(format.name(), &page(format.name(), &report));
        assert_eq!(names.len(), 10_000);
        assert!(names.iter().zip(&peers).all(|(name, peer)| name.as_bytes() == &peer.name[..]));
    }
}

#[test]
fn a_page_without_peers_is_well_formed_in_every_format() {
    for format in STATUS_FORMATS {
        let page = page(format.name(), &PageReport::default());
        assert_eq!(names(format.name(), &page), Vec::<String>::new());
        assert_eq!(upstream_names(format.name(), &page), Vec::<String>::new());
        assert!(page.ends_with('\n'));
    }
}

#[test]
fn a_page_is_appended_to_what_is_there() {
    for format in STATUS_FORMATS {
        let mut out = b"before".to_vec();
        format.write(&PageReport::default(), &mut out).unwrap();
        assert!(out.starts_with(b"before") && out.len() > 6);
    }
}

#[test]
fn the_first_format_argument_chooses() {
    let json = format_by_name(b"json").unwrap();
    let queries: [(&[u8], &str); 14] = [
        (b"", "html"),
        (b"format=html", "html"),
        (b"format=json", "json"),
        (b"a=b&format=json", "json"),
        (b"format=json&a=b", "json"),
        (b"format=json&format=html", "json"),
        (b"format=json&format=xml", "json"),
        (b"&&format=json&", "json"),
        (b"a=format=json", "html"),
        (b"xformat=json", "html"),
        (b"FORMAT=json", "html"),
        (b"format", "html"),
        (b"format&format=json", "json"),
        (b"\xff\0=&\n", "html"),
    ];
    for (query, name) in queries {
        assert_eq!(format_from_query(query, &DEFAULT_FORMAT).unwrap().name(), name, "{query:?}");
    }

    assert_eq!(format_from_query(b"", json).unwrap().name(), "json");
    assert_eq!(format_from_query(b"format=html", json).unwrap().name(), "html");
}

#[test]
fn any_other_format_argument_is_an_error() {
    let queries: [&[u8]; 9] = [
        b"format=",
        b"format=xml",
        b"format=JSON",
        b"format=json ",
        b"format=jso",
        b"format=jsonp",
        b"format=j%73on",
        b"format=xml&format=json",
        b"format=\xff",
    ];

    for query in queries {
        assert!(format_from_query(query, &DEFAULT_FORMAT).is_err(), "{query:?}");
    }
    assert_eq!(
        format_from_argument(b"xml").unwrap_err().to_string(),
        "invalid value \"xml\", html or json is accepted"
    );
    assert!(format_by_name(b"").is_none());
}

proptest::proptest! {
    #[test]
    fn no_bytes_break_a_format(bytes in proptest::prelude::any::<Vec<u8>>()) {
        let peers = [PeerReport {
            name: Cow::Borrowed(&bytes),
            upstream: &bytes,
            server: Cow::Borrowed(&bytes),
            program: Some(hostile_program(&bytes)),
            ..PeerReport::default()
        }];
        let upstreams = [hostile_upstream(&bytes)];
        let report = PageReport { peers: &peers, upstreams: &upstreams, ..PageReport::default() };

        for format in STATUS_FORMATS {
            let page = page(format.name(), &report);
            assert_eq!(names(format.name(), &page).len(), 1);
            assert_eq!(upstream_names(format.name(), &page).len(), 1);
        }
    }
}
