//! What is left when peers are gone: backups, configured `down`, nothing at all.

use std::time::{Duration, Instant};

use support::{check, servers, wait_until, Config, Nginx, Peer, CHECK, LIMIT};

#[test]
fn check_26_with_all_peers_down_a_request_fails_at_once() {
    for zone in ["", "zone backend 64k;"] {
        let peers = Peer::start_many(2);
        let body = format!("{zone} {CHECK} {}", servers(&peers));
        let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

        for peer in &peers {
            peer.healthy(false);
        }
        wait_until(LIMIT, "all down", || nginx.status().peers.iter().all(|row| row.down));
        nginx.wait_logged("is down", 2);
        let fail = |_| {
            let start = Instant::now();
            assert_eq!(nginx.get("/backend/").status, 502);
            start.elapsed()
        };
        let mut times: Vec<Duration> = (0..50).map(fail).collect();
        times.sort();
        // A busy machine holds some of them up, not most.
        assert!(times[25] < Duration::from_secs(1), "{times:?}");
        assert!(peers.iter().all(|peer| peer.request_count() == 0));

        // One line a request, nginx's own; ours are the flips, and perhaps what a busy machine did.
        assert_eq!(nginx.log_lines("no live upstreams").len(), 50);
        let mut lines = nginx.log_lines("healthcheck:");
        lines.retain(|line| !line.contains("the event loop stood still"));
        assert_eq!(lines.len(), 2, "{lines:#?}");

        peers[0].healthy(true);
        nginx.wait_down(&peers[0], false);
        nginx.wait_logged("is up", 1);
        assert_eq!(nginx.tally(20, "backend").at(&peers[0].to_string()), 20);
    }
}

#[test]
fn check_26_the_only_server_of_an_upstream_obeys_too() {
    for zone in ["", "zone backend 64k;"] {
        let peer = Peer::start();
        peer.healthy(false);
        let body = format!("{zone} {CHECK} {}", servers([&peer]));
        let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

        nginx.wait_down(&peer, true);
        nginx.wait_logged("is down", 1);
        assert_eq!(nginx.tally(20, "backend").with_status(502), 20);
        assert_eq!(peer.request_count(), 0);
        peer.healthy(true);
        nginx.wait_down(&peer, false);
        nginx.wait_logged("is up", 1);
        assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
    }
}

#[test]
fn check_27_a_backup_has_its_own_health_and_serves_when_the_primaries_are_down() {
    for extra in ["", "zone backend 64k;", "least_conn;", "zone backend 64k; least_conn;"] {
        backup_steps_in(extra);
    }
}

fn backup_steps_in(extra: &str) {
    let peers = Peer::start_many(3);
    let [first, second, backup] = &peers[..] else { panic!("three peers") };
    let body =
        format!("{extra} {CHECK} {} server {backup} max_fails=0 backup;", servers([first, second]));
    let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
    let used = || {
        let tally = nginx.tally(30, "backend");
        assert_eq!(tally.with_status(200), 30, "{extra}: {tally:?}");
        [first, second, backup].map(|peer| tally.at(&peer.to_string()) > 0)
    };

    let page = nginx.wait_probed();
    assert!(page.row(backup).backup && !page.row(first).backup);
    assert!(page.peers.iter().all(|row| !row.down));
    assert_eq!(used(), [true, true, false], "{extra}");

    first.healthy(false);
    nginx.wait_down(first, true);
    nginx.wait_logged("is down", 1);
    assert!(!nginx.row(backup).down && !nginx.row(second).down, "health is each peer's own");
    assert_eq!(used(), [false, true, false], "{extra}");

    second.healthy(false);
    nginx.wait_down(second, true);
    nginx.wait_logged("is down", 2);
    assert_eq!(used(), [false, false, true], "{extra}");

    backup.healthy(false);
    nginx.wait_down(backup, true);
    nginx.wait_logged("is down", 3);
    assert_eq!(nginx.tally(10, "backend").with_status(502), 10, "{extra}");

    first.healthy(true);
    nginx.wait_down(first, false);
    nginx.wait_logged("is up", 1);
    assert!(nginx.row(backup).down, "health is each peer's own");
    assert_eq!(used(), [true, false, false], "{extra}");
}

#[test]
fn a_server_that_the_configuration_marks_down_is_listed_and_left_alone() {
    for zone in ["", "zone backend 64k;"] {
        let peers = Peer::start_many(2);
        let body = format!("{zone} {CHECK} {} server {} down;", servers([&peers[0]]), peers[1]);
        let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));

        nginx.wait_row(&peers[0], "is probed", |row| row.concurrent >= 8);
        let row = nginx.row(&peers[1]);
        assert!(row.admin_down && !row.last_down, "{row:#?}");
        assert_eq!((row.status.as_str(), row.probes, row.concurrent), ("Unknown state", 0, 0));
        assert_eq!(nginx.tally(30, "backend").at(&peers[0].to_string()), 30);

        // Its neighbour's flips do not bring it in.
        peers[0].healthy(false);
        nginx.wait_down(&peers[0], true);
        nginx.wait_logged("is down", 1);
        assert_eq!(nginx.tally(10, "backend").with_status(502), 10);
        peers[0].healthy(true);
        nginx.wait_down(&peers[0], false);
        nginx.wait_logged("is up", 1);
        assert_eq!(nginx.tally(30, "backend").at(&peers[0].to_string()), 30);
        assert_eq!(peers[1].connection_count(), 0);
    }
}

#[test]
fn a_retry_within_a_request_reaches_the_peers_that_are_up() {
    // nginx counts its attempts by the peers that are not down: with one of them sick, a request
    // that the first peer fails still gets its second chance, and the last answer is passed on.
    for zone in ["", "zone backend 64k;"] {
        let mut peers = Peer::start_many(3);
        let body = format!("{zone} {CHECK} {}", servers(&peers));
        let again =
            "location /again/ { proxy_pass http://backend/; proxy_next_upstream http_500 error; }";
        let config = Config::new().workers(2).upstream("backend", body).server(again);
        let nginx = Nginx::start(&config);
        let path = "/again/";
        let statuses = || {
            let tally = support::Tally::of(30, nginx.address(), path);
            (tally.with_status(200), tally.with_status(500))
        };

        peers[0].healthy(false);
        nginx.wait_down(&peers[0], true);
        nginx.wait_logged("is down", 1);
        peers[1].requests(support::Script::status(500, "broken"));
        assert_eq!(statuses(), (30, 0), "the other peer answers");

        peers[2].stop();
        nginx.wait_down(&peers[2], true);
        nginx.wait_logged("is down", 2);
        assert_eq!(statuses(), (0, 30), "the only peer's own answer, no 502");
    }
}

#[test]
fn an_address_that_is_listed_twice_is_one_peer_with_two_rows() {
    for zone in ["", "zone backend 64k;"] {
        let peers = Peer::start_many(2);
        let body = format!("{zone} {CHECK} {} {}", servers(&peers), servers([&peers[1]]));
        let nginx = Nginx::start(&Config::new().workers(2).upstream("backend", body));
        let sick = peers[1].to_string();
        let rows = || {
            let rows = nginx.status().of("backend");
            rows.into_iter().filter(|row| row.name == sick).collect::<Vec<_>>()
        };

        // A peer that is held up misses some: in the long run, both get as many, or one gets twice as many.
        wait_until(LIMIT, "as many probes of it as of the other", || {
            let (one, twice) = (peers[0].probe_count(), peers[1].probe_count());
            one >= 12 && twice >= 12 && twice * 2 <= one * 3
        });
        peers[1].healthy(false);
        wait_until(LIMIT, "both rows are down", || rows().iter().all(|row| row.down));
        nginx.wait_logged("is down", 1);
        assert_eq!(rows().len(), 2);
        assert_eq!(nginx.tally(60, "backend").at(&sick), 0);
        assert_eq!(nginx.log_lines("is down").len(), 1);
        peers[1].healthy(true);
        wait_until(LIMIT, "both rows are up", || rows().iter().all(|row| !row.down));
        nginx.wait_logged("is up", 1);
        assert!(nginx.tally(60, "backend").at(&sick) > 0);
    }
}

#[test]
fn one_peer_has_its_own_health_in_each_upstream() {
    let peers = Peer::start_many(2);
    // No probe fails because a peer was held up.
    let check = check(200, 20_000, 2);
    let strict = format!("{check} healthcheck_expected other; {}", servers(&peers));
    let config = Config::new()
        .workers(2)
        .upstream("lax", format!("{check} {}", servers(&peers)))
        .upstream("strict", strict);
    let nginx = Nginx::start(&config);

    wait_until(LIMIT, "the strict one is down", || {
        nginx.status().of("strict").iter().all(|row| row.down)
    });
    nginx.wait_logged("is down", 2);
    assert!(nginx.status().of("lax").iter().all(|row| !row.down && row.failures == 0));
    assert_eq!(nginx.tally(20, "strict").with_status(502), 20);
    assert_eq!(nginx.tally(20, "lax").with_status(200), 20);
}
