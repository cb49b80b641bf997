//! `healthcheck_fast_delay`: probes out of turn, and what becomes of nginx's own penalty.

use std::time::{Duration, Instant};

use support::{Nginx, Peer};

mod demand;
mod lifecycle;
mod outage;
mod penalty;
mod resolved;
mod undecided;

/// A delay that no test lives to see the end of, so that a probe is one out of turn; `more` has the
/// fast delay, if any.
fn seldom(more: &str) -> String {
    format!(
        "healthcheck_enabled; healthcheck_delay 10m; healthcheck_timeout 5s; {more} \
         healthcheck_send 'GET /hc HTTP/1.0';"
    )
}

/// Sends requests until `peer` has had `count` more; whatever becomes of them.
#[track_caller]
fn requests_reach(nginx: &Nginx, peer: &Peer, count: usize) {
    let before = peer.request_count();
    let start = Instant::now();
    for key in 0.. {
        if peer.request_count() >= before + count {
            return;
        }
        nginx.get(&format!("/backend/?k={key}"));
        assert!(start.elapsed() < support::patient(support::LIMIT), "{peer} has no request");
    }
}

/// Probes of a peer never followed each other faster than this, over all of a time. Single gaps say
/// little: a worker that is late keeps the phase, and its clock goes in steps.
#[track_caller]
fn assert_no_faster(peer: &Peer, fast: Duration) {
    let times = peer.probe_times();
    let (Some(first), Some(last)) = (times.first(), times.last()) else { panic!("no probe") };
    let late = (fast / 2 + Duration::from_millis(50)).max(Duration::from_millis(150));
    let most = (*last - *first + late).as_millis() / fast.as_millis() + 1;
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        times.len() as u128 <= most,
        "{} probes, at most {most} are due: {gaps:?}",
        times.len()
    );
}

/// A peer never had two probes at a time.
#[track_caller]
fn assert_one_at_a_time(peer: &Peer) {
    let seen = peer.seen();
    let mut probes: Vec<_> = seen.iter().filter(|seen| seen.probe).collect();
    probes.sort_by_key(|probe| probe.at);
    for pair in probes.windows(2) {
        let answered = pair[0].answered.expect("the first probe has ended");
        assert!(answered <= pair[1].at, "two in flight: {pair:#?}");
    }
}
