//! A worker stands still for a while under load, and goes on.

use std::time::{Duration, Instant};

use support::{process, wait_until, Config, Tally, LIMIT};

use super::crowd::{Crowd, DELAY, TIMEOUT};
use super::traffic::Traffic;
use super::{either, Drill};

const WORKERS: usize = 2;
const PEERS: usize = 40;

#[test]
fn a_worker_that_stands_still_loses_its_peers_and_its_verdicts() {
    let mut drill = Drill::begin();
    let crowd = Crowd::start(PEERS, 1);
    let config = Config::new()
        .workers(WORKERS)
        .shared_socket()
        .main("events { worker_connections 2048; }")
        .upstream("backend", crowd.all(""));
    let nginx = crowd.nginx(&config);
    let workers = nginx.workers();
    let stopped = workers[drill.random.below(WORKERS)];
    let shares = |pid: u32| nginx.status().peers.iter().filter(|row| row.owner_pid == pid).count();
    wait_until(LIMIT, "an even share", || shares(stopped).abs_diff(PEERS / WORKERS) <= 1);
    let own: Vec<String> = nginx
        .status()
        .peers
        .into_iter()
        .filter(|row| row.owner_pid == stopped && !row.down)
        .map(|row| row.name)
        .collect();
    let own: Vec<usize> = (0..PEERS).filter(|&peer| own.contains(&crowd.name(peer))).collect();

    // It stands. One of its peers falls sick, of which it has good news in hand, maybe.
    process::signal(stopped, libc::SIGSTOP).expect("a worker");
    wait_until(LIMIT, "the worker stands", || process::is_stopped(stopped));
    let start = Instant::now();
    let victim = own[drill.random.below(own.len())];
    crowd.swarm.healthy(victim, false);
    let mut taken_over = None;
    let period = either(Duration::from_secs(3), Duration::from_secs(10));
    while start.elapsed() < period || taken_over.is_none() {
        // What the stopped worker has accepted already waits for it.
        let page = support::Request::get("/status.json").limit(Duration::from_millis(300));
        if let Ok(page) = page.send(nginx.address()) {
            let rows = support::Page::parse(&page.text()).peers;
            if rows.iter().all(|row| row.owner_pid != stopped) {
                taken_over.get_or_insert(start.elapsed());
            }
        }
        assert!(start.elapsed() < LIMIT, "its peers are not taken over");
    }
    let taken_over = taken_over.expect("a time");
    let gap = crowd.longest_gap(own.iter().copied(), start);
    // The lease of the last probe: delay, timeout and a grace of a second; then another second. How late
    // the machine is, is seen by the peers of the worker that goes on.
    let others =
        (0..PEERS).filter(|peer| !own.contains(peer) && !crowd.is_sick(&crowd.name(*peer)));
    let late = crowd.longest_gap(others, start);
    let limit = Duration::from_millis(u64::from(DELAY.max(TIMEOUT)) + 3_000 + 500) + late;
    assert!(gap < limit, "no probe for {gap:?}; for {late:?} where no worker stands still");

    // It goes on: nothing that it still had in hand counts, nobody is probed twice.
    let flips = nginx.log_lines("healthcheck: peer").len();
    let traffic = Traffic::start(500, nginx.address(), "/backend/");
    process::signal(stopped, libc::SIGCONT).expect("a worker");
    wait_until(LIMIT, "its peer is down", || !nginx.log_lines(&crowd.name(victim)).is_empty());
    // What had it before is answered.
    traffic.settle();
    let known = (crowd.sick_requests(), crowd.swarm.requests(victim));
    let (least, most) = crowd.settled_rate(0..PEERS);
    assert!(most < 1.5, "{most} probes a period: two workers probe one peer");
    wait_until(LIMIT, "an even share again", || {
        workers.iter().all(|&pid| shares(pid).abs_diff(PEERS / WORKERS) <= 1)
    });
    let served = traffic.stop();
    assert_eq!(served.failures(), 0, "{served}");
    assert_eq!((crowd.sick_requests(), crowd.swarm.requests(victim)), known);
    assert!(nginx.log_lines("is up").is_empty(), "{:#?}", nginx.log_lines("is up"));
    assert_eq!(nginx.log_lines("is down").len(), 2, "{:#?}", nginx.log_lines("is down"));
    assert_eq!(nginx.workers(), workers);
    let tally = Tally::of(20, nginx.address(), "/backend/");
    assert_eq!(tally.with_status(200), 20);
    drill.end(format_args!(
        "stopped for {:.1} s with {} peers, all taken over within {:.1} s, longest time without a \
         probe {:.1} s; {flips} flips before it went on; then {least:.2}..{most:.2} probes per peer \
         and period; {served}",
        period.as_secs_f64(),
        own.len(),
        taken_over.as_secs_f64(),
        gap.as_secs_f64()
    ));
}
