//! Peers that mean harm: each gets its verdict in time, and the worker neither dies nor grows.

use std::time::Duration;

use support::{
    can_measure_memory, check, process, servers, Config, Nginx, Peer, Row, Script, Step,
};

const TIMEOUT: u32 = 1000;
/// A timeout that no peer of a busy machine reaches.
const LONG: u32 = 20_000;
const NOW: Duration = Duration::ZERO;

/// What each does, and the code that its verdict may have.
fn villains() -> Vec<(&'static str, Script, &'static [&'static str])> {
    let second = Duration::from_secs(1);
    let ok = "HTTP/1.1 200 OK\r\n";
    let noise: Vec<u8> = (0..=255).cycle().skip(128).take(4096).collect();

    vec![
        ("noise", Script::raw(noise.clone()), &["bad_status_line"]),
        ("endless noise", Script::endless("", "\u{7f}\u{1}", NOW), &["bad_status_line"]),
        ("a status line without end", Script::endless(ok.trim_end(), "x", NOW), &["too_big"]),
        ("a header without end", Script::endless(ok, "X: y\r\n", NOW), &["too_big"]),
        ("a line without end", Script::endless(&format!("{ok}X: "), "yyyyyyyy", NOW), &["too_big"]),
        (
            "a hundred thousand lines",
            Script::raw(format!("{ok}{}", "X: y\r\n".repeat(100_000))),
            &["too_big"],
        ),
        ("one byte a second", Script::endless("", "H", second), &["timeout", "bad_status_line"]),
        ("a header byte a second", Script::endless(ok, "X", second), &["timeout"]),
        ("a reset after the request", Script::reset(), &["bad_connection"]),
        (
            "a reset in the header",
            Script(vec![Step::Send(ok.into()), Step::Reset]),
            &["bad_connection"],
        ),
        ("a half-close at once", Script(vec![Step::HalfClose, Step::Hang]), &["early_close"]),
        (
            "interim responses without end",
            Script::endless("", "HTTP/1.1 100 Continue\r\n\r\n", NOW),
            &["too_big"],
        ),
        ("NUL in the status line", Script::raw("HTTP/1.1 200\0 OK\r\n\r\n"), &["bad_status_line"]),
        ("NUL in a name", Script::raw(format!("{ok}X\0Y: z\r\n\r\n")), &["bad_header"]),
        ("NUL in a value", Script::raw(format!("{ok}X: \0\r\n\r\n")), &["bad_header"]),
        ("no colon", Script::raw(format!("{ok}nonsense\r\n\r\n")), &["bad_header"]),
        (
            "a code of many digits",
            Script::raw("HTTP/1.1 2000000000000 OK\r\n\r\n"),
            &["bad_status_line"],
        ),
        ("a negative code", Script::raw("HTTP/1.1 -200 OK\r\n\r\n"), &["bad_status_line"]),
        ("HTTP/2", Script::raw("HTTP/2 200 OK\r\n\r\n"), &["bad_status_line"]),
    ]
}

/// The same for a check that expects a body.
fn body_villains() -> Vec<(&'static str, Script, &'static [&'static str])> {
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = format!("{ok}Transfer-Encoding: chunked\r\n\r\n");
    let length = |length: &str| format!("{ok}Content-Length: {length}\r\n\r\nfine");

    vec![
        ("a body without end", Script::endless(&format!("{ok}\r\n"), "fine", NOW), &["bad_body"]),
        (
            "a body of one byte a second",
            Script::endless(&format!("{ok}\r\n"), "f", Duration::from_secs(1)),
            &["bad_body", "timeout"],
        ),
        (
            "a chunk without end",
            Script::endless(&format!("{chunked}ffffffffffffffff\r\n"), "fine", NOW),
            &["bad_body", "bad_header"],
        ),
        ("a size without end", Script::endless(&chunked, "0", NOW), &["bad_header", "too_big"]),
        (
            "an extension without end",
            Script::endless(&format!("{chunked}4;"), "x", NOW),
            &["too_big"],
        ),
        (
            "trailers without end",
            Script::endless(&format!("{chunked}4\r\nfine\r\n0\r\n"), "X: y\r\n", NOW),
            &["too_big"],
        ),
        (
            "a length of many digits",
            Script::raw(length("99999999999999999999999")),
            &["bad_header", "bad_body"],
        ),
        ("a negative length", Script::raw(length("-4")), &["bad_header"]),
        ("two lengths", Script::raw(length("4\r\nContent-Length: 5")), &["bad_header"]),
    ]
}

/// nginx with a check against these peers, and the peers.
fn against(
    extra: &str,
    villains: &[(&'static str, Script, &'static [&'static str])],
) -> (Nginx, Vec<Peer>) {
    let peers: Vec<Peer> = villains
        .iter()
        .map(|(_, script, _)| {
            let peer = Peer::start();
            peer.probes(script.clone());
            peer
        })
        .collect();
    let body = format!("{} {extra} {}", check(150, TIMEOUT, 2), servers(&peers));
    (Nginx::start(&Config::new().upstream("backend", body)), peers)
}

fn are_judged(extra: &str, villains: &[(&'static str, Script, &'static [&'static str])]) {
    let (nginx, peers) = against(extra, villains);
    let workers = nginx.workers();

    for ((what, _, codes), peer) in villains.iter().zip(&peers) {
        // A busy machine may hold up a peer, which then is too late, or the worker, which gives no verdict
        // at the timeout then; not every time.
        let row = nginx.wait_row(peer, &format!("is judged: {what}"), |row| {
            let in_time = row.latency_ms.is_some_and(|time| time <= u64::from(TIMEOUT) * 3 / 2);
            row.concurrent >= 3 && codes.contains(&row.code.as_str()) && in_time
        });
        assert!(row.down, "{what}: {row:#?}");
    }
    assert_eq!(nginx.workers(), workers, "no worker died");
    // A busy machine may keep the worker from its timeouts, which it says; nothing else went wrong.
    let mut errors = nginx.log_lines("[error]");
    errors.retain(|line| !line.contains("the event loop stood still"));
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn every_villain_is_judged_within_the_timeout() {
    are_judged("", &villains());
}

#[test]
fn every_villain_is_judged_within_the_timeout_with_a_large_buffer() {
    // The endless ones stop at 128 lines or at the timeout.
    let endless =
        ["a status line without end", "a line without end", "interim responses without end"];
    let villains: Vec<_> = villains()
        .into_iter()
        .map(|(what, script, codes)| {
            let also: &[&str] =
                if endless.contains(&what) { &["too_big", "timeout"] } else { codes };
            (what, script, also)
        })
        .collect();
    are_judged("healthcheck_buffer 1m;", &villains);
}

#[test]
fn every_villain_with_a_body_is_judged_within_the_timeout() {
    are_judged("healthcheck_expected fine;", &body_villains());
}

#[test]
fn a_peer_that_resets_or_closes_at_accept_is_down_like_a_closed_one() {
    for script in [Script::reset(), Script::close()] {
        let peer = Peer::start();
        peer.on_accept(script);
        let body = format!("{} {}", check(150, TIMEOUT, 2), servers([&peer]));
        let nginx = Nginx::start(&Config::new().upstream("backend", body));
        // Whether the close or the reset is seen first is the kernel's choice.
        nginx.wait_row(&peer, "is down at once", |row| {
            let code = ["bad_connection", "early_close"].contains(&row.code.as_str());
            row.down && code && row.latency_ms.is_some_and(|time| time < u64::from(TIMEOUT))
        });
    }
}

#[test]
fn a_peer_that_answers_before_it_is_asked_is_judged_by_its_answer() {
    let peer = Peer::start();
    peer.on_accept(Script::send_and_hang("HTTP/1.1 200 OK\r\n\r\n"));
    let body = format!("{} {}", check(150, LONG, 2), servers([&peer]));
    let nginx = Nginx::start(&Config::new().upstream("backend", body));

    let row = nginx.wait_row(&peer, "has verdicts", |row: &Row| row.concurrent >= 3);
    assert_eq!(row.code, "ok");
}

#[test]
fn odd_but_lawful_responses_pass() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let answers = [
        format!("HTTP/1.1 100 Continue\r\n\r\n{ok}\r\n"),
        format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 P\r\n\r\n{ok}\r\n"),
        format!("{ok}X: a\r\n b\r\n\tc\r\nY: d\r\n\r\n"),
        format!("{ok}X:\r\nY : z\r\n\r\n"),
        "HTTP/1.1 200 \u{e4}\u{fc}\r\n\r\n".to_owned(),
    ];

    for row in crate::judge::judge(&check(150, LONG, 2), answers.map(Script::raw)) {
        assert_eq!((row.code.as_str(), row.failures), ("ok", 0), "{row:#?}");
    }
}

#[test]
fn the_worker_does_not_grow() {
    let (nginx, _peers) = against("healthcheck_buffer 64k;", &villains());
    let worker = nginx.workers()[0];
    let rounds = |count: u64| {
        let probes = |row: &Row| row.probes;
        let reached = nginx.status().peers.iter().map(probes).max().unwrap_or(0) + count;
        support::wait_until(Duration::from_secs(60), "more rounds", || {
            nginx.status().peers.iter().map(probes).max() >= Some(reached)
        });
    };

    rounds(15);
    // Where the machine is slow at first, so are the endless villains: buffers fill up later. What is
    // lost with each probe is lost in all windows.
    let mut windows = Vec::new();
    while windows.len() < 4 && windows.last().is_none_or(|grown| *grown > 256) {
        let before = process::resident_kib(worker);
        rounds(40);
        windows.push(process::resident_kib(worker).saturating_sub(before));
    }
    let grows = windows.iter().all(|grown| *grown > 256);
    assert!(!can_measure_memory() || !grows, "{windows:?} KiB");
    assert_eq!(nginx.workers(), [worker]);
}
