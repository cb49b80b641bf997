//! A thousand peers at a delay of one second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::status::table;
use support::swarm::Swarm;
use support::{check, process, wait_until, Config, Nginx, Page};

const PEERS: u16 = 1000;
const WORKERS: usize = 2;

#[test]
fn a_thousand_peers_are_each_probed_once_a_period() {
    let swarm = Swarm::start(PEERS);
    let lines: String =
        swarm.addresses().iter().map(|address| format!("server {address} max_fails=0; ")).collect();
    let events = "worker_rlimit_nofile 8192; events { worker_connections 4096; }";
    let config = Config::new()
        .workers(WORKERS)
        .main(events)
        .upstream("backend", format!("zone backend 4m; {} {lines}", check(1000, 10_000, 2)));
    let nginx = Nginx::start(&config);

    // All are probed within the first spread, and the shares settle.
    wait_until(Duration::from_secs(60), "every peer has been probed three times", || {
        swarm.times().iter().all(|times| times.len() >= 3)
    });
    wait_until(Duration::from_secs(60), "an even share", || {
        let mut shares: BTreeMap<u32, usize> = BTreeMap::new();
        for row in nginx.status().peers {
            *shares.entry(row.owner_pid).or_default() += 1;
        }
        shares.len() == WORKERS && shares.values().all(|count| (499..=501).contains(count))
    });
    let workers = nginx.workers();
    let begun = |page: &Page| page.peers.iter().map(|row| row.probes).collect::<Vec<u64>>();
    let asked = Instant::now();
    let first = begun(&nginx.status());
    let memory = |pid: &u32| process::resident_kib(*pid);
    let before: Vec<u64> = workers.iter().map(memory).collect();
    swarm.settle();
    swarm.take();
    wait_until(Duration::from_secs(60), "every peer has been probed twelve times", || {
        swarm.fewest_probes() >= 12
    });
    let after: Vec<u64> = workers.iter().map(memory).collect();
    let last = begun(&nginx.status());
    let seconds = asked.elapsed().as_secs();

    for ((first, last), address) in first.iter().zip(&last).zip(swarm.addresses()) {
        // One at the begin of the time; and the first may have been late.
        let count = last - first;
        assert!(count <= seconds + 2, "{address}: {count} probes in {seconds} s");
    }
    // A busy machine is late for some; `bench/run probe` counts exactly.
    let times = swarm.times();
    let gaps = times.iter().flat_map(|times| times.windows(2)).map(|pair| pair[1] - pair[0]);
    let mut gaps: Vec<Duration> = gaps.collect();
    gaps.sort_unstable();
    let usual = gaps[gaps.len() / 2];
    assert!(usual < Duration::from_millis(1_500), "{usual:?} between two probes");
    for (before, after) in before.iter().zip(&after) {
        assert!(after.saturating_sub(*before) <= 256, "{before} KiB, then {after} KiB");
    }
    assert_eq!(nginx.workers(), workers);

    let page = nginx.status();
    assert_eq!(page.peers.len(), usize::from(PEERS));
    for row in &page.peers {
        assert!(!row.down && row.failures == 0 && row.code == "ok", "{row:#?}");
    }
    assert_eq!(table(&nginx.get("/status").text()).len(), usize::from(PEERS) + 1, "no truncation");
    for level in ["[error]", "[warn]"] {
        assert!(nginx.log_lines(level).is_empty(), "{:#?}", nginx.log_lines(level));
    }
}
