//! System calls, counted by strace. It slows what it counts, so figures of time are taken without it.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use support::{process, wait_for};

/// The calls of a thread within a window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    /// All of them.
    pub all: u32,
    /// Connections that were begun: one for each probe where there are no requests.
    pub connects: u32,
}

/// Counts those of one thread for so long; the reason if strace cannot. One thread only, because strace
/// would be too slow for all of a server that probes thousands of peers.
pub(super) fn count(thread: u32, window: Duration) -> Result<Calls, String> {
    let dir = tempfile::tempdir().map_err(|error| format!("no directory: {error}"))?;
    let path = dir.path().join("calls");
    let mut command = Command::new("strace");
    command.args(["-c", "-q", "-o"]).arg(&path).args(["-p", &thread.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut strace = command.spawn().map_err(|error| format!("strace does not start: {error}"))?;

    sleep(window);
    // It lets go of the processes and writes its table.
    process::signal(strace.id(), libc::SIGINT).map_err(|error| format!("strace: {error}"))?;
    wait_for(Duration::from_secs(20), "strace ends", || {
        strace.try_wait().expect("a child of ours")
    });
    let table = fs::read_to_string(&path).unwrap_or_default();
    let calls = parse(&table);
    if calls.connects == 0 {
        return Err("strace has seen no connection: is it allowed to trace?".to_owned());
    }
    Ok(calls)
}

fn parse(table: &str) -> Calls {
    let mut calls = Calls::default();
    for line in table.lines() {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let (Some(Ok(count)), Some(name)) = (cells.get(3).map(|cell| cell.parse()), cells.last())
        else {
            continue;
        };
        match *name {
            "total" => calls.all = count,
            "connect" => calls.connects = count,
            _ => {}
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_strace_is_understood() {
        let calls = parse(
            "% time     seconds  usecs/call     calls    errors syscall\n\
             ------ ----------- ----------- --------- --------- ----------------\n \
             40.00    0.000200           1       200           epoll_wait\n \
             20.00    0.000100           1       100       100 connect\n\
             ------ ----------- ----------- --------- --------- ----------------\n\
             100.00    0.000300           1       300       100 total\n",
        );
        assert_eq!((calls.all, calls.connects), (300, 100));
    }
}
