//! `any`: the lowest program that fits, once in a while.

use std::time::{Duration, Instant};

use support::{servers, wait_until, Config, Nginx, Peer, LIMIT};

const COOLDOWN: Duration = Duration::from_millis(1500);

fn start(peers: &[Peer]) -> Nginx {
    let body = format!(
        "supervisord none; supervisord_inherit_backend_status; supervisord_cooldown 1500; {}",
        servers(peers)
    );
    Nginx::start(&Config::new().workers(2).upstream("backend", body).commands("backend"))
}

/// The programs that are up.
fn up(nginx: &Nginx) -> Vec<u64> {
    let rows = nginx.status().of("backend");
    let programs = rows.into_iter().filter_map(|row| row.program);
    programs.filter(|program| program.state == "up").map(|program| program.number).collect()
}

#[test]
fn check_43_any_takes_the_lowest_and_then_rests() {
    let peers = Peer::start_many(3);
    let nginx = start(&peers);
    let lowest = |stop: bool| {
        let mut last = Instant::now();
        let mut program = None;
        wait_until(LIMIT, "the cooldown is over", || {
            last = Instant::now();
            let command = if stop {
                nginx.stop_page("backend", "any")
            } else {
                nginx.start_page("backend", "any")
            };
            program = command.program;
            command.accepted
        });
        (last, program)
    };

    let first = Instant::now();
    assert_eq!(nginx.stop_page("backend", "any").program, Some(0));
    assert_eq!(up(&nginx), [1, 2]);
    assert_eq!(nginx.get("/stop/backend/any").status, 200);
    let refused = nginx.stop_page("backend", "any");
    assert!(!refused.accepted, "{refused:?}");
    assert!(!nginx.start_page("backend", "any").accepted, "for both kinds");
    assert_eq!(up(&nginx), [1, 2]);

    let (second, program) = lowest(true);
    assert_eq!((program, up(&nginx)), (Some(1), vec![2]));
    assert!(second - first >= COOLDOWN - Duration::from_millis(50), "{:?}", second - first);
    let (third, program) = lowest(false);
    assert_eq!((program, up(&nginx)), (Some(0), vec![0, 2]));
    assert!(third - second >= COOLDOWN - Duration::from_millis(50), "{:?}", third - second);
}

#[test]
fn check_43_a_number_needs_no_rest_and_begins_one() {
    let peers = Peer::start_many(3);
    let nginx = start(&peers);

    assert!(nginx.stop_page("backend", 1).accepted);
    assert!(nginx.stop_page("backend", 2).accepted);
    assert!(nginx.start_page("backend", 1).accepted);
    assert!(!nginx.stop_page("backend", "any").accepted);
    assert_eq!(up(&nginx), [0, 1]);
    wait_until(LIMIT, "the rest is over", || nginx.stop_page("backend", "any").accepted);
    assert_eq!(up(&nginx), [1]);
}

#[test]
fn any_with_nothing_that_fits_changes_nothing() {
    let peers = Peer::start_many(2);
    let nginx = start(&peers);

    let command = nginx.start_page("backend", "any");
    assert!(!command.accepted && command.reason.is_some(), "{command:?}");
    assert_eq!(command.program, None);
    assert_eq!(up(&nginx), [0, 1]);
    assert!(nginx.stop_page("backend", "any").accepted, "what was refused begins no rest");
}
