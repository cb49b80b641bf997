//! `any`: the lowest program that fits, once in a while.

use std::time::{Duration, Instant};

use support::{servers, wait_until, Command, Config, Nginx, Peer, LIMIT};

const COOLDOWN: Duration = Duration::from_millis(1500);

fn body(peers: &[Peer], cooldown: Duration) -> String {
    format!(
        "supervisord none; supervisord_inherit_backend_status; supervisord_cooldown {}; {}",
        cooldown.as_millis(),
        servers(peers)
    )
}

/// With a cooldown that no test outlasts.
fn start(peers: &[Peer]) -> (Config, Nginx) {
    let body = body(peers, Duration::from_secs(3600));
    let config = Config::new().workers(2).upstream("backend", body).commands("backend");
    let nginx = Nginx::start(&config);

    (config, nginx)
}

/// Reloads with [`COOLDOWN`].
fn shorten(config: Config, peers: &[Peer], nginx: &mut Nginx) {
    nginx.reload(&config.upstream("backend", body(peers, COOLDOWN)));
}

/// The programs that are up.
fn up(nginx: &Nginx) -> Vec<u64> {
    let rows = nginx.status().of("backend");
    let programs = rows.into_iter().filter_map(|row| row.program);
    programs.filter(|program| program.state == "up").map(|program| program.number).collect()
}

/// A command that was accepted.
struct Accepted {
    program: Option<u64>,
    /// Before it was asked for.
    earliest: Instant,
    /// After the answer.
    latest: Instant,
}

/// Asks until a command is accepted.
fn accepted(ask: impl Fn() -> Command) -> Accepted {
    let mut accepted = None;
    wait_until(LIMIT, "the cooldown is over", || {
        let earliest = Instant::now();
        let command = ask();
        let latest = Instant::now();
        accepted = Some(Accepted { program: command.program, earliest, latest });
        command.accepted
    });
    accepted.expect("it was asked for")
}

/// Asserts that a command was accepted a cooldown after the one before, and not sooner.
#[track_caller]
fn has_rested(before: &Accepted, after: &Accepted) {
    let most = after.latest - before.earliest;
    assert!(most >= COOLDOWN - Duration::from_millis(50), "at most {most:?} later");
}

#[test]
fn check_43_any_takes_the_lowest_and_then_rests() {
    let peers = Peer::start_many(3);
    let (config, mut nginx) = start(&peers);

    assert_eq!(nginx.stop_page("backend", "any").program, Some(0));
    assert_eq!(up(&nginx), [1, 2]);
    assert_eq!(nginx.get("/stop/backend/any").status, 200);
    let refused = nginx.stop_page("backend", "any");
    assert!(!refused.accepted, "{refused:?}");
    assert!(!nginx.start_page("backend", "any").accepted, "for both kinds");
    assert_eq!(up(&nginx), [1, 2]);

    shorten(config, &peers, &mut nginx);
    let first = accepted(|| nginx.stop_page("backend", "any"));
    assert_eq!((first.program, up(&nginx)), (Some(1), vec![2]));
    let second = accepted(|| nginx.start_page("backend", "any"));
    assert_eq!((second.program, up(&nginx)), (Some(0), vec![0, 2]));
    has_rested(&first, &second);
    let third = accepted(|| nginx.stop_page("backend", "any"));
    assert_eq!((third.program, up(&nginx)), (Some(0), vec![2]));
    has_rested(&second, &third);
}

#[test]
fn check_43_a_number_needs_no_rest_and_begins_one() {
    let peers = Peer::start_many(3);
    let (config, mut nginx) = start(&peers);

    assert!(nginx.stop_page("backend", 1).accepted);
    assert!(nginx.stop_page("backend", 2).accepted);
    assert!(nginx.start_page("backend", 1).accepted);
    assert!(!nginx.stop_page("backend", "any").accepted);
    assert_eq!(up(&nginx), [0, 1]);
    shorten(config, &peers, &mut nginx);
    wait_until(LIMIT, "the rest is over", || nginx.stop_page("backend", "any").accepted);
    assert_eq!(up(&nginx), [1]);
}

#[test]
fn any_with_nothing_that_fits_changes_nothing() {
    let peers = Peer::start_many(2);
    let (_, nginx) = start(&peers);

    let command = nginx.start_page("backend", "any");
    assert!(!command.accepted && command.reason.is_some(), "{command:?}");
    assert_eq!(command.program, None);
    assert_eq!(up(&nginx), [0, 1]);
    assert!(nginx.stop_page("backend", "any").accepted, "what was refused begins no rest");
}
