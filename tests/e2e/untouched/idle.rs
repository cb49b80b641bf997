//! An nginx that has nothing to do does nothing.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use support::{holds_for, process, servers, wait_until, Config, Environment, Nginx, Peer, LIMIT};

/// An upstream that nothing is asked for.
fn config(peer: &Peer) -> Config {
    Config::new().workers(2).upstream("backend", servers([peer])).without_pages()
}

/// Number of times that a process has gone to sleep of its own accord.
fn sleeps(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));

    line.expect("a line").trim().parse().expect("a number")
}

/// The system call that a process is in, and its arguments, if it is in one and the OS tells.
fn system_call(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    Some(text.split_whitespace().map(str::to_owned).collect())
}

/// The master and its workers.
fn processes(nginx: &Nginx) -> Vec<u32> {
    let mut all = nginx.workers();
    all.push(nginx.pid());
    all
}

#[test]
fn with_the_module_unused_no_process_ever_wakes_up() {
    let peer = Peer::start();
    let nginx = Nginx::start(&config(&peer));
    assert_eq!(nginx.tally(20, "backend").with_status(200), 20);

    // Those of the last requests.
    let all = processes(&nginx);
    let before = settled(|| all.iter().map(|&pid| sleeps(pid)).collect::<Vec<u64>>());
    holds_for(Duration::from_secs(3), "nobody wakes up", || {
        all.iter().map(|&pid| sleeps(pid)).eq(before.iter().copied())
    });
    for worker in nginx.workers() {
        // epoll_wait(epfd, events, maxevents, timeout): for ever.
        let Some(call) = system_call(worker) else { continue };
        if call.len() > 4 {
            assert!(call[4].ends_with("ffffffff"), "{call:?}");
        }
    }
}

#[test]
fn with_the_module_unused_a_process_has_the_same_descriptors_and_memory() {
    /// Of each process: number of descriptors, zones, and all files that it has mapped.
    type Usage = Vec<(usize, Vec<u64>, BTreeSet<String>)>;

    let peer = Peer::start();
    let config = config(&peer);
    let usage = |config: &Config| -> Usage {
        let nginx = Nginx::start(config);
        assert_eq!(nginx.tally(20, "backend").with_status(200), 20);
        let of = |pid| (process::descriptors(pid), process::shared_mappings(pid), files(pid));
        // Without what the last connections have.
        settled(|| processes(&nginx).into_iter().map(of).collect::<Usage>())
    };
    let (with, without) = (usage(&config), usage(&config.without_module()));

    assert_eq!(with.len(), without.len());
    let Some(module) = &Environment::get().module else { return };
    for (with, without) in with.iter().zip(&without) {
        assert_eq!((with.0, &with.1), (without.0, &without.1));
        let own: Vec<&String> = with.2.difference(&without.2).collect();
        // The object, and what it is linked with.
        let is_expected = |path: &&String| {
            module.ends_with(path) || path.contains("/libgcc_s.so") || path.contains("/ld-linux")
        };
        assert!(own.iter().all(is_expected), "{own:?}");
        assert!(without.2.is_subset(&with.2));
    }
}

/// What is measured once nothing has changed in it for longer than a process of a busy machine stands still.
fn settled<T: PartialEq>(measure: impl Fn() -> T) -> T {
    const LOOKS: u32 = 15;

    let (mut last, mut same) = (measure(), 0);
    wait_until(LIMIT, "all have settled", || {
        std::thread::sleep(Duration::from_millis(100));
        let next = measure();
        same = if next == last { same + 1 } else { 0 };
        last = next;
        same == LOOKS
    });
    last
}

/// What a process has mapped that has a name.
fn files(pid: u32) -> BTreeSet<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process lives");
    let names = maps.lines().filter_map(|line| line.split_whitespace().nth(5));

    names.filter(|name| name.starts_with('/')).map(str::to_owned).collect()
}
