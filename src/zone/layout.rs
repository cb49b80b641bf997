//! How the zone's memory is divided, and the words that are not a record's.

use core::ffi::c_void;
use core::mem::size_of;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use healthcheck_core::schedule::admit;
use healthcheck_core::Msec;
use nginx_sys::NGX_MAX_PROCESSES;

use super::counters::{row_bytes, ProgramCount, Row, UpstreamCount};
use super::program::ProgramCell;
use super::slot::Slot;
use super::supervisord::SupervisordCell;
use super::table::{Record, Table};
use super::upstream::UpstreamCell;
use crate::nginx::shm::{SharedZone, ZoneLock};

/// Changes with every change of the layout, so that a new module never reads an old one's zone.
const LAYOUT: u32 = 4;

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
    /// Number of program cells.
    programs: AtomicU32,
    /// Number of supervisord cells.
    supervisords: AtomicU32,
    /// Not 0: requests are counted.
    counted: AtomicU32,
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
    /// Not 0: the process counts its requests in the zone that this one has replaced.
    elsewhere: AtomicU32,
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

/// The zone, mapped. `'static` holds in a worker for good; the master and the single process drop
/// every `Zone` of an old configuration before nginx unmaps it (after `init_module`).
#[derive(Clone, Copy)]
pub(crate) struct Zone {
    /// The whole zone, for its mutex.
    memory: SharedZone,
    /// The words that are not a record's.
    header: &'static Header,
    /// The first process's counts.
    rows: NonNull<c_void>,
    /// One cell an upstream.
    pub(crate) upstreams: Table<UpstreamCell>,
    /// One slot a peer.
    pub(crate) slots: Table<Slot>,
    /// One cell a managed program.
    pub(crate) programs: Table<ProgramCell>,
    /// One cell a supervisord.
    pub(crate) supervisords: Table<SupervisordCell>,
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
    /// Managed programs.
    pub(crate) programs: u32,
    /// Supervisords.
    pub(crate) supervisords: u32,
    /// Whether requests are counted: programs are managed, or requests held.
    pub(crate) counted: bool,
}

impl Capacity {
    /// Bytes that a zone of this capacity divides.
    pub(crate) fn bytes(self) -> usize {
        size_of::<Header>()
            + self.upstreams as usize * size_of::<UpstreamCell>()
            + self.slots as usize * size_of::<Slot>()
            + self.programs as usize * size_of::<ProgramCell>()
            + self.supervisords as usize * size_of::<SupervisordCell>()
            + self.row_bytes() * NGX_MAX_PROCESSES as usize
    }

    /// Bytes of one process's counts.
    fn row_bytes(self) -> usize {
        if self.counted {
            row_bytes(self.upstreams as usize, self.programs as usize)
        } else {
            0
        }
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
        header.programs.store(capacity.programs, Ordering::Relaxed);
        header.supervisords.store(capacity.supervisords, Ordering::Relaxed);
        header.counted.store(u32::from(capacity.counted), Ordering::Relaxed);
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
        let capacity = capacity_of(header);
        // SAFETY: `create`'s block holds header, cells, slots and rows one after the other; each size
        // is a multiple of its alignment, 64. All parts are atomics for which zero is valid.
        unsafe {
            let (upstreams, rest) =
                records(block.cast::<Header>().add(1).cast(), capacity.upstreams);
            let (slots, rest) = records(rest, capacity.slots);
            let (programs, rest) = records(rest, capacity.programs);
            let (supervisords, rows) = records(rest, capacity.supervisords);
            Some(Zone { memory, header, rows, upstreams, slots, programs, supervisords })
        }
    }

    /// The counts of the process in this place of nginx's table; `None` where nothing is counted.
    pub(crate) fn row(self, process: usize) -> Option<Row> {
        let capacity = self.capacity();
        if !capacity.counted || process >= NGX_MAX_PROCESSES as usize {
            return None;
        }
        let upstreams = capacity.upstreams as usize;
        // SAFETY: the block has a row for each of nginx's processes: counts of upstreams, then of
        // programs, in a whole number of cache lines; all atomics for which zero is valid.
        unsafe {
            let first = self.rows.byte_add(process * capacity.row_bytes()).cast::<UpstreamCount>();
            let programs = first.add(upstreams).cast::<ProgramCount>();
            Some(Row {
                upstreams: core::slice::from_raw_parts(first.as_ptr(), upstreams),
                programs: core::slice::from_raw_parts(
                    programs.as_ptr(),
                    capacity.programs as usize,
                ),
            })
        }
    }

    /// Requests that begun in the upstream with this place in the table, on the whole machine, ever.
    pub(crate) fn requests(self, upstream: usize) -> u64 {
        let departed = self.upstreams.0.get(upstream).map(|cell| cell.departed());
        // Rows of killed processes count until their place is taken.
        let rows = (0..NGX_MAX_PROCESSES as usize).filter_map(|process| self.row(process));
        let counts = rows.filter_map(|row| row.upstreams.get(upstream));
        counts.fold(departed.map_or(0, |one| one.load(Ordering::Relaxed)), |sum, count| {
            sum.wrapping_add(count.requests())
        })
    }

    /// The sum of `count` over the rows of announced processes for which `is_alive` says so.
    pub(crate) fn sum(self, is_alive: impl Fn(u32) -> bool, count: impl Fn(Row) -> u32) -> u64 {
        let cells = self.header.processes.iter().enumerate();
        let running = cells.filter(|(_, cell)| cell.pid.load(Ordering::Acquire) != 0);
        running
            .filter_map(|(at, cell)| Some((cell, count(self.row(at)?))))
            .filter(|(cell, count)| *count != 0 && is_alive(cell.pid.load(Ordering::Relaxed)))
            .fold(0, |sum, (_, count)| sum.saturating_add(u64::from(count)))
    }

    /// Requests that are held in the upstream with this place in the table, in all processes for which
    /// `is_alive` says so.
    pub(crate) fn held(self, is_alive: impl Fn(u32) -> bool, upstream: usize) -> u64 {
        self.sum(is_alive, |row| row.upstreams.get(upstream).map_or(0, |count| count.held()))
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
        self.header.running_epoch.load(Ordering::Acquire) <= epoch && !self.is_superseded()
    }

    /// Whether a larger zone has replaced this one.
    pub(crate) fn is_superseded(self) -> bool {
        self.header.superseded.load(Ordering::Acquire) != 0
    }

    /// Whether the workers of the running configuration keep what the zone says of an upstream up to
    /// date: it lists the upstream still, and no larger zone has replaced this one.
    pub(crate) fn is_kept_up(self, upstream: &UpstreamCell) -> bool {
        let running = self.header.running_epoch.load(Ordering::Acquire);
        !self.is_superseded() && upstream.entry().epoch() >= running
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
        if let Some(row) = self.row(slot) {
            for (at, count) in row.upstreams.iter().enumerate() {
                let requests = count.clear();
                if let (Some(cell), 1..) = (self.upstreams.0.get(at), requests) {
                    cell.departed().fetch_add(requests, Ordering::Relaxed);
                }
            }
            row.programs.iter().for_each(ProgramCount::clear);
        }
        if let Some(cell) = self.header.processes.get(slot) {
            cell.number.store(u32::try_from(process.number).unwrap_or(u32::MAX), Ordering::Relaxed);
            cell.epoch.store(process.epoch, Ordering::Relaxed);
            cell.elsewhere.store(0, Ordering::Relaxed);
            cell.pid.store(process.pid, Ordering::Release);
        }
    }

    /// Announces the processes of the zone that this one replaces, which go on to use that one.
    pub(crate) fn adopt_processes(self, old: Zone) {
        for (cell, old) in self.header.processes.iter().zip(&old.header.processes) {
            cell.number.store(old.number.load(Ordering::Relaxed), Ordering::Relaxed);
            cell.epoch.store(old.epoch.load(Ordering::Relaxed), Ordering::Relaxed);
            cell.elsewhere.store(1, Ordering::Relaxed);
            cell.pid.store(old.pid.load(Ordering::Acquire), Ordering::Release);
        }
    }

    /// Whether a process is left that counts its requests elsewhere, so that sums are too small.
    pub(crate) fn misses_counts(self, is_alive: impl Fn(u32) -> bool) -> bool {
        self.header.processes.iter().any(|cell| {
            let pid = cell.pid.load(Ordering::Acquire);
            pid != 0 && cell.elsewhere.load(Ordering::Relaxed) != 0 && is_alive(pid)
        })
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
        programs: header.programs.load(Ordering::Relaxed),
        supervisords: header.supervisords.load(Ordering::Relaxed),
        counted: header.counted.load(Ordering::Relaxed) != 0,
    }
}

/// A table of `count` records that begins at `at`, and what follows it.
///
/// # Safety
/// `at` points to so many records of shared memory that are valid for good (see [`Zone`]).
unsafe fn records<R: Record>(at: NonNull<c_void>, count: u32) -> (Table<R>, NonNull<c_void>) {
    let (first, count) = (at.cast::<R>(), count as usize);
    // SAFETY: passed on.
    unsafe { (Table(core::slice::from_raw_parts(first.as_ptr(), count)), first.add(count).cast()) }
}
