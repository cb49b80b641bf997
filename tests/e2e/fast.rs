//! `healthcheck_fast_delay`: probes out of turn, and what becomes of nginx's own penalty.

use std::time::{Duration, Instant};

use support::{Nginx, Peer};

mod demand;
mod lifecycle;
mod outage;
mod penalty;
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
        assert!(start.elapsed() < support::LIMIT, "{peer} has no request");
    }
}

/// Probes of a peer never followed each other faster than this, over all of a time. Single gaps say
/// little: the test's own threads may be late.
#[track_caller]
fn assert_no_faster(peer: &Peer, fast: Duration) {
    let times = peer.probe_times();
    let (Some(first), Some(last)) = (times.first(), times.last()) else { panic!("no probe") };
    let late = Duration::from_millis(150);
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
    let probes: Vec<_> = seen.iter().filter(|seen| seen.probe).collect();
    for pair in probes.windows(2) {
        let ended = pair[0].ended.expect("the first probe has ended");
        assert!(ended <= pair[1].at + Duration::from_millis(5), "two in flight: {pair:#?}");
    }
}
