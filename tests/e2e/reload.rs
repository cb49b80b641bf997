//! A reload keeps what is known of the peers, and leaves nothing of the old workers behind.

use std::thread::sleep;
use std::time::{Duration, Instant};

use support::{
    can_measure_memory, check, process, servers, wait_until, Config, Nginx, Peer, Script, CHECK,
    LIMIT,
};

/// An upstream over these peers.
fn body(zone: &str, peers: &[&Peer]) -> String {
    format!("{zone} {CHECK} {}", servers(peers.iter().copied()))
}

/// nginx with one sick peer, the second, that is known to be down.
fn with_a_sick_peer(config: &Config, peers: &[Peer]) -> Nginx {
    peers[1].healthy(false);
    let nginx = Nginx::start(config);
    nginx.wait_probed();
    nginx.wait_down(&peers[1], true);
    // Every worker knows it before it is in the log.
    nginx.wait_logged("is down", 1);
    nginx
}

/// Probes of a peer, be they in one upstream or in more, are no more than those of a period of 200 ms.
fn no_faster(peer: &Peer, upstreams: u32) {
    const PERIODS: u32 = 10;

    // What was sent before does not count, however late the peer's threads are.
    let start = Instant::now();
    peer.settle();
    let before = peer.probe_count();
    let more = (PERIODS * upstreams) as usize;
    wait_until(LIMIT, "probes of ten periods", || peer.probe_count() >= before + more);
    // Nine periods lie between ten probes; the first one may have been late by half of one.
    let least = Duration::from_millis(200) * (PERIODS - 1) - Duration::from_millis(120);
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
}

#[test]
fn check_21_a_peer_that_is_down_gets_nothing_during_and_after_a_reload() {
    for zone in ["", "zone backend 64k;"] {
        let peers = Peer::start_many(3);
        let all: Vec<&Peer> = peers.iter().collect();
        let config = Config::new().workers(2).upstream("backend", body(zone, &all));
        let mut nginx = with_a_sick_peer(&config, &peers);
        let sick = peers[1].to_string();
        let before = nginx.row(&sick);

        let load = nginx.load(3, "backend");
        for _ in 0..5 {
            nginx.reload(&config);
            let row = nginx.row(&sick);
            assert!(row.down && row.last_down, "{row:#?}");
            assert!(row.failures >= before.failures && row.concurrent >= before.concurrent);
            assert_eq!(row.last_change, before.last_change, "the reload is no change of health");
            assert_eq!(nginx.tally(30, "backend").at(&sick), 0);
        }
        // The tallies' requests, and as many of the load.
        wait_until(LIMIT, "a load", || {
            peers.iter().map(Peer::request_count).sum::<usize>() > 2 * 5 * 30
        });
        let samples = load.stop();
        assert_eq!(samples.iter().filter(|sample| sample.peer == sick).count(), 0, "{zone}");
        assert_eq!(peers[1].request_count(), 0);
        assert_eq!(nginx.log_lines("is down").len(), 1, "no second flip");
    }
}

#[test]
fn probing_goes_on_after_a_reload_once_a_period() {
    let peers = Peer::start_many(2);
    let all: Vec<&Peer> = peers.iter().collect();
    let config = Config::new().workers(2).upstream("backend", body("", &all));
    let mut nginx = Nginx::start(&config);
    nginx.wait_probed();

    nginx.reload(&config);
    no_faster(&peers[0], 1);
    peers[0].healthy(false);
    nginx.wait_down(&peers[0], true);
    nginx.wait_logged("is down", 1);
    assert_eq!(nginx.tally(40, "backend").at(&peers[0].to_string()), 0);
}

#[test]
fn health_stays_with_the_address_when_servers_are_reordered_added_and_removed() {
    let peers = Peer::start_many(4);
    let [first, sick, third, added] = &peers[..] else { panic!("four peers") };
    let config = |list: &[&Peer]| Config::new().workers(2).upstream("backend", body("", list));
    let start = config(&[first, sick, third]);
    let mut nginx = with_a_sick_peer(&start, &peers);
    let mut reload_to = |list: &[&Peer]| {
        nginx.reload(&start.clone().upstream("backend", body("", list)));
        let page = nginx.status();
        let tally = nginx.tally(60, "backend");
        assert_eq!(tally.with_status(200), 60, "{tally:?}");
        let order: Vec<&str> = page.peers.iter().map(|row| row.name.as_str()).collect();
        let expected: Vec<String> = list.iter().map(|peer| peer.to_string()).collect();
        assert_eq!(order, expected);
        (page, tally)
    };

    for list in [
        &[sick, third, first][..],
        &[added, third, sick, first],
        &[sick, added],
        &[first, added, sick],
    ] {
        let (page, tally) = reload_to(list);
        for row in &page.peers {
            assert_eq!(row.down, row.name == sick.to_string(), "{row:#?}");
        }
        assert_eq!(tally.at(&sick.to_string()), 0);
    }

    // Without it, and with it again: what was known of a peer that nobody listed may be lost or
    // kept, but never given to another.
    let (page, _) = reload_to(&[first, third, added]);
    assert!(page.peers.iter().all(|row| !row.down), "{page:#?}");
    reload_to(&[first, third, added]);
}

#[test]
fn an_added_server_is_probed_and_starts_up() {
    let peers = Peer::start_many(2);
    // A probe that is held is not to end by itself.
    let body = |peers: &[Peer]| format!("{} {}", check(200, 60_000, 2), servers(peers));
    let config = Config::new().workers(2).upstream("backend", body(&peers[..1]));
    let mut nginx = Nginx::start(&config);
    nginx.wait_probed();

    peers[1].hold_probes();
    nginx.reload(&config.upstream("backend", body(&peers)));
    let row = nginx.row(&peers[1]);
    assert!(!row.down && row.concurrent == 0, "{row:#?}");
    assert!(nginx.tally(20, "backend").at(&peers[1].to_string()) > 0);
    peers[1].next_probes(vec![Script::status(500, ""); 2]);
    nginx.wait_down(&peers[1], true);
}

#[test]
fn a_changed_check_counts_from_the_reload_on() {
    let peer = Peer::start();
    let config = Config::new().upstream("backend", body("", &[&peer]));
    let mut nginx = Nginx::start(&config);
    nginx.wait_row(&peer, "passes", |row| row.concurrent >= 2);

    let expecting = format!("{} healthcheck_expected other;", body("", &[&peer]));
    nginx.reload(&config.clone().upstream("backend", expecting));
    assert_eq!(nginx.wait_down(&peer, true).code, "bad_body");
    nginx.reload(&config.clone().upstream("backend", servers([&peer])));
    let row = nginx.row(&peer);
    assert_eq!((row.status.as_str(), row.down, row.checked), ("Unknown state", false, false));
    assert_eq!(nginx.tally(10, "backend").with_status(200), 10, "without a check it is used");
    peer.settle();
    let probes = peer.probe_count();
    nginx.reload(&config.upstream("backend", servers([&peer])));
    peer.settle();
    assert_eq!(peer.probe_count(), probes);
}

#[test]
fn a_refused_reload_changes_nothing() {
    let peers = Peer::start_many(3);
    let all: Vec<&Peer> = peers.iter().collect();
    let config = Config::new().workers(2).upstream("backend", body("", &all));
    let mut nginx = with_a_sick_peer(&config, &peers);
    let workers = nginx.workers();
    nginx.allow_in_log("[emerg]");

    // Refused after the zone was made: the port belongs to the test.
    let taken = Peer::start();
    for bad in [format!("server {{ listen {taken}; }}"), "no_such_directive on;".to_owned()] {
        let refusals = nginx.log_lines("[emerg]").len();
        nginx.signal_reload(&config.clone().http(&bad));
        wait_until(LIMIT, "a refusal", || nginx.log_lines("[emerg]").len() > refusals);
        wait_until(LIMIT, "nginx gives up", || {
            !bad.starts_with("server") || !nginx.log_lines("still could not bind()").is_empty()
        });
        assert_eq!(nginx.workers(), workers);
        let before = nginx.row(&peers[1]).probes;
        nginx.wait_row(&peers[1], "is still probed", |row| row.probes >= before + 3);
        assert!(nginx.row(&peers[1]).down);
        assert_eq!(nginx.tally(30, "backend").at(&peers[1].to_string()), 0);
    }
    nginx.reload(&config);
    assert!(nginx.row(&peers[1]).down);
}

#[test]
fn check_20_old_workers_are_gone_at_once_although_probes_hang() {
    let peers = Peer::start_many(4);
    for peer in &peers {
        peer.probes(Script::silent());
    }
    // Longer than any limit here.
    let body = format!("{} {}", check(200, 600_000, 2), servers(&peers));
    let config = Config::new().workers(2).upstream("backend", body);
    let mut nginx = Nginx::start(&config);
    wait_until(LIMIT, "probes hang", || peers.iter().all(|peer| peer.probe_count() == 1));

    let old = nginx.workers();
    nginx.signal_reload(&config);
    nginx.await_generation(LIMIT);
    wait_until(LIMIT, "old workers gone", || old.iter().all(|&pid| !process::is_alive(pid)));
    // Their probes were abandoned without a verdict, and others begin.
    wait_until(LIMIT, "new probes", || peers.iter().all(|peer| peer.probe_count() == 2));
    assert!(nginx.status().peers.iter().all(|row| row.failures == 0 && !row.down));
}

#[test]
fn reloads_that_overtake_each_other_keep_what_is_known() {
    let peers = Peer::start_many(3);
    let all: Vec<&Peer> = peers.iter().collect();
    let config = Config::new()
        .workers(2)
        .upstream("backend", body("zone backend 64k;", &all))
        .upstream("other", body("", &all));
    let mut nginx = with_a_sick_peer_everywhere(&config, &peers);
    let sick = peers[1].to_string();
    // Requests that old workers have to finish first.
    let slow = Script::pieces(&["", "HTTP/1.0 200 OK\r\n\r\nlate"], Duration::from_millis(700));
    peers[0].requests(slow);
    let load = nginx.load(4, "backend");

    for _ in 0..20 {
        nginx.signal_reload(&config);
        nginx.await_generation(LIMIT);
        assert!(nginx.status().peers.iter().all(|row| row.down == (row.name == sick)));
    }
    let samples = load.stop();
    assert_eq!(samples.iter().filter(|sample| sample.peer == sick).count(), 0);
    wait_until(LIMIT, "only the last workers are left", || nginx.children().len() == 2);
    // Twice as fast if two configurations probed.
    no_faster(&peers[0], 2);
    assert_eq!(nginx.log_lines("healthcheck: peer").len(), 2, "one flip in each upstream");
}

fn with_a_sick_peer_everywhere(config: &Config, peers: &[Peer]) -> Nginx {
    peers[1].healthy(false);
    let nginx = Nginx::start(config);
    let sick = peers[1].to_string();
    nginx.wait_probed();
    wait_until(LIMIT, "the sick peer is down everywhere", || {
        nginx.status().peers.iter().filter(|row| row.name == sick).all(|row| row.down)
    });
    nginx.wait_logged("is down", 2);
    nginx
}

#[test]
fn more_and_fewer_workers_share_the_peers_after_a_reload() {
    let peers = Peer::start_many(12);
    let all: Vec<&Peer> = peers.iter().collect();
    let config = |workers| Config::new().workers(workers).upstream("backend", body("", &all));
    let start = config(2);
    let mut nginx = with_a_sick_peer(&start, &peers);

    for workers in [4, 1, 3] {
        nginx.reload(&start.clone().workers(workers));
        wait_until(LIMIT, &format!("an even share for {workers}"), || {
            let (rows, pids) = (nginx.status().peers, nginx.workers());
            pids.iter().all(|&pid| {
                let share = rows.iter().filter(|row| row.owner_pid == pid).count();
                share.abs_diff(peers.len() / workers) <= 1
            })
        });
        assert!(nginx.row(&peers[1]).down);
        assert_eq!(nginx.tally(60, "backend").at(&peers[1].to_string()), 0);
    }
    assert_eq!(nginx.log_lines("healthcheck: peer").len(), 1);
}

#[test]
fn check_19_two_hundred_reloads_leak_nothing() {
    let peers = Peer::start_many(3);
    let all: Vec<&Peer> = peers.iter().collect();
    let config = Config::new()
        .workers(2)
        .upstream("backend", body("", &all))
        .upstream("zoned", body("zone zoned 64k;", &all));
    let mut nginx = Nginx::start(&config);
    peers[1].healthy(false);
    nginx.wait_probed();
    let master = nginx.pid();
    let reloads = |nginx: &mut Nginx, count: usize| {
        for _ in 0..count {
            nginx.reload(&config);
        }
    };

    // The allocator finds its level first.
    reloads(&mut nginx, 50);
    let memory = process::resident_kib(master);
    // What the master still has of a worker that it has just seen go is not counted.
    let sample = |_| {
        sleep(Duration::from_millis(10));
        process::descriptors(master)
    };
    let descriptors = (0..20).map(sample).min().expect("samples");
    // In what order they lie is the OS's choice.
    let zones = || {
        let mut zones = process::shared_mappings(master);
        zones.sort_unstable();
        zones
    };
    let zones_before = zones();
    let of_workers = |nginx: &Nginx| {
        let descriptors = nginx.workers().into_iter().map(process::descriptors);
        descriptors.max().expect("a worker")
    };
    let in_workers = of_workers(&nginx);
    reloads(&mut nginx, 150);

    let grown = process::resident_kib(master).saturating_sub(memory);
    let is_level = !can_measure_memory() || grown <= 400;
    assert!(is_level, "{grown} KiB in 150 reloads, {memory} KiB before");
    wait_until(LIMIT, "the master has no more descriptors than before", || {
        process::descriptors(master) == descriptors
    });
    assert_eq!(zones(), zones_before);
    // A probe or a page under way is one more or less.
    assert!(of_workers(&nginx) <= in_workers + 3, "{in_workers} before");
    let page = nginx.status();
    assert_eq!(page.peers.len(), 6);
    assert!(page.peers.iter().all(|row| row.down == (row.name == peers[1].to_string())));
    assert_eq!(nginx.tally(60, "backend").at(&peers[1].to_string()), 0);
    assert_eq!(nginx.log_lines("healthcheck: peer").len(), 2, "one flip in each upstream");
}
