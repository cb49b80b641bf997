//! What one nginx process does for the machine: probes the peers it holds leases of, publishes
//! verdicts, mirrors everybody's.

#![forbid(unsafe_code)]

pub(crate) mod calls;
pub(crate) mod changes;
pub(crate) mod commands;
pub(crate) mod demand;
pub(crate) mod drain;
pub(crate) mod flights;
pub(crate) mod flips;
pub(crate) mod leases;
pub(crate) mod life;
pub(crate) mod loads;
pub(crate) mod monitors;
pub(crate) mod peer;
pub(crate) mod penalties;
pub(crate) mod polls;
pub(crate) mod programs;
pub(crate) mod references;
pub(crate) mod registered;
pub(crate) mod requests;
pub(crate) mod roster;
pub(crate) mod run;
pub(crate) mod takeovers;
pub(crate) mod tasks;
pub(crate) mod trouble;

use healthcheck_core::wheel::Wheel;
use healthcheck_core::Msec;

use crate::nginx::process::{CycleId, ProcessLocal};
use crate::nginx::timer::Timer;
use crate::zone::counters::Row;
use crate::zone::Zone;
use loads::Told;
use peer::Peer;
use polls::Supervised;
use roster::Watch;
use tasks::Tasks;
use trouble::Trouble;

/// Every worker looks for free leases, new peers and flips this often.
const SCAN_EVERY: Msec = 1_000;

/// The probing half of this process; `None` in processes that do not probe.
static WORKER: ProcessLocal<Option<Worker>> = ProcessLocal::new(None);

/// Everything a process needs to probe and to mirror.
pub(crate) struct Worker {
    /// Shared memory.
    zone: Zone,
    /// nginx's cycle, to notice a reload without a master that dropped the module.
    cycle: CycleId,
    /// The address of the configuration this worker runs under; only compared.
    conf: usize,
    /// The configuration's epoch in the zone.
    epoch: u32,
    /// This process.
    pid: u32,
    /// 0-based worker number.
    number: usize,
    /// Place in nginx's process table.
    process_slot: usize,
    /// How many workers share the peers.
    workers: usize,
    /// The upstreams with checks or managed programs.
    watches: Vec<Watch>,
    /// The supervisords that run their programs.
    supervisords: Vec<Supervised>,
    /// Commands that this process carries out, and askings for states.
    tasks: Tasks,
    /// The commands, by task, whose balancers are to be asked whether they may be carried out by now.
    inquiries: Vec<usize>,
    /// When this process last saw that the binary is being upgraded.
    upgraded: Option<Msec>,
    /// Whether a balancer has to be told or asked something as soon as nothing is borrowed.
    has_calls: bool,
    /// The load that a balancer is being told.
    told: Option<Told>,
    /// What this process counts; `None` where nothing is counted.
    row: Option<Row>,
    /// Every peer of them that is probed, each address of an upstream once.
    peers: Vec<Peer>,
    /// Whether a peer has come that is not ranked among the others yet.
    unranked: bool,
    /// Place in `peers` by slot; `u32::MAX` = none.
    by_slot: Vec<u32>,
    /// When which peer wants attention.
    wheel: Wheel,
    /// Who does in this tick; kept for its memory.
    due: Vec<usize>,
    /// The process's only timer.
    timer: Timer,
    /// When to look for free leases again.
    next_scan: Msec,
    /// When to look again whether a peer may lose nginx's penalty; unset where none waits for that.
    next_look: Option<Msec>,
    /// What all reads go through; made for the first.
    buffer: Box<[u8]>,
    /// Local trouble: what was logged when, until when no probe begins.
    trouble: Trouble,
    /// Whether this process has given up probing for good.
    retired: bool,
}

/// Runs `body` with this process's worker, if it has one that is not in use.
///
/// Without a master, a reload can drop the module: nobody says so, and the worker's shared memory is
/// gone.
fn with_worker<R>(body: impl FnOnce(&mut Worker) -> R) -> Option<R> {
    let of = |worker: &mut Option<Worker>| {
        worker.as_mut().filter(|worker| !worker.is_orphan()).map(body)
    };
    WORKER.with(of).flatten()
}

/// Drops this process's worker without touching shared memory, which may be gone.
fn forget() {
    references::close();
    let _ = WORKER.with(Option::take);
}
