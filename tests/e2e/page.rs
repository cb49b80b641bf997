//! The status page: formats, columns, methods, and text that tries to be markup.

use support::status::table;
use support::{servers, wait_until, Config, Environment, Nginx, Page, Peer, Request, CHECK, LIMIT};

const COLUMNS: [&str; 9] = [
    "Index",
    "Name",
    "Owner PID",
    "Last action time",
    "Concurrent status values",
    "Time of concurrent values",
    "Last response down",
    "Last health status",
    "Is down?",
];

fn two_peers() -> (Nginx, Vec<Peer>) {
    let peers = Peer::start_many(2);
    let body = format!("{CHECK} {}", servers(&peers));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));
    nginx.wait_probed();
    (nginx, peers)
}

#[test]
fn check_24_the_html_page_has_the_nine_columns_first_and_a_row_a_peer() {
    let (nginx, peers) = two_peers();
    peers[1].healthy(false);
    nginx.wait_down(&peers[1], true);
    let response = nginx.get("/status");

    assert_eq!(response.status, 200);
    assert_eq!(response.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(response.header("Content-Length"), Some(&*response.body.len().to_string()));
    let table = table(&response.text());
    assert_eq!(table[0][..9], COLUMNS);
    assert_eq!(table.len(), 1 + peers.len());
    assert!(table.iter().all(|line| line.len() == table[0].len()));

    for (index, (line, peer)) in table[1..].iter().zip(&peers).enumerate() {
        assert_eq!((&line[0], &line[1]), (&index.to_string(), &peer.to_string()));
        assert_eq!(line[2], nginx.row(peer).owner_pid.to_string());
        for number in [&line[3], &line[4], &line[5]] {
            assert!(number.parse::<u64>().is_ok_and(|number| number > 0), "{line:?}");
        }
    }
    assert_eq!(table[1][6..9], ["0", "OK", "0"]);
    assert_eq!(table[2][6..9], ["1", "Non 200 HTTP status code", "1"]);
    assert!(table[1][9..].contains(&"backend".to_owned()));
}

#[test]
fn check_24_head_has_the_headers_and_no_body() {
    let (nginx, _peers) = two_peers();

    for (path, kind) in
        [("/status", "text/html; charset=utf-8"), ("/status.json", "application/json")]
    {
        let response = nginx.send(&Request::get(path).method("HEAD"));
        assert_eq!((response.status, response.body.len()), (200, 0));
        assert_eq!(response.header("Content-Type"), Some(kind));
    }
}

#[test]
fn check_24_other_methods_are_not_allowed() {
    let (nginx, _peers) = two_peers();

    for path in ["/status", "/status.json"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let request = Request::get(path).method(method).body(b"a=b");
            assert_eq!(nginx.send(&request).status, 405, "{method}");
        }
    }
    assert_eq!(nginx.send(&Request::get("/status").body(b"a=b")).status, 200);
}

#[test]
fn the_json_page_says_what_the_html_page_says() {
    let (nginx, peers) = two_peers();
    let response = nginx.get("/status.json");
    let page = Page::parse(&response.text());

    assert_eq!(response.header("Content-Type"), Some("application/json"));
    assert_eq!(page.version, 1);
    assert_eq!(page.nginx_version, Environment::get().version);
    assert!(!page.module_version.is_empty());
    assert_eq!(page.pid, nginx.workers()[0]);
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_millis();
    assert!(u128::from(page.generated_ms).abs_diff(now) < 60_000, "{}", page.generated_ms);

    for (index, (row, peer)) in page.peers.iter().zip(&peers).enumerate() {
        assert_eq!((row.index, &row.name), (index as u64, &peer.to_string()));
        assert_eq!(
            (&*row.upstream, &row.server, row.line),
            ("backend", &peer.to_string(), Some(index as u64))
        );
        assert_eq!((row.weight, row.backup, row.admin_down, row.checked), (1, false, false, true));
        assert_eq!((&*row.status, &*row.code, row.down), ("OK", "ok", false));
        assert!(row.latency_ms.is_some() && row.probes > 0 && row.last_change.is_none());
        // Times of day, not of a clock that started with the machine.
        for time in [row.last_action_ms, row.concurrent_since_ms] {
            assert!(time.abs_diff(page.generated_ms) < 60_000, "{row:#?}");
        }
    }
}

#[test]
fn the_last_change_is_a_readable_time() {
    let (nginx, peers) = two_peers();
    peers[0].healthy(false);
    nginx.wait_down(&peers[0], true);

    let change = nginx.row(&peers[0]).last_change.expect("it went down");
    let shape: String =
        change.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z");
    assert!(nginx.row(&peers[1]).last_change.is_none());
}

#[test]
fn a_query_chooses_the_format_and_an_unknown_one_is_a_bad_request() {
    let (nginx, _peers) = two_peers();
    let kind = |path: &str| {
        let response = nginx.get(path);
        assert_eq!(response.status, 200, "{path}");
        response.header("Content-Type").expect("a type").to_owned()
    };

    for path in ["/status", "/status?format=html", "/status.json?format=html", "/status?x=y"] {
        assert_eq!(kind(path), "text/html; charset=utf-8", "{path}");
    }
    for path in ["/status.json", "/status?format=json", "/status.json?x=y&format=json"] {
        assert_eq!(kind(path), "application/json", "{path}");
    }
    for query in ["format=xml", "format=", "format=JSON", "format=json%00"] {
        assert_eq!(nginx.get(&format!("/status?{query}")).status, 400, "{query}");
    }
}

#[test]
fn check_22_upstreams_without_checks_are_listed_as_unknown_and_left_alone() {
    let peers = Peer::start_many(4);
    let plain = |zone: &str| format!("{zone} {}", servers(&peers[2..]));
    let config = Config::new()
        .upstream("backend", format!("{CHECK} {}", servers(&peers[..2])))
        .upstream("plain", plain(""))
        .upstream("zoned", plain("zone zoned 64k;"));
    for peer in &peers {
        peer.healthy(false);
    }
    let nginx = Nginx::start(&config);

    wait_until(LIMIT, "the checked ones are down", || {
        nginx.status().of("backend").iter().all(|row| row.down)
    });
    for upstream in ["plain", "zoned"] {
        let rows = nginx.status().of(upstream);
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, [peers[2].to_string(), peers[3].to_string()]);
        for row in rows {
            assert_eq!((&*row.status, &*row.code), ("Unknown state", "unknown"), "{row:#?}");
            assert!(!row.checked && !row.down && row.probes == 0 && row.owner_pid == 0);
        }
        let tally = nginx.tally(40, upstream);
        assert_eq!((tally.at(&peers[2].to_string()), tally.at(&peers[3].to_string())), (20, 20));
    }
    assert!(peers[2..].iter().all(|peer| peer.probe_count() == 0), "they are never probed");
    assert_eq!(table(&nginx.get("/status").text()).len(), 1 + 6);
}

#[test]
fn weight_backup_and_configured_down_are_shown() {
    let lines =
        "server 127.0.0.1:9 weight=7; server 127.0.0.1:10 backup; server 127.0.0.1:11 down;";
    let config = Config::new()
        .upstream("backend", format!("healthcheck_enabled; {lines}"))
        .upstream("plain", lines);
    let nginx = Nginx::start(&config);

    for upstream in ["backend", "plain"] {
        let mut rows = nginx.status().of(upstream);
        rows.sort_by_key(|row| row.line);
        let shown: Vec<_> =
            rows.iter().map(|row| (row.line, row.weight, row.backup, row.admin_down)).collect();
        assert_eq!(
            shown,
            [(Some(0), 7, false, false), (Some(1), 1, true, false), (Some(2), 1, false, true)],
            "{upstream}"
        );
    }
}

#[test]
fn names_that_look_like_markup_stay_text() {
    let name = "<b>&amp;'\\\"";
    let peer = Peer::start();
    let body = format!("upstream \"{name}\" {{ {CHECK} {} }}", servers([&peer]));
    let nginx = Nginx::start(&Config::new().http(&body));
    let expected = "<b>&amp;'\"";

    nginx.wait_probed();
    assert_eq!(nginx.row(&peer).upstream, expected);
    let html = nginx.get("/status").text();
    assert!(!html.contains("<b>"), "{html}");
    assert!(table(&html)[1].contains(&expected.to_owned()), "{:?}", table(&html));
}

#[test]
fn the_page_at_server_level_serves_what_no_location_does() {
    let (_peer, body) = {
        let peer = Peer::start();
        let body = format!("{CHECK} {}", servers([&peer]));
        (peer, body)
    };
    let nginx =
        Nginx::start(&Config::new().upstream("backend", body).server("healthcheck_status json;"));

    assert_eq!(Page::parse(&nginx.get("/anything").text()).peers.len(), 1);
    assert_eq!(nginx.get("/generation").text(), "0");
}

#[test]
fn without_any_upstream_the_page_is_empty() {
    let nginx = Nginx::start(&Config::new());

    assert!(nginx.status().peers.is_empty());
    assert_eq!(table(&nginx.get("/status").text()).len(), 1);
}
