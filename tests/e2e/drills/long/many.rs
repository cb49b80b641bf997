//! Ten thousand peers.

use std::fmt::Write;
use std::time::{Duration, Instant};

use support::swarm::Swarm;
use support::{check, process, wait_until, Config, Nginx};

use crate::drills::traffic::Traffic;
use crate::drills::{long_only, Drill};

const PEERS: u16 = 10_000;
const DELAY: u32 = 5_000;
const LIMIT: Duration = Duration::from_secs(120);

/// Peers that fail their probes: every thousandth.
fn is_sick(peer: usize) -> bool {
    peer % 1_000 == 7
}

fn wait_known(nginx: &Nginx, sick: usize) {
    wait_until(LIMIT, "those that are sick are down", || {
        nginx.status().peers.iter().filter(|row| row.down).count() == sick
    });
}

#[test]
fn ten_thousand_peers_are_each_probed_once_a_period() {
    if !long_only() {
        return;
    }
    let drill = Drill::begin();
    let swarm = Swarm::start(PEERS);
    let all = 0..usize::from(PEERS);
    let sick: Vec<usize> = all.clone().filter(|&peer| is_sick(peer)).collect();
    for &peer in &sick {
        swarm.healthy(peer, false);
    }
    let mut body = format!("zone backend 32m; {} ", check(DELAY, 10_000, 2));
    for address in swarm.addresses() {
        write!(body, "server {address} max_fails=0; ").expect("a string takes any text");
    }
    let config = Config::new()
        .workers(2)
        .shared_socket()
        .quiet()
        .main("worker_rlimit_nofile 16384; events { worker_connections 8192; }")
        .upstream("backend", body);
    let begun = Instant::now();
    let mut nginx = Nginx::start_within(LIMIT, &config);
    wait_until(LIMIT, "every peer is probed", || {
        swarm.times().iter().all(|times| !times.is_empty())
    });
    let first = begun.elapsed();
    wait_known(&nginx, sick.len());
    let zones: u64 = process::shared_mappings(nginx.pid()).iter().sum();

    let traffic = Traffic::start(200, nginx.address(), "/backend/");
    let requests = |swarm: &Swarm| sick.iter().map(|&peer| swarm.requests(peer)).sum::<usize>();
    let known = requests(&swarm);
    let ticks = |nginx: &Nginx| nginx.workers().into_iter().map(process::cpu_ticks).sum::<u64>();
    let (start, before) = (Instant::now(), ticks(&nginx));
    std::thread::sleep(Duration::from_secs(30));
    let (end, used) = (Instant::now(), ticks(&nginx) - before);
    let probes: Vec<usize> = swarm
        .times()
        .iter()
        .map(|times| times.iter().filter(|&&at| at >= start && at < end).count())
        .collect();
    let (least, most) = (probes.iter().min().expect("peers"), probes.iter().max().expect("peers"));
    // One at the begin of the time, and the first may have been late by half a period.
    let due = ((end - start).as_millis() + u128::from(DELAY / 2)) / u128::from(DELAY) + 1;
    assert!(*least >= 5 && *most as u128 <= due, "{least}..{most} probes in 6 periods");

    let asked = Instant::now();
    let page = nginx.get("/status.json");
    let page_time = asked.elapsed();
    let reloaded = Instant::now();
    nginx.reload_within(LIMIT, &config);
    let reloaded = reloaded.elapsed();
    let rows = nginx.status().peers;
    assert_eq!(rows.iter().filter(|row| row.down).count(), sick.len());
    let false_downs = rows.iter().filter(|row| !row.down && row.failures > 0).count();
    let served = traffic.stop();
    assert_eq!(served.failures(), 0, "{served}");
    assert_eq!(requests(&swarm), known, "requests to peers that were known to be down");
    assert_eq!(nginx.log_lines("is down").len(), sick.len());
    let memory: Vec<u64> = nginx.workers().into_iter().map(process::resident_kib).collect();
    drill.end(format_args!(
        "{PEERS} peers at {DELAY} ms: all probed {:.1} s after the start, then {least}..{most} probes \
         in 6 periods, {:.1} % of a processor for {} probes/s and the requests, {false_downs} failed \
         probes of healthy peers; page of {} bytes in {:.0} ms; reload in {:.1} s; workers {memory:?} \
         KiB, zones {} KiB; {served}",
        first.as_secs_f64(),
        used as f64 / (end - start).as_secs_f64(),
        u32::from(PEERS) * 1_000 / DELAY,
        page.body.len(),
        page_time.as_secs_f64() * 1000.0,
        reloaded.as_secs_f64(),
        zones / 1024
    ));
}
