//! The workers run out of descriptors, and have them again.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{wait_until, Config, Request, LIMIT};

use super::crowd::Crowd;
use super::{either, Drill};

const PEERS: usize = 40;

/// Descriptors that a worker may have.
const DESCRIPTORS: usize = 60;

#[test]
fn no_peer_is_called_sick_for_want_of_descriptors() {
    let drill = Drill::begin();
    let crowd = Crowd::start(PEERS, 1);
    let limit = format!("worker_rlimit_nofile {DESCRIPTORS}; events {{ worker_connections 512; }}");
    let config = Config::new().workers(2).main(&limit).upstream("backend", crowd.all(""));
    let started = Instant::now();
    let mut nginx = crowd.nginx(&config);
    nginx.allow_in_log("Too many open files");
    let rounds = either(1, 10);

    for _ in 0..rounds {
        // Clients that say nothing, more than there are descriptors for.
        let connect = |_| TcpStream::connect(nginx.address()).expect("a place in the backlog");
        let idle: Vec<TcpStream> = (0..DESCRIPTORS * 3).map(connect).collect();
        wait_until(LIMIT, "the descriptors are used up", || {
            !nginx.log_lines("healthcheck: no socket").is_empty()
        });
        std::thread::sleep(either(Duration::from_secs(3), Duration::from_secs(6)));
        drop(idle);
        wait_until(LIMIT, "requests are served again", || {
            let request = Request::get("/backend/").limit(Duration::from_secs(1));
            request.send(nginx.address()).is_ok_and(|answer| answer.status == 200)
        });
        crowd.wait_probed(0..PEERS, 2);
    }
    let refusals = nginx.log_lines("Too many open files").len();
    let (least, most) = crowd.settled_rate(0..PEERS);
    assert!(most < 1.5, "{most} probes a period");
    assert!(least > 0.5, "{least} probes a period");
    let tally = nginx.tally(100, "backend");
    assert_eq!(tally.with_status(200), 100, "{tally:?}");
    assert_eq!(crowd.sick_requests(), 0);
    let (downs, lines) = (nginx.log_lines("is down"), nginx.log_lines("healthcheck: no socket"));
    assert_eq!(downs.len(), 1, "{downs:#?}");
    // Once a minute and worker.
    let minutes = started.elapsed().as_secs() / 60;
    assert!(lines.len() as u64 <= 2 * (1 + minutes), "{lines:#?}");
    drill.end(format_args!(
        "{rounds} times all {DESCRIPTORS} descriptors of each worker, {refusals} refusals in nginx's \
         log: 0 false downs of {PEERS} peers, {} lines of ours; then {least:.2}..{most:.2} probes per \
         peer and period, 100 of 100 requests served",
        lines.len()
    ));
}
