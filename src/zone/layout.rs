//! How the zone's memory is divided, and the words that are not a record's.

use core::mem::size_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use healthcheck_core::schedule::admit;
use healthcheck_core::Msec;
use nginx_sys::NGX_MAX_PROCESSES;

use super::slot::Slot;
use super::table::{Entry, Record, Table};
use crate::nginx::shm::{SharedZone, ZoneLock};

/// Changes with every change of the layout, so that a new module never reads an old one's zone.
const LAYOUT: u32 = 1;

/// The start of the zone.
#[repr(C, align(64))]
struct Header {
    /// [`LAYOUT`], written last.
    layout: AtomicU32,
    /// Number of slots.
    slots: AtomicU32,
    /// Number of upstream cells.
    upstreams: AtomicU32,
    /// Slots that are meant for peers resolved at run time.
    reserved: AtomicU32,
    /// The last configuration epoch that was given out. A failed reload uses one up.
    last_epoch: AtomicU32,
    /// The epoch of the configuration that nginx runs.
    running_epoch: AtomicU32,
    /// Not 0: a larger zone has replaced this one.
    superseded: AtomicU32,
    /// Probes begun in a tick, see [`admit`]; on a cache line of its own.
    pace: Pace,
    /// One cell for each of nginx's process slots.
    processes: [ProcessCell; NGX_MAX_PROCESSES as usize],
}

/// A word that every worker writes.
#[repr(C, align(64))]
struct Pace(AtomicU64);

/// One nginx process that probes. Written by that process alone.
#[repr(C)]
pub(crate) struct ProcessCell {
    /// 0 = no process.
    pid: AtomicU32,
    /// 0-based worker number.
    number: AtomicU32,
    /// The configuration the process runs.
    epoch: AtomicU32,
    /// Keeps cells at 16 bytes.
    _reserved: AtomicU32,
}

/// What a cell says of its process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    /// Never 0.
    pub(crate) pid: u32,
    /// 0-based worker number.
    pub(crate) number: usize,
    /// The configuration the process runs.
    pub(crate) epoch: u32,
}

/// The record of one upstream.
#[repr(C, align(64))]
pub(crate) struct UpstreamCell {
    /// Key: the upstream's name.
    entry: Entry,
    /// Grows with every flip of a peer; what a process mirrors is older while this differs.
    generation: AtomicU64,
}

impl Record for UpstreamCell {
    fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl UpstreamCell {
    /// The generation, to be bumped after the slot was written and read before it is.
    pub(crate) fn generation(&self) -> &AtomicU64 {
        &self.generation
    }
}

/// The zone, mapped. `'static` holds in a worker for good; the master and the single process drop
/// every `Zone` of an old configuration before nginx unmaps it (after `init_module`).
#[derive(Clone, Copy)]
pub(crate) struct Zone {
    /// The whole zone, for its mutex.
    memory: SharedZone,
    /// The words that are not a record's.
    header: &'static Header,
    /// One cell an upstream.
    pub(crate) upstreams: Table<UpstreamCell>,
    /// One slot a peer.
    pub(crate) slots: Table<Slot>,
}

/// How many records a zone has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Peers.
    pub(crate) slots: u32,
    /// Upstreams.
    pub(crate) upstreams: u32,
    /// Slots that are meant for peers resolved at run time.
    pub(crate) reserved: u32,
}

impl Capacity {
    /// Bytes that a zone of this capacity divides.
    pub(crate) fn bytes(self) -> usize {
        size_of::<Header>()
            + self.upstreams as usize * size_of::<UpstreamCell>()
            + self.slots as usize * size_of::<Slot>()
    }
}

impl Zone {
    /// Divides the memory of a new zone; `None` when it is too small.
    pub(crate) fn create(memory: SharedZone, capacity: Capacity) -> Option<Zone> {
        let block = memory.allocate(capacity.bytes())?;
        // SAFETY: the block is as long as the capacity asks for, zeroed, aligned to a page and
        // nobody else's; zero is valid for every part of the header.
        let header: &Header = unsafe { block.cast().as_ref() };
        header.slots.store(capacity.slots, Ordering::Relaxed);
        header.upstreams.store(capacity.upstreams, Ordering::Relaxed);
        header.reserved.store(capacity.reserved, Ordering::Relaxed);
        header.layout.store(LAYOUT, Ordering::Release);
        Zone::open(memory)
    }

    /// Finds the parts of a zone that `create` divided, in this configuration or an older one;
    /// `None` when its layout is another.
    pub(crate) fn open(memory: SharedZone) -> Option<Zone> {
        let block = memory.block()?;
        // SAFETY: the zone's only block begins with a header, which consists of atomics.
        let header: &'static Header = unsafe { block.cast().as_ref() };
        if header.layout.load(Ordering::Acquire) != LAYOUT {
            return None;
        }
        let Capacity { slots, upstreams, .. } = capacity_of(header);
        // SAFETY: `create`'s block holds header, cells and slots one after the other; each size
        // is a multiple of its alignment, 64. All parts are atomics for which zero is valid.
        unsafe {
            let cells = block.cast::<Header>().add(1).cast::<UpstreamCell>();
            let first_slot = cells.add(upstreams as usize).cast::<Slot>();
            Some(Zone {
                memory,
                header,
                upstreams: Table(core::slice::from_raw_parts(cells.as_ptr(), upstreams as usize)),
                slots: Table(core::slice::from_raw_parts(first_slot.as_ptr(), slots as usize)),
            })
        }
    }

    /// The mutex that adding and removing records takes, if nobody holds it.
    pub(crate) fn try_lock(self) -> Option<ZoneLock> {
        self.memory.try_lock()
    }

    /// How many records there is room for.
    pub(crate) fn capacity(self) -> Capacity {
        capacity_of(self.header)
    }

    /// A new configuration's epoch; always above those of all configurations before.
    pub(crate) fn next_epoch(self) -> u32 {
        self.header.last_epoch.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Continues the epochs of the zone that this one replaces.
    pub(crate) fn continue_epochs(self, old: Zone) {
        let (last, running) = (&old.header.last_epoch, &old.header.running_epoch);
        self.header.last_epoch.store(last.load(Ordering::Relaxed), Ordering::Relaxed);
        self.header.running_epoch.store(running.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Notes that nginx now runs the configuration `epoch`.
    pub(crate) fn commit(self, epoch: u32) {
        self.header.running_epoch.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Notes that a larger zone has replaced this one.
    pub(crate) fn supersede(self) {
        self.header.superseded.store(1, Ordering::Release);
    }

    /// Whether a process of configuration `epoch` still probes and publishes.
    pub(crate) fn is_current(self, epoch: u32) -> bool {
        self.header.running_epoch.load(Ordering::Acquire) <= epoch
            && self.header.superseded.load(Ordering::Acquire) == 0
    }

    /// Counts one more probe in this tick; `false` when the machine's pace is reached.
    pub(crate) fn admit_probe(self, now: Msec) -> bool {
        let next = |word| admit(word, now);
        self.header.pace.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// Announces this process under its nginx process slot.
    pub(crate) fn enter(self, slot: usize, process: Process) {
        // A killed process's cell may name the pid that is now this one's.
        for cell in &self.header.processes {
            let _ = cell.pid.compare_exchange(process.pid, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        if let Some(cell) = self.header.processes.get(slot) {
            cell.number.store(u32::try_from(process.number).unwrap_or(u32::MAX), Ordering::Relaxed);
            cell.epoch.store(process.epoch, Ordering::Relaxed);
            cell.pid.store(process.pid, Ordering::Release);
        }
    }

    /// Takes this process's announcement back.
    pub(crate) fn leave(self, slot: usize, pid: u32) {
        if let Some(cell) = self.header.processes.get(slot) {
            let _ = cell.pid.compare_exchange(pid, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Every announced process, dead ones that could not take theirs back included.
    pub(crate) fn processes(self) -> impl Iterator<Item = Process> {
        self.header.processes.iter().filter_map(|cell| {
            let pid = cell.pid.load(Ordering::Acquire);
            (pid != 0).then(|| Process {
                pid,
                number: cell.number.load(Ordering::Relaxed) as usize,
                epoch: cell.epoch.load(Ordering::Relaxed),
            })
        })
    }
}

/// How many records a header says there are.
fn capacity_of(header: &Header) -> Capacity {
    Capacity {
        slots: header.slots.load(Ordering::Relaxed),
        upstreams: header.upstreams.load(Ordering::Relaxed),
        reserved: header.reserved.load(Ordering::Relaxed),
    }
}
