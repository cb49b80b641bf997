//! Workers are killed at random under load.

use std::time::{Duration, Instant};

use support::{process, wait_until, Config, Nginx, Request, LIMIT};

use super::crowd::Crowd;
use super::traffic::Traffic;
use super::{either, Drill, Size};

const WORKERS: usize = 2;

/// Requests a second.
const RATE: u32 = 1_000;

/// A request that takes longer than this is in the hands of a worker that will never answer it.
const STUCK: Duration = Duration::from_secs(5);

/// Waits until there are all workers again, without `killed`; `false` when requests get no answer.
fn respawned(nginx: &Nginx, traffic: &Traffic, killed: u32) -> bool {
    let start = Instant::now();
    loop {
        let workers = nginx.workers();
        if workers.len() == WORKERS && !workers.contains(&killed) {
            return traffic.oldest() < STUCK;
        }
        if traffic.oldest() > STUCK || start.elapsed() > LIMIT {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// nginx's lock of an upstream with `zone` has no recovery: a new configuration brings a new lock, and
/// the workers that wait for the old one have to be killed.
fn free_of_dead_lock(nginx: &mut Nginx, config: &Config) {
    // One that waits for the lock before it serves has no title of its own yet.
    let stuck: Vec<u32> = nginx.children().into_iter().map(|child| child.pid).collect();
    let before: Vec<u64> = stuck.iter().map(|&pid| process::cpu_ticks(pid)).collect();
    std::thread::sleep(Duration::from_millis(500));
    let spins = stuck.iter().zip(before).any(|(&pid, before)| {
        // A second has 100 ticks; two workers that spin share two processors with all else.
        process::cpu_ticks(pid).saturating_sub(before) > 5
    });
    assert!(spins, "requests are stuck, and no worker waits for a lock");
    nginx.signal_reload(config);
    nginx.await_generation(LIMIT);
    // nginx puts another worker in the place of an old one that dies before it was told to end, which
    // is a tenth of a second after the new ones began.
    std::thread::sleep(Duration::from_millis(500));
    for pid in stuck.into_iter().filter(|&pid| process::is_alive(pid)) {
        nginx.kill9(pid);
    }
    wait_until(LIMIT, "all workers run", || nginx.children().len() == WORKERS);
}

fn kills(zone: &str, peers: usize, kills: usize) {
    let mut drill = Drill::begin();
    let crowd = Crowd::start(peers, 2);
    let config = Config::new()
        .workers(WORKERS)
        .shared_socket()
        .quiet()
        .main("worker_rlimit_nofile 4096; events { worker_connections 2048; }")
        .upstream("backend", crowd.all(zone));
    let mut nginx = crowd.nginx(&config);
    let before = Size::of(&nginx);
    let mut dead_locks = 0;

    let traffic = Traffic::start(RATE, nginx.address(), "/backend/");
    wait_until(LIMIT, "requests are answered", || traffic.answered() > 100);
    let start = Instant::now();
    for _ in 0..kills {
        let workers = nginx.workers();
        let worker = workers[drill.random.below(workers.len())];
        nginx.kill9(worker);
        if !respawned(&nginx, &traffic, worker) {
            assert!(!zone.is_empty(), "no answer within {STUCK:?} after {worker} was killed");
            free_of_dead_lock(&mut nginx, &config);
            dead_locks += 1;
        }
        drill.pause(60);
    }
    let gap = crowd.longest_gap(0..peers, start);
    let served = traffic.stop();
    assert_eq!(crowd.sick_requests(), 0, "requests to peers that were known to be down");
    if dead_locks == 0 {
        assert!(served.failures() <= kills * 16, "more than were under way: {served}");
        assert!(gap < Duration::from_secs(10), "a peer was not probed for {gap:?}");
    }

    // All goes on: probes, verdicts, requests.
    crowd.wait_probed(0..peers, 4);
    crowd.swarm.healthy(5, false);
    nginx.wait_down(crowd.name(5), true);
    nginx.wait_logged("is down", 3);
    let known = crowd.swarm.requests(5);
    for _ in 0..100 {
        let answer = Request::get("/backend/").send(nginx.address()).expect("an answer");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(crowd.swarm.requests(5), known);
    let flips = nginx.log_lines("is down").len();
    assert_eq!(flips, 3, "{:#?}", nginx.log_lines("healthcheck: peer"));
    assert!(nginx.status().peers.iter().all(|row| row.failures == 0 || row.down));
    let (least, most) = crowd.settled_rate(0..peers);
    assert!(most < 1.5, "{most} probes a period: two workers probe one peer");
    let size = Size::of(&nginx).flat_since(&before, 2_000);
    drill.end(format_args!(
        "{kills} kills; {served}; 0 requests to 2 peers known to be down; dead-locks of nginx's own \
         lock: {dead_locks}; longest time without a probe {:.1} s; then {least:.2}..{most:.2} probes \
         per peer and period; {size}",
        gap.as_secs_f64()
    ));
}

#[test]
fn killed_workers_cost_the_requests_in_their_hands_alone() {
    kills("", 40, either(30, 1_000));
}

#[test]
fn killed_workers_with_a_zone_cost_no_more_but_for_dead_locks_of_nginx() {
    // nginx walks over all peers under its lock: with more of them it dies there sooner.
    kills("zone backend 1m;", either(40, 300), either(15, 1_000));
}
