//! A command does not wait for ever. Takes a minute, so it is not run wherever the others are.

use std::time::{Duration, Instant};

use support::wait_until;

use super::pending::pending;
use super::trace;

#[test]
fn after_a_minute_a_command_is_carried_out_all_the_same() {
    let (supervisord, _peers, _, nginx) = pending(1);

    let start = Instant::now();
    wait_until(Duration::from_secs(75), "a stop", || supervisord.stops("backend0") == 1);
    let took = start.elapsed();
    assert!((58..66).contains(&took.as_secs()), "{took:?}");
    let asked = trace(&nginx, "check 0: -3").len();
    assert!((100..=121).contains(&asked), "every 500 ms: {asked}");
}
