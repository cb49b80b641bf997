//! A program that is not up gets no new request, from any balancer and in any worker, as soon as the
//! page has answered.

use std::time::Instant;

use support::{servers, Config, Nginx, Peer};

const NONE: &str = "supervisord none; supervisord_inherit_backend_status;";
const KEEPALIVE: &str = "proxy_http_version 1.1; proxy_set_header Connection '';";

/// Stops and starts the second of three peers in upstreams with this line, with and without a zone.
fn obeys(line: &str) {
    let peers = Peer::start_many(3);
    let mut config = Config::new().workers(3).server(KEEPALIVE);
    let names = ["plain", "zoned", "kept", "kept_zoned"];
    for name in names {
        let zone =
            if name.ends_with("zoned") { format!("zone {name} 64k;") } else { String::new() };
        let kept = if name.starts_with("kept") { "keepalive 8;" } else { "" };
        let body = format!("{zone} {line} {NONE} {} {kept}", servers(&peers));
        config = config.upstream(name, body).commands(name);
    }
    let nginx = Nginx::start(&config);
    let stopped = peers[1].to_string();
    let at_stopped = |name: &str| {
        let tally = nginx.tally(60, name);
        assert_eq!(tally.with_status(200), 60, "{line} {name}: {tally:?}");
        assert_eq!(tally.workers.len(), 3, "{line} {name}: {tally:?}");
        tally.at(&stopped)
    };

    for name in names {
        assert!(at_stopped(name) > 0, "{line} {name}: it gets its share");
        for _ in 0..2 {
            assert!(nginx.stop_page(name, 1).accepted);
            assert_eq!(at_stopped(name), 0, "{line} {name}");
            assert!(nginx.start_page(name, 1).accepted);
            assert!(at_stopped(name) > 0, "{line} {name}: it gets its share again");
        }
    }
}

#[test]
fn round_robin_obeys() {
    obeys("");
}

#[test]
fn least_conn_obeys() {
    obeys("least_conn;");
}

#[test]
fn hash_obeys() {
    obeys("hash $arg_k;");
}

#[test]
fn consistent_hash_obeys() {
    obeys("hash $arg_k consistent;");
}

#[test]
fn ip_hash_obeys() {
    obeys("ip_hash;");
}

#[test]
fn random_obeys() {
    obeys("random two least_conn;");
}

#[test]
fn check_40_a_line_marked_down_joins_when_it_is_started() {
    let peers = Peer::start_many(3);
    let body = format!(
        "{NONE} server {} max_fails=0; server {} max_fails=0; server {} max_fails=0 down;",
        peers[0], peers[1], peers[2]
    );
    let nginx =
        Nginx::start(&Config::new().workers(2).upstream("backend", body).commands("backend"));
    let third = peers[2].to_string();

    let tally = nginx.tally(60, "backend");
    assert_eq!((tally.at(&third), tally.with_status(200)), (0, 60), "{tally:?}");
    assert!(nginx.start_page("backend", 2).accepted);
    let tally = nginx.tally(60, "backend");
    assert_eq!(tally.workers.len(), 2);
    assert!(tally.at(&third) > 0 && tally.at(&peers[0].to_string()) > 0, "{tally:?}");
}

#[test]
fn check_41_a_stopped_program_gets_none_of_a_hundred_requests() {
    let peers = Peer::start_many(3);
    let body = format!("{NONE} {}", servers(&peers));
    let nginx =
        Nginx::start(&Config::new().workers(2).upstream("backend", body).commands("backend"));

    for _ in 0..2 {
        assert_eq!(nginx.get("/stop/backend/0").status, 200);
        let tally = nginx.tally(100, "backend");
        assert_eq!(tally.with_status(200), 100, "{tally:?}");
        assert_eq!(tally.at(&peers[0].to_string()), 0, "{tally:?}");
    }
    assert_eq!(nginx.log_lines("program \"backend0\" of upstream \"backend\" is down").len(), 1);
}

#[test]
fn check_44_without_any_program_up_requests_fail_at_once_until_one_is_started() {
    let peers = Peer::start_many(2);
    let body = format!("supervisord none; {}", servers(&peers));
    let nginx =
        Nginx::start(&Config::new().workers(2).upstream("backend", body).commands("backend"));
    let workers = nginx.workers();

    assert_eq!(nginx.tally(20, "backend").with_status(502), 20);
    assert_eq!(nginx.log_lines("[error]").len(), 20, "one line a request");
    assert!(nginx.start_page("backend", 0).accepted);
    let tally = nginx.tally(20, "backend");
    assert_eq!(tally.at(&peers[0].to_string()), 20, "{tally:?}");
    assert_eq!(tally.with_status(200), 20);
    assert_eq!(nginx.workers(), workers, "none has crashed");
}

#[test]
fn a_backup_line_is_a_program_too() {
    let peers = Peer::start_many(2);
    let body =
        format!("{NONE} server {} max_fails=0; server {} max_fails=0 backup;", peers[0], peers[1]);
    let nginx =
        Nginx::start(&Config::new().workers(2).upstream("backend", body).commands("backend"));

    assert_eq!(nginx.tally(20, "backend").at(&peers[0].to_string()), 20);
    assert!(nginx.stop_page("backend", 0).accepted);
    assert_eq!(nginx.tally(20, "backend").at(&peers[1].to_string()), 20);
    assert!(nginx.stop_page("backend", 1).accepted);
    assert_eq!(nginx.tally(20, "backend").with_status(502), 20);
}

#[test]
fn a_single_line_obeys() {
    for zone in ["", "zone backend 64k;"] {
        let peer = Peer::start();
        let body = format!("{zone} {NONE} {}", servers([&peer]));
        let config = Config::new().workers(2).upstream("backend", body).commands("backend");
        let nginx = Nginx::start(&config);

        assert_eq!(nginx.tally(10, "backend").with_status(200), 10);
        assert!(nginx.stop_page("backend", 0).accepted);
        assert_eq!(nginx.tally(10, "backend").with_status(502), 10);
        assert!(nginx.start_page("backend", 0).accepted);
        assert_eq!(nginx.tally(10, "backend").with_status(200), 10);
    }
}

#[test]
fn no_request_that_starts_after_a_stop_reaches_the_program() {
    for zone in ["", "zone backend 64k;"] {
        let peers = Peer::start_many(3);
        let body = format!("{zone} {NONE} {}", servers(&peers));
        let config = Config::new().workers(4).upstream("backend", body).commands("backend");
        let nginx = Nginx::start(&config);
        let stopped = peers[0].to_string();
        let mut down = Vec::new();

        let load = nginx.load(4, "backend");
        for _ in 0..10 {
            assert!(nginx.stop_page("backend", 0).accepted);
            let from = Instant::now();
            nginx.tally(10, "backend");
            down.push((from, Instant::now()));
            assert!(nginx.start_page("backend", 0).accepted);
            nginx.tally(10, "backend");
        }
        let samples = load.stop();

        assert!(samples.iter().all(|sample| sample.status == Some(200)));
        assert!(samples.iter().any(|sample| sample.peer == stopped), "it is used while it is up");
        for (from, to) in down {
            let during = samples.iter().filter(|own| own.started > from && own.finished < to);
            let late = during.filter(|sample| sample.peer == stopped).count();
            assert_eq!(late, 0);
        }
    }
}
