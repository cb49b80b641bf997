//! Programs that supervisord runs: started, stopped, waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use support::scripted_supervisord::INFO;
use support::{wait_until, Nginx, Program, ScriptedSupervisord, LIMIT};

mod any;
mod busy;
mod configuration;
mod demand;
mod drain;
mod failure;
mod faults;
mod health;
mod held;
mod implicit;
mod load;
mod memory;
mod newest;
mod pages;
mod poll;
mod quit;
mod reload;
mod rotation;
mod rounds;
mod single;
mod spoken;
mod status;

/// The limits of a call, longer than any client waits: who waits for one of them gets no answer.
const ENDLESS: &str = "supervisord_connect_timeout 1h; supervisord_send_timeout 1h; \
                       supervisord_read_timeout 1h;";

/// A program that listens by the time that supervisord calls it RUNNING, which supervisord says two
/// seconds after its start, whatever the program does.
fn settled(name: &str) -> Program {
    Program::new(name).setting("startsecs", 2)
}

/// Two of them, numbered.
fn two_settled(upstream: &str) -> [Program; 2] {
    [0, 1].map(|number| settled(&format!("{upstream}{number}")))
}

/// Asserts that supervisord is asked once a period, and by one at a time.
#[track_caller]
fn is_asked_once_a(period: Duration, supervisord: &ScriptedSupervisord) {
    const CALLS: usize = 10;

    let before = supervisord.calls_of(INFO).len();
    wait_until(LIMIT, "more polls", || supervisord.calls_of(INFO).len() >= before + CALLS);
    let calls = supervisord.calls_of(INFO);
    let took = calls[before + CALLS - 1].at - calls[before].at;
    // Nine periods. Who is held up notes a call too late, but the next one is not made before that
    // has its answer. Two who ask take half as long.
    assert!(took >= 6 * period, "{took:?} for {CALLS} polls");
}

/// Returns once every worker has given so many answers to requests that began after this did.
#[track_caller]
fn hear_workers(nginx: &Nginx, count: usize) {
    let mut answers: BTreeMap<u32, usize> = BTreeMap::new();

    wait_until(LIMIT, "answers of every worker", || {
        *answers.entry(nginx.get("/generation").worker()).or_default() += 1;
        nginx.workers().iter().all(|pid| answers.get(pid).is_some_and(|own| *own >= count))
    });
}

/// Has every worker, and the log, know what the pages show already: the worker that has changed it
/// tells them right after, before it answers anybody.
#[track_caller]
fn all_know(nginx: &Nginx) {
    hear_workers(nginx, 1);
}

/// Asserts that the log says of what the pages show already just once.
#[track_caller]
fn is_logged_once(nginx: &Nginx, text: &str) {
    all_know(nginx);
    assert_eq!(nginx.log_lines(text).len(), 1, "{}", nginx.error_log());
}
