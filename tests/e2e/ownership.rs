//! One prober a peer, whatever happens to workers.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use support::{check, patient, process, servers, wait_until, Config, Nginx, Peer, Request, LIMIT};

const DELAY: u32 = 250;
/// Far more than a peer of a test ever takes.
const TIMEOUT: u32 = 10_000;

fn cluster(workers: usize, peers: &[Peer]) -> Nginx {
    let body = format!("{} {}", check(DELAY, TIMEOUT, 2), servers(peers));
    Nginx::start(&Config::new().workers(workers).upstream("backend", body))
}

/// Asserts that the next probes of a peer come once in `delay` ms, start to start.
fn once_a_period(peer: &Peer, delay: u32, periods: usize) {
    // What was sent before is not among them, however late the peer's threads are.
    let start = Instant::now();
    peer.settle();
    let before = peer.probe_count();
    wait_until(LIMIT * 2, "probes of many periods", || peer.probe_count() > before + periods);
    let times = peer.probe_times().split_off(before);
    let periods = start.elapsed().as_millis() / u128::from(delay);

    // One at the begin of the time; and the first may have been late.
    let count = times.len() as u128;
    assert!(count <= periods + 2, "{count} probes in {periods} periods");
    // What a probe takes is not added. A machine that stands still makes some gaps longer, not most.
    let mut gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let usual = gaps[gaps.len() / 2];
    assert!(usual < Duration::from_millis(u64::from(delay)) * 4 / 3, "{gaps:?}");
}

/// Each peer is probed once a period, whatever the number of workers.
fn one_probe_a_period(workers: usize) {
    let peers = Peer::start_many(2);
    let nginx = cluster(workers, &peers);
    nginx.wait_row(&peers[0], "is probed", |row| row.concurrent >= 2);
    nginx.wait_row(&peers[1], "is probed", |row| row.concurrent >= 2);

    thread::scope(|scope| {
        for peer in &peers {
            scope.spawn(|| once_a_period(peer, DELAY, 24));
        }
    });
    let owners: BTreeSet<u32> = nginx.status().peers.iter().map(|row| row.owner_pid).collect();
    assert!(owners.iter().all(|owner| nginx.workers().contains(owner)), "{owners:?}");
}

#[test]
fn check_16_one_worker_probes_once_a_period() {
    one_probe_a_period(1);
}

#[test]
fn check_16_two_workers_probe_once_a_period() {
    one_probe_a_period(2);
}

#[test]
fn check_16_four_workers_probe_once_a_period() {
    one_probe_a_period(4);
}

#[test]
fn check_16_sixteen_workers_probe_once_a_period() {
    one_probe_a_period(16);
}

#[test]
fn the_period_runs_from_start_to_start_also_at_a_slow_peer() {
    let peer = Peer::start();
    let answer = "HTTP/1.1 200 OK\r\n\r\n";
    peer.probes(support::Script::pieces(&["", answer], Duration::from_millis(300)));
    let body = format!("{} {}", check(500, 3000, 2), servers([&peer]));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    nginx.wait_row(&peer, "is probed", |row| row.concurrent >= 2);
    // Eight fifths of that if the probe's time were added.
    once_a_period(&peer, 500, 12);
}

#[test]
fn check_17_another_process_probes_soon_after_the_owner_was_killed() {
    let peers = Peer::start_many(2);
    let mut nginx = cluster(3, &peers);
    nginx.wait_probed();

    for _ in 0..4 {
        let owner = nginx.wait_row(&peers[0], "has an owner", |row| row.owner_pid != 0).owner_pid;
        assert!(nginx.workers().contains(&owner), "{owner}");
        nginx.kill9(owner);
        wait_until(LIMIT, "the owner is dead", || !process::is_alive(owner));
        let dead = Instant::now();
        wait_until(LIMIT, "another probe", || {
            peers[0].probe_times().last().is_some_and(|&at| at > dead)
        });
        let next = peers[0].probe_times().into_iter().find(|&at| at > dead).expect("a probe");
        // The delay, the timeout and a second are promised. A slow machine needs some seconds of that, and
        // whoever waited for the end of a lease would need all of it.
        let limit = Duration::from_millis(u64::from(DELAY + TIMEOUT) / 2);
        assert!(next - dead <= limit, "after {:?}", next - dead);

        let row = nginx.wait_row(&peers[0], "has another owner", |row| {
            row.owner_pid != owner && nginx.workers().contains(&row.owner_pid)
        });
        assert!(!row.down && row.failures == 0, "{row:#?}");
    }
    no_worker_spins(&nginx);
}

#[test]
fn check_18_fifty_kills_in_a_row_leave_no_lock_behind() {
    let peers = Peer::start_many(4);
    let zoned = format!("zone zoned 64k; {} {}", check(DELAY, TIMEOUT, 2), servers(&peers));
    let config = Config::new()
        .workers(4)
        .upstream("backend", format!("{} {}", check(DELAY, TIMEOUT, 2), servers(&peers)))
        .upstream("zoned", zoned);
    let mut nginx = Nginx::start(&config);
    nginx.wait_probed();

    for round in 0..50 {
        let workers = nginx.workers();
        let victim = workers[round % workers.len()];
        kill9_without_nginxs_lock(&mut nginx, victim);
        wait_until(LIMIT, "a worker in its place", || {
            nginx.workers().len() == 4 && !nginx.workers().contains(&victim)
        });
    }

    let before: Vec<usize> = peers.iter().map(Peer::probe_count).collect();
    wait_until(LIMIT, "every peer is probed again", || {
        peers.iter().zip(&before).all(|(peer, before)| peer.probe_count() >= before + 8)
    });
    for upstream in ["backend", "zoned"] {
        assert_eq!(nginx.tally(60, upstream).with_status(200), 60);
    }
    peers[0].healthy(false);
    wait_until(LIMIT, "both upstreams notice", || {
        let sick = peers[0].to_string();
        nginx.status().peers.iter().filter(|row| row.name == sick).all(|row| row.down)
    });
    for upstream in ["backend", "zoned"] {
        assert_eq!(nginx.tally(60, upstream).at(&peers[0].to_string()), 0);
    }
    no_worker_spins(&nginx);
}

#[test]
fn the_peers_are_shared_evenly_and_again_so_after_a_kill() {
    let peers = Peer::start_many(16);
    let mut nginx = cluster(4, &peers);
    let shares = |nginx: &Nginx| {
        let mut shares: BTreeMap<u32, usize> = BTreeMap::new();
        for row in nginx.status().peers {
            *shares.entry(row.owner_pid).or_default() += 1;
        }
        shares
    };
    let even = |nginx: &Nginx| {
        let (shares, workers) = (shares(nginx), nginx.workers());
        shares.len() == 4
            && shares
                .iter()
                .all(|(owner, count)| workers.contains(owner) && (3..=5).contains(count))
    };

    wait_until(LIMIT, "four peers a worker, plus or minus one", || even(&nginx));
    for _ in 0..2 {
        let worker = nginx.workers()[0];
        nginx.kill9(worker);
        wait_until(LIMIT, "the worker is dead", || !process::is_alive(worker));
        wait_until(LIMIT, "an even share again", || even(&nginx));
    }
    assert!(nginx.status().peers.iter().all(|row| row.failures == 0));
}

/// Kills a worker whenever it is, but not while it holds nginx's own lock of the upstream `zoned`: from
/// that, nginx has no recovery.
fn kill9_without_nginxs_lock(nginx: &mut Nginx, victim: u32) {
    loop {
        process::signal(victim, libc::SIGSTOP).expect("a worker");
        wait_until(LIMIT, "the worker stands", || process::is_stopped(victim));
        if is_served(nginx.address()) {
            return nginx.kill9(victim);
        }
        process::signal(victim, libc::SIGCONT).expect("a worker");
    }
}

/// Whether nginx's lock of `zoned` is free: one of a few requests is served. Each worker has its share of
/// them, also one that stands still.
fn is_served(to: SocketAddr) -> bool {
    let (sender, served) = mpsc::channel();
    for network in 0..8 {
        let sender = sender.clone();
        thread::spawn(move || {
            let request = Request::get("/zoned/").from(Ipv4Addr::new(127, 0, network, 7));
            // Whoever waits for the first may be gone.
            let _ = sender.send(request.send(to).is_ok());
        });
    }
    drop(sender);
    let next = || served.recv_timeout(patient(Duration::from_secs(5))).ok();
    iter::from_fn(next).any(|is_served| is_served)
}

/// No worker uses more than half a processor while nothing but a few probes goes on.
fn no_worker_spins(nginx: &Nginx) {
    let workers = nginx.workers();
    let before: Vec<u64> = workers.iter().map(|&pid| process::cpu_ticks(pid)).collect();
    sleep(Duration::from_secs(1));

    for (&pid, before) in workers.iter().zip(before) {
        let used = process::cpu_ticks(pid).saturating_sub(before);
        assert!(used < 50, "worker {pid} used {used} of 100 ticks");
    }
}
