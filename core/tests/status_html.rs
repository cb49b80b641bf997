//! The HTML page: its exact bytes for two rows, and what each cell may say.

use std::borrow::Cow;

use healthcheck_core::outcome::Outcome;
use healthcheck_core::report::{PageReport, PeerReport, ProgramReport, UpstreamReport};
use healthcheck_core::status::format_by_name;

fn page(report: &PageReport<'_>) -> String {
    let mut out = Vec::new();
    format_by_name(b"html").unwrap().write(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The cells of the only row.
fn cells(peer: PeerReport<'_>) -> Vec<String> {
    let page = page(&PageReport { peers: &[peer], ..PageReport::default() });
    let cells = page.lines().filter_map(|line| line.trim_start().strip_prefix("<td>"));
    cells.map(|cell| cell.strip_suffix("</td>").unwrap().to_owned()).collect()
}

#[test]
fn two_rows_make_exactly_this_page() {
    let peers = [
        PeerReport {
            index: 0,
            name: Cow::Borrowed(b"127.0.0.1:81"),
            owner_pid: 123,
            last_action_ms: 1_755_760_000_000,
            concurrent: 7,
            concurrent_since_ms: 1_755_759_000_001,
            last_down: true,
            outcome: Some(Outcome::BadStatusLine),
            down: true,
            upstream: b"backend",
            server: Cow::Borrowed(b"localhost:81"),
            line: Some(2),
            weight: 5,
            backup: true,
            admin_down: false,
            checked: true,
            latency_ms: Some(3),
            probes: 12,
            failures: 7,
            last_change_ms: Some(1_755_759_000_002),
            program: Some(ProgramReport {
                number: 2,
                name: Cow::Borrowed(b"backend2"),
                state: "starting",
                reported_state: Some("RUNNING"),
                reported_pid: 4321,
                admin_down: false,
                last_command: Some("start"),
                last_command_ms: 1_755_759_000_003,
                last_result: Some(Cow::Borrowed("fault 60 ALREADY_STARTED")),
                running: 3,
            }),
        },
        PeerReport {
            index: 1,
            name: Cow::Borrowed(b"unix:/run/<app>.sock"),
            upstream: b"R&D",
            server: Cow::Borrowed(b"unix:/run/<app>.sock"),
            line: Some(0),
            weight: 1,
            ..PeerReport::default()
        },
    ];
    let upstreams = [
        UpstreamReport {
            name: b"backend",
            held: 12,
            queue: Some(1_000),
            load: Some(12_305),
            requests: 1_234_567,
            managed: true,
        },
        UpstreamReport { name: b"R&D", requests: 7, ..UpstreamReport::default() },
    ];
    let report = PageReport {
        module_version: "0.1.0",
        nginx_version: "1.28.3",
        pid: 124,
        generated_ms: 1_755_760_000_123,
        peers: &peers,
        upstreams: &upstreams,
    };

    assert_eq!(page(&report), include_str!("status_html.golden.html"));
}

#[test]
fn the_page_is_well_formed_xhtml_with_one_table() {
    assert_eq!(shape(&[]), (1, 2, 19, 19));
}

#[test]
fn upstreams_that_hold_or_manage_make_a_second_table() {
    let plain = || UpstreamReport { held: 1, requests: 2, ..UpstreamReport::default() };
    let held = || UpstreamReport { queue: Some(3), ..plain() };
    let managed = || UpstreamReport { managed: true, ..plain() };

    assert_eq!(shape(&[plain(), plain()]), (1, 2, 19, 19));
    assert_eq!(shape(&[plain(), held()]), (2, 4, 24, 24));
    assert_eq!(shape(&[held(), managed(), plain(), managed()]), (2, 6, 24, 34));
}

/// How many tables, rows, head cells and other cells the page of one peer has.
fn shape(upstreams: &[UpstreamReport<'_>]) -> (usize, usize, usize, usize) {
    let peers = [PeerReport::default()];
    let page = page(&PageReport { peers: &peers, upstreams, ..PageReport::default() });
    let options =
        roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(&page, options).unwrap();
    let root = document.root_element();
    let count = |name| root.descendants().filter(|node| node.has_tag_name(name)).count();

    assert!(root.has_tag_name(("http://www.w3.org/1999/xhtml", "html")));
    assert_eq!(root.attribute("lang"), Some("en"));
    assert_eq!(root.attribute(("http://www.w3.org/XML/1998/namespace", "lang")), Some("en"));
    assert_eq!(count("title"), 1);
    assert!(!page.contains('\r'));
    (count("table"), count("tr"), count("th"), count("td"))
}

#[test]
fn an_unknown_peer_has_zeros_and_no_times() {
    assert_eq!(
        cells(PeerReport { weight: 1, ..PeerReport::default() }),
        "0||0|0|0|0|0|Unknown state|0|||1|-|0|0|never|||".split('|').collect::<Vec<_>>()
    );
}

#[test]
fn weight_names_backup_and_down() {
    let weight = |weight, backup, admin_down| {
        let peer = PeerReport { weight, backup, admin_down, ..PeerReport::default() };
        cells(peer).swap_remove(11)
    };

    assert_eq!(weight(1, false, false), "1");
    assert_eq!(weight(5, true, false), "5 backup");
    assert_eq!(weight(1, false, true), "1 down");
    assert_eq!(weight(2, true, true), "2 backup down");
}

#[test]
fn a_program_is_shown_by_name_or_number_with_its_state() {
    let program = |name: &'static [u8], number, state, running| {
        let name = Cow::Borrowed(name);
        let program = ProgramReport { number, name, state, running, ..ProgramReport::default() };
        cells(PeerReport { program: Some(program), ..PeerReport::default() }).swap_remove(16)
    };

    assert_eq!(program(b"backend3", 3, "up", 0), "backend3 up");
    assert_eq!(program(b"backend3", 3, "stopping", 2), "backend3 stopping, serving 2");
    assert_eq!(program(b"", 3, "down", 0), "3 down");
    assert_eq!(program(b"<b>", 0, "starting", 0), "&lt;b&gt; starting");
}

#[test]
fn what_supervisord_says_is_shown_as_it_says_it() {
    let says = |reported_state, reported_pid| {
        let program = ProgramReport { reported_state, reported_pid, ..ProgramReport::default() };
        cells(PeerReport { program: Some(program), ..PeerReport::default() }).swap_remove(17)
    };

    assert_eq!(says(None, 0), "-");
    assert_eq!(says(None, 7), "-");
    assert_eq!(says(Some("FATAL"), 0), "FATAL");
    assert_eq!(says(Some("RUNNING"), 7), "RUNNING, process 7");
}

#[test]
fn the_last_command_is_shown_with_its_time_and_result() {
    let command = |last_command, last_result: Option<&'static str>| {
        let program = ProgramReport {
            last_command,
            last_command_ms: 1_755_759_000_003,
            last_result: last_result.map(Cow::Borrowed),
            ..ProgramReport::default()
        };
        cells(PeerReport { program: Some(program), ..PeerReport::default() }).swap_remove(18)
    };

    assert_eq!(command(None, None), "never");
    assert_eq!(command(Some("stop"), None), "stop 2025-08-21T06:50:00.003Z");
    assert_eq!(
        command(Some("start"), Some("couldn't connect to <supervisord>")),
        "start 2025-08-21T06:50:00.003Z: couldn't connect to &lt;supervisord&gt;"
    );
}

#[test]
fn every_outcome_is_shown_by_its_sentence() {
    for outcome in Outcome::all() {
        let cells = cells(PeerReport { outcome: Some(outcome), ..PeerReport::default() });
        assert_eq!(cells[7], outcome.sentence());
    }
}

#[test]
fn down_and_unchecked_rows_can_be_told_by_their_class() {
    let row = |down, checked| {
        let peers = [PeerReport { down, checked, ..PeerReport::default() }];
        let page = page(&PageReport { peers: &peers, ..PageReport::default() });
        page.lines().filter(|line| line.contains("<tr")).nth(1).unwrap().trim_start().to_owned()
    };

    assert_eq!(row(false, true), "<tr>");
    assert_eq!(row(true, true), r#"<tr class="down">"#);
    assert_eq!(row(false, false), r#"<tr class="unchecked">"#);
}
