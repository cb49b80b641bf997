//! The JSON page, field by field.

use std::borrow::Cow;

use healthcheck_core::outcome::Outcome;
use healthcheck_core::report::{PageReport, PeerReport, ProgramReport, UpstreamReport};
use healthcheck_core::status::format_by_name;
use serde_json::{json, Value};

fn page(report: &PageReport<'_>) -> String {
    let mut out = Vec::new();
    format_by_name(b"json").unwrap().write(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_probed_and_an_unknown_peer_have_every_field_in_the_documented_order() {
    let peers = [
        PeerReport {
            index: 0,
            name: Cow::Borrowed(b"127.0.0.1:81"),
            owner_pid: 123,
            last_action_ms: 1_755_760_000_000,
            concurrent: 7,
            concurrent_since_ms: 1_755_759_000_001,
            last_down: true,
            outcome: Some(Outcome::BadCode),
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
            name: Cow::Borrowed(b"unix:/run/app.sock"),
            upstream: b"other",
            server: Cow::Borrowed(b"unix:/run/app.sock"),
            weight: 1,
            admin_down: true,
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
        pid: 123,
        generated_ms: 1_755_760_000_123,
        peers: &peers,
        upstreams: &upstreams,
    };

    assert_eq!(
        page(&report),
        concat!(
            r#"{"version":1,"module_version":"0.1.0","nginx_version":"1.28.3","pid":123,"#,
            r#""generated_ms":1755760000123,"peers":["#,
            r#"{"index":0,"name":"127.0.0.1:81","owner_pid":123,"last_action_ms":1755760000000,"#,
            r#""concurrent":7,"concurrent_since_ms":1755759000001,"last_down":true,"#,
            r#""status":"Non 200 HTTP status code","down":true,"upstream":"backend","#,
            r#""server":"localhost:81","line":2,"weight":5,"backup":true,"admin_down":false,"#,
            r#""checked":true,"code":"bad_code","latency_ms":3,"probes":12,"failures":7,"#,
            r#""last_change":"2025-08-21T06:50:00.002Z","program":{"number":2,"#,
            r#""name":"backend2","state":"starting","reported_state":"RUNNING","#,
            r#""reported_pid":4321,"admin_down":false,"last_command":"start","#,
            r#""last_command_ms":1755759000003,"last_result":"fault 60 ALREADY_STARTED","#,
            r#""running":3}},"#,
            r#"{"index":1,"name":"unix:/run/app.sock","owner_pid":0,"last_action_ms":0,"#,
            r#""concurrent":0,"concurrent_since_ms":0,"last_down":false,"#,
            r#""status":"Unknown state","down":false,"upstream":"other","#,
            r#""server":"unix:/run/app.sock","line":null,"weight":1,"backup":false,"#,
            r#""admin_down":true,"checked":false,"code":"unknown","latency_ms":null,"#,
            r#""probes":0,"failures":0,"last_change":null,"program":null}],"#,
            r#""upstreams":[{"name":"backend","held":12,"queue":1000,"load":123.05,"#,
            r#""requests":1234567,"managed":true},{"name":"R&D","held":0,"queue":null,"#,
            r#""load":null,"requests":7,"managed":false}]}"#,
            "\n"
        )
    );
}

#[test]
fn every_outcome_is_shown_by_its_sentence_and_code() {
    let peers: Vec<_> = Outcome::all()
        .map(|outcome| PeerReport { outcome: Some(outcome), ..PeerReport::default() })
        .collect();
    let page = page(&PageReport { peers: &peers, ..PageReport::default() });
    let page: Value = serde_json::from_str(&page).unwrap();

    for (index, outcome) in Outcome::all().enumerate() {
        assert_eq!(page["peers"][index]["status"], json!(outcome.sentence()));
        assert_eq!(page["peers"][index]["code"], json!(outcome.code()));
    }
}

#[test]
fn times_are_written_up_to_the_year_9999() {
    let times = [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, "9999-12-31T23:59:59.999Z"),
        (u64::MAX, "9999-12-31T23:59:59.999Z"),
    ];

    for (epoch_ms, text) in times {
        let peers = [PeerReport { last_change_ms: Some(epoch_ms), ..PeerReport::default() }];
        let page = page(&PageReport { peers: &peers, ..PageReport::default() });
        let page: Value = serde_json::from_str(&page).unwrap();
        assert_eq!(page["peers"][0]["last_change"], json!(text));
    }
}

#[test]
fn a_program_that_nothing_happened_to_yet_has_nulls() {
    let program = ProgramReport { state: "down", ..ProgramReport::default() };
    let peers = [PeerReport { program: Some(program), ..PeerReport::default() }];
    let page = page(&PageReport { peers: &peers, ..PageReport::default() });
    let page: Value = serde_json::from_str(&page).unwrap();

    assert_eq!(
        page["peers"][0]["program"],
        json!({
            "number": 0, "name": "", "state": "down", "reported_state": null, "reported_pid": null,
            "admin_down": false, "last_command": null, "last_command_ms": null,
            "last_result": null, "running": 0,
        })
    );
}

#[test]
fn a_load_is_in_requests_per_second() {
    for (hundredths, load) in [(0, "0.0"), (1, "0.01"), (100, "1.0"), (12_345, "123.45")] {
        let upstreams = [UpstreamReport { load: Some(hundredths), ..UpstreamReport::default() }];
        let page = page(&PageReport { upstreams: &upstreams, ..PageReport::default() });
        assert!(page.contains(&format!("\"load\":{load},")), "{page}");
    }
}
