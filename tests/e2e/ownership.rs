//! One prober a peer, whatever happens to workers.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::{check, process, servers, wait_until, Config, Nginx, Peer, LIMIT};

const DELAY: u32 = 250;
const TIMEOUT: u32 = 1000;

fn cluster(workers: usize, peers: &[Peer]) -> Nginx {
    let body = format!("{} {}", check(DELAY, TIMEOUT, 2), servers(peers));
    Nginx::start(&Config::new().workers(workers).upstream("backend", body))
}

/// Each peer's probes in a while, against the number of periods in it.
fn one_probe_a_period(workers: usize) {
    let peers = Peer::start_many(2);
    let nginx = cluster(workers, &peers);
    nginx.wait_row(&peers[0], "is probed", |row| row.concurrent >= 2);
    nginx.wait_row(&peers[1], "is probed", |row| row.concurrent >= 2);

    // A period of observation, not a wait for something.
    let start = Instant::now();
    sleep(Duration::from_secs(6));
    let end = Instant::now();
    let periods = (end - start).as_millis() / u128::from(DELAY);

    for peer in &peers {
        let times = peer.probe_times();
        let count = times.iter().filter(|&&at| at >= start && at < end).count() as u128;
        assert!(count <= periods + 2, "{count} probes in {periods} periods");
        // Start to start: what a probe takes is not added. A busy machine may cost some.
        assert!(count >= periods * 3 / 4, "{count} probes in {periods} periods");
    }
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
    let start = Instant::now();
    sleep(Duration::from_secs(6));
    let count = peer.probe_times().iter().filter(|&&at| at >= start).count();
    // Twelve periods of delay alone; seven and a half if the probe's time were added.
    assert!((9..=14).contains(&count), "{count}");
}

#[test]
fn check_17_another_process_probes_soon_after_the_owner_was_killed() {
    let peers = Peer::start_many(2);
    let mut nginx = cluster(3, &peers);
    nginx.wait_probed();

    for _ in 0..4 {
        let owner = nginx.wait_row(&peers[0], "has an owner", |row| row.owner_pid != 0).owner_pid;
        assert!(nginx.workers().contains(&owner), "{owner}");
        let killed = Instant::now();
        nginx.kill9(owner);
        wait_until(LIMIT, "the owner is dead", || !process::is_alive(owner));
        let dead = Instant::now();
        wait_until(LIMIT, "another probe", || {
            peers[0].probe_times().last().is_some_and(|&at| at > dead)
        });
        let next = peers[0].probe_times().into_iter().find(|&at| at > dead).expect("a probe");
        let allowed = u64::from(DELAY + TIMEOUT) + 1000;
        // The second is for a machine that is busy with other tests.
        let limit = Duration::from_millis(allowed) + Duration::from_secs(1);
        assert!(next - killed <= limit, "after {:?}", next - killed);

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
        nginx.kill9(victim);
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
