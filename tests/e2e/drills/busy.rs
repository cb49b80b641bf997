//! Every processor of the machine is busy with something else.

use std::process::{Child, Command, Stdio};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use support::spawn::spawn;
use support::{wait_until, Config, LIMIT};

use super::crowd::Crowd;
use super::traffic::Traffic;
use super::{either, Drill};

const PEERS: usize = 200;

/// Processes that want all the time there is; they end with the value.
struct Spinners(Vec<Child>);

impl Spinners {
    /// Twice as many as there are processors.
    fn start() -> Spinners {
        let count = available_parallelism().map_or(2, usize::from) * 2;
        let spin = || {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            spawn(&mut command).expect("a shell")
        };

        Spinners((0..count).map(|_| spin()).collect())
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn no_peer_is_called_sick_because_the_processors_are_busy() {
    let drill = Drill::begin();
    let crowd = Crowd::start(PEERS, 1);
    let config = Config::new()
        .workers(2)
        .shared_socket()
        .main("worker_rlimit_nofile 4096; events { worker_connections 2048; }")
        .upstream("backend", crowd.all(""));
    let nginx = crowd.nginx(&config);
    let failures = |nginx: &support::Nginx| -> u64 {
        nginx.status().peers.iter().filter(|row| !row.down).map(|row| row.failures).sum()
    };

    let spinners = Spinners::start();
    let traffic = Traffic::start(500, nginx.address(), "/backend/");
    let start = Instant::now();
    let period = either(Duration::from_secs(5), Duration::from_secs(60));
    let (least, most) = crowd.rate(0..PEERS, period);
    let gap = crowd.longest_gap(0..PEERS, start);
    // A peer that is down is found all the same.
    let victim = 100;
    crowd.swarm.healthy(victim, false);
    let sick = Instant::now();
    wait_until(LIMIT, "a sick peer is found", || {
        nginx.log_lines("is down").iter().any(|line| line.contains(&crowd.name(victim)))
    });
    let found = sick.elapsed();
    let served = traffic.stop();
    let processes = spinners.0.len();
    drop(spinners);

    let downs = nginx.log_lines("is down");
    assert_eq!(downs.len(), 2, "{downs:#?}");
    let failed = failures(&nginx);
    assert_eq!(served.failures(), 0, "{served}");
    assert_eq!(crowd.sick_requests(), 0);
    assert!(most < 1.5, "{most} probes a period");
    drill.end(format_args!(
        "{processes} busy processes for {:.0} s: 0 false downs and {failed} failed probes of {PEERS} \
         peers, {least:.2}..{most:.2} probes per peer and period, longest time without a probe \
         {:.2} s, a sick peer found in {:.2} s; {served}",
        period.as_secs_f64(),
        gap.as_secs_f64(),
        found.as_secs_f64()
    ));
}
