//! A command does not wait for ever. Takes a minute, so it is not run wherever the others are.

use std::time::{Duration, SystemTime};

use support::wait_until;

use super::pending::pending;
use super::trace;

#[test]
fn after_a_minute_a_command_is_carried_out_all_the_same() {
    let (supervisord, _peers, _, nginx) = pending(1);

    let accepted = nginx.status().program("backend0").last_command_ms.expect("a command");
    wait_until(Duration::from_secs(75), "a stop", || supervisord.stops("backend0") == 1);
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("a time after 1970");
    let took = now - Duration::from_millis(accepted);
    // The two clocks may drift apart a little.
    assert!(took >= Duration::from_secs(59), "{took:?}");
    // Each time 500 ms after the answer, so that a busy machine asks less often.
    let asked = trace(&nginx, "check 0: -3").len();
    assert!((80..=121).contains(&asked), "every 500 ms: {asked}");
}
