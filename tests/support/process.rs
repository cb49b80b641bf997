//! What /proc says of a process, and signals.

use std::fs;
use std::io;

/// A process as /proc shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its command line; nginx writes its role there.
    pub title: String,
}

/// The living children of a process, in the order of their numbers; zombies are dead.
pub fn children(parent: u32) -> Vec<Process> {
    let mut found: Vec<Process> = fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| stat(pid).is_some_and(|stat| stat.parent == parent && stat.state != 'Z'))
        .map(|pid| Process { pid, title: title(pid) })
        .collect();

    found.sort_by_key(|process| process.pid);
    found
}

/// Whether the process lives; a zombie does not.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat.state != 'Z')
}

/// Whether there is such a process, be it a zombie that its parent has not asked for yet.
pub fn exists(pid: u32) -> bool {
    stat(pid).is_some()
}

/// Whether a signal has stopped the process.
pub fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat.state == 'T')
}

/// Clock ticks of processor time that the process has used.
pub fn cpu_ticks(pid: u32) -> u64 {
    stat(pid).map_or(0, |stat| stat.cpu_ticks)
}

/// Resident memory in KiB.
///
/// # Panics
/// If there is no such process.
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a VmRSS line");

    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Number of open descriptors.
///
/// # Panics
/// If there is no such process.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").count()
}

/// Sizes in bytes of the anonymous shared mappings, which nginx's zones are, in order of address.
///
/// # Panics
/// If there is no such process.
pub fn shared_mappings(pid: u32) -> Vec<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process lives");

    maps.lines()
        .filter(|line| line.contains(" rw-s ") && line.contains("/dev/zero"))
        .map(|line| {
            let range = line.split(' ').next().expect("a range");
            let (from, to) = range.split_once('-').expect("two addresses");
            hexadecimal(to) - hexadecimal(from)
        })
        .collect()
}

/// Sends a signal.
///
/// # Errors
/// Those of `kill`, for instance if there is no such process.
pub fn signal(pid: u32, signal: libc::c_int) -> io::Result<()> {
    send(pid_t(pid), signal)
}

/// Sends a signal to every process of a group.
///
/// # Errors
/// Those of `kill`, for instance if the group has no process any more.
pub fn signal_group(group: u32, signal: libc::c_int) -> io::Result<()> {
    send(-pid_t(group), signal)
}

fn send(pid: libc::pid_t, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no pointers.
    if unsafe { libc::kill(pid, signal) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn pid_t(pid: u32) -> libc::pid_t {
    assert!(pid > 1, "no process of ours has the number {pid}");
    libc::pid_t::try_from(pid).expect("a process number")
}

struct Stat {
    state: char,
    parent: u32,
    cpu_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold blanks and parentheses itself.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();

    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        cpu_ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
    })
}

/// Its command line; empty if there is no such process.
pub fn title(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

fn hexadecimal(digits: &str) -> u64 {
    u64::from_str_radix(digits, 16).expect("a hexadecimal number")
}
