//! What /proc says that a server uses: all its processes and their threads.

use std::collections::HashMap;
use std::fs;
use std::thread::sleep;
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
    Duration::from_nanos(threads(pids).iter().map(|(_, nanoseconds)| nanoseconds).sum())
}

/// The thread of these processes that uses the most within so long.
///
/// # Panics
/// If none of them lives.
pub fn busiest_thread(pids: &[u32], window: Duration) -> u32 {
    let before: HashMap<u32, u64> = threads(pids).into_iter().collect();
    sleep(window);
    let used = |(id, nanoseconds): &(u32, u64)| nanoseconds - before.get(id).copied().unwrap_or(0);
    let busiest = threads(pids).into_iter().max_by_key(used);
    busiest.expect("a process that lives").0
}

/// Each thread, and the nanoseconds that it has used.
fn threads(pids: &[u32]) -> Vec<(u32, u64)> {
    let of_thread = |entry: fs::DirEntry| -> Option<(u32, u64)> {
        let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        let nanoseconds = text.split(' ').next()?.parse().ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, nanoseconds))
    };
    let of_process = |pid: &u32| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.filter_map(of_thread).collect::<Vec<_>>()
    };

    pids.iter().flat_map(of_process).collect()
}

/// Their memory in KiB, what several of them share divided among these.
pub fn memory_kib(pids: &[u32]) -> f64 {
    let of_process = |pid: &u32| -> Option<f64> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };

    pids.iter().filter_map(of_process).sum()
}
