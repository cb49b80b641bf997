//! What /proc says that a server uses: all its processes and their threads.

use std::fs;
use std::time::Duration;

use support::process;

/// A process and all below it.
pub fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;

    while let Some(&pid) = found.get(at) {
        found.extend(process::children(pid).iter().map(|child| child.pid));
        at += 1;
    }
    found
}

/// The processor time that these processes have used so far; threads that have ended do not count.
pub fn used(pids: &[u32]) -> Duration {
    let of_thread = |path: std::path::PathBuf| -> Option<u64> {
        fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    let of_process = |pid: &u32| -> u64 {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads.filter_map(|thread| of_thread(thread.path())).sum()
    };

    Duration::from_nanos(pids.iter().map(of_process).sum())
}

/// Their memory in KiB, what several of them share divided among these.
pub fn memory_kib(pids: &[u32]) -> u64 {
    let of_process = |pid: &u32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };

    pids.iter().filter_map(of_process).sum()
}
