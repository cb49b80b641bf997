//! What balancers are told of programs, and what they have done with them.

use std::fs;

use support::{servers, wait_for, Config, Consumer, Nginx, Peer, Program, Supervisord, LIMIT};

mod execute;
pub(crate) mod hold;
mod loads;
mod minute;
mod monitors;
mod pending;
mod reload;
mod valgrind;

/// What `NGX_OK`, `NGX_DECLINED` and the commands are in C.
const OK: &str = "0";
const DECLINED: &str = "-5";
const START: u8 = 1;
const STOP: u8 = 2;

/// A line that the consumer wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) pid: u32,
    pub(crate) text: String,
}

/// All that the consumer wrote so far and that contains `text`.
pub(crate) fn trace(nginx: &Nginx, text: &str) -> Vec<Line> {
    let lines = fs::read_to_string(nginx.dir().join("trace")).unwrap_or_default();
    // A process may be about to write the rest of the last line.
    let whole = lines.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().filter(|line| line.contains(text)).map(|line| {
        let (pid, text) = line.split_once(' ').expect("a process and a text");
        Line { pid: pid.parse().expect("a number"), text: text.to_owned() }
    });
    lines.collect()
}

/// What one process wrote of the states of programs: number and state.
fn states(nginx: &Nginx, pid: u32) -> Vec<(usize, u8)> {
    let lines = trace(nginx, "backend: backend ").into_iter().filter(|line| line.pid == pid);
    let state = |line: Line| {
        let (number, state) = line.text["backend: backend ".len()..].split_once(" is ")?;
        Some((number.parse().ok()?, state.parse().ok()?))
    };
    lines.map(|line| state(line).expect("a number and a state")).collect()
}

/// An upstream whose balancer is the consumer, and pages that give commands.
pub(crate) fn config(body: impl AsRef<str>) -> Config {
    Config::new()
        .load_after(&Consumer::build("traced"))
        .upstream("backend", format!("traced trace; {}", body.as_ref()))
        .commands("backend")
        .server("location = /execute { traced_execute backend; } ")
}

/// As `config`, of these peers, whose programs are switched by hand.
fn by_hand(peers: &[Peer]) -> Config {
    let servers = servers(peers);
    config(format!("supervisord none; supervisord_inherit_backend_status; {servers}"))
}

/// Has the consumer give a command; returns what it was told.
fn execute(nginx: &Nginx, command: u8, program: i32, checked: bool) -> String {
    let check = u8::from(checked);
    nginx.get(&format!("/execute?cmd={command}&backend={program}&check={check}")).text()
}

/// Has the checker say yes.
fn allow(nginx: &Nginx) {
    fs::write(nginx.dir().join("trace.yes"), "").expect("a file in the directory");
}

/// Has the balancer have no peer, or have them again.
pub(crate) fn fill(nginx: &Nginx, is_full: bool) {
    let file = nginx.dir().join("trace.full");
    if is_full {
        fs::write(file, "").expect("a file in the directory");
    } else {
        fs::remove_file(file).expect("a file of the test's own");
    }
}

/// A real supervisord whose programs listen once they are RUNNING.
fn real(count: usize) -> Supervisord {
    let programs = Program::many("backend", count).into_iter();
    Supervisord::start(programs.map(|one| one.setting("startsecs", 1)).collect::<Vec<_>>())
}

/// Kills one of two workers; returns the one that takes its place.
fn replace_worker(nginx: &mut Nginx, killed: u32) -> u32 {
    let other = nginx.workers().into_iter().find(|pid| *pid != killed).expect("another worker");
    nginx.kill9(killed);
    wait_for(LIMIT, "a new worker", || {
        let is_new = |pid: &u32| ![killed, other].contains(pid);
        nginx.workers().into_iter().find(is_new)
    })
}
